"""A made-up log of a telecommunications company: five domains in which people come back.

It has the shape of the log that the paper was written for, which is not public: the domains, their
shares of all events and their numbers of items beside one another are those of the paper's Table 1.
Numbers of items shrink with the square root of the number of users: so a tenth of the users has a
third of the items, each of which keeps a third of its users. Planted is, so that tests can demand
it:

1. *Repeats.* Each user has favourites in each domain, used by a Zipf law of the user's own, and
   now and then something else. Least often they come back to coupons; what was bought in `e_comm`
   is hardly bought again.
2. *A rhythm of the day.* People sleep at night. Their events come in sessions: several within
   minutes, then nothing for hours. Each item has a time of day and each user rises early or late;
   which of the favourites is used depends on both.
3. *Cues.* Each purchase follows a navigation, one or a few events later, and the kind of the latest
   destination says which items may be bought. Each coupon follows a call, and the number that was
   called says which.
4. *Taste.* Each user has one of a few tastes, in all domains the same: favourites, and what is
   explored, are mostly items of this taste, popular ones first. Coupons hardly show it, as they go
   by calls.

Cues and times of day are drawn apart from taste and popularity. The hours are those of UTC.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from data_prep.read.datasets.made_up import as_table, draw_labels, draw_lengths
from data_prep.settings import SyntheticConfig

DOMAINS = ("app_use", "call_use", "navi", "coupon_use", "e_comm")
APP_USE, CALL_USE, NAVI, COUPON_USE, E_COMM = range(5)
# Table 1 of the paper.
PAPER_USERS = 99_936
PAPER_ITEMS = (9_192, 3_301, 549, 72, 714)
PAPER_EVENTS = (36_716_069, 3_038_385, 1_892_868, 401_065, 230_233)

_FEWEST_ITEMS = 4  # As of `data.synthetic.items_per_domain`.
_TASTES = 8  # The smallest domain, of 12 items by default, has items of each.
_OF_TASTE = 0.8  # Chance that what is new to a user is of the user's taste.
_HEAD = 10  # Popularity is 1 / (rank + head): Zipf's law without a few items that have it all.
_FAVOURITES = 10  # Of a user in a domain; what is popular may be drawn twice, and is one then.
_HABIT = np.array([0.95, 0.85, 0.75, 0.3, 0.0])  # Chance of a favourite, by domain.
_FOLLOW_CUE = 0.85  # Chance that a coupon or a purchase is of its cue.
_KINDS = 8  # Of destinations, and of what is bought at them: some 15 items each by default.
_SOON = 0.5  # Chance that what a cue has caused happens at the next event, if it has not yet.
_REDRAWS = 4  # Of a purchase that the user made before.

_START = 1_500_249_600  # Epoch seconds: a Monday, midnight.
_HOUR, _DAY = 3_600, 86_400
_PERIOD = 28 * _DAY  # What the events of a user take, more or less, however many they are.
_SESSION = 6  # Mean number of events.
_PAUSE = 60.0  # Mean seconds between two events of a session.
# How active people are at each hour: least at night, most in the evening.
_ACTIVITY = np.array(
    [
        *(0.10, 0.04, 0.02, 0.02, 0.03, 0.08, 0.30, 0.65, 0.80, 0.75, 0.70, 0.75),
        *(0.85, 0.75, 0.70, 0.70, 0.75, 0.85, 0.95, 1.00, 1.00, 0.95, 0.70, 0.35),
    ]
)
_CONCENTRATION = 3.0  # Of von Mises: two thirds are within 2.5 hours of an item's time.
_RISING = 1.5  # Hours, the deviation between users.


def items_of(users: int) -> tuple[int, ...]:
    """How many items each domain has."""
    scale = (users / PAPER_USERS) ** 0.5
    return tuple(max(_FEWEST_ITEMS, round(items * scale)) for items in PAPER_ITEMS)


def generate(settings: SyntheticConfig) -> pa.Table:
    """Generates the interactions, see `data_prep.read.datasets.synthetic`."""
    rng = np.random.default_rng(settings.seed)
    lengths = draw_lengths(rng, settings)
    sizes = items_of(settings.users)
    times = _times(rng, lengths)  # This and what follows: (users, steps)
    domains = _domains(rng, times.shape)
    items = _items(rng, sizes, times, domains)
    return as_table(draw_labels(rng, sizes), DOMAINS, sizes, lengths, domains, items, times)


def _times(rng: np.random.Generator, lengths: np.ndarray) -> np.ndarray:
    """Draws `[users, steps]` epoch seconds, which increase.

    Sessions begin by a Poisson process that is thinned by the hour. Whoever has more events has
    more sessions, so that all users fill the same period.
    """
    users, steps = len(lengths), int(lengths.max())
    gap = _PERIOD * _ACTIVITY.mean() / np.maximum(lengths / _SESSION, 1)
    now = np.full(users, float(_START))
    times = np.empty((users, steps), np.int64)
    for step in range(steps):
        now += 1 + rng.exponential(_PAUSE, users)
        starts = np.flatnonzero(rng.random(users) < 1 / _SESSION) if step else np.arange(users)
        while len(starts):
            now[starts] += rng.exponential(gap[starts])
            hours = (now[starts] % _DAY // _HOUR).astype(int)
            starts = starts[rng.random(len(starts)) > _ACTIVITY[hours]]
        times[:, step] = now
    return times


def _domains(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Draws `[users, steps]` domains: causes as often as Table 1 has them, then what they cause."""
    users, steps = shape
    events = np.array(PAPER_EVENTS, float)
    causes = np.cumsum(events[: NAVI + 1] / events[: NAVI + 1].sum())
    effects = ((CALL_USE, COUPON_USE), (NAVI, E_COMM))
    pending = {effect: np.zeros(users, bool) for _, effect in effects}
    domains = np.empty(shape, np.int8)
    for step in range(steps):
        domain = np.searchsorted(causes[:-1], rng.random(users), side="right")
        free = np.ones(users, bool)
        for _, effect in effects:
            happens = free & pending[effect] & (rng.random(users) < _SOON)
            domain[happens] = effect
            pending[effect] &= ~happens
            free &= ~happens
        for cause, effect in effects:
            pending[effect] |= (domain == cause) & (
                rng.random(users) < events[effect] / events[cause]
            )
        domains[:, step] = domain
    return domains


def _items(
    rng: np.random.Generator, sizes: tuple[int, ...], times: np.ndarray, domains: np.ndarray
) -> np.ndarray:
    """Draws `[users, steps]` items, by number within their domain."""
    users, steps = len(times), times.shape[1]
    taste = rng.integers(0, _TASTES, users)
    kinds = min(_KINDS, sizes[NAVI], sizes[E_COMM])
    kind_of = rng.permutation(sizes[NAVI]) % kinds  # of a destination
    coupon_of = rng.permutation(sizes[CALL_USE]) % sizes[COUPON_USE]  # of a number
    goods = _ByTaste(sizes[E_COMM], rng.permutation(sizes[E_COMM]) % kinds)
    by_taste = [_ByTaste(size) for size in sizes]
    favourites = np.stack(
        [some.draw(rng, np.repeat(taste, _FAVOURITES)).reshape(users, -1) for some in by_taste],
        axis=1,
    )  # (users, domains, favourites)
    rising = rng.normal(0, _RISING, (users, 1, 1))
    peaks = [rng.uniform(0, 24, size) for size in sizes]  # of each item, hours
    peak = np.stack([peaks[d][favourites[:, d]] for d in range(len(sizes))], axis=1) + rising
    habit = 1.0 / np.arange(1, _FAVOURITES + 1)

    latest_kind, latest_coupon = np.zeros(users, int), np.zeros(users, int)  # what cues say
    bought = np.zeros((users, sizes[E_COMM]), bool)
    items = np.empty(times.shape, np.int32)
    everyone = np.arange(users)
    for step in range(steps):
        domain = domains[:, step].astype(int)
        hour = times[:, step] % _DAY / _HOUR
        away = (hour[:, None] - peak[everyone, domain]) * (2 * np.pi / 24)  # (users, favourites)
        weights = np.cumsum(habit * np.exp(_CONCENTRATION * np.cos(away)), axis=1)
        chosen = (weights < rng.random((users, 1)) * weights[:, -1:]).sum(axis=1)
        item = favourites[everyone, domain, chosen]
        explores = rng.random(users) >= _HABIT[domain]
        for d, some in enumerate(by_taste):
            here = np.flatnonzero(explores & (domain == d))
            item[here] = some.draw(rng, taste[here])
        led = rng.random(users) < _FOLLOW_CUE
        item = np.where(led & (domain == COUPON_USE), latest_coupon, item)
        buyers = np.flatnonzero(domain == E_COMM)
        for _ in range(_REDRAWS):
            anyhow = rng.integers(0, kinds, len(buyers))
            kind = np.where(led[buyers], latest_kind[buyers], anyhow)
            item[buyers] = goods.draw(rng, taste[buyers], kind)
            buyers = buyers[bought[buyers, item[buyers]]]
        buyers = np.flatnonzero(domain == E_COMM)
        bought[buyers, item[buyers]] = True
        there, called = np.flatnonzero(domain == NAVI), np.flatnonzero(domain == CALL_USE)
        latest_kind[there], latest_coupon[called] = kind_of[item[there]], coupon_of[item[called]]
        items[:, step] = item
    return items


class _ByTaste:
    """Draws items of a domain by their popularity, most of them of a taste, all of a kind."""

    def __init__(self, items: int, kinds: np.ndarray | None = None):
        """Makes the tables.

        Args:
          items: how many; the number of an item is its rank by popularity.
          kinds: `[items]`, of which kind each is, from 0; by default of one.
        """
        kinds = np.zeros(items, int) if kinds is None else kinds
        of_kind = (kinds == np.arange(kinds.max() + 1)[:, None]) / (np.arange(items) + _HEAD)
        of_taste = np.arange(items) % _TASTES == np.arange(_TASTES)[:, None]
        anyhow = of_kind[:, None, :] / of_kind.sum(axis=1)[:, None, None]
        liked = anyhow * of_taste  # (kinds, tastes, items)
        total = liked.sum(axis=2, keepdims=True)
        # A kind without an item of the taste has all of its items instead.
        liked = np.where(total > 0, liked / np.where(total > 0, total, 1), anyhow)
        table = np.cumsum(_OF_TASTE * liked + (1 - _OF_TASTE) * anyhow, axis=2)
        table /= table[:, :, -1:]
        self._items = items
        # Row after row in one increasing list, so that one search serves all rows.
        self._table = (table.reshape(-1, items) + np.arange(table[..., 0].size)[:, None]).ravel()

    def draw(
        self, rng: np.random.Generator, taste: np.ndarray, kind: np.ndarray | int = 0
    ) -> np.ndarray:
        """Draws an item for each `taste` and `kind`."""
        row = kind * _TASTES + taste
        found = np.searchsorted(self._table, row + rng.random(len(taste)), side="right")
        return np.minimum(found - row * self._items, self._items - 1)
