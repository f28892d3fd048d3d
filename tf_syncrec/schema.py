"""Every setting of a run: its type, its limits, what it is by default and what it does."""

from typing import Annotated, Literal

import pydantic

from data_prep.settings import Section, setting

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


class ModelConfig(Section):
    """The network (paper 4.1-4.2)."""

    name: str = setting("syncrec", "what is trained", min_length=1)
    window: int = setting(50, "T, latest items of a history that the network reads", ge=2)
    dim: int = setting(64, "r, the width", ge=1)
    experts: int = setting(5, "K", ge=2)
    cross_experts: int = setting(3, "j, of the experts, trained by the cross-domain task", ge=1)
    blocks: int = setting(2, "Transformer blocks of an expert", ge=1)
    heads: int = setting(1, "attention heads; a divisor of dim", ge=1)
    ff_dim: int | None = setting(None, "width inside the feed-forward network, else dim", ge=1)
    dropout: float = setting(0.2, "share that is left out", ge=0, lt=1)
    style: Literal["pre_norm", "paper"] = setting(
        "pre_norm", "paper: blocks without residual connections and normalisation"
    )
    gate: Literal[GATES] = setting(  # type: ignore[valid-type]
        "causal", "sequence, as published, also sees the items that are to be predicted"
    )
    asymmetric: bool = setting(True, "the stop-gradient between the two tasks")
    item_init: Literal["random", "cooccurrence"] = setting(
        "random",
        "first item vectors; cooccurrence: from what stands close together in training sequences",
    )
    similarity: Literal["cosine", "dot"] = setting("cosine", "of a query and an item; paper: dot")
    temperature: float = setting(0.1, "similarities are divided by it", gt=0)
    score: Literal["blend", "sum", "cross", "single"] = setting(
        "blend",
        "what predicts: both views, weighed in each domain on validation; both alike; or one, of "
        "which cross is as published",
    )
    neighbours: int = setting(
        0,
        "votes of each history item for so many items that the same users had, on top of the "
        "network's score; validation chooses what they weigh; 0: none",
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

    name: Annotated[str, pydantic.AfterValidator(_loss)] = setting(
        "sampled_softmax",
        "also gbce, bce, bpr, the paper's bpr_sigmoid, or one of your own (docs/extending.md)",
    )
    negatives: int = setting(256, "sampled from the target's domain", ge=1)
    shared_negatives: bool = setting(True, "the same for all targets of a batch and domain")
    eta: float = setting(0.9, "η, weight of prediction against SC-MIM (Eq. 18)", ge=0, le=1)
    mutual_information: bool = setting(True, "SC-MIM; docs/experiments.md says what it brings")
    rho: Literal["sigmoid", "bilinear"] = setting(
        "sigmoid", "similarity of the views in SC-MIM (Eq. 17); sigmoid bounds it"
    )
    contrast: Literal["all", "others"] = setting(
        "all", "who is in the normaliser of Eq. 16; others: as published"
    )
    reduction: Literal["mean", "sum"] = setting(
        "mean",
        "mean: over targets, and over users and their domains; sum: over a user's (Eq. 8, 9, 18)",
    )


class NegativeTransferConfig(Section):
    """λ (paper 4.3.3)."""

    enabled: bool = setting(True, "weigh the cross-domain loss of each domain")
    alpha: float = setting(1.0, "α, of the λ before (Eq. 11)", gt=0)
    beta: float = setting(1.0, "β, of the gap (Eq. 11)", gt=0)
    delta: float = setting(1.0, "δ, temperature (Eq. 11)", gt=0)
    trainable_rates: bool = setting(False, "whether α and β are trained, as published")
    gap: Literal["mean", "sum"] = setting("mean", "over the targets of a domain; paper: sum")
    scaled: bool = setting(True, "weights of |D| λ, where Eq. 12 has λ")


class TrainConfig(Section):
    """How it is minimised."""

    seed: int = setting(0, "of weights, dropout, negatives and order", ge=0)
    epochs: int = setting(100, "how many, or the most of them", ge=1)
    min_steps: int = setting(0, "little data gets more epochs, until there are as many", ge=0)
    batch_size: int = setting(128, "rows of a step", ge=1)
    learning_rate: float = setting(1e-3, "the highest, of a cosine", gt=0)
    precision: Literal["float32", "mixed_bfloat16"] = setting(
        "float32",
        "mixed_bfloat16: activations of half the size, for devices that have units for it (not "
        "faster on the CPUs we know)",
    )
    optimizer: Literal["adam", "rowwise_adam"] = setting(
        "rowwise_adam",
        "rowwise_adam: a step moves only the item vectors that its batch has read; adam: all of "
        "them, at a cost that grows with the catalogue",
    )
    schedule: Literal["constant", "cosine"] = setting(
        "constant",
        "a constant rate with early stopping; or one that rises for a while and then falls to a "
        "hundredth at the last step",
    )
    patience: int = setting(
        5,
        "epochs without improvement that a constant rate goes on for; a cosine is followed to its "
        "end",
        ge=1,
    )
    windows: Literal["all", "last"] = setting(
        "all", "of a long history, train on all windows of T items or on the last one alone"
    )
    checkpoint_steps: int = setting(
        0, "steps between checkpoints, besides the one at each epoch's end; 0: no others", ge=0
    )
    checkpoint_minutes: float = setting(0.0, "the same in time", ge=0)
    on_nan: Literal["stop", "skip"] = setting(
        "stop",
        "a step whose loss or gradient is no number: end the run, or go on as if it had not been "
        "made, and count it",
    )
    strategy: Literal[STRATEGIES] = setting(  # type: ignore[valid-type]
        "auto",
        "devices that train: auto takes every GPU there is, on this machine (mirrored) or on those "
        "of --workers or TF_CONFIG (multi_worker)",
    )


class EvaluateConfig(Section):
    """Full ranking and the served answer."""

    batch_size: int = setting(256, "rows ranked at a time", ge=1)
    top_k: int = setting(10, "answers of the exported `serving_default`", ge=1)
    max_k: int = setting(100, "the most that `with_options` may ask for", ge=1)
    keep_versions: int = setting(5, "exported versions that stay; older ones are deleted", ge=1)
