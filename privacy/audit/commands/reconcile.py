"""``consilium-audit reconcile``: compare what witnesses saw with what the sites' ledgers say.

A *contradiction* cannot come from honest parties. A *remark* can, and says how. Compared are:

* rounds: a site in a committed sum has paid for it; which sites have paid for a round that the coordinator does not
  know;
* terms: the study that a site admitted is the one that the coordinator launched;
* heads: what a witness countersigned is in the ledger, or the ledger says that it was restored; two witnesses have
  seen one ledger, not two;
* copies: a file given twice counts once. Of two copies of a site's ledger where one continues the other, the longer
  one counts. Two copies that differ in an entry are two ledgers.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import click

from privacy.audit.read_ledger import read_ledger
from privacy.command_line import print_json
from privacy.document import Document
from privacy.errors import ContradictionError
from privacy.keys import PublicKey
from privacy.ledger.entries import Checkpoint, Entry, Evaluate, Recover, Reserve
from privacy.ledger.signed_head import LedgerHead
from privacy.ledger.signing import Head
from privacy.ledger.state import LedgerState
from privacy.ledger.testimony import Testimony, read_testimony


class Weight(StrEnum):
    """The weight of a finding."""

    CONTRADICTION = "contradiction"
    REMARK = "remark"


class Discrepancy(Document):
    """A point on which a witness and a ledger do not agree."""

    weight: Weight
    site: str
    sentence: str


@dataclass
class SiteLedger:
    """A site's verified ledger, and the parts of it that are compared."""

    ledger: LedgerState
    trained: set[tuple[str, int]] = field(default_factory=set)
    evaluated: set[tuple[str, int]] = field(default_factory=set)
    recovered: list[Head] = field(default_factory=list)
    """The heads of lost ledgers whose totals it took over, in order."""
    checkpoints: set[tuple[str, str]] = field(default_factory=set)
    """The witness's key and the digest of the head."""

    @property
    def name(self) -> str:
        """The name of the site."""
        return self.ledger.site

    def apply(self, _: LedgerState, entry: Entry) -> None:
        """Collect what is compared from the next entry."""
        match entry.body:
            case Reserve(study=study, round=round):
                self.trained.add((study, round))
            case Evaluate(study=study, round=round):
                self.evaluated.add((study, round))
            case Recover(countersigned=countersigned):
                head = countersigned.head.statement
                self.recovered.append(Head(head.number, head.hash))
            case Checkpoint(witness=witness, countersigned=countersigned):
                self.checkpoints.add((witness, countersigned.seen.statement.head))


@click.command()
@click.argument("files", metavar="TESTIMONY... LEDGER...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def reconcile(files: tuple[Path, ...], as_json: bool) -> None:
    """Compare what witnesses saw (see 'consilium testimony export') with sites' ledgers or exports of them.

    Give the files in any order: at least one testimony and one ledger, and as many ledgers as there are.
    """
    testimonies, ledgers = _read_files(files)
    found = compare(testimonies, ledgers)
    contradictions = sum(each.weight is Weight.CONTRADICTION for each in found)
    if as_json:
        print_json(
            {
                "testimonies": [each.opening.federation for each in testimonies],
                "sites": [each.name for each in ledgers],
                "contradictions": contradictions,
                "findings": [each.model_dump(mode="json") for each in found],
            }
        )
    else:
        for each in found:
            click.echo(f"{each.weight:13}  {each.site}: {each.sentence}")
        rounds = sum(len(each.rounds) for each in testimonies)
        click.echo(
            f"compared {rounds} rounds and {sum(len(each.heads) for each in testimonies)} heads with "
            f"{len(ledgers)} {'ledger' if len(ledgers) == 1 else 'ledgers'} "
            f"({', '.join(each.name for each in ledgers)}): "
            f"{contradictions} contradictions, {len(found) - contradictions} remarks"
        )
    if contradictions:
        raise ContradictionError(
            f"{contradictions} contradictions between {len(files)} files; they are listed above"
        )


def compare(testimonies: Sequence[Testimony], ledgers: Sequence[SiteLedger]) -> list[Discrepancy]:
    """List every point on which witnesses and ledgers do not agree, contradictions first."""
    findings = [*_find_conflicting_entries(testimonies), *_find_conflicting_copies(ledgers)]
    for ledger_state in ledgers:
        for testimony in testimonies:
            findings += _compare_terms(testimony, ledger_state)
            findings += _compare_rounds(testimony, ledger_state)
            findings += _compare_heads(testimony, ledger_state)
    return sorted(findings, key=lambda each: (each.weight is Weight.REMARK, each.site))


def _compare_terms(testimony: Testimony, ledger_state: SiteLedger) -> Iterator[Discrepancy]:
    for study, seen in testimony.studies.items():
        allowed = ledger_state.ledger.find_allowance(study)
        if allowed is not None and allowed.terms != seen.terms:
            yield _make_contradiction(
                ledger_state,
                f"it admitted the study '{study}' under the terms {allowed.terms[:16]}, the coordinator launched it "
                f"under {seen.terms[:16]}",
            )
        own = seen.sites.get(ledger_state.name)
        if own is not None and own not in [key.text for key in ledger_state.ledger.keys]:
            yield _make_contradiction(
                ledger_state,
                f"the study '{study}' invited the key {PublicKey.from_text(own).typed}, which never signed this ledger",
            )


def _compare_rounds(testimony: Testimony, ledger_state: SiteLedger) -> Iterator[Discrepancy]:
    for (study, number), seen in testimony.rounds.items():
        # an exchange that only evaluates is paid as the evaluation of the model after round `base`
        paid = (
            (study, number) in ledger_state.trained
            if seen.trained
            else (study, seen.base) in ledger_state.evaluated
        )
        if ledger_state.name in seen.heads and not paid:
            if ledger_state.recovered:
                yield _make_remark(
                    ledger_state,
                    f"round {number} of '{study}' has its update; the ledger was restored and has lost it",
                )
            else:
                yield _make_contradiction(
                    ledger_state,
                    f"round {number} of '{study}' has its update in the sum, its ledger has no payment for it",
                )
    known = set(testimony.studies)
    for study, number in sorted(ledger_state.trained):
        if study not in known:
            continue
        round_seen = testimony.rounds.get((study, number))
        if round_seen is None and (study, number) not in testimony.void:
            yield _make_remark(
                ledger_state,
                f"it paid for round {number} of '{study}', of which the coordinator shows no sum: the study ended or "
                "is stopped in it, or the coordinator keeps it back",
            )
        elif round_seen is not None and ledger_state.name not in round_seen.heads:
            yield _make_remark(
                ledger_state,
                f"it paid for round {number} of '{study}' and is not in its sum: it was lost before release",
            )


def _compare_heads(testimony: Testimony, ledger_state: SiteLedger) -> Iterator[Discrepancy]:
    shown = set()
    for countersigned in testimony.heads:
        head = countersigned.head.statement
        if head.site != ledger_state.name:
            continue
        shown.add(head.digest)
        if ledger_state.ledger.contains(head.number, head.hash):
            continue
        if _is_lost_and_taken_over(head, ledger_state):
            yield _make_remark(
                ledger_state,
                f"entry {head.number}, which a witness has seen, was lost; the ledger was restored since",
            )
        else:
            yield _make_contradiction(
                ledger_state,
                f"entry {head.number}, which a witness has seen, is not in the ledger: it was rolled back, "
                "rewritten, or this is a copy",
            )
    for witness, digest in sorted(ledger_state.checkpoints):
        if witness == testimony.opening.key and digest not in shown:
            yield _make_contradiction(
                ledger_state, "the coordinator has countersigned a head that its testimony does not show"
            )


def _find_conflicting_entries(testimonies: Sequence[Testimony]) -> Iterator[Discrepancy]:
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
    for number, ledger_state in enumerate(ledgers):
        for other in ledgers[number + 1 :]:
            if ledger_state.name == other.name:
                restored = bool(ledger_state.recovered or other.recovered)
                yield (_make_remark if restored else _make_contradiction)(
                    ledger_state,
                    f"two of its ledgers were given that part ways, with {ledger_state.ledger.head.number} and "
                    f"{other.ledger.head.number} entries" + ("; one of them was restored" if restored else ""),
                )


def _is_lost_and_taken_over(head: LedgerHead, ledger_state: SiteLedger) -> bool:
    """Return whether the ledger was restored after this head, and took over this head or a later one."""
    # a head names the last recovery before it: only recoveries after that one can have lost it
    before = [None, *(each.hash for each in ledger_state.recovered)]
    if head.recovered not in before:
        return False
    following = ledger_state.recovered[before.index(head.recovered) :]
    return bool(following) and head.number <= following[0].number


def _read_files(files: Sequence[Path]) -> tuple[list[Testimony], list[SiteLedger]]:
    testimonies, ledgers = list[Testimony](), list[SiteLedger]()
    for path in files:
        if _is_testimony(path):
            testimony = read_testimony(path)
            if testimony not in testimonies:
                testimonies.append(testimony)
        else:
            site = SiteLedger(LedgerState())
            _, site.ledger = read_ledger(path, watch=site.apply)
            ledgers.append(site)
    if not testimonies:
        raise click.UsageError(
            "none of these is a testimony; the coordinator writes one: consilium testimony export FILE"
        )
    if not ledgers:
        raise click.UsageError(
            "none of these is a ledger, so there is nothing to compare with; a site writes one: "
            "consilium-site ledger export FILE"
        )
    return testimonies, _keep_longest_copies(ledgers)


def _keep_longest_copies(ledgers: Sequence[SiteLedger]) -> list[SiteLedger]:
    """Leave out the copies that another ledger continues."""
    kept: list[SiteLedger] = []
    for ledger_state in sorted(ledgers, key=lambda each: -each.ledger.head.number):
        if not any(_is_continuation(other, ledger_state) for other in kept):
            kept.append(ledger_state)
    return sorted(kept, key=lambda each: each.name)


def _is_continuation(longer: SiteLedger, ledger_state: SiteLedger) -> bool:
    return (
        longer.name == ledger_state.name
        and longer.ledger.find_entry_number(ledger_state.ledger.head.hash) == ledger_state.ledger.head.number
    )


def _is_testimony(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return b'"kind":"testimony"' in file.read(1000)
    except OSError:
        return False


def _make_contradiction(ledger_state: SiteLedger, sentence: str) -> Discrepancy:
    return Discrepancy(weight=Weight.CONTRADICTION, site=ledger_state.name, sentence=sentence)


def _make_remark(ledger_state: SiteLedger, sentence: str) -> Discrepancy:
    return Discrepancy(weight=Weight.REMARK, site=ledger_state.name, sentence=sentence)
