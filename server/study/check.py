"""What a study would cost and move, before anything is launched: for ``consilium study check``."""

import math
from pathlib import Path
from typing import Any

from torch import nn

from models.catalogue import build
from models.errors import ModelError
from models.parameters.pretrained import load_public_weights
from models.parameters.trainable import apply_layer_choice, count_by_kind
from privacy.accounting.epsilon import epsilon_of, is_cut_short
from privacy.accounting.events import SiteUpdates, repeat_event
from privacy.errors import TermsError
from privacy.mechanisms.distributed_noise import SharedNoise
from privacy.mechanisms.value_range import COUNT_STEP
from privacy.secure_aggregation.layout import Layout
from privacy.secure_aggregation.round_layout import compute_update_range, count_sealed_values, make_shared_noise
from privacy.study import Placement, Terms
from privacy.study.cost import compute_price_of_runs, compute_study_noise, make_private_event

FLOAT32_BYTES = 4


def count_parameters(terms: Terms) -> int:
    """Parameters of the study's model that are trained and shared: what sites exchange.

    Raises:
        TermsError: the catalogue does not have the model, not with these options, or it has not these layers.
    """
    return count_by_kind(_build_model(terms)).shared


def require_weights(terms: Terms, file: Path) -> None:
    """Refuse a ``file`` that is not the one the terms begin with, or does not fit their model.

    Raises:
        TermsError: why.
    """
    if terms.model.start is None:
        raise TermsError(f"{file}: the study '{terms.name}' begins with no public weights (model.start)")
    try:
        load_public_weights(_build_model(terms), file, terms.model.start)
    except ModelError as error:
        raise TermsError(f"{file}: {error}") from None


def _build_model(terms: Terms) -> nn.Module:
    try:
        module = build(terms.model.name, terms.model.options, terms.data.inputs)
        apply_layer_choice(module, terms.model)
    except ModelError as error:
        raise TermsError(str(error)) from None
    return module


def explain(
    terms: Terms, runs: int | None = None, patients: int | None = None, sites: int | None = None
) -> dict[str, Any]:
    """Parameters, bytes, prices and problems of a study, from public numbers; also of so many ``runs`` of it together.

    Bytes are those of the largest exchange, in which totals ride along with an update. A problem is told only where it
    is certain.

    Args:
        terms: the study.
        runs: also say what so many cost together.
        patients: that all sites have together, or at least; None where nothing is known.
        sites: that are invited; None: as many as the terms allow.

    Raises:
        TermsError: the model cannot be built.
        BudgetError: no noise reaches the epsilon asked.
    """
    layers = count_by_kind(_build_model(terms))
    parameters = layers.shared
    cells = 2 * terms.evaluation.bins if terms.evaluation.rounds else 0
    aggregation = terms.secure_aggregation
    values = count_sealed_values(terms, parameters)
    layout = Layout(values, cells, aggregation.bits, terms.cohort.maximum, scheme=aggregation.scheme)
    privacy = _explain_privacy(terms, parameters, runs, patients, terms.cohort.maximum if sites is None else sites)
    shares = privacy.get("shares")
    return {
        "study": terms.name,
        "digest": terms.digest,
        "parameters": parameters,
        "personal": layers.personal,
        "frozen": layers.frozen,
        "start": terms.model.start,
        "inputs": terms.data.inputs,
        "rounds": terms.training.rounds,
        "exchanges": terms.last_round,
        "bytes_up": layout.sealed_bytes,
        "bytes_down": layout.aggregate_bytes,
        "float32_bytes": FLOAT32_BYTES * parameters,
        "ciphertexts": layout.parts,
        "values_per_slot": layout.per_slot,
        "sealed": layout.cipher.masked,
        "value_range": "auto" if aggregation.value_range is None else aggregation.value_range,
        "first_range": None if shares else compute_update_range(terms, privacy.get("noise_multiplier")),
        "privacy": privacy,
        "problems": [shares["problem"]] if shares and shares["problem"] else [],
    }


def _explain_privacy(
    terms: Terms, parameters: int, runs: int | None, patients: int | None, sites: int
) -> dict[str, Any]:
    promise, training = terms.privacy, terms.training
    if promise.epsilon is None or promise.delta is None:
        return {"private": False}
    noise = compute_study_noise(terms)
    one = make_private_event(terms, noise)
    distributed = promise.placement is Placement.DISTRIBUTED
    return {
        "private": True,
        "placement": promise.placement,
        "shares": _explain_shares(terms, promise.delta, parameters, noise, patients, sites)
        if distributed
        else None,
        "epsilon": promise.epsilon,
        "delta": promise.delta,
        "unit": promise.unit,
        "steps": training.rounds * one.steps,
        "noise_multiplier": noise,
        "orders_end_too_early": is_cut_short([repeat_event(one, training.rounds)], promise.delta),
        "epsilon_after_first_round": epsilon_of([one], promise.delta),
        "smallest_population": round(1 / promise.delta),
        "runs": None if runs is None else compute_price_of_runs(terms, runs)._asdict(),
        "test_patients_protected": not terms.evaluation.rounds or terms.evaluation.epsilon is not None,
    }


def _explain_shares(
    terms: Terms, delta: float, parameters: int, noise_multiplier: float, patients: int | None, cohort: int
) -> dict[str, Any]:
    """What distributed noise means for a cohort of so many sites, which have so many patients (None: unknown)."""
    room = patients or 0 if terms.sums_patients else 0
    noise = make_shared_noise(terms, parameters, noise_multiplier, room=room)
    outside = make_private_event(terms, noise.compute_outsider_multiplier(cohort))
    whole = make_private_event(terms, noise_multiplier)
    held = None
    if terms.sums_patients and terms.secure_aggregation.value_range is not None:
        held = math.floor(max(0.0, noise.sum_held) / terms.training.sampling_rate)
    return {
        "colluders": noise.colluders,
        "epsilon_outside": epsilon_of([repeat_event(outside, terms.training.rounds)], delta),
        "inflation": noise.inflation,
        "proposed_bits": noise.propose_bits(cohort),
        "value_range": noise.value_range,
        "patients": patients,
        "patients_held": held,
        "share_units": math.sqrt(noise.compute_share_variance(cohort)),
        "needed_range": noise.needed_range,
        "problem": noise.describe_problem(cohort) or _describe_too_small_range(terms, noise, held),
        "sites": _explain_sites(terms, whole, noise, parameters) if isinstance(whole, SiteUpdates) else None,
    }


def _describe_too_small_range(terms: Terms, noise: SharedNoise, held: int | None) -> str | None:
    """A range that holds fewer patients than the smallest cohort of the smallest sites has."""
    fewest = terms.cohort.minimum * COUNT_STEP
    if held is None or held >= fewest:
        return None
    return (
        f"secure_aggregation.value_range is {noise.value_range:g} clipping norms, which holds the noise and lots of "
        f"{held}  patients of all sites together; {terms.cohort.minimum} sites have at least {fewest}: write "
        "secure_aggregation.value_range: auto"
    )


def _explain_sites(terms: Terms, one: SiteUpdates, noise: SharedNoise, parameters: int) -> dict[str, Any]:
    """What it means that whole sites are the unit, for the largest cohort.

    ``noise_of_mean`` is a standard deviation, in one coordinate of the mean update, over the clipping norm;
    ``noise_to_signal`` is the length of the noise over the longest way that updates can lead, in one round and in all.
    """
    cohort, rounds, privacy = terms.cohort, terms.training.rounds, terms.privacy
    assert privacy.delta is not None, "distributed noise needs an epsilon, which comes with a delta"
    assert privacy.clipping_norm is not None, "and with a norm"
    deviation = math.sqrt(cohort.maximum * noise.compute_share_variance(cohort.maximum)) * noise.unit
    of_mean = deviation / (cohort.participation * cohort.maximum * privacy.clipping_norm)
    return {
        "participation": cohort.participation,
        "epsilon_of_site": epsilon_of([repeat_event(one.whole_site, rounds)], privacy.delta),
        "noise_of_mean": of_mean,
        "noise_to_signal_of_round": of_mean * math.sqrt(parameters),
        "noise_to_signal": of_mean * math.sqrt(parameters / rounds),
    }
