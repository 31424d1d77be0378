"""The findings of a comparison between witnesses and ledgers, and what of a site's ledger is compared."""

from dataclasses import dataclass, field
from enum import StrEnum

from privacy.document import Document
from privacy.ledger.entries import Checkpoint, Entry, Evaluate, Recover, Reserve
from privacy.ledger.signed_head import is_lost_and_taken_over
from privacy.ledger.signing import Head
from privacy.ledger.state import LedgerState


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

    def took_over(self, number: int, recovered: str | None) -> bool:
        """Return whether the ledger was restored after a head that it does not hold, and took it or a later one over.

        ``recovered`` is the hash of the last recovery before that head; None if there was none.
        """
        return is_lost_and_taken_over(number, recovered, [(each.number, each.hash) for each in self.recovered])


def make_contradiction(ledger_state: SiteLedger, sentence: str) -> Discrepancy:
    """Make a finding that cannot come from honest parties."""
    return Discrepancy(weight=Weight.CONTRADICTION, site=ledger_state.name, sentence=sentence)


def make_remark(ledger_state: SiteLedger, sentence: str) -> Discrepancy:
    """Make a finding that honest parties can bring about."""
    return Discrepancy(weight=Weight.REMARK, site=ledger_state.name, sentence=sentence)
