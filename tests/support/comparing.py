"""What the tests of the comparison share: a small log, and comparisons on it in this process."""

import contextlib
import io
import json
import math
import re
import traceback
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tf_syncrec import compare
from tf_syncrec.cli import run_command
from tf_syncrec.comparison import jobs
from tf_syncrec.comparison import worker as cell
from tf_syncrec.comparison.cells import RESULT, VALIDATION, WITHOUT_VOTES, Cell
from tf_syncrec.comparison.names import parse_name

ODD = "$a|b c$"
"""A domain whose name means something to Markdown and to matplotlib."""
QUIET = "quiet"
"""A domain of which nobody's last two items are."""
TINY = [
    *("--set", "model.dim=8", "--set", "model.window=6", "--set", "model.blocks=1"),
    *("--set", "loss.negatives=8", "--set", "train.batch_size=32"),
    *("--set", "train.learning_rate=0.01"),
]
METRICS = ("hr@5", "hr@10", "ndcg@5", "ndcg@10", "mrr")
MODELS = "popularity,item_knn,bprmf_cross,bprmf_single"
"""Of the comparison that most tests look at."""


def write_log(path, users=70, items=14, seed=0, other_items=None):
    """Chains of items in two domains, and a third one at the start of every sequence.

    Args:
        path: the file.
        users: number of users.
        items: items of a domain.
        seed: of the generator.
        other_items: seed; the items of ODD are then others, and nothing else.
    """
    rng = np.random.default_rng(seed)
    other = np.random.default_rng(other_items)
    lines = ["user_id\titem_id\tdomain\ttimestamp"]
    for user in range(users):
        lines.append(f"u{user}\tq{user % 5}\t{QUIET}\t{100 * user}")
        item = rng.integers(items)
        length = rng.integers(5, 12)
        for step in range(1, length):
            item = (item + 1) % items
            odd = rng.random() < 0.5
            shown = item if not odd or other_items is None else other.integers(items)
            name = f"o{shown}" if odd else f"p{item}"
            if step == length - 1 and user % 10 == 0:
                name += f"new{user}"  # never in training
            lines.append(f"u{user}\t{name}\t{ODD if odd else 'plain'}\t{100 * user + step}")
    path.write_text("\n".join(lines) + "\n")
    return path


def options(directory, *more, models="popularity", seeds="0", epochs=1, output="comparison"):
    return [
        *("--dataset", "interactions", "--path", str(directory / "log.tsv")),
        *("--data_dir", str(directory / "data"), "--output_dir", str(directory / output)),
        *("--models", models, "--seeds", seeds, "--epochs", str(epochs), *TINY, *more),
    ]


class HereAndNow:
    """Stands in for `subprocess.Popen`: a cell in this process, which saves loading TensorFlow."""

    def __init__(self, command, **_):
        said = io.StringIO()
        self.returncode = 0
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                directory, *more = command[command.index("tf_syncrec.comparison.worker") + 1 :]
                cell.run_cell(Path(directory), trial="--trial" in more)
            except Exception:
                traceback.print_exc()
                self.returncode = 1
        self.stdout = iter(said.getvalue().splitlines(keepends=True))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


@contextlib.contextmanager
def cells_here():
    with pytest.MonkeyPatch.context() as patch:
        # Only what jobs calls so: others need the real one.
        fake = SimpleNamespace(Popen=HereAndNow, PIPE=None, STDOUT=None)
        patch.setattr(jobs, "subprocess", fake)
        yield patch


@contextlib.contextmanager
def no_cells():
    """Whatever computes a cell fails the test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "subprocess", None)
        yield


def run(directory, *more, **settings):
    """Runs a comparison on a small log; returns its directory."""
    if not (directory / "log.tsv").exists():
        write_log(directory / "log.tsv")
    arguments = options(directory, *more, **settings)
    compare.main(arguments)
    return Path(arguments[arguments.index("--output_dir") + 1])


def strict_json(file):
    """Reads JSON; NaN and infinities, which are none, fail."""

    def refuse(constant):
        raise AssertionError(f"{constant} in {file}")

    return json.loads(file.read_text(), parse_constant=refuse)


def read_cells(root):
    """`(request, rows, result)` of every cell, found by the files alone."""
    return [
        (
            strict_json(file),
            pq.read_table(file.parent / "ranks.parquet").to_pylist(),
            strict_json(file.parent / "result.json"),
        )
        for file in sorted(root.glob("cells/**/cell.json"))
    ]


def by_seed(cells, model) -> dict[int, list[dict]]:
    """The rows of a model, cells of its domains together."""
    found: dict[int, list[dict]] = {}
    for request, rows, _ in cells:
        if request["model"] == model:
            found.setdefault(request["seed"], []).extend(rows)
    return found


def literal_gain(rank, metric):
    if metric == "mrr":
        return 1 / rank
    kind, cut_off = metric.split("@")
    if rank > int(cut_off):
        return 0.0
    return 1.0 if kind == "hr" else 1 / math.log2(1 + rank)


def literal_mean(rows, metric):
    return sum(literal_gain(row["rank"], metric) for row in rows) / len(rows) if rows else 0.0


def snapshot(root):
    """Content and time of every file of the cells."""
    files = [file for file in root.glob("cells/**/*") if file.is_file()]
    return {file: (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def tables_of(markdown):
    """Rows of cells of every table."""
    tables, lines = [], []
    for line in [*markdown.splitlines(), ""]:
        if line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line)[1:-1]
            lines.append([text.strip().replace("\\|", "|") for text in cells])
        elif lines:
            tables.append(lines)
            lines = []
    return tables


def refused(arguments, capsys):
    """Exit code 2 and one line, which is returned."""
    with pytest.raises(SystemExit) as stop:
        run_command(lambda: compare.main(arguments))
    error = capsys.readouterr().err.strip()
    assert stop.value.code == 2
    assert len(error.splitlines()) == 1, error
    return error


def plant_cell(root, model, seed, domain, users, domains, ranks, without_votes=None):
    """A finished cell, written as by hand; `without_votes` where neighbours vote."""
    directory = Cell(parse_name(model), seed, domain).directory(root)
    directory.mkdir(parents=True)
    cost = {"peak_memory_mb": 1.0, "seconds": 2.0}
    result = {"stand_in": False, "validation": {}, "cost": cost}
    write_outcome(directory, users, domains, ranks, result, without_votes)


def write_outcome(directory, users, domains, ranks, result, without_votes=None):
    """The files of a finished cell."""
    table = {"user_id": users, "domain": domains, "rank": ranks, "cold": [False] * len(users)}
    if without_votes is not None:
        table[WITHOUT_VOTES] = without_votes
    pq.write_table(pa.table(table), directory / "ranks.parquet")
    (directory / RESULT).write_text(json.dumps(result))


def domains_of(prepared):
    """`{user: domain of the test target}`."""
    return {
        row["user_id"].decode(): prepared.catalogue.domains[row["domain"]]
        for row in prepared.as_dataset("test").as_numpy_iterator()
    }


class Done(list):
    """What `scripted_cells` did; `stop` is the number of cells after which Ctrl-C is pressed."""

    stop: int | None = None

    def pop_all(self):
        """`(kind, request)` of all that was done since the last call."""
        found, self[:] = [*self], []
        return found


def has(place, domain):
    """Whether a training has a domain: it is of one, of a pair, or, as None, of all."""
    return place is None or domain in ([place] if isinstance(place, str) else place)


@contextlib.contextmanager
def scripted_cells(users, validation=lambda request: 0.5, rank=lambda request, user: 1):
    """Cells whose outcome is made up in place of computed.

    Args:
        users: of `domains_of`.
        validation: gives the validation NDCG@10 of a request.
        rank: gives the rank of a user under a request.

    Yields:
        What was done, a list of `(kind, request)`: a `trial` is trained, its test targets are
        `ranked` later, and all other cells do both: they are `whole`.
    """
    done = Done()

    def popen(command, **_):
        directory, *more = command[command.index("tf_syncrec.comparison.worker") + 1 :]
        place = Path(directory)
        request = strict_json(place / "cell.json")
        if len(done) == done.stop:
            raise KeyboardInterrupt
        kind = (
            "trial" if "--trial" in more else "ranked" if (place / VALIDATION).exists() else "whole"
        )
        done.append((kind, request))
        result = {
            "stand_in": False,
            "validation": {"overall": {"ndcg@10": validation(request)}},
            "cost": {"peak_memory_mb": 1.0, "seconds": 2.0},
        }
        if kind == "trial":
            (place / VALIDATION).write_text(json.dumps(result))
        else:
            own = [user for user in users if has(request["domain"], users[user])]
            domains, ranks = [users[u] for u in own], [rank(request, u) for u in own]
            write_outcome(place, own, domains, ranks, result)
        return contextlib.nullcontext(SimpleNamespace(stdout=iter(()), returncode=0))

    with pytest.MonkeyPatch.context() as patch:
        fake = SimpleNamespace(Popen=popen, PIPE=None, STDOUT=None)
        patch.setattr(jobs, "subprocess", fake)
        yield done
