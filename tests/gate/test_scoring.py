"""Questions and answers, against loops over the log and against answers one by one."""

import collections

import numpy as np
import pytest

from data_prep.settings import data_config
from tests.gate.conftest import DAY, NIGHT, write
from tf_syncrec.gate import scoring
from tf_syncrec.gate.later_rows import Questions, read_questions
from tf_syncrec.gate.scoring import score, seconds_per_request
from tf_syncrec.metrics.gains import MISS
from tf_syncrec.run import Run

K = 5
SINCE = NIGHT + DAY


def log(path):
    return data_config("interactions", path=str(path))


def quiet(line):
    pass


@pytest.fixture(scope="module")
def later(written, tmp_path_factory):
    """Later rows with a new user, a new item and a new domain among them."""
    rows = [row for row in written.rows if row[3] >= SINCE]
    first = rows[0][0]
    rows += [
        *(("new", "films3", "films", SINCE + 9), ("new", "films4", "films", SINCE + 10)),
        *((first, "games1", "games", SINCE + 11), ("u3", "never", "music", SINCE + 12)),
    ]
    return write(tmp_path_factory.mktemp("later") / "later.csv", rows), rows


def test_targets_are_the_first_later_row_of_a_user_in_a_domain(written, later):
    file, rows = later
    found = read_questions(log(file), log(written.logs["today"]), None, 10**6, quiet)
    assert found.since == min(row[3] for row in rows)
    first: dict = {}
    for user, item, domain, _ in sorted(rows, key=lambda row: row[3]):
        first.setdefault((user, domain), item)
    asked = zip(found.askers, found.target_domains, found.targets, strict=True)
    assert {(found.users[u], found.domains[d]): i for u, d, i in asked} == first
    histories = collections.defaultdict(list)
    for user, item, _, time in written.rows:
        if time < SINCE:
            histories[user].append((item, time))
    for user, items, times in zip(found.users, found.histories, found.times, strict=True):
        assert items == [item for item, _ in histories[user]]
        assert times == [time for _, time in histories[user]]
    counts = collections.Counter((domain, item) for _, item, domain, _ in rows)
    told = zip(found.later_domains, found.later_items, found.later_rows, strict=True)
    assert {(found.domains[d], item): n for d, item, n in told} == counts


def test_rows_of_the_past_from_the_moment_on_are_not_looked_at(written, later):
    file, _ = later
    whole = write(file.with_name("whole.csv"), written.rows)
    # The moment is that of a row, which is asked for, and no past.
    moment = next(time for *_, time in written.rows if time > SINCE + 600)
    before = write(file.with_name("before.csv"), [r for r in written.rows if r[3] < moment])
    one, two = (read_questions(log(file), log(p), moment, 10**6, quiet) for p in (before, whole))
    assert one.histories == two.histories and one.times == two.times
    assert max(max(times, default=0) for times in two.times) < moment


def test_some_users_are_the_first_of_all(written, later):
    file, _ = later
    whole = read_questions(log(file), log(written.logs["today"]), None, 10**6, quiet)
    some = read_questions(log(file), log(written.logs["today"]), None, 30, quiet)
    assert some.users == whole.users[:30] and some.histories == whole.histories[:30]
    assert some.targets.tolist() == whole.targets[whole.askers < 30].tolist()


def test_ranks_are_those_of_answers_one_by_one(nights, later):
    file, _ = later
    questions = read_questions(log(file), log(nights.logs["today"]), None, 60, quiet)
    run = Run(nights.runs["today"])
    found = score(run.served, run.catalogue, questions, K)
    recommended = collections.defaultdict(set)
    fallback = set()
    for user, history in zip(questions.users, questions.histories, strict=True):
        answers = run.recommend({user: history}, list(run.catalogue.domains), k=K)
        for domain, items in answers.groupby("domain").item_id:
            recommended[domain].update(items)
            asked = (questions.askers == questions.users.index(user)) & (
                questions.target_domains == questions.domains.index(domain)
            )
            for place in np.flatnonzero(asked):
                listed = items.tolist()
                wanted = questions.targets[place]
                expected = listed.index(wanted) + 1 if wanted in listed else MISS
                assert found.ranks[place] == expected
        fallback |= {user} if answers.fallback.any() else set()
    assert np.isfinite(found.ranks).any() and found.fallback == len(fallback) / 60
    sizes = dict(zip(run.catalogue.domains, run.catalogue.sizes, strict=True))
    for domain, name in enumerate(questions.domains):
        assert found.recommended[domain] == len(recommended[name])
        assert found.items[domain] == sizes.get(name, 0)


def test_what_nobody_knows_is_a_miss_and_unknown(nights, later):
    file, rows = later
    questions = read_questions(log(file), log(nights.logs["today"]), None, 10**6, quiet)
    run = Run(nights.runs["today"])
    found = score(run.served, run.catalogue, questions, K)
    of = dict(zip(questions.domains, found.unknown, strict=True))
    music = [row for row in rows if row[2] == "music"]
    assert of == {"books": 0.0, "films": 0.0, "games": 1.0, "music": 1 / len(music)}
    games = questions.target_domains == questions.domains.index("games")
    assert (found.ranks[games] == MISS).all() and games.sum() == 1
    assert found.coverage[questions.domains.index("games")] == 0.0
    assert found.fallback >= 1 / len(questions.users)  # who is new


class Slow:
    """Answers in a time of its own, on a clock that only it moves."""

    domains = ("a",)

    def __init__(self, clock, cost):
        self.clock, self.cost, self.asked = clock, cost, []

    def in_each_domain(self, names, *others, times):
        self.asked += names
        self.clock[0] += self.cost


def test_both_are_timed_in_turns_by_the_same_users(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(scoring.time, "perf_counter", lambda: clock[0])
    nothing = np.zeros(0, int)
    users, histories = [f"u{n}" for n in range(4)], [["i"]] * 4
    targets = (nothing,) * 6
    questions = Questions(0.0, users, histories, [[0.0]] * 4, ("a",), *targets)
    models = Slow(clock, 1.0), Slow(clock, 3.0)
    found = seconds_per_request(models, questions, K, 6)  # type: ignore[arg-type]
    assert [each.tolist() for each in found] == [[1.0] * 6, [3.0] * 6]
    assert models[0].asked == models[1].asked
    assert models[0].asked[scoring.WARM_UP :] == ["u0", "u1", "u2", "u3", "u0", "u1"]
