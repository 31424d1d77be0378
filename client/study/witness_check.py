"""Check, before any work, that the ledger is the one whose head the coordinator countersigned.

A machine that was put back to an earlier state, or a second copy of it, holds another ledger than the one that was
shown. So before any work the countersigned head is looked up in the ledger. What was seen is recorded there
(``checkpoint``) and kept beside it, for a recovery of the ledger from a backup.
"""

from client.site.folder import SiteFolder
from privacy.errors import LedgerError, RefusedError
from privacy.keys import PublicKey
from privacy.ledger import Ledger
from privacy.ledger.rules import BrokenRuleError
from privacy.ledger.signed_head import Countersigned
from privacy.ledger.state import ROLLBACK
from privacy.refusal_codes import RefusalCode


def require_not_behind(
    home: SiteFolder, ledger: Ledger, coordinator: PublicKey, study: str, countersigned: Countersigned | None
) -> None:
    """Look up what the coordinator has seen of this site's ledger, before a study is joined.

    Raises:
        RefusedError: as :func:`require_witnessed`. If nothing was seen yet, the ledger cannot be behind.
    """
    if countersigned is not None and not ledger.read_state().contains(
        countersigned.head.statement.number, countersigned.head.statement.hash
    ):
        require_witnessed(home, ledger, coordinator, study, countersigned)


def require_witnessed(
    home: SiteFolder, ledger: Ledger, coordinator: PublicKey, study: str, countersigned: Countersigned | None
) -> None:
    """Record in the ledger what the coordinator has seen of it, or refuse.

    Raises:
        RefusedError: ``refused`` if the head is not in this ledger, which records this as an incident.
        LedgerError: the ledger cannot take it.
    """
    if countersigned is None:
        raise RefusedError(
            RefusalCode.REFUSED,
            "a request to train carries the newest head that the coordinator has seen of the ledger",
        )
    seen = countersigned.head.statement
    if ledger.read_state().contains(seen.number, seen.hash):
        try:
            ledger.record_checkpoint(countersigned, coordinator)
        except BrokenRuleError as error:
            raise RefusedError(RefusalCode.REFUSED, str(error)) from None
        home.keep_witnessed(countersigned)
        return
    if _is_own(ledger, countersigned, coordinator):
        home.keep_witnessed(countersigned)  # a recovery needs it
    sentence = (
        f"entry {seen.number} of this site's ledger, which the coordinator has seen signed, is not in the ledger: it "
        "was rolled back or replaced, or a copy of it is in use elsewhere; restore the newest backup, then run: "
        "consilium-site ledger recover"
    )
    ledger.record_incident(study, ROLLBACK, sentence)
    raise RefusedError(RefusalCode.REFUSED, sentence)


def _is_own(ledger: Ledger, countersigned: Countersigned, coordinator: PublicKey) -> bool:
    """Return whether a head that is not in the ledger was once this site's, by its key and the coordinator's."""
    try:
        countersigned.verify(ledger.key, coordinator)
    except LedgerError:
        return False
    return True
