"""A trained model that knows more items than it was trained with, by their attributes alone."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from data_prep import Catalogue
from tf_syncrec.data.item_encoder import EncodedRows
from tf_syncrec.models.axes import Kind, Origins, axes_of, carried
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.scoring.votes import count_like_items
from tf_syncrec.utils.variables import as_array, fill


@dataclasses.dataclass(frozen=True)
class NewItems:
    """Items that a catalogue has not.

    Attributes:
        item_ids: raw ids.
        domains: `[items]` int, index of the domain of each.
        attributes: of each, as the model's encoder finds them.
    """

    item_ids: Sequence[str]
    domains: np.ndarray
    attributes: EncodedRows


def with_more_items(
    model: MultiDomainModel, catalogue: Catalogue, new: NewItems
) -> tuple[MultiDomainModel, Catalogue]:
    """Makes a model whose candidates are also items that were not there when it was trained.

    What it says of the items that it knew and that somebody had stays as it was. New items stand
    behind them in their domain, have no part of their own, and gain what items that nobody had at
    the training gain. Who is alike among these is counted anew.

    Args:
        model: trained with attributes of items.
        catalogue: its items.
        new: none of which is in the catalogue.

    Returns:
        The model and its catalogue; the given ones stay as they are.

    Raises:
        ValueError: the model knows no attributes.
    """
    if model.embedding.attributes is None:
        raise ValueError("The model was trained without attributes of items.")
    domains = np.concatenate([catalogue.item_domains, new.domains.astype(np.int32)])
    order = np.argsort(domains, kind="stable")
    ids = np.concatenate([catalogue.item_ids, np.asarray(new.item_ids, object)])
    counts = np.append(catalogue.counts, np.zeros(len(new.domains), np.int64))
    whole = dataclasses.replace(
        catalogue, item_ids=ids[order], item_domains=domains[order], counts=counts[order]
    )
    items = np.where(order < catalogue.num_items, order, -1)
    sizes = dict(zip(model.domains, whole.sizes.tolist(), strict=True))
    given = {"domain_sizes": sizes, "trained_sizes": list(model.trained_sizes)}
    larger = model.from_config(model.get_config() | given)
    larger.item_encoder = model.item_encoder
    _carry_all(model, larger, items)
    _set_attributes(larger, items, order, new, catalogue.num_items)
    _fit_the_rest(model, larger, catalogue, whole, items)
    return larger, whole


def _carry_all(model: MultiDomainModel, larger: MultiDomainModel, items: np.ndarray) -> None:
    """All that there is of items, where these now stand; new ones have nothing."""

    def shapes(network: MultiDomainModel) -> list[tuple[int, ...]]:
        return [tuple(weight.shape) for weight in network.weights]

    same: dict[Kind, int] = {"domains": model.num_domains}
    same["users"] = len(getattr(model, "user_ids", ()))
    same["attributes"] = model.embedding.get_config()["attributes"]["size"]
    origins: Origins = {kind: np.arange(size) for kind, size in same.items()} | {"items": items}
    for old, found, axes in zip(model.weights, larger.weights, axes_of(model, shapes), strict=True):
        # A user who is unknown is read from the last row, which is never trained.
        nothing = np.zeros(found.shape, found.dtype)
        fill(found, carried(as_array(old), nothing, axes, origins) if axes else as_array(old))


def _set_attributes(
    larger: MultiDomainModel, items: np.ndarray, order: np.ndarray, new: NewItems, known: int
) -> None:
    """Says what is known of new items."""
    rows, of_new = np.flatnonzero(items < 0) + 1, order[items < 0] - known
    for embedding in larger.embeddings:
        attributes = embedding.attributes
        assert attributes is not None
        ids, shares = np.array(as_array(attributes.ids)), np.array(as_array(attributes.shares))
        width = min(ids.shape[1], new.attributes.tokens.shape[1])
        ids[rows, :width] = new.attributes.tokens[of_new, :width]
        shares[rows, :width] = new.attributes.weights[of_new, :width]
        vectors = None
        if attributes.ready_made and new.attributes.dense is not None:
            vectors = np.array(as_array(attributes.vectors))
            vectors[rows] = new.attributes.dense[of_new]
        attributes.set(ids, shares, vectors)


def _fit_the_rest(
    model: MultiDomainModel,
    larger: MultiDomainModel,
    catalogue: Catalogue,
    whole: Catalogue,
    items: np.ndarray,
) -> None:
    """What names items by their ids, or is the same for all that nobody has had."""
    moved = np.zeros(catalogue.num_items + 1, np.int32)
    moved[items[items >= 0] + 1] = np.flatnonzero(items >= 0) + 1
    for ids in larger.item_lists:
        fill(ids, moved[as_array(ids)])
    count_like_items(larger, whole)
    if model.trend is not None and larger.trend is not None:
        before, gains = as_array(model.trend.gain), np.array(as_array(larger.trend.gain))
        # What ranks behind all others as nothing is known of it is no measure.
        untrained = (catalogue.counts == 0) & _known(model)[1:]
        for domain in range(catalogue.num_domains):
            cold = untrained & (catalogue.item_domains == domain)
            # Of a domain that had none, as in the others.
            like = cold if cold.any() else untrained
            if like.any():
                added = (whole.item_domains == domain) & (items < 0)
                gains[1:][added] = before[1:][like][0]
        fill(larger.trend.gain, gains)
        larger.put_unknown_behind()


def _known(model: MultiDomainModel) -> np.ndarray:
    """Of which items something is known, `[items + 1]` bool."""
    attributes = model.embedding.attributes
    assert attributes is not None
    return attributes.known(np.arange(model.num_items + 1, dtype=np.int32)).numpy()
