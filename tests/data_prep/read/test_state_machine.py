"""The reader against a list: a log is changed step by step in what must not matter, and in rows.

The model is the list itself, and what it means is written out literally: nothing of the product is
used to know what should come out. `STATE_MACHINES=100 pytest ...` looks a hundred times as long.
"""

import collections
import glob
import hashlib
import itertools
import json
import math
import tempfile
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from data_prep import prepare
from data_prep.engines.duckdb import connect
from data_prep.errors import InputError
from data_prep.read.interactions import read_interactions
from data_prep.read.locate import locate
from data_prep.read.sources import user_sources
from data_prep.settings import data_config
from tests.support.log_files import (
    ID_TYPES,
    REASONS,
    ROLES,
    SECOND,
    TIME_FORMS,
    TIME_TYPES,
    Bad,
    File,
    Parquet,
    Text,
    number_text,
    write,
)
from tests.support.long_runs import examples

# Texts that something between a file and the model may take for others.
_IDS = (
    *("7", "007", "7.0", "1000", "1e3", "0x10", "1_000", "+5", "-0", "0", "-1", "0.5", "-1.5"),
    *("9007199254740992", "9007199254740993", "9223372036854775807", "9223372036854775808"),
    *("18446744073709551615", "123456789012345678901234567890", "true", "True", "false"),
    *("null", "NULL", "None", "nan", "NaN", "inf", "\\N", "#c", "--", "user_id", "2024-01-05"),
    *("05000000-0000-0000-0000-000000000007", "é", "e\u0301", "É", "文", "a b", "a  b", "a\x1fb"),
    *("a,b", "a;b", "a\tb", 'say "hi"', '"', '""', "'", ",", "a\nb", "a\r\nb", "a\rb", "a\n\nb"),
    *("a\\", "\\", '\\"', "\u200b", "\ufeffx", "x\u2028y", "a\x85b", "=1+1", "%41", "{a}", "😀"),
)
_ids = st.sampled_from(_IDS) | st.text("ab1é,\"'\\;", min_size=1, max_size=3)
_KINDS_OF_TIMES = {
    "seconds": st.integers(-3, 5).map(lambda n: n * SECOND)
    | st.integers(0, 2**31).map(lambda n: n * SECOND),
    "days": st.integers(-3, 20_000).map(lambda n: n * 86_400 * SECOND),
    "micros": st.integers(0, 4 * 10**15).map(lambda n: n * 1000)
    | st.sampled_from([1_704_448_800_500_000_000, -1_500_000_000, 253_402_300_799_999_999_000]),
    "nanos": st.integers(-(2**62), 2**62)
    | st.integers(1_704_448_800_123_456_780, 1_704_448_800_123_456_790),
    "whole": st.integers(-(2**62), 2**62).map(lambda n: n * SECOND)
    | st.integers(2**53 - 2, 2**53 + 4).map(lambda n: n * SECOND)
    | st.sampled_from([20240105100000001 * SECOND, (2**63 - 1025) * SECOND]),
}
_KINDS_OF_TIMES["wild"] = st.one_of(*_KINDS_OF_TIMES.values())
_PADS = st.sampled_from([("", " "), (" ", ""), ("\u3000", "  "), ("\t", "\xa0"), ("\x1f", "")])
_padded = st.lists(st.sampled_from(ROLES), unique=True, max_size=2).map(tuple)
_forms = st.lists(st.sampled_from(TIME_FORMS), min_size=1, max_size=3).map(tuple)
_texts = st.builds(
    Text,
    separator=st.sampled_from(",\t;"),
    end=st.sampled_from(["\n", "\n", "\r\n", "\r"]),
    gz=st.sampled_from([0, 0, 1, 2]),
    mark=st.booleans(),
    quoted=st.booleans(),
    blank_lines=st.booleans(),
    last_end=st.booleans(),
    times=_forms,
    pad=_PADS,
    padded=_padded,
    outside=st.sampled_from([("", ""), ("", ""), (" ", "  "), ("  ", ""), ("\t ", "\u3000")]),
)
_options = st.fixed_dictionaries(
    {},
    optional={
        "compression": st.sampled_from(["none", "snappy", "zstd", "gzip"]),
        "version": st.sampled_from(["1.0", "2.6"]),
        "data_page_version": st.sampled_from(["1.0", "2.0"]),
        "use_dictionary": st.booleans(),
        "write_statistics": st.booleans(),
        "store_schema": st.booleans(),
    },
).map(lambda options: tuple(options.items()))
_parquets = st.builds(
    Parquet,
    ids=st.tuples(*[st.sampled_from(ID_TYPES)] * 3),
    time=st.sampled_from(TIME_TYPES),
    times=_forms,
    group=st.sampled_from([1, 2, 1000]),
    options=_options,
    pad=_PADS,
    padded=_padded,
)
_STEMS = (
    *("part-0", "PART", "a[1]", "x*y", "é", "b\\c", "q?", "sp ace", "=1", "a:b", "%41", "~x"),
    *("-n", "{a,b}", "'q'", "x;y", "$HOME", "dot.", "a&b", "user_id=7", "two\nlines", '"q"'),
)
_FOLDERS = ((), (), ("domain=books", "user_id=42"), ("[x]", "timestamp=1"), ("é",), ("a*",))
_OTHERS = (
    *("note", "note", "User_ID", "file_row_number", "filename", "a;b;c;d;e", "x,y\t,,,,", 'q"q'),
    *("", "rowid", "column_0", "raw_user_id", "timestamp_value", "rest", "TIMESTAMP", "é", "line"),
    *("reason", "source", "list.element", "note_1", "two\nlines"),
)
_NAMES = (
    "who",
    "No",
    "1",
    "@id",
    "a,b;c",
    'na"me',
    "user id",
    "é",
    "USER_ID",
    "item_id",
    "$x",
    " x ",
)
_BESIDE = ("_SUCCESS", ".part-0.csv.crc", "part-0.csv.crc", "README", "Readme.txt", ".hidden.csv")
_BAD = st.sampled_from([Bad(kind) for kind in REASONS]) | st.sampled_from(
    [Bad("odd time", time) for time in ("2024-02-30", "1 2", "nan", "05.01.2024")]
    + [Bad("far time", time) for time in ("inf", "-1e30", "9223372036854775808")]
)


class Logs(RuleBasedStateMachine):
    """A log, as a literal list of files of literal rows, and what the reader makes of it."""

    def __init__(self):
        super().__init__()
        self.files: list[File] = []
        self.names: dict[str, str] = {}
        self.beside: set[str] = set()
        self.numbers = 0
        self.seen: dict = {}

    @initialize(data=st.data(), kind=st.sampled_from(sorted(_KINDS_OF_TIMES)))
    def start(self, data, kind):
        """A log is of few users, items and moments, so that they meet again."""

        def few(values, most):
            return data.draw(st.lists(values, min_size=2, max_size=most, unique=True))

        users, items, domains = few(_ids, 3), few(_ids, 5), few(_ids, 3)
        times = few(_KINDS_OF_TIMES[kind], 5)
        one = (st.sampled_from(values) for values in (users, items, domains, times))
        self.some = st.lists(st.tuples(*one), min_size=1, max_size=9).map(tuple)
        self.add_file(data.draw(self.some), data.draw(_texts | _parquets), "part", ())

    def _pick(self, data) -> int:
        return data.draw(st.integers(0, len(self.files) - 1))

    def _change(self, n: int, **changes) -> None:
        values = {field: getattr(self.files[n], field) for field in File.__dataclass_fields__}
        self.files[n] = File(**(values | changes))

    def _called(self, stem: str, style: Text | Parquet) -> str:
        self.numbers += 1
        suffix = (".csv", ".tsv", ".TXT") if isinstance(style, Text) else (".parquet", ".csv")
        return f"{stem}{self.numbers}{suffix[self.numbers % len(suffix)]}"

    # ------------------------------------------------------------------- what changes the rows

    @rule(data=st.data())
    def add_rows(self, data):
        n = self._pick(data)
        self._change(n, rows=self.files[n].rows + data.draw(self.some))

    @rule(
        rows=st.runner().flatmap(lambda self: self.some),
        style=_texts | _parquets,
        stem=st.sampled_from(_STEMS),
        folders=st.sampled_from(_FOLDERS),
    )
    def add_file(self, rows, style, stem, folders):
        self.files.append(File(self._called(stem, style), folders, style, ROLES, rows))

    @rule(data=st.data(), bad=_BAD)
    def add_bad_row(self, data, bad):
        n = self._pick(data)
        place = data.draw(st.integers(0, len(self.files[n].rows)))
        rows = list(self.files[n].rows)
        self._change(n, rows=(*rows[:place], bad, *rows[place:]))

    @rule(data=st.data())
    def multiply(self, data):
        """More rows than an engine takes at a time."""
        n = self._pick(data)
        if sum(len(file.rows) for file in self.files) < 1000:
            self._change(n, rows=self.files[n].rows * (2500 // (1 + len(self.files[n].rows))))

    # --------------------------------------------------------------------- what must not matter

    @rule(data=st.data(), stem=st.sampled_from(_STEMS))
    def split(self, data, stem):
        n = self._pick(data)
        file = self.files[n]
        cut = data.draw(st.integers(0, len(file.rows)))
        self._change(n, rows=file.rows[:cut])
        name = self._called(stem, file.style)
        self.files.append(File(name, file.folders, file.style, file.layout, file.rows[cut:]))

    @precondition(lambda self: len(self.files) > 1)
    @rule(data=st.data())
    def merge(self, data):
        other = self.files.pop(self._pick(data))
        n = self._pick(data)
        self._change(n, rows=self.files[n].rows + other.rows)

    @rule(data=st.data(), style=_texts | _parquets, stem=st.sampled_from(_STEMS))
    def convert(self, data, style, stem):
        self._change(self._pick(data), style=style, name=self._called(stem, style))

    @rule(data=st.data(), style=_texts | _parquets)
    def convert_all(self, data, style):
        for n in range(len(self.files)):
            self._change(n, style=style, name=self._called("part", style))

    @rule(data=st.data(), others=st.lists(st.sampled_from(_OTHERS), max_size=4))
    def lay_out(self, data, others):
        taken = set(self.names.values())
        layout = data.draw(st.permutations([*ROLES, *(o for o in others if o not in taken)]))
        self._change(self._pick(data), layout=tuple(layout))

    @rule(data=st.data(), stem=st.sampled_from(_STEMS), folders=st.sampled_from(_FOLDERS))
    def rename(self, data, stem, folders):
        n = self._pick(data)
        self._change(n, name=self._called(stem, self.files[n].style), folders=folders)

    @rule(
        roles=st.lists(st.sampled_from(ROLES), min_size=1, max_size=2, unique=True),
        names=st.lists(st.sampled_from(_NAMES), min_size=2, max_size=2, unique=True),
    )
    def rename_columns(self, roles, names):
        self.names = dict(zip(roles, names, strict=False))
        taken = set(names) - set(ROLES)
        for n, file in enumerate(self.files):
            kept = tuple(name for name in file.layout if name in ROLES or name not in taken)
            self._change(n, layout=kept)
        if "item_id" in self.names.values() and "item_id" not in self.names:
            self.names["item_id"] = "thing"

    @rule(data=st.data(), chance=st.randoms(use_true_random=False))
    def reorder(self, data, chance):
        n = self._pick(data)
        rows = list(self.files[n].rows)
        chance.shuffle(rows)
        self._change(n, rows=tuple(rows))

    @rule(name=st.sampled_from(_BESIDE))
    def put_beside(self, name):
        self.beside.add(name)

    @rule(style=_texts)
    def add_part_without_rows(self, style):
        self.files.append(File(self._called("empty", style), (), style))

    # -------------------------------------------------------------------------- what is compared

    def _written(self, how: str, folder: str):
        """Writes all files; returns the path to ask for, and what lies there by file name."""
        root = Path(folder) / "a [log]* of? mine"
        root.mkdir()
        meanings = {root / f.place: write(f, root, self.names) for f in self.files}
        for name in self.beside:
            (root / name).write_text("no data")
        if how == "folder":
            return root, {p: m for p, m in meanings.items() if p.parent == root}
        if how == "file":
            first = root / self.files[0].place
            return first, {first: meanings[first]}
        return f"{glob.escape(str(root))}/**/*", meanings

    @rule(how=st.sampled_from(["folder", "file", "glob"]), threads=st.sampled_from([1, 3]))
    def look(self, how, threads=1):
        with tempfile.TemporaryDirectory() as folder, connect(threads=threads) as engine:
            path, expected = self._written(how, folder)
            good = [row for meaning in expected.values() for row in meaning.good]
            try:
                sources = user_sources(path, self.names)
                reading = read_interactions(engine, sources)
            except InputError as error:
                said = str(error)
                assert "\n" not in said.replace(str(folder), "").replace("two\nlines", "")
                if "more digits than 64 bits" in said:
                    assert beyond_64_bits(good), said
                else:
                    assert (not good and "no rows" in said) or "no data file" in said, said
                return
            rows = engine.fetch(reading.rows.select(*ROLES)).to_pylist()
            check_rows([tuple(row.values()) for row in rows], good, reading.ticks)
            bad = []
            if reading.bad is not None:
                listed = engine.fetch(reading.bad.order_by("source", "line")).to_pylist()
                bad = [
                    (reading.labels[row["source"]], row["line"], row["reason"], row["text"])
                    for row in listed
                ]
            check_bad(bad, expected)
            for note, found in (reading.notes or {}).items():
                assert found == sum(m.notes[note] for m in expected.values()), note
            self._check_name(path, expected)

    def _check_name(self, path, expected):
        """A dataset is named after the content of files, and not after their names."""
        config = data_config("interactions", path=path, columns=self.names)
        located = locate(config)
        name = json.dumps(located.content(), sort_keys=True)
        assert name == json.dumps(locate(config).content(), sort_keys=True)
        read = sorted(
            (hashlib.sha256(p.read_bytes()).hexdigest(), tuple(sorted(self.names.items())))
            for p, meaning in expected.items()
            if meaning.good or meaning.bad or p.suffix == ".parquet"
        )
        if sum(1 for p in expected) == len(read):
            assert self.seen.setdefault(tuple(read), name) == name
            assert all(n != name for r, n in self.seen.items() if r != tuple(read))

    def _is_enough(self) -> bool:
        """Whether somebody did three things, and in two domains: else nothing can be prepared."""
        left = leave_one_out([r for f in self.files for r in f.rows if not isinstance(r, Bad)])
        return len(left.domains) > 1 and bool(left.test)

    @precondition(_is_enough)
    @rule(now=st.booleans())
    def prepare_all(self, now):
        """Now and then: it takes as long as ten looks."""
        if not now:
            return
        with tempfile.TemporaryDirectory() as folder:
            path, expected = self._written("glob", folder)
            good = [row for meaning in expected.values() for row in meaning.good]
            try:
                prepared = prepare(
                    "interactions",
                    path=path,
                    columns=self.names,
                    max_bad_share=1,
                    data_dir=Path(folder) / "data",
                    report=None,
                )
            except InputError as error:
                left = leave_one_out(good)
                assert beyond_64_bits(good) or len(left.domains) < 2 or not left.test, str(error)
                return
            check_prepared(prepared, leave_one_out(good))
            listed = prepared.builder.data_path / "quarantine.jsonl"
            lines = listed.read_text("utf-8").split("\n")[:-1] if listed.exists() else []
            names = ("file", "line", "reason", "row")
            bad = [tuple(json.loads(line)[name] for name in names) for line in lines]
            check_bad(bad, expected)
            counts = collections.Counter(row[2] for row in bad)
            assert prepared.metadata["quarantine"]["reasons"] == counts
            assert prepared.metadata["quarantine"]["rows"] == len(good) + len(bad)

    def teardown(self):
        if self.files:
            self.look("glob")


def exact(nanos: int) -> Fraction:
    return Fraction(nanos, SECOND)


def beyond_64_bits(good) -> bool:
    """Whether times are finer than floats or microseconds, and too large for whole numbers."""
    times = {row[3] for row in good}
    digits = max((len(number_text(t).strip("-0").replace(".", "")) for t in times), default=0)
    finest = next(unit for unit in (SECOND, 1000, 1) if all(t % unit == 0 for t in times))
    fine = digits > 15 or finest == 1
    return fine and max(map(abs, times)) // finest >= 2**63 - 2**10


def check_rows(found, good, ticks):
    """The rows are there, each as often as it should be, and times are what they were."""
    read, there = (collections.Counter(r[:3] for r in rows) for rows in (found, good))
    assert read == there, (read - there, there - read)
    # By what they are of, rows pair off in the order of their times.
    pairs = collections.defaultdict(set)
    wanted = sorted(good, key=lambda r: (r[:3], r[3]))
    for row, other in zip(sorted(found), wanted, strict=True):
        assert row[:3] == other[:3]
        pairs[other[3]].add(row[3])
    assert all(len(times) == 1 for times in pairs.values()), pairs
    times = [pairs[nanos].copy().pop() for nanos in sorted(pairs)]
    assert all(a < b for a, b in itertools.pairwise(times)), "an order is lost"
    for nanos, (time,) in pairs.items():
        if isinstance(time, int):
            assert Fraction(time, ticks) == exact(nanos)
        else:
            assert ticks == 1 and time == float(exact(nanos))


def check_bad(found, expected):
    wanted = [
        (str(path), line, reason, text)
        for path in sorted(expected)
        for line, reason, text in expected[path].bad
    ]
    assert [row[:3] for row in found] == [row[:3] for row in wanted]
    for row, other in zip(found, wanted, strict=True):
        assert other[3] is None or row[3] == other[3]


Left = collections.namedtuple("Left", "train validation test domains items")


def leave_one_out(good) -> Left:
    """What `docs/data.md` says, step by step."""
    named: dict = collections.defaultdict(collections.Counter)
    for _, item, domain, _ in good:
        named[item][domain] += 1
    owner = {i: min(c, key=lambda d: (-c[d], d)) for i, c in named.items()}
    users = collections.defaultdict(set)
    for user, item, _, nanos in good:
        tie = hashlib.md5(f"{user}\x1f{item}".encode()).hexdigest()
        users[user].add((nanos, tie, item))
    train, validation, test = {}, {}, {}
    for user, events in users.items():
        seen = [(item, float(exact(nanos))) for nanos, _, item in sorted(events)]
        train[user] = seen
        if len(seen) >= 3:
            train[user], validation[user], test[user] = seen[:-2], seen[:-1], seen
    counts = collections.Counter(item for seen in train.values() for item, _ in seen)
    items = sorted(counts, key=lambda i: (owner[i], -counts[i], i))
    domains = sorted({owner[item] for item in named})

    def known(seen):
        return [event for event in seen[:-1] if event[0] in counts] + seen[-1:]

    return Left(
        train,
        {u: known(s) for u, s in validation.items()},
        {u: known(s) for u, s in test.items()},
        domains,
        [(item, owner[item], counts[item]) for item in items],
    )


def check_prepared(prepared, expected):
    catalogue = prepared.catalogue
    assert list(catalogue.domains) == expected.domains
    of = [catalogue.domains[d] for d in catalogue.item_domains]
    listed = zip(catalogue.item_ids.tolist(), of, catalogue.counts.tolist(), strict=True)
    assert list(listed) == expected.items
    for split in ("train", "validation", "test"):
        found = {}
        for row in prepared.as_dataset(split).as_numpy_iterator():
            names = [catalogue.item_ids[item - 1] for item in row["items"]]
            seen = list(zip(names, row["timestamps"].tolist(), strict=True))
            if split != "train":
                target = row["target_item_id"].decode()
                assert row["target"] == 0 or catalogue.item_ids[row["target"] - 1] == target
                seen.append((target, float(row["target_timestamp"])))
            found[row["user_id"].decode()] = seen
        wanted = getattr(expected, split)
        assert found.keys() == wanted.keys()
        for user, events in wanted.items():
            for (item, time), (other, exactly) in zip(found[user], events, strict=True):
                assert item == other and abs(time - exactly) <= math.ulp(exactly)


TestLogs = Logs.TestCase
TestLogs.settings = examples(8)

_TENSE = {
    "seconds": [n * SECOND for n in (0, 1, -3, 2**31)],
    "micros": [1000, -1_500_000_000, 253_402_300_799_999_999_000, 1_704_448_800_500_000_000],
    "nanos": [1_704_448_800_123_456_789, 1_704_448_800_123_456_790, -122, 0],
    "whole": [n * SECOND for n in (2**53, 2**53 + 1, 2**53 + 2, 20240105100000001)],
}
_FORMS: tuple[Text | Parquet, ...] = (
    Text(times=("number", "iso T")),
    Text(";", "\r", gz=2, mark=True, quoted=True, times=("plus", "iso+0530"), outside=("\t ", " ")),
    Text("\t", "\r\n", blank_lines=True, times=TIME_FORMS, pad=(" ", "\u3000"), padded=ROLES),
    Parquet(("string", "binary", "dictionary"), "int64", group=2),
    Parquet(("large_string", "string_view", "string"), "ns", pad=("", "\xa0"), padded=("domain",)),
    Parquet(("binary", "string", "string"), "int96"),
    Parquet(("string", "dictionary", "string"), "us zone"),
    Parquet(("string", "string", "large_binary"), "decimal"),
)


@pytest.mark.parametrize("kind", _TENSE)
def test_the_tensest_log_in_all_forms_at_once(kind):
    """What chance may miss where it looks but a little; some files have bad rows."""
    logs = Logs()
    for n, style in enumerate(_FORMS):
        of = [_IDS[n::2], _IDS[::-1], _IDS[n + 1 :: 3], _TENSE[kind]]
        rows: tuple = tuple(
            zip(*(itertools.islice(itertools.cycle(v), 60) for v in of), strict=True)
        )
        if (n + len(kind)) % 3 == 0:
            rows = (*rows[:9], *map(Bad, REASONS), *rows[9:])
        layout = ("a,b;c", "note", *ROLES[n % 4 :], *ROLES[: n % 4], "note")
        logs.files.append(File(f"{n}.csv", (), style, layout[n % 2 :], rows))
    logs.look("folder")
