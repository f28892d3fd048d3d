"""The cells of a comparison: which there are, where each lives, and what each is asked for."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tf_syncrec.comparison.libraries.bridge import settings_of
from tf_syncrec.comparison.libraries.library import LIBRARIES
from tf_syncrec.comparison.names import ModelName, Place, domains_in
from tf_syncrec.config import Config
from tf_syncrec.schema import TERMS, TERMS_OF_ITEMS

Settings = tuple[tuple[str, Any], ...]
"""What a point of the grid changes in the shared configuration, `(("model.dim", 32), ...)`."""

RESULT = "result.json"
VALIDATION = "validation.json"
RANKS = "ranks.parquet"
WITHOUT_VOTES = "rank_without_votes"
"""Column of `RANKS` in cells of networks with votes or the like: rank by the network alone."""


class Cell(NamedTuple):
    """A model, a seed and, for models of one domain or two, these.

    Attributes:
        model: what is trained.
        seed: of the training.
        domain: what it is trained on: one domain, two, or None for all of them.
        settings: what a grid changes for it.
    """

    model: ModelName
    seed: int
    domain: Place
    settings: Settings = ()

    @property
    def title(self) -> str:
        """For progress lines."""
        return ", ".join(
            [
                self.model.text,
                *([f"seed {self.seed}"] if self.model.seeded else []),
                *filter(None, [" + ".join(self.domains)]),
                *_texts(self.settings),
            ]
        )

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains that it is trained on; none where it is all of them."""
        return domains_in(self.domain)

    def directory(self, root: Path) -> Path:
        """Where it lives: cells that differ in anything never share a directory.

        Domains may have names that no file can have; settings that a grid can change have not.
        """
        parts = [self.model.text.replace(":", "-"), *_texts(self.settings), f"seed{self.seed}"]
        if self.domain is None:
            return root.joinpath("cells", *parts)
        text = self.domain if isinstance(self.domain, str) else json.dumps(self.domain)
        digest = hashlib.sha256(text.encode()).hexdigest()
        before = root.joinpath("cells", *parts, f"domain-{digest[:16]}")
        if before.exists():  # of a version that did not name the domain
            return before
        readable = re.sub(r"[^\w-]+", "_", "-".join(self.domains))[:30]  # TensorBoard shows it
        return root.joinpath("cells", *parts, f"{readable}-{digest[:8]}")

    def request(self, config: Config, dataset: str) -> dict[str, Any]:
        """What `cell.json` says: all that the result depends on."""
        settings = self._what_it_reads(config).model_dump()
        settings["train"]["seed"] = self.seed
        del settings["model"]["name"]  # `model` says it
        del settings["evaluate"]["test"]  # a cell always ranks it
        own = self.model.network.settings if self.model.network else {}
        for key, value in [*self.settings, *own.items()]:
            section, name = key.split(".")
            settings[section][name] = value
        request = {
            "model": self.model.text,
            "seed": self.seed,
            "domain": list(self.domain) if isinstance(self.domain, tuple) else self.domain,
            "dataset": dataset,
            "config": settings,
        }
        listed = settings["data"]["items"]["path"] is not None
        terms = [term for term in TERMS if listed or term not in TERMS_OF_ITEMS]
        if any(settings["model"][term] for term in terms):
            # Cells of before cannot say what is asked here.
            request["ranks"] = "with votes and without"
        return request

    def _what_it_reads(self, config: Config) -> Config:
        """The configuration with defaults where a setting is nothing to this model.

        Whoever changes the network then keeps what was computed without one.
        """
        nothing = Config(data=config.data, evaluate=config.evaluate)
        if library := self.model.library:
            nothing.model.window = config.model.window
            nothing.train.patience = config.train.patience
            own = settings_of(library, self.model.in_library, getattr(config, library.key))
            return nothing.model_copy(update={library.key: own})
        if self.model.network is None:
            return nothing
        return config.model_copy(update={library.key: {} for library in LIBRARIES})

    def result(self, root: Path) -> dict[str, Any]:
        """What a finished cell found, without the ranks of its test targets."""
        return json.loads((self.directory(root) / RESULT).read_text())

    def validation(self, root: Path) -> dict[str, Any]:
        """What a finished trial, or cell, found on validation."""
        file = self.directory(root) / VALIDATION
        return json.loads(file.read_text()) if file.exists() else self.result(root)


def _texts(settings: Settings) -> list[str]:
    return [f"{key}={value}" for key, value in settings]


def cells_of(
    plan: Mapping[ModelName, Sequence[int]],
    domains: Sequence[str],
    chosen: Mapping[tuple[ModelName, Place], Settings] | None = None,
) -> list[Cell]:
    """All cells, seed by seed, so that a comparison that is stopped has whole seeds.

    Args:
        plan: the seeds of each model; of one without chance in it, a single one.
        domains: of the dataset.
        chosen: of a model (and its domains), what tuning chose; nothing for those that are not
            there.
    """
    rounds = max(map(len, plan.values()))
    return [
        Cell(model, seed, domain, (chosen or {}).get((model, domain), ()))
        for number in range(rounds)
        for model, seeds in plan.items()
        for seed in seeds[number : number + 1]
        for domain in model.places(domains)
    ]
