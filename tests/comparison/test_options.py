"""Wrong options and failing cells of a comparison: one plain line each."""

import pytest

from tests.support.comparing import cells_here, no_cells, options, refused, run
from tf_syncrec import compare
from tf_syncrec.comparison import jobs
from tf_syncrec.comparison import worker as cell

BAD_OPTIONS = {
    "unknown model": (["--models", "sasrek"], ["--models", "sasrek", "sasrec"]),
    "unknown of RecBole": (["--models", "recbole:Sasrec"], ["recbole:Sasrec", "recbole:SASRec"]),
    "scorer by domain": (["--models", "popularity_single"], ["popularity_single"]),
    "two suffixes": (["--models", "sasrec_cross_single"], ["sasrec_cross_single"]),
    "repeated": (["--models", "bprmf,popularity,bprmf"], ["--models", "bprmf,popularity,bprmf"]),
    "repeated by another name": (["--models", "sasrec,sasrec_cross"], ["sasrec,sasrec_cross"]),
    "no model": (["--models", ""], ["--models"]),
    "no model but commas": (["--models", ",,"], ["--models", ",,"]),
    "neither": ([], ["--models", "--preset"]),
    "both": (["--models", "bprmf", "--preset", "main"], ["--models", "--preset"]),
    "unknown preset": (["--preset", "mian"], ["--preset", "mian"]),
    "seeds: word": (["--models", "bprmf", "--seeds", "0,one"], ["--seeds", "0,one"]),
    "seeds: empty": (["--models", "bprmf", "--seeds", ""], ["--seeds"]),
    "seeds: negative": (["--models", "bprmf", "--seeds=-1"], ["--seeds", "-1"]),
    "seeds: repeated": (["--models", "bprmf", "--seeds", "1,2,1"], ["--seeds", "1,2,1"]),
    "init_from": (
        ["--models", "bprmf", "--set", "train.init_from=runs/yesterday"],
        ["train.init_from", "runs/yesterday"],
    ),
    "seed": (["--models", "bprmf", "--seed", "1"], ["--seed 1", "--seeds"]),
    "reference": (
        ["--models", "bprmf,popularity", "--reference", "syncrec"],
        ["--reference syncrec", "bprmf, popularity"],
    ),
}


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_bad_option(name, tmp_path, capsys):
    more, words = BAD_OPTIONS[name]
    output = tmp_path / "comparison"
    with no_cells():
        error = refused(["--dataset", "synthetic", *more, "--output_dir", str(output)], capsys)
    assert all(word in error for word in words), error
    assert not output.exists()


def test_output_dir_that_is_a_file(compared, tmp_path, capsys):
    (tmp_path / "taken").write_text("mine")
    arguments = options(compared.directory, "--output_dir", str(tmp_path / "taken"))
    assert f"--output_dir {tmp_path / 'taken'}" in refused(arguments, capsys)
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_misspelt_setting_of_recbole_is_found_before_anything_is_done(
    tmp_path, monkeypatch, capsys
):
    asking = tmp_path / "python"
    asking.write_text('#!/bin/sh\necho "$4"; exit 2\n')
    asking.chmod(0o755)
    monkeypatch.setenv("RECBOLE_PYTHON", str(asking))
    more = ("--set", "recbole.learing_rate=1", "--set", "recbole.n_layers=2")
    with no_cells():
        error = refused(options(tmp_path, *more, models="bprmf,recbole:STAMP@0"), capsys)
    assert "RecBole" in error and "STAMP" in error
    assert "learing_rate" in error and "n_layers" in error
    assert [path.name for path in tmp_path.iterdir()] == ["python"]


FAILURES = {
    "error": ("echo epoch 1; echo ValueError: too bad >&2; exit 1", "ValueError: too bad"),
    "killed": ("echo epoch 1; kill -9 $$", "signal 9"),
    "silent": ("exit 3", "code 3"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failing_cell_ends_the_comparison_in_one_line_that_names_its_log(
    compared, tmp_path, monkeypatch, capsys, name
):
    script, word = FAILURES[name]
    failing = tmp_path / "python"
    failing.write_text(f"#!/bin/sh\n{script}\n")
    failing.chmod(0o755)
    monkeypatch.setattr(jobs.sys, "executable", str(failing))
    with pytest.raises(SystemExit) as stop:
        compare.main(
            options(compared.directory, "--output_dir", str(tmp_path), models="bprmf,popularity")
        )
    message = str(stop.value.code)
    log = tmp_path / "cells" / "bprmf" / "seed0" / "log.txt"
    assert message.startswith("error: ") and len(message.splitlines()) == 1
    assert "bprmf, seed 0" in message and str(log) in message and word in message
    assert log.read_text().count("epoch 1") == script.count("epoch 1")
    assert not (tmp_path / "cells" / "popularity").exists()
    assert not (tmp_path / "comparison.json").exists()


def test_what_fails_in_a_cell_is_in_its_log_and_the_cell_is_not_finished(compared, tmp_path):
    def fail(*_, **__):
        raise FloatingPointError("the loss is nan")

    with cells_here() as patch, pytest.raises(SystemExit) as stop:
        patch.setattr(cell, "train", fail)
        run(compared.directory, "--output_dir", str(tmp_path), models="popularity,bprmf")
    assert "the loss is nan" in str(stop.value.code)
    log = tmp_path / "cells" / "bprmf" / "seed0" / "log.txt"
    assert "Traceback" in log.read_text()
    assert not (log.parent / "result.json").exists()
    assert (tmp_path / "cells" / "popularity" / "seed0" / "result.json").exists()
