"""Seconds an epoch of our SASRec beside RecBole's, on the same log, width, depth and window.

    python -m benchmarks.recbole_epoch --dataset interactions --path LOG    # needs `make recbole`

Both are cells of one comparison, so each is a process of its own and neither's preparation counts.
RecBole trains on every prefix of a sequence with a softmax over all items; ours on all of its
positions at once with sampled items. That is the difference that the figure shows.
"""

import argparse
import json
import tempfile
from pathlib import Path

from tabulate import tabulate

from tf_syncrec import compare

SETTINGS = {
    "model.item_init": "random",
    "model.neighbours": 0,
    "recbole.n_layers": 2,
    "recbole.n_heads": 1,
    "recbole.hidden_size": 64,
    "recbole.inner_size": 64,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog="Other options are those of compare."
    )
    parser.add_argument("--epochs", type=int, default=3, help="of either (3)")
    parser.add_argument("--batch_size", type=int, default=256, help="of either (256)")
    parser.add_argument("--window", type=int, default=20, help="T of either (20)")
    options, others = parser.parse_known_args()
    settings = SETTINGS | {
        "model.window": options.window,
        "train.epochs": options.epochs,
        "train.min_steps": 0,
        "train.batch_size": options.batch_size,
        "recbole.epochs": options.epochs,
        "recbole.train_batch_size": options.batch_size,
        "recbole.MAX_ITEM_LIST_LENGTH": options.window,
    }
    with tempfile.TemporaryDirectory() as folder:
        compare.main(
            [
                *others,
                *("--models", "sasrec,recbole:SASRec", "--seeds", "0", "--reference", "sasrec"),
                *("--output_dir", folder),
                *(part for key, value in settings.items() for part in ("--set", f"{key}={value}")),
            ]
        )
        models = json.loads((Path(folder) / "comparison.json").read_text())["models"]
    seconds = {name: found["cost"]["seconds_per_epoch"] for name, found in models.items()}
    print(tabulate(list(seconds.items()), ["", "seconds an epoch"]))
    print(f"ratio {seconds['recbole:SASRec'] / seconds['sasrec']:.1f}")


if __name__ == "__main__":
    main()
