"""A connection to one model of a server."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import quote

from serving.client.answers import Answer, read_answers, read_rows, read_status
from serving.client.connection import Connection, ServingError
from serving.client.rows import (
    flag,
    for_each,
    histories_of,
    lists_of,
    number,
    text,
    times_of,
    whole,
)
from serving.client.signatures import Signatures, fit
from serving.client.user_histories import Store, UserHistories

DEFAULT_K = 10


class Client:
    """A connection to one model; threads may share it.

    Args:
        url: of the REST port, e.g. `http://127.0.0.1:8501`.
        model: its name on the server.
        version: a version of it; the newest where neither this nor a label is given.
        label: a version by its label.
        batch_size: most rows of a request. A server has limits on its own.
        timeout: seconds for a request, with all its retries and pauses; no more than these,
            whatever a server does.
        retries: tries after the first, where the connection fails or the server is busy.
        backoff: seconds before the second retry, doubled for each that follows; a server's
            `Retry-After` comes first.
        histories: where `recommend_user` finds what a user did, a store of `serving.histories`.
        histories_timeout: seconds that it waits for the store.

    Attributes:
        histories: asks the store; counts `failures`, and answers that `missed` a history.
    """

    def __init__(
        self,
        url: str,
        model: str = "syncrec",
        version: int | None = None,
        label: str | None = None,
        batch_size: int = 64,
        timeout: float = 10.0,
        retries: int = 3,
        backoff: float = 0.1,
        histories: Store | None = None,
        histories_timeout: float = 0.2,
    ):
        if version is not None and label is not None:
            raise ValueError(f"A version or a label, not both. Received: {version=}, {label=}")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1. Received: {batch_size}")
        if not 0 < timeout < math.inf:
            raise ValueError(f"timeout must be a number of seconds above 0. Received: {timeout}")
        if retries < 0 or not 0 <= backoff < math.inf:
            raise ValueError(f"At least 0 of each. Received: {retries=}, {backoff=}")
        if not 0 < histories_timeout < math.inf:
            raise ValueError(f"A number of seconds above 0. Received: {histories_timeout=}")
        self._any_version = url.rstrip("/") + f"/v1/models/{quote(model, safe='')}"
        self._model_url = self._any_version if label is None else self._labelled(label)
        if version is not None:
            self._model_url += f"/versions/{version}"
        self._version = version
        self._batch_size = batch_size
        self._connection = Connection(timeout, retries, backoff)
        self._signatures: dict[str, Signatures] = {}  # by URL: versions may take other inputs
        self.histories = UserHistories(histories, histories_timeout)

    def recommend(
        self,
        histories: Iterable[Sequence[str | int]],
        domains: str | Iterable[str] | None = None,
        k: int | Iterable[int] | None = None,
        exclude_seen: bool | Iterable[bool] | None = None,
        user_ids: Iterable[str | int] | None = None,
        timestamps: Iterable[Sequence[float]] | None = None,
        now: float | Iterable[float] | None = None,
        allow: Iterable[str | int] | Iterable[Iterable[str | int]] | None = None,
        deny: Iterable[str | int] | Iterable[Iterable[str | int]] | None = None,
        labels: str | Iterable[str] | None = None,
    ) -> list[Answer]:
        """Top items for each history.

        Args:
            histories: raw item ids of each user, oldest first, as text or whole numbers; unknown
                ones do no harm.
            domains: the domain to recommend in, for all or for each; None or `""`: all together.
            k: answers wanted, for all or for each. Where it is not given, as many as was set at
                export; where `exclude_seen`, `timestamps`, `allow` or `deny` is given, 10.
            exclude_seen: whether items of the history may not come back; by default they may where
                people come back to items, as the export has it for each domain.
            user_ids: who each history is of, for a model that is asked by them (BPRMF).
            timestamps: when the items of each history were, in the unit of the log, for a model in
                whose score times have a say: where people come back, or with `model.time_inputs`.
            now: when the answer is wanted, likewise, for all or for each; `timestamps` go with it.
            allow: items that may be recommended, a list for all or a list for each; None: all.
                Empty ids are none.
            deny: items that may not, likewise.
            labels: the version that is asked, by its label, for all or for each, as
                `Split.labels` gives them; those of one label are asked together, by what that
                version takes: users and times are told to those whose scores they have a say in.
                By default what the client was made with.

        Raises:
            ServingError: a request was refused, not answered in time and after all retries, or
                answered by something else.
            ValueError: histories that are no lists, lists of unequal length, times that are not
                finite, a list that allows nothing, and labels where the client is of one version.
            TypeError: ids that are neither text nor whole numbers, and options of wrong types.
        """
        rows: dict[str, list] = {"items": histories_of(histories)}
        count = len(rows["items"])
        rows["domain"] = for_each("" if domains is None else domains, count, "domains", text)
        if user_ids is not None:
            rows["user_id"] = for_each(user_ids, count, "user_ids", text)
        signature = "serving_default"
        if timestamps is None and now is not None:
            raise ValueError("now: say by timestamps, too, when the items of the histories were")
        if any(option is not None for option in (k, exclude_seen, timestamps, allow, deny)):
            signature = "top_k"
            rows["k"] = for_each(DEFAULT_K if k is None else k, count, "k", whole)
        if timestamps is not None:
            signature = "with_times"
            rows["timestamps"] = times_of(timestamps, rows["items"])
            rows["now"] = for_each(0.0 if now is None else now, count, "now", number)
        filtered = allow is not None or deny is not None
        if exclude_seen is not None:
            signature = "with_options"
            rows["exclude_seen"] = for_each(exclude_seen, count, "exclude_seen", flag)
        elif filtered:
            signature = "filtered"
        if filtered or exclude_seen is not None:
            rows["allow"] = [[""]] * count if allow is None else lists_of(allow, count, "allow")
            rows["deny"] = lists_of([] if deny is None else deny, count, "deny")
            if not all(rows["allow"]):
                raise ValueError("allow: expected item ids, received an empty list")
        if labels is None:
            self._fit(self._model_url, signature, rows, filtered)
            return self._answers(self._model_url, signature, rows)
        if self._version is not None:
            raise ValueError(f"labels: this client asks version {self._version} alone")
        of_rows = for_each(labels, count, "labels", text)
        found: dict[int, Answer] = {}
        for label in dict.fromkeys(of_rows):
            places = [place for place in range(count) if of_rows[place] == label]
            some = {name: [column[place] for place in places] for name, column in rows.items()}
            url = self._labelled(label)
            of_label = self._fit(url, signature, some, filtered, of_several=True)
            found.update(zip(places, self._answers(url, of_label, some), strict=True))
        return [found[place] for place in range(count)]

    def _signatures_of(self, url: str) -> Signatures:
        return self._signatures.setdefault(url, Signatures(self._connection, url))

    def _fit(
        self,
        url: str,
        signature: str,
        rows: dict[str, list],
        filtered: bool,
        of_several: bool = False,
    ) -> str:
        """Makes the rows those that a version takes; the signature to be asked."""
        if "allow" not in rows and not (of_several and rows.keys() & {"user_id", "timestamps"}):
            return signature
        try:
            known = self._signatures_of(url).inputs()
        except ServingError:
            return signature  # the request itself will say what is wrong
        return fit(known, signature, rows, filtered, of_several)

    def recommend_user(
        self,
        user_id: str | int,
        domain: str | None = None,
        k: int | None = None,
        exclude_seen: bool | None = None,
        now: float | None = None,
        allow: Iterable[str | int] | None = None,
        deny: Iterable[str | int] | None = None,
        label: str | None = None,
    ) -> Answer:
        """Top items for a user, by what the store of histories has of him at this moment.

        A model in whose score times have a say is told when his events were; one that knows users
        is told who he is. Where the store does not answer, the user is answered as one of whom
        nothing is known: by popularity, with `fallback` (a model that knows users knows him still).

        Args:
            user_id: who, as the store and the log know him.
            domain: the domain to recommend in; None or `""`: all together.
            k: answers wanted. Where it is not given, 10 by a model in whose score times have a
                say, whatever is known of the user; else as for `recommend`.
            exclude_seen: whether items of the history may not come back, likewise.
            now: when the answer is wanted, in the unit of the log; of use where times have a say.
            allow: items that may be recommended; None: all.
            deny: items that may not.
            label: the version that is asked, as `Split.label` gives it; by default what the client
                was made with.

        Raises:
            ServingError: the server (not the store) did not answer.
            TypeError: the user id is neither text nor a whole number, and as `recommend`.
            ValueError: the client has no store, and as `recommend`.
        """
        user = text(user_id, "user_id")
        signatures = self._signatures_of(
            self._model_url if label is None else self._labelled(label)
        )
        items, times = self.histories.of(user)
        asked: dict[str, Any] = {"domains": domain, "k": k, "exclude_seen": exclude_seen}
        for name, ids in (("allow", allow), ("deny", deny)):  # which are read twice, perhaps
            asked[name] = list(ids) if isinstance(ids, Iterator) else ids
        asked["labels"] = label
        try:
            return self._recommend_user(signatures, user, items, times, now, asked)
        except ServingError as error:
            # Another version may have taken over, which takes something else.
            if error.status != 400 or not signatures.changed():
                raise
            return self._recommend_user(signatures, user, items, times, now, asked)

    def _recommend_user(
        self,
        signatures: Signatures,
        user: str,
        items: list[str],
        times: list[float],
        now: float | None,
        asked: dict[str, Any],
    ) -> Answer:
        takes = signatures.inputs()
        told: dict[str, Any] = {}
        if "user_id" in takes.get("serving_default", ()):
            told["user_ids"] = [user]
        if "with_times" in takes:
            # Whoever has no history gets as many as the others.
            told["k"] = DEFAULT_K if asked["k"] is None else asked["k"]
            if times:
                told["timestamps"] = [times]
                told["now"] = now
        (answer,) = self.recommend([items], **(asked | told))
        return answer

    def explain(self, histories: Iterable[Sequence[str | int]]) -> list[dict[str, Any]]:
        """λ and gate weights behind the answers to each history, as `Recommender.explain` says."""
        rows = {"items": histories_of(histories)}
        explained: list[dict[str, Any]] = []
        for document, size in self._batches(self._model_url, "explain", rows):
            explained += read_rows(document, size)
        return explained

    def status(self) -> list[dict[str, Any]]:
        """State of each version, as the server's status API has it."""
        return read_status(self._connection.call("GET", self._model_url))

    def _labelled(self, label: str) -> str:
        if not label:
            raise ValueError("labels: expected names, received ''")
        return f"{self._any_version}/labels/{quote(label, safe='')}"

    def _answers(self, url: str, signature: str, rows: dict[str, list]) -> list[Answer]:
        answers: list[Answer] = []
        for document, size in self._batches(url, signature, rows):
            answers += read_answers(document, size)
        return answers

    def _batches(
        self, url: str, signature: str, rows: dict[str, list]
    ) -> Iterator[tuple[Any, int]]:
        """What the server sends for a batch, and how many rows that has."""
        for start in range(0, len(rows["items"]), self._batch_size):
            inputs = {name: rows[name][start : start + self._batch_size] for name in rows}
            size = len(inputs["items"])
            # TensorFlow Serving wants lists of one length, and at least one column.
            for name, nothing in (("items", ""), ("timestamps", 0.0), ("allow", ""), ("deny", "")):
                if name in inputs:
                    width = max(1, *map(len, inputs[name]))
                    inputs[name] = [row + [nothing] * (width - len(row)) for row in inputs[name]]
            request = {"signature_name": signature, "inputs": inputs}
            yield self._connection.call("POST", url + ":predict", request), size
