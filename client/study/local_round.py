"""The work of a round, done once: train, and count test patients, whatever happens around it.

Draw, reserve, act, store, settle: each is durable before the next.

* ``draw``: 32 secret bytes decide sampling and noise. They are kept until the result is stored, so that work a
  crash interrupted is repeated, not drawn a second time: what leaves is one draw of the mechanism that was paid.
* ``reserve``: the round is paid before the first gradient; a power cut afterwards leaves it paid.
* ``store``: the integers. Every attempt of the round seals these.
* ``settle``: the ledger says that the round's work has ended.

So a round that is paid has its draw or its result here. Where both are gone, the study's folder was lost or put back:
the work is refused (``lost``) and written down as an incident, since a second draw may leave beside the first.
"""

import numpy as np
from numpy.typing import NDArray

from client.study.context import StudyContext
from client.study.control_variates import compute_control_correction, keep_variate
from client.study.cut_values import report_cut_values
from client.study.personal_layers import keep_personal_layers, load_personal_layers
from client.study.state import Counted
from client.training.jobs import ScoreModel, ShareRound, TrainRound
from models.parameters.vector import Vector
from privacy.errors import RefusedError
from privacy.mechanisms.distributed_noise import LEAST_VARIANCE, add_noise_to_share
from privacy.randomness import from_os
from privacy.secure_aggregation.quantise import quantise
from privacy.secure_aggregation.round_layout import compute_weight, make_shared_noise
from privacy.study import Placement
from privacy.study.cost import make_evaluation_event, make_training_event


def make_local_integers(
    seat: StudyContext, number: int, model: Vector, reference: int, sites: int, room: int = 0
) -> NDArray[np.uint32]:
    """Run by a site. The integers it seals in round ``number`` in a cohort of so many ``sites``, (P,).

    Trained and paid the first time it is asked; with distributed noise a smaller cohort gets the same integers
    with more noise.

    Raises:
        BudgetError: the study's allowance has no room for the round.
        RefusedError: ``lost``: the round is paid, and what came of it is gone.
        TrainingError: training failed; asked again, it is repeated from the same draw.
    """
    if seat.terms.privacy.placement is Placement.DISTRIBUTED:
        return _make_shared_integers(seat, number, model, reference, sites, room)
    stored = seat.store.read_integers(number)
    if stored is None:
        noise = seat.state.noise_multiplier
        draw = _draw_and_pay(seat, number, noise)
        seat.store.save(reference=reference)  # what weighs the integers weighs every later round's
        pull = compute_control_correction(seat)
        update, personal = seat.training.run(
            TrainRound(model, number, noise, draw, pull, load_personal_layers(seat))
        )
        if pull is not None:
            keep_variate(seat, number, pull, update)
        keep_personal_layers(seat, number, personal)
        left = compute_weight(seat.terms, seat.patients, reference) * update + seat.store.read_rounding_residual(
            number
        )
        quantised = quantise(left, seat.make_update_grid(seat.state.halvings), from_os())
        report_cut_values(seat, number, quantised)
        stored = quantised.integers
        seat.store.keep_rounding_residual(number, left)
        seat.store.keep_integers(number, stored)
    seat.ledger.settle(seat.launch.study, number)
    return stored


def _make_shared_integers(
    seat: StudyContext, number: int, model: Vector, reference: int, sites: int, room: int
) -> NDArray[np.uint32]:
    sigma = seat.state.noise_multiplier
    assert sigma is not None, "distributed noise needs an epsilon, which the terms check"
    noise = make_shared_noise(seat.terms, seat.launch.parameters, sigma, seat.store.read_clipping_norm(), room)
    wanted = noise.compute_share_variance(sites)
    stored = seat.store.read_integers(number)
    if stored is None:
        draw = _draw_and_pay(seat, number, sigma)
        seat.store.save(reference=reference)
        stored, personal = seat.training.run(
            ShareRound(model, number, noise, wanted, draw, load_personal_layers(seat))
        )
        keep_personal_layers(seat, number, personal)
        seat.store.keep_integers(number, stored, wanted, room)
    seat.ledger.settle(seat.launch.study, number)
    held = seat.store.read_variance(number)
    if held < wanted:
        more = max(LEAST_VARIANCE, wanted - held)
        stored = add_noise_to_share(stored, noise, more, from_os())
        seat.store.keep_integers(number, stored, held + more, room)
    return stored


def _draw_and_pay(seat: StudyContext, number: int, noise: float | None) -> bytes:
    """Draw the round's randomness, pay the round; the 32 secret bytes. After a crash, the same ones."""
    ledger, study = seat.ledger, seat.launch.study
    if ledger.has_reserved(study, number) and not seat.store.has_draw(number):
        raise _record_lost_work(seat, number, f"round {number} is paid, and its result is gone")
    draw = seat.store.draw_key(number)
    ledger.reserve(study, number, make_training_event(seat.terms, noise))
    return draw


def _record_lost_work(seat: StudyContext, number: int, what: str) -> RefusedError:
    """Write down that paid work is gone; return the refusal to do it a second time."""
    sentence = f"{what}: the study's folder was lost or put back"
    seat.ledger.record_incident(seat.launch.study, "study-lost", sentence, number)
    return RefusedError(
        "lost",
        f"{sentence}; this site's people restore the folder from their backup, or end the study here: "
        f"consilium-site withdraw {seat.launch.study}",
    )


def compute_evaluation_counts(seat: StudyContext, model: Vector) -> tuple[int, ...]:
    """Run by a site. Its totals for ``model``, (2 * bins,); counted, noised and paid the first time it is asked.

    Raises:
        BudgetError: the study's allowance has no room for the evaluation.
        RefusedError: ``lost``: the totals are paid, and are gone.
        TrainingError: scoring failed.
    """
    base, counted = seat.state.base, seat.state.counted
    if counted is None or counted.base != base:
        noise, study = seat.state.evaluation_noise_multiplier, seat.launch.study
        if seat.ledger.has_paid_evaluation(study, base) and not seat.store.has_totals_draw(base):
            raise _record_lost_work(
                seat, base, f"the totals of the model after round {base} are paid, and their result is gone"
            )
        draw = seat.store.draw_totals_key(base)
        seat.ledger.pay_evaluation(study, base, make_evaluation_event(noise))
        counted = Counted(
            base=base, counts=seat.training.run(ScoreModel(model, noise, load_personal_layers(seat), draw))
        )
        seat.store.keep_counted(counted)
    return counted.counts
