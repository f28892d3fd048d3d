"""RecTools through the same files as RecBole: names and settings, and the real thing."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from data_prep import InputError
from tests.support.library_scores import check_scores
from tests.support.listed_items import with_items
from tf_syncrec.comparison.libraries.bridge import (
    check_interpreter,
    train_elsewhere,
    write_exchange,
)
from tf_syncrec.comparison.libraries.library import LIBRARIES, RECTOOLS
from tf_syncrec.comparison.names import about_models, parse_name
from tf_syncrec.config import OF_OTHERS, Config

PYTHON = os.environ.get("RECTOOLS_PYTHON", "")
real = pytest.mark.skipif(
    not PYTHON, reason="RECTOOLS_PYTHON does not name an interpreter with RecTools"
)
SMALL = {"epochs": 2, "session_max_len": 8, "n_factors": 16, "n_heads": 2}


def test_every_library_has_a_section_of_settings_and_a_worker():
    assert [library.key for library in LIBRARIES] == list(OF_OTHERS)
    for library in LIBRARIES:
        assert getattr(Config(), library.key) == {} and library.worker.exists()
        assert f"{library.prefix}NAME" in dict(about_models())


def test_models_are_named_after_their_library():
    name = parse_name("rectools:eSASRec")
    assert (name.library, name.in_library, name.network) == (RECTOOLS, "eSASRec", None)
    assert name.seeded and not name.single
    with pytest.raises(InputError, match=r"of RecTools there are rectools:SASRec, rectools:eSAS"):
        parse_name("rectools:BERT4Rec")


def test_a_missing_interpreter_says_how_to_make_it(tmp_path, make_prepared):
    with pytest.raises(InputError, match=r"cannot run RecTools .*`make rectools`"):
        train_elsewhere(RECTOOLS, "SASRec", make_prepared(users=20), tmp_path, tmp_path / "python")


# ---------------------------------------------------------------------------- the real RecTools


@real
@pytest.mark.parametrize("name", RECTOOLS.models)
def test_a_real_model_trains_and_selects_by_our_protocol(tmp_path, make_prepared, name):
    prepared = with_items(make_prepared(users=60, seed=5))
    lines: list[str] = []
    scorers, info = train_elsewhere(
        RECTOOLS, name, prepared, tmp_path, PYTHON, SMALL, 1, lines.append
    )
    assert info["epochs"] == 2 == sum(" epoch " in line for line in lines)
    assert info["settings"]["n_factors"] == 16 and info["settings"]["patience"] == 3
    check_scores(scorers, info, prepared)


PROBE = """
import importlib.util, json, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("worker", sys.argv[1])
worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)
folder = Path(sys.argv[2])
import numpy as np, torch
from rectools import Columns
from rectools.models import SASRecModel
from rectools.models.nn.transformers.lightning import TransformerLightningModule
def weigh(self):
    for n, p in enumerate(self.torch_model.parameters()):
        p.data = 0.3 * torch.sin(n + torch.arange(p.numel(), dtype=torch.float32)).view(p.shape)
TransformerLightningModule._xavier_normal_init = weigh
name, settings = json.loads(sys.argv[3])
rows = worker.training_rows(folder)
theirs = SASRecModel.from_config({**worker.MODELS[name], **settings, "epochs": 3})
theirs.fit(rows)
request = json.loads((folder / "request.json").read_text())
request |= {"settings": settings | {"epochs": 3, "patience": 99}}
(folder / "request.json").write_text(json.dumps(request))
built = []
model_of = worker.model_of
worker.model_of = lambda *args: built.append(model_of(*args)) or built[-1]
def last(self, split):  # so that the last epoch is the best
    last.calls += 1
    return last.calls
last.calls = 0
worker.worker_files.DomainScores.ndcg_at_10 = last
worker.run(folder)
ours = built[0]
same = zip(theirs.torch_model.state_dict().values(), ours.torch_model.state_dict().values())
worst = max((a - b).abs().max().item() for a, b in same)
ours.is_fitted = True
recommended = ours.recommend(
    users=rows.user_id_map.external_ids, dataset=rows, k=5, filter_viewed=False
)
(folder / "probe.json").write_text(json.dumps({
    "worst": worst,
    "recommended": recommended[[Columns.User, Columns.Item, Columns.Score]].values.tolist(),
}))
"""


@real
def test_our_loop_trains_as_that_of_rectools(tmp_path, make_prepared):
    """Three epochs of a single batch without dropout, from the same weights."""
    prepared = make_prepared(users=60, seed=5)
    # Whose history of validation is his training: what RecTools recommends is what is stored.
    for split in ("validation", "test"):
        for row, trained in zip(prepared.splits[split], prepared.splits["train"], strict=True):
            row["items"] = trained["items"]
    settings: dict[str, float] = {
        name: SMALL[name] for name in ("session_max_len", "n_factors", "n_heads")
    }
    settings |= {"dropout_rate": 0.0, "batch_size": 1000, "lr": 0.01}
    write_exchange(RECTOOLS, tmp_path, prepared, "SASRec", {}, 0)
    command = [PYTHON, "-I", "-c", PROBE, os.fspath(RECTOOLS.worker), os.fspath(tmp_path)]
    subprocess.run([*command, json.dumps(["SASRec", settings])], check=True, cwd=tmp_path)
    probe = json.loads((tmp_path / "probe.json").read_text())
    assert probe["worst"] < 1e-3  # an epoch more or less moves weights by .01
    names = [row["user_id"] for row in prepared.splits["train"]]
    place = {row["user_id"]: row["domain"] for row in prepared.splits["validation"]}
    compared = 0
    for domain, size in enumerate(prepared.catalogue.sizes):
        if not size:
            continue
        stored = np.load(tmp_path / "scores" / f"validation_{domain}.npy")
        users = [row["user_id"] for row in prepared.splits["validation"] if row["domain"] == domain]
        first = prepared.catalogue.offsets[domain]
        for user, item, score in probe["recommended"]:
            name = names[int(user) - 1]
            if place.get(name) == domain and first <= item < first + size:
                found = stored[users.index(name), int(item) - first]
                assert found == pytest.approx(score, rel=1e-3, abs=1e-3)
                compared += 1
    assert compared > 30


@real
def test_a_worker_ends_with_its_caller(tmp_path, make_prepared):
    """Also where that is killed in the middle of an epoch of hours."""
    slow = SMALL | {"batch_size": 1, "n_blocks": 100}
    write_exchange(RECTOOLS, tmp_path, make_prepared(users=500), "SASRec", slow, 0)
    caller = (
        "import subprocess, sys, time\n"
        "worker = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "for line in worker.stdout:\n"
        "    if b'steps an epoch' in line:\n"
        "        print(worker.pid, flush=True)\n"
        "        time.sleep(600)\n"
    )
    command = [PYTHON, "-I", os.fspath(RECTOOLS.worker), os.fspath(tmp_path)]
    with subprocess.Popen(
        [sys.executable, "-c", caller, *command], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        number = int(process.stdout.readline())
        os.kill(number, 0)
        process.kill()
    for _ in range(100):
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.kill(number, signal.SIGKILL)
    pytest.fail("it goes on")


@real
def test_the_real_rectools_checks_settings_before_any_training(tmp_path, make_prepared):
    check_interpreter(RECTOOLS, PYTHON, {"SASRec": ["lr", "patience"], "eSASRec": []})
    with pytest.raises(InputError, match="setting 'learning_rate' of eSASRec: expected one of"):
        check_interpreter(RECTOOLS, PYTHON, {"SASRec": [], "eSASRec": ["learning_rate"]})
    with pytest.raises(InputError, match=r"^RecTools: batch_size of SASRec: .*'many'"):
        train_elsewhere(
            RECTOOLS, "SASRec", make_prepared(users=20), tmp_path, PYTHON, {"batch_size": "many"}
        )
