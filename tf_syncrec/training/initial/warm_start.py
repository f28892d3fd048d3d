"""A training that goes on from another run, whose items, users and domains may be others."""

import os
from collections.abc import Callable

import numpy as np
from scipy.linalg import orthogonal_procrustes

from data_prep import Catalogue, InputError
from tf_syncrec.config import Config
from tf_syncrec.data.batches import Sequences
from tf_syncrec.models.axes import Origins, axes_of, carried
from tf_syncrec.models.base import MultiDomainModel
from tf_syncrec.training.initial.attribute_vectors import RELIABLE
from tf_syncrec.training.initial.item_vectors import clear_untrained, item_vectors
from tf_syncrec.training.initial.moments import carried_moments
from tf_syncrec.training.run_directory import RunDirectory
from tf_syncrec.utils.nested import flat
from tf_syncrec.utils.variables import as_array, fill


def go_on_from(
    directory: str | os.PathLike[str],
    model: MultiDomainModel,
    config: Config,
    prepared: Sequences,
    report: Callable[[str], None],
) -> list[np.ndarray] | None:
    """Gives a new network what an earlier run has learned.

    Weights are carried over by raw ids: of items by domain and item id, of domains by name, of
    users by user id. Items of which there is news are placed anew, as `model.item_init` places
    them, see `place_items`; new domains and users begin as in any new network. Other trained items
    have the vectors that they had, whatever attributes say of them now. What is fitted after
    training is fitted anew.

    Args:
        directory: of the earlier run, which is finished.
        model: not trained; changed.
        config: of the new run.
        prepared: what it will be trained on.
        report: told what is known and what is new.

    Returns:
        Moments of the optimizer to begin with, of `carried_moments`.

    Raises:
        InputError: there is no such run, or its network is another one.
    """
    run = RunDirectory(directory)
    before, known_items, earlier = run.load()
    _check_same(directory, before, config, earlier, model)
    catalogue = prepared.catalogue
    origins = origins_of(known_items, catalogue, earlier, model)
    known = origins["items"] >= 0
    if not known.any():
        raise InputError(
            f"--init_from {directory}: none of the {catalogue.num_items:,} items of this log is "
            "known to that run; was it trained on other data?"
        )
    try:
        carry_over(earlier, model, origins)
    except ValueError as error:
        raise InputError(f"--init_from {directory}: its weights do not fit: {error}") from error
    counts = np.where(known, known_items.counts[origins["items"]], 0)
    keep_vectors(earlier, model, origins, counts)
    if config.model.item_init == "cooccurrence":
        place_items(model, item_vectors(prepared, model.dim, config.train.seed), counts, catalogue)
    clear_untrained(model, (counts == 0) & (catalogue.counts == 0))
    names = np.array(catalogue.domains)[origins["domains"] < 0]
    report(
        f"Warm start from {directory}: {known.sum():,} of {len(known):,} items are known"
        + (f"; new domains: {', '.join(names)}" if len(names) else "")
    )
    return carried_moments(run, earlier, model, config, origins, report)


def origins_of(
    before: Catalogue, after: Catalogue, earlier: MultiDomainModel, model: MultiDomainModel
) -> Origins:
    """Which domains, items, users and attributes of two runs are the same, by names and raw ids.

    Args:
        before: items of the earlier run.
        after: items of the new one.
        earlier: network of the earlier run, which may know users.
        model: the new one.
    """
    return {
        "domains": _places(before.domains, after.domains),
        "items": _places(_keys(before), _keys(after)),
        "users": _places(getattr(earlier, "user_ids", ()), getattr(model, "user_ids", ())),
        "attributes": _places(_names(earlier), _names(model)),
    }


def carry_over(earlier: MultiDomainModel, model: MultiDomainModel, origins: Origins) -> None:
    """Gives a network the weights of another one of its kind.

    Args:
        earlier: has them.
        model: takes them; what is new keeps what it has.
        origins: of `origins_of`.

    Raises:
        ValueError: an array differs in more than numbers of domains, items and users.
    """

    def shapes(network: MultiDomainModel) -> list[tuple[int, ...]]:
        return [tuple(weight.shape) for weight in network.learned]

    axes = axes_of(model, shapes)
    both = list(zip(shapes(earlier), shapes(model), axes, strict=True))
    for number, (old, new, found) in enumerate(both):
        fixed = [[n for a, n in enumerate(shape) if a not in found] for shape in (old, new)]
        if len(old) != len(new) or fixed[0] != fixed[1]:
            path = model.learned[number].path
            raise ValueError(f"{path} is {list(old)} there, and {list(new)} here")
    for old, new, found in zip(earlier.learned, model.learned, axes, strict=True):
        fill(new, carried(as_array(old), np.array(as_array(new)), found, origins))


def keep_vectors(
    earlier: MultiDomainModel, model: MultiDomainModel, origins: Origins, before: np.ndarray
) -> None:
    """Lets trained items have the whole vectors that they had, though their attributes changed.

    Shares of attributes, bounds between bins and which attributes there are follow from the file of
    items of the day. An item's own part takes up the difference.

    Args:
        earlier: has the vectors.
        model: with the weights of `carry_over`; changed.
        origins: of `origins_of`.
        before: `[items]`, training interactions that the earlier run had of each item; 0: new.
    """
    trained = np.flatnonzero(before > 0)
    now, then = trained + 1, origins["items"][trained] + 1
    for old, new in zip(earlier.embeddings, model.embeddings, strict=True):
        if old.attributes is None or new.attributes is None:
            continue
        own = np.array(as_array(new.items))
        own[now] += old.attributes.of_all()[then] - new.attributes.of_all()[now]
        fill(new.items, own)


def place_items(
    model: MultiDomainModel, first: np.ndarray, before: np.ndarray, after: Catalogue
) -> None:
    """Moves items of which there is news to where a new training would let them begin.

    New items, and known ones as far as their interactions are new ones: of an item with one
    interaction then and two now, half. First vectors of today are turned so that those of known
    items fit to what was learned (orthogonal Procrustes), as the decomposition gives them in a
    basis of its own. An item that has attributes begins as `n / (n + RELIABLE)` of that, n being
    its interactions now, and for the rest as what its attributes say.

    Args:
        model: whose known items have vectors; changed.
        first: `[items + 1, dim]`, of `item_vectors` of the new data.
        before: `[items]`, training interactions that the earlier run had of each item; 0: new.
        after: of the new data.
    """
    known = before > 0
    # Of items that nobody has had yet there is no news.
    news = np.where(after.counts > 0, np.clip(1 - before / np.maximum(after.counts, 1), 0, 1), 0)
    news = news[:, None].astype(np.float32)
    reliability = (after.counts / (after.counts + RELIABLE))[:, None].astype(np.float32)
    for embedding in model.embeddings:
        whole = np.array(embedding.whole_table())
        vectors = whole[1:]
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        lengths[~known] = lengths[known].mean()
        learned = _directions(vectors)
        rotation, _ = orthogonal_procrustes(first[1:][known], learned[known])
        begin = first[1:] @ rotation
        if embedding.attributes is not None:
            said = embedding.attributes.of_all()[1:]
            told = np.linalg.norm(said, axis=1, keepdims=True) > 0
            begin = np.where(told, said + reliability * (lengths * begin - said), lengths * begin)
            lengths[~known] = np.linalg.norm(begin[~known], axis=1, keepdims=True)
            begin = _directions(begin)
        mixed = (1 - news) * learned + news * begin
        whole[1:] = np.where(news > 0, lengths * _directions(mixed), vectors)
        embedding.set_table(whole)


def _directions(vectors: np.ndarray) -> np.ndarray:
    """Of length 1; what has none stays 0."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _keys(catalogue: Catalogue) -> list[tuple[str, str]]:
    """Domain and raw id of each item."""
    names = np.array(catalogue.domains, object)[catalogue.item_domains]
    return list(zip(names, catalogue.item_ids, strict=True))


def _names(model: MultiDomainModel) -> tuple[str, ...]:
    """Attributes of items that a network has vectors of, `column=value`."""
    return () if model.item_encoder is None else model.item_encoder.names[1:]


def _places(before, after) -> np.ndarray:
    """`[after]` int, where each was before; -1 where it was not."""
    at = {key: place for place, key in enumerate(before)}
    return np.array([at.get(key, -1) for key in after], np.int64)


def _check_same(
    directory: str | os.PathLike[str],
    before: Config,
    config: Config,
    earlier: MultiDomainModel,
    model: MultiDomainModel,
) -> None:
    """Refuses another network: of another kind, or of other sizes."""
    if type(earlier) is not type(model):
        raise InputError(
            f"--init_from {directory}: is a run of {type(earlier).__name__}, and this one would "
            f"train {type(model).__name__}; --model and model.views say which"
        )
    knew, knows = (network.embeddings[0].attributes is not None for network in (earlier, model))
    if knew != knows:
        raise InputError(
            f"--init_from {directory}: was trained {'with' if knew else 'without'} a file of items "
            f"(--items, model.item_attributes), and this run has {'one' if knows else 'none'}"
        )
    if earlier.time_inputs != model.time_inputs:
        raise InputError(
            f"--init_from {directory}: was trained with model.time_inputs = "
            f"{list(earlier.time_inputs)}, and this run has {list(model.time_inputs)}"
        )
    there, here = (dict(flat(each.model_dump())) for each in (before, config))
    for name in SHAPING:
        if there[name] != here[name]:
            raise InputError(
                f"--init_from {directory}: was trained with {name} = {there[name]!r}, and this run "
                f"has {here[name]!r}"
            )


SHAPING = (
    *("model.window", "model.dim", "model.experts", "model.cross_experts", "model.blocks"),
    *("model.heads", "model.ff_dim", "model.style", "model.gate", "model.similarity"),
    *("loss.mutual_information", "negative_transfer.trainable_rates"),
)
"""Settings by which weights have another shape, or mean something else."""
