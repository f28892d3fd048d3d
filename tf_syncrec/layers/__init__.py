"""Keras layers of SyNCRec; each can be used, saved and loaded on its own.

A class a file, named after it, and what cuts batches for them: `split_views`, `group_by_domain`.
May import: `data`, `distributed`, `utils`.
"""

from tf_syncrec.utils.keras_setup import check_keras

check_keras()

from tf_syncrec.layers.acmoe import ACMoE
from tf_syncrec.layers.domain_blocks import DomainBlocks, group_by_domain
from tf_syncrec.layers.dropout import Dropout
from tf_syncrec.layers.embedding import SharedEmbedding
from tf_syncrec.layers.experts import TransformerExperts
from tf_syncrec.layers.gates import GATES, CausalGate, SequenceGate
from tf_syncrec.layers.mutual_information import SingleCrossMutualInformation
from tf_syncrec.layers.negative_transfer import NegativeTransferGap, RelativeNegativeTransfer
from tf_syncrec.layers.score_terms.item_neighbours import ItemNeighbours
from tf_syncrec.layers.score_terms.popularity_trend import PopularityTrend
from tf_syncrec.layers.score_terms.repeat_consumption import RepeatConsumption
from tf_syncrec.layers.score_terms.user_neighbours import UserNeighbours
from tf_syncrec.layers.score_terms.view_weights import ViewWeights
from tf_syncrec.layers.similarity import Similarity
from tf_syncrec.layers.times.embedding import TimeEmbedding
from tf_syncrec.layers.towers import Tower
from tf_syncrec.layers.views import View, check_histories, check_queries, item_domains, split_views

__all__ = [
    "GATES",
    "ACMoE",
    "CausalGate",
    "DomainBlocks",
    "Dropout",
    "ItemNeighbours",
    "NegativeTransferGap",
    "PopularityTrend",
    "RelativeNegativeTransfer",
    "RepeatConsumption",
    "SequenceGate",
    "SharedEmbedding",
    "Similarity",
    "SingleCrossMutualInformation",
    "TimeEmbedding",
    "Tower",
    "TransformerExperts",
    "UserNeighbours",
    "View",
    "ViewWeights",
    "check_histories",
    "check_queries",
    "group_by_domain",
    "item_domains",
    "split_views",
]
