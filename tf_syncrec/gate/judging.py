"""The whole judgement: data, answers and speed of a candidate, told and as plain JSON values."""

import argparse
import dataclasses
import datetime
import time
from typing import Any

import numpy as np

from data_prep.errors import InputError
from data_prep.settings import DataConfig
from tf_syncrec.cli import say
from tf_syncrec.gate.data_cards import Data, compare_data
from tf_syncrec.gate.later_rows import read_questions
from tf_syncrec.gate.limits import DataLimits, ModelLimits
from tf_syncrec.gate.scoring import score, seconds_per_request
from tf_syncrec.gate.tables import answers_table, data_table, values_of
from tf_syncrec.gate.unseen import check_unseen, learned_until
from tf_syncrec.gate.verdicts import (
    SIDES,
    UNCLEAR,
    quality,
    reasons_of_answers,
    reasons_of_data,
)
from tf_syncrec.run import Run


def judge(
    args: argparse.Namespace,
    limits: tuple[DataLimits, ModelLimits],
    current: Run,
    data: Data,
    candidate: Run | None,
    logs: tuple[DataConfig, DataConfig] | None,
) -> dict[str, Any]:
    """All that is found, told on the way; plain JSON values."""
    of_data, of_answers = limits
    now = time.time() if args.now is None else args.now
    if isinstance(now, datetime.datetime):
        now = now.timestamp()
    checks, notes = compare_data(data_of(current), data, of_data, now)
    reasons = reasons_of_data(checks, values_of)
    report: dict[str, Any] = {
        "passed": False,
        "reasons": [],
        "current": {"run": str(args.current), "dataset": current.metrics["protocol"]["dataset"]},
        "candidate": {"run": candidate and str(args.candidate), "dataset": data.name},
        "data": [dataclasses.asdict(check) for check in checks],
        "limits": dataclasses.asdict(of_data) | dataclasses.asdict(of_answers),
    }
    answers = None
    if candidate is not None and logs is not None:
        answers = _asked(args, of_answers, current, candidate, logs, notes, now)
        report |= answers
        reasons += reasons_of_answers(
            answers["answers"], answers["seconds"], of_answers, args.strict
        )
    say()
    say(data_table(checks, args.all_checks))
    if answers:
        _tell(answers, args.k)
    report |= {
        "passed": not reasons,
        "reasons": [dataclasses.asdict(reason) for reason in reasons],
        "notes": notes,
    }
    say()
    for note in notes:
        say(f"note: {note}")
    for reason in reasons:
        say(f"HELD BACK  {reason.text}")
    if not reasons:
        say("PASSED  all checks are within their limits")
    return report


def _asked(
    args: argparse.Namespace,
    limits: ModelLimits,
    current: Run,
    candidate: Run,
    logs: tuple[DataConfig, DataConfig],
    notes: list[str],
    now: float,
) -> dict[str, Any]:
    """Both runs are asked the same; `notes` gets what somebody should know."""
    runs = dict(zip(SIDES, (current, candidate), strict=True))
    for side, run in runs.items():
        if args.k > (most := run.config.evaluate.max_k):
            raise InputError(
                f"--k {args.k}: the {side} run answers {most} at most (evaluate.max_k)"
            )
    learned = {side: learned_until(run, now) for side, run in runs.items()}
    after = max(newest / per for newest, per in learned.values()) if args.unseen else None
    questions = read_questions(*logs, args.since, args.users, say, after)
    for side, run in runs.items():
        check_unseen(f"--{side} {run.directory}", learned[side], questions.since)
    if args.unseen:
        notes.append(
            f"{questions.passed_over:,} rows of --test are skipped, as they are not later than the "
            "training data of both runs"
        )
    say(
        f"Evaluating both on {len(questions.targets):,} targets of {len(questions.users):,} users "
        f"in {len(questions.domains)} domains."
    )
    scored = [score(run.served, run.catalogue, questions, args.k) for run in runs.values()]
    seconds = None
    if args.requests:
        models = [run.served for run in runs.values()]
        found = seconds_per_request(models, questions, args.k, args.requests)
        seconds = {side: float(np.median(each)) for side, each in zip(SIDES, found, strict=True)}
    new = sum(not history for history in questions.histories)
    if new:
        notes.append(
            f"{new:,} of {len(questions.users):,} users have no history and are evaluated as well"
        )
    table = quality(questions, scored[0], scored[1], args.k, limits)
    if unclear := [name for name, row in table["domains"].items() if row["verdict"] == UNCLEAR]:
        notes.append(f"too few targets to tell: {', '.join(unclear)}")
    return {
        "questions": {
            "test": str(args.test),
            "since": questions.since,
            "passed_over": questions.passed_over,
            "users": len(questions.users),
            "users_without_history": new,
            "targets": len(questions.targets),
            "k": args.k,
        },
        "answers": table,
        "fallback": {side: each.fallback for side, each in zip(SIDES, scored, strict=True)},
        "seconds": seconds,
    }


def _tell(answers: dict[str, Any], k: int) -> None:
    say()
    say(answers_table(answers["answers"], k))
    say("Of two columns the first is the current run, the second the candidate. Intervals are not")
    say("corrected for the number of domains; verdicts are.")
    if seconds := answers["seconds"]:
        old, new = (1e3 * value for value in seconds.values())
        say(f"\nMedian latency of a request: {old:.2f} ms → {new:.2f} ms ({new / old:.2f} times).")


def data_of(run: Run) -> Data:
    """What a run keeps of its data; the prepared data itself may be gone."""
    run.check_finished()
    if not run.data_card_file.exists():
        raise InputError(f"{run.directory}: has no {run.data_card_file.name}; train it again")
    run.check_whole(run.data_card_file, run.catalogue_file)
    card = run.read_json(run.data_card_file)
    return Data(run.metrics["protocol"]["dataset"], card, run.catalogue)
