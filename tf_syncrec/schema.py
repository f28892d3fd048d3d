"""Every setting of a run: its type, its limits, what it is by default and what it does."""

import os
from typing import Annotated, Literal

import pydantic

from data_prep.settings import Section
from data_prep.settings import setting as _setting

LOSSES = ("bpr_sigmoid", "bpr", "bce", "top1", "gbce", "sampled_softmax")
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


TERMS = (
    "neighbours",
    "user_neighbours",
    "likeness",
    "repeat_consumption",
    "trend",
    "new_items",
)
"""Settings of `model` that add a term to the network's score; 0 or false where there is none."""

TERMS_OF_ITEMS = ("likeness", "new_items")
"""Those of them that are there only with an items file."""


class ModelConfig(Section):
    """The network (paper 4.1-4.2)."""

    name: str = _setting("syncrec", "the network", min_length=1)
    views: Literal["auto", "both"] = _setting(
        "auto",
        "of syncrec, in `fit`: auto trains SASRec, with one view, where no user is in two domains, "
        "as both views would be equal; both: SyNCRec even then",
    )
    window: int = _setting(
        50, "T, length of the input sequence: the latest items of a history", ge=2
    )
    dim: int = _setting(64, "r, the width (embedding dimension)", ge=1)
    experts: int = _setting(5, "K, number of experts", ge=2)
    cross_experts: int = _setting(
        3, "j, number of the experts that the cross-domain task trains", ge=1
    )
    blocks: int = _setting(2, "Transformer blocks of an expert", ge=1)
    heads: int = _setting(1, "attention heads; a divisor of dim", ge=1)
    ff_dim: int | None = _setting(
        None, "hidden width of the feed-forward network, by default dim", ge=1
    )
    dropout: float = _setting(0.2, "dropout rate", ge=0, lt=1)
    style: Literal["pre_norm", "paper"] = _setting(
        "pre_norm", "paper: blocks without residual connections and normalisation"
    )
    gate: Literal[GATES] = _setting(  # type: ignore[valid-type]
        "causal", "sequence: as published; in training it also sees the items to predict"
    )
    asymmetric: bool = _setting(True, "stop-gradient between the two tasks (ACMoE)")
    item_init: Literal["random", "cooccurrence"] = _setting(
        "random",
        "initial item vectors; cooccurrence: from items close together in training sequences",
    )
    similarity: Literal["cosine", "dot"] = _setting(
        "cosine", "similarity of a query and an item; paper: dot"
    )
    temperature: float = _setting(0.1, "temperature: similarities are divided by it", gt=0)
    score: Literal["blend", "sum", "cross", "single"] = _setting(
        "blend",
        "score of prediction: blend: both views, weighted per domain on validation; sum: both with "
        "equal weight; cross (as published) or single: one view",
    )
    neighbours: int = _setting(
        0,
        "co-occurrence score (votes): each history item votes for this many items of the same "
        "users, added to the network's score; the weight is chosen on validation; 0: none",
        ge=0,
    )
    user_neighbours: int = _setting(
        0,
        "session-based kNN: the training users, this many, who had most of what a history has vote "
        "for what they had next, added to the network's score; the weight is chosen on validation. "
        "The model then holds the training histories as item ids, without ids of users; 0: none",
        ge=0,
    )
    item_attributes: bool = _setting(
        True, "attributes of the items file (--items) are a part of an item's vector"
    )
    own_dropout: float = _setting(
        0.0,
        "share of the items of a step that are represented by their attributes alone; it does not "
        "help cold-start items (docs/items.md)",
        ge=0,
        lt=1,
    )
    likeness: int = _setting(
        50,
        "content-based score: each history item votes for this many items with similar attributes, "
        "where there is an items file; the weight is chosen on validation; 0: none",
        ge=0,
    )
    repeat_consumption: bool = _setting(
        False,
        "repeat consumption: a score for the items of the history by how often and how recently "
        "the user had them, added in domains with repeats; fitted on validation",
    )
    trend: bool = _setting(
        False,
        "recent popularity, added to the network's score; half-life and weight are fitted on "
        "validation",
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
        "cold start: as `likeness`, for items without training interactions, with a weight and an "
        "offset of their own; 0: none",
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
        "also gbce, bce, bpr, top1, the paper's bpr_sigmoid, one of your own (docs/extending.md)",
    )
    negatives: int = _setting(
        256, "number of sampled negatives, from the target's domain; at most all of its items", ge=1
    )
    shared_negatives: bool = _setting(
        True, "the same negatives for all targets of a domain in a batch"
    )
    eta: float = _setting(0.9, "η, weight of prediction against SC-MIM (Eq. 18)", ge=0, le=1)
    mutual_information: bool = _setting(True, "SC-MIM loss; docs/experiments.md has its effect")
    rho: Literal["sigmoid", "bilinear"] = _setting(
        "sigmoid", "similarity of the views in SC-MIM (Eq. 17); sigmoid bounds it"
    )
    contrast: Literal["all", "others"] = _setting(
        "all", "users in the denominator of Eq. 16; others: the negatives alone, as published"
    )
    reduction: Literal["mean", "sum"] = _setting(
        "mean",
        "mean: over targets, and over users and their domains; sum: over a user's (Eq. 8, 9, 18)",
    )


class NegativeTransferConfig(Section):
    """λ (paper 4.3.3)."""

    enabled: bool = _setting(True, "weigh the cross-domain loss of each domain")
    alpha: float = _setting(1.0, "α, weight of the previous λ (Eq. 11)", gt=0)
    beta: float = _setting(1.0, "β, weight of the gap (Eq. 11)", gt=0)
    delta: float = _setting(1.0, "δ, temperature (Eq. 11)", gt=0)
    trainable_rates: bool = _setting(False, "whether α and β are trained, as published")
    gap: Literal["mean", "sum"] = _setting(
        "mean", "reduction of the gap over the targets of a domain; paper: sum"
    )
    standardise: bool = _setting(False, "φ relative to the domain's own loss instead of in nats")
    smoothing: float = _setting(
        0.0,
        "exponential smoothing of φ over steps, as one batch is noisy: weight of the past",
        ge=0,
        lt=1,
    )
    clamp: bool = _setting(
        False,
        "φ > 0 counts as 0, so that a domain that gains takes no weight from one that gains less",
    )
    scaled: bool = _setting(True, "weights of |D| λ, where Eq. 12 has λ")


_Absolute = Annotated[
    str, pydantic.AfterValidator(lambda path: os.path.abspath(os.path.expanduser(path)))
]


class TrainConfig(Section):
    """How it is minimised."""

    seed: int = _setting(0, "seed of weights, dropout, negatives and order", ge=0)
    epochs: int = _setting(100, "number of epochs; with early stopping, the most", ge=1)
    init_from: _Absolute | None = _setting(
        None,
        "warm start: directory of a run whose weights `fit` begins with; items and domains may be "
        "new",
    )
    init_epochs: int = _setting(1, "epochs after a warm start", ge=1)
    init_repeats: int = _setting(
        3, "after a warm start, additional passes per epoch over the users with new events", ge=0
    )
    keep_optimizer: bool = _setting(
        True,
        "keep the optimizer's moments in checkpoints/optimizer.h5, for a later warm start from "
        "this run (`init_from`)",
    )
    min_steps: int = _setting(0, "fewest training steps: small data gets more epochs", ge=0)
    batch_size: int = _setting(128, "rows per training step", ge=1)
    learning_rate: float = _setting(
        1e-3, "learning rate; of the cosine schedule, its maximum", gt=0
    )
    precision: Literal["float32", "mixed_bfloat16"] = _setting(
        "float32",
        "mixed_bfloat16: 16-bit activations, for devices with hardware support (not faster on the "
        "CPUs that were tried)",
    )
    optimizer: Literal["adam", "rowwise_adam"] = _setting(
        "rowwise_adam",
        "rowwise_adam: a step updates only the item vectors that its batch has read (lazy Adam); "
        "adam: all of them, at a cost that grows with the catalogue",
    )
    schedule: Literal["constant", "cosine"] = _setting(
        "constant",
        "constant: with early stopping; cosine: warm-up, then decay to a hundredth at the last "
        "step",
    )
    patience: int = _setting(
        5,
        "early stopping of a constant rate: epochs without improvement",
        ge=1,
    )
    windows: Literal["all", "last"] = _setting(
        "all", "train on all windows of T items of a long history, or on the last one only"
    )
    checkpoint_steps: int = _setting(
        0, "steps between checkpoints, besides the one at each epoch's end; 0: no others", ge=0
    )
    checkpoint_minutes: float = _setting(0.0, "minutes between checkpoints; 0: no others", ge=0)
    on_nan: Literal["stop", "skip"] = _setting(
        "stop",
        "a step whose loss or gradient is NaN or infinite: end the run, or skip and count the step",
    )
    strategy: Literal[STRATEGIES] = _setting(  # type: ignore[valid-type]
        "auto",
        "devices for training: auto uses every GPU, of this machine (mirrored) or of those of "
        "--workers or TF_CONFIG (multi_worker)",
    )
    log: list[Literal["csv", "mlflow", "wandb"]] = _setting(
        [],
        "where `fit` logs the run besides TensorBoard: csv, in files of the run directory; mlflow; "
        "wandb (Weights & Biases): docs/logging.md",
    )


class EvaluateConfig(Section):
    """Full ranking and the served answer."""

    batch_size: int = _setting(256, "rows per batch of ranking", ge=1)
    test: bool = _setting(
        True, "whether `fit` evaluates on test; --no_test leaves it out while settings are chosen"
    )
    top_k: int = _setting(10, "k of the exported `serving_default`", ge=1)
    max_k: int = _setting(100, "largest k that a request by `with_options` may have", ge=1)
    keep_versions: int = _setting(5, "exported versions to keep; older ones are deleted", ge=1)
