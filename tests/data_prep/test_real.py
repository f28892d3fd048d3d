"""Counts on real public logs, where they are present."""

from pathlib import Path

import pytest

from data_prep import prepare

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is absent")


def test_amazon_2014(tmp_path):
    raw_dir = DATA / "amazon2014_ratings"
    data = prepare("amazon", raw_dir=raw_dir, data_dir=tmp_path, report=None).metadata
    assert (data["rows"], data["users"], data["items"]) == (396_653, 11_189, 75_671)
    assert len(data["domains"]) == 6 and data["settings"]["release"] == "2014"
    assert data["evaluated_users"] == data["users"]


def test_the_five_categories_of_the_paper(tmp_path):
    raw_dir = DATA / "amazon_paper_categories_sample"
    data = prepare("amazon", raw_dir=raw_dir, data_dir=tmp_path, report=None).metadata
    assert (data["rows"], data["users"], len(data["domains"])) == (16_123, 500, 5)
    assert data["unknown_test_targets"] / data["evaluated_users"] == pytest.approx(0.94, abs=0.02)


def test_interactions_dev(tmp_path):
    path = DATA / "interactions_dev.tsv.gz"
    prepared = prepare("interactions", path=path, data_dir=tmp_path, report=None)
    data = prepared.metadata
    assert (data["rows"], data["users"], data["items"]) == (284_573, 10_747, 19_533)
    # It already is a 5-core, and was made from the six category files.
    assert prepared.catalogue.counts.sum() == data["rows"] - 2 * data["users"]


def test_the_5_core_of_amazon_2014_is_interactions_dev(tmp_path):
    raw_dir = DATA / "amazon2014_ratings"
    options = {"raw_dir": raw_dir, "min_interactions": 5, "data_dir": tmp_path, "report": None}
    data = prepare("amazon", **options).metadata
    assert (data["events"], data["users"], data["items"]) == (284_573, 10_747, 19_533)
