"""Witness the other sites' ledgers: compare the heads that a round's headers show with all that was seen before.

A header shows the head of its site's ledger, and which heads of the others' ledgers its site has seen: those in the
headers of the round before, which its view names by their digest, and beside them what is newer (``seen``). It is
refused, and kept as evidence, if

=========  ==========================================================================================
attempt    its site has signed two headers for one attempt
entry      it shows another entry than its site has shown before under that number: two ledgers, or a rewritten one
back       it shows an entry before one that its site had shown when this round began: a ledger put back, or a copy
restored   the ledger was restored without taking over the newest entry that this site has seen
own        its site has seen an entry of **this** site's ledger that is not in it: this ledger was put back or copied
others     its site has seen an entry of a third site's ledger otherwise than this site, or than that site shows now
=========  ==========================================================================================

Rules:

* a refusal stops this site's part in the study at this point: it releases no mask and opens no round. It is written in
  the ledger, with the sentence that goes out;
* after the first four, the site itself has signed both sides: every later header of it is refused in this study, and
  nothing is paid for a round with it. After the last two, one of two sites is wrong, and only people can tell which;
* what all have seen, since all name the same headers of the round before, is compared once and not for each of them:
  every site holds these headers, signed by who shows its ledger in them;
* what is compared is what honest sites cannot do. Numbers of one study rise from a round to those after it, since a
  round begins when the one before is opened. Heads of studies that run side by side may arrive in any order, and a
  lower number among them means nothing;
* **what is not noticed**: hashes say nothing about the entries between. A ledger that was put back, and then has grown
  past the highest number that was shown, looks like one that went on, to all but its own site (``own``) and the
  auditor, who looks up every head in the ledger (``consilium-audit reconcile``).
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from client.study.context import StudyContext
from client.study.peer_heads import PeerHeads
from privacy.errors import RefusedError
from privacy.ledger import Ledger
from privacy.ledger.entries import Recover
from privacy.ledger.signed_head import is_lost_and_taken_over
from privacy.protocol.headers import Header, HeadReference
from privacy.refusal_codes import RefusalCode
from privacy.signed import Signed

_ROLLED_BACK: Final = (
    "was rolled back or copied (then restore the newest backup, and run: consilium-site ledger recover)"
)


def require_consistent_heads(context: StudyContext, signed: Mapping[str, Signed[Header]]) -> None:
    """Check the heads in a round's headers, whose signatures were verified, and keep the headers.

    Run by a site, before it releases its mask and before it opens an aggregate.

    Raises:
        RefusedError: ``release-refused`` if a head contradicts what this site has seen; the ledger says so too.
        StorageError: what was seen cannot be read or kept now.
    """
    peers, study = context.peer_heads, context.launch.study
    headers = {name: each.statement for name, each in sorted(signed.items())}
    view = next(iter(headers.values())).view
    before = {name: each.statement for name, each in peers.read_committed(study, view.base).items()}
    kept = {name: each.statement for name, each in context.read_kept_headers(view.round, view.attempt).items()}
    others = {name: header for name, header in headers.items() if name != context.site}
    refusals, self_made = peers.list_refusals(study), dict[str, str]()
    for name, header in others.items():
        sentence = refusals.get(name) or _find_own_contradiction(peers, header, kept.get(name), before.get(name))
        if sentence is not None:
            self_made[name] = sentence
    claims = _sort_claims(before.values())
    found = (_find_conflicting_claim(context, header, claims[name]) for name, header in others.items())
    unsettled = next((sentence for sentence in found if sentence is not None), None)
    peers.keep((each for name, each in signed.items() if each.statement != kept.get(name)), self_made)
    sentence = next(iter(self_made.values()), unsettled or _find_lost_entry(context, before.get(context.site)))
    if sentence is None:
        return
    context.ledger.record_incident(study, "peer-ledger", sentence, view.round)
    raise RefusedError(RefusalCode.RELEASE_REFUSED, sentence)


def list_unshown_heads(context: StudyContext, cohort: Collection[str]) -> dict[str, HeadReference]:
    """Return what the next header adds to the heads in the headers that its view names: the newest of each other site.

    In a study's first round these are all that it has seen, later mostly none: a header does not grow with its cohort.
    Run by a site.
    """
    shown = context.peer_heads.read_committed(context.launch.study, context.state.base)
    newest = context.peer_heads.list_newest(set(cohort) - {context.site})
    return {
        name: head for name, head in newest.items() if name not in shown or shown[name].statement.ledger != head
    }


def require_no_refused(context: StudyContext, cohort: Collection[str]) -> None:
    """Refuse a round with a site that has contradicted itself in this study, before the round is paid.

    Run by a site.

    Raises:
        RefusedError: ``release-refused``.
    """
    refusals = context.peer_heads.list_refusals(context.launch.study)
    if refused := sorted(refusals.keys() & set(cohort) - {context.site}):
        raise RefusedError(RefusalCode.RELEASE_REFUSED, refusals[refused[0]])


def _find_own_contradiction(
    peers: PeerHeads, header: Header, same: Header | None, last: Header | None
) -> str | None:
    """Return how a header contradicts what its own site has signed before; None if it does not.

    ``same`` is the header that it has shown before for the same attempt, ``last`` that of the round before.
    """
    site, head, view = header.site, header.ledger, header.view
    if same is not None and same != header:
        return f"'{site}' has signed two headers for attempt {view.attempt} of round {view.round}"
    known = peers.find_entry(site, head)
    if known not in (None, head.hash):
        return (
            f"'{site}' shows another entry {head.number} of its ledger than it has shown this site before: two "
            "copies of the ledger are in use, or it was rewritten"
        )
    for earlier in (peers.find_highest(site, view.study, view.base), None if last is None else last.ledger):
        if earlier is not None and _is_behind(head, earlier):
            return (
                f"'{site}' shows entry {head.number} of its ledger in round {view.round}, and has shown entry "
                f"{earlier.number} by round {view.base}: its ledger was rolled back, or a copy of it is in use"
            )
    lost = head.recovered
    if lost is None or peers.has_lineage(site, head.lineage):
        return None
    newest = peers.list_newest([site]).get(site)
    if newest is None:
        return None
    if lost.number < newest.number or (lost.number == newest.number and lost.hash != newest.hash):
        return (
            f"the ledger of '{site}' was restored from a backup and took over entry {lost.number} of the lost one, of "
            f"which this site has seen entry {newest.number}"
        )
    return None


def _sort_claims(headers: Iterable[Header]) -> Mapping[str, list[tuple[str, HeadReference]]]:
    """Sort what headers add of others' ledgers by whose ledger it is: (who has seen it, the head)."""
    claims = defaultdict[str, list[tuple[str, HeadReference]]](list)
    for header in headers:
        for name, head in header.seen.items():
            claims[name].append((header.site, head))
    return claims


def _find_lost_entry(context: StudyContext, last: Header | None) -> str | None:
    """Return that an entry that this site has shown all in the round before is not in its ledger; None if it is."""
    if last is None or _is_known(context.ledger, last.ledger):
        return None
    return (
        f"the sites of round {last.view.round} have seen entry {last.ledger.number} of the ledger of '{last.site}', "
        f"which is not in it: it {_ROLLED_BACK}"
    )


def _find_conflicting_claim(
    context: StudyContext, header: Header, claims: Iterable[tuple[str, HeadReference]]
) -> str | None:
    """Return how what ``header`` says of others' ledgers contradicts this site's knowledge; None if it does not.

    ``claims`` are what other sites had seen of its ledger when the round began.
    """
    for name, claim in sorted(header.seen.items()):
        if name == context.site:
            if not _is_known(context.ledger, claim):
                return (
                    f"'{header.site}' has seen entry {claim.number} of the ledger of '{name}', which is not in it: it "
                    f"{_ROLLED_BACK}, or '{header.site}' is wrong"
                )
        elif context.peer_heads.find_entry(name, claim) not in (None, claim.hash):
            return (
                f"'{header.site}' has seen another entry {claim.number} of the ledger of '{name}' than this site: two "
                f"copies of it are in use, or '{header.site}' is wrong"
            )
    for witness, seen in claims:
        # this header's site began after that round: it had signed by then whatever a member of the round had seen
        if _is_behind(header.ledger, seen):
            return (
                f"'{header.site}' shows entry {header.ledger.number} of its ledger in round {header.view.round}, and "
                f"'{witness}' had seen entry {seen.number} by round {header.view.base}: the ledger was rolled back, or "
                f"'{witness}' is wrong"
            )
    return None


def _is_behind(head: HeadReference, earlier: HeadReference) -> bool:
    """Return whether ``head``, which is later, shows less than the ``earlier`` one did."""
    if head.lineage == earlier.lineage:
        return head.number < earlier.number
    return head.recovered is None or head.recovered.number < earlier.number


def _is_known(ledger: Ledger, head: HeadReference) -> bool:
    """Return whether a head that others have seen is in this site's ledger, or was lost and taken over."""
    if ledger.read_state().contains(head.number, head.hash):
        return True
    seen = (
        each.body.countersigned.head.statement for each in ledger.read_entries() if isinstance(each.body, Recover)
    )
    recoveries = [(lost.number, lost.hash) for lost in seen]
    return is_lost_and_taken_over(head.number, head.lineage or None, recoveries)
