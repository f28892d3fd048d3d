"""Static pictures of the pages, drawn by Matplotlib and written into them as SVG.

`svg` has the colours, those of a domain on every page the same; `charts` the kinds of pictures.
May import: `evaluation`, `metrics`, `utils`.
"""
