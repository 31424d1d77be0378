"""Tables of pairs become compounds, proteins and affinities, the same as from the script of the study's authors."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.data.conversion.label_words import UnusableError
from client.data.conversion.pairs import read_affinity
from client.data.conversion.pairs_mapping import AffinityColumn
from client.data.conversion.report import ConversionError
from privacy.errors import SiteConfigError
from privacy.study.data.pairs import Affinity
from tests.client.data.conversion.converting import SHARED, convert, list_reasons, make_contract
from tests.docs.pages import ROOT

COMPOUND = {"kind": "letters", "name": "compound", "alphabet": "smiles", "length": 100, "encoded": "ids"}
PROTEIN = {"kind": "letters", "name": "protein", "alphabet": "protein", "length": 1000, "encoded": "ids"}
AFFINITY = {"low": 5, "high": 11}
MAPPING: dict[str, Any] = {
    "pairs": {"kind": "csv", "path": "pairs.csv"},
    "items": {
        "compound": {
            "kind": "table",
            "match": "drug",
            "source": {"kind": "csv", "path": "drugs.csv"},
            "id": "id",
            "text": "smiles",
        },
        "protein": {"kind": "fasta", "match": "target", "path": "proteins.fa"},
    },
    "affinity": {"column": "kd", "unit": "nM"},
}


def make(**keys: Any) -> Any:
    given_keys = {"protected": "compound", "inputs": [COMPOUND, PROTEIN], "affinity": AFFINITY} | keys
    return make_contract(kind="pairs", **given_keys)


def write(folder: Path, pairs: str = "drug,target,kd\nd1,P1,10\nd1,P2,1000\nd2,P1,0.1\n") -> None:
    (folder / "pairs.csv").write_text(pairs)
    (folder / "drugs.csv").write_text("id,smiles\nd1,CCO\nd2,c1ccccc1\n")
    (folder / "proteins.fa").write_text(">P1 kinase\nMK\nV\n>P2\nAAA\n")


def test_pair_has_the_letters_of_both_items_and_the_affinity(tmp_path: Path) -> None:
    write(tmp_path)
    found = convert(make(), MAPPING, tmp_path)
    rows = sorted(zip(found.patients, found.arrays["affinity"].tolist(), strict=True))
    assert rows == [("d1", 6.0), ("d1", 8.0), ("d2", 10.0)]
    alphabet = "ABCDEFGHIKLMNOPQRSTUVWXYZ"
    first = found.arrays["affinity"].tolist().index(8.0)
    assert found.arrays["protein"][first, :4].tolist() == [*(1 + alphabet.index(each) for each in "MKV"), 0]


@pytest.mark.parametrize(
    ("unit", "word", "expected"),
    [("M", "1e-7", 7), ("mM", "0.01", 5), ("uM", "1", 6), ("nM", "10", 8), ("pM", "10", 11), ("p", "6.5", 6.5)],
)
def test_constant_in_any_unit_is_a_logarithm_of_mol_per_litre(unit: Any, word: str, expected: float) -> None:
    column = AffinityColumn(column="k", unit=unit)
    assert read_affinity(Affinity(low=0, high=12), column, {"k": word}) == pytest.approx(expected)


@given(st.floats(1e-6, 1e9))
def test_constant_of_any_size_is_the_formulas_value(value: float) -> None:
    column = AffinityColumn(column="k", unit="nM")
    found = read_affinity(Affinity(low=0, high=12), column, {"k": repr(value)})
    assert found == pytest.approx(-math.log10(value * 1e-9), abs=1e-9)


@pytest.mark.parametrize("word", [">10000", "> 10000", "<0.1", "~5", ">=3", "\u22653"])
def test_constant_that_is_a_bound_is_refused_or_taken(word: str) -> None:
    column = AffinityColumn(column="k", unit="uM")
    with pytest.raises(UnusableError, match="is only a bound, which the contract refuses"):
        read_affinity(Affinity(low=0, high=12), column, {"k": word})
    number = float(word.lstrip("<>=~\u2265 "))
    found = read_affinity(Affinity(low=0, high=12, bounds="equal"), column, {"k": word})
    assert found == pytest.approx(6 - math.log10(number))


def test_bound_in_a_column_of_its_own_is_a_bound() -> None:
    column = AffinityColumn(column="k", unit="uM", relation="r")
    for word, refused in (("=", False), ("'='", False), ("", False), (">", True), ("'<'", True)):
        try:
            value = read_affinity(Affinity(low=0, high=12), column, {"k": "1", "r": word})
        except UnusableError:
            value = math.nan
        assert math.isnan(value) == refused
    with pytest.raises(UnusableError, match="'r' is no relation"):
        read_affinity(Affinity(low=0, high=12), column, {"k": "1", "r": "about"})


@pytest.mark.parametrize("word", ["", "0", "-5", "ten", "1,5", "nan", "inf", "5 nM", "> "])
def test_constant_that_is_none_leaves_out_the_pair(word: str) -> None:
    with pytest.raises(UnusableError) as refused:
        read_affinity(Affinity(low=0, high=12, bounds="equal"), AffinityColumn(column="k", unit="nM"), {"k": word})
    assert str(refused.value).startswith("'k' ")


def test_pairs_with_bad_items_are_left_out_with_line_and_reason(tmp_path: Path) -> None:
    write(tmp_path, "drug,target,kd\nd1,P1,10\nd9,P1,10\nd1,P9,10\n,P1,10\nd1,P1,>5\nd3,P1,1\n")
    with (tmp_path / "drugs.csv").open("a") as file:
        file.write("d3,\n")
    found = convert(make(), MAPPING, tmp_path, most=0.9)
    assert list_reasons(found.report) == {
        "'drug' names no item of drugs.csv": 1,
        "'target' names no item of proteins.fa": 1,
        "names no patient": 1,
        "'kd' is only a bound, which the contract refuses": 1,
        "the item of 'compound' has no letters": 1,
    }
    assert {place.row for each in found.report.quarantined for place in each.places} == {3, 4, 5, 6, 7}


def test_items_twice_with_other_letters_are_a_mistake(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "proteins.fa").write_text(">P1\nMK\n>P1\nMV\n>P2\nA\n")
    with pytest.raises(ConversionError, match="an item stands there several times with different letters"):
        convert(make(), MAPPING, tmp_path)


def test_protected_items_with_the_same_letters_are_told(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "drugs.csv").write_text("id,smiles\nd1,CCO\nd2,CCO\n")
    assert (
        "1 items of 'compound' have the same letters as another one"
        in convert(make(), MAPPING, tmp_path).report.notes[0]
    )


def test_protected_protein_or_person_is_the_patient(tmp_path: Path) -> None:
    write(tmp_path, "drug,target,kd,who\nd1,P1,10,a\nd1,P2,10,b\nd2,P1,10,a\n")
    assert sorted(convert(make(protected="protein"), MAPPING, tmp_path).patients) == ["P1", "P1", "P2"]
    persons = MAPPING | {"columns": {"patient": "who"}}
    assert sorted(convert(make(protected="person"), persons, tmp_path).patients) == ["a", "a", "b"]
    with pytest.raises(
        SiteConfigError, match="'patient' is the identifier of 'compound', as the contract protects it"
    ):
        convert(make(), persons, tmp_path)


def test_letters_in_the_table_of_pairs_need_an_identifier_if_protected(tmp_path: Path) -> None:
    write(tmp_path, "drug,smiles,target,kd\nd1,CCO,P1,10\nd2,CCN,P1,10\n")
    item = {"kind": "column", "column": "smiles"}
    items = MAPPING["items"] | {"compound": item}
    with pytest.raises(
        SiteConfigError, match=r"items\.compound: the contract protects it; name the column that identifies"
    ):
        convert(make(), MAPPING | {"items": items}, tmp_path)
    found = convert(make(), MAPPING | {"items": items | {"compound": item | {"id": "drug"}}}, tmp_path)
    assert sorted(found.patients) == ["d1", "d2"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"items": {"compound": MAPPING["items"]["compound"]}},
            r"items: expected those of the contract \(compound, protein\)",
        ),
        ({"affinity": None}, "affinity"),
        (
            {"affinity": {"column": "kd", "unit": "mg"}},
            "affinity.unit: expected 'M', 'mM', 'uM', 'nM', 'pM' or 'p'",
        ),
    ],
)
def test_mapping_that_does_not_fit_is_refused(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    write(tmp_path)
    with pytest.raises(SiteConfigError, match=sentence):
        convert(make(), MAPPING | change, tmp_path)


def test_prediction_needs_no_affinity(tmp_path: Path) -> None:
    write(tmp_path, "drug,target\nd1,P1\n")
    wanted = {key: value for key, value in MAPPING.items() if key != "affinity"}
    assert set(convert(make(), wanted, tmp_path, with_targets=False).arrays) == {"compound", "protein"}


def test_fingerprint_of_a_compound_with_a_class_is_a_record(tmp_path: Path) -> None:
    pytest.importorskip("rdkit", reason="needs the extra chemistry")
    (tmp_path / "pairs.csv").write_text("drug,smiles,group\nd1,CCO,x\nd2,OCC,y\nd3,CC(,x\n")
    contract = make(
        inputs=[{"kind": "fingerprint", "name": "compound", "bits": 64}],
        affinity=None,
        label={"kind": "class", "name": "group", "classes": [["x"], ["y"]]},
    )
    mapping = {
        "pairs": MAPPING["pairs"],
        "items": {"compound": {"kind": "column", "column": "smiles", "id": "drug"}},
    }
    found = convert(contract, mapping, tmp_path, most=0.5)
    assert sorted(found.patients) == ["d1", "d2"]
    first, second = found.arrays["compound"]
    assert (first == second).all(), "it is the same compound, written in another way"
    assert list_reasons(found.report) == {"the item of 'compound' is no SMILES that RDKit can read": 1}


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")
def test_real_davis_pairs_are_those_of_the_examples_own_script(tmp_path: Path) -> None:
    """Raw SMILES, a FASTA file of 442 kinases and constants in nM, against the arrays that prepare_davis.py makes."""
    source = SHARED / "dta"
    script = ROOT / "examples" / "drugs" / "prepare_davis.py"
    subprocess.run([sys.executable, script, source, tmp_path / "arrays"], check=True, capture_output=True)
    drugs = json.loads((source / "davis_ligands.json").read_text())
    proteins = json.loads((source / "davis_proteins.json").read_text())
    constants = [line.split() for line in (source / "davis_kd_nM.txt").read_text().splitlines()]
    order, targets = np.random.default_rng(0).permutation(len(proteins)), list(proteins)
    rows = [
        f"{drug},{targets[place]},{constants[number][place]}\n"
        for number, drug in enumerate(drugs)
        if number % 3 == 1
        for place in order
    ]
    (tmp_path / "pairs.csv").write_text("drug,target,kd\n" + "".join(rows))
    (tmp_path / "drugs.csv").write_text("id,smiles\n" + "".join(f"{name},{text}\n" for name, text in drugs.items()))
    (tmp_path / "proteins.fa").write_text("".join(f">{name}\n{text}\n" for name, text in proteins.items()))
    (tmp_path / "held-out.txt").write_text("\n".join(name for n, name in enumerate(drugs) if n // 3 % 5 == 0))
    found = convert(make(), MAPPING | {"split": {"by": "patients", "test": "held-out.txt"}}, tmp_path)
    expected = [dict(np.load(tmp_path / "arrays" / "site-2" / f"{part}.npz")) for part in ("train", "test")]
    for name in ("compound", "protein", "affinity"):
        np.testing.assert_array_equal(found.arrays[name], np.concatenate([part[name] for part in expected]))
    assert found.patients == [name for part in expected for name in part["patient"].tolist()]
