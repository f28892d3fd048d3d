"""What becomes of λ, and of each domain, with each form of the negative transfer gap?

    python -m benchmarks.lambda_forms --output_dir runs/planted
    python -m benchmarks.lambda_forms --set data.synthetic.harm=[0,0.25,0.5,0.75,1]

Trains SyNCRec with each form of λ and each seed, by default on the synthetic dataset, and prints
the weight |D| λ of each domain, NDCG@10 of each domain, and what a form is worth against no
correction at all with the same seeds, on validation (by which a form is chosen) and on test.
Finished runs are kept and not trained again. What else is given goes on to `fit`.
"""

import argparse
from pathlib import Path

import numpy as np
from tabulate import tabulate

from benchmarks.planted_transfer import metrics_of, over_seeds

SMOOTH = {"smoothing": 0.98}
FORMS: dict[str, dict] = {
    "none": {"enabled": False},
    "raw": {},
    "smooth": SMOOTH,
    "clamp": SMOOTH | {"clamp": True},
    "standardise": SMOOTH | {"standardise": True},
    "clamp-standardise": SMOOTH | {"clamp": True, "standardise": True},
}
"""Settings of the section `negative_transfer`; those that are not here are the configuration's."""

OTHERWISE = {"enabled": True, "smoothing": 0.0, "clamp": False, "standardise": False}


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--forms", default=",".join(FORMS), help=f"of {', '.join(FORMS)}")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/lambda"))
    args, options = parser.parse_known_args()

    forms = args.forms.split(",")
    found: dict[str, list[dict]] = {form: [] for form in forms}
    for seed in args.seeds.split(","):
        for form in forms:
            run = args.output_dir / f"{form}-seed{seed}"
            chosen = (OTHERWISE | FORMS[form]).items()
            settings = {f"negative_transfer.{name}": value for name, value in chosen}
            found[form].append(metrics_of(run, seed, settings, options))

    domains = list(found[forms[0]][0]["test"]["domains"])

    def values(form, pick):
        return np.array([pick(metrics) for metrics in found[form]])

    def table(headings, cells):
        rows = [[form, *(over_seeds(*cell) for cell in cells(form))] for form in forms]
        print()
        print(tabulate(rows, headings, disable_numparse=True, tablefmt="github"))

    table(
        ["weight |D| λ", *domains],
        lambda form: [
            (values(form, lambda m, d=d: len(domains) * m["negative_transfer"][d]["lambda"]),)
            for d in domains
        ],
    )
    table(
        ["test NDCG@10", *domains, "overall"],
        lambda form: [
            *((values(form, lambda m, d=d: m["test"]["domains"][d]["ndcg@10"]),) for d in domains),
            (values(form, lambda m: m["test"]["overall"]["ndcg@10"]),),
        ],
    )
    places = [("validation", None), ("test", None), *(("test", d) for d in domains)]

    def metric(metrics, split, domain):
        part = metrics[split]["domains"][domain] if domain else metrics[split]["overall"]
        return part["ndcg@10"]

    table(
        [f"NDCG@10 less {forms[0]}", "validation", "test", *domains],
        lambda form: [
            (
                values(form, lambda m, p=p: metric(m, *p))
                - values(forms[0], lambda m, p=p: metric(m, *p)),
                "+",
            )
            for p in places
        ],
    )


if __name__ == "__main__":
    main()
