"""The models that a study may name, and the options of each.

Rules:

* only models of this list are built: a site runs installed code, and the terms choose from it;
* options are frozen; an unknown option is refused, and the message names the known ones;
* every model suits per-sample gradients: no layer mixes records, and activations are smooth;
* a model takes (records, inputs) float32 and returns one logit for each record, (records,).

Options are checked without torch, so that checking a study file takes milliseconds. Torch is imported when a model
is built.

>>> check("mlp", {"hidden": [64, 32]})
MlpOptions(hidden=(64, 32), activation='elu', norm='none')
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from models.errors import ModelError
from models.model import CatalogueEntry, Options
from models.tabular.options import LogisticOptions, MlpOptions

if TYPE_CHECKING:
    from torch import nn

_CATALOGUE: Final[Mapping[str, CatalogueEntry]] = {
    "logistic": CatalogueEntry(LogisticOptions, "models.tabular.logistic"),
    "mlp": CatalogueEntry(MlpOptions, "models.tabular.mlp"),
}

NAMES: Final = tuple(_CATALOGUE)


def check(name: str, options: Mapping[str, Any]) -> Options:
    """Check the options of the model ``name``.

    Raises:
        ModelError: the model is unknown, or does not take these options; the message lists every mistake.
    """
    if name not in _CATALOGUE:
        raise ModelError(f"model.name: there is no model '{name}'; known models: {', '.join(NAMES)}")
    return _CATALOGUE[name].check(name, options)


def build(name: str, options: Mapping[str, Any], inputs: int) -> "nn.Module":
    """Build the model ``name`` for records of ``inputs`` numbers, on the CPU; its parameters are not set yet.

    Raises:
        ModelError: as :func:`check`.
    """
    checked = check(name, options)
    return _CATALOGUE[name].build(checked, inputs)
