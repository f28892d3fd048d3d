"""The TFDS builders, one a source; importing this module registers them with TFDS.

After `import data_prep.builders` TFDS knows a dataset by its name:
`tfds.load("interactions", builder_kwargs={"path": "log.csv"})`. Keywords are those of `prepare`.
"""

from __future__ import annotations

from typing import ClassVar

from data_prep.settings import DataConfig
from data_prep.store.sequence_builder import SequenceBuilder, SequenceConfig


class Interactions(SequenceBuilder):
    """A user's own log."""

    SOURCE = "A log of your own: rows of user, item, domain and timestamp."


class Amazon(SequenceBuilder):
    """The public Amazon review releases; a category is a domain."""

    SOURCE = "Who rated what and when on Amazon, by category of product."
    BUILDER_CONFIGS: ClassVar[list[SequenceConfig]] = [
        SequenceConfig(settings=DataConfig(dataset="amazon"))
    ]


class CompleteJourney(SequenceBuilder):
    """The Complete Journey of 84.51°; a department is a domain.

    Without `BUILDER_CONFIGS`: these would look for the package as soon as this module is imported.
    """

    SOURCE = "What households bought at a grocer and when, by department (84.51°)."


class Synthetic(SequenceBuilder):
    """Generated interactions with planted structure; see `data_prep.read.datasets.synthetic`."""

    SOURCE = "Generated interactions with planted structure."
    BUILDER_CONFIGS: ClassVar[list[SequenceConfig]] = [SequenceConfig()]


BUILDERS: dict[str, type[SequenceBuilder]] = {
    b.name: b for b in (Amazon, CompleteJourney, Interactions, Synthetic)
}
