"""Convert small files as a site does, and look at what comes out."""

import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

from client.data.conversion.convert import convert_to
from client.data.conversion.report import SnapshotReport
from privacy.study.data.kinds import AnyContract, ContractFile

SHARED = Path(__file__).resolve().parents[5] / "shared" / "data"


class Converted(NamedTuple):
    """All records, training ones first: each tensor, the patients, whether held out; and the report."""

    arrays: dict[str, NDArray[Any]]
    patients: list[str]
    held_out: list[bool]
    report: SnapshotReport


def make_contract(**keys: Any) -> AnyContract:
    """A contract with a name and where its ranges come from."""
    return ContractFile.model_validate({"data": {"name": "people", "ranges_from": "invented"} | keys}).data


def convert(
    contract: AnyContract, mapping: dict[str, Any], folder: Path, most: float = 0.01, *, with_targets: bool = True
) -> Converted:
    """Write the mapping into ``folder``, convert, and read what was made."""
    path = folder / "mapping.yaml"
    path.write_text(yaml.safe_dump({"mapping": 1, "contract": contract.name} | mapping))
    with tempfile.TemporaryDirectory(dir=folder) as name:
        out = Path(name)
        report = convert_to(contract, path, out, most, with_targets=with_targets)
        parts = [dict(np.load(file)) for file in (out / "train.npz", out / "test.npz") if file.exists()]
    arrays = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    patients = [name.decode() for name in arrays.pop(contract.patient)]
    held_out = [number > 0 for number, part in enumerate(parts) for _ in part[contract.patient]]
    return Converted(arrays, patients, held_out, report)


def list_reasons(report: SnapshotReport) -> dict[str, int]:
    """How many items were left out for each reason."""
    return {each.reason: each.count for each in report.quarantined}
