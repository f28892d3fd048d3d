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
)
