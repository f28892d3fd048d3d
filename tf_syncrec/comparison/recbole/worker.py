# mypy: disable-error-code="import-not-found"
"""Trains one RecBole model and stores its scores; runs in RecBole's own environment.

`python -I worker.py FOLDER`, by `tf_syncrec.comparison.recbole.bridge`, which wrote FOLDER:

    request.json                    model, settings, seed, counts: sizes (items a domain), users,
                                    interactions; repeats (a domain); untrained: items that no
                                    row has; attributes: settings of models that know of items
    interactions/interactions.inter RecBole's atomic file: exactly the training rows
    interactions/interactions.item  another, only for such models: what trained items are
    validation.npz, test.npz        user [rows], domain [rows], items (all histories end to end),
                                    ends [rows] (where each ends); validation also target [rows]

and reads what this script leaves there:

    scores/SPLIT_DOMAIN.npy         float32 [rows of that domain, items of that domain]: row j is
                                    the j-th row of the split with that domain, column i the
                                    domain's item i, in the order of our ids
    result.json                     epochs, best_epoch, seconds_per_epoch, parameters, ...; with
                                    exit status 2 only {"error": why it cannot be done}

`python -I worker.py --check JSON` trains nothing: it says with exit status 2, and why on
stdout, if a model of {model: [names of settings]} has no such setting.

Users and items are numbered as on our side (users from 1 in the order of `train`, items by
catalogue); RecBole numbers them anew, and `Ids` translates. Test targets are not in the folder.

The flag -I matters: without it this file's folder, and what PYTHONPATH names of our environment,
would be searched before RecBole's own packages.
"""

import json
import re
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch

CELLS = 32 * 2**20
"""Scores held at a time (128 MiB of float32)."""
MAX_ROWS = 512
"""Users scored at a time, whatever the number of items: bounds a Transformer's activations."""
SECONDS_BETWEEN_REPORTS = 30
EXTRA_SETTINGS = ("gpu_id", "use_gpu", "enable_amp", "enable_scaler", "MAX_ITEM_LIST_LENGTH")


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


class Ids:
    """Our numbers to RecBole's; 0 (padding, unknown) stays 0, and so do items without a row."""

    def __init__(self, dataset, users, items, untrained=()):
        self.users = self._table(dataset.field2id_token[dataset.uid_field], users)
        self.items = self._table(dataset.field2id_token[dataset.iid_field], items, untrained)

    @staticmethod
    def _table(tokens, count, unknown=()):
        ours = tokens[1:].astype(np.int64)  # the first is RecBole's padding
        expected = np.setdiff1d(np.arange(1, count + 1), unknown)
        if not np.array_equal(np.sort(ours), expected):
            raise AssertionError(f"RecBole kept {len(ours)} of {len(expected)} ids")
        table = np.zeros(count + 1, np.int64)
        table[ours] = np.arange(1, len(ours) + 1)
        return table


def check_settings(name, settings):
    """Raises Unusable if a model has no such setting.

    RecBole takes any name in silence, so that a misspelt one would leave the default.
    """
    import recbole
    import yaml
    from recbole.utils.argument_list import training_arguments

    defaults = Path(recbole.__file__).parent / "properties" / "model" / f"{name}.yaml"
    own = yaml.safe_load(defaults.read_text(encoding="utf-8")) or {}
    known = sorted({*training_arguments, *own, *EXTRA_SETTINGS})
    for setting in settings:
        if setting not in known:
            raise Unusable(f"setting {setting!r} of {name}: expected one of {', '.join(known)}")


def configure(folder, request, **more):
    """RecBole's configuration: its defaults, the given settings, and our data as it is.

    Args:
        folder: see above.
        request: likewise.
        more: settings that win over all others.
    """
    from recbole.config import Config
    from recbole.utils import get_model

    settings, name = request["settings"], request["model"]
    check_settings(name, settings)
    fixed = {
        "data_path": str(folder),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "seed": request["seed"],
        "show_progress": False,
        "checkpoint_dir": str(folder / "scratch"),
        **more,
    }
    known = request.get("attributes", {})
    if known:
        fixed["load_col"]["item"] = [
            "item_id",
            *known["selected_features"],
            known["item_attribute"],
        ]
    # RecBole refuses negatives for a cross-entropy over all items, and has them on by default.
    if not hasattr(get_model(name), "input_type") and settings.get("loss_type", "CE") == "CE":
        fixed["train_neg_sample_args"] = None
    return Config(model=name, dataset="interactions", config_dict={**known, **settings, **fixed})


def training_data(config, request):
    """The dataset, and the loader of training batches: nothing is filtered, nothing split off."""
    from recbole.data import create_dataset
    from recbole.data.dataloader import TrainDataLoader
    from recbole.sampler import RepeatableSampler, Sampler

    dataset = create_dataset(config)
    if len(dataset.inter_feat) != request["interactions"]:
        raise AssertionError(f"RecBole kept {len(dataset.inter_feat)} training rows")
    ids = Ids(dataset, request["users"], sum(request["sizes"]), request["untrained"])
    dataset._change_feat_format()  # what build() does before it splits; every prefix is a sample
    negatives, sampler = config["train_neg_sample_args"], None
    if negatives["distribution"] != "none":
        how = (negatives["distribution"], negatives["alpha"])
        if config["repeatable"]:
            sampler = RepeatableSampler(["train"], dataset, *how).set_phase("train")
        else:
            sampler = Sampler(["train"], [dataset], *how).set_phase("train")
    return dataset, ids, TrainDataLoader(config, dataset, sampler, shuffle=config["shuffle"])


class Reported:
    """Training batches, with a line every so often: an epoch may take many minutes."""

    def __init__(self, batches, name):
        self._batches, self._name = batches, name

    def __iter__(self):
        begin = told = time.time()
        for number, batch in enumerate(self._batches):
            # BERT4Rec divides by the number of masked places, of which a small batch may have none.
            if "MASK_INDEX" in batch and not (batch["MASK_INDEX"] > 0).any():
                continue
            yield batch
            if time.time() - told > SECONDS_BETWEEN_REPORTS:
                told = time.time()
                done = f"batch {number + 1} of {len(self._batches)}"
                say(f"{self._name}: {done}, {told - begin:.0f} s")


def behind_all(scores, unknown):
    """Scores `[rows, items]` in which items that the model does not know are behind all others."""
    if not unknown.any():
        return scores
    if unknown.all():
        return torch.zeros_like(scores)
    lowest = scores[:, ~unknown].amin(dim=1, keepdim=True)
    return torch.where(unknown, lowest - 1 - lowest.abs() / 8, scores)


class DomainScores:
    """Scores of rows of a split for the items of one domain."""

    def __init__(self, model, config, ids, sizes, repeats):
        self._model, self._config, self._ids = model, config, ids
        self._sizes, self._repeats = sizes, repeats
        self._offsets = 1 + np.cumsum(sizes) - sizes
        self._length = config["MAX_ITEM_LIST_LENGTH"]
        self._special = {"GCMC": self._gcmc, "TransRec": self._transrec}.get(config["model"])

    def chunks(self, split, domain):
        """Yields `(rows, scores [rows, items of the domain])`, a bounded number of rows each."""
        device, model = self._config["device"], self._model
        offset, size = self._offsets[domain], self._sizes[domain]
        items = torch.from_numpy(self._ids.items[offset : offset + size]).to(device)
        rows = np.flatnonzero(split.domains == domain)
        at_once = int(np.clip(CELLS // len(self._ids.items), 1, MAX_ROWS))
        model.eval()
        with torch.no_grad():
            nodes = None
            if self._config["model"] == "GCMC":  # its graph is the same for all users
                nodes = model.GcEncoder(model.user_features, model.item_features)
            for start in range(0, len(rows), at_once):
                chunk = rows[start : start + at_once]
                batch = self._batch(split, chunk).to(device)
                if self._special:
                    scores = self._special(batch, items, nodes)
                else:
                    scores = model.full_sort_predict(batch).view(len(chunk), -1)[:, items]
                scores = behind_all(scores, items == 0)
                if not torch.isfinite(scores).all():
                    raise ValueError(f"{self._config['model']} gives scores that are not numbers")
                yield chunk, scores.float()

    def _batch(self, split, rows):
        from recbole.data.interaction import Interaction

        config = self._config
        shift = int(config["model"] == "BERT4Rec")
        history, lengths = split.latest(rows, self._length - shift)
        # RecBole's BERT4Rec appends the mask and drops the first place, even of a short history
        # whose oldest item is there. It gets an empty place to drop.
        history = np.pad(history, ((0, 0), (shift, 0)))
        return Interaction(
            {
                config["USER_ID_FIELD"]: torch.from_numpy(self._ids.users[split.users[rows]]),
                config["ITEM_ID_FIELD"] + config["LIST_SUFFIX"]: torch.from_numpy(
                    self._ids.items[history]
                ),
                config["ITEM_LIST_LENGTH_FIELD"]: torch.from_numpy(
                    np.maximum(lengths + shift, 1).astype(np.int64)
                ),
            }
        )

    # The two below are the models' full_sort_predict for some of the items, without running the
    # whole graph for each chunk (GCMC) or holding [rows, all items, dim] numbers (TransRec).

    def _gcmc(self, batch, items, nodes):
        users = batch[self._config["USER_ID_FIELD"]]
        scores = self._model.BiDecoder(nodes[0], nodes[1][items], users, None)[:, 1]
        return scores.view(len(users), -1)

    def _transrec(self, batch, items, nodes):
        model = self._model
        query = model(batch[model.USER_ID], batch[model.ITEM_SEQ], batch[model.ITEM_SEQ_LEN])
        # The faster way by a matrix product loses the digits that tell neighbours apart.
        exact = "donot_use_mm_for_euclid_dist"
        distances = torch.cdist(query, model.item_embedding.weight[items], compute_mode=exact)
        return model.bias.weight[items].T - distances

    def ndcg_at_10(self, split):
        """NDCG@10 of the project's protocol.

        All items of the target's domain compete, but for those of the history where people do not
        come back to items; ties rank against the target; a target that is none of them is a miss.
        """
        total = 0.0
        for domain in np.flatnonzero(self._sizes):
            offset, size = self._offsets[domain], self._sizes[domain]
            for rows, scores in self.chunks(split, domain):
                targets = split.targets[rows]
                row_of, items = split.whole(rows)
                out = (items >= offset) & (items < offset + size) & (not self._repeats[domain])
                had = np.bincount(row_of[out & (items == targets[row_of])], minlength=len(rows))
                known = np.flatnonzero((targets > 0) & (had == 0))
                scores[row_of[out], items[out] - offset] = -torch.inf
                own = scores[known, targets[known] - offset][:, None]
                ranks = (scores[known] >= own).sum(dim=1).cpu().numpy()
                total += (1 / np.log2(1 + ranks[ranks <= 10])).sum()
        return float(total / max(len(split.users), 1))

    def store(self, split, name, folder):
        """Writes a file a domain."""
        for domain in np.flatnonzero(self._sizes):
            shape = (int((split.domains == domain).sum()), int(self._sizes[domain]))
            if not shape[0]:
                continue
            path = folder / f"{name}_{domain}.npy"
            stored = np.lib.format.open_memmap(path, "w+", np.float32, shape)
            start = 0
            for rows, scores in self.chunks(split, domain):
                stored[start : start + len(rows)] = scores.cpu().numpy()
                start += len(rows)
            stored.flush()


def train(config, model, batches, validate, name):
    """Trains with RecBole's trainer; keeps the weights of the best epoch.

    Args:
        config: RecBole's.
        model: to be trained; has the best weights afterwards.
        batches: RecBole's loader.
        validate: called after every `eval_step` epochs, gives the validation NDCG@10.
        name: for the reports.

    Returns:
        What `result.json` says of the training.
    """
    from recbole.utils import early_stopping, get_trainer

    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    eval_step = min(max(config["eval_step"], 1), config["epochs"])
    best, waited, best_epoch, weights = -np.inf, 0, 0, None
    epochs: list[dict] = []
    for epoch in range(1, config["epochs"] + 1):
        begin = time.time()
        loss = trainer._train_epoch(Reported(batches, f"{name} epoch {epoch}"), epoch)
        losses = loss if isinstance(loss, tuple) else (loss or 0.0,)
        epochs.append({"seconds": time.time() - begin, "loss": sum(losses) / len(batches)})
        line = f"{name} epoch {epoch}: {time.time() - begin:.1f} s, loss {epochs[-1]['loss']:.4f}"
        if epoch % eval_step == 0 or epoch == config["epochs"]:
            begin = time.time()
            score = epochs[-1]["validation_ndcg@10"] = validate()
            epochs[-1]["validation_seconds"] = time.time() - begin
            best, waited, stop, better = early_stopping(
                score, best, waited, max_step=config["stopping_step"]
            )
            if better:
                best_epoch = epoch
                weights = {k: v.detach().clone() for k, v in model.state_dict().items()}
            line += f", validation ndcg@10 {score:.4f} (best {best:.4f} in epoch {best_epoch})"
            say(line)
            if stop:
                break
        else:
            say(line)
    model.load_state_dict(weights)
    return {
        "epochs": len(epochs),
        "best_epoch": best_epoch,
        "seconds_per_epoch": float(np.mean([e["seconds"] for e in epochs])),
        "validation_ndcg@10": best,
        "history": epochs,
    }


def pretrained(folder, request, config, dataset, model, batches):
    """S3Rec after its `pretrain_epochs`, and the configuration of what comes then.

    What RecBole makes anew from a checkpoint is made of the weights at hand.
    """
    from recbole.utils import get_model, get_trainer

    name = request["model"]
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    for epoch in range(1, config["pretrain_epochs"] + 1):
        begin = time.time()
        loss = trainer._train_epoch(Reported(batches, f"{name} pre-training {epoch}"), epoch)
        took = time.time() - begin
        say(f"{name} pre-training {epoch}: {took:.1f} s, loss {(loss or 0) / len(batches):.4f}")
    path = folder / "scratch" / "pretrained.pth"
    torch.save({"state_dict": model.state_dict()}, path)
    after = {"train_stage": "finetune", "pre_model_path": str(path)}
    config = configure(folder, request, **after)
    return config, get_model(name)(config, dataset).to(config["device"])


def say(line):
    """Prints at once: the reader is at the other end of a pipe."""
    print(line, flush=True)


def run(folder):
    """Does what `request.json` asks for.

    Returns:
        What `result.json` shall hold.
    """
    try:
        import recbole
        import recbole.data
        import recbole.trainer
    except ImportError as error:
        raise Unusable(f"RecBole cannot be imported by {sys.executable} ({error})") from error
    from recbole.utils import get_model, init_seed

    request = json.loads((folder / "request.json").read_text())
    stage = {"train_stage": "pretrain"} if request["model"] == "S3Rec" else {}
    config = configure(folder, request, **stage)
    init_seed(config["seed"], config["reproducibility"])
    say(f"{request['model']}: preparing {request['interactions']:,} training rows for RecBole")
    dataset, ids, batches = training_data(config, request)
    init_seed(config["seed"], config["reproducibility"])
    model = get_model(config["model"])(config, dataset).to(config["device"])
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    name = request["model"]
    say(f"{name}: {parameters:,} parameters, {len(dataset):,} samples an epoch, {config['device']}")

    if stage:
        config, model = pretrained(folder, request, config, dataset, model, batches)
    scores = DomainScores(model, config, ids, np.array(request["sizes"]), request["repeats"])
    validation = Split(folder / "validation.npz", request["untrained"])
    result = train(config, model, batches, lambda: scores.ndcg_at_10(validation), name)
    (folder / "scores").mkdir(exist_ok=True)
    scores.store(validation, "validation", folder / "scores")
    test = Split(folder / "test.npz", request["untrained"])
    scores.store(test, "test", folder / "scores")
    plain = (str, int, float, bool, list, type(None))
    folders = {"data_path", "checkpoint_dir", "pre_model_path"}  # of this one run
    return {
        **result,
        "parameters": parameters,
        "peak_memory_mb": peak_memory_mb(),
        "samples_per_epoch": len(dataset),
        "device": str(config["device"]),
        "versions": {"recbole": recbole.__version__, "torch": torch.__version__},
        "settings": {
            name: value
            for name, value in sorted(config.final_config_dict.items())
            if isinstance(value, plain) and name not in folders
        },
    }


def peak_memory_mb():
    """The most memory this process has held; ru_maxrss would include what its parent held."""
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) / 1024 if found else 0.0


def check(asked):
    """Does what `--check` asks for; an error ends this process with its reason."""
    import recbole.data
    import recbole.trainer  # noqa: F401

    try:
        for name, settings in asked.items():
            check_settings(name, settings)
    except Unusable as error:
        say(error)
        sys.exit(2)


def main():
    """Runs for the folder of the command line."""
    argument = sys.argv.pop()  # RecBole reads the command line too
    warnings.simplefilter("ignore")  # of RecBole and torch about each other
    if "--check" in sys.argv:
        check(json.loads(argument))
        return
    folder = Path(argument)
    try:
        result, status = run(folder), 0
    except Unusable as error:
        result, status = {"error": str(error)}, 2
    (folder / "result.json").write_text(json.dumps(result, indent=1, allow_nan=False))
    sys.exit(status)


if __name__ == "__main__":
    main()
