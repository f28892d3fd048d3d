"""Names in scripts that Matplotlib's font lacks."""

import contextlib
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def without_glyph_warnings() -> Iterator[None]:
    """Draws boxes, or leaves the text to the browser, without a warning a character."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield
