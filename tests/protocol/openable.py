"""Which sums of a round can be opened, as linear algebra over what was sealed and released.

Each honest site's sealing is its update plus its own mask plus a pair mask for each honest peer (the colluders' are
known). Masks are unknowns, one for each pair and view, one for each sealing. What can be opened is what is left of the
masks' null space. A lone update is a vector with one honest site in it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

PRIME = 8796092858369
Row = dict[str, int]
View = tuple[int, tuple[int, ...]]  # attempt, cohort


@dataclass
class Round:
    """What the coordinator has of one round; sites from 0 on are honest, those below 0 its own."""

    honest: int
    colluders: int
    minimum: int
    put_back: int = 0
    """So many sites are put back to older disks whenever the coordinator likes: they seal and release anything."""
    sealed: dict[int, dict[View, Row]] = field(default_factory=dict)
    released: dict[int, list[View]] = field(default_factory=dict)

    def seal(self, site: int, view: View) -> None:
        """The site answers, unless the view breaks one of its rules."""
        attempt, cohort = view
        mine = self.sealed.setdefault(site, {})
        forgets = site < self.put_back
        too_late = bool(self.released.get(site)) or any(attempt <= old for old, _ in mine)
        if site not in cohort or len(cohort) < self.minimum or view in mine or (too_late and not forgets):
            return
        row = {f"x{site}": 1, f"own{site}-{view}": 1}
        for peer in cohort:
            if peer >= 0 and peer != site:
                low, high = sorted((site, peer))
                row[f"pair{low}-{high}-{view}"] = 1 if site == low else PRIME - 1
        mine[view] = row

    def release(self, site: int, view: View) -> None:
        """The site releases its own mask of its newest sealing, if all honest sites of the cohort show that view.

        A site that is put back has the seed of whichever sealing its older disk keeps, and has released none.
        """
        mine, given = self.sealed.get(site, {}), self.released.setdefault(site, [])
        whole = all(view in self.sealed.get(peer, {}) for peer in view[1] if peer >= 0)
        newest = bool(mine) and view == max(mine, key=lambda each: each[0])
        if whole and view in mine and view not in given and (site < self.put_back or (newest and not given)):
            self.let_go(site, view)

    def let_go(self, site: int, view: View) -> None:
        """The site's own mask of this sealing is known from now on."""
        self.released.setdefault(site, []).append(view)
        self.sealed[site][view].pop(f"own{site}-{view}", None)

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
