"""Raw logs to sequences: readers, one Ibis pipeline, and TFDS builders that serve the result.

Importing this package registers the builders, so that `tfds.load("synthetic")` works.
"""

from data_prep.catalogue import Catalogue
from data_prep.errors import InputError
from data_prep.prepare import PreparedDataset, prepare

__all__ = ["Catalogue", "InputError", "PreparedDataset", "prepare"]
