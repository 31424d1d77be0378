"""The models a study may name, and what each may be told.

Rules:

* only models of this list are ever built: a site runs installed code, terms choose among it;
* options are frozen, unknown ones are refused with the known ones named;
* every model is ready for differential privacy: no layer mixes records, activations are smooth;
* a model takes (records, inputs) float32 and gives one logit a record, (records,).

Options are checked without torch, so that a study file can be judged in milliseconds; torch is imported when a
model is built.

>>> check("mlp", {"hidden": [64, 32]})
MlpOptions(hidden=(64, 32), activation='elu', norm='none')
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from models.errors import ModelError
from models.model import Entry, Options
from models.tabular.options import LogisticOptions, MlpOptions

if TYPE_CHECKING:
    from torch import nn

_CATALOGUE: Final[Mapping[str, Entry]] = {
    "logistic": Entry(LogisticOptions, "models.tabular.logistic"),
    "mlp": Entry(MlpOptions, "models.tabular.mlp"),
}

NAMES: Final = tuple(_CATALOGUE)


def check(name: str, options: Mapping[str, Any]) -> Options:
    """Check the options of the model ``name``.

    Raises:
        ModelError: an unknown model, or options it does not take; the sentence lists every mistake.
    """
    if name not in _CATALOGUE:
        raise ModelError(f"model.name: there is no model '{name}'; known models: {', '.join(NAMES)}")
    return _CATALOGUE[name].check(name, options)


def build(name: str, options: Mapping[str, Any], inputs: int) -> "nn.Module":
    """Build the model ``name`` for ``inputs`` numbers a record, on the CPU; its parameters are not yet meaningful.

    Raises:
        ModelError: as :func:`check`.
    """
    checked = check(name, options)
    return _CATALOGUE[name].build(checked, inputs)
