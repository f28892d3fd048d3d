"""The demo page of the development server, and the items that it finds by their names.

`page` is one document, style and script in it; it asks the REST API like any client.
May import: nothing of `serving.server`.
"""
