"""Define ``release/contract.json``: what is needed to use a released model; the same bytes at every site.

::

    {"contract": 1, "study": ..., "purpose": ..., "terms_sha256": ...,
     "model": {"name": "mlp", "options": {...}, "file": "model.safetensors", "sha256": ..., "personal": [...]},
     "data": {"patient": ..., "features": [{"kind": "number", "name": "age", "low": 20, "high": 80}, ...], "label":
     ...,
              "missing": [...], ...},
     "inputs": ["age", "age is missing", "sex is f", ...],
     "threshold": {"value": 0.5, "chosen": ...}, "positive_weight": 1}

Rules:

* ``data`` is the study's data contract as the terms have it: columns, ranges, words, what counts as missing;
* ``inputs`` names the numbers that the model takes, in their order; ``client/data/encoding.py`` makes them;
* the model gives one logit; its sigmoid is the probability of a positive label. From the threshold on the
  prediction is positive. No patient was looked at to choose the threshold;
* with a ``positive_weight`` other than 1 the sigmoid is a score and no probability: positive labels weighed more in
  training than their frequency;
* nothing in it was measured on patients: all of it is known before the study begins, except the model file's
  SHA-256.
"""

from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from models.tasks.binary import THRESHOLD
from privacy.canonical import from_canonical
from privacy.document import Document, parse
from privacy.errors import ReleaseError, WireError
from privacy.study import DataContract, Name, Sha256, Terms

CONTRACT_FILE: Final = "contract.json"
MODEL_FILE: Final = "model.safetensors"


class ReleasedModel(Document):
    """The model of the catalogue, and its file, in which ``personal`` layers have their first values."""

    name: Name
    options: dict[str, Any]
    file: Literal["model.safetensors"] = MODEL_FILE
    sha256: Sha256
    personal: tuple[str, ...] = ()


class Threshold(Document):
    """The probability from which on a prediction is positive, and how it was chosen."""

    value: Annotated[float, Field(gt=0, lt=1)]
    chosen: str


class ReleaseContract(Document):
    """The contents of ``contract.json``."""

    contract: Literal[1] = 1
    study: str
    purpose: str
    terms_sha256: Sha256
    model: ReleasedModel
    data: DataContract
    inputs: tuple[str, ...]
    threshold: Threshold
    positive_weight: float


def make_contract(study: str, terms: Terms, model_sha256: str) -> ReleaseContract:
    """Make the contract that says how the model of ``study`` is used."""
    return ReleaseContract(
        study=study,
        purpose=terms.purpose,
        terms_sha256=terms.digest,
        model=ReleasedModel(
            name=terms.model.name,
            options=dict(terms.model.options),
            sha256=model_sha256,
            personal=tuple(terms.model.personal),
        ),
        data=terms.data,
        inputs=name_inputs(terms.data),
        threshold=Threshold(value=THRESHOLD, chosen="fixed before training; no patient was looked at to choose it"),
        positive_weight=terms.training.positive_weight,
    )


def name_inputs(contract: DataContract) -> tuple[str, ...]:
    """List the names of the numbers that a record becomes, in their order; (inputs,)."""
    names = list[str]()
    for feature in contract.features:
        if feature.kind == "number":
            names.append(feature.name)
        else:
            names += [f"{feature.name} is {word}" for word in feature.values]
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
