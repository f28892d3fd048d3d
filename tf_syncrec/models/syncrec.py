"""SyNCRec: single- and cross-domain sequential recommendation in one network (paper 4)."""

from collections.abc import Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from tf_syncrec.distributed.replicas import over_replicas
from tf_syncrec.layers import (
    ACMoE,
    NegativeTransferGap,
    RelativeNegativeTransfer,
    SingleCrossMutualInformation,
    ViewWeights,
    group_by_domain,
)
from tf_syncrec.layers.mutual_information import pool_by_domain
from tf_syncrec.metrics.domain_tracker import DomainTracker, domain_means
from tf_syncrec.models.base import MultiDomainModel

_OTHERS = ("self", "domain_sizes", "kwargs", "__class__")
"""What is no argument of `SyNCRec` alone where its constructor begins."""


class Losses(NamedTuple):
    """What one batch costs, and what it says about the domains.

    Attributes:
        total: the loss L of Eq. 18, scalar.
        single: L_single, mean over targets or over users (`loss.reduction`), scalar.
        cross: uncorrected L_cross, likewise, scalar.
        mutual_information: SC-MIM loss, mean over users and their domains or over users, scalar.
        domain_single: sum of the single-view losses of each domain's targets, `[domains]`.
        domain_cross: the same of the cross view, `[domains]`.
        domain_targets: number of targets of each domain, `[domains]`.
        domain_mim: sum of the SC-MIM terms of each domain's users, `[domains]`.
        domain_users: number of these terms, `[domains]`.
        relative: λ after this batch, `[domains]`.
        gap: φ, `[domains]`.
        gap_sums: what φ is made of, `[3, domains]`.
        present: whether any replica has a target of the domain, `[domains]` bool.
    """

    total: tf.Tensor
    single: tf.Tensor
    cross: tf.Tensor
    mutual_information: tf.Tensor
    domain_single: tf.Tensor
    domain_cross: tf.Tensor
    domain_targets: tf.Tensor
    domain_mim: tf.Tensor
    domain_users: tf.Tensor
    relative: tf.Tensor
    gap: tf.Tensor
    gap_sums: tf.Tensor
    present: tf.Tensor


@keras.saving.register_keras_serializable("tf_syncrec")
class SyNCRec(MultiDomainModel):
    """The whole model: two views, ACMoE, LC-NTG and SC-MIM.

    Args:
        domain_sizes: as in `MultiDomainModel`.
        experts: K, or the experts themselves: two layers as `layers.TransformerExperts`, those that
            the cross-domain task trains and those that the single-domain task trains; of one layer
            each task has a copy.
        cross_experts: j, how many of K the cross-domain task trains.
        blocks: attention blocks of an expert.
        heads: attention heads.
        ff_dim: inner width of the feed-forward networks; None: r.
        gate: `"causal"`, or `"sequence"` (as published).
        asymmetric: whether the asymmetric stop-gradient is there (Table 5: "w/o ACMoE").
        score: `"blend"`: both views, weighed by domain; `"sum"`, `"cross"` or `"single"`.
        eta: η of Eq. 18.
        mutual_information: whether SC-MIM is there.
        rho: of SC-MIM, `"sigmoid"` or `"bilinear"`.
        contrast: of SC-MIM, `"all"` or `"others"`.
        reduction: `"mean"` over targets, or `"sum"` over those of a user (Eq. 8, 9, 18).
        negative_transfer: whether λ weighs the cross-domain loss; it is measured in any case.
        alpha: α of Eq. 11.
        beta: β of Eq. 11.
        delta: δ of Eq. 11.
        trainable_rates: whether α and β learn.
        gap: φ is the `"mean"` over a domain's targets, or their `"sum"`.
        standardise: whether φ is a part of the domain's own loss.
        smoothing: weight of the steps before in φ, in [0, 1).
        clamp: whether φ above 0 counts as 0 in λ.
        scaled: weights of |D| λ, where Eq. 12 has λ.
        kwargs: as in `MultiDomainModel`.

    Example:
        >>> model = SyNCRec({"books": 250, "films": 300}, dim=32, experts=2, cross_experts=1)
        >>> model({"items": tf.constant([[0, 3, 260]]), "domain": tf.constant([0])}).shape
        TensorShape([1, 32])

    Reference: Pacer and Runner (SIGIR 2024), section 4.
    """

    def __init__(
        self,
        domain_sizes,
        *,
        experts: int | Sequence[keras.layers.Layer] = 5,
        cross_experts: int = 3,
        blocks: int = 2,
        heads: int = 1,
        ff_dim: int | None = None,
        gate: str = "causal",
        asymmetric: bool = True,
        score: str = "blend",
        eta: float = 0.9,
        mutual_information: bool = True,
        rho: str = "sigmoid",
        contrast: str = "all",
        reduction: str = "mean",
        negative_transfer: bool = True,
        alpha: float = 1.0,
        beta: float = 1.0,
        delta: float = 1.0,
        trainable_rates: bool = False,
        gap: str = "mean",
        standardise: bool = False,
        smoothing: float = 0.0,
        clamp: bool = False,
        scaled: bool = True,
        **kwargs,
    ):
        arguments = {name: value for name, value in locals().items() if name not in _OTHERS}
        super().__init__(domain_sizes, **kwargs)
        for name, value, known in (
            ("score", score, ("blend", "sum", "cross", "single")),
            ("reduction", reduction, ("mean", "sum")),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {known}. Received: {value!r}")
        self.score, self.eta, self.reduction = score, eta, reduction
        self.corrected, self.scaled = negative_transfer, scaled
        given = None
        if not isinstance(experts, int):
            given = _two_groups(experts)
            cross_experts = given[0].num_experts
        self.acmoe = ACMoE(
            sum(layer.num_experts for layer in given) if given else experts,
            cross_experts,
            self.num_domains,
            self.window,
            self.dim,
            num_blocks=blocks,
            num_heads=heads,
            ff_dim=ff_dim,
            dropout=self.dropout_rate,
            style=self.style,
            gate=gate,
            asymmetric=asymmetric,
            experts=given,
            dtype=self.dtype_policy,
        )
        self.gap = NegativeTransferGap(
            self.num_domains, gap, standardise, smoothing, dtype="float32"
        )
        self.negative_transfer = RelativeNegativeTransfer(
            self.num_domains,
            alpha,
            beta,
            delta,
            trainable_rates and negative_transfer,
            clamp,
            dtype="float32",
        )
        self.mutual_information = self.view_weights = None
        if mutual_information:
            self.mutual_information = SingleCrossMutualInformation(
                self.dim, rho, contrast, dtype=self.dtype_policy
            )
        if score == "blend":
            self.view_weights = ViewWeights(self.num_domains, dtype="float32")
        self._arguments = arguments if given is None else arguments | {"experts": None}
        self.build_parts(
            self.acmoe, self.gap, self.negative_transfer, self.mutual_information, self.view_weights
        )

    def get_config(self):
        """Constructor arguments."""
        config = super().get_config() | dict(self._arguments)
        if config["experts"] is None:  # given as layers
            groups = (self.acmoe.cross_experts, self.acmoe.single_experts)
            config["experts"] = [keras.saving.serialize_keras_object(group) for group in groups]
        return config

    @property
    def reported(self):
        """As in `MultiDomainModel`; no SC-MIM where there is none."""
        names = {"loss": "total", "loss_single": "single", "loss_cross": "cross"}
        return names | ({"loss_mim": "mutual_information"} if self.mutual_information else {})

    # ------------------------------------------------------------------------------ prediction

    def query_vectors(self, items, domains, times=None):
        """As in `MultiDomainModel`, by the views that `score` names (Eq. 19)."""
        items, domains = self.checked(items, domains)
        if self.score == "cross":
            shape = [tf.shape(items)[0], tf.shape(domains)[1], self.dim]
            return tf.broadcast_to(self.cross_queries(items, domains, times), shape)
        if self.score == "single":
            return self.single_queries(items, domains, times)
        cross = self.cross_queries(items, domains, times)
        single = self.single_queries(items, domains, times)
        if self.view_weights is None:
            return cross + single
        of_single, of_cross = self.view_weights(domains)
        return of_cross[..., None] * cross + of_single[..., None] * single

    def view_queries(self, items, domains, times=None):
        """As in `MultiDomainModel`: the single view's and the cross view's."""
        return self.single_queries(items, domains, times), self.cross_queries(items, domains, times)

    def cross_queries(self, items, domains, times=None):
        """What the cross view looks for, the same in all domains: `[batch, 1, dim]` float32."""
        view, _ = self.views(items, domains, times)
        y = self.acmoe.cross(self.embedding(view), view, last=1)
        return tf.cast(self.similarity.query(y), tf.float32)

    def single_queries(self, items, domains, times=None):
        """What the single view of each domain looks for: `[batch, queries, dim]` float32."""
        _, view = self.views(items, domains, times)
        blocks = group_by_domain(domains, self.num_domains)
        y = self.acmoe.single(self.embedding(view), view, blocks, last=tf.shape(domains)[1])
        query = self.similarity.query(blocks.scatter(y, tf.shape(domains)))
        return tf.cast(query, tf.float32)

    @property
    def expert_names(self):
        """Each of the K experts by the task that trains it."""
        j = self.acmoe.num_cross_experts
        of_single = range(self.acmoe.num_experts - j)
        return [f"cross {n + 1}" for n in range(j)] + [f"single {n + 1}" for n in of_single]

    def gate_weights(self, items, domains):
        """How much each expert counts in a prediction (Eq. 3).

        Args:
            items: as in `query_vectors`.
            domains: as in `query_vectors`.

        Returns:
            g^cross, `[batch, experts]`, and g^d, `[batch, queries, experts]`, float32, of
            `expert_names`.
        """
        items, domains = self.checked(items, domains)
        cross, single = self.views(items, domains)
        cross_gates = self.acmoe.cross_gate(
            self.embedding(cross), tf.zeros_like(cross.tokens), cross.positions, cross.mask
        )
        single_gates = self.acmoe.single_gate(
            self.embedding(single), single.domains, single.positions, single.mask
        )
        single_gates = single_gates[:, tf.shape(single_gates)[1] - tf.shape(domains)[1] :]
        return tf.cast(cross_gates[:, -1], tf.float32), tf.cast(single_gates, tf.float32)

    # -------------------------------------------------------------------------------- training

    def batch_losses(self, items, segments=None, training=True, timestamps=None) -> Losses:
        """All losses of a batch (Eq. 8-18), as `Losses`; arguments as in `MultiDomainModel`."""
        cross_view, single_view = self.training_views(items, segments, timestamps, training)
        blocks = group_by_domain(single_view.domains, self.num_domains)
        y_cross = self.acmoe.cross(
            self.embedding(cross_view, training=training), cross_view, training=training
        )
        y_single = self.acmoe.single(
            self.embedding(single_view, training=training), single_view, blocks, training=training
        )

        targets = blocks.gather(single_view.targets(items))
        target_losses = self.target_losses([y_single, blocks.gather(y_cross)], targets, blocks)
        domain_single, domain_cross = (
            blocks.sum_by_domain(loss, self.num_domains) for loss in target_losses
        )
        domain_targets = blocks.sum_by_domain(tf.ones_like(target_losses[0]), self.num_domains)

        # Of the global batch, on every replica the same.
        of_all = over_replicas(tf.stack([domain_single, domain_cross, domain_targets]))
        gap, gap_sums = self.gap(*tf.unstack(of_all))
        present = of_all[2] > 0
        relative = self.negative_transfer(gap, present)
        weights = relative
        if not self.corrected:  # measured, but as if no domain suffered
            weights = tf.fill([self.num_domains], 1.0 / self.num_domains)
        if self.scaled:
            # |D| λ is 1 for every domain while none suffers more than another.
            weights *= self.num_domains
        if self.reduction == "sum":
            sequences = tf.unique(tf.reshape(single_view.segments, [-1])).y
            count = over_replicas(tf.reduce_sum(tf.cast(sequences >= 0, tf.float32)))
        else:
            count = over_replicas(tf.reduce_sum(domain_targets))
        single = tf.math.divide_no_nan(tf.reduce_sum(domain_single), count)
        cross = tf.math.divide_no_nan(tf.reduce_sum(domain_cross), count)
        corrected = tf.math.divide_no_nan(tf.reduce_sum(weights * domain_cross), count)
        mim = tf.zeros([])
        domain_mim = domain_users = tf.zeros([self.num_domains])
        if self.mutual_information:
            domain_mim, domain_users = self._mutual_information(
                y_single, y_cross, single_view, blocks
            )
            if self.reduction == "mean":
                count = over_replicas(tf.reduce_sum(domain_users))
            mim = tf.math.divide_no_nan(tf.reduce_sum(domain_mim), count)
        total = self.eta * (single + corrected) + (1.0 - self.eta) * mim
        return Losses(
            total,
            single,
            cross,
            mim,
            domain_single,
            domain_cross,
            domain_targets,
            domain_mim,
            domain_users,
            relative,
            gap,
            gap_sums,
            present,
        )

    def _mutual_information(self, y_single, y_cross, view, blocks):
        """Sum and number of SC-MIM terms (Eq. 16), each `[domains]`."""
        y_single = blocks.scatter(y_single, tf.shape(view.domains))
        single, present = pool_by_domain(y_single, view.segments, view.domains, self.num_domains)
        cross, _ = pool_by_domain(y_cross, view.segments, view.domains, self.num_domains)
        assert self.mutual_information is not None
        return self.mutual_information(single, cross, present)

    def compile(self, *args, **kwargs):
        """As in `MultiDomainModel`."""
        super().compile(*args, **kwargs)
        self.domain_tracker = DomainTracker(self.num_domains)
        self._expert_weights = {
            "gradient_cross_experts": self.acmoe.cross_experts,
            "gradient_single_experts": self.acmoe.single_experts,
        }
        for name in self._expert_weights:
            self.trackers[name] = keras.metrics.Mean(name)

    @property
    def metrics(self):
        """As in `MultiDomainModel`, and what the batches of an epoch say of the domains."""
        training = self.compiled and not self._evaluating
        return super().metrics + ([self.domain_tracker] if training else [])

    def watch_gradients(self, gradients, weights):
        """Notes the norm of the gradient of either group of experts, of a replica its share."""
        of_weight = {id(w): g for w, g in zip(weights, gradients, strict=True) if g is not None}
        for name, experts in self._expert_weights.items():
            own = [of_weight[id(w)] for w in experts.trainable_weights if id(w) in of_weight]
            self.trackers[name].update_state(tf.linalg.global_norm(own))

    def after_step(self, losses):
        """Updates φ and λ, once a step."""
        self.gap.update(losses.gap_sums)
        self.negative_transfer.update(losses.relative, losses.gap, losses.present)
        self.domain_tracker.update_state(losses)

    def epoch_scalars(self):
        """As in `MultiDomainModel`, and α and β."""
        return super().epoch_scalars() | {
            "alpha": float(self.negative_transfer.alpha),
            "beta": float(self.negative_transfer.beta),
        }

    def domain_sums(self):
        """What the steps of the epoch so far add up to, `[quantities, domains]`."""
        return tf.convert_to_tensor(self.domain_tracker.sums).numpy()

    def domain_means(self, sums):
        """Losses in both views, SC-MIM and λ, means over some steps, and φ.

        Args:
            sums: of `domain_sums`, or the difference of two.
        """
        single, cross, relative, mim = domain_means(sums).numpy()
        means = {
            "loss_single": single,
            "loss_cross": cross,
            "gap": single - cross,
            "lambda": relative,
        }
        return means | ({"loss_mim": mim} if self.mutual_information else {})

    def epoch_domains(self):
        """`domain_means` of the epoch."""
        return self.domain_means(self.domain_sums())


def _two_groups(experts) -> list[keras.layers.Layer]:
    """Experts of either task, from two layers or one."""
    if isinstance(experts, keras.layers.Layer):
        experts = experts, type(experts).from_config(experts.get_config())
    groups = list(experts)
    if len(groups) != 2 or not all(hasattr(group, "num_experts") for group in groups):
        raise ValueError(
            "experts must be a number, a layer with `num_experts`, or two of them. "
            f"Received: {experts!r}"
        )
    return groups
