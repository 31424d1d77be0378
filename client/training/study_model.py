"""Build the model of a study from its terms, with public weights and trained layers."""

import copy
from pathlib import Path

from torch import nn

from models.errors import ModelError
from models.fit import build_study_module, find_layers_of_round
from models.parameters.flatten import set_personal_parameters
from models.parameters.initial import draw_initial_personal_parameters, draw_initial_shared_parameters
from models.parameters.pretrained import load_public_weights
from models.parameters.trainable import list_shared_ranges
from models.parameters.vector import Vector
from privacy.errors import RefusedError, TermsError
from privacy.refusal_codes import RefusalCode
from privacy.study import Terms


def build_model(terms: Terms) -> nn.Module:
    """Build the study's model with arbitrary parameters, its layers frozen, adapted and set apart as the terms say.

    Raises:
        TermsError: the catalogue has no such model, it does not take these options, does not fit data and task, or has
            no such layers.
    """
    try:
        return build_study_module(terms)
    except ModelError as cause:
        raise TermsError(str(cause)) from None


def begin_model(terms: Terms, weights: Path | None = None) -> tuple[nn.Module, frozenset[str]]:
    """Build the study's model with its public weights and the first values of personal layers.

    Args:
        terms: the study.
        weights: the file that the terms name (model.start).

    Returns:
        The model, and the names of the parameters that the weights gave.

    Raises:
        TermsError: as :func:`build_model`.
        RefusedError: ``weights``: the file is not here, is another one, or does not fit the model.
    """
    module, given, start = build_model(terms), frozenset[str](), terms.model.start
    if start is not None:
        try:
            if weights is None:
                raise ModelError("not here")
            given = load_public_weights(module, weights, start, terms.model.weight_names)
        except ModelError as cause:
            raise RefusedError(
                RefusalCode.WEIGHTS,
                f"the public weights {start[:16]} cannot be used: {cause}; put the file that the terms name here: "
                "consilium-site weights add FILE",
            ) from None
    set_personal_parameters(module, draw_initial_personal_parameters(module, terms.digest, given))
    return module, given


def make_first_model(terms: Terms, weights: Path | None = None) -> Vector:
    """Return the shared model before the first round, the same bits at every site; (P,).

    Raises:
        TermsError, RefusedError: as :func:`begin_model`.
    """
    module, given = begin_model(terms, weights)
    return draw_initial_shared_parameters(module, terms.digest, given)


def make_model_to_train(terms: Terms, model: nn.Module | None) -> nn.Module:
    """Return a copy of ``model``, the study's as it begins; build one if it is None.

    One that is built has no public weights.

    Raises:
        TermsError, RefusedError: as :func:`begin_model`.
    """
    return begin_model(terms)[0] if model is None else copy.deepcopy(model)


def list_trained_ranges(module: nn.Module, terms: Terms, number: int) -> tuple[tuple[int, int], ...] | None:
    """List where the parameters that round ``number`` trains are in the shared vector; None: everywhere.

    Raises:
        TermsError: the model lacks the objective or the layers of the round's stage.
    """
    layers = find_layers(module, terms, number)
    return None if layers is None else list_shared_ranges(module, layers)


def find_layers(module: nn.Module, terms: Terms, number: int) -> frozenset[str] | None:
    """Find the layers that are trained in round ``number``; None: all that the terms train.

    Raises:
        TermsError: as :func:`list_trained_ranges`.
    """
    try:
        return find_layers_of_round(module, terms, number)
    except ModelError as cause:
        raise TermsError(str(cause)) from None
