"""TensorFlow Serving's REST API for development, and its demo page.

Versions that come and go, requests, metrics.
May import: `saved_model`.
"""
