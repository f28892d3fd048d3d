"""A file of items, from the command line to what is answered, and the night after."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import tf_syncrec
from data_prep import InputError
from serving import export
from tf_syncrec.training.run_directory import RunDirectory

pytestmark = pytest.mark.slow


def fitted(folder, name, **more):
    return tf_syncrec.fit(
        dataset="synthetic",
        config="tiny",
        epochs=1,
        verbose=False,
        items="auto",
        data_dir=str(folder / "data"),
        output_dir=str(folder / name),
        **more,
    )


def test_a_run_knows_its_items_and_those_of_tomorrow(tmp_path):
    settings = {"data.synthetic.users": 120, "data.synthetic.items_per_domain": 30}
    run = fitted(tmp_path, "run", settings=settings)
    directory = RunDirectory(tmp_path / "run")
    assert directory.item_encoder_file.is_file()
    catalogue = pq.read_table(directory.catalogue_file).to_pandas()
    assert run.model.embedding.attributes is not None

    # One new item of each domain, like one that is there, and one of no domain of the run.
    said = pq.read_table(next((tmp_path / "data").rglob("item_columns.parquet"))).to_pandas()
    listed = said[said["listed"]].merge(catalogue[["item_id", "domain"]], on="item_id")
    twins = listed.groupby("domain").first().reset_index()
    old = twins["item_id"].tolist()
    twins["item_id"] = "new " + twins["domain"]
    more = pd.concat([twins, twins.head(1).assign(item_id="elsewhere", domain="nowhere")])
    more = pd.concat([more, listed.head(3)])
    file = tmp_path / "more.csv"
    more.drop(columns="listed").to_csv(file, index=False)
    export.main(["--run", str(tmp_path / "run"), "--items", str(file)])
    versions = sorted(int(path.name) for path in directory.export_dir.iterdir())
    assert versions == [1, 2], "a version more, and the first one is as it was"

    import tensorflow as tf

    before, after = (tf.saved_model.load(str(directory.export_dir / str(v))) for v in versions)
    asked = {
        "items": tf.constant([[old[0]]] * len(twins)),
        "domain": tf.constant(twins["domain"].tolist()),
        "k": tf.fill([len(twins)], 100),
    }
    known, found = (
        model.signatures["top_k"](**asked)["items"].numpy().astype(str) for model in (before, after)
    )
    for domain, was, now in zip(twins["domain"], known, found, strict=True):
        assert f"new {domain}" in now and f"new {domain}" not in was
        assert "elsewhere" not in now
        trained = set(catalogue[catalogue["count"] > 0]["item_id"])
        assert [i for i in was if i in trained] == [i for i in now if i in trained]

    # The night after, what was learned of attributes is there.
    again = fitted(
        tmp_path,
        "again",
        settings=settings | {"data.synthetic.seed": 1},
        init_from=str(tmp_path / "run"),
    )
    table = again.model.embedding.attributes.table.numpy()
    assert np.isfinite(table).all() and np.abs(table).max() > 0


@pytest.mark.long
def test_a_run_without_a_file_of_items_has_no_place_for_more(tmp_path):
    tf_syncrec.fit(
        dataset="synthetic",
        config="tiny",
        epochs=1,
        verbose=False,
        data_dir=str(tmp_path / "data"),
        output_dir=str(tmp_path / "run"),
        settings={"data.synthetic.users": 60, "data.synthetic.items_per_domain": 20},
    )
    file = tmp_path / "more.csv"
    file.write_text("item_id,domain\nx,y\n")
    with pytest.raises(InputError, match="trained without --items"):
        export.main(["--run", str(tmp_path / "run"), "--items", str(file)])
