"""Write the answer of a job as bytes, and check at the site what came back: nothing in it is trusted.

An answer is a document and arrays, as ``client/training/job_format.py`` describes.

====================  =========================================================================================
job                   arrays of its answer
====================  =========================================================================================
first-model           ``vector`` (P,) float64
export-model, -personal  tensors by name, float32
train                 ``update`` (P,) float64, ``personal`` (Q,) float64; ``carried`` (bands - 1, P) float64 where the
                      study carries noise from round to round
share                 ``integers`` (d,) uint32, ``personal`` (Q,) float64
score                 ``counts`` (cells,) int64
list-trained          ``ranges`` (n, 2) int64, or nothing for all
====================  =========================================================================================

Rules:

* an answer names the digest of its request, so that of another round is refused;
* its size is bounded before it is read (:func:`compute_most_bytes`), its shapes and types are those above, and every
  number is finite;
* an error comes as a name of a closed list and one sentence. The sentence of a process that can read records stays at
  this site: of :class:`~privacy.errors.TermsError` and :class:`~privacy.errors.RefusedError`, whose own words leave
  the site, only the kind is taken over (``client/study/problem.py``).
"""

import logging
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from client.training.array_format import Arrays
from client.training.job_format import Request, pack, unpack
from client.training.jobs import SharedRound, TrainedRound
from privacy.document import Document
from privacy.errors import DataError, DataUnavailableError, Error, RefusedError, TermsError, TrainingError
from privacy.refusal_codes import RefusalCode
from privacy.sentence import Sentence, fit_sentence
from privacy.study import Sha256, Terms
from privacy.study.fixed_lots import count_bands
from privacy.study.tasks.task import count_cells

_log = logging.getLogger(__name__)

_FREE_BYTES: Final = 4 << 30  # of arrays whose length the site cannot know: first models, exports, personal layers
_HEAD_BYTES: Final = 32 << 20  # of the document and of the names of arrays
_MOST_TENSORS: Final = 100_000
_MOST_NAME: Final = 500
_MOST_RANGES: Final = 1_000_000

_KINDS: Final[dict[str, type[Error]]] = {
    "terms": TermsError,
    "data": DataError,
    "data-unavailable": DataUnavailableError,
    "training": TrainingError,
}
_OWN_WORDS: Final = (TermsError, RefusedError)


class Failure(Document):
    """An expected failure: which error, and its sentence."""

    kind: Literal["terms", "data", "data-unavailable", "training", "refused"]
    sentence: Sentence
    code: RefusalCode | None = None


class Answer(Document):
    """The head of an answer: for which request, by its digest, and why there is none, if so."""

    request: Sha256
    failure: Failure | None = None


def pack_answer(request: Request, answer: Any) -> tuple[bytes, *tuple[memoryview, ...]]:
    """Write what a :class:`~client.training.session.TrainingSession` answered to ``request``."""
    arrays: Arrays
    match request.job:
        case "first-model":
            arrays = {"vector": answer}
        case "export-model" | "export-personal":
            arrays = answer
        case "train" | "share":
            arrays = {name: array for name, array in answer._asdict().items() if array is not None}
        case "score":
            arrays = {"counts": np.array(answer, dtype=np.int64)}
        case "list-trained":
            arrays = {} if answer is None else {"ranges": np.array(answer, dtype=np.int64).reshape(-1, 2)}
    return pack(Answer(request=request.digest), arrays)


def pack_failure(request: Request, error: Error) -> tuple[bytes, *tuple[memoryview, ...]]:
    """Write that ``request`` failed."""
    code = error.code if isinstance(error, RefusedError) else None
    kind: Any = "refused" if code else "training"
    for name, known in _KINDS.items():  # a special error stands behind the one that it is a kind of
        if isinstance(error, known):
            kind = name
    failure = Failure(kind=kind, sentence=fit_sentence(str(error)), code=code)
    return pack(Answer(request=request.digest, failure=failure), {})


def compute_most_bytes(request: Request, arrays: Arrays, terms: Terms) -> int:
    """Return the most bytes that an answer to ``request`` may have."""
    most = _HEAD_BYTES + sum(array.nbytes for array in arrays.values())
    if request.job in ("train", "share"):
        most += _count_carried(request, terms) * arrays["model"].nbytes
        return most if _find_personal_length(arrays, terms) is not None else most + _FREE_BYTES
    return most + (_HEAD_BYTES if request.job in ("score", "list-trained") else _FREE_BYTES)


def _count_carried(request: Request, terms: Terms) -> int:
    """Count the vectors of noise, (P,) each, that come back from a round for a later one to cancel."""
    return count_bands(terms) - 1 if request.job == "train" and request.noise_multiplier is not None else 0


def _find_personal_length(sent: Arrays, terms: Terms) -> int | None:
    """Find Q, the length of the personal layers; None where the site cannot know it yet."""
    if not terms.model.personal:
        return 0
    return len(sent["personal"]) if "personal" in sent else None


def read_answer(
    data: bytes | memoryview, request: Request, sent: Arrays, terms: Terms, *, with_records: bool
) -> Any:
    """Check an answer and return what it says.

    Run by the site.

    Args:
        data: at most :func:`compute_most_bytes` bytes.
        request: what was asked.
        sent: the arrays that went with it.
        terms: the study.
        with_records: whether the process that answered could read records.

    Raises:
        TermsError, RefusedError, DataError, TrainingError: the failure that the answer reports.
        TrainingError: the answer is not one to ``request``.
    """
    what = f"the answer of the training process to '{request.job}'"
    answer, arrays = unpack(data, Answer, what)
    if answer.request != request.digest:
        raise TrainingError(f"{what}: it is the answer to another request; it is not used")
    if answer.failure is not None:
        raise _make_error(answer.failure, with_records)
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise TrainingError(f"{what}: '{name[:_MOST_NAME]}' has values that are no finite numbers")
    match request.job:
        case "first-model":
            _require_names(arrays, what, "vector")
            return _require_vector(arrays, "vector", np.float64, None, what)
        case "export-model" | "export-personal":
            return _require_tensors(arrays, what)
        case "train" | "share":
            length = len(sent["model"])
            first = "update" if request.job == "train" else "integers"
            if request.noise is not None:
                length = request.noise.parameters
            carried = _count_carried(request, terms)
            _require_names(arrays, what, first, "personal", *(["carried"] if carried else []))
            personal = _require_vector(arrays, "personal", np.float64, _find_personal_length(sent, terms), what)
            if request.job == "train":
                update = _require_vector(arrays, first, np.float64, length, what)
                return TrainedRound(update, personal, _require_carried(arrays, (carried, length), what))
            return SharedRound(_require_vector(arrays, first, np.uint32, length, what), personal)
        case "score":
            _require_names(arrays, what, "counts")
            cells = count_cells(terms.cell_groups)
            return tuple(_require_vector(arrays, "counts", np.int64, cells, what).tolist())
        case "list-trained":
            return _read_ranges(arrays, what)


def _make_error(failure: Failure, with_records: bool) -> Error:
    """Make the error that ``failure`` names; words that would leave the site are replaced if records may be in them."""
    refused = failure.kind == "refused"
    error: Error
    if refused and failure.code is RefusalCode.WEIGHTS:
        error = RefusedError(failure.code, failure.sentence)
    else:
        error = (TrainingError if refused else _KINDS[failure.kind])(failure.sentence)
    if not (with_records and isinstance(error, _OWN_WORDS)):
        return error
    _log.warning("training ended with %s: %s", type(error).__name__, failure.sentence)
    words = "training of this study is refused by its own checks; the site's own log says why"
    return RefusedError(error.code, words) if isinstance(error, RefusedError) else TermsError(words)


def _require_names(arrays: Arrays, what: str, *names: str) -> None:
    if set(arrays) != set(names):
        raise TrainingError(f"{what}: expected the arrays {', '.join(names)}, got {len(arrays)} of other names")


def _require_vector(arrays: Arrays, name: str, kind: Any, length: int | None, what: str) -> NDArray[Any]:
    array = arrays[name]
    shape = f"({'any' if length is None else length},)"
    if array.dtype != kind or array.ndim != 1 or length not in (None, len(array)):
        raise TrainingError(
            f"{what}: expected '{name}' as {shape} {np.dtype(kind)}, got {array.shape} {array.dtype}"
        )
    return array


def _require_carried(arrays: Arrays, shape: tuple[int, int], what: str) -> NDArray[np.float64] | None:
    """Return the noise that a later round cancels, (vectors, P); None where there are no vectors."""
    if not shape[0]:
        return None
    carried = arrays["carried"]
    if carried.dtype != np.float64 or carried.shape != shape:
        raise TrainingError(f"{what}: expected 'carried' as {shape} float64, got {carried.shape} {carried.dtype}")
    return carried


def _require_tensors(arrays: Arrays, what: str) -> dict[str, NDArray[np.float32]]:
    if len(arrays) > _MOST_TENSORS:
        raise TrainingError(f"{what}: expected at most {_MOST_TENSORS} tensors, got {len(arrays)}")
    for name, array in arrays.items():
        if array.dtype != np.float32 or len(name) > _MOST_NAME or not name.isprintable():
            raise TrainingError(f"{what}: expected tensors of float32 with printable names, got {array.dtype}")
    return dict(arrays)


def _read_ranges(arrays: Arrays, what: str) -> tuple[tuple[int, int], ...] | None:
    if not arrays:
        return None
    _require_names(arrays, what, "ranges")
    ranges = arrays["ranges"]
    if ranges.dtype != np.int64 or ranges.ndim != 2 or ranges.shape[1] != 2 or len(ranges) > _MOST_RANGES:
        raise TrainingError(f"{what}: expected ranges (n, 2) int64, got {ranges.shape} {ranges.dtype}")
    ends = ranges.ravel()
    if len(ends) and (ends[0] < 0 or (np.diff(ends) < 0).any()):
        raise TrainingError(f"{what}: expected ranges in rising order, got others")
    return tuple((int(begin), int(end)) for begin, end in ranges)
