"""Seal the work of a round (``client/study/local_round.py``), and later release the own mask.

Rules:

* one (round, attempt) has one cohort and one epoch: asked again, the site returns the same bytes; asked otherwise,
  it refuses;
* the own mask's seed is fresh for every attempt. It is kept, encrypted, until the next attempt is sealed or the
  round is applied, so that a restarted site can still release (``client/study/kept_secrets.py``);
* a restarted site has lost its sealed bytes: it seals in a later attempt only, never in the same one again;
* blocks may leave while later ones are sealed. Before the first of them it is durable that the attempt was begun:
  whatever stops it, in this process or with it, the attempt is never sealed a second time. The seed of an attempt that
  was not sealed whole is kept nowhere and has no header, so that nobody can take its mask off what has left;
* a coordinator that does not take the blocks does not stop the sealing: it may ask for the attempt again;
* the seed is released for one attempt of a round, ever. The headers of the whole cohort must be signed by its
  members, show the same view as this site's own, be as many as the terms demand, and contradict nothing that was seen
  of a site's ledger.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from client.study.context import StudyContext
from client.study.kept_secrets import KeptAttempt
from client.study.key_epochs import EpochLostError
from client.study.local_round import RoundWork
from client.study.noiseless_sums import list_noiseless_sum
from client.study.outgoing_update import OnSealing, OutgoingUpdate
from client.study.shared_counts import record_cohort
from client.study.state import BegunAttempt, ReleasedSeed
from client.study.witness_peers import list_unshown_heads, require_consistent_heads, require_no_refused
from privacy.canonical import compute_digest
from privacy.errors import RefusedError, WireError
from privacy.ledger.signed_head import LedgerHead
from privacy.protocol.headers import Header, View, verify_headers
from privacy.protocol.key_messages import compute_counts_digest
from privacy.protocol.messages import Release, Released, Train
from privacy.refusal_codes import RefusalCode
from privacy.secure_aggregation.masks import commit_to_seed
from privacy.secure_aggregation.round_layout import layout_of
from privacy.secure_aggregation.schemes.bfv import StudyKey
from privacy.secure_aggregation.seal import seal
from privacy.signed import Signed
from privacy.step_times import measure_step


@dataclass(frozen=True)
class SealedAttempt:
    """The one attempt whose mask this site can still release.

    ``sent`` is what the site answered; it is lost in a restart, and then None.
    """

    kept: KeptAttempt
    sent: "SentUpdate | None" = None

    def answers(self, request: Train) -> bool:
        """Return whether this attempt answers ``request``, asked again.

        Raises:
            RefusedError: the attempt is over, or was asked with another cohort or epoch.
        """
        mine = self.kept
        if mine.round != request.round or mine.attempt < request.attempt:
            return False
        if mine.attempt > request.attempt:
            raise RefusedError(RefusalCode.STALE, f"attempt {request.attempt} of round {request.round} is over")
        if (mine.epoch, mine.cohort) != (request.epoch, request.cohort):
            raise RefusedError(
                RefusalCode.REFUSED, "an attempt has one cohort and one epoch; it was asked with another"
            )
        return True


@dataclass(frozen=True)
class SentUpdate:
    """The sealed update, and the head of the ledger that was sent with it."""

    ledger: Signed[LedgerHead]
    update: OutgoingUpdate


class RoundKeys(NamedTuple):
    """The keys of an epoch that sealing needs, and the patient counts that its members have offered."""

    study_key: StudyKey
    pair_secrets: Mapping[str, bytes]
    patients: Mapping[str, int]


def require_keys(context: StudyContext, request: Train) -> RoundKeys:
    """Return the keys of the request's epoch.

    Asked for before the round is paid: without them nothing can be sealed.

    Raises:
        EpochLostError: they are lost.
        RefusedError: a site of the cohort has contradicted itself in this study.
    """
    require_no_refused(context, request.cohort)
    epochs = context.epochs
    return RoundKeys(
        epochs.find_study_key(request.epoch),
        epochs.find_pair_secrets(request.epoch),
        epochs.find_patient_counts(request.epoch, request.cohort),
    )


def require_not_begun(context: StudyContext, request: Train) -> None:
    """Refuse to seal an attempt of which blocks may have left, or one before it.

    Raises:
        EpochLostError: this one was begun here, and not sealed whole.
        RefusedError: ``stale``: a later one was.
    """
    begun = context.state.begun
    if begun is None or begun.round != request.round or begun.attempt < request.attempt:
        return
    if begun.attempt > request.attempt:
        raise RefusedError(RefusalCode.STALE, f"attempt {request.attempt} of round {request.round} is over")
    raise EpochLostError(
        f"this site began to send attempt {begun.attempt} of round {begun.round}, and could not seal all of it"
    )


def seal_attempt(
    context: StudyContext, request: Train, keys: RoundKeys, work: RoundWork, on_sealing: OnSealing
) -> SealedAttempt:
    """Mask and encrypt the round's work, and sign its header; what a release needs is kept when this returns.

    Run by a site whose model has reached ``request.base``, for an attempt that :func:`require_not_begun` lets pass.

    Args:
        context: the site in the study.
        request: what was asked.
        keys: of the request's epoch.
        work: the round's integers and totals.
        on_sealing: told of an update of several blocks before the first one is sealed.
    """
    view = View(
        study=context.launch.study,
        launch=context.launch.digest,
        epoch=request.epoch,
        round=request.round,
        attempt=request.attempt,
        cohort=compute_digest(request.cohort),
        base=context.state.base,
        model=context.digest_shared_model(request.epoch),
        key=keys.study_key.commitment,
        layout=context.digest_shape(request.round, request.room),
        reference=request.reference,
        room=request.room,
        patients=compute_counts_digest(keys.patients),
        headers=context.digest_last_headers(),
    )
    own_seed = os.urandom(32)  # fresh for every attempt: a mask is a one-time pad
    layout, mask = layout_of(context.launch, request.round, context.state.base), commit_to_seed(own_seed)
    blocks = seal(
        layout,
        work.integers,
        work.counts,
        site=context.site,
        cohort=request.cohort,
        context=view.to_bytes(),
        study_key=keys.study_key,
        pair_secrets=keys.pair_secrets,
        own_seed=own_seed,
    )
    update = OutgoingUpdate(context.store.folder, context.launch.study, mask, layout.sealed_bytes)
    if len(layout.blocks) > 1:
        # durable before the first block leaves: after a crash this attempt is not sealed again
        context.store.save(begun=BegunAttempt(round=request.round, attempt=request.attempt))
        on_sealing(update)
    with measure_step("seal"):
        update.fill(blocks)
    ledger_state, evaluated = context.ledger.sign_head(), context.find_totals(context.state.base)
    header = Header(
        site=context.site,
        view=view,
        patients=context.patients,
        blob=update.note.sha256,
        own_mask=mask,
        ledger=context.refer_to(ledger_state.statement),
        epsilon_spent=context.compute_epsilon_spent(),
        totals=None if evaluated is None else evaluated.digest,
        seen=list_unshown_heads(context, request.cohort),
    )
    kept = KeptAttempt(
        round=request.round,
        attempt=request.attempt,
        epoch=request.epoch,
        cohort=request.cohort,
        own_seed=own_seed.hex(),
        header=Signed[Header].sign(context.identity, header),
    )
    # durable before the header leaves: a restarted site can then release its mask
    context.keep_keys(request.epoch)
    context.kept.keep_attempt(kept)
    return SealedAttempt(kept, SentUpdate(ledger_state, update))


def require_sent(attempt: SealedAttempt) -> SentUpdate:
    """Return what was answered when the attempt was sealed.

    Raises:
        EpochLostError: this site was restarted since.
    """
    if attempt.sent is None:
        raise EpochLostError(
            f"this site was restarted since it sealed attempt {attempt.kept.attempt} of round {attempt.kept.round}"
        )
    return attempt.sent


def release_mask(context: StudyContext, attempt: SealedAttempt | None, request: Release) -> Released:
    """Check the cohort's headers, and return the seed of the own mask.

    Run by a site, once the whole cohort has sealed.

    Raises:
        RefusedError: ``epoch-lost`` if this site has no mask for the attempt; ``release-refused`` if the headers
            are not one consistent view of the cohort it sealed for, a ledger's head contradicts what was seen of that
            ledger, another attempt was released, or statistics of these sites would tell those of a few.
    """
    if attempt is None or (attempt.kept.round, attempt.kept.attempt) != (request.round, request.attempt):
        raise RefusedError(
            RefusalCode.EPOCH_LOST, f"this site has no mask for attempt {request.attempt} of round {request.round}"
        )
    own = attempt.kept.header.statement
    try:
        kept = context.read_kept_headers(request.round, request.attempt)
        headers = verify_headers(context.launch, attempt.kept.cohort, request.headers, kept)
    except WireError as error:
        raise RefusedError(RefusalCode.RELEASE_REFUSED, str(error)) from None
    for name, header in headers.items():
        if header.view != own.view:
            raise RefusedError(
                RefusalCode.RELEASE_REFUSED, f"{name} sealed from another view of the round than this site"
            )
    if digest_header_counts(headers) != own.view.patients:
        raise RefusedError(RefusalCode.RELEASE_REFUSED, "a header has another patient count than its site offered")
    if headers[context.site] != own:
        raise RefusedError(
            RefusalCode.RELEASE_REFUSED, "the header sent back for this site is not the one it signed"
        )
    require_consistent_heads(context, request.headers)
    released = context.state.released
    if released is not None and released.round == request.round and released.attempt != request.attempt:
        raise RefusedError(
            RefusalCode.RELEASE_REFUSED, f"this site released attempt {released.attempt} of this round before"
        )
    if context.terms.counts_only:
        record_cohort(context, attempt.kept.cohort)
    # durable before the seed leaves: after a crash no second attempt of the round is released
    context.store.save(
        *list_noiseless_sum(context, request.round, attempt.kept.cohort),
        released=ReleasedSeed(
            round=request.round, attempt=request.attempt, cohort=attempt.kept.cohort, base=own.view.base
        ),
    )
    return Released(round=request.round, attempt=request.attempt, seed=attempt.kept.own_seed)


def digest_header_counts(headers: Mapping[str, Header]) -> str:
    """Digest the patient counts that a cohort's headers show, as a view does those offered in the key epoch."""
    return compute_counts_digest({name: header.patients for name, header in headers.items()})
