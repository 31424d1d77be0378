"""Which sums a coordinator can open, computed: all its schedules of lies, as linear algebra.

The model is the rules of ``client/sealing.py`` and ``client/participation.py`` for one round. Each honest site seals,
under rising attempts, whatever cohort the coordinator shows it; what it sends is its update plus its own mask plus a
pair mask for each honest peer (the colluders' are known). Masks are unknowns, one for each pair and view, one for each
sealing. A site releases once, and only when every honest site of its cohort has shown the same view. What can be
opened is what is left of the masks' null space. A lone update is a vector with one honest site in it.

The rules are then broken one by one, to see that the computation would notice.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

PRIME = 8796092858369
Row = dict[str, int]
View = tuple[int, tuple[int, ...]]  # attempt, cohort


@dataclass
class Round:
    """What the coordinator has of one round; sites from 0 on are honest, those below 0 its own."""

    honest: int
    colluders: int
    minimum: int
    forgetful: int = 0
    """So many sites were put back with their memory, and release a second time."""
    sealed: dict[int, dict[View, Row]] = field(default_factory=dict)
    released: dict[int, list[View]] = field(default_factory=dict)

    def seal(self, site: int, view: View) -> None:
        """The site answers, unless the view breaks one of its rules."""
        attempt, cohort = view
        mine = self.sealed.setdefault(site, {})
        too_late = len(self.released.get(site, [])) >= self.limit(site)
        if site not in cohort or len(cohort) < self.minimum or too_late or any(attempt <= old for old, _ in mine):
            return
        row = {f"x{site}": 1, f"own{site}-{view}": 1}
        for peer in cohort:
            if peer >= 0 and peer != site:
                low, high = sorted((site, peer))
                row[f"pair{low}-{high}-{view}"] = 1 if site == low else PRIME - 1
        mine[view] = row

    def release(self, site: int, view: View) -> None:
        """The site releases its own mask of its newest sealing, if all honest sites of the cohort show that view."""
        mine, given = self.sealed.get(site, {}), self.released.setdefault(site, [])
        whole = all(view in self.sealed.get(peer, {}) for peer in view[1] if peer >= 0)
        if (
            whole
            and mine
            and view == max(mine, key=lambda each: each[0])
            and view not in given
            and len(given) < self.limit(site)
        ):
            given.append(view)
            del mine[view][f"own{site}-{view}"]

    def limit(self, site: int) -> int:
        """How often the site releases in one round."""
        return 2 if site < self.forgetful else 1

    def opened(self) -> list[Row]:
        """A basis of what opens, over the honest sites' updates."""
        rows = [dict(row) for mine in self.sealed.values() for row in mine.values()]
        rest = reduced(rows, lambda name: not name.startswith("x"))
        return reduced([row for row in rest if all(name.startswith("x") for name in row)], lambda _: True)

    def lone_updates(self) -> list[int]:
        """Honest sites whose update alone is in the span of what opens."""
        basis = self.opened()
        return [site for site in range(self.honest) if contains(basis, {f"x{site}": 1})]


def reduced(rows: list[Row], wanted: Callable[[str], bool]) -> list[Row]:
    """Gauss over the field, pivots on the ``wanted`` columns only; rows without a pivot are what is left of them."""
    done: list[tuple[str, Row]] = []
    rest: list[Row] = []
    for row in rows:
        for known, other in done:
            subtract(row, other, known)
        pivot = min(filter(wanted, row), default=None)
        if pivot is None:
            rest.append(row)
            continue
        inverse = pow(row[pivot], -1, PRIME)
        monic = {name: value * inverse % PRIME for name, value in row.items()}
        for _, other in done:
            subtract(other, monic, pivot)
        done.append((pivot, monic))
    return [row for row in [*rest, *(row for _, row in done)] if row]


def subtract(row: Row, other: Row, pivot: str) -> None:
    """Take ``other`` off ``row`` so that its ``pivot`` is gone."""
    factor = row.get(pivot, 0)
    for name, value in other.items() if factor else ():
        left = (row.get(name, 0) - factor * value) % PRIME
        if left:
            row[name] = left
        else:
            row.pop(name, None)


def contains(basis: list[Row], vector: Row) -> bool:
    """Whether ``vector`` is in the span of a reduced ``basis``."""
    left = dict(vector)
    for row in basis:
        subtract(left, row, min(row))
    return not left


def played(seed: int, honest: int, colluders: int, minimum: int, forgetful: int = 0) -> Round:
    """A random schedule: cohorts told to each site as the coordinator likes, releases asked for at any time."""
    chance = random.Random(seed)
    game = Round(honest, colluders, minimum, forgetful)
    everybody = [*range(honest), *range(-colluders, 0)]
    views: list[View] = []
    for attempt in range(1, 5):
        for _ in range(2):
            size = chance.randint(max(minimum - 1, 1), len(everybody))
            views.append((attempt, tuple(sorted(chance.sample(everybody, size)))))
        for site in chance.sample(range(honest), honest):
            game.seal(site, chance.choice(views[-2:]))
        for site in range(honest):
            if chance.random() < 0.5:
                game.release(site, chance.choice(views))
    for site in range(honest):
        for view in chance.sample(views, len(views)):
            game.release(site, view)
    return game


@pytest.mark.parametrize(("honest", "colluders"), [(2, 1), (3, 1), (4, 1), (4, 2), (5, 3), (3, 0)])
def test_no_schedule_of_lies_opens_a_lone_update(honest: int, colluders: int) -> None:
    """Sum minus one over attempts, cohorts told differently, releases in any order: 300 random schedules each."""
    games = [played(seed, honest, colluders, max(3, colluders + 2)) for seed in range(300)]
    assert sum(bool(game.opened()) for game in games) > 5, "schedules in which nothing opens show nothing"
    assert not any(game.lone_updates() for game in games)


def test_one_site_that_forgets_its_release_does_not_open_a_lone_update() -> None:
    """One site is put back together with its memory and releases twice: every other site still releases once."""
    games = [played(seed, 4, 1, 3, forgetful=1) for seed in range(500)]
    assert any(len(game.opened()) > 1 for game in games)
    assert not any(game.lone_updates() for game in games)


def test_the_computation_finds_lone_updates_where_the_minimum_is_too_small() -> None:
    """With ``colluders + 1`` sites a whole cohort may hold one honest site: then its sum is that site's update."""
    assert any(played(seed, 3, 2, 3).lone_updates() for seed in range(100))


def test_the_computation_finds_lone_updates_where_sites_release_twice() -> None:
    """Two whole sums of one round that differ by one site: the difference is its update."""
    assert any(played(seed, 4, 1, 3, forgetful=4).lone_updates() for seed in range(300))
