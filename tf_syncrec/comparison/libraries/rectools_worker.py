# mypy: disable-error-code="import-not-found"
"""Trains one Transformer of RecTools and stores its scores; runs in RecTools' own environment.

`worker_files` says how it is called, what it finds and what it leaves. Data, network, loss, first
weights and optimizer are RecTools'; the loop over epochs is ours, since the best of them is chosen
on our validation targets.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.append(str(Path(__file__).parent))  # -I leaves it out; RecTools' packages come first
import worker_files
from worker_files import Unusable, behind_all, say

OURS = {"epochs": 100, "patience": 3}
"""Settings that RecTools has not, or has otherwise: it trains three epochs, whatever happens."""

LIGR = "rectools.models.nn.transformers.ligr.LiGRLayers"
MODELS = {
    "SASRec": {},
    # eSASRec (RecSys 2025): SASRec's task, LiGR's layers, a sampled softmax.
    "eSASRec": {"transformer_layers_type": LIGR, "loss": "sampled_softmax", "n_negatives": 256},
}
"""What each has in place of the defaults of RecTools' SASRecModel."""


def check_settings(name, settings):
    """Raises Unusable if a model has no such setting."""
    from rectools.models.nn.transformers.sasrec import SASRecModelConfig

    # What it takes as a class cannot be said in a configuration of ours.
    fields = SASRecModelConfig.model_fields
    known = {*OURS, *fields} - {field for field in fields if field.endswith(("type", "types"))}
    known -= {"cls", "verbose", *(field for field in fields if "func" in field)}
    for setting in settings:
        if setting not in known:
            raise Unusable(
                f"setting {setting!r} of {name}: expected one of {', '.join(sorted(known))}"
            )


def model_of(name, settings):
    """The model of RecTools, not built yet."""
    from pydantic import ValidationError
    from rectools.models import SASRecModel

    check_settings(name, settings)
    theirs = {key: value for key, value in settings.items() if key not in OURS}
    try:
        return SASRecModel.from_config({**MODELS[name], **theirs})
    except ValidationError as error:
        first = error.errors()[0]
        raise Unusable(
            f"{'.'.join(map(str, first['loc']))} of {name}: {first['msg']}, received "
            f"{first['input']!r}"
        ) from error


def training_rows(folder):
    """The dataset of exactly our rows, numbered as they are."""
    import pandas as pd
    from rectools import Columns
    from rectools.dataset import Dataset

    rows = pd.read_csv(
        folder / "interactions" / "interactions.inter",
        sep="\t",
        header=0,
        names=[Columns.User, Columns.Item, Columns.Datetime],
        dtype=np.int64,
    )
    rows[Columns.Weight] = 1.0
    # Positions, as days: all that the order needs.
    rows[Columns.Datetime] = pd.to_datetime(rows[Columns.Datetime], unit="D")
    return Dataset.construct(rows)


class DomainScores(worker_files.DomainScores):
    """Scores of rows of a split for the items of one domain."""

    def __init__(self, model, sizes, repeats):
        super().__init__(sizes, repeats)
        self._network, self._length = model.torch_model, model.session_max_len
        known = model.data_preparator.get_known_item_ids().astype(np.int64)
        self.items = np.zeros(int(self.sizes.sum()) + 1, np.int64)  # 0: RecTools does not know it
        self.items[known] = model.data_preparator.n_item_extra_tokens + np.arange(len(known))

    def chunks(self, split, domain):
        """As there."""
        self._network.eval()
        with torch.no_grad():
            self._vectors = self._network.item_model.get_all_embeddings()
        yield from super().chunks(split, domain)

    def scores(self, split, rows, offset, size):
        """As there."""
        history, lengths = split.latest(rows, self._length)
        # Padded on the left, as RecTools has it.
        places = np.arange(self._length) - (self._length - lengths)[:, None]
        latest = np.take_along_axis(history, np.maximum(places, 0), axis=1)
        sessions = torch.from_numpy(np.where(places < 0, 0, self.items[latest]))
        sessions = sessions.to(self._vectors.device)
        queries = self._network.encode_sessions({"x": sessions}, self._vectors)[:, -1]
        asked = torch.from_numpy(self.items[offset : offset + size]).to(sessions.device)
        scores = self._network.similarity_module(queries, self._vectors)[:, asked]
        return behind_all(scores, asked == 0)


def run(folder):
    """Does what `request.json` asks for.

    Returns:
        What `result.json` shall hold.
    """
    try:
        import pytorch_lightning
        import rectools
        from rectools.models import SASRecModel  # noqa: F401
    except ImportError as error:
        raise Unusable(f"RecTools cannot be imported by {sys.executable} ({error})") from error

    request = json.loads((folder / "request.json").read_text())
    name, settings = request["model"], OURS | request["settings"]
    pytorch_lightning.seed_everything(request["seed"], verbose=False)
    model = model_of(name, settings)
    say(f"{name}: preparing {request['interactions']:,} training rows for RecTools")
    model._build_model_from_dataset(training_rows(folder))
    module = model.lightning_model
    module.to("cuda" if torch.cuda.is_available() else "cpu")
    module.on_train_start()  # RecTools' first weights
    optimizer = module.configure_optimizers()
    batches = model.data_preparator.get_dataloader_train()
    device = next(module.parameters()).device
    say(f"{name}: {len(batches.dataset):,} sequences, {len(batches):,} steps an epoch, {device}")
    # It reports to Lightning's trainer, of which there is none.
    module.log = lambda *args, **kwargs: None

    def train_epoch(epoch):
        module.train()
        losses = []
        for number, batch in enumerate(batches):
            optimizer.zero_grad()
            loss = module.training_step({k: v.to(device) for k, v in batch.items()}, number)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return float(np.mean(losses))

    def train_model(validate):
        network, most, patience = model.torch_model, settings["epochs"], settings["patience"]
        return worker_files.train(network, most, train_epoch, validate, name, patience)

    scores = DomainScores(model, request["sizes"], request["repeats"])
    result = worker_files.result_of(folder, request, scores, model.torch_model, train_model)
    return {
        **result,
        "samples_per_epoch": len(batches.dataset),
        "device": str(device),
        "versions": {"rectools": rectools.__version__, "torch": torch.__version__},
        "settings": model.get_config(simple_types=True) | {key: settings[key] for key in OURS},
    }


def check(asked):
    """Says if a model of `{model: [names of settings]}` has no such setting."""
    import pytorch_lightning  # noqa: F401

    for name, settings in asked.items():
        check_settings(name, settings)


if __name__ == "__main__":
    worker_files.main(run, check)
