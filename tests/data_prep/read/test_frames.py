"""A frame is as good as the file that it was read from, whatever library holds it."""

import importlib
import types

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import tf_syncrec
from data_prep import InputError, prepare
from data_prep.read.frames import arrow_table, frame_file, is_frame, path_of
from tests.test_fit import write_log
from tf_syncrec.config import Config


@pytest.fixture
def log(tmp_path):
    """A log as a file and as a frame."""
    file = write_log(tmp_path / "log.csv", users=20)
    return file, pd.read_csv(file)


def rows_of(prepared):
    """All rows of all splits, as text."""
    return [
        {name: np.asarray(value).tolist() for name, value in row.items()}
        for split in ("train", "validation", "test")
        for row in prepared.as_dataset(split).as_numpy_iterator()
    ]


def polars_of(frame):
    polars = pytest.importorskip("polars", reason="Polars is not installed")
    return polars.DataFrame({name: frame[name].to_numpy() for name in frame})


KINDS = {
    "pandas": lambda frame: frame,
    "pandas, rows with numbers of their own": lambda frame: frame.set_index(frame.index[::-1]),
    "pandas, ids as the index": lambda frame: frame.set_index("user_id"),
    "pandas, categories": lambda frame: frame.astype({"domain": "category"}),
    "pyarrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
    "pyarrow, in pieces": lambda frame: pa.concat_tables(
        [pa.Table.from_pandas(piece, preserve_index=False) for piece in (frame[:7], frame[7:])]
    ),
    "duckdb": lambda frame: duckdb.from_df(frame),
    "polars": polars_of,
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_library_is_read_as_the_same_rows(log, kind):
    """Types may differ, as they may in files; `test_values` has what becomes of them."""
    found = arrow_table(KINDS[kind](log[1]), "path").to_pydict()
    assert {name: found[name] for name in log[1]} == log[1].to_dict("list")
    assert set(found) == set(log[1])


def test_what_a_frame_becomes_is_what_its_file_becomes(log, tmp_path):
    file, frame = log
    options = {"data_dir": tmp_path / "data", "report": None}
    expected = prepare("interactions", path=file, **options)
    found = prepare("interactions", path=frame.set_index("user_id"), **options)
    assert rows_of(found) == rows_of(expected)
    assert found.catalogue.domains == expected.catalogue.domains
    assert found.data_card["rows"] == expected.data_card["rows"]


def test_equal_rows_are_one_file_and_one_dataset_and_others_are_not(log, tmp_path):
    frame = log[1]
    pieces = KINDS["pyarrow, in pieces"](frame)
    first = frame_file(frame, "path", tmp_path)
    assert frame_file(frame.copy(), "path", tmp_path) == first
    assert frame_file(pieces, "path", tmp_path) == first  # however they lie in memory
    assert frame_file(frame[:-1], "path", tmp_path) != first
    assert len(list((tmp_path / "frames").iterdir())) == 2  # and nothing half-written


def test_items_of_a_frame_are_those_of_the_file(log, tmp_path):
    file, frame = log
    items = frame[["item_id"]].drop_duplicates().assign(title=lambda rows: "T " + rows["item_id"])
    items.to_csv(tmp_path / "items.csv", index=False)
    options = {"data_dir": tmp_path / "data", "report": None}
    expected = prepare("interactions", path=file, items={"path": tmp_path / "items.csv"}, **options)
    found = prepare("interactions", path=file, items=items, **options)
    for name, values in vars(expected.item_columns).items():
        np.testing.assert_equal(getattr(found.item_columns, name), values)


def test_what_is_no_frame_is_told_by_its_type(log, tmp_path):
    frame = log[1]
    assert not is_frame(frame["user_id"]) and not is_frame("log.csv") and not is_frame([1])
    lazy = types.SimpleNamespace(collect=None)
    with pytest.raises(InputError, match=r"path: expected .*SimpleNamespace; \.collect\(\)"):
        path_of(lazy, "path")
    for wrong, message in (
        (frame[:0], "path: the frame has no rows"),
        (frame.assign(item_id=[1] + ["a"] * (len(frame) - 1)), "path: the frame cannot be read"),
        (pd.concat([frame, frame[["domain"]]], axis=1), "path: the frame cannot be read"),
    ):
        with pytest.raises(InputError, match=message):
            frame_file(wrong, "path", tmp_path / "data")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written to"):
        frame_file(frame, "path", tmp_path / "file")
    for wrong in (log[0], frame["user_id"], 3):
        with pytest.raises(InputError, match="fit: expected a frame"):
            tf_syncrec.fit(wrong)
    with pytest.raises(InputError, match="path: a log is given already"):
        tf_syncrec.fit(frame, path=log[0])


def test_values_that_are_missing_stay_missing():
    frame = pd.DataFrame({"a": ["x", None, np.nan], "b": [1.0, np.nan, 3.0]})
    assert arrow_table(frame, "path").to_pydict() == {"a": ["x", None, None], "b": [1.0, None, 3.0]}


def test_fit_takes_frames_where_its_options_take_paths(log, tmp_path, monkeypatch):
    frame, place = log[1], tmp_path / "data"
    items = frame[["item_id"]].drop_duplicates()
    asked: list[list[str]] = []
    monkeypatch.setattr(
        importlib.import_module("tf_syncrec.fit"), "_run", lambda argv, *_: asked.append(argv)
    )
    tf_syncrec.fit(frame, items=items, titles=log[0], data_dir=place, config="tiny", log="csv")
    tf_syncrec.fit(path=frame, settings={"data": {"data_dir": str(place)}}, verbose=False)
    tf_syncrec.fit(Config.model_validate({"data": {"data_dir": str(place)}}), path=frame)
    file, of_items = (str(frame_file(given, "", place)) for given in (frame, items))
    assert asked[0] == [
        *("--items", of_items, "--titles", str(log[0]), "--data_dir", str(place), "--log", "csv"),
        *("--path", file, "--dataset", "interactions", "--config", "tiny"),
    ]
    for argv in asked[1:]:
        assert argv[argv.index("--path") + 1] == file and "interactions" in argv
