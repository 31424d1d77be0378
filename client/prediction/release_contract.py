"""Define ``release/contract.json``: what is needed to use a released model; the same bytes at every site.

::

    {"contract": 1, "study": ..., "purpose": ..., "terms_sha256": ...,
     "model": {"name": "mlp", "options": {...}, "inputs": {"features": "features"}, "file": "model.safetensors",
     "sha256": ..., "personal": [...]},
     "data": {"kind": "table", "patient": ..., "features": [{"kind": "number", "name": "age", "low": 20, "high": 80},
     ...], "label": ..., "missing": [...], ...},
     "task": {"kind": "binary", "target": "label", "positive_weight": 1},
     "features": ["age", "age is missing", "sex is f", ...],
     "threshold": {"value": 0.5, "chosen": ...}}

Rules:

* ``data`` is the study's data contract as the terms have it: columns or arrays, ranges, words, what counts as missing;
* ``model.inputs`` names the tensor of the data that each input of the model takes. ``features`` names the numbers of a
  table's tensor ``features``, in their order, as ``client/data/encoding.py`` makes them; it is empty for arrays;
* ``task`` says what the model's outputs mean: ``models/tasks/`` turns them into probabilities, values or times;
* with a ``threshold`` a record whose score is at least its value is predicted as positive. No patient was looked at to
  choose it;
* with a ``task.positive_weight`` other than 1 a score is no probability: positive labels weighed more in training than
  their frequency;
* nothing in it was measured on patients: all of it is known before the study begins, except the model file's
  SHA-256.
"""

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from models.tasks.registry import find_threshold
from privacy.canonical import from_canonical
from privacy.document import Document, parse
from privacy.errors import ReleaseError, WireError
from privacy.study import AnyContract, Category, Date, Name, Number, Sha256, TableContract, Terms, Text
from privacy.study.data.tensors import TensorName
from privacy.study.tasks.kinds import AnyTask

CONTRACT_FILE: Final = "contract.json"
MODEL_FILE: Final = "model.safetensors"
_WAVES: Final = ("sine", "cosine")
_CHOSEN: Final = "fixed before training; no patient was looked at to choose it"


class ReleasedModel(Document):
    """The model of the catalogue, and its file, in which ``personal`` layers have their first values.

    ``inputs`` has, for each input of the model, the tensor of the data that it takes.
    """

    name: Name
    version: int
    options: dict[str, Any]
    inputs: dict[TensorName, TensorName]
    file: Literal["model.safetensors"] = MODEL_FILE
    sha256: Sha256
    personal: tuple[str, ...] = ()


class Threshold(Document):
    """The score from which on a prediction is positive, and how it was chosen."""

    value: Annotated[float, Field(gt=0, lt=1)]
    chosen: str


class ReleaseContract(Document):
    """The contents of ``contract.json``."""

    contract: Literal[1] = 1
    study: str
    purpose: str
    terms_sha256: Sha256
    model: ReleasedModel
    data: AnyContract
    task: AnyTask
    features: tuple[str, ...]
    threshold: Threshold | None


def make_contract(study: str, terms: Terms, model_sha256: str) -> ReleaseContract:
    """Make the contract that says how the model of ``study`` is used."""
    from models.catalogue import find_model
    from models.fit import name_inputs  # with torch, which the command line does without until it predicts

    threshold = find_threshold(terms.task)
    return ReleaseContract(
        study=study,
        purpose=terms.purpose,
        terms_sha256=terms.digest,
        model=ReleasedModel(
            name=terms.model.name,
            version=find_model(terms.model.name).version,
            options=dict(terms.model.options),
            inputs=name_inputs(terms.model, terms.data),
            sha256=model_sha256,
            personal=tuple(terms.model.personal),
        ),
        data=terms.data,
        task=terms.task,
        features=name_features(terms.data) if isinstance(terms.data, TableContract) else (),
        threshold=None if threshold is None else Threshold(value=threshold, chosen=_CHOSEN),
    )


def name_features(contract: TableContract) -> tuple[str, ...]:
    """List the names of the numbers that a row becomes, in their order; (width,)."""
    names = list[str]()
    for feature in contract.features:
        match feature:
            case Number():
                names.append(feature.name)
            case Category():
                names += [f"{feature.name} is {word}" for word in feature.values]
            case Date(taken="days"):
                names.append(feature.name)
            case Date():
                names += [f"{wave} of the {feature.taken.replace('_', ' ')} of {feature.name}" for wave in _WAVES]
            case Text(words=None):
                names += [f"{feature.name} has a word of bucket {place}" for place in range(feature.places)]
            case Text():
                names += [f"{feature.name} has the word {word}" for word in feature.words or ()]
        names.append(f"{feature.name} is missing")
    return tuple(names)


def read_contract(folder: Path) -> ReleaseContract:
    """Read the contract of the release in ``folder``.

    Raises:
        ReleaseError: it is missing, or cannot be used.
    """
    path = folder / CONTRACT_FILE
    try:
        value = from_canonical(path.read_bytes().rstrip(b"\n"))
    except OSError as cause:
        raise ReleaseError(
            f"{path}: cannot be read: {cause.strerror}; name a folder that a study released, as studies/STUDY/release"
        ) from None
    except WireError as error:
        raise ReleaseError(f"{path}: not a release's contract: {error}") from None
    return parse(value, ReleaseContract, ReleaseError, str(path))
