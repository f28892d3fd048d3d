"""Groups slots by domain, so that each domain's own weights meet only its own slots."""

from typing import NamedTuple

import tensorflow as tf


class DomainBlocks(NamedTuple):
    """Slots of a batch sorted into blocks of one domain each.

    A product with per-domain weights becomes one batched product over blocks, whose cost follows
    the number of slots and not the number of domains, however unevenly the slots spread.

    Attributes:
        slots: `[blocks, block_size]` int32, flat slot index (batch * slots); 0 where `mask` is off.
        mask: `[blocks, block_size]` bool.
        domains: `[blocks]` int32, the domain of each block.
        cells: `[batch * slots]` int32, flat cell of each slot; -1 for padding slots.
    """

    slots: tf.Tensor
    mask: tf.Tensor
    domains: tf.Tensor
    cells: tf.Tensor

    def gather(self, x):
        """`[batch, slots, ...]` -> `[blocks, block_size, ...]`; masked cells hold slot 0."""
        shape = tf.shape(x)
        return tf.gather(tf.reshape(x, tf.concat([[-1], shape[2:]], 0)), self.slots)

    def scatter(self, x, batch_shape):
        """`[blocks, block_size, dim]` -> `[batch, slots, dim]`, zero at padding slots."""
        dim = x.shape[-1]
        # A row of zeros for padding slots to read.
        rows = tf.pad(tf.reshape(x, [-1, dim]), [[0, 1], [0, 0]])
        cells = tf.where(self.cells >= 0, self.cells, tf.shape(rows)[0] - 1)
        return tf.reshape(tf.gather(rows, cells), tf.concat([batch_shape, [dim]], 0))

    def sum_by_domain(self, values, num_domains):
        """Sums `[blocks, block_size]` values over the slots of each domain: `[domains]`."""
        sums = tf.reduce_sum(tf.where(self.mask, values, 0), axis=1)
        return tf.math.unsorted_segment_sum(sums, self.domains, num_domains)


def group_by_domain(domains, num_domains, block_size=64) -> DomainBlocks:
    """Sorts slots into single-domain blocks.

    Args:
        domains: `[batch, slots]` int32, -1 at padding.
        num_domains: |D|.
        block_size: slots a block; at most `num_domains * (block_size - 1)` cells stay empty.
    """
    flat = tf.reshape(domains, [-1])
    keys = tf.where(flat < 0, num_domains, flat)
    order = tf.argsort(keys, stable=True)
    counts = tf.math.bincount(keys, minlength=num_domains + 1, maxlength=num_domains + 1)
    num_valid = tf.reduce_sum(counts[:-1])
    blocks_per_domain = (counts[:-1] + block_size - 1) // block_size
    first_cell = tf.cumsum(blocks_per_domain, exclusive=True) * block_size
    first_row = tf.cumsum(counts, exclusive=True)[:-1]

    slots = order[:num_valid]
    slot_domains = tf.gather(keys, slots)
    cells = tf.range(num_valid) + tf.gather(first_cell - first_row, slot_domains)

    num_blocks = tf.reduce_sum(blocks_per_domain)
    slot_of_cell = tf.tensor_scatter_nd_update(
        tf.fill([num_blocks * block_size], -1), cells[:, None], slots
    )
    cell_of_slot = tf.tensor_scatter_nd_update(tf.fill([tf.size(flat)], -1), slots[:, None], cells)
    slot_of_cell = tf.reshape(slot_of_cell, [num_blocks, block_size])
    return DomainBlocks(
        slots=tf.maximum(slot_of_cell, 0),
        mask=slot_of_cell >= 0,
        domains=tf.repeat(tf.range(num_domains), blocks_per_domain),
        cells=cell_of_slot,
    )
