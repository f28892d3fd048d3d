# mypy: disable-error-code="import-not-found"
"""What a library's worker finds and leaves, and what all workers do alike.

`python -I KEY_worker.py FOLDER`, by `tf_syncrec.comparison.libraries.bridge`, which wrote FOLDER:

    request.json                    model, settings, seed, counts: sizes (items a domain), users,
                                    interactions; repeats (a domain); untrained: items that no
                                    row has; attributes: settings of models that know of items
    interactions/interactions.inter RecBole's atomic file: exactly the training rows
    interactions/interactions.item  another, only for models that need it: what trained items are
    validation.npz, test.npz        user [rows], domain [rows], items (all histories end to end),
                                    ends [rows] (where each ends); validation also target [rows]

and reads what the worker leaves there:

    scores/SPLIT_DOMAIN.npy         float32 [rows of that domain, items of that domain]: row j is
                                    the j-th row of the split with that domain, column i the
                                    domain's item i, in the order of our ids
    result.json                     epochs, best_epoch, seconds_per_epoch, parameters, ...; with
                                    exit status 2 only {"error": why it cannot be done}

`python -I KEY_worker.py --check JSON` trains nothing: it says with exit status 2, and why on
stdout, if a model of {model: [names of settings]} has no such setting.

Users and items are numbered as on our side: users from 1 in the order of `train`, items by
catalogue. Test targets are not in the folder.

Its standard input is a pipe that the caller holds: it ends when that is closed, as it is when the
caller is killed.

The flag -I matters: without it the folder of the worker, and what PYTHONPATH names of our
environment, would be searched before the library's own packages.
"""

import json
import os
import re
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import torch

CELLS = 32 * 2**20
"""Scores held at a time (128 MiB of float32)."""
MAX_ROWS = 512
"""Users scored at a time, whatever the number of items: bounds a Transformer's activations."""


class Unusable(Exception):
    """What the user asked for cannot be used; the message is one line."""


class Split:
    """Rows of a split with their histories.

    Attributes:
        users, domains: `[rows]`.
        targets: `[rows]`, our item ids, 0 for an item that training never saw; None for test.
    """

    def __init__(self, path, untrained=()):
        arrays = np.load(path)
        self.users, self.domains = arrays["user"], arrays["domain"]
        self.targets = arrays.get("target")
        self._items, self._ends = arrays["items"], arrays["ends"]
        self._lengths = np.diff(self._ends, prepend=0)
        known = ~np.isin(self._items, untrained)
        self._known, self._known_ends = self._items[known], np.append(0, known.cumsum())[self._ends]

    def latest(self, rows, length):
        """The last `length` items of the rows that a model knows, and how many there are.

        They are `[rows, length]`, padded with 0 on the right.
        """
        ends = self._known_ends[rows]
        lengths = np.minimum(np.diff(self._known_ends, prepend=0)[rows], length)
        steps = np.arange(length)
        taken = steps < lengths[:, None]
        index = (ends - lengths)[:, None] + steps
        known = np.append(self._known, 0)
        return np.where(taken, known[np.where(taken, index, 0)], 0), lengths

    def whole(self, rows):
        """All items of the rows end to end: `(position in rows, item)`."""
        lengths = self._lengths[rows]
        row_of = np.repeat(np.arange(len(rows)), lengths)
        first = np.cumsum(lengths) - lengths
        index = np.arange(len(row_of)) + np.repeat(self._ends[rows] - lengths - first, lengths)
        return row_of, self._items[index]


def behind_all(scores, unknown):
    """Scores `[rows, items]` in which items that the model does not know are behind all others."""
    if not unknown.any():
        return scores
    if unknown.all():
        return torch.zeros_like(scores)
    lowest = scores[:, ~unknown].amin(dim=1, keepdim=True)
    return torch.where(unknown, lowest - 1 - lowest.abs() / 8, scores)


class DomainScores:
    """Scores of rows of a split for the items of one domain.

    Args:
        sizes: items of each domain.
        repeats: of each domain, whether people come back to items.
    """

    def __init__(self, sizes, repeats):
        self.sizes, self.repeats = np.asarray(sizes), repeats
        self.offsets = 1 + np.cumsum(self.sizes) - self.sizes

    def chunks(self, split, domain):
        """Yields `(rows, scores [rows, items of the domain])`, a bounded number of rows each."""
        offset, size = self.offsets[domain], self.sizes[domain]
        rows = np.flatnonzero(split.domains == domain)
        at_once = int(np.clip(CELLS // max(self.sizes.sum(), 1), 1, MAX_ROWS))
        with torch.no_grad():
            for start in range(0, len(rows), at_once):
                chunk = rows[start : start + at_once]
                scores = self.scores(split, chunk, offset, size)
                if not torch.isfinite(scores).all():
                    raise ValueError("the model gives scores that are not numbers")
                yield chunk, scores.float()

    def scores(self, split, rows, offset, size):
        """Scores `[rows, size]` of the items from number `offset`.

        Items that the model does not know are behind all others.
        """
        raise NotImplementedError

    def ndcg_at_10(self, split):
        """NDCG@10 of the project's protocol.

        All items of the target's domain compete, but for those of the history where people do not
        come back to items; ties rank against the target; a target that is none of them is a miss.
        """
        total = 0.0
        for domain in np.flatnonzero(self.sizes):
            offset, size = self.offsets[domain], self.sizes[domain]
            for rows, scores in self.chunks(split, domain):
                targets = split.targets[rows]
                row_of, items = split.whole(rows)
                out = (items >= offset) & (items < offset + size) & (not self.repeats[domain])
                had = np.bincount(row_of[out & (items == targets[row_of])], minlength=len(rows))
                known = np.flatnonzero((targets > 0) & (had == 0))
                scores[row_of[out], items[out] - offset] = -torch.inf
                own = scores[known, targets[known] - offset][:, None]
                ranks = (scores[known] >= own).sum(dim=1).cpu().numpy()
                total += (1 / np.log2(1 + ranks[ranks <= 10])).sum()
        return float(total / max(len(split.users), 1))

    def store(self, split, name, folder):
        """Writes a file a domain."""
        for domain in np.flatnonzero(self.sizes):
            shape = (int((split.domains == domain).sum()), int(self.sizes[domain]))
            if not shape[0]:
                continue
            path = folder / f"{name}_{domain}.npy"
            stored = np.lib.format.open_memmap(path, "w+", np.float32, shape)
            start = 0
            for rows, scores in self.chunks(split, domain):
                stored[start : start + len(rows)] = scores.cpu().numpy()
                start += len(rows)
            stored.flush()


def train(model, epochs, train_epoch, validate, name, patience, every=1):
    """Trains epoch by epoch; leaves the weights of the best one.

    Args:
        model: a module of torch.
        epochs: at most.
        train_epoch: called with the number of each epoch, from 1, gives its mean loss.
        validate: gives the validation NDCG@10.
        name: for the reports.
        patience: how many validations may pass without a better one; one more ends it.
        every: epochs between two validations.

    Returns:
        What `result.json` says of the training.
    """
    best, best_epoch, waited, weights = -np.inf, 0, 0, None
    every = min(max(every, 1), epochs)
    done: list[dict] = []
    for epoch in range(1, epochs + 1):
        begin = time.time()
        loss = train_epoch(epoch)
        done.append({"seconds": time.time() - begin, "loss": loss})
        line = f"{name} epoch {epoch}: {done[-1]['seconds']:.1f} s, loss {loss:.4f}"
        if epoch % every and epoch < epochs:
            say(line)
            continue
        begin = time.time()
        score = done[-1]["validation_ndcg@10"] = validate()
        done[-1]["validation_seconds"] = time.time() - begin
        waited += 1
        if score >= best:  # as RecBole has it
            best, best_epoch, waited = score, epoch, 0
            weights = {key: value.detach().clone() for key, value in model.state_dict().items()}
        say(f"{line}, validation ndcg@10 {score:.4f} (best {best:.4f} in epoch {best_epoch})")
        if waited > patience:
            break
    model.load_state_dict(weights)
    return {
        "epochs": len(done),
        "best_epoch": best_epoch,
        "seconds_per_epoch": float(np.mean([epoch["seconds"] for epoch in done])),
        "validation_ndcg@10": best,
        "history": done,
    }


def result_of(folder, request, scores, model, train_model):
    """Trains, and stores scores of both splits; what `result.json` says of it.

    Args:
        folder: of the request.
        request: what `request.json` has.
        scores: a `DomainScores`.
        model: a module of torch.
        train_model: called with what validates, returns what `train` does.
    """
    validation = Split(folder / "validation.npz", request["untrained"])
    result = train_model(lambda: scores.ndcg_at_10(validation))
    (folder / "scores").mkdir(exist_ok=True)
    scores.store(validation, "validation", folder / "scores")
    test = Split(folder / "test.npz", request["untrained"])
    scores.store(test, "test", folder / "scores")
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return {**result, "parameters": parameters, "peak_memory_mb": peak_memory_mb()}


def say(line):
    """Prints at once: the reader is at the other end of a pipe."""
    print(line, flush=True)


def peak_memory_mb():
    """The most memory this process has held; ru_maxrss would include what its parent held."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) / 1024 if found else 0.0


def _end_with_caller():
    """As `utils.stopping.end_with_parent`, which is not in this environment.

    Not by `sys.stdin`, whose lock a thread that waits would still have when Python ends.
    """
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)


def main(run, check):
    """Does what the command line asks for.

    Args:
        run: called with the folder, returns what `result.json` shall hold.
        check: called with `{model: [names of settings]}`.
    """
    argument = sys.argv.pop()  # RecBole reads the command line too
    warnings.simplefilter("ignore")  # of the library and torch about each other
    if "--check" in sys.argv:
        try:
            check(json.loads(argument))
        except Unusable as error:
            say(error)
            sys.exit(2)
        return
    folder = Path(argument)
    threading.Thread(target=_end_with_caller, daemon=True).start()
    try:
        result, status = run(folder), 0
    except Unusable as error:
        result, status = {"error": str(error)}, 2
    (folder / "result.json").write_text(json.dumps(result, indent=1, allow_nan=False))
    sys.exit(status)
