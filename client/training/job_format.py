"""Write a job as bytes and read it back: a document, named arrays, and the draw apart from both.

::

    4 bytes     length n of the document, little-endian
    n bytes     the document, canonical JSON (RFC 8785)
    the rest    the arrays, in the format of safetensors (``client/training/array_format.py``)

Rules:

* a job says everything that its answer depends on: :class:`Setup` once a process, :class:`Request` for each job. Both
  are frozen documents, and name no key, no path of the site's folder but the data's, and no other site;
* the draw, 32 secret bytes of this one round, is in neither of them, so a document can be logged and compared;
* objections are keyed digests of patients at the site. A job gets them under another key that is no secret
  (:func:`rekey_objections`), since the site's own key is not for jobs. Whoever reads a job has the data beside it;
* an answer has the same form (``client/training/answer_format.py``). Nothing is ever unpickled.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from numpy.typing import NDArray
from pydantic import Field

from client.data.dataset import StudyFiles, require_registered
from client.data.objections import Objections, compute_patient_digest
from client.data.site_data import read_contents
from client.training.array_format import ArrayFormatError, Arrays, read_arrays, write_arrays
from client.training.jobs import (
    ExportModel,
    ExportPersonal,
    FirstModel,
    Job,
    ListTrained,
    ScoreModel,
    ShareRound,
    TrainRound,
)
from privacy.canonical import from_canonical
from privacy.document import D, Document, parse
from privacy.errors import TrainingError, WireError
from privacy.mechanisms.distributed_noise import SharedNoise
from privacy.study import AnyContract, Sha256, Terms

DRAW_BYTES: Final = 32
_LENGTH_BYTES: Final = 4
_MOST_DOCUMENT: Final = 1 << 30  # objections are listed in it
_VECTORS: Final = ("model", "correction", "personal", "carried")


class Excluded(Document):
    """The patients who are left out: digests under ``key``, which is no secret.

    Attributes:
        key: hexadecimal.
        digests: of patients, hexadecimal, sorted.
    """

    key: Sha256
    digests: tuple[Sha256, ...]


class Setup(Document):
    """Everything of a study that all its jobs share.

    Attributes:
        train, test, weights: paths, as the process that trains sees them; ``weights``: of public weights, if any.
        excluded: the patients who are left out; None for nobody.
    """

    terms: Terms
    contract: AnyContract
    train: str
    test: str
    train_sha256: Sha256
    test_sha256: Sha256
    public_patients: int
    excluded: Excluded | None
    weights: str | None
    device: str
    precision: str

    def to_study_files(self) -> StudyFiles:
        """Return the files in the form that training takes."""
        objections = None
        if self.excluded is not None:
            digests = (bytes.fromhex(text) for text in self.excluded.digests)
            objections = Objections(bytes.fromhex(self.excluded.key), dict.fromkeys(digests, ""))
        return StudyFiles(
            self.contract,
            Path(self.train),
            Path(self.test),
            self.train_sha256,
            self.test_sha256,
            self.public_patients,
            objections,
            None if self.weights is None else Path(self.weights),
        )


class Noise(Document):
    """The fields of a :class:`~privacy.mechanisms.distributed_noise.SharedNoise`."""

    clipping_norm: float
    noise_multiplier: float
    parameters: int
    bits: int
    value_range: float
    colluders: int
    largest_sum: float
    usual_sum: float
    minimum: int | None


class Request(Document):
    """A job without its arrays and its draw.

    Attributes:
        variance: as decimal digits, since it may be beyond what JSON keeps exactly.
        drawn: whether a draw belongs to the job.
        honest: as in :class:`~client.training.jobs.ScoreModel`.
    """

    job: Literal["first-model", "export-model", "export-personal", "train", "share", "score", "list-trained"]
    number: int | None = None
    noise_multiplier: float | None = None
    noise: Noise | None = None
    variance: Annotated[str, Field(pattern=r"^[0-9]{1,400}$")] | None = None
    drawn: bool = False
    honest: int | None = None


def make_setup(terms: Terms, files: StudyFiles, device: str, precision: str) -> Setup:
    """Make the setup of a study whose objections no job has to see: those of ``files`` are rekeyed first."""
    excluded = None
    if files.objections is not None and files.objections.since:
        digests = tuple(sorted(digest.hex() for digest in files.objections.since))
        excluded = Excluded(key=files.objections.secret.hex(), digests=digests)
    return Setup(
        terms=terms,
        contract=files.contract,
        train=str(files.train),
        test=str(files.test),
        train_sha256=files.train_sha256,
        test_sha256=files.test_sha256,
        public_patients=files.public_patients,
        excluded=excluded,
        weights=None if files.weights is None else str(files.weights),
        device=device,
        precision=precision,
    )


def rekey_objections(files: StudyFiles) -> StudyFiles:
    """Replace the site's key of objections by a public one; only the patients of these files are named by it.

    Run by the site, which reads the identifiers in its own files for it, and only if anybody objects.

    Raises:
        DataUnavailableError, DataError: as :func:`client.data.dataset.require_registered`.
    """
    if files.objections is None or not files.objections.since:
        return replace(files, objections=None)
    require_registered(files)
    key = bytes.fromhex(files.train_sha256)
    names = {
        name
        for path in (files.train, files.test)
        for name in read_contents(files.contract, path, with_targets=False).ids
        if files.objections.includes(name)
    }
    return replace(files, objections=Objections(key, {compute_patient_digest(key, name): "" for name in names}))


def reads_records(job: Job[Any]) -> bool:
    """Return whether the work of ``job`` reads a record."""
    return isinstance(job, TrainRound | ShareRound | ScoreModel)


def split_job(job: Job[Any]) -> tuple[Request, dict[str, NDArray[Any]], bytes]:
    """Split ``job`` into its document, its arrays, and its draw: 32 bytes, or none."""
    arrays = {name: vector for name in _VECTORS if (vector := getattr(job, name, None)) is not None}
    match job:
        case FirstModel():
            return Request(job="first-model"), arrays, b""
        case ExportModel():
            return Request(job="export-model"), arrays, b""
        case ExportPersonal():
            return Request(job="export-personal"), arrays, b""
        case ListTrained():
            return Request(job="list-trained", number=job.number), arrays, b""
        case TrainRound():
            request = Request(job="train", number=job.number, noise_multiplier=job.noise_multiplier, drawn=True)
            return request, arrays, job.key
        case ShareRound():
            noise = Noise(**vars(job.noise))
            request = Request(job="share", number=job.number, noise=noise, variance=str(job.variance), drawn=True)
            return request, arrays, job.key
        case ScoreModel():
            draw = job.key or b""
            return (
                Request(job="score", noise_multiplier=job.noise_multiplier, drawn=bool(draw), honest=job.honest),
                arrays,
                draw,
            )
    raise TypeError(f"{type(job).__name__} is no job of a training session")


def join_job(request: Request, arrays: Arrays, draw: bytes) -> Job[Any]:
    """Make the job of :func:`split_job` again.

    Raises:
        TrainingError: a part is missing.
    """
    if len(draw) != (DRAW_BYTES if request.drawn else 0):
        raise TrainingError(f"a job '{request.job}' came with a draw of {len(draw)} bytes")
    correction, personal = arrays.get("correction"), arrays.get("personal")
    try:
        match request.job:
            case "first-model":
                return FirstModel()
            case "export-model":
                return ExportModel(arrays["model"])
            case "export-personal":
                return ExportPersonal(personal)
            case "list-trained":
                return ListTrained(_require(request.number))
            case "train":
                number, sigma = _require(request.number), request.noise_multiplier
                return TrainRound(arrays["model"], number, sigma, draw, correction, personal, arrays.get("carried"))
            case "share":
                noise, variance = SharedNoise(**dict(_require(request.noise))), int(_require(request.variance))
                return ShareRound(arrays["model"], _require(request.number), noise, variance, draw, personal)
            case "score":
                return ScoreModel(arrays["model"], request.noise_multiplier, personal, draw or None, request.honest)
    except KeyError as missing:
        raise TrainingError(f"a job '{request.job}' came without {missing}") from None


def _require(value: Any) -> Any:
    if value is None:
        raise KeyError("a number")
    return value


def pack(document: Document, arrays: Arrays) -> tuple[bytes, *tuple[memoryview, ...]]:
    """Write a document and arrays as parts that follow each other; the first is the document."""
    head = document.to_bytes()
    return len(head).to_bytes(_LENGTH_BYTES, "little") + head, *write_arrays(arrays)


def unpack(data: bytes | memoryview, kind: type[D], what: str) -> tuple[D, dict[str, NDArray[Any]]]:
    """Read what :func:`pack` has written; the arrays lie in the memory of ``data``.

    Raises:
        TrainingError: it is malformed; ``what`` names it.
    """
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    if not 0 < length <= min(_MOST_DOCUMENT, len(data) - _LENGTH_BYTES):
        raise TrainingError(f"{what}: expected a document and arrays, got {len(data)} bytes of another form")
    begin, view = _LENGTH_BYTES + length, memoryview(data)
    try:
        document = parse(from_canonical(bytes(view[_LENGTH_BYTES:begin])), kind, TrainingError, what)
    except WireError as error:
        raise TrainingError(f"{what}: {error}") from None
    try:
        arrays = read_arrays(view[begin:])
    except ArrayFormatError as error:
        raise TrainingError(f"{what}: its arrays cannot be read: {error}") from None
    return document, arrays
