"""What a round's sealed vector looks like, from the launch alone: the same at every site and at the coordinator."""

from privacy.canonical import digest
from privacy.distributed import SharedNoise
from privacy.launch import Launch
from privacy.sealing.layout import Layout
from privacy.sealing.quantise import Grid
from privacy.study import Terms, Weights


def layout_of(launch: Launch, number: int, base: int) -> Layout:
    """The layout of round ``number``, trained from the model after round ``base``.

    A training round carries every parameter; totals ride along where the model of ``base`` is evaluated.
    """
    terms = launch.terms
    return Layout(
        parameters=launch.parameters if terms.trains(number) else 0,
        counts=2 * terms.evaluation.bins if terms.evaluates(number, base) else 0,
        bits=terms.sealing.bits,
        maximum_sites=terms.cohort.maximum,
        scheme=terms.sealing.scheme,
    )


def grid_of(terms: Terms, halvings: int) -> Grid:
    """The quantiser's grid, the terms' range having been halved so often."""
    return Grid(terms.sealing.value_range, terms.sealing.bits).halved(halvings)


def shape_digest(launch: Launch, number: int, base: int, halvings: int) -> str:
    """One digest over layout, grid and weights: what the sites of a cohort must agree on before they seal."""
    terms = launch.terms
    return digest(
        {
            "layout": layout_of(launch, number, base).digest,
            "value_range": terms.sealing.value_range,
            "halvings": halvings,
            "weights": terms.training.weights,
        }
    )


def shared_noise(terms: Terms, parameters: int, noise_multiplier: float) -> SharedNoise:
    """The numbers of a study whose noise is distributed.

    Raises:
        ValueError: the study has no privacy.
    """
    if terms.privacy.clipping_norm is None:
        raise ValueError("a study without privacy has no noise to share")
    return SharedNoise(
        clipping_norm=terms.privacy.clipping_norm,
        noise_multiplier=noise_multiplier,
        parameters=parameters,
        bits=terms.sealing.bits,
        value_range=terms.sealing.value_range,
        colluders=terms.cohort.colluders,
    )


def weight_of(terms: Terms, patients: int, reference: int) -> float:
    """How much a site with ``patients`` patients counts; ``reference`` patients count 1, and nobody more."""
    if terms.training.weights is Weights.UNIFORM:
        return 1.0
    return min(patients, reference) / reference
