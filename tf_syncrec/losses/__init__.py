"""What a target costs, and what it is compared with.

Loss functions by name, and negatives.
May import: nothing of `tf_syncrec`.
"""

from tf_syncrec.losses.functions import LOSSES, get, register, serialize
from tf_syncrec.losses.negatives import UniformNegatives

__all__ = ["LOSSES", "UniformNegatives", "get", "register", "serialize"]
