"""Every setting of a run: its type, its limits, what it is by default and what it does."""

import os
from typing import Annotated, Literal

import pydantic

from data_prep.settings import Section
from data_prep.settings import setting as _setting

LOSSES = ("bpr_sigmoid", "bpr", "bce", "gbce", "sampled_softmax")
GATES = ("sequence", "causal")
STRATEGIES = ("auto", "one_device", "mirrored", "multi_worker")
"""Names of what TensorFlow is needed for; a test compares them with what there is."""


def _loss(name: str) -> str:
    """Looked up when it is asked for, so that a loss of one's own can be added before."""
    if name in LOSSES:
        return name
    from tf_syncrec.losses.functions import LOSSES as known

    if name not in known:
        raise ValueError(f"expected one of {', '.join(known)}, received {name!r}")
    return name


TERMS = ("neighbours", "likeness", "repeat_consumption", "trend", "new_items")
"""Settings of `model` that add a term to the network's score; 0 or false where there is none."""

TERMS_OF_ITEMS = ("likeness", "new_items")
"""Those of them that are there only with an items file."""


class ModelConfig(Section):
    """The network (paper 4.1-4.2)."""

    name: str = _setting("syncrec", "what is trained", min_length=1)
    views: Literal["auto", "both"] = _setting(
        "auto",
        "of syncrec, in `fit`: auto trains SASRec, which has one, where no user is in two domains, "
        "as both would see the same; both: SyNCRec all the same",
    )
    window: int = _setting(50, "T, latest items of a history that the network reads", ge=2)
    dim: int = _setting(64, "r, the width", ge=1)
    experts: int = _setting(5, "K", ge=2)
    cross_experts: int = _setting(3, "j, of the experts, trained by the cross-domain task", ge=1)
    blocks: int = _setting(2, "Transformer blocks of an expert", ge=1)
    heads: int = _setting(1, "attention heads; a divisor of dim", ge=1)
    ff_dim: int | None = _setting(None, "width inside the feed-forward network, else dim", ge=1)
    dropout: float = _setting(0.2, "share that is left out", ge=0, lt=1)
    style: Literal["pre_norm", "paper"] = _setting(
        "pre_norm", "paper: blocks without residual connections and normalisation"
    )
    gate: Literal[GATES] = _setting(  # type: ignore[valid-type]
        "causal", "sequence, as published, also sees the items that are to be predicted"
    )
    asymmetric: bool = _setting(True, "the stop-gradient between the two tasks")
    item_init: Literal["random", "cooccurrence"] = _setting(
        "random",
        "first item vectors; cooccurrence: from what stands close together in training sequences",
    )
    similarity: Literal["cosine", "dot"] = _setting("cosine", "of a query and an item; paper: dot")
    temperature: float = _setting(0.1, "similarities are divided by it", gt=0)
    score: Literal["blend", "sum", "cross", "single"] = _setting(
        "blend",
        "what predicts: both views, weighed in each domain on validation; both alike; or one, of "
        "which cross is as published",
    )
    neighbours: int = _setting(
        0,
        "votes of each history item for so many items that the same users had, on top of the "
        "network's score; validation chooses what they weigh; 0: none",
        ge=0,
    )
    item_attributes: bool = _setting(
        True, "what the items file (--items) says of an item is a part of its vector"
    )
    own_dropout: float = _setting(
        0.0,
        "share of the items of a step that are what their attributes say alone; it does not help "
        "items that nobody has had (docs/items.md)",
        ge=0,
        lt=1,
    )
    likeness: int = _setting(
        50,
        "votes of each history item for so many items with like attributes, where there is an "
        "items file; validation chooses what they weigh; 0: none",
        ge=0,
    )
    repeat_consumption: bool = _setting(
        False,
        "items of the history gain or lose by how often and how lately one had them, on top of the "
        "network's score, in domains to which people come back; fitted on validation",
    )
    trend: bool = _setting(
        False,
        "items gain by how popular they have been lately, on top of the network's score; half-life "
        "and weight are fitted on validation",
    )
    time_inputs: Literal["auto", "none"] | list[Literal["gap", "hour", "weekday"]] = _setting(
        "none",
        "what the network is told of times, of each event and, by a request that says when it is, "
        "of the one to come; or a list, such as [gap, hour, weekday]: how long after the event "
        "before, hour of the day, day of the week (both UTC); auto: those of them that differ from "
        "event to event in training rows (docs/coming-back.md)",
    )
    time_dropout: float = _setting(
        0.3,
        "share of the training sequences that are told no times, and of the events of the others "
        "whose time is not told before, so that requests may leave out either",
        ge=0,
        lt=1,
    )
    new_items: int = _setting(
        50,
        "the same for items that nobody had in training, by a weight of their own and with what "
        "they gain or lose by being new; 0: none",
        ge=0,
    )

    @pydantic.model_validator(mode="after")
    def _consistent(self):
        if self.cross_experts >= self.experts:
            raise ValueError(
                f"cross_experts (j = {self.cross_experts}) must be below experts "
                f"(K = {self.experts})"
            )
        if self.dim % self.heads:
            raise ValueError(f"heads ({self.heads}) must divide dim ({self.dim})")
        return self


class LossConfig(Section):
    """What is minimised (paper 4.3-4.5)."""

    name: Annotated[str, pydantic.AfterValidator(_loss)] = _setting(
        "sampled_softmax",
        "also gbce, bce, bpr, the paper's bpr_sigmoid, or one of your own (docs/extending.md)",
    )
    negatives: int = _setting(
        256, "sampled from the target's domain; all items of a domain that has no more", ge=1
    )
    shared_negatives: bool = _setting(True, "the same for all targets of a batch and domain")
    eta: float = _setting(0.9, "η, weight of prediction against SC-MIM (Eq. 18)", ge=0, le=1)
    mutual_information: bool = _setting(True, "SC-MIM; docs/experiments.md says what it brings")
    rho: Literal["sigmoid", "bilinear"] = _setting(
        "sigmoid", "similarity of the views in SC-MIM (Eq. 17); sigmoid bounds it"
    )
    contrast: Literal["all", "others"] = _setting(
        "all", "who is in the normaliser of Eq. 16; others: as published"
    )
    reduction: Literal["mean", "sum"] = _setting(
        "mean",
        "mean: over targets, and over users and their domains; sum: over a user's (Eq. 8, 9, 18)",
    )


class NegativeTransferConfig(Section):
    """λ (paper 4.3.3)."""

    enabled: bool = _setting(True, "weigh the cross-domain loss of each domain")
    alpha: float = _setting(1.0, "α, of the λ before (Eq. 11)", gt=0)
    beta: float = _setting(1.0, "β, of the gap (Eq. 11)", gt=0)
    delta: float = _setting(1.0, "δ, temperature (Eq. 11)", gt=0)
    trainable_rates: bool = _setting(False, "whether α and β are trained, as published")
    gap: Literal["mean", "sum"] = _setting("mean", "over the targets of a domain; paper: sum")
    standardise: bool = _setting(False, "φ as a part of the domain's own loss in place of nats")
    smoothing: float = _setting(
        0.0, "weight of the steps before in φ, of which a batch alone says little", ge=0, lt=1
    )
    clamp: bool = _setting(
        False, "a domain that gains (φ > 0) takes no weight from one that gains less"
    )
    scaled: bool = _setting(True, "weights of |D| λ, where Eq. 12 has λ")


_Absolute = Annotated[
    str, pydantic.AfterValidator(lambda path: os.path.abspath(os.path.expanduser(path)))
]


class TrainConfig(Section):
    """How it is minimised."""

    seed: int = _setting(0, "of weights, dropout, negatives and order", ge=0)
    epochs: int = _setting(100, "how many, or the most of them", ge=1)
    init_from: _Absolute | None = _setting(
        None, "directory of a run whose weights `fit` goes on from; items and domains may be new"
    )
    init_epochs: int = _setting(1, "epochs of a training that goes on from another run", ge=1)
    init_repeats: int = _setting(
        3, "how many times more the users with new events are seen in each of these epochs", ge=0
    )
    keep_optimizer: bool = _setting(
        True,
        "keep the optimizer's moments in checkpoints/optimizer.h5, with which a run that goes on "
        "from this one by `init_from` begins",
    )
    min_steps: int = _setting(0, "little data gets more epochs, until there are as many", ge=0)
    batch_size: int = _setting(128, "rows of a step", ge=1)
    learning_rate: float = _setting(1e-3, "the highest, of a cosine", gt=0)
    precision: Literal["float32", "mixed_bfloat16"] = _setting(
        "float32",
        "mixed_bfloat16: activations of half the size, for devices that have units for it (not "
        "faster on the CPUs we know)",
    )
    optimizer: Literal["adam", "rowwise_adam"] = _setting(
        "rowwise_adam",
        "rowwise_adam: a step moves only the item vectors that its batch has read; adam: all of "
        "them, at a cost that grows with the catalogue",
    )
    schedule: Literal["constant", "cosine"] = _setting(
        "constant",
        "a constant rate with early stopping; or one that rises for a while and then falls to a "
        "hundredth at the last step",
    )
    patience: int = _setting(
        5,
        "epochs without improvement that a constant rate goes on for; a cosine is followed to its "
        "end",
        ge=1,
    )
    windows: Literal["all", "last"] = _setting(
        "all", "of a long history, train on all windows of T items or on the last one alone"
    )
    checkpoint_steps: int = _setting(
        0, "steps between checkpoints, besides the one at each epoch's end; 0: no others", ge=0
    )
    checkpoint_minutes: float = _setting(0.0, "the same in time", ge=0)
    on_nan: Literal["stop", "skip"] = _setting(
        "stop",
        "a step whose loss or gradient is no number: end the run, or go on as if it had not been "
        "made, and count it",
    )
    strategy: Literal[STRATEGIES] = _setting(  # type: ignore[valid-type]
        "auto",
        "devices that train: auto takes every GPU there is, on this machine (mirrored) or on those "
        "of --workers or TF_CONFIG (multi_worker)",
    )
    log: list[Literal["csv", "mlflow", "wandb"]] = _setting(
        [],
        "where `fit` logs the run besides TensorBoard: csv, in files of the run directory; mlflow; "
        "wandb (Weights & Biases): docs/logging.md",
    )


class EvaluateConfig(Section):
    """Full ranking and the served answer."""

    batch_size: int = _setting(256, "rows ranked at a time", ge=1)
    test: bool = _setting(
        True, "whether `fit` ranks the test targets; --no_test does not, while settings are chosen"
    )
    top_k: int = _setting(10, "answers of the exported `serving_default`", ge=1)
    max_k: int = _setting(100, "the most that `with_options` may ask for", ge=1)
    keep_versions: int = _setting(5, "exported versions that stay; older ones are deleted", ge=1)
