"""TensorFlow Serving's REST API for development, and its demo page.

`web` runs it: `connections` and `app` take requests in, `rest_api` answers them, `versions` says by
which model.
May import: `histories`, `saved_model`.
"""
