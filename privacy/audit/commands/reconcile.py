"""``consilium-audit reconcile``: compare what witnesses saw with what the sites' ledgers say.

A *contradiction* cannot come from honest parties. A *remark* can, and says how. Compared are:

* rounds: a site in a committed sum has paid for it; which sites have paid for a round that the coordinator does not
  know;
* terms: the study that a site admitted is the one that the coordinator launched;
* heads: what a witness countersigned is in the ledger, or the ledger says that it was restored; two witnesses have
  seen one ledger, not two;
* what sites have seen of each other: the same of the heads in their headers (``privacy/audit/site_witnesses.py``);
* copies: a file given twice counts once. Of two copies of a site's ledger where one continues the other, the longer
  one counts. Two copies that differ in an entry are two ledgers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from privacy.command_line import print_json, print_text
from privacy.errors import ContradictionError

if TYPE_CHECKING:
    from privacy.audit.site_ledger import Discrepancy, SiteLedger
    from privacy.ledger.testimony import Testimony
    from privacy.protocol.site_testimony import SiteTestimony


@click.command()
@click.argument("files", metavar="TESTIMONY... LEDGER...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def reconcile(files: tuple[Path, ...], as_json: bool) -> None:
    """Compare what witnesses saw with sites' ledgers or exports of them, and with what other witnesses saw.

    The coordinator's testimony is written by 'consilium testimony export', a site's by 'consilium-site ledger
    testimony'. Give the files in any order, all that there are: at least one testimony and one ledger, or two
    testimonies.
    """
    from privacy.audit.site_ledger import Weight
    from privacy.audit.site_witnesses import find_newest_seen

    testimonies, sites, ledgers = _read_files(files)
    found = compare(testimonies, ledgers, sites)
    newest = {each.name: find_newest_seen(each, sites) for each in ledgers}
    contradictions = sum(each.weight is Weight.CONTRADICTION for each in found)
    if as_json:
        print_json(
            {
                "testimonies": [each.opening.federation for each in testimonies],
                "site_testimonies": [each.opening.site for each in sites],
                "seen_by_sites": {
                    name: None if each is None else {"entry": each.entry, "sites": list(each.sites)}
                    for name, each in newest.items()
                },
                "sites": [each.name for each in ledgers],
                "contradictions": contradictions,
                "findings": [each.model_dump(mode="json") for each in found],
            }
        )
    else:
        for each in found:
            print_text(f"{each.weight:13}  {each.site}: {each.sentence}")
        for name, seen in newest.items():
            if seen is not None:
                print_text(
                    f"entry {seen.entry} of {name}'s ledger is the newest that other sites have seen: {seen.text}"
                )
        rounds = sum(len(each.rounds) for each in testimonies)
        heads = sum(len(each.heads) for each in testimonies) + sum(len(each.headers) for each in sites)
        print_text(
            f"compared {rounds} rounds and {heads} heads with "
            f"{len(ledgers)} {'ledger' if len(ledgers) == 1 else 'ledgers'} "
            f"({', '.join(each.name for each in ledgers)}): "
            f"{contradictions} contradictions, {len(found) - contradictions} remarks"
        )
    if contradictions:
        raise ContradictionError(
            f"{contradictions} contradictions between {len(files)} files; they are listed above"
        )


def compare(
    testimonies: Sequence[Testimony], ledgers: Sequence[SiteLedger], sites: Sequence[SiteTestimony] = ()
) -> list[Discrepancy]:
    """List every point on which witnesses and ledgers do not agree, contradictions first."""
    from privacy.audit.site_ledger import Weight
    from privacy.audit.site_witnesses import compare_site_testimony, compare_witnesses

    findings = [*_find_conflicting_entries(testimonies), *_find_conflicting_copies(ledgers)]
    by_sites = [*compare_witnesses(testimonies, sites)]
    for ledger_state in ledgers:
        for site in sites:
            by_sites += compare_site_testimony(site, ledger_state)
        for testimony in testimonies:
            findings += _compare_terms(testimony, ledger_state)
            findings += _compare_rounds(testimony, ledger_state)
            findings += _compare_heads(testimony, ledger_state)
    findings += {each.digest: each for each in by_sites}.values()  # several sites have often seen the same
    return sorted(findings, key=lambda each: (each.weight is Weight.REMARK, each.site))


def _compare_terms(testimony: Testimony, ledger_state: SiteLedger) -> Iterator[Discrepancy]:
    from privacy.audit.site_ledger import make_contradiction
    from privacy.keys import PublicKey

    for study, seen in testimony.studies.items():
        allowed = ledger_state.ledger.find_allowance(study)
        if allowed is not None and allowed.terms != seen.terms:
            yield make_contradiction(
                ledger_state,
                f"it admitted the study '{study}' under the terms {allowed.terms[:16]}, the coordinator launched it "
                f"under {seen.terms[:16]}",
            )
        own = seen.sites.get(ledger_state.name)
        if own is not None and own not in [key.text for key in ledger_state.ledger.keys]:
            yield make_contradiction(
                ledger_state,
                f"the study '{study}' invited the key {PublicKey.from_text(own).typed}, which never signed this ledger",
            )


def _compare_rounds(testimony: Testimony, ledger_state: SiteLedger) -> Iterator[Discrepancy]:
    from privacy.audit.site_ledger import make_contradiction, make_remark

    for (study, number), seen in testimony.rounds.items():
        # an exchange that only evaluates is paid as the evaluation of the model after round `base`
        paid = (
            (study, number) in ledger_state.trained
            if seen.trained
            else (study, seen.base) in ledger_state.evaluated
        )
        if ledger_state.name in seen.heads and not paid:
            if ledger_state.recovered:
                yield make_remark(
                    ledger_state,
                    f"round {number} of '{study}' has its update; the ledger was restored and has lost it",
                )
            else:
                yield make_contradiction(
                    ledger_state,
                    f"round {number} of '{study}' has its update in the sum, its ledger has no payment for it",
                )
    known = set(testimony.studies)
    for study, number in sorted(ledger_state.trained):
        if study not in known:
            continue
        round_seen = testimony.rounds.get((study, number))
        if round_seen is None and (study, number) not in testimony.void:
            yield make_remark(
                ledger_state,
                f"it paid for round {number} of '{study}', of which the coordinator shows no sum: the study ended or "
                "is stopped in it, or the coordinator keeps it back",
            )
        elif round_seen is not None and ledger_state.name not in round_seen.heads:
            yield make_remark(
                ledger_state,
                f"it paid for round {number} of '{study}' and is not in its sum: it was lost before release",
            )


def _compare_heads(testimony: Testimony, ledger_state: SiteLedger) -> Iterator[Discrepancy]:
    from privacy.audit.site_ledger import make_contradiction, make_remark

    shown = set()
    for countersigned in testimony.heads:
        head = countersigned.head.statement
        if head.site != ledger_state.name:
            continue
        shown.add(head.digest)
        if ledger_state.ledger.contains(head.number, head.hash):
            continue
        if ledger_state.took_over(head.number, head.recovered):
            yield make_remark(
                ledger_state,
                f"entry {head.number}, which a witness has seen, was lost; the ledger was restored since",
            )
        else:
            yield make_contradiction(
                ledger_state,
                f"entry {head.number}, which a witness has seen, is not in the ledger: it was rolled back, "
                "rewritten, or this is a copy",
            )
    for witness, digest in sorted(ledger_state.checkpoints):
        if witness == testimony.opening.key and digest not in shown:
            yield make_contradiction(
                ledger_state, "the coordinator has countersigned a head that its testimony does not show"
            )


def _find_conflicting_entries(testimonies: Sequence[Testimony]) -> Iterator[Discrepancy]:
    from privacy.audit.site_ledger import Discrepancy, Weight

    seen: dict[tuple[str, str, int], set[str]] = defaultdict(set)
    for testimony in testimonies:
        for countersigned in testimony.heads:
            head = countersigned.head.statement
            seen[head.site, head.recovered or "", head.number].add(head.hash)
    for (site, _, number), hashes in sorted(seen.items()):
        if len(hashes) > 1:
            yield Discrepancy(
                weight=Weight.CONTRADICTION,
                site=site,
                sentence=f"it has shown {len(hashes)} different entries {number} of its ledger to witnesses",
            )


def _find_conflicting_copies(ledgers: Sequence[SiteLedger]) -> Iterator[Discrepancy]:
    """Find ledgers of one site that differ in an entry; copies that continue each other are merged before."""
    from privacy.audit.site_ledger import make_contradiction, make_remark

    for number, ledger_state in enumerate(ledgers):
        for other in ledgers[number + 1 :]:
            if ledger_state.name == other.name:
                restored = bool(ledger_state.recovered or other.recovered)
                yield (make_remark if restored else make_contradiction)(
                    ledger_state,
                    f"two of its ledgers were given that part ways, with {ledger_state.ledger.head.number} and "
                    f"{other.ledger.head.number} entries" + ("; one of them was restored" if restored else ""),
                )


def _read_files(files: Sequence[Path]) -> tuple[list[Testimony], list[SiteTestimony], list[SiteLedger]]:
    from privacy.audit.read_ledger import read_ledger
    from privacy.audit.site_ledger import SiteLedger
    from privacy.ledger.state import LedgerState
    from privacy.ledger.testimony import Testimony, read_testimony
    from privacy.protocol.site_testimony import SiteTestimony, read_site_testimony

    testimonies, sites, ledgers = list[Testimony](), list[SiteTestimony](), list[SiteLedger]()
    for path in files:
        match _find_kind(path):
            case "testimony":
                testimony = read_testimony(path)
                if testimony not in testimonies:
                    testimonies.append(testimony)
            case "site-testimony":
                site_testimony = read_site_testimony(path)
                if site_testimony not in sites:
                    sites.append(site_testimony)
            case _:
                site = SiteLedger(LedgerState())
                _, site.ledger = read_ledger(path, watch=site.apply)
                ledgers.append(site)
    if not testimonies and not sites:
        raise click.UsageError(
            "none of these is a testimony; the coordinator writes one: consilium testimony export FILE; a site writes "
            "one: consilium-site ledger testimony --out FILE"
        )
    if not ledgers and len(testimonies) + len(sites) < 2:
        raise click.UsageError(
            "this is one testimony and no ledger, so there is nothing to compare with; a site writes one: "
            "consilium-site ledger export FILE"
        )
    return testimonies, sites, _keep_longest_copies(ledgers)


def _keep_longest_copies(ledgers: Sequence[SiteLedger]) -> list[SiteLedger]:
    """Leave out the copies that another ledger continues."""
    kept: list[SiteLedger] = []
    for ledger_state in sorted(ledgers, key=lambda each: -each.ledger.head.number):
        if not any(_is_continuation(other, ledger_state) for other in kept):
            kept.append(ledger_state)
    return sorted(kept, key=lambda each: each.name)


def _is_continuation(longer: SiteLedger, ledger_state: SiteLedger) -> bool:
    head = ledger_state.ledger.head
    return longer.name == ledger_state.name and longer.ledger.has_entry(head.number, head.hash)


def _find_kind(path: Path) -> str | None:
    """Return which kind of testimony a file says that it is; None if it says none."""
    try:
        with path.open("rb") as file:
            start = file.read(1000)
    except OSError:
        return None
    return next((kind for kind in ("site-testimony", "testimony") if b'"kind":"%s"' % kind.encode() in start), None)
