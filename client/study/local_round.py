"""Do the work of a round once: train, and count test patients, whatever interrupts it.

====================  ===========================================================================================
step                  what is durable when it ends
====================  ===========================================================================================
draw                  32 secret bytes that decide sampling and noise, kept until the result is stored. Work that a
                      crash interrupted is repeated, not drawn a second time: what leaves is one draw of the
                      mechanism that was paid. Where noise is correlated, sampling is by order, and noise is of this
                      draw and of what earlier rounds left (``carried_noise.py``)
reserve               the round is paid, before the first gradient; a power cut afterwards leaves it paid
train, or score       nothing: it is repeated from the same draw
round                 nothing: local noise only; the residual is stored with the result
store                 the integers, or the totals. Every attempt of the round seals these
settle                the ledger says that the round's work has ended
====================  ===========================================================================================

So a round that is paid has its draw or its result here. Where both are missing, the study's folder was lost or put
back to an older copy. The work is then refused (``lost``) and recorded as an incident, since a second draw may
leave beside the first.
"""

from typing import NamedTuple

import numpy as np

from client.study.carried_noise import keep_carried_noise, load_carried_noise
from client.study.context import StudyContext
from client.study.control_variates import compute_control_correction, keep_variate
from client.study.cut_values import report_cut_values
from client.study.noise_modes import NoiseMode, find_noise_mode, make_round_noise, round_update
from client.study.personal_layers import keep_personal_layers, load_personal_layers
from client.study.room_check import require_room
from client.study.state import Counted
from client.training.jobs import Integers, ScoreModel, ShareRound, TrainRound
from models.parameters.vector import Vector
from privacy.errors import RefusedError
from privacy.mechanisms.distributed_noise import LEAST_VARIANCE, add_noise_to_share
from privacy.protocol.messages import Train
from privacy.randomness import from_os
from privacy.refusal_codes import RefusalCode
from privacy.secure_aggregation.round_layout import compute_weight, layout_of
from privacy.step_times import measure_step
from privacy.study.cost import make_evaluation_event, make_training_event


class RoundWork(NamedTuple):
    """What a site seals in a round: integers, (P,), and totals, (2 * bins,); empty where the round has none."""

    integers: Integers
    counts: tuple[int, ...]


def do_round(context: StudyContext, request: Train) -> RoundWork:
    """Do the work that ``request`` asks for, once; asked again, return what is stored.

    Run by a site that holds the keys.

    Raises:
        RefusedError: ``noise``: the sum would not hold (:mod:`client.study.room_check`), found before the round is
            paid; ``lost``: the round is paid, and its result is missing.
        BudgetError: the study's allowance has no room for the round.
        TrainingError: training failed; asked again, it is repeated from the same draw.
    """
    layout = layout_of(context.launch, request.round, context.state.base)
    if layout.parameters:
        require_room(context, request)
    model = context.store.read_model()
    integers = _make_integers(context, request, model) if layout.parameters else np.empty(0, dtype=np.uint32)
    counts = _count_test_patients(context, model) if layout.counts else ()
    return RoundWork(integers, counts)


def _make_integers(context: StudyContext, request: Train, model: Vector) -> Integers:
    """Return the integers of a training round, (P,); trained and paid the first time they are asked for."""
    if find_noise_mode(context.terms) is NoiseMode.LOCAL:
        return _train_with_own_noise(context, request, model)
    return _train_with_shared_noise(context, request, model)


def _train_with_own_noise(context: StudyContext, request: Train, model: Vector) -> Integers:
    number, store = request.round, context.store
    stored = store.read_integers(number)
    if stored is None:
        noise = context.state.noise_multiplier
        draw = _draw_and_pay(context, number, noise)
        store.save(reference=request.reference)  # the first round's reference holds for all later rounds
        correction = compute_control_correction(context)
        with measure_step("train"):
            trained = context.training.run(
                TrainRound(
                    model,
                    number,
                    noise,
                    draw,
                    correction,
                    load_personal_layers(context),
                    load_carried_noise(context),
                )
            )
        if correction is not None:
            keep_variate(context, number, correction, trained.update)
        keep_personal_layers(context, number, trained.personal)
        keep_carried_noise(context, number, trained.carried)
        weight = compute_weight(context.terms, context.patients, request.reference)
        grid, residual = context.make_update_grid(context.state.halvings), store.read_rounding_residual(number)
        with measure_step("quantise"):
            rounded = round_update(trained.update, weight, residual, grid, from_os())
        report_cut_values(context, number, rounded.quantised)
        stored = rounded.quantised.integers
        with measure_step("store"):
            # the residual first: once integers are stored they are never made again, nor is their residual
            store.keep_rounding_residual(number, rounded.residual)
            store.keep_integers(number, stored)
    context.ledger.settle(context.launch.study, number)
    return stored


def _train_with_shared_noise(context: StudyContext, request: Train, model: Vector) -> Integers:
    """Make this site's share, with its part of the noise.

    A smaller cohort gets the same integers with more noise.
    """
    number, store, sigma = request.round, context.store, context.state.noise_multiplier
    noise = make_round_noise(
        context.terms, context.launch.parameters, sigma, store.read_clipping_norm(), request.room
    )
    wanted = noise.compute_share_variance(len(request.cohort))
    stored = store.read_integers(number)
    if stored is None:
        draw = _draw_and_pay(context, number, sigma)
        store.save(reference=request.reference)
        with measure_step("train"):
            shared = context.training.run(
                ShareRound(model, number, noise, wanted, draw, load_personal_layers(context))
            )
        keep_personal_layers(context, number, shared.personal)
        stored = shared.integers
        store.keep_integers(number, stored, wanted, request.room)
    context.ledger.settle(context.launch.study, number)
    held = store.read_variance(number)
    if held < wanted:  # sites have dropped out: each of the others has to add more of the sum's noise
        more = max(LEAST_VARIANCE, wanted - held)  # never less than a sum of discrete Gaussians needs of each
        stored = add_noise_to_share(stored, noise, more, from_os())
        store.keep_integers(number, stored, held + more, request.room)
    return stored


def _draw_and_pay(context: StudyContext, number: int, noise: float | None) -> bytes:
    """Draw the round's randomness, 32 secret bytes, and pay the round; after a crash, return the same bytes."""
    ledger, study = context.ledger, context.launch.study
    if ledger.read_state().has_reserved(study, number) and not context.store.has_draw(number):
        raise record_lost_work(context, number, f"round {number} is paid, and its result is gone")
    draw = context.store.draw_key(number)  # durable before the round is paid
    ledger.reserve(study, number, make_training_event(context.terms, noise))
    return draw


def record_lost_work(context: StudyContext, number: int, what: str) -> RefusedError:
    """Record that paid work is lost; return the refusal to do it a second time."""
    sentence = f"{what}: the study's folder was lost or put back"
    context.ledger.record_incident(context.launch.study, "study-lost", sentence, number)
    return RefusedError(
        RefusalCode.LOST,
        f"{sentence}; this site's people restore the folder from their backup, or end the study here: "
        f"consilium-site withdraw {context.launch.study}",
    )


def _count_test_patients(context: StudyContext, model: Vector) -> tuple[int, ...]:
    """Return this site's totals for ``model``, (2 * bins,).

    They are counted, noised and paid the first time they are asked for.

    Raises:
        BudgetError: the study's allowance has no room for the evaluation.
        RefusedError: ``lost``: the totals are paid, and are missing.
        TrainingError: scoring failed.
    """
    base, counted = context.state.base, context.state.counted
    if counted is None or counted.base != base:
        noise, study = context.state.evaluation_noise_multiplier, context.launch.study
        if context.ledger.read_state().has_paid_evaluation(study, base) and not context.store.has_totals_draw(base):
            raise record_lost_work(
                context, base, f"the totals of the model after round {base} are paid, and their result is gone"
            )
        draw = context.store.draw_totals_key(base)
        context.ledger.pay_evaluation(study, base, make_evaluation_event(context.terms, noise))
        counted = Counted(
            base=base, counts=context.training.run(ScoreModel(model, noise, load_personal_layers(context), draw))
        )
        context.store.keep_counted(counted)
    return counted.counts
