"""Titles of items are read from a file of the user's, and a wrong one is told."""

import gzip

import pytest

from data_prep import InputError
from tf_syncrec.reporting.titles import read_titles


@pytest.mark.parametrize("packed", [False, True])
def test_titles(tmp_path, packed):
    text = 'price,title,item_id\n1,"A ""b"",\nand more",i1\n2,NULL, i2\u3000\n3,again,i1\n'
    text += "4,other,007\n"
    file = tmp_path / ("t.csv.gz" if packed else "t.csv")
    file.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    titles = read_titles(file, ["i1", "i2", "007", "unknown"])
    assert titles == {"i1": 'A "b",\nand more', "i2": "NULL", "007": "other"}
    assert read_titles(file, []) == {}
    assert read_titles(file).items() >= titles.items()


@pytest.mark.parametrize("text", [None, "", "item_id,name\n1,2\n", "item_id,title\n1\n"])
def test_a_file_without_titles_is_told(tmp_path, text):
    file = tmp_path / "titles.csv"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError, match=r"--titles .*titles\.csv"):
        read_titles(file, ["1"])
