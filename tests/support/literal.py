"""SyNCRec straight from the paper's equations: slow, and made of loops one can check by eye.

One user at a time, |D| separate left-padded single-domain passes and one cross pass, one expert,
one head and one slot after another. It reads the weights of a `SyNCRec` model and shares no code
with it. Everything is plain eager TensorFlow, so that gradients exist.
"""

from types import SimpleNamespace

import numpy as np
import tensorflow as tf

PAD = 0


class Literal:
    """The model of the paper, section 4, with the weights of `model`.

    Args:
        model: a built `SyNCRec`.
    """

    def __init__(self, model):
        self.model = model
        self.options = SimpleNamespace(**model.get_config())
        self.window = self.options.window  # T
        self.sizes = model.domain_sizes
        self.domains = range(len(self.sizes))
        self.num_experts = self.options.experts  # K
        self.num_cross_experts = self.options.cross_experts  # j

    # ------------------------------------------------------------------------------- sequences

    def domain(self, item):
        """Domain of an item id; ids are contiguous by domain from 1."""
        first = 1
        for d in self.domains:
            if first <= item < first + self.sizes[d]:
                return d
            first += self.sizes[d]
        raise ValueError(f"no domain has an item {item}")

    def training_sequences(self, row):
        """Definition 1 and Fig. 2: inputs and targets of every pass of one user.

        Returns:
            `(cross, singles)`: `cross = (inputs, targets, slots)`, and such a triple for every
            domain with a target. `slots` says where each target stands in the cross sequence.
        """
        items = [int(x) for x in row if x != PAD]
        sequence = ["SOS", *items]  # the merged sequence X, with its start token
        sequence = sequence[-(self.window + 1) :]  # T inputs and their shifted targets
        inputs, targets = sequence[:-1], sequence[1:]
        cross = (inputs, targets, list(range(len(targets))))
        singles = {}
        for d in self.domains:
            slots = [t for t, x in enumerate(targets) if self.domain(x) == d]
            if slots:
                own = [targets[t] for t in slots]
                singles[d] = (self._shift(inputs[0], own, d)[:-1], own, slots)
        return cross, singles

    def prediction_sequences(self, row, d):
        """Inputs of the cross pass and of domain d's single pass that precede an unknown item."""
        items = [int(x) for x in row if x != PAD]
        inputs = ["SOS", *items][-self.window :]
        own = [x for x in inputs[1:] if self.domain(x) == d]
        return inputs, self._shift(inputs[0], own, d)

    def _shift(self, first, own, d):
        """What comes before the items of domain d: the window's first item, or (SOS)."""
        if first != "SOS" and self.domain(first) == d:
            return [first, *own]
        return ["SOS", *own]

    # ---------------------------------------------------------------------------------- layers

    def embed(self, inputs, start_token):
        """4.1: `E + P` of a left-padded sequence, a list of T rows; None stands for padding.

        Normalised outside of the paper's style.
        """
        embedding = self.model.embedding
        rows = [None] * (self.window - len(inputs))
        for i, token in enumerate(inputs):
            position = self.window - len(inputs) + i
            if token == "SOS":
                row = tf.convert_to_tensor(embedding.start_tokens)[start_token]
            else:
                row = tf.convert_to_tensor(embedding.items)[token]
            row += tf.convert_to_tensor(embedding.positions)[position]
            if self.options.style == "pre_norm":
                row = _layer_norm(row, 1.0, 0.0)
            rows.append(row)
        return rows

    def expert(self, k, rows):
        """4.2.2: the k-th expert, f_TRM^k."""
        layer, e = self.model.acmoe.cross_experts, k
        if k >= self.num_cross_experts:
            layer, e = self.model.acmoe.single_experts, k - self.num_cross_experts
        for block in layer.blocks:
            w = {name: tf.convert_to_tensor(weight)[e] for name, weight in block.items()}
            if self.options.style == "paper":
                rows = self._ffn(self._attention(rows, w), w)
                continue
            h = self._norms(rows, w["attention_scale"], w["attention_offset"])
            rows = self._add(rows, self._attention(h, w))
            h = self._norms(rows, w["ffn_scale"], w["ffn_offset"])
            rows = self._add(rows, self._ffn(h, w))
        if self.options.style == "pre_norm":
            w = {name: tf.convert_to_tensor(weight)[e] for name, weight in layer.final.items()}
            rows = self._norms(rows, w["final_scale"], w["final_offset"])
        return rows

    def _attention(self, rows, w):
        """Eq. 5-6, causal, blind to padding."""
        r = self.options.dim
        size = r // self.options.heads
        heads: list[list] = [[] for _ in rows]
        for i in range(self.options.heads):
            w_q, w_k, w_v = (
                w["qkv"][:, part * r + i * size : part * r + (i + 1) * size] for part in range(3)
            )
            keys, values = [], []  # of the slots so far that are not padding
            for t, z in enumerate(rows):
                if z is None:
                    continue
                keys.append(_times(z, w_k))
                values.append(_times(z, w_v))
                query = _times(z, w_q)
                logits = [tf.reduce_sum(query * key) / float(size) ** 0.5 for key in keys]
                weights = tf.unstack(tf.nn.softmax(tf.stack(logits)))
                heads[t].append(
                    tf.add_n([a * value for a, value in zip(weights, values, strict=True)])
                )
        return [_times(tf.concat(h, 0), w["out"]) if h else None for h in heads]

    def _ffn(self, rows, w):
        """Eq. 7, point by point."""
        return [
            None if h is None else _feed_forward(h, w["w1"], w["b1"][0], w["w2"], w["b2"][0])
            for h in rows
        ]

    def _norms(self, rows, scale, offset):
        return [None if x is None else _layer_norm(x, scale[0], offset[0]) for x in rows]

    def _add(self, rows, others):
        return [None if x is None else x + y for x, y in zip(rows, others, strict=True)]

    def gate(self, layer, g, rows):
        """Eq. 3, or its causal variant: K weights of every slot."""
        experts = self.num_experts
        kernel = tf.convert_to_tensor(layer.kernel)
        if self.options.gate == "sequence":
            logits = tf.zeros([experts])
            for t, e in enumerate(rows):
                if e is not None:
                    logits += _times(e, kernel[g, t])
            return [tf.nn.softmax(logits)] * len(rows)
        columns = slice(g * experts, (g + 1) * experts)
        gates = []
        for t in range(len(rows)):
            seen = [x for x in rows[: t + 1] if x is not None]
            if not seen:
                gates.append(tf.zeros([experts]))
                continue
            mean = tf.add_n(seen) / len(seen)
            bias = tf.convert_to_tensor(layer.bias)[columns]
            gates.append(tf.nn.softmax(_times(mean, kernel[:, columns]) + bias))
        return gates

    def mixture(self, rows, gates, learning):
        """f^d or f^cross (Eq. 2, 4): experts outside of `learning` sit behind SG."""
        mixed: list = [None if x is None else tf.zeros([self.options.dim]) for x in rows]
        for k in range(self.num_experts):
            output = self.expert(k, rows)
            for t, y in enumerate(output):
                if y is not None:
                    if self.options.asymmetric and k not in learning:
                        y = tf.stop_gradient(y)
                    mixed[t] += gates[t][k] * y
        return mixed

    def tower(self, layer, g, rows):
        """h^d or h^cross: a feed-forward network and a layer normalisation."""
        w = {
            name: tf.convert_to_tensor(getattr(layer, name))[g]
            for name in ("w1", "b1", "w2", "b2", "scale", "offset")
        }
        output: list = []
        for x in rows:
            if x is None:
                output.append(None)
                continue
            y = _feed_forward(x, w["w1"], w["b1"][0], w["w2"], w["b2"][0])
            if self.options.style == "pre_norm":
                y = x + y
            output.append(_layer_norm(y, w["scale"][0], w["offset"][0]))
        return output

    def cross_pass(self, inputs):
        """Y^cross of one user: its rows that are not padding (Eq. 4)."""
        rows = self.embed(inputs, start_token=0)
        gates = self.gate(self.model.acmoe.cross_gate, 0, rows)
        mixed = self.mixture(rows, gates, learning=range(self.num_cross_experts))
        return self.tower(self.model.acmoe.cross_tower, 0, mixed)[-len(inputs) :]

    def single_pass(self, inputs, d):
        """(Y^d)^single of one user: its rows that are not padding (Eq. 2)."""
        rows = self.embed(inputs, start_token=1 + d)
        gates = self.gate(self.model.acmoe.single_gate, d, rows)
        learning = range(self.num_cross_experts, self.num_experts)
        mixed = self.mixture(rows, gates, learning=learning)
        return self.tower(self.model.acmoe.single_tower, d, mixed)[-len(inputs) :]

    def representations(self, row):
        """Y^cross and Y^single of one user, each in chronological order, one row a target."""
        cross, singles = self.training_sequences(row)
        y_cross = self.cross_pass(cross[0])
        y_single = [None] * len(y_cross)
        for d, (inputs, _, slots) in singles.items():
            for slot, y in zip(slots, self.single_pass(inputs, d), strict=True):
                y_single[slot] = y
        return cross[1], y_cross, y_single

    # ---------------------------------------------------------------------------------- losses

    def score(self, y, item):
        """`y · M(x)`, or its cosine over the temperature."""
        m = tf.convert_to_tensor(self.model.embedding.items)[int(item)]
        if self.options.similarity == "cosine":
            y, m = y / tf.norm(y), m / tf.norm(m)
        return tf.reduce_sum(y * m) / self.model.similarity.temperature

    def item_loss(self, y, target, negatives):
        """-l_t of Eq. 8-9, or another loss; a negative that is the target or PAD does not count."""
        positive = self.score(y, target)
        others = [self.score(y, n) for n in negatives if int(n) not in (PAD, target)]
        name = self.options.loss
        if name == "bpr_sigmoid":
            terms = [-_log_sigmoid(tf.sigmoid(positive) - tf.sigmoid(n)) for n in others]
            return tf.add_n(terms) / len(terms) if terms else tf.zeros([])
        if name == "bpr":
            terms = [-_log_sigmoid(positive - n) for n in others]
            return tf.add_n(terms) / len(terms) if terms else tf.zeros([])
        if name == "bce":
            terms = [-_log_sigmoid(-n) for n in others]
            return -_log_sigmoid(positive) + (tf.add_n(terms) / len(terms) if terms else 0.0)
        if name == "sampled_softmax":
            return -tf.math.log(
                tf.exp(positive) / tf.add_n([tf.exp(x) for x in [positive, *others]])
            )
        raise ValueError(name)

    def batch(self, rows, negatives) -> dict[str, tf.Tensor]:
        """Everything about a training batch.

        Args:
            rows: one sequence of item ids a user, 0 pads.
            negatives: `(user, slot, domain) -> item ids`; slots count from a user's first target.
        """
        single = [tf.zeros([]) for _ in self.domains]
        cross = [tf.zeros([]) for _ in self.domains]
        counts = [0 for _ in self.domains]
        pooled = []
        for user, row in enumerate(rows):
            targets, y_cross, y_single = self.representations(row)
            of_domain: dict = {}
            for slot, x in enumerate(targets):
                d = self.domain(x)
                drawn = negatives(user, slot, d)
                single[d] += self.item_loss(y_single[slot], x, drawn)
                cross[d] += self.item_loss(y_cross[slot], x, drawn)
                counts[d] += 1
                of_domain.setdefault(d, []).append((y_single[slot], y_cross[slot]))
            pooled.append(
                {
                    d: [tf.add_n(list(part)) / len(pairs) for part in zip(*pairs, strict=True)]
                    for d, pairs in of_domain.items()
                }
            )

        gap = self.gaps(single, cross, counts)
        relative = self.relative_negative_transfer(gap, counts)
        enabled = self.options.negative_transfer
        corrected = tf.zeros([])
        for d in self.domains:  # Eq. 12
            weight = relative[d] if enabled else 1.0 / len(self.domains)
            if self.options.scaled:
                weight *= len(self.domains)
            corrected += weight * cross[d]
        # The sums of the paper are those of one user, so a batch is a mean over users.
        over = len(rows) if self.options.reduction == "sum" else sum(counts)
        loss_single = tf.add_n(single) / over
        loss_cross = tf.add_n(cross) / over
        loss = self.options.eta * (loss_single + corrected / over)  # Eq. 18
        mim = tf.zeros([])
        by_domain: list[list] = [[] for _ in self.domains]
        if self.options.mutual_information:
            by_domain = self.mutual_information(pooled)
            terms = [term for of_domain in by_domain for term in of_domain]
            mim = tf.add_n(terms) / (len(rows) if self.options.reduction == "sum" else len(terms))
            loss += (1 - self.options.eta) * mim
        return {
            "total": loss,
            "single": loss_single,
            "cross": loss_cross,
            "mutual_information": mim,
            "domain_single": tf.stack(single),
            "domain_cross": tf.stack(cross),
            "domain_targets": tf.constant(counts, tf.float32),
            "domain_mim": tf.stack([tf.add_n([tf.zeros([]), *terms]) for terms in by_domain]),
            "domain_users": tf.constant([len(terms) for terms in by_domain], tf.float32),
            "gap": tf.stack(gap),
            "gap_sums": tf.stack(
                [*map(tf.stack, (single, cross)), tf.constant(counts, tf.float32)]
            ),
            "relative": tf.stack(relative),
            "present": tf.constant([count > 0 for count in counts]),
        }

    def gaps(self, single, cross, counts):
        """φ(d), Eq. 10, of losses (negative log-likelihoods); a measurement, so no gradient."""
        gaps = []
        for d in self.domains:
            gap = tf.stop_gradient(single[d] - cross[d])
            if self.options.standardise:  # of the domain's own loss
                gap = gap / tf.stop_gradient(single[d]) if counts[d] else tf.zeros([])
            elif self.options.gap == "mean":
                gap = gap / counts[d] if counts[d] else tf.zeros([])
            gaps.append(gap)
        return gaps

    def relative_negative_transfer(self, gap, counts):
        """λ, Eq. 11, over the domains of the batch; the others keep theirs."""
        layer = self.model.negative_transfer
        if self.options.clamp:  # nobody gains at another's cost
            gap = [tf.minimum(of_domain, 0.0) for of_domain in gap]
        old = [tf.convert_to_tensor(layer.relative)[d] for d in self.domains]
        present = [d for d in self.domains if counts[d]]
        raised = {
            d: tf.exp((layer.alpha * old[d] + layer.beta * gap[d]) / layer.delta) for d in present
        }
        mass = tf.add_n([old[d] for d in present])
        return [
            mass * raised[d] / tf.add_n(list(raised.values())) if d in raised else old[d]
            for d in self.domains
        ]

    def mutual_information(self, pooled):
        """Eq. 14-17, by domain: every pair against the single views of all, or the other, users."""
        by_domain = []
        for d in self.domains:
            terms = []
            users = [views[d] for views in pooled if d in views]
            for i, (own_single, own_cross) in enumerate(users):
                candidates = [
                    tf.exp(self.rho(single, own_cross))
                    for j, (single, _) in enumerate(users)
                    if self.options.contrast == "all" or j != i
                ]
                if candidates:
                    own = self.rho(own_single, own_cross)
                    terms.append(tf.math.log(tf.add_n(candidates)) - own)
            by_domain.append(terms)
        return by_domain

    def rho(self, u, v):
        """Eq. 17."""
        w = tf.convert_to_tensor(self.model.mutual_information.kernel)
        value = tf.reduce_sum(u * tf.linalg.matvec(w, v))
        return tf.sigmoid(value) if self.options.rho == "sigmoid" else value

    # ------------------------------------------------------------------------------ prediction

    def scores(self, row, d):
        """`{score: scores}` of every item of domain d as the next one of a user (Eq. 19).

        The model's `score` is `blend`.
        """
        inputs, own = self.prediction_sequences(row, d)
        y_cross = self.cross_pass(inputs)[-1]
        y_single = self.single_pass(own, d)[-1]
        first = 1 + sum(self.sizes[:d])
        of_items = range(first, first + self.sizes[d])
        cross = np.array([self.score(y_cross, item) for item in of_items])
        single = np.array([self.score(y_single, item) for item in of_items])
        w = float(self.model.view_weights.single[d])
        blend = w * single + (2 - w) * cross
        return {"cross": cross, "single": single, "sum": cross + single, "blend": blend}


def _times(x, matrix):
    """Row vector times matrix."""
    return tf.linalg.matvec(matrix, x, transpose_a=True)


def _feed_forward(x, w1, b1, w2, b2):
    """FC of Eq. 7 with the exact GELU, x Φ(x)."""
    hidden = _times(x, w1) + b1
    hidden = hidden * 0.5 * (1.0 + tf.math.erf(hidden / tf.sqrt(2.0)))
    return _times(hidden, w2) + b2


def _layer_norm(x, scale, offset):
    centred = x - tf.reduce_mean(x)
    return centred / tf.sqrt(tf.reduce_mean(centred**2) + 1e-6) * scale + offset


def _log_sigmoid(x):
    return tf.math.log(1.0 / (1.0 + tf.exp(-x)))
