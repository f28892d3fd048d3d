"""Which of RecBole's models are supported and tried, as RecBole calls them."""

MODELS = (
    "SASRec",
    "GRU4Rec",
    "BERT4Rec",
    "LightSANs",
    "NARM",
    "STAMP",
    "NextItNet",
    "SINE",
    "TransRec",
    "GCMC",
    "S3Rec",
    "FDSA",
)

WITH_ATTRIBUTES = ("S3Rec", "FDSA")
"""Those of them that need to know what items are."""
