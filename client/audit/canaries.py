"""Make canaries: invented patients whose presence an attacker can recognise well, and the terms of their audit.

Rules:

* an audited study is a copy of the terms: same model, task, training, privacy and sealing. Nobody launches it;
* a table gets one further column, a text whose words nobody has but canaries. Every canary has some words of its own,
  and zero in all other columns. So its gradient has a direction of its own, as large as clipping lets it be. Other
  contracts have no room for such a column: there a canary is a record of extreme values at random;
* canaries' targets differ as other patients' do: what all of them shared, a model would learn, and then no gradient is
  left;
* a canary has as many records as the contract allows one patient, all alike;
* a canary's coin is fair and independent of all others. Coins and extremes come from a secret stream.

Source of canaries with directions of their own: Nasr et al. 2023, "Tight auditing of differentially private machine
learning" (arXiv 2302.07956); Steinke, Nasr and Jagielski 2023 (arXiv 2305.08846, section 6).
"""

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from client.data.examples import Patients
from client.data.site_data import read_data
from models.generated.records import generate_records
from privacy.errors import TermsError
from privacy.randomness import KeyStream
from privacy.study import TableContract, Terms, Unit, parse_terms
from privacy.study.data.columns import count_numbers
from privacy.study.data.tensors import Flags, Ids, Numbers

COLUMN: Final = "consilium-canary"
_FEWEST_WORDS, _MOST_WORDS = 8, 64
_MOST_PLACES: Final = 100_000  # of a text column
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class SiteRecords:
    """Records as a file of the audited contract has them.

    Attributes:
        arrays: (records, *shape) each, by the name of the contract's tensor, in its own range.
        owners: (records,) the number of each record's patient, never falling.
    """

    arrays: Arrays
    owners: NDArray[np.int64]

    def select(self, patients: NDArray[np.bool_]) -> "SiteRecords":
        """Return the records of the patients, (patients,), that are chosen."""
        rows = patients[self.owners]
        return SiteRecords({name: array[rows] for name, array in self.arrays.items()}, self.owners[rows])


@dataclass(frozen=True, eq=False)
class Canaries:
    """The canaries of one audit, whether they take part or not.

    Attributes:
        records: of all canaries, equally many of each.
        present: (canaries,) whether each takes part.
    """

    records: SiteRecords
    present: NDArray[np.bool_]

    @property
    def records_each(self) -> int:
        """How many records a canary has."""
        return len(self.records.owners) // len(self.present)


def make_audited_terms(terms: Terms, canaries: int) -> Terms:
    """Return the copy of ``terms`` that is audited with so many ``canaries``.

    Raises:
        TermsError: the study cannot be audited so; the message says why.
    """
    require_auditable(terms)
    written = terms.model_dump(mode="json")
    written["evaluation"] = {"rounds": []}
    written["release"] = {}
    if isinstance(terms.data, TableContract):
        words = compute_words(terms, canaries)
        written["data"]["features"].append({"kind": "text", "name": COLUMN, "buckets": words * canaries})
    return parse_terms(written)


def require_auditable(terms: Terms) -> None:
    """Refuse terms whose training this audit cannot follow.

    Raises:
        TermsError: naming the part of the terms.
    """
    reasons = {
        "privacy.epsilon is none: there is no claim to audit": terms.privacy.epsilon is None,
        "a study of statistics trains nothing": terms.counts_only,
        "privacy.unit is site: canaries are patients, and whole updates of sites are what is bounded": (
            terms.privacy.unit is Unit.SITE
        ),
        "model.start names public weights: audit the model without them": terms.model.start is not None,
        "model.personal: audit the study without layers that stay at a site": bool(terms.model.personal),
        "training.stages: audit a study of its last stage alone": bool(terms.training.stages),
        "training.control_variates: audit the study without them, which cost no privacy": (
            terms.training.control_variates
        ),
    }
    for reason in (reason for reason, there in reasons.items() if there):
        raise TermsError(f"this study cannot be audited empirically: {reason}")


def compute_words(terms: Terms, canaries: int) -> int:
    """Return how many words a canary of a table has: so many that its gradient is longer than the clipping norm.

    The gradient of the first layer at a record grows with the root of its ones.

    Raises:
        TermsError: no column has room for the words of so many canaries.
    """
    norm = terms.privacy.clipping_norm or 1.0
    words = min(_MOST_WORDS, max(_FEWEST_WORDS, math.ceil(8 * norm * norm)))
    if words * canaries > _MOST_PLACES:
        raise TermsError(
            f"expected at most {_MOST_PLACES // words} canaries for this clipping norm, got {canaries}"
        )
    return words


def make_canaries(terms: Terms, audited: Terms, canaries: int, stream: KeyStream) -> Canaries:
    """Make ``canaries`` canaries of the ``audited`` copy of ``terms``, and toss their coins."""
    arrays = dict(generate_records(audited.data, canaries, seed=0, name="canary").arrays)
    if isinstance(audited.data, TableContract):
        width, words = audited.data.width, compute_words(terms, canaries)
        features = np.zeros((canaries, width), dtype=np.float32)
        first = width - 1 - words * canaries  # the words of the last column, then its indicator
        for number in range(canaries):
            features[number, first + number * words : first + (number + 1) * words] = 1.0
        arrays["features"] = features
    else:
        for tensor in audited.data.list_inputs():
            arrays[tensor.name] = _draw_extremes(tensor, canaries, stream)
    each = audited.data.records_per_patient
    records = SiteRecords(
        {name: np.repeat(array, each, axis=0) for name, array in arrays.items()},
        np.repeat(np.arange(canaries, dtype=np.int64), each),
    )
    return Canaries(records, stream.draw_uniform(canaries) < 0.5)


def _draw_extremes(tensor: Numbers | Ids | Flags, records: int, stream: KeyStream) -> NDArray[Any]:
    shape = (records, *tensor.shape)
    uniform = stream.draw_uniform(math.prod(shape)).reshape(shape)
    match tensor:
        case Numbers():
            return np.where(uniform < 0.5, tensor.low, tensor.high).astype(np.float32)
        case Ids():
            return np.floor(uniform * tensor.values).astype(np.int64)
        case Flags():
            return uniform < 0.5


def generate_ordinary(audited: Terms, patients: int, seed: int) -> SiteRecords:
    """Generate ``patients`` patients of a site, of one record each, who are no canaries."""
    arrays = dict(generate_records(audited.data, patients, seed).arrays)
    if isinstance(audited.data, TableContract):
        last = audited.data.features[-1]
        arrays["features"] = arrays["features"].copy()
        arrays["features"][:, audited.data.width - 1 - count_numbers(last) :] = 0.0
    return SiteRecords(arrays, np.arange(patients, dtype=np.int64))


def widen(patients: Patients, audited: Terms) -> SiteRecords:
    """Return the records of ``patients``, who were read by the terms' own contract, as those of their audited copy."""
    rows, arrays = np.arange(patients.records), dict[str, NDArray[Any]]()
    for tensor in (*audited.data.list_inputs(), *audited.data.list_targets()):
        values = patients.find(tensor.name)[rows]
        arrays[tensor.name] = _undo_scaling(tensor, values) if isinstance(tensor, Numbers) else values
    if isinstance(audited.data, TableContract):
        wide = np.zeros((patients.records, audited.data.width), dtype=np.float32)
        wide[:, : arrays["features"].shape[1]] = arrays["features"]
        arrays["features"] = wide
    return SiteRecords(arrays, patients.patient)


def _undo_scaling(tensor: Numbers, values: NDArray[Any]) -> NDArray[Any]:
    """Return numbers of the tensor's own range, from those that a model sees."""
    low, high = tensor.range
    return np.asarray(tensor.low + (values - low) * ((tensor.high - tensor.low) / (high - low)), dtype=np.float32)


def write_records(path: Path, audited: Terms, parts: Mapping[str, SiteRecords]) -> Path:
    """Write the records of ``parts`` as one file; the patients of a part are called after it."""
    names = [f"{part}-{owner:06d}" for part, records in parts.items() for owner in records.owners]
    arrays: dict[str, Any] = {
        tensor.name: np.concatenate([records.arrays[tensor.name] for records in parts.values()])
        for tensor in (*audited.data.list_inputs(), *audited.data.list_targets())
    }
    arrays[audited.data.patient] = np.array(names)
    np.savez(path, **arrays)
    return path


def read_as_trained(audited: Terms, records: SiteRecords) -> Patients:
    """Return the patients of ``records`` as training sees them: read from a file, and scaled."""
    with tempfile.TemporaryDirectory(prefix="consilium-audit-") as folder:
        return read_data(
            audited.data, write_records(Path(folder) / "records.npz", audited, {"p": records})
        ).patients
