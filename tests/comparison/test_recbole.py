"""RecBole through files: what goes out, what comes back, and the real thing where there is one."""

import functools
import json
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from data_prep import InputError, prepare
from tests.support.candidates import excluded
from tests.support.library_scores import check_scores
from tests.support.listed_items import with_items
from tf_syncrec.comparison.libraries import bridge
from tf_syncrec.comparison.libraries.bridge import StoredScorer
from tf_syncrec.comparison.libraries.library import RECBOLE, Library
from tf_syncrec.data.batches import evaluation_batches
from tf_syncrec.data.item_attributes import load
from tf_syncrec.evaluation.full_ranking import rank_split

train_recbole = functools.partial(bridge.train_elsewhere, RECBOLE)
write_exchange = functools.partial(bridge.write_exchange, RECBOLE)
check_interpreter = functools.partial(bridge.check_interpreter, RECBOLE)
settings_of = functools.partial(bridge.settings_of, RECBOLE)
MODELS, WITH_ATTRIBUTES = RECBOLE.models, RECBOLE.with_attributes

# Stands in for the worker: scores that only depend on the history it was given and the item.
FAKE_WORKER = """
import json, sys
from pathlib import Path
import numpy as np
folder = Path(sys.argv[1])
request = json.loads((folder / "request.json").read_text())
sizes = np.array(request["sizes"])
offsets = 1 + np.cumsum(sizes) - sizes
(folder / "scores").mkdir()
for split in ("validation", "test"):
    arrays = np.load(folder / f"{split}.npz")
    assert ("target" in arrays) == (split == "validation")
    starts = np.concatenate([[0], arrays["ends"][:-1]])
    for d in range(len(sizes)):
        rows = [
            [(sum(arrays["items"][starts[r]:arrays["ends"][r]].tolist()) * 7 + i * 13) % 11
             for i in range(offsets[d], offsets[d] + sizes[d])]
            for r in np.flatnonzero(arrays["domain"] == d)
        ]
        scores = np.array(rows, np.float32).reshape(len(rows), sizes[d])
        np.save(folder / "scores" / f"{split}_{d}.npy", scores)
print("working hard", flush=True)
result = {"epochs": 3, "seed": request["seed"], "settings": request["settings"]}
(folder / "result.json").write_text(json.dumps(result))
"""


@pytest.fixture
def fake_worker(tmp_path, monkeypatch):
    """`fake_worker(script)`: a real subprocess of this interpreter in place of the worker."""

    def install(script=FAKE_WORKER):
        path = tmp_path / "worker.py"
        path.write_text(script)
        monkeypatch.setattr(Library, "worker", path)
        monkeypatch.setattr(bridge, "check_interpreter", lambda library, python: None)

    return install


def atomic_rows(folder):
    """`user, item, time` of RecBole's file, as written."""
    lines = (folder / "interactions" / "interactions.inter").read_text().splitlines()
    assert lines[0] == "user_id:token\titem_id:token\ttimestamp:float"
    return [tuple(int(number) for number in line.split("\t")) for line in lines[1:]]


def test_the_exchange_holds_exactly_the_training_rows(tmp_path, make_prepared):
    prepared = make_prepared(users=60, seed=3)
    write_exchange(tmp_path, prepared, "SASRec", {}, 0)
    expected = [
        (number, int(item), position)
        for number, row in enumerate(prepared.splits["train"], start=1)
        for position, item in enumerate(row["items"])
    ]
    assert atomic_rows(tmp_path) == expected
    request = json.loads((tmp_path / "request.json").read_text())
    assert request["users"] == 60 and request["interactions"] == len(expected)
    assert request["sizes"] == prepared.catalogue.sizes.tolist()


def test_targets_are_in_the_training_rows_only_where_they_repeat(tmp_path, make_prepared):
    prepared = make_prepared(users=60, seed=4)
    write_exchange(tmp_path, prepared, "GCMC", {}, 0)
    trained = Counter((user, item) for user, item, _ in atomic_rows(tmp_path))
    fresh = 0
    for split in ("validation", "test"):
        assert ("target" in np.load(tmp_path / f"{split}.npz")) == (split == "validation")
        for number, row in enumerate(prepared.splits[split], start=1):
            in_training = prepared.splits["train"][number - 1]["items"].tolist()
            if target := int(row["target"]):
                assert trained[number, target] == in_training.count(target)
                fresh += target not in in_training
    assert fresh > 50


def test_ids_and_histories_map_back(tmp_path, make_prepared):
    prepared = make_prepared(users=60, seed=5)
    # Fewer users than in training and in another order, as a log has it.
    prepared.splits["validation"] = prepared.splits["validation"][50:10:-1]
    write_exchange(tmp_path, prepared, "SASRec", {}, 0)
    names = [row["user_id"] for row in prepared.splits["train"]]
    arrays = np.load(tmp_path / "validation.npz")
    starts = np.concatenate([[0], arrays["ends"][:-1]])
    assert len(arrays["user"]) == 40
    for r, row in enumerate(prepared.splits["validation"]):
        assert names[arrays["user"][r] - 1] == row["user_id"]
        assert arrays["items"][starts[r] : arrays["ends"][r]].tolist() == row["items"].tolist()
        assert (arrays["domain"][r], arrays["target"][r]) == (row["domain"], row["target"])


def test_the_file_of_items_says_what_trained_ones_are(tmp_path, make_prepared):
    prepared = with_items(make_prepared(users=60, seed=5))
    attributes = load(prepared)
    assert attributes is not None
    write_exchange(tmp_path, prepared, "FDSA", {}, 0)
    request = json.loads((tmp_path / "request.json").read_text())
    assert request["attributes"] == {
        "selected_features": ["brand", "words"],  # and nothing of ready-made vectors
        "item_attribute": "attributes",
    }
    head, *lines = (tmp_path / "interactions" / "interactions.item").read_text().splitlines()
    assert head == "item_id:token\tbrand:token_seq\twords:token_seq\tattributes:token_seq"
    written = {}
    for line in lines:
        item, *fields = line.split("\t")
        written[int(item)] = [{attributes.names[int(a)] for a in field.split()} for field in fields]
    untrained = np.flatnonzero(prepared.catalogue.counts == 0) + 1
    assert request["untrained"] == untrained.tolist() and len(untrained) >= 12
    assert sorted([*written, *untrained.tolist()]) == list(range(1, attributes.tokens.shape[0]))
    for item, (brands, words, both) in written.items():
        known = {attributes.names[a] for a in attributes.tokens[item] if a}
        assert brands == {name for name in known if name.startswith("brand=")}
        assert words == known - brands and both == known
    assert sum(bool(both) for _, _, both in written.values()) > 20


@pytest.mark.parametrize("name", WITH_ATTRIBUTES)
def test_models_of_attributes_need_a_file_of_items(name, tmp_path, make_prepared):
    with pytest.raises(InputError, match=rf"^--models recbole:{name}: .* --items$"):
        train_recbole(name, make_prepared(users=20), tmp_path, sys.executable)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_ranks_are_those_of_a_literal_loop(tmp_path, make_prepared, fake_worker, split):
    fake_worker()
    prepared = make_prepared(users=150, seed=6)
    lines: list[str] = []
    scorers, info = train_recbole(
        "SASRec", prepared, tmp_path / "run", sys.executable, {"epochs": 9}, 4, lines.append
    )
    assert info == {"epochs": 3, "seed": 4, "settings": {"epochs": 9}}
    assert lines == ["working hard"]
    assert (tmp_path / "run" / "worker.log").read_text() == "working hard\n"

    ranks = rank_split(
        scorers[split], evaluation_batches(prepared, split, 16), prepared.catalogue, False
    )
    offsets, sizes = prepared.catalogue.offsets, prepared.catalogue.sizes
    expected = {}
    for row in prepared.splits[split]:
        offset, size = offsets[row["domain"]], sizes[row["domain"]]
        key, target = sum(row["items"].tolist()) * 7, int(row["target"])
        out = excluded(row, prepared.catalogue)
        competitors = [i for i in range(offset, offset + size) if i not in out and i != target]
        if target and target not in out:
            own = (key + target * 13) % 11
            rank = 1 + sum((key + item * 13) % 11 >= own for item in competitors)
        else:
            rank = np.inf
        expected[row["user_id"]] = rank
    assert dict(zip(ranks.user_ids, ranks.ranks, strict=True)) == expected
    assert len(set(expected.values())) > 8


def test_a_slice_of_a_domain_has_the_same_scores(tmp_path, make_prepared, fake_worker):
    fake_worker()
    prepared = make_prepared(users=60, seed=7)
    scorers, _ = train_recbole("GCMC", prepared, tmp_path, sys.executable, report=lambda line: None)
    again = StoredScorer(tmp_path, "test", prepared.catalogue)
    for batch in evaluation_batches(prepared, "test", 32):
        domain = int(batch["domain"][0])
        offset, size = prepared.catalogue.offsets[domain], prepared.catalogue.sizes[domain]
        if size:
            rows = scorers["test"].queries(batch)
            whole = scorers["test"].scores(rows, offset, size)
            assert whole.dtype == np.float32 and whole.shape == (len(rows), size)
            part = again.scores(again.queries(batch)[1:], offset + 1, size - 2)
            np.testing.assert_array_equal(part, whole[1:, 1:-1])


def test_an_unknown_user_has_no_scores(tmp_path, make_prepared):
    prepared = make_prepared(users=20)
    write_exchange(tmp_path, prepared, "SASRec", {}, 0)
    scorer = StoredScorer(tmp_path, "test", prepared.catalogue)
    with pytest.raises(ValueError, match="no scores of user b'nobody'"):
        scorer.queries({"user_id": np.array([b"user 1", b"nobody"], object)})


def test_an_earlier_exchange_leaves_nothing(tmp_path, make_prepared, fake_worker):
    fake_worker()
    prepared = make_prepared(users=20)
    train_recbole("SASRec", prepared, tmp_path, sys.executable, report=lambda line: None)
    fake_worker("import sys; print('out of luck'); sys.exit(1)")
    with pytest.raises(RuntimeError, match=r"exit status 1(.|\n)*out of luck"):
        train_recbole("SASRec", prepared, tmp_path, sys.executable, report=lambda line: None)
    assert not (tmp_path / "scores").exists() and not (tmp_path / "result.json").exists()


def test_what_the_worker_cannot_use_is_one_line(tmp_path, make_prepared, fake_worker):
    fake_worker(
        "import sys; open(sys.argv[1] + '/result.json', 'w').write('{\"error\": \"no eopchs\"}');"
        "sys.exit(2)"
    )
    with pytest.raises(InputError, match=r"^RecBole: no eopchs\.$"):
        train_recbole("SASRec", make_prepared(users=20), tmp_path, sys.executable)


def test_a_stopped_report_stops_the_worker(tmp_path, make_prepared, fake_worker):
    fake_worker("import os, time; print(os.getpid(), flush=True); time.sleep(600)")

    def interrupt(line):
        raise KeyboardInterrupt(line)

    with pytest.raises(KeyboardInterrupt) as caught:
        train_recbole("SASRec", make_prepared(users=20), tmp_path, sys.executable, report=interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int(str(caught.value)), 0)


def test_an_unknown_model_is_named(tmp_path, make_prepared):
    with pytest.raises(InputError, match="'Sasrec': unknown; expected one of SASRec, GRU4Rec"):
        train_recbole("Sasrec", make_prepared(users=20), tmp_path, sys.executable)


def test_a_missing_interpreter_says_how_to_make_it(tmp_path, make_prepared):
    with pytest.raises(InputError, match=r"nowhere/python: cannot run .*No such.*`make recbole`"):
        train_recbole("SASRec", make_prepared(users=20), tmp_path, tmp_path / "nowhere/python")
    assert not list(tmp_path.iterdir())


def test_an_interpreter_without_recbole_says_what_is_missing(tmp_path):
    bare = tmp_path / "python"
    bare.write_text(
        "#!/bin/sh\necho \"ModuleNotFoundError: No module named 'torch'\" >&2\nexit 1\n"
    )
    bare.chmod(0o755)
    with pytest.raises(InputError, match=r"No module named 'torch'\); .*`make recbole`"):
        check_interpreter(bare)


def test_a_setting_that_a_model_does_not_have_is_found_without_training(tmp_path):
    asked = tmp_path / "asked.json"
    asking = tmp_path / "python"
    asking.write_text(
        f"#!/bin/sh\nprintf '%s' \"$4\" > {asked}\necho \"setting 'x' of STAMP: unknown\"; exit 2\n"
    )
    asking.chmod(0o755)
    with pytest.raises(InputError, match=r"^RecBole: setting 'x' of STAMP: unknown\.$"):
        check_interpreter(asking, {"SASRec": {"epochs": 3}, "STAMP": {"x": 1, "epochs": 3}})
    assert json.loads(asked.read_text()) == {"SASRec": ["epochs"], "STAMP": ["x", "epochs"]}


def test_settings_of_one_model_win_over_those_of_all():
    settings = {"epochs": 9, "train_batch_size": 256, "GCMC": {"train_batch_size": 4096}}
    assert settings_of("GCMC", settings) == {"epochs": 9, "train_batch_size": 4096}
    for name in ("NARM", "SASRec"):
        assert settings_of(name, settings) == {"epochs": 9, "train_batch_size": 256}
    # Those of one model, once taken out, are taken as they are.
    assert settings_of("GCMC", settings_of("GCMC", settings)) == {
        "epochs": 9,
        "train_batch_size": 4096,
    }
    with pytest.raises(InputError, match=r"recbole\.STAMP: expected settings .* received 5"):
        settings_of("NARM", {"STAMP": 5})


# ------------------------------------------------------------------------------ the real RecBole

PYTHON = os.environ.get("RECBOLE_PYTHON", "")
real = pytest.mark.skipif(
    not PYTHON, reason="RECBOLE_PYTHON does not name an interpreter with RecBole"
)
SIZES = {"users": 120, "items_per_domain": 20, "interactions_per_user": 12}


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    return prepare(
        "synthetic", synthetic=SIZES, data_dir=tmp_path_factory.mktemp("data"), report=None
    )


@real
@pytest.mark.parametrize("name", ["SASRec", "GCMC", "TransRec", "BERT4Rec", *WITH_ATTRIBUTES])
def test_the_real_recbole_ranks_items_that_it_does_not_know_behind_all_others(
    tmp_path, make_prepared, name
):
    prepared = with_items(make_prepared(users=60, seed=5))
    settings: dict = {"epochs": 1, "train_batch_size": 64}
    settings |= {"pretrain_epochs": 1} if name == "S3Rec" else {}
    lines: list[str] = []
    scorers, info = train_recbole(name, prepared, tmp_path, PYTHON, settings, 1, lines.append)
    if name in WITH_ATTRIBUTES:
        assert info["settings"]["selected_features"] == ["brand", "words"]
    assert any("pre-training 1:" in line for line in lines) == (name == "S3Rec")
    check_scores(scorers, info, prepared)


@real
@pytest.mark.parametrize("name", [name for name in MODELS if name not in WITH_ATTRIBUTES])
def test_a_real_model_trains_and_selects_by_our_protocol(tmp_path, synthetic, name):
    settings = {"epochs": 1, "train_batch_size": 256}
    scorers, info = train_recbole(name, synthetic, tmp_path, PYTHON, settings, seed=1)
    assert (info["epochs"], info["best_epoch"], info["settings"]["seed"]) == (1, 1, 1)
    assert str(tmp_path) not in json.dumps(info)
    assert info["parameters"] > 1000 and info["peak_memory_mb"] > 50
    assert info["seconds_per_epoch"] > 0
    for split, scorer in scorers.items():
        batches = evaluation_batches(synthetic, split, 64)
        ranks = rank_split(scorer, batches, synthetic.catalogue)
        assert len(ranks.ranks) == SIZES["users"]
        if split == "validation":
            measured = ranks.metrics(synthetic.catalogue.domains)["overall"]["ndcg@10"]
            assert info["validation_ndcg@10"] == pytest.approx(measured, abs=1e-6)
            assert info["history"][0]["validation_ndcg@10"] == info["validation_ndcg@10"]


PROBE = """
import importlib.util, json, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("worker", sys.argv[1])
worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)
folder = Path(sys.argv[2])
del sys.argv[1:]
import numpy as np, torch
from recbole.utils import get_model
request = json.loads((folder / "request.json").read_text())
config = worker.configure(folder, request)
dataset, ids, batches = worker.training_data(config, request)
users, items = np.argsort(ids.users), np.argsort(ids.items)
samples = []
for batch in batches:
    row = [batch["user_id"], batch["item_id"]]
    if "item_id_list" in batch:
        row += [batch["item_length"], *batch["item_id_list"].T]
    samples += torch.stack(row, 1).tolist()
samples = [
    [int(users[s[0]]), int(items[s[1]]), [int(items[i]) for i in s[3:3 + s[2]]] if s[2:] else 0]
    for s in samples
]
model = get_model(config["model"])(config, dataset)
for p in model.parameters():
    torch.nn.init.normal_(p)
domains = worker.DomainScores(model, config, ids, request["sizes"], request["repeats"])
split, worst = worker.worker_files.Split(folder / "validation.npz"), 0.0
for d in range(len(request["sizes"])):
    first = sum(request["sizes"][:d]) + 1
    columns = ids.items[first : first + request["sizes"][d]]
    for rows, scores in domains.chunks(split, d):
        if config["model"] == "BERT4Rec":  # the latest items, the mask behind them, and padding
            inputs = torch.zeros(len(rows), 5, dtype=torch.long)
            last = torch.zeros(len(rows), dtype=torch.long)
            for j, row in enumerate(rows):
                ends = split._ends
                history = split._items[(ends[row - 1] if row else 0) : ends[row]][-4:]
                inputs[j, : len(history)] = torch.from_numpy(ids.items[history])
                inputs[j, len(history)] = model.mask_token
                last[j] = len(history)
            found = model.gather_indexes(model.forward(inputs), last)
            whole = found @ model.item_embedding.weight[:-1].T + model.output_bias
        else:
            whole = model.full_sort_predict(domains._batch(split, rows)).view(len(rows), -1)
        worst = max(worst, ((whole[:, columns] - scores).abs() / (1 + scores.abs())).max().item())
        assert scores.std(dim=0).min() > 0
(folder / "probe.json").write_text(json.dumps({"samples": samples, "worst": worst}))
"""


@real
@pytest.mark.parametrize("name", ["SASRec", "BERT4Rec", "TransRec", "GCMC"])
def test_the_real_loader_trains_on_our_rows_alone(tmp_path, synthetic, name):
    """And what is scored in a way of our own equals the model's full_sort_predict.

    But for BERT4Rec, which has to read whole histories as far as they fit.
    """
    write_exchange(tmp_path, synthetic, name, {"MAX_ITEM_LIST_LENGTH": 5}, 0)
    worker = os.fspath(RECBOLE.worker)
    subprocess.run([PYTHON, "-I", "-c", PROBE, worker, tmp_path], check=True, cwd=tmp_path)
    probe = json.loads((tmp_path / "probe.json").read_text())
    assert probe["worst"] < 1e-4
    expected = []
    for number, row in enumerate(synthetic.as_dataset("train").as_numpy_iterator(), start=1):
        items = row["items"].tolist()
        if name == "GCMC":
            expected += [[number, item, 0] for item in items]
        else:  # every prefix, cut to its latest items, predicts the next
            expected += [[number, items[t], items[max(t - 5, 0) : t]] for t in range(1, len(items))]
    assert sorted(map(str, probe["samples"])) == sorted(map(str, expected))


@real
def test_the_real_recbole_checks_settings_of_every_model_before_any_training():
    everywhere = ["learning_rate", "MAX_ITEM_LIST_LENGTH"]
    check_interpreter(PYTHON, dict.fromkeys(MODELS, everywhere))
    check_interpreter(PYTHON, {"SASRec": ["n_layers"], "STAMP": []})
    with pytest.raises(InputError, match="setting 'n_layers' of STAMP: expected one of"):
        check_interpreter(PYTHON, {"SASRec": ["n_layers"], "STAMP": ["n_layers"]})


@real
def test_the_real_recbole_refuses_a_misspelt_setting(tmp_path, synthetic):
    with pytest.raises(InputError, match="setting 'learing_rate' of STAMP: expected one of"):
        train_recbole("STAMP", synthetic, tmp_path, PYTHON, {"learing_rate": 1.0})
