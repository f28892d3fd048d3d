"""Items by domain: which ids a network knows, and which of them training had."""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from tf_syncrec.models.trainer import Trainer


class ItemDomains(Trainer):
    """The domains of a `MultiDomainModel`; item ids are contiguous by domain, from 1.

    Attributes:
        domains: their names.
        domain_sizes: items of each.
        trained_sizes: those that training has, which stand before the others of their domain.
    """

    def _set_domains(
        self, domain_sizes: Mapping[str, int] | Sequence[int], trained_sizes: Sequence[int] | None
    ) -> None:
        """Arguments are those of `MultiDomainModel`."""
        self.domains, self.domain_sizes = _domains(domain_sizes)
        self.trained_sizes = _trained(trained_sizes, self.domain_sizes)
        # Python constants, not tensors: a tensor made here would belong to one graph.
        self._offsets = [1 + sum(self.domain_sizes[:d]) for d in range(self.num_domains)]

    @property
    def num_domains(self) -> int:
        """|D|."""
        return len(self.domain_sizes)

    @property
    def num_items(self) -> int:
        """|V|, the number of items over all domains."""
        return sum(self.domain_sizes)

    @property
    def offsets(self):
        """First item id of each domain, `[domains]` int32."""
        return tf.constant(self._offsets, tf.int32)

    @property
    def sizes(self):
        """Items of each domain, `[domains]` int32."""
        return tf.constant(self.domain_sizes, tf.int32)


def _domains(sizes: Mapping[str, int] | Sequence[int]) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names and sizes; by themselves domains are called 0, 1, ..."""
    names = tuple(sizes) if isinstance(sizes, Mapping) else tuple(map(str, range(len(sizes))))
    counts = tuple(map(int, sizes.values() if isinstance(sizes, Mapping) else sizes))
    if not counts or min(counts) < 0:
        raise ValueError(
            f"domain_sizes must be the numbers of items of one domain or more. Received: {sizes}"
        )
    return names, counts


def _trained(sizes: Sequence[int] | None, all_of_them: tuple[int, ...]) -> tuple[int, ...]:
    """Trained items of each domain, or all."""
    if sizes is None:
        return all_of_them
    found = tuple(map(int, sizes))
    if len(found) != len(all_of_them) or any(
        not 0 <= n <= size for n, size in zip(found, all_of_them, strict=True)
    ):
        raise ValueError(
            f"trained_sizes must be one a domain, and at most its items. Received: {sizes}, of "
            f"{all_of_them}"
        )
    return found
