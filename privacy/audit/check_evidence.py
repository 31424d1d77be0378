"""Compare packs of evidence with the ledger whose heads they show; the result that 'verify-evidence' prints.

* The head in a pack, and its totals, must be in the ledger, and the key of the pack must have signed it.
* It is counted how many launches were judged by the policy that the newest pack shows.
"""

from pathlib import Path

from privacy.audit.read_ledger import read_ledger
from privacy.document import Document
from privacy.errors import ContradictionError
from privacy.keys import PublicKey
from privacy.ledger import LedgerState
from privacy.ledger.entries import Entry, Require
from privacy.ledger.evidence import Evidence, EvidencePack


class InLedger(Document):
    """How a pack stands to the ledger that was laid beside it."""

    entries: int
    later: int
    launches: int
    """Launches of studies for which the ledger says what the policy asked."""
    under_this_policy: int


class VerifiedEvidence(Document):
    """The result of ``verify-evidence``, as ``--json`` prints it."""

    file: str
    key_given: bool
    age_days: float
    evidence: Evidence
    policy_digest: str
    packages: int
    ledger: InLedger | None
    changes: tuple[str, ...] | None
    """What is otherwise than in the earlier pack; None if there is none."""
    attention: tuple[str, ...]


def compare_with_ledger(path: Path, packs: list[EvidencePack]) -> InLedger:
    """Compare the heads of packs of one site, oldest first, with its ledger; describe how the last one stands to it.

    Raises:
        LedgerError: the ledger does not verify, or is that of another key.
        ContradictionError: a head, or its totals, is not in the ledger.
    """
    said = packs[-1].evidence.statement
    heads = {each.evidence.statement.ledger.statement.number: each.evidence.statement for each in packs}
    digest, launches, same = said.policy_digest, 0, 0
    others: set[int] = set()

    def watch(state: LedgerState, entry: Entry) -> None:
        nonlocal launches, same
        if isinstance(entry.body, Require):
            launches += 1
            same += entry.body.policy == digest
        shown = heads.get(entry.number)
        if shown is not None and state.make_head_statement() != shown.ledger.statement:
            others.add(entry.number)

    _, state = read_ledger(path, PublicKey.from_text(said.key), watch)
    for pack in packs:
        each = pack.evidence.statement
        head = each.ledger.statement
        if PublicKey.from_text(each.key) not in state.keys:
            raise ContradictionError(f"{path}: the key of the pack of {each.time} has never signed this ledger")
        if state.site != each.site or not state.contains(head.number, head.hash) or head.number in others:
            raise ContradictionError(
                f"{path}: the pack of {each.time} shows entry {head.number} with the hash {head.hash[:16]} and its "
                f"totals, which this ledger of '{state.site}' with {state.head.number} entries does not hold: it is an "
                "older copy, was rewritten, or was restored from a backup since; ask the site for a new export"
            )
    return InLedger(
        entries=state.head.number,
        later=max(0, state.head.number - said.ledger.statement.number),
        launches=launches,
        under_this_policy=same,
    )
