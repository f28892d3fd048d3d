# mypy: disable-error-code="import-not-found"
"""Trains one RecBole model and stores its scores; runs in RecBole's own environment.

`worker_files` says how it is called, what it finds and what it leaves. RecBole numbers users and
items anew, and `Ids` translates.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.append(str(Path(__file__).parent))  # -I leaves it out; RecBole's packages come first
import worker_files
from worker_files import Unusable, behind_all, say

SECONDS_BETWEEN_REPORTS = 30
EXTRA_SETTINGS = ("gpu_id", "use_gpu", "enable_amp", "enable_scaler", "MAX_ITEM_LIST_LENGTH")


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


class DomainScores(worker_files.DomainScores):
    """Scores of rows of a split for the items of one domain."""

    def __init__(self, model, config, ids, sizes, repeats):
        super().__init__(sizes, repeats)
        self._model, self._config, self._ids = model, config, ids
        self._length = config["MAX_ITEM_LIST_LENGTH"]
        self._special = {"GCMC": self._gcmc, "TransRec": self._transrec}.get(config["model"])
        self._nodes: tuple = ()

    def chunks(self, split, domain):
        """As there."""
        self._model.eval()
        if self._config["model"] == "GCMC":  # its graph is the same for all users
            with torch.no_grad():
                of_users = self._model.user_features, self._model.item_features
                self._nodes = self._model.GcEncoder(*of_users)
        yield from super().chunks(split, domain)

    def scores(self, split, rows, offset, size):
        """As there."""
        device = self._config["device"]
        items = torch.from_numpy(self._ids.items[offset : offset + size]).to(device)
        batch = self._batch(split, rows).to(device)
        if self._special:
            scores = self._special(batch, items)
        else:
            scores = self._model.full_sort_predict(batch).view(len(rows), -1)[:, items]
        return behind_all(scores, items == 0)

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

    def _gcmc(self, batch, items):
        users = batch[self._config["USER_ID_FIELD"]]
        of_users, of_items = self._nodes
        scores = self._model.BiDecoder(of_users, of_items[items], users, None)[:, 1]
        return scores.view(len(users), -1)

    def _transrec(self, batch, items):
        model = self._model
        query = model(batch[model.USER_ID], batch[model.ITEM_SEQ], batch[model.ITEM_SEQ_LEN])
        # The faster way by a matrix product loses the digits that tell neighbours apart.
        exact = "donot_use_mm_for_euclid_dist"
        distances = torch.cdist(query, model.item_embedding.weight[items], compute_mode=exact)
        return model.bias.weight[items].T - distances


def train(config, model, batches, validate, name):
    """`worker_files.train` with RecBole's trainer.

    Args:
        config: RecBole's.
        model: to be trained.
        batches: RecBole's loader.
        validate: see there.
        name: for the reports.
    """
    from recbole.utils import get_trainer

    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)

    def train_epoch(epoch):
        loss = trainer._train_epoch(Reported(batches, f"{name} epoch {epoch}"), epoch)
        return sum(loss if isinstance(loss, tuple) else (loss or 0.0,)) / len(batches)

    patience, every = config["stopping_step"], config["eval_step"]
    return worker_files.train(model, config["epochs"], train_epoch, validate, name, patience, every)


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
    scores = DomainScores(model, config, ids, request["sizes"], request["repeats"])
    result = worker_files.result_of(
        folder,
        request,
        scores,
        model,
        lambda validate: train(config, model, batches, validate, name),
    )
    plain = (str, int, float, bool, list, type(None))
    folders = {"data_path", "checkpoint_dir", "pre_model_path"}  # of this one run
    return {
        **result,
        "samples_per_epoch": len(dataset),
        "device": str(config["device"]),
        "versions": {"recbole": recbole.__version__, "torch": torch.__version__},
        "settings": {
            name: value
            for name, value in sorted(config.final_config_dict.items())
            if isinstance(value, plain) and name not in folders
        },
    }


def check(asked):
    """Says if a model of `{model: [names of settings]}` has no such setting."""
    import recbole.data
    import recbole.trainer  # noqa: F401

    for name, settings in asked.items():
        check_settings(name, settings)


if __name__ == "__main__":
    worker_files.main(run, check)
