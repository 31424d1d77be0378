"""A site opens a committed aggregate and applies it: once per round, in order, and only if everything holds.

Checked, in this order: the headers are the cohort's, signed, of one view; the key they commit to is held (of an earlier
epoch it is believed from here on); the view is of this study, this round and the model this site holds; the ciphertext
opens; its count, checks and ranges hold (``privacy/secure_aggregation/opening.py``).
A ciphertext that fails ends its key epoch here, after a restart too: a second refusal would tell who tampers more
about the key.
The mean update is divided by the cohort's weight after opening, so that a smaller cohort seals the same integers.
The shared model is advanced in float64 by plain element-wise steps: the same bits at every site.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from client.study.context import StudyContext
from client.study.control_variates import compute_local_work, forget_variates
from client.study.cut_values import mark_edge
from client.study.personal_layers import forget_personal_layers
from client.study.seal_round import digest_header_counts
from client.study.state import AppliedRound
from models.federated.early_stopping import is_best
from models.federated.server_optimiser import make_optimiser
from models.parameters.vector import Vector
from privacy.canonical import compute_digest
from privacy.errors import RefusedError, SealingError, WireError
from privacy.mechanisms.distributed_noise import count_values_at_edge, decode_opened_sum
from privacy.mechanisms.site_clipping import compute_mean_update, compute_next_norm
from privacy.protocol.headers import Committed, Evaluated, Header, View, verify_headers
from privacy.secure_aggregation.opening import Opened, open_aggregate
from privacy.secure_aggregation.quantise import compute_next_halvings, count_means_at_edge, dequantise
from privacy.secure_aggregation.round_layout import compute_weight, layout_of, make_shared_noise
from privacy.study import Choice, Placement, Unit


def apply_aggregate(seat: StudyContext, committed: Committed, blob: bytes) -> None:
    """Run by a site, in the cohort or not. Open ``blob``, advance the model, remember the totals; durably.

    A round that is applied already has no effect.

    Raises:
        RefusedError: ``behind`` if an earlier round is missing; ``opening-failed`` if anything does not hold, which
            is also written in the ledger.
        EpochLostError: the key of the round's epoch is not held.
    """
    if committed.round <= seat.state.base:
        return
    if committed.round > seat.terms.last_round:
        raise RefusedError(
            "refused", f"round {committed.round} is none of this study, whose last is {seat.terms.last_round}"
        )
    seat.store.read_model()  # what the views are compared with is what is on disk
    try:
        headers = verify_headers(seat.launch, committed.cohort, committed.headers)
        view = _require_agreed_view(seat, committed, headers)
    except WireError as error:
        raise _record_refusal(seat, committed, error) from None
    seat.epochs.confirm_study_key(view.epoch, view.key)
    study_key = seat.epochs.find_study_key(committed.epoch)
    try:
        _require_own_view(seat, committed, view)
        opened = open_aggregate(
            layout_of(seat.launch, committed.round, seat.state.base),
            blob,
            cohort=committed.cohort,
            context=view.to_bytes(),
            study_key=study_key,
        )
    except (SealingError, WireError) as error:
        if isinstance(error, SealingError):
            seat.store.save(ended_epochs=seat.epochs.end_epoch(committed.epoch))
            seat.keep_keys()
        raise _record_refusal(seat, committed, error) from None
    _advance(seat, committed, headers, opened)


def _record_refusal(seat: StudyContext, committed: Committed, error: SealingError | WireError) -> RefusedError:
    """Note in the ledger why a round does not open; what the coordinator is told of it."""
    sentence, why = f"round {committed.round} does not open: {error}", str(error)
    if isinstance(error, SealingError):
        # the error's own words are a function of what was decrypted
        why = "its aggregate does not hold; this site's ledger says why"
    seat.ledger.record_incident(seat.launch.study, "opening-failed", sentence, committed.round)
    return RefusedError("opening-failed", f"round {committed.round} does not open: {why}")


def _require_agreed_view(seat: StudyContext, committed: Committed, headers: dict[str, Header]) -> View:
    """The one view of the cohort's headers: of this study, the round's key epoch, cohort and patient counts."""
    view = next(iter(headers.values())).view
    if any(header.view != view for header in headers.values()):
        raise WireError("the cohort's headers show different views of the round")
    _require_equal(
        view,
        study=seat.launch.study,
        launch=seat.launch.digest,
        epoch=committed.epoch,
        cohort=compute_digest(committed.cohort),
        patients=digest_header_counts(headers),
    )
    return view


def _require_own_view(seat: StudyContext, committed: Committed, view: View) -> None:
    if view.base > seat.state.base:
        raise RefusedError(
            "behind", f"round {committed.round} builds on round {view.base}, which is not applied here"
        )
    _require_equal(
        view,
        round=committed.round,
        attempt=committed.attempt,
        base=seat.state.base,
        model=seat.digest_shared_model(committed.epoch),
        key=seat.epochs.find_study_key(committed.epoch).commitment,
        layout=seat.digest_shape(committed.round, view.room),
    )


def _require_equal(view: View, **expected: str | int) -> None:
    for name, value in expected.items():
        if getattr(view, name) != value:
            raise WireError(f"the cohort sealed from another {name} than this site holds")


def _advance(seat: StudyContext, committed: Committed, headers: dict[str, Header], opened: Opened) -> None:
    view, halvings, shared = headers[committed.cohort[0]].view, seat.state.halvings, seat.store.read_shared()
    patients = {name: headers[name].patients for name in committed.cohort}
    norm, edges = seat.store.read_clipping_norm(), seat.state.edges
    if len(opened.values):
        if seat.terms.privacy.unit is Unit.SITE:
            mean, norm, found = _compute_mean_of_sites(seat, opened.values, len(committed.cohort))
        elif seat.terms.privacy.placement is Placement.DISTRIBUTED:
            mean, found = _compute_global_step(seat, opened.values, patients, view)
        else:
            grid, sites = seat.make_update_grid(halvings), len(committed.cohort)
            total, found = dequantise(opened.values, sites, grid), count_means_at_edge(opened.values, sites, grid)
            halvings = compute_next_halvings(opened.values, sites, grid, halvings)
            weight = sum(compute_weight(seat.terms, patients[name], view.reference) for name in sorted(patients))
            mean = total / weight
        edges = mark_edge(seat, committed.round, found, len(opened.values))
        work = compute_local_work(seat, committed.round, patients, view.reference)
        shared = make_optimiser(seat.terms).advance(shared, mean, work)
    evaluations, best = seat.state.evaluations, seat.state.best
    if opened.counts:
        totals = Evaluated(round=view.base, opened_in=committed.round, counts=opened.counts)
        evaluations = (*evaluations, totals)
        if seat.terms.release.model is Choice.BEST and is_best([each.counts for each in evaluations]):
            best = seat.store.keep_as_best()  # the totals are of the model that is left now
    applied = AppliedRound(
        round=committed.round,
        epoch=committed.epoch,
        sites=committed.cohort,
        patients=tuple(patients.values()),
    )
    seat.store.advance(
        shared,
        committed.round,
        norm,
        reference=view.reference,
        halvings=halvings,
        edges=edges,
        evaluations=evaluations,
        best=best,
        applied=(*seat.state.applied, applied),
    )
    forget_variates(seat)
    forget_personal_layers(seat)
    seat.forget_unneeded_secrets()


def _compute_global_step(
    seat: StudyContext, opened: NDArray[np.int64], patients: Mapping[str, int], view: View
) -> tuple[Vector, int]:
    """One step of gradient descent on the cohort's noised sum, divided by its expected lot, (P,); values at the edge.

    Args:
        seat: this site's.
        opened: (d,) the sum as it was opened.
        patients: public counts of the cohort.
        view: of the round.
    """
    sigma, training = seat.state.noise_multiplier, seat.terms.training
    assert sigma is not None, "distributed noise needs an epsilon, which the terms check"
    noise = make_shared_noise(seat.terms, seat.launch.parameters, sigma, room=view.room)
    lot = training.sampling_rate * sum(patients.values())
    step = -training.compute_learning_rate(view.round) * decode_opened_sum(opened, noise) / lot
    return step, count_values_at_edge(opened, noise, len(patients))


def _compute_mean_of_sites(seat: StudyContext, opened: NDArray[np.int64], sites: int) -> tuple[Vector, float, int]:
    """The mean update of whole sites, (P,), the clipping norm of the next round, and values at the edge.

    It is divided by how many sites of the cohort were expected to count: how many did is nobody's to know.
    """
    privacy, norm, sigma = seat.terms.privacy, seat.store.read_clipping_norm(), seat.state.noise_multiplier
    assert sigma is not None, "distributed noise needs an epsilon, which the terms check"
    assert norm is not None, "and that needs a norm"
    noise = make_shared_noise(seat.terms, seat.launch.parameters, sigma, norm)
    total = decode_opened_sum(opened, noise)
    expected = seat.terms.cohort.participation * sites
    mean = compute_mean_update(total, privacy.adaptive_clipping, expected)
    return mean, compute_next_norm(total, norm, privacy, expected), count_values_at_edge(opened, noise, sites)
