"""Items of pairs become rows of a matrix, which is judged as a whole first."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from client.data.conversion.report import ConversionError
from privacy.errors import SiteConfigError
from tests.client.data.conversion.converting import SHARED, convert, list_reasons, make_contract

THINGS = ["d1", "d2", "d3"]
ROWS = {"d1": [1, 0.5, 0.2], "d2": [0.5, 1, 0.1], "d3": [0.2, 0.1, 1]}
MAPPING: dict[str, Any] = {
    "pairs": {"kind": "csv", "path": "pairs.csv"},
    "items": {"features": {"kind": "matrix", "match": "drug", "path": "drugs.tsv"}},
    "columns": {"bound": "bound"},
}


def make(**keys: Any) -> Any:
    similarities = {"kind": "similarities", "name": "features", "columns": THINGS, "scaled": "none"} | keys
    label = {"name": "bound", "positive": ["yes"], "negative": ["no"]}
    return make_contract(kind="pairs", protected="features", inputs=[similarities], label=label)


def write(folder: Path, rows: dict[str, list[float]] | None = None) -> None:
    rows = ROWS if rows is None else rows
    lines = ["\t".join(["", *THINGS]), *("\t".join([name, *map(str, row)]) for name, row in rows.items())]
    (folder / "drugs.tsv").write_text("\n".join(lines) + "\n")
    (folder / "pairs.csv").write_text("drug,bound\nd3,yes\nd1,no\nd2,no\n")


def test_item_has_its_row_and_is_the_patient(tmp_path: Path) -> None:
    write(tmp_path)
    found = convert(make(symmetric=True, diagonal=1), MAPPING, tmp_path)
    rows = dict(zip(found.patients, found.arrays["features"].tolist(), strict=True))
    assert {name: [round(each, 3) for each in row] for name, row in rows.items()} == ROWS


def test_columns_stand_in_the_order_of_the_contract(tmp_path: Path) -> None:
    write(tmp_path)
    found = convert(make(columns=["d3", "d1"]), MAPPING, tmp_path)
    place = found.patients.index("d1")
    assert found.arrays["features"][place].tolist() == pytest.approx([0.2, 1])


@pytest.mark.parametrize(
    ("rows", "keys", "message"),
    [
        (ROWS | {"d3": [0.2, 0.3, 1]}, {"symmetric": True}, "1 pairs of things have two different values"),
        (ROWS | {"d3": [0.2, 0.1, 0]}, {"diagonal": 1}, "1 things have another similarity to themselves than 1"),
        (ROWS | {"d3": [0.2, 10, -3]}, {}, "2 values are outside the contract's range from 0 to 1"),
        ({"d1": ROWS["d1"], "d2": ROWS["d2"]}, {"symmetric": True}, "1 of its columns have no row"),
        (ROWS, {"sha256": "0" * 64}, "the study asks for the file with the SHA-256 000"),
        (ROWS, {"columns": ["d1", "d9"]}, "lacks 1 of the contract's 2 columns, such as d9"),
    ],
)
def test_matrix_of_another_kind_is_a_mistake(
    tmp_path: Path, rows: dict[str, list[float]], keys: dict[str, Any], message: str
) -> None:
    write(tmp_path, rows)
    with pytest.raises(ConversionError, match=message):
        convert(make(**keys), MAPPING, tmp_path)


def test_rounding_in_a_file_is_no_asymmetry(tmp_path: Path) -> None:
    write(tmp_path, ROWS | {"d3": [0.20001, 0.1, 1]})
    assert len(convert(make(symmetric=True), MAPPING, tmp_path).patients) == 3


def test_items_without_a_whole_row_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, {"d1": ROWS["d1"], "d2": [float("nan"), 1, 0]})
    found = convert(make(), MAPPING, tmp_path, most=0.9)
    assert found.patients == ["d1"]
    assert list_reasons(found.report) == {
        "'drug' names no row of drugs.tsv": 1,
        "'drug' names a row of drugs.tsv with a value that is missing or no number": 1,
    }


def test_arrays_give_the_same_rows(tmp_path: Path) -> None:
    write(tmp_path)
    np.savez(tmp_path / "m.npz", v=np.array(list(ROWS.values())), r=np.array(list(ROWS)), c=np.array(THINGS))
    item = {"kind": "npz", "match": "drug", "path": "m.npz", "values": "v", "rows": "r", "columns": "c"}
    one = convert(make(symmetric=True), MAPPING, tmp_path)
    other = convert(make(symmetric=True), MAPPING | {"items": {"features": item}}, tmp_path)
    assert one.patients == other.patients
    np.testing.assert_array_equal(one.arrays["features"], other.arrays["features"])


def test_letters_for_similarities_are_refused(tmp_path: Path) -> None:
    write(tmp_path)
    item = {"kind": "column", "column": "drug", "id": "drug"}
    with pytest.raises(
        SiteConfigError, match="wants similarities, whose item is of kind matrix or npz, got column"
    ):
        convert(make(), MAPPING | {"items": {"features": item}}, tmp_path)


@pytest.mark.skipif(not (SHARED / "dti").exists(), reason="shared/data/dti is not here")
def test_published_matrices_are_taken_only_as_what_they_are(tmp_path: Path) -> None:
    """That of the proteins is symmetric, that of the drugs is not."""
    links = pd.read_csv(SHARED / "dti/nr_admat_dgc.txt", sep="\t", index_col=0)  # proteins by drugs
    rows = [f"{drug},{p},{'yes' if links.loc[p, drug] else 'no'}" for drug in links.columns for p in links.index]
    (tmp_path / "pairs.csv").write_text("\n".join(["drug,protein,bound", *rows]) + "\n")
    (tmp_path / "drugs.tsv").write_bytes((SHARED / "dti/nr_simmat_dc.txt").read_bytes())
    drugs = list(links.columns)
    found = convert(make(columns=drugs, diagonal=1), MAPPING, tmp_path)
    assert (len(set(found.patients)), found.arrays["features"].shape) == (54, (54 * 26, 54))
    with pytest.raises(ConversionError, match="pairs of things have two different values"):
        convert(make(columns=drugs, symmetric=True), MAPPING, tmp_path)
    (tmp_path / "drugs.tsv").write_bytes((SHARED / "dti/nr_simmat_dg.txt").read_bytes())
    of_proteins = {"kind": "matrix", "match": "protein", "path": "drugs.tsv"}
    contract = make(columns=list(links.index), symmetric=True, diagonal=1)
    found = convert(contract, MAPPING | {"items": {"features": of_proteins}}, tmp_path)
    assert sorted(set(found.patients)) == sorted(links.index)
