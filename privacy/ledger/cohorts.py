"""Cohorts with which a site has released statistics, and how far another one must be from them.

The difference of two sums over cohorts that differ by one site is the statistics of that site alone, with the noise of
both sums. Patients are protected against that, and paid for; the site is not. So a cohort is either the same as the
earlier ones of its population, or differs from each of them, on every side on which it differs, by at least as many
sites as a cohort of either study needs (``cohort.minimum``): a site that agreed to the earlier one with a larger
minimum is not told by a later one that leaves it out.

Entries are never removed: deleting the folder of a study forgets no cohort.
"""

from collections.abc import Iterable

from privacy.errors import RefusedError
from privacy.ledger.entries import ReleaseCohort
from privacy.refusal_codes import RefusalCode


class Cohorts:
    """All cohorts of one ledger, by population."""

    def __init__(self) -> None:
        self._cohorts: dict[str, list[ReleaseCohort]] = {}

    def require_distant(self, population: str, cohort: Iterable[str], minimum: int) -> None:
        """Refuse a cohort that differs by too few sites from one with which ``population`` was counted before.

        Args:
            population: whose patients are counted.
            cohort: the sites that would be counted together.
            minimum: by how many sites cohorts must differ at least; by more, where the earlier study needs more.

        Raises:
            RefusedError: ``release-refused``; the message names the earlier study.
        """
        asked = frozenset(cohort)
        for earlier in self._cohorts.get(population, ()):
            before, least = frozenset(earlier.cohort), max(minimum, earlier.minimum)
            for some in (asked - before, before - asked):
                if 0 < len(some) < least:
                    raise RefusedError(
                        RefusalCode.RELEASE_REFUSED,
                        f"this site has counted the same patients in '{earlier.study}' with a cohort that differs by "
                        f"{_write_sites(some)}: both together would tell the statistics of these few "
                        f"sites; ask the same sites again, or a cohort that differs by at least {least}",
                    )

    def add(self, population: str, body: ReleaseCohort) -> None:
        """Add the cohort of an entry; on an error nothing is changed.

        Raises:
            RefusedError: as :meth:`require_distant`.
        """
        self.require_distant(population, body.cohort, body.minimum)
        self._cohorts.setdefault(population, []).append(body)


def _write_sites(names: frozenset[str]) -> str:
    return f"{len(names)} {'site' if len(names) == 1 else 'sites'} ({', '.join(sorted(names))})"
