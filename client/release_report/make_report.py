"""Make the page of a release: read the release, the site's test patients and the card, and compute the figures.

Rules:

* without a file the test patients are those that the site registered under exactly the release's contract, as they were
  registered, without patients who object now;
* of data that a mapping leads to, patients of the registered training file are left out: the model knows them, and a
  mapping usually leads to all patients of a hospital;
* of a patient with several records the first are used, as in the study;
* the card is optional: who received a release without it has a page without what privacy did.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from client.data.contents import Contents
from client.data.dataset import require_registered
from client.data.encoding import ColumnCounts
from client.data.identifiers import fold
from client.data.mistakes import Mistake
from client.data.site_data import LeftOut, group_records, read_contents
from client.prediction.calibration import apply_calibration, estimate_calibrated_figures, read_calibration
from client.prediction.figures import LEAST_PATIENTS, Estimate, Labelled, estimate_figures, group_labelled
from client.prediction.predict import load_model, predict_contents
from client.prediction.release_contract import ReleaseContract, read_contract
from client.release_report.outlines import draw_outlined
from client.release_report.own_groups import OwnGroups
from client.release_report.page import Facts, GroupFigures, render_page
from client.release_report.reliability import Point, compute_points
from client.release_report.subgroups import Bands, find_groups
from client.site.folder import SITE_FILE, SiteFolder
from client.study.card_document import ModelCard
from privacy.canonical import from_canonical
from privacy.document import parse
from privacy.errors import DataError, ReleaseError, SiteConfigError, WireError
from privacy.study.tasks.binary import BinaryTerms

CARD_FILE: Final = "card.json"
_FIGURES_OF_GROUPS: Final = {"binary": ("auroc", "sensitivity", "specificity", "calibration")}
_MOST_FIGURES_OF_GROUPS: Final = 3


@dataclass(frozen=True, eq=False)
class TestPatients:
    """The patients on whom the figures are computed.

    Attributes:
        contract: of the release.
        path: of the file.
        contents: what it holds; not usable where there are mistakes.
        left_out: patients to be left out.
        registered: whether it is the site's own test file, as registered.
    """

    contract: ReleaseContract
    path: Path
    contents: Contents
    left_out: LeftOut | None
    registered: bool

    @property
    def mistakes(self) -> tuple[Mistake, ...]:
        """What breaks the contract."""
        return self.contents.mistakes

    @property
    def counts(self) -> tuple[ColumnCounts, ...]:
        """Of every feature's column, or of every array."""
        return self.contents.counts

    @property
    def count(self) -> int:
        """How many patients are used."""
        return len(group_records(self.contents.ids, 1, self.left_out)[2])

    @property
    def known(self) -> int:
        """How many patients are left out."""
        return len(set(self.contents.ids)) - self.count


@dataclass(frozen=True)
class TrainingPatients:
    """The patients of a site's registered training file, in folded form."""

    names: frozenset[str] = field(repr=False)

    def includes(self, patient: str) -> bool:
        """Return whether ``patient`` is one of them."""
        return fold(patient) in self.names


def read_labelled(folder: Path, path: Path) -> TestPatients:
    """Read a file with labels for the release in ``folder``.

    Raises:
        ReleaseError: the release cannot be used.
        DataUnavailableError, DataError: the file cannot be read, or has nothing of the contract.
    """
    contract = read_contract(folder)
    return TestPatients(contract, path, read_contents(contract.data, path), None, registered=False)


def read_mapped(home: SiteFolder, contract: ReleaseContract, path: Path) -> TestPatients:
    """Read converted records with labels, without the patients whom the site trained on, if this is a site.

    Raises:
        DataUnavailableError, DataError: a file cannot be read, or has nothing of the contract.
    """
    is_site = (home.folder / SITE_FILE).exists()
    found = home.load_registry().find_exact(contract.data) if is_site else None
    names: Sequence[str] = ()
    if found is not None:
        names = read_contents(contract.data, Path(found.train), with_targets=False).ids
    trained = TrainingPatients(frozenset(map(fold, names)))
    return TestPatients(contract, path, read_contents(contract.data, path), trained, registered=False)


def find_test_patients(home: SiteFolder, folder: Path) -> TestPatients:
    """Read the site's own test file of the release in ``folder``.

    Raises:
        SiteConfigError: no data are registered under exactly this contract.
        DataUnavailableError, DataError: the file changed since, or cannot be read.
        ReleaseError: the release cannot be used.
    """
    contract = read_contract(folder)
    found = home.load_registry().find_exact(contract.data)
    if found is None:
        raise SiteConfigError(
            f"{home.folder}: no data are registered here under the contract of '{contract.study}'; name a file with "
            "labels: consilium-site report RELEASE DATA"
        )
    objections = home.open_patient_register().load_objections()
    files = found.to_study_files(objections)
    require_registered(files)
    return TestPatients(contract, files.test, read_contents(contract.data, files.test), objections, registered=True)


def make_report(
    folder: Path,
    patients: TestPatients,
    kept: Path | None,
    asked: Sequence[str],
    bands: Sequence[Bands] = (),
    own_groups: OwnGroups | None = None,
    pictures: int = 0,
) -> bytes:
    """Make the page, HTML in UTF-8, from patients without mistakes.

    Args:
        folder: the release.
        patients: with labels.
        kept: a calibration file, or None.
        asked: the columns whose groups are shown; none means all that the contract names.
        bands: limits of columns of numbers.
        own_groups: that the site names itself.
        pictures: how many records of a segmentation are drawn.

    Raises:
        ReleaseError: the card, the calibration or a column cannot be used; or pictures are asked of another task.
        DataError: no patient is left.
    """
    contract, contents = patients.contract, patients.contents
    found = predict_contents(contract, load_model(folder, contract), contents, with_targets=True)
    rows, _, names = group_records(contents.ids, contract.data.records_per_patient, patients.left_out)
    if not names:
        raise DataError(
            f"{patients.path}: no patient is left: all of them object or were trained on, or the file has none"
        )
    everybody = group_labelled(found)
    labelled = everybody.select(rows)
    groups = list[GroupFigures]()
    named = find_groups(contract.data, contents, asked, bands)
    for group in named if own_groups is None else [*named, *own_groups.find_groups(contents.ids)]:
        own = rows[group.members[rows]]
        if len(own):
            groups.append(_judge_group(contract, group.column, group.word, everybody.select(own)))
    calibration = None if kept is None else read_calibration(kept)
    series, calibrated = list[tuple[str, Sequence[Point]]](), tuple[Estimate, ...]()
    if isinstance(contract.task, BinaryTerms):
        positive = labelled.targets[contract.task.target] != 0
        series.append(("the model’s own", compute_points(labelled.said["probability"], positive)))
        if calibration is not None:
            moved = apply_calibration(calibration, contract, labelled.raw)
            series.append(("calibrated here", compute_points(moved, positive)))
            calibrated = estimate_calibrated_figures(contract, labelled, calibration)
    return render_page(
        Facts(
            contract=contract,
            card=read_card(folder, contract),
            patients=labelled.patients,
            records=len(labelled.raw),
            registered=patients.registered,
            figures=estimate_figures(contract, labelled),
            calibrated=calibrated,
            fitted_here=calibration is not None and calibration.data_sha256 == contents.sha256,
            series=tuple(series),
            groups=tuple(groups),
            outlined=draw_outlined(contract, contents.inputs, rows, labelled, pictures) if pictures else (),
        )
    )


def read_card(folder: Path, contract: ReleaseContract) -> ModelCard | None:
    """Read the release's card; None if there is none.

    Raises:
        ReleaseError: it is no card, or that of another model.
    """
    path = folder / CARD_FILE
    if not path.exists():
        return None
    try:
        value = from_canonical(path.read_bytes().rstrip(b"\n"))
    except OSError as cause:
        raise ReleaseError(f"{path}: cannot be read: {cause.strerror}") from None
    except WireError as error:
        raise ReleaseError(f"{path}: not a release's card: {error}") from None
    card = parse(value, ModelCard, ReleaseError, str(path))
    if card.model.sha256 != contract.model.sha256:
        raise ReleaseError(
            f"{path}: expected the card of the model {contract.model.sha256}, got that of {card.model.sha256}; take "
            "the release folder as the study left it"
        )
    return card


def _judge_group(contract: ReleaseContract, column: str, word: str, labelled: Labelled) -> GroupFigures:
    """Estimate some figures of a group; none of one that is too small."""
    if labelled.patients < LEAST_PATIENTS:
        return GroupFigures(column, word, labelled.patients, ())
    figures = estimate_figures(contract, labelled)
    names = _FIGURES_OF_GROUPS.get(
        contract.task.kind, tuple(each.name for each in figures[:_MOST_FIGURES_OF_GROUPS])
    )
    return GroupFigures(column, word, labelled.patients, tuple(each for each in figures if each.name in names))
