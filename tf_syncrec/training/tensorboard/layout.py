"""The tab Custom Scalars: what matters, in the order in which one asks; and numbers of the end."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorboard.plugins.custom_scalar import layout_pb2, summary

from tf_syncrec.evaluation import by_domain
from tf_syncrec.metrics.answer_lists import LIST_METRICS
from tf_syncrec.metrics.gains import METRICS, SELECTION_METRIC, shown_split

CHARTS = {
    "How good": {
        "validation NDCG@10, all domains": rf"^validation/overall/{SELECTION_METRIC}$",
        "validation NDCG@10 of each domain": rf"^validation/(?!overall/).*/{SELECTION_METRIC}$",
        "final NDCG@10 (test, or validation)": rf"^result/.*/{SELECTION_METRIC}$",
    },
    "Is a domain hurt?": {
        "gap φ on training data: below 0 the other domains hurt": "^gap/",
        "λ: weight of the cross-domain loss": "^lambda/",
    },
    "Does it learn?": {
        "loss and its parts": "^training/loss",
        "loss from the domain's own history": "^loss_single/",
        "loss from the history of all domains": "^loss_cross/",
    },
    "Beyond accuracy": {
        name.replace("_", " "): f"^beyond_accuracy/.*/{name}$" for name in LIST_METRICS
    },
}
"""Categories, and their charts: title and which tags."""


HEADLINE = "NDCG@10"
"""Tag of the final result over all domains."""


def write_layout() -> None:
    """Writes the layout into the log that is open; the first category is unfolded."""
    categories = [
        layout_pb2.Category(
            title=title,
            closed=number > 1,
            chart=[
                layout_pb2.Chart(title=name, multiline=layout_pb2.MultilineChartContent(tag=[tag]))
                for name, tag in charts.items()
            ],
        )
        for number, (title, charts) in enumerate(CHARTS.items())
    ]
    layout = summary.pb(layout_pb2.Layout(category=categories))
    tf.summary.experimental.write_raw_pb(layout.SerializeToString(), step=0)


def write_result(log_dir: Path, metrics: Mapping[str, Any], step: int) -> None:
    """Adds what is measured when training has ended to the log of a run.

    Args:
        log_dir: of the run.
        metrics: what `metrics.json` will hold.
        step: training steps.
    """
    writer = tf.summary.create_file_writer(str(log_dir))
    tables = {
        "result": (metrics[shown_split(metrics)], METRICS),
        "beyond_accuracy": (metrics["beyond_accuracy"], LIST_METRICS),
    }
    with writer.as_default(step=step):
        for group, (table, names) in tables.items():
            for domain, row in by_domain(table).items():
                for name in names:
                    tf.summary.scalar(f"{group}/{domain}/{name}", row[name])
        # Once more, as the first of the alphabet: the tabs begin with it, and HPARAMS shows five.
        tf.summary.scalar(HEADLINE, metrics[shown_split(metrics)]["overall"][SELECTION_METRIC])
        for domain, row in metrics["beyond_accuracy"]["domains"].items():
            tf.summary.scalar(f"beyond_accuracy/{domain}/exposure", row["exposure"])
    writer.close()
