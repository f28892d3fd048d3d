"""What networks have in common that have a vector of a user in each domain."""

import tensorflow as tf

from tf_syncrec.models.baselines.bprmf import BPRMF


class UsersByDomain(BPRMF):
    """Matrix factorisation whose users look for something else in each domain.

    A row of the table of users is one vector a domain, side by side; a subclass says what a user is
    in each domain by all of them (`of_domains`).
    """

    @property
    def user_width(self) -> int:
        """As in `BPRMF`: of all domains."""
        return self.num_domains * self.dim

    def own_vectors(self, rows):
        """What the table says of users, `[batch, domains, dim]`."""
        users = tf.gather(self.users.embeddings.value, rows)
        return tf.reshape(users, [-1, self.user_width // self.dim, self.dim])

    def of_domains(self, rows):
        """What users are in each domain.

        Args:
            rows: `[batch]`, places in `user_ids`.

        Returns:
            `[batch, domains, dim]`.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what a user looks for")

    def user_vectors(self, rows, domains):
        """As in `BPRMF`, of each domain."""
        y = tf.gather(self.of_domains(rows), tf.cast(domains, tf.int32), batch_dims=1)
        return tf.cast(self.similarity.query(y), tf.float32)

    def representations(self, rows, domains):
        """As in `BPRMF`, of the domain of each target."""
        return tf.gather(self.of_domains(rows), tf.maximum(domains, 0), batch_dims=1)
