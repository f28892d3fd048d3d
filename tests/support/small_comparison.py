"""A comparison of a moment: numbers that nobody trained for."""

from tf_syncrec.config import Config


def small_comparison(domains):
    """What `comparison.json` holds, of three models, as far as a page reads it."""
    value = {"mean": 0.1, "std": 0.01}
    names = ("hr@5", "hr@10", "ndcg@5", "ndcg@10", "mrr")

    def model(score, less):
        row = {"users": 100} | dict.fromkeys(names, value | {"mean": score})
        difference = {"mean": less, "low": less - 0.01, "high": less + 0.01, "p_value": 0.001}
        cell = {"users": 100, "hr@10": score, "ndcg@10": score, "share_of_hits": 0.5}
        of_domains = difference | {"p_holm": 0.001}
        against = {"overall": difference, "domains": dict.fromkeys(domains, of_domains)}
        cost = dict.fromkeys(("seconds_per_epoch", "seconds", "peak_memory_mb", "parameters"), 9)
        return {
            "about": "a model",
            "seeds": [0, 1],
            "test": {"overall": row, "domains": dict.fromkeys(domains, row)},
            "against_reference": {"ndcg@10": against} if less else {},
            "breakdown": {"cold": {"yes": cell, "no": cell}},
            "cost": cost | {"epochs": [3]},
        }

    difference = {"users": 100, "mean": -0.05, "low": -0.06, "high": -0.04}
    both = {"users": 100, "alone": 0.15, "all_domains": 0.1, "change": -0.33, "verdict": "hurt"}
    both["difference"] = difference | {"p_value": 0.001}
    return {
        "reference": "sasrec",
        "domains": domains,
        "models": {
            "sasrec": model(0.1, 0.0),
            "syncrec": model(0.12, 0.02),
            "mmoe": model(0.09, -0.01),
        },
        "negative_transfer": {"sasrec": {"overall": both, "domains": dict.fromkeys(domains, both)}},
        "negative_transfer_with_votes": {},
        "ablation": {},
        "tuning": {},
        "protocol": {"split": "leave-one-out"},
        "cold_target_share": 0.01,
        "data_card": {},
        "command": "python -m tf_syncrec.compare",
        "versions": {"tf_syncrec": "1"},
        "config": Config.model_validate({"model": {"dim": 8}}).model_dump(mode="json"),
    }
