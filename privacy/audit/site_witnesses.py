"""Compare what sites have seen of each other with ledgers, with the coordinator's testimony, and among themselves.

A header is signed by the site whose ledger it shows, whoever hands it over. So these cannot come from an honest site:

* two headers for one attempt that differ; two hashes of one entry of its ledger;
* a head with a lower number in a round that began after another was shown;
* a head that is not in its ledger, and that no recovery took over;
* a header of a trained round that its ledger has not paid for;
* a header that is not the one that the coordinator shows for the attempt.

What a header says that its site has seen of others (``seen``) is that site's word only: if it does not fit, one of the
two is wrong, and the finding names both.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from privacy.audit.site_ledger import Discrepancy, SiteLedger, Weight, make_contradiction, make_remark
from privacy.keys import PublicKey
from privacy.ledger.testimony import Testimony
from privacy.protocol.headers import Header, HeadReference
from privacy.protocol.site_testimony import SiteTestimony


class NewestSeen(NamedTuple):
    """The newest entry of a ledger that other sites have seen, and which sites."""

    entry: int
    sites: tuple[str, ...]

    @property
    def text(self) -> str:
        """The sites, for a sentence."""
        return ", ".join(self.sites)


def compare_witnesses(testimonies: Sequence[Testimony], sites: Sequence[SiteTestimony]) -> Iterator[Discrepancy]:
    """Compare testimonies with each other; no ledger is needed."""
    headers = _collect_headers(sites)
    yield from _find_two_headers(headers)
    yield from _find_two_entries(testimonies, sites)
    yield from _find_steps_back(headers)
    for testimony in testimonies:
        for header in headers:
            seen = testimony.rounds.get((header.view.study, header.view.round))
            if seen is None or seen.attempt != header.view.attempt:
                continue
            if seen.heads.get(header.site) != header.ledger.hash:
                yield _contradict(
                    header.site,
                    f"in round {header.view.round} of '{header.view.study}' it showed other sites entry "
                    f"{header.ledger.number} of its ledger, the coordinator's testimony has another one",
                )


def compare_site_testimony(testimony: SiteTestimony, ledger_state: SiteLedger) -> Iterator[Discrepancy]:
    """Compare what one site has seen of the others with one of their ledgers."""
    name, witness = ledger_state.name, testimony.opening.site
    for study, roster in testimony.studies.items():
        allowed = ledger_state.ledger.find_allowance(study)
        if allowed is not None and allowed.terms != roster.terms:
            yield make_contradiction(
                ledger_state,
                f"it admitted the study '{study}' under the terms {allowed.terms[:16]}, '{witness}' under "
                f"{roster.terms[:16]}",
            )
        own = roster.sites.get(name)
        if own is not None and own not in [key.text for key in ledger_state.ledger.keys]:
            yield make_contradiction(
                ledger_state,
                f"for '{witness}' the study '{study}' has the key {PublicKey.from_text(own).typed} for it, which never "
                "signed this ledger",
            )
    for seen in testimony.headers:
        header = seen.header.statement
        if header.site == name:
            yield from _compare_head(ledger_state, header.ledger, f"'{witness}' has its signature on")
            yield from _compare_payment(ledger_state, header, seen.trained)
        claim = header.seen.get(name)
        if claim is not None:
            yield from _compare_head(ledger_state, claim, f"'{header.site}' has signed that it has seen")


def find_newest_seen(ledger_state: SiteLedger, sites: Iterable[SiteTestimony]) -> NewestSeen | None:
    """Find the newest entry of a ledger that other sites have seen, by their testimonies and by their headers."""
    numbers: dict[str, int] = defaultdict(int)
    for witness, head in _list_sightings(ledger_state.name, sites):
        if ledger_state.ledger.has_entry(head.number, head.hash):
            numbers[witness] = max(numbers[witness], head.number)
    if not numbers:
        return None
    entry = max(numbers.values())
    return NewestSeen(entry, tuple(sorted(name for name, number in numbers.items() if number == entry)))


def _list_sightings(site: str, testimonies: Iterable[SiteTestimony]) -> Iterator[tuple[str, HeadReference]]:
    """List which site has seen which head of the ledger of ``site``."""
    for testimony in testimonies:
        for seen in testimony.headers:
            header = seen.header.statement
            if header.site == site and testimony.opening.site != site:
                yield testimony.opening.site, header.ledger
            if site in header.seen and header.site != site:
                yield header.site, header.seen[site]


def _compare_head(ledger_state: SiteLedger, head: HeadReference, who: str) -> Iterator[Discrepancy]:
    if ledger_state.ledger.contains(head.number, head.hash):
        return
    if ledger_state.took_over(head.number, head.lineage or None):
        yield make_remark(
            ledger_state, f"entry {head.number}, which other sites have seen, was lost; it was restored since"
        )
    else:
        yield make_contradiction(
            ledger_state,
            f"{who} entry {head.number}, which is not in the ledger: it was rolled back, rewritten, or this is a copy",
        )


def _compare_payment(ledger_state: SiteLedger, header: Header, trained: bool) -> Iterator[Discrepancy]:
    study, number = header.view.study, header.view.round
    paid = (
        (study, number) in ledger_state.trained if trained else (study, header.view.base) in ledger_state.evaluated
    )
    if paid:
        return
    if ledger_state.recovered:
        yield make_remark(
            ledger_state,
            f"it sealed an update in round {number} of '{study}'; the ledger was restored and has lost it",
        )
    else:
        yield make_contradiction(
            ledger_state, f"it sealed an update in round {number} of '{study}', its ledger has no payment for it"
        )


def _find_two_headers(headers: Sequence[Header]) -> Iterator[Discrepancy]:
    shown: dict[tuple[str, str, int, int], Header] = {}
    for header in headers:
        view = header.view
        if shown.setdefault((header.site, view.study, view.round, view.attempt), header) != header:
            yield _contradict(
                header.site,
                f"it has signed two headers for attempt {view.attempt} of round {view.round} of '{view.study}'",
            )


def _find_two_entries(testimonies: Sequence[Testimony], sites: Sequence[SiteTestimony]) -> Iterator[Discrepancy]:
    """Find entries that sites were shown otherwise than each other, or than the coordinator."""
    shown: dict[tuple[str, str, int], set[str]] = defaultdict(set)
    by_sites = set()
    for header in _collect_headers(sites):
        by_sites.add((header.site, header.ledger.lineage, header.ledger.number))
        shown[header.site, header.ledger.lineage, header.ledger.number].add(header.ledger.hash)
    for testimony in testimonies:
        for countersigned in testimony.heads:
            head = countersigned.head.statement
            shown[head.site, head.recovered or "", head.number].add(head.hash)
    for key in sorted(by_sites):
        if len(shown[key]) > 1:
            yield _contradict(
                key[0], f"it has shown {len(shown[key])} different entries {key[2]} of its ledger to witnesses"
            )


def _find_steps_back(headers: Sequence[Header]) -> Iterator[Discrepancy]:
    """Find heads with a lower number in a round that began after a higher one was shown, in the same study."""
    shown: dict[tuple[str, str, str], list[Header]] = defaultdict(list)
    for header in headers:
        shown[header.site, header.view.study, header.ledger.lineage].append(header)
    for (site, study, _), each in sorted(shown.items()):
        each.sort(key=lambda header: header.view.round)
        for later in each:
            before = [header.ledger.number for header in each if header.view.round <= later.view.base]
            if before and later.ledger.number < max(before):
                yield _contradict(
                    site,
                    f"it showed entry {later.ledger.number} of its ledger in round {later.view.round} of '{study}', "
                    f"after entry {max(before)} by round {later.view.base}: it was rolled back, or a copy was in use",
                )


def _collect_headers(sites: Iterable[SiteTestimony]) -> list[Header]:
    return [seen.header.statement for testimony in sites for seen in testimony.headers]


def _contradict(site: str, sentence: str) -> Discrepancy:
    return Discrepancy(weight=Weight.CONTRADICTION, site=site, sentence=sentence)
