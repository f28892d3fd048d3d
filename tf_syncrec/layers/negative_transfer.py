"""Negative transfer gap φ and relative negative transfer λ of each domain (paper 4.3.2-4.3.3)."""

import keras
import tensorflow as tf


def _softplus_inverse(x):
    return float(tf.math.log(tf.math.expm1(x)))


@keras.saving.register_keras_serializable("tf_syncrec")
class NegativeTransferGap(keras.layers.Layer):
    """Measures φ(d) = L_single(d) - L_cross(d), negative when the other domains hurt d.

    A batch has few targets of a small domain, so that its φ is mostly noise; `smoothing` takes the
    losses of the steps before along. Nats of a domain that is hard to predict are not those of an
    easy one; `standardise` asks which part of the domain's own loss the others save or cost.

    Args:
        num_domains: |D|.
        kind: φ is the `"mean"` over a domain's targets, or their `"sum"` (Eq. 10).
        standardise: whether φ is divided by L_single.
        smoothing: weight of the sums before a step, in [0, 1); 0: φ of the batch alone.

    ```python
    measure = NegativeTransferGap(num_domains=2)
    single, cross, targets = tf.constant([[8.0, 3.0], [6.0, 4.0], [4.0, 2.0]])
    gap, sums = measure(single, cross, targets)  # φ is 0.5 and -0.5
    measure.update(sums)
    ```

    Reference: Pacer and Runner (SIGIR 2024), section 4.3.2, Definition 2 and Eq. 10.
    """

    def __init__(self, num_domains, kind="mean", standardise=False, smoothing=0.0, **kwargs):
        super().__init__(**kwargs)
        if kind not in ("mean", "sum"):
            raise ValueError(f"kind must be 'mean' or 'sum'. Received: {kind!r}")
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing must be at least 0 and below 1. Received: {smoothing}")
        self.num_domains = num_domains
        self.kind = kind
        self.standardise = standardise
        self.smoothing = smoothing

    def build(self, input_shape=None):
        """Creates the sums that are kept, `[3, domains]`; without smoothing there are none."""
        self.sums = None
        if self.smoothing:
            self.sums = self.add_weight(
                shape=(3, self.num_domains),
                initializer="zeros",
                trainable=False,
                aggregation="mean",  # every replica computes the same
                name="sums",
            )
        self.built = True

    def call(self, single, cross, targets):
        """φ after this batch; `update` stores what it is made of.

        Args:
            single: `[domains]`, sum of the single-view losses of each domain's targets.
            cross: `[domains]`, the same of the cross view.
            targets: `[domains]`, how many targets these are.

        Returns:
            φ, `[domains]`, through which no gradient flows, and the sums behind it, `[3, domains]`.
        """
        sums = tf.stop_gradient(tf.stack([single, cross, targets]))
        if self.sums is not None:
            before = tf.convert_to_tensor(self.sums)
            moved = self.smoothing * before + (1.0 - self.smoothing) * sums
            sums = tf.where(targets > 0, moved, before)
        single, cross, count = tf.unstack(sums)
        gap = single - cross
        if self.standardise:
            return tf.math.divide_no_nan(gap, single), sums
        return (tf.math.divide_no_nan(gap, count) if self.kind == "mean" else gap), sums

    def update(self, sums):
        """Stores the sums of `call`."""
        if self.sums is not None:
            self.sums.assign(sums)

    def compute_output_shape(self, input_shape):
        return input_shape, (3, *input_shape)

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {
            "num_domains": self.num_domains,
            "kind": self.kind,
            "standardise": self.standardise,
            "smoothing": self.smoothing,
        }


@keras.saving.register_keras_serializable("tf_syncrec")
class RelativeNegativeTransfer(keras.layers.Layer):
    """Keeps λ and updates it from the negative transfer gaps φ of a batch.

    φ(d) = L_single(d) - L_cross(d) is negative when the other domains hurt d, and a smaller φ gives
    a smaller λ: `λ <- softmax((α λ + β φ) / δ)` once per training step. λ starts uniform, which the
    update cannot tell from the paper's start at 0, since softmax ignores a common shift.

    α and β are kept positive by a softplus: with a negative β the model would favour the very
    domains that suffer. If they learn, then through the corrected loss; φ is a measurement.

    Softmax shares out one whole. As published, a domain that gains much therefore takes weight from
    one that gains less, though nobody hurts either; `clamp` counts a φ above 0 as 0.

    Args:
        num_domains: |D|.
        alpha: initial weight of the previous λ.
        beta: initial weight of the gap.
        delta: δ, temperature of the softmax.
        trainable_rates: whether α and β learn.
        clamp: whether φ above 0 counts as 0.

    ```python
    transfer = RelativeNegativeTransfer(num_domains=3)
    gap, present = tf.constant([0.1, -0.4, 0.0]), tf.constant([True, True, False])
    relative = transfer(gap, present)  # (3,): least for the second, a third for the absent one
    transfer.update(relative, gap, present)
    ```

    Reference: Pacer and Runner (SIGIR 2024), section 4.3.3, Eq. 10-11.
    """

    def __init__(
        self,
        num_domains,
        alpha=1.0,
        beta=1.0,
        delta=1.0,
        trainable_rates=False,
        clamp=False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if min(alpha, beta, delta) <= 0:
            raise ValueError(
                f"alpha, beta and delta must be positive. Received: {alpha=}, {beta=}, {delta=}"
            )
        self.num_domains = num_domains
        self.initial_alpha = alpha
        self.initial_beta = beta
        self.delta = delta
        self.trainable_rates = trainable_rates
        self.clamp = clamp

    def build(self, input_shape=None):
        """Creates λ and φ `[domains]` and the scalars behind α and β."""

        def state(name, value):
            # Every replica computes the same value; "mean" lets each of them assign it.
            return self.add_weight(
                shape=(self.num_domains,),
                initializer=keras.initializers.Constant(value),
                trainable=False,
                aggregation="mean",
                name=name,
            )

        def rate(name, value):
            return self.add_weight(
                shape=(),
                initializer=keras.initializers.Constant(_softplus_inverse(value)),
                trainable=self.trainable_rates,
                name=name,
            )

        self.relative = state("lambda", 1.0 / self.num_domains)
        self.gap = state("gap", 0.0)
        self.raw_alpha = rate("alpha", self.initial_alpha)
        self.raw_beta = rate("beta", self.initial_beta)
        self.built = True

    @property
    def alpha(self):
        """α > 0, scalar."""
        return tf.nn.softplus(tf.convert_to_tensor(self.raw_alpha))

    @property
    def beta(self):
        """β > 0, scalar."""
        return tf.nn.softplus(tf.convert_to_tensor(self.raw_beta))

    def call(self, gap, present):
        """λ after this batch; `update` stores it.

        Args:
            gap: φ, `[domains]`; any value where `present` is False.
            present: `[domains]` bool, whether the batch has targets of the domain.

        Returns:
            `[domains]`, summing to 1. Absent domains keep their λ; the present ones share theirs.
        """
        relative = tf.convert_to_tensor(self.relative)
        counted = tf.stop_gradient(tf.minimum(gap, 0.0) if self.clamp else gap)
        logits = (self.alpha * relative + self.beta * counted) / self.delta
        shares = tf.nn.softmax(tf.where(present, logits, -1e9))
        mass = tf.reduce_sum(tf.where(present, relative, 0.0))
        return tf.where(present, mass * shares, relative)

    def update(self, relative, gap, present):
        """Stores λ and the gaps of the domains present."""
        self.relative.assign(relative)
        self.gap.assign(tf.where(present, gap, tf.convert_to_tensor(self.gap)))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        """Constructor arguments."""
        return super().get_config() | {
            "num_domains": self.num_domains,
            "alpha": self.initial_alpha,
            "beta": self.initial_beta,
            "delta": self.delta,
            "trainable_rates": self.trainable_rates,
            "clamp": self.clamp,
        }
