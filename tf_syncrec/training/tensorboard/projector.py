"""Item vectors for TensorBoard's projector, to be coloured by domain."""

from pathlib import Path

import numpy as np
from tensorboard.plugins import projector

from data_prep import Catalogue
from tf_syncrec.models.base import MultiDomainModel

MOST_ITEMS = 10_000
"""Points that a browser still turns around; the most frequent ones of each domain."""


def write_projector(log_dir: Path, model: MultiDomainModel, catalogue: Catalogue) -> None:
    """Writes vectors, as they are compared, and `item_id, domain, interactions` of each.

    Args:
        log_dir: where TensorBoard looks.
        model: trained.
        catalogue: its items.
    """
    share = MOST_ITEMS // catalogue.num_domains
    shown = np.concatenate(
        [
            np.arange(offset, offset + min(size, share))
            for offset, size in zip(catalogue.offsets, catalogue.sizes, strict=True)
        ]
    )
    vectors = model.candidate_vectors(shown.astype(np.int32)).numpy()
    np.savetxt(log_dir / "item_vectors.tsv", vectors, fmt="%.4f", delimiter="\t")
    lines = ["item_id\tdomain\tinteractions"]
    for i in shown - 1:
        domain = catalogue.domains[catalogue.item_domains[i]]
        lines.append(f"{_cell(catalogue.item_ids[i])}\t{_cell(domain)}\t{catalogue.counts[i]}")
    (log_dir / "items.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = projector.ProjectorConfig()
    embedding = config.embeddings.add()
    embedding.tensor_name = "items"
    embedding.tensor_path = "item_vectors.tsv"
    embedding.metadata_path = "items.tsv"
    projector.visualize_embeddings(str(log_dir), config)


def _cell(text: str) -> str:
    """Text without what ends a cell: the projector knows no quotes."""
    return " ".join(text.split()) or "?"
