"""Choose the study and the hospitals of a demonstration.

================================  ======================================  =========================================
options                           study                                   hospitals
================================  ======================================  =========================================
none                              ``examples/breast_cancer.yaml``         the Wisconsin table, divided
``--model NAME``                  a small one of this model               generated records: nobody's
``--data DIR``                    ``examples/tabular/logistic.yaml``      the four files of the UCI collection
``--data DIR --model NAME``       the model's example in ``examples/``    one for each folder of ``DIR``
``--data DIR --study FILE``       ``FILE``                                one for each folder of ``DIR``
================================  ======================================  =========================================

A hospital's folder holds ``train`` and ``test``, both ``.csv`` or ``.npz``, as the study's contract says; or its own
data, and ``mapping.yaml``, which leads from them to the contract. A study that begins with public weights
(``model.start``) needs their file, ``--weights FILE``, which every hospital then adds.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import yaml

from models.catalogue import find_model
from models.errors import ModelError
from models.generated.records import generate_records, write_records
from models.generated.study import write_generated_study
from privacy.errors import FederationError
from privacy.study import TableContract, Terms, parse_terms
from privacy.study.data.contract import DataContract
from server.demo.hospitals import has_heart_files, make_specialised_hospitals, read_heart_hospitals
from server.study.check import require_weights

MAPPING_FILE: Final = "mapping.yaml"
_EXAMPLES: Final = Path(__file__).resolve().parents[2] / "examples"
_SEED: Final = 0
_GENERATED: Final = {"north": 120, "east": 90, "south": 70, "west": 60}  # training patients
_GENERATED_TESTS: Final = 40
_GENERATED_ROUNDS: Final = 6


@dataclass(frozen=True)
class DemoChoice:
    """The options of the demonstration."""

    model: str | None
    task: str | None
    study: Path | None
    data: Path | None
    folder: Path | None
    keep: bool
    epsilon: str
    rounds: int | None
    weights: Path | None = None


class DemoHospital(Protocol):
    """A hospital of the demonstration."""

    @property
    def name(self) -> str:
        """The name of its site."""
        ...

    def write(self, folder: Path) -> tuple[Path, ...]:
        """Write its data into ``folder``; return the paths of its training and its test file, or of its mapping."""
        ...


@dataclass(frozen=True)
class GeneratedHospital:
    """A hospital with generated records."""

    name: str
    contract: DataContract
    patients: int
    seed: int

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write ``train.npz`` and ``test.npz`` into ``folder``; return their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = folder / "train.npz", folder / "test.npz"
        for place, (path, count) in enumerate(zip(paths, (self.patients, _GENERATED_TESTS), strict=True)):
            # two studies in one federation are of different people
            prefix = f"{self.contract.name}-{self.name}-{place}"
            records = generate_records(self.contract, count, 2 * self.seed + place, prefix)
            write_records(path, records, self.contract.patient)
        return paths


@dataclass(frozen=True)
class FolderHospital:
    """A hospital whose files are in a folder."""

    name: str
    train: Path
    test: Path

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Copy both files into ``folder``; return the copies."""
        folder.mkdir(parents=True, exist_ok=True)
        train, test = (Path(shutil.copy(path, folder)) for path in (self.train, self.test))
        return train, test


@dataclass(frozen=True)
class MappedHospital:
    """A hospital with its own data in a folder, and a mapping."""

    name: str
    source: Path

    def write(self, folder: Path) -> tuple[Path]:
        """Copy the data into ``folder``; return the path of the mapping there."""
        shutil.copytree(self.source, folder)
        return (folder / MAPPING_FILE,)


def choose_study(choice: DemoChoice) -> tuple[Terms, tuple[DemoHospital, ...]]:
    """Return the study of a demonstration, with the epsilon and the rounds that were asked for, and its hospitals.

    Raises:
        FederationError: the options, or what they name, cannot be used.
        TermsError: the study file has mistakes, or the public weights are not those that it names.
    """
    if choice.model is not None and choice.study is not None:
        raise FederationError("--model and --study both choose the study; keep one of them")
    if choice.study is not None and choice.data is None:
        raise FederationError("--study needs --data: a folder with one folder for each hospital")
    terms = parse_terms(_change(_read_study(choice), choice))
    if choice.weights is not None:
        require_weights(terms, choice.weights)
    elif terms.model.start is not None:
        raise FederationError(
            f"the study '{terms.name}' begins with the public weights {terms.model.start[:16]}; name their file by "
            "--weights"
        )
    return terms, _find_hospitals(choice, terms)


def _read_study(choice: DemoChoice) -> dict[str, Any]:
    if choice.study is not None:
        return _read_yaml(choice.study)
    if choice.model is None:
        return _read_yaml(_EXAMPLES / ("breast_cancer.yaml" if choice.data is None else "tabular/logistic.yaml"))
    try:
        entry = find_model(choice.model)
        if choice.data is None:
            return write_generated_study(choice.model, choice.task, rounds=_GENERATED_ROUNDS)
    except ModelError as error:
        raise FederationError(f"--model: {error}") from None
    return _read_yaml(_EXAMPLES / entry.domain / f"{choice.model.replace('-', '_')}.yaml")


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FederationError(f"{path}: not found; examples are in the source tree, name your own file by --study")
    value = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise FederationError(f"{path}: not a study file")
    return value


def _change(value: dict[str, Any], choice: DemoChoice) -> dict[str, Any]:
    """Write the asked epsilon and rounds into a study."""
    if choice.epsilon == "none":
        value["privacy"] = {"epsilon": "none"}
        value["evaluation"] = {**value.get("evaluation", {}), "epsilon": "none"}
        value.get("cohort", {}).pop("participation", None)
    else:
        value["privacy"] = {**value["privacy"], "epsilon": choice.epsilon}
    if choice.rounds is not None and not value["training"].get("stages"):
        value["training"]["rounds"] = choice.rounds
        evaluation = {name: each for name, each in value.get("evaluation", {}).items() if name != "every"}
        value["evaluation"] = {**evaluation, "rounds": sorted({max(1, choice.rounds // 2), choice.rounds})}
    return value


def _find_hospitals(choice: DemoChoice, terms: Terms) -> tuple[DemoHospital, ...]:
    if choice.data is None:
        if not isinstance(terms.data, TableContract):
            return tuple(
                GeneratedHospital(name, terms.data, patients, seed)
                for seed, (name, patients) in enumerate(_GENERATED.items(), start=1)
            )
        return make_specialised_hospitals(_SEED)
    if choice.study is None and (choice.model is None or has_heart_files(choice.data)):
        return read_heart_hospitals(choice.data, _SEED)
    return _list_folders(choice.data, "csv" if isinstance(terms.data, TableContract) else "npz")


def _list_folders(data: Path, ending: str) -> tuple[DemoHospital, ...]:
    if not data.is_dir():
        raise FederationError(f"{data}: not a folder; expected one with a folder for each hospital")
    names = [f"train.{ending}", f"test.{ending}"]
    found: Sequence[Path] = sorted(path for path in data.iterdir() if path.is_dir())
    mapped = {folder for folder in found if (folder / MAPPING_FILE).is_file()}
    for folder in found:
        if folder in mapped:
            continue
        lacking = [name for name in names if not (folder / name).is_file()]
        if lacking:
            raise FederationError(f"{folder}: lacks {' and '.join(lacking)}, and {MAPPING_FILE}")
    if not found:
        raise FederationError(f"{data}: has no folders; expected one for each hospital, with {' and '.join(names)}")
    return tuple(
        MappedHospital(folder.name, folder)
        if folder in mapped
        else FolderHospital(folder.name, folder / names[0], folder / names[1])
        for folder in found
    )
