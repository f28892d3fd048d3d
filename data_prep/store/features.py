"""What TFDS says of a dataset: the features of a row, what it is made from, whom to cite."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow_datasets as tfds

CITATION = """
@inproceedings{park2024pacer,
  title = {Pacer and Runner: Cooperative Learning Framework between Single- and Cross-Domain
           Sequential Recommendation},
  author = {Park, Chung and Kim, Taesan and Yoon, Hyungjun and Hong, Junui and Yu, Yelim and
            Cho, Mincheol and Choi, Minsung and Choo, Jaegul},
  booktitle = {Proceedings of the 47th International ACM SIGIR Conference on Research and
               Development in Information Retrieval},
  year = {2024},
  doi = {10.1145/3626772.3657710}
}
"""
DESCRIPTION = """
{source} One row a user: what the user did in several domains (services, shop categories), merged
into one sequence, oldest first. {split} Items have ids 1..N,
contiguous by domain, made from training rows alone; 0 stands for unknown. `items.parquet` beside
the records lists them; `info.metadata` has the domains, the settings and counts.
"""


def features() -> tfds.features.FeaturesDict:
    """The features of a row, a user each."""
    return tfds.features.FeaturesDict(
        {
            "user_id": tfds.features.Text(doc="The user, as the source names it."),
            "items": _array(np.int32, (None,), "Ids of the history, oldest first."),
            "timestamps": _array(np.float64, (None,), "When, in the source's unit."),
            "target": tfds.features.Scalar(
                np.int32, doc="Id of the item to predict; 0 when it never trains."
            ),
            "target_item_id": tfds.features.Text(
                doc="The item to predict, as the source names it; empty in `train`."
            ),
            "domain": tfds.features.Scalar(
                np.int32, doc="Index of the target's domain; -1 in `train`."
            ),
            "target_timestamp": _array(np.float64, (), "When; 0 in `train`."),
            "basket": _array(
                np.int32,
                (None,),
                "Ids of all that the user did in the target's domain at that time, the target as "
                "well; 0 when it never trains. Empty in `train`.",
            ),
        }
    )


def _array(dtype: Any, shape: tuple[int | None, ...], doc: str) -> tfds.features.Tensor:
    # As bytes: TFRecord examples know no float64 (a time in seconds would be rounded to minutes),
    # and one string is also several times quicker to encode than a list of numbers.
    encoding = tfds.features.Encoding.BYTES
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding=encoding, doc=doc)
