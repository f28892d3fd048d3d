"""TensorFlow Serving's REST API for development, and its demo page.

`web` runs it: `connections` and `app` take requests in, `rest_api` answers them, `versions` says by
which model; `same_site` keeps pages of others away from the store of histories.
May import: `histories`, `saved_model`.
"""
