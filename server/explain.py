"""What a study would cost and move, before anything is launched: for ``consilium study check``."""

import math
from typing import Any

from models.catalogue import build
from models.errors import ModelError
from models.parameters import parameter_count
from privacy.accountant import CARRIED, ORDERS, BoundedContribution, SampledGaussian, epsilon, noise_multiplier
from privacy.errors import TermsError
from privacy.sealing.layout import Layout
from privacy.sealing.shape import shared_noise
from privacy.study import Placement, Terms, Unit

FLOAT32_BYTES = 4


def count_parameters(terms: Terms) -> int:
    """Parameters of the study's model.

    Raises:
        TermsError: the catalogue does not have it, or not with these options.
    """
    try:
        return parameter_count(build(terms.model.name, terms.model.options, terms.data.inputs))
    except ModelError as error:
        raise TermsError(str(error)) from None


def explain(terms: Terms) -> dict[str, Any]:
    """Parameters, bytes and prices of a study, from its terms alone.

    Bytes are those of the largest exchange, in which totals ride along with an update.

    Raises:
        TermsError: the model cannot be built.
        BudgetError: no noise reaches the epsilon asked.
    """
    parameters = count_parameters(terms)
    counts = 2 * terms.evaluation.bins if terms.evaluation.rounds else 0
    sealing = terms.sealing
    layout = Layout(parameters, counts, sealing.bits, terms.cohort.maximum, scheme=sealing.scheme)
    return {
        "study": terms.name,
        "digest": terms.digest,
        "parameters": parameters,
        "inputs": terms.data.inputs,
        "rounds": terms.training.rounds,
        "exchanges": terms.last_round,
        "bytes_up": layout.sealed_bytes,
        "bytes_down": layout.aggregate_bytes,
        "float32_bytes": FLOAT32_BYTES * parameters,
        "ciphertexts": layout.parts,
        "values_per_slot": layout.per_slot,
        "sealed": layout.cipher.masked,
        "privacy": _privacy(terms, parameters),
    }


def _privacy(terms: Terms, parameters: int) -> dict[str, Any]:
    promise, training = terms.privacy, terms.training
    if promise.epsilon is None or promise.delta is None:
        return {"private": False}
    records = terms.data.records_per_patient if promise.unit is Unit.RECORD else 1
    noise = noise_multiplier(
        promise.epsilon,
        promise.delta,
        training.sampling_rate,
        training.lots,
        rounds=training.rounds,
        records=records,
    )
    one = BoundedContribution(
        noise_multiplier=noise,
        sampling_rate=training.sampling_rate,
        records_per_patient=records,
        steps=training.lots,
    )
    shares = _shares(terms, parameters, noise) if promise.placement is Placement.DISTRIBUTED else None
    return {
        "private": True,
        "placement": promise.placement,
        "shares": shares,
        "epsilon": promise.epsilon,
        "delta": promise.delta,
        "unit": promise.unit,
        "steps": training.rounds * training.lots,
        "noise_multiplier": noise,
        "epsilon_after_first_round": epsilon([one], promise.delta, CARRIED[:16] if records > 1 else ORDERS),
        "smallest_population": round(1 / promise.delta),
        "test_patients_protected": not terms.evaluation.rounds or terms.evaluation.epsilon is not None,
    }


def _shares(terms: Terms, parameters: int, noise_multiplier: float) -> dict[str, Any]:
    """What distributed noise means for the largest cohort."""
    noise, training, cohort = (
        shared_noise(terms, parameters, noise_multiplier),
        terms.training,
        terms.cohort.maximum,
    )
    outside = SampledGaussian(
        noise_multiplier=noise.outsider_multiplier(cohort),
        sampling_rate=training.sampling_rate,
        steps=training.rounds * training.lots,
    )
    assert terms.privacy.delta is not None, "distributed noise needs an epsilon, which comes with a delta"
    return {
        "colluders": noise.colluders,
        "epsilon_outside": epsilon([outside], terms.privacy.delta),
        "inflation": noise.inflation,
        "proposed_bits": noise.proposed_bits(),
        "share_units": math.sqrt(noise.share_variance(cohort)),
        "needed_range": noise.needed_range,
        "problem": noise.problem(cohort),
    }
