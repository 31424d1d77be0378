"""Open a committed aggregate and apply it: once per round, in order, and only if every check holds.

Checks, in this order:

1. the headers are the cohort's, signed, and of one view;
2. the key they commit to is held; a key of an earlier epoch is accepted from here on;
3. the heads of the sites' ledgers contradict nothing that was seen of them (``client/study/witness_peers.py``);
4. the view is of this study, this round, the model that this site holds and the last round's headers;
5. the ciphertext opens;
6. its count, checks and ranges hold (``privacy/secure_aggregation/opening.py``).

Rules:

* a ciphertext that fails ends its key epoch here, also after a restart: a second refusal would reveal more about
  the key to an attacker who alters ciphertexts;
* what the sum means depends on the study's noise (``client/study/noise_modes.py``). It is divided after opening, so
  that a smaller cohort seals the same integers;
* the shared model is advanced in float64 by plain element-wise steps: the same bits at every site.
"""

import numpy as np

from client.study.carried_noise import forget_carried_noise
from client.study.context import StudyContext
from client.study.control_variates import compute_local_work, forget_variates
from client.study.cut_values import mark_edge
from client.study.history import AppliedRound
from client.study.noise_modes import NoiseMode, PublicRound, find_noise_mode, read_mean_update
from client.study.opening_ahead import OpeningAhead
from client.study.personal_layers import forget_personal_layers
from client.study.seal_round import digest_header_counts
from client.study.witness_peers import require_consistent_heads
from client.training.jobs import ListTrained
from models.federated.server_optimiser import LocalWork, make_optimiser
from models.parameters.vector import Vector
from privacy.canonical import compute_digest
from privacy.errors import RefusedError, SealingError, WireError
from privacy.protocol.envelope import Blob
from privacy.protocol.headers import Committed, Evaluated, Header, View, verify_headers
from privacy.refusal_codes import RefusalCode
from privacy.secure_aggregation.layout import Layout
from privacy.secure_aggregation.opening import OpenedSum, open_aggregate
from privacy.secure_aggregation.round_layout import layout_of
from privacy.secure_aggregation.schemes.bfv import StudyKey
from privacy.step_times import measure_step
from privacy.study import Choice


def apply_aggregate(
    context: StudyContext, committed: Committed, blob: Blob, ahead: OpeningAhead | None = None
) -> None:
    """Open ``blob``, advance the model, and store the totals; durable when this returns.

    Run by a site, in the cohort or not. A round that is applied already has no effect.

    Args:
        context: the site in the study.
        committed: the round.
        blob: its aggregate.
        ahead: what began to decrypt ``blob`` while it was fetched.

    Raises:
        RefusedError: ``behind`` if an earlier round is missing; ``opening-failed`` if anything does not hold, which
            is also written in the ledger; as :func:`client.study.witness_peers.require_consistent_heads`.
        EpochLostError: the key of the round's epoch is not held.
    """
    if committed.round <= context.state.base:
        return
    if committed.round > context.terms.last_round:
        raise RefusedError(
            RefusalCode.REFUSED,
            f"round {committed.round} is none of this study, whose last is {context.terms.last_round}",
        )
    context.store.read_model()  # raises if the model that the views are compared with is damaged
    try:
        kept = context.read_kept_headers(committed.round, committed.attempt)
        headers = verify_headers(context.launch, committed.cohort, committed.headers, kept)
        view = _require_agreed_view(context, committed, headers)
    except WireError as error:
        raise _record_refusal(context, committed, error) from None
    context.epochs.confirm_study_key(view.epoch, view.key)
    study_key = context.epochs.find_study_key(committed.epoch)
    require_consistent_heads(context, committed.headers)
    try:
        _require_own_view(context, committed, view)
        with measure_step("open"):
            layout = layout_of(context.launch, committed.round, context.state.base)
            opened = _open(layout, committed.cohort, view.to_bytes(), study_key, blob, ahead)
    except (SealingError, WireError) as error:
        if isinstance(error, SealingError):
            context.store.save(ended_epochs=context.epochs.end_epoch(committed.epoch))
            context.keep_keys()
        raise _record_refusal(context, committed, error) from None
    # before the state: the next view holds the digest of these headers
    context.peer_heads.record_committed(context.launch.study, committed.round, committed.attempt)
    _advance(context, committed, headers, opened)


def _open(
    layout: Layout,
    cohort: tuple[str, ...],
    context: bytes,
    study_key: StudyKey,
    blob: Blob,
    ahead: OpeningAhead | None,
) -> OpenedSum:
    """Open ``blob``, or verify what was decrypted of it while it was fetched.

    Raises:
        SealingError, TrainingError: as :func:`privacy.secure_aggregation.opening.open_aggregate`.
    """
    opening = None if ahead is None else ahead.take(layout, cohort, context, study_key)
    if opening is not None:
        return opening.accept()
    return open_aggregate(layout, blob, cohort=cohort, context=context, study_key=study_key)


def _record_refusal(context: StudyContext, committed: Committed, error: SealingError | WireError) -> RefusedError:
    """Record in the ledger why a round does not open; return what the coordinator may read of it."""
    sentence, why = f"round {committed.round} does not open: {error}", str(error)
    if isinstance(error, SealingError):
        # the error's own sentence depends on what was decrypted, so it must not leave
        why = "its aggregate does not hold; this site's ledger says why"
    context.ledger.record_incident(context.launch.study, "opening-failed", sentence, committed.round)
    return RefusedError(RefusalCode.OPENING_FAILED, f"round {committed.round} does not open: {why}")


def _require_agreed_view(context: StudyContext, committed: Committed, headers: dict[str, Header]) -> View:
    """Return the one view of the cohort's headers, checked against the study and the round.

    It must name this study, and the round's key epoch, cohort and patient counts.
    """
    view = next(iter(headers.values())).view
    if any(header.view != view for header in headers.values()):
        raise WireError("the cohort's headers show different views of the round")
    _require_equal(
        view,
        study=context.launch.study,
        launch=context.launch.digest,
        epoch=committed.epoch,
        cohort=compute_digest(committed.cohort),
        patients=digest_header_counts(headers),
    )
    return view


def _require_own_view(context: StudyContext, committed: Committed, view: View) -> None:
    if view.base > context.state.base:
        raise RefusedError(
            RefusalCode.BEHIND, f"round {committed.round} builds on round {view.base}, which is not applied here"
        )
    _require_equal(
        view,
        round=committed.round,
        attempt=committed.attempt,
        base=context.state.base,
        model=context.digest_shared_model(committed.epoch),
        key=context.epochs.find_study_key(committed.epoch).commitment,
        layout=context.digest_shape(committed.round, view.room),
        headers=context.digest_last_headers(),
    )


def _require_equal(view: View, **expected: str | int) -> None:
    for name, value in expected.items():
        if getattr(view, name) != value:
            raise WireError(f"the cohort sealed from another {name} than this site holds")


@measure_step("apply")
def _advance(context: StudyContext, committed: Committed, headers: dict[str, Header], opened: OpenedSum) -> None:
    view, terms, shared = headers[committed.cohort[0]].view, context.terms, context.store.read_shared()
    facts = PublicRound(
        number=committed.round,
        patients={name: headers[name].patients for name in committed.cohort},
        reference=view.reference,
        noise_multiplier=context.state.noise_multiplier,
        halvings=context.state.halvings,
        room=view.room,
        clipping_norm=context.store.read_clipping_norm(),
    )
    halvings, norm, edge = facts.halvings, facts.clipping_norm, None
    if len(opened.values):
        mean = read_mean_update(terms, context.launch.parameters, opened.values, facts)
        halvings, norm = mean.halvings, mean.clipping_norm
        edge = mark_edge(context, committed.round, mean.at_edge, len(opened.values))
        work = compute_local_work(context, committed.round, facts.patients, view.reference)
        shared = _advance_shared_model(context, committed.round, shared, mean.update, work)
        if terms.training.find_stage(committed.round) is not terms.training.find_stage(committed.round + 1):
            halvings = 0  # the next stage's updates may be longer
    totals, best = None, context.state.best
    if opened.counts:
        totals = Evaluated(round=view.base, opened_in=committed.round, counts=opened.counts)
        ranked = context.history.rank(terms)
        if terms.release.model is Choice.BEST and ranked.would_be_best(totals.counts):
            best = context.store.keep_as_best()  # the totals are of the model before this round
    applied = AppliedRound(
        round=committed.round,
        epoch=committed.epoch,
        sites=committed.cohort,
        patients=tuple(facts.patients.values()),
        evaluated=totals,
        edge=edge,
    )
    context.store.advance(
        shared,
        committed.round,
        norm,
        applied,
        reference=view.reference,
        halvings=halvings,
        best=best,
    )
    # only now: until the new state was durable, a crash could still need them
    forget_variates(context)
    forget_personal_layers(context)
    forget_carried_noise(context)
    context.forget_unneeded_secrets()


def _advance_shared_model(
    context: StudyContext, number: int, shared: Vector, update: Vector, work: LocalWork | None
) -> Vector:
    """Advance the shared state by a mean update; what the round's stage does not train keeps its values."""
    optimiser, training = make_optimiser(context.terms), context.terms.training
    if training.weight_decay and find_noise_mode(context.terms) is NoiseMode.GLOBAL_STEP:
        shrinkage = np.float64(training.compute_learning_rate(number) * training.weight_decay)
        update = update - optimiser.model_of(shared) * shrinkage  # sites made no steps of their own
    return optimiser.advance(shared, update, work, context.training.run(ListTrained(number)))
