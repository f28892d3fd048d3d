"""How often the gate holds a good model back, and how small a loss it sees: simulated verdicts.

Ten domains. Of their targets the current run has a fifth among its ten answers; the candidate has
half of its ranks as the current run and draws the others anew, as a training of another night does.
In one domain it loses a part of what it would have found. Printed for each number of targets a
domain and each loss: nights that are held back, by the rule as it is, by one that judges domains
one by one, and how often the domain is "too few to tell".
"""

import argparse

import numpy as np

from tf_syncrec.evaluation.significance import SIGNIFICANCE
from tf_syncrec.gate.later_rows import Questions
from tf_syncrec.gate.limits import ModelLimits
from tf_syncrec.gate.scoring import Scored
from tf_syncrec.gate.verdicts import UNCLEAR, WORSE, quality
from tf_syncrec.metrics.gains import MISS

DOMAINS, K, HITS, CHANGED = 10, 10, 0.2, 0.5
LIMITS = ModelLimits()


def ranks(rng, size):
    """A hit is at a low place rather than at a high one."""
    places = np.arange(1, K + 1)
    drawn = rng.choice(places, size, p=1 / places / (1 / places).sum()).astype(float)
    return np.where(rng.random(size) < HITS, drawn, MISS)


def night(rng, targets, loss):
    size = DOMAINS * targets
    domains = np.repeat(np.arange(DOMAINS), targets)
    nobody: list[list] = [[]] * size
    questions = Questions(
        since=0.0,
        users=[""] * size,
        histories=nobody,
        times=nobody,
        domains=tuple(map(str, range(DOMAINS))),
        askers=np.arange(size),
        target_domains=domains,
        targets=np.full(size, "", object),
        later_items=np.zeros(0, object),
        later_domains=np.zeros(0, int),
        later_rows=np.zeros(0, int),
    )
    current = ranks(rng, size)
    candidate = np.where(rng.random(size) < CHANGED, ranks(rng, size), current)
    candidate[(domains == 0) & (rng.random(size) < loss)] = MISS
    ones = np.ones(DOMAINS)
    old, new = (Scored(some, 0 * ones, ones, ones, 0.0) for some in (current, candidate))
    return quality(questions, old, new, K, LIMITS)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nights", type=int, default=50)
    parser.add_argument("--targets", default="300,2000")
    parser.add_argument("--losses", default="0,0.2,0.4")
    args = parser.parse_args()
    print("targets a domain | loss in one | held back | without Holm | too few to tell")
    for targets in map(int, args.targets.split(",")):
        for loss in map(float, args.losses.split(",")):
            rng = np.random.default_rng(0)
            held = alone = unclear = 0
            for _ in range(args.nights):
                rows = night(rng, targets, loss)["domains"]
                held += any(row["verdict"] == WORSE for row in rows.values())
                unclear += rows["0"]["verdict"] == UNCLEAR
                alone += any(
                    row["difference"]["p_value"] < SIGNIFICANCE
                    and row["relative"][0] < -LIMITS.worse
                    for row in rows.values()
                )
            shares = (f"{100 * n / args.nights:.1f} %" for n in (held, alone, unclear))
            print(f"{targets:,} | {loss:.0%} | " + " | ".join(shares), flush=True)


if __name__ == "__main__":
    main()
