"""A SavedModel of ours in this process: the same signatures, and so the same answers, as served."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from data_prep import InputError

Filters = tuple[Sequence[str], Sequence[str]]
"""Item ids that may be answered, all if there are none, and item ids that may not."""

Times = tuple[Sequence[Sequence[float]], Sequence[float]]
"""When the items of each history were, and when each answer is wanted."""


class Answers(NamedTuple):
    """What is recommended, some rows each to a user, best first.

    Attributes:
        users: `[rows]`, which of those who asked.
        domains: `[rows]` bytes.
        ranks: `[rows]` int, from 1.
        items: `[rows]` bytes.
        scores: `[rows]` float32.
        fallback: `[rows]` bool, popularity answered.
    """

    users: np.ndarray
    domains: np.ndarray
    ranks: np.ndarray
    items: np.ndarray
    scores: np.ndarray
    fallback: np.ndarray


class ServedModel:
    """Asks one version of an export.

    Args:
        version: its directory.
        remedy: what to do where it cannot be loaded, for the message.

    Raises:
        InputError: it cannot be loaded.
    """

    def __init__(self, version: Path, remedy: str = "export it again"):
        # Kept, since a signature does not keep the model that it is of.
        try:
            self._saved_model = tf.saved_model.load(str(version))
            self.signatures: dict[str, Any] = dict(self._saved_model.signatures)
        except Exception as error:  # of TensorFlow, protocol buffers, Keras: it says what is wrong
            said = " ".join(str(error).split())[:200]
            raise InputError(f"the export {version} cannot be loaded ({said}); {remedy}") from error

    def check(self, domains: Sequence[str], k: int, option: str = "--k") -> list[str]:
        """The domains that are asked for, all where none is named.

        Args:
            domains: names.
            k: how many items.
            option: what says so.

        Raises:
            InputError: the model has no such domain, or does not answer so many.
        """
        known = self.domains
        if twice := [name for name in domains if domains.count(name) > 1]:
            raise InputError(f"--domains: {twice[0]!r} is asked for twice")
        if unknown := [name for name in domains if name not in known]:
            raise InputError(f"--domains: unknown domain {unknown[0]!r}; known: {', '.join(known)}")
        try:
            if k < 1:
                raise ValueError
            self.in_domain([""], [[]], known[0], k)
        except (ValueError, tf.errors.InvalidArgumentError):
            raise InputError(
                f"{option} {k}: expected 1 to what the export answers at most (evaluate.max_k)"
            ) from None
        return list(domains) or known

    @property
    def domains(self) -> list[str]:
        """Names of all domains."""
        explained = self.signatures["explain"](items=tf.constant([[""]]))
        return [name.decode() for name in explained["domains"].numpy()[0]]

    def in_domain(
        self,
        names: Sequence[Any],
        histories: Sequence[Sequence[Any]],
        domain: str,
        k: int,
        exclude_seen: bool | None = None,
        times: Times | None = None,
        filters: Filters | None = None,
    ) -> Answers:
        """Answers in one domain, or with `""` in all of them together.

        Args:
            names: user ids, for a model that knows users.
            histories: raw item ids of each, oldest first.
            domain: which.
            k: how many.
            exclude_seen: whether items of the history may not come back; None: the domain's rule.
            times: of each history, if they are known.
            filters: of all histories.
        """
        if "top_k" not in self.signatures and exclude_seen is None:
            exclude_seen = True  # the rule of every domain in exports of earlier versions
        usual = "with_times" if times and "with_times" in self.signatures else "top_k"
        name = usual if filters is None else "filtered"
        asked = self._signature(name if exclude_seen is None else "with_options", filters)
        found = self._ask(asked, names, histories, domain, k, exclude_seen, times, filters)
        user, place = np.nonzero(found["items"] != b"")
        return Answers(
            user,
            found["domains"][user, place],
            place + 1,
            found["items"][user, place],
            found["scores"][user, place],
            found["fallback"][user] > 0,
        )

    def in_each_domain(
        self,
        names: Sequence[Any],
        histories: Sequence[Sequence[Any]],
        k: int,
        domains: Sequence[str] = (),
        times: Times | None = None,
        filters: Filters | None = None,
    ) -> Answers:
        """Answers in every domain, by one pass of the network where the export can do so.

        Args:
            names: as in `in_domain`.
            histories: likewise.
            k: how many in each domain.
            domains: some of them, in the order in which they are wanted; of exports of earlier
                versions all have to be named.
            times: as in `in_domain`.
            filters: as in `in_domain`.

        Returns:
            User by user, domain by domain.

        Raises:
            InputError: there are filters, and the export is of a version that has none.
        """
        if filters is None and "each_domain" not in self.signatures:
            parts = [self.in_domain(names, histories, d, k, times=times) for d in domains]
            whole = Answers(*(np.concatenate(column) for column in zip(*parts, strict=True)))
            order = np.argsort(whole.users, kind="stable")
            return Answers(*(column[order] for column in whole))
        name = "each_domain" if filters is None else "each_domain_filtered"
        asked = self._signature(name, filters)
        found = self._ask(asked, names, histories, "", k, None, times, filters)
        known = [name.decode() for name in found["domains"][0]]
        chosen = [known.index(name) for name in domains] if domains else list(range(len(known)))
        items = found["items"][:, chosen]
        user, domain, place = np.nonzero(items != b"")
        return Answers(
            user,
            found["domains"][0][chosen][domain],
            place + 1,
            items[user, domain, place],
            found["scores"][:, chosen][user, domain, place],
            found["fallback"][user] > 0,
        )

    def _signature(self, name: str, filters: Filters | None) -> Any:
        """A signature, with filters where there are some; exports of earlier versions lack them."""
        asked = self.signatures.get(name)
        if asked is None or (filters and "allow" not in asked.structured_input_signature[1]):
            what = "takes no filters" if filters else f"has no signature {name!r}"
            raise InputError(
                f"the export {what}: it was written by an earlier version, so export the run again"
            )
        return asked

    def _ask(
        self, asked, names, histories, domain, k, exclude_seen, times, filters
    ) -> dict[str, np.ndarray]:
        """What a signature answers; it is given those of its inputs that it has."""
        rows, longest = len(histories), max(map(len, histories), default=0)
        padded = [[""] * (longest - len(row)) + [str(item) for item in row] for row in histories]
        when, now = times or ([[0.0] * len(row) for row in histories], [0.0] * rows)
        allow, deny = filters or ((), ())
        told = [[0.0] * (longest - len(row)) + list(row) for row in when]
        inputs = {
            "items": tf.constant(padded, tf.string, [rows, longest]),
            "domain": tf.fill([rows], domain),
            "k": tf.fill([rows], k),
            "exclude_seen": tf.fill([rows], bool(exclude_seen)),
            "allow": tf.tile(tf.constant([*allow] or [""])[None], [rows, 1]),
            "deny": tf.tile(tf.constant([*deny] or [""])[None], [rows, 1]),
            "timestamps": tf.constant(told, tf.float64, [rows, longest]),
            "now": tf.constant(now, tf.float64, [rows]),
            "user_id": tf.constant([str(name) for name in names], tf.string, [rows]),
        }
        wanted = asked.structured_input_signature[1]
        answer = asked(**{name: value for name, value in inputs.items() if name in wanted})
        return {name: value.numpy() for name, value in answer.items()}
