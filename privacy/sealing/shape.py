"""What a round's sealed vector looks like, from the launch alone: the same at every site and at the coordinator."""

from privacy.canonical import digest
from privacy.distributed import SharedNoise
from privacy.launch import Launch
from privacy.sealing.layout import Layout
from privacy.sealing.quantise import Grid
from privacy.site_updates import joint_norm
from privacy.study import Terms, Unit, Weights


def layout_of(launch: Launch, number: int, base: int) -> Layout:
    """The layout of round ``number``, trained from the model after round ``base``.

    A training round carries every parameter; totals ride along where the model of ``base`` is evaluated.
    """
    terms = launch.terms
    return Layout(
        parameters=sealed_values(terms, launch.parameters) if terms.trains(number) else 0,
        counts=2 * terms.evaluation.bins if terms.evaluates(number, base) else 0,
        bits=terms.sealing.bits,
        maximum_sites=terms.cohort.maximum,
        scheme=terms.sealing.scheme,
    )


def sealed_values(terms: Terms, parameters: int) -> int:
    """How many values a site seals in a training round: one a shared parameter, and its answer about the norm."""
    return parameters + (terms.privacy.adaptive_clipping is not None)


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


def shared_noise(
    terms: Terms, parameters: int, noise_multiplier: float, clipping_norm: float | None = None
) -> SharedNoise:
    """The numbers of a study whose noise is distributed.

    Args:
        terms: the study.
        parameters: of the model, that are shared.
        noise_multiplier: sigma.
        clipping_norm: of the round, where it adapts; None is the terms'.

    Raises:
        ValueError: the study has no privacy.
    """
    privacy, cohort = terms.privacy, terms.cohort
    norm = privacy.clipping_norm if clipping_norm is None else clipping_norm
    if norm is None:
        raise ValueError("a study without privacy has no noise to share")
    whole_updates = privacy.unit is Unit.SITE
    return SharedNoise(
        clipping_norm=joint_norm(norm, privacy.adaptive_clipping) if whole_updates else norm,
        noise_multiplier=noise_multiplier,
        parameters=sealed_values(terms, parameters),
        bits=terms.sealing.bits,
        value_range=terms.sealing.value_range,
        colluders=cohort.colluders,
        largest_sum=float(cohort.maximum) if whole_updates else 0.0,
    )


def weight_of(terms: Terms, patients: int, reference: int) -> float:
    """How much a site with ``patients`` patients counts; ``reference`` patients count 1, and nobody more."""
    if terms.training.weights is Weights.UNIFORM:
        return 1.0
    return min(patients, reference) / reference
