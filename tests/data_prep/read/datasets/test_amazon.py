"""The public releases: recognised by name and first line, filtered, downloaded."""

import functools
import gzip
import http.server
import json
import threading

import pytest

from data_prep import InputError, prepare
from data_prep.read.datasets import amazon

# (user, item, timestamp) by category.
ROWS = {
    "Books": [(f"A{u}", f"B{(u + n) % 5}", 1000 + n) for u in range(6) for n in range(4)],
    "Toys_and_Games": [
        (f"A{u}", f"T{(u * n) % 7}", 990 + 3 * n) for u in range(6) for n in range(3)
    ],
    "Video_Games": [(f"A{u}", f"V{(u + n) % 3}", 980 + 5 * n) for u in range(6) for n in range(3)],
}
SHAPES = {
    "2014": ("ratings_{}.csv", "", "{u},{i},5.0,{t}"),
    "2018": ("{}.csv", "", "{i},{u},5.0,{t}"),
    "2023": ("{}.csv.gz", "user_id,parent_asin,rating,timestamp\n", "{u},{i},5.0,{t}000"),
}


def write_release(folder, release, categories=tuple(ROWS)):
    name, header, line = SHAPES[release]
    folder.mkdir(parents=True, exist_ok=True)
    for category in categories:
        text = header + "".join(line.format(u=u, i=i, t=t) + "\n" for u, i, t in ROWS[category])
        data = gzip.compress(text.encode()) if name.endswith("gz") else text.encode()
        (folder / name.format(category)).write_bytes(data)
    return folder


def rows_of(prepared, split="test"):
    return [
        (row["user_id"], row["items"].tolist(), row["target_item_id"], row["domain"])
        for row in prepared.as_dataset(split).as_numpy_iterator()
    ]


@pytest.fixture
def quiet(tmp_path):
    return functools.partial(prepare, "amazon", data_dir=tmp_path / "data", report=None)


@pytest.fixture
def mirror(tmp_path):
    """Serves `tmp_path/mirror`; yields its address."""
    (tmp_path / "mirror").mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = functools.partial(Handler, directory=str(tmp_path / "mirror"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_the_three_shapes_say_the_same(tmp_path, quiet):
    seen = []
    for release in SHAPES:
        folder = write_release(tmp_path / release, release)
        prepared = quiet(raw_dir=folder)
        assert prepared.metadata["settings"]["release"] == release
        assert prepared.metadata["domains"] == sorted(ROWS)
        seen.append(rows_of(prepared))
    assert seen[0] == seen[1] == seen[2]


def test_a_compressed_2014_file_is_recognised(tmp_path, quiet):
    folder = write_release(tmp_path / "raw", "2014")
    path = folder / "ratings_Books.csv"
    (folder / "ratings_Books.csv.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    assert quiet(raw_dir=folder, release="2014").metadata["domains"] == sorted(ROWS)


def test_categories_filter(tmp_path, quiet):
    folder = write_release(tmp_path / "raw", "2018")
    prepared = quiet(raw_dir=folder, categories=("Video_Games", "Books"))
    assert prepared.catalogue.domains == ("Books", "Video_Games")
    with pytest.raises(InputError, match=r"Movies.*Books, Toys_and_Games, Video_Games"):
        quiet(raw_dir=folder, categories=("Books", "Movies"))


@pytest.mark.parametrize("claimed", SHAPES)
@pytest.mark.parametrize("actual", SHAPES)
def test_a_release_that_contradicts_the_files(tmp_path, claimed, actual):
    folder = write_release(tmp_path / "raw", actual)
    if claimed == actual:
        assert amazon.local_sources(folder, claimed)[0] == actual
    else:
        with pytest.raises(InputError, match=f"--release {claimed}.*release {actual}"):
            amazon.local_sources(folder, claimed)


def test_unusable_folders(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        amazon.local_sources(tmp_path / "absent")
    with pytest.raises(InputError, match="no rating file"):
        amazon.local_sources(tmp_path)
    write_release(tmp_path, "2014", ("Books",))
    write_release(tmp_path, "2018", ("Video_Games",))
    with pytest.raises(InputError, match="mixes releases"):
        amazon.local_sources(tmp_path)
    with pytest.raises(InputError, match=r"mixes|shape and name"):
        amazon.local_sources(tmp_path, "2018")
    (tmp_path / "Video_Games.csv").write_text("user,item,domain,timestamp\nu,i,d,1\n")
    with pytest.raises(InputError, match=r"Video_Games.csv: line 1.*--dataset interactions"):
        amazon.local_sources(tmp_path)
    with pytest.raises(InputError, match=r"--release 2019.*2014, 2018, 2023"):
        prepare("amazon", raw_dir=tmp_path, release="2019", categories=("Books",))


def test_a_bad_line_names_its_file(tmp_path, quiet):
    folder = write_release(tmp_path / "raw", "2014")
    with (folder / "ratings_Books.csv").open("a") as file:
        file.write("A1,B1,5.0,soon\n")
    with pytest.raises(InputError, match=r"ratings_Books.csv: line 25: timestamp.*'A1,B1,5.0,soon"):
        quiet(raw_dir=folder)
    assert quiet(raw_dir=folder, max_bad_share=0.1).metadata["quarantine"]["rows"] == 61


def test_a_bad_first_line_does_not_hide_the_release(tmp_path, quiet):
    folder = write_release(tmp_path / "raw", "2014")
    path = folder / "ratings_Books.csv"
    path.write_bytes(b"\xff,,,\n" + path.read_bytes())
    prepared = quiet(raw_dir=folder, max_bad_share=0.1)
    assert prepared.metadata["quarantine"]["reasons"] == {"user_id that is not UTF-8": 1}


@pytest.mark.parametrize(
    "name",
    [
        "reviews_{}_5.json.gz",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("{}_5.json.gz", "reviews_{}_5.json")
        ),
    ],
)
def test_json_lines_of_the_5_core(tmp_path, quiet, name):
    for category, rows in ROWS.items():
        review = {"overall": 5.0, "helpful": [1, 2], "reviewText": 'Good, "really"\n' * 3}
        objects = [{"reviewerID": u, "asin": i, "unixReviewTime": t, **review} for u, i, t in rows]
        text = "".join(json.dumps(o) + "\n" for o in objects).encode()
        (tmp_path / "raw").mkdir(exist_ok=True)
        path = tmp_path / "raw" / name.format(category)
        path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    prepared = quiet(raw_dir=tmp_path / "raw")
    release = "2014" if name.startswith("reviews_") else "2018"
    assert prepared.metadata["settings"]["release"] == release
    csv = quiet(raw_dir=write_release(tmp_path / "csv", "2014"))
    assert rows_of(prepared) == rows_of(csv)
    # The same again where a line forces the slower reader.
    data = gzip.compress(b"{'not': json}\n") if name.endswith(".gz") else b"{'not': json}\n"
    path.write_bytes(data + path.read_bytes())
    with pytest.raises(InputError, match=r"line 1 is no Amazon review|line 1: no JSON object"):
        quiet(raw_dir=tmp_path / "raw")
    again = quiet(raw_dir=tmp_path / "raw", max_bad_share=0.05)
    assert again.metadata["quarantine"]["reasons"] == {"no JSON object": 1}
    assert rows_of(again) == rows_of(csv)


@pytest.mark.parametrize("release", SHAPES)
def test_download(tmp_path, quiet, mirror, release):
    write_release(tmp_path / "mirror", release)
    downloaded = quiet(base_url=mirror, release=release, categories=tuple(ROWS))
    local = quiet(raw_dir=tmp_path / "mirror")
    assert rows_of(downloaded) == rows_of(local)
    again = quiet(base_url=mirror, release=release, categories=tuple(ROWS))
    assert again.builder.data_dir == downloaded.builder.data_dir


def test_a_dead_link_says_what_to_do(tmp_path, quiet, mirror):
    write_release(tmp_path / "mirror", "2018", ("Books",))
    with pytest.raises(InputError) as caught:
        quiet(base_url=mirror, release="2018", categories=("Nowhere", "Video_Games"))
    message = str(caught.value)
    for word in (
        f"{mirror}/Nowhere.csv",
        "404",
        "into a folder yourself",
        "--raw_dir",
    ):
        assert word in message
    assert not (tmp_path / "data").exists()


def test_the_default_is_the_papers(tmp_path):
    from data_prep.builders import Amazon

    builder = Amazon(data_dir=tmp_path)
    assert builder.builder_config is Amazon.BUILDER_CONFIGS[0]
    located = builder.builder_config.located
    assert located is not None
    urls = dict(located.urls)
    assert set(urls) == set(amazon.CATEGORIES)
    assert all("amazon_v2" in url and url.endswith(".csv") for url in urls.values())
