"""Matrices of genes and samples become a contract's numbers; every rule against a table computed by hand or pandas."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from client.data.conversion.expression import compute_values
from client.data.conversion.report import ConversionError
from privacy.errors import SiteConfigError
from tests.client.data.conversion.converting import SHARED, Converted, convert, list_reasons, make_contract

TABLE = "gene\ts1\ts2\ts3\nB\t4\t5\t6\nX\t0\t0\t0\nA\t1\t2\t3\n"
SOURCE: dict[str, Any] = {"kind": "table", "path": "m.txt", "genes_in": "rows", "delimiter": "tab"}
BY_SAMPLE = {"columns": {"patient": "sample"}}


def make(**keys: Any) -> Any:
    return make_contract(kind="expression", **({"genes": ["A", "B"], "low": 0, "high": 10} | keys))


def write(folder: Path, text: str = TABLE, name: str = "m.txt") -> None:
    (folder / name).write_text(text)


def mapping(*sources: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return {"sources": list(sources) or [SOURCE], **BY_SAMPLE, **keys}


def by_patient(converted: Converted, name: str = "features") -> dict[str, Any]:
    return dict(zip(converted.patients, converted.arrays[name].tolist(), strict=True))


def test_genes_stand_in_the_contracts_order(tmp_path: Path) -> None:
    write(tmp_path)
    found = convert(make(), mapping(), tmp_path)
    assert by_patient(found) == {"s1": [1, 4], "s2": [2, 5], "s3": [3, 6]}
    assert found.report.notes == ("m.txt: 3 samples; 2 of its genes are used",)
    assert found.arrays["features"].dtype == np.float32


def test_same_numbers_in_every_format_are_the_same_records(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, "who;A;B;note\ns1;1,0;4;x\ns2;2;5;y\ns3;3;6;z\n", "c.csv")
    write(tmp_path, "#1.2\n2\t3\nNAME\tDescription\ts1\ts2\ts3\nA\ta\t1\t2\t3\nB\tb\t4\t5\t6\n", "g.gct")
    write(tmp_path, "ID\tNAME\ts1\ts2\ts3\nA\ta\t1\t2\t3\nB\tb\t4\t5\t6\n", "p.pcl")
    sources: list[dict[str, Any]] = [
        SOURCE,
        {"kind": "table", "path": "c.csv", "genes_in": "columns", "delimiter": ";", "decimal": ","},
        {"kind": "gct", "path": "g.gct"},
        {"kind": "pcl", "path": "p.pcl"},
    ]
    found = [by_patient(convert(make(), mapping(each), tmp_path)) for each in sources]
    assert found == [found[0]] * 4


def test_several_sources_with_words_of_their_own_are_one_population(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, TABLE.replace("s1", "t1").replace("s2", "t2").replace("s3", "t3"), "n.txt")
    contract = make(label={"name": "arm", "positive": ["x"], "negative": ["y"]})
    sources: list[dict[str, Any]] = [
        SOURCE | {"words": {"arm": "x"}},
        SOURCE | {"path": "n.txt", "words": {"arm": "y"}},
    ]
    labels = by_patient(convert(contract, mapping(*sources), tmp_path), "label")
    assert labels == {"s1": 1, "s2": 1, "s3": 1, "t1": 0, "t2": 0, "t3": 0}


def test_label_and_patient_are_found_in_a_table_by_sample(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, "array,person,state\ns3,p1,ill\ns1,p1,well\ns2,p2,ill\n", "t.csv")
    contract = make(label={"name": "ill", "positive": ["ill"], "negative": ["well"]}, records_per_patient=2)
    table = {
        "source": {"kind": "csv", "path": "t.csv"},
        "match": {"array": "sample"},
        "columns": {"who": "person", "state": "state"},
    }
    found = convert(
        contract, {"sources": [SOURCE], "columns": {"patient": "who", "ill": "state"}, "tables": [table]}, tmp_path
    )
    records = sorted(zip(found.patients, found.arrays["label"].tolist(), strict=True))
    assert records == [("p1", 0), ("p1", 1), ("p2", 1)]


def test_sample_without_a_row_in_the_table_is_left_out(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, "array,person\ns1,p1\ns2,p2\n", "t.csv")
    table = {
        "source": {"kind": "csv", "path": "t.csv"},
        "match": {"array": "sample"},
        "columns": {"patient": "person"},
    }
    found = convert(make(), {"sources": [SOURCE], "tables": [table]}, tmp_path, most=0.5)
    assert (sorted(found.patients), list_reasons(found.report)) == (["p1", "p2"], {"has no row in t.csv": 1})


def test_table_with_a_key_twice_and_other_words_is_a_mistake(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, "array,person\ns1,p1\ns1,p2\ns2,p2\ns2,p2\ns3,p3\n", "t.csv")
    table = {
        "source": {"kind": "csv", "path": "t.csv"},
        "match": {"array": "sample"},
        "columns": {"patient": "person"},
    }
    with pytest.raises(
        ConversionError, match=r"t.csv: 1 keys \(array\) stand in several rows with different words"
    ):
        convert(make(), {"sources": [SOURCE], "tables": [table]}, tmp_path)


@pytest.mark.parametrize("classes", ["2 2 1\n# x y\nx y\n", "4 2 1\n# x y\nx y x y\n"])
def test_classes_of_another_number_of_samples_are_a_mistake(tmp_path: Path, classes: str) -> None:
    """They are told by their order only: one too many or too few would move all labels."""
    write(tmp_path)
    write(tmp_path, classes, "c.cls")
    contract = make(label={"name": "class", "positive": ["x"], "negative": ["y"]})
    table = {
        "source": {"kind": "cls", "path": "c.cls"},
        "match": {"sample": "number"},
        "columns": {"class": "class"},
    }
    with pytest.raises(ConversionError, match=r"c\.cls: expected a class for each of the 3 samples of m\.txt"):
        convert(contract, mapping(tables=[table]), tmp_path, most=0.9)
    with pytest.raises(SiteConfigError, match="a CLS file tells the samples of one matrix by their order"):
        convert(contract, mapping(SOURCE, SOURCE, tables=[table]), tmp_path)


STORED = {
    "as-is": lambda value: value,
    "log2": math.log2,
    "log2p1": lambda value: math.log2(1 + value),
    "ln": math.log,
    "ln1p": math.log1p,
    "log10": math.log10,
}


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("transform", ["none", "log2p1"])
def test_stored_logarithm_is_undone_before_the_transform(stored: Any, transform: str) -> None:
    measured = [0.25, 1.0, 7.0, 1023.0]
    kept = np.array([[STORED[stored](value) for value in measured]])
    expected = measured if transform == "none" else [math.log2(1 + value) for value in measured]
    np.testing.assert_allclose(compute_values(kept, stored, transform)[0], expected, rtol=1e-12)


def test_stored_and_wanted_logarithm_that_are_the_same_change_no_bit() -> None:
    values = np.random.default_rng(0).normal(size=(3, 4))
    assert (compute_values(values, "log2p1", "log2p1") == values).all()


def test_sample_with_a_negative_count_is_left_out_of_a_logarithm(tmp_path: Path) -> None:
    write(tmp_path, TABLE.replace("\t2\t", "\t-2\t"))
    found = convert(make(transform="log2p1"), mapping(), tmp_path, most=0.5)
    assert by_patient(found) == {
        "s1": pytest.approx([1, math.log2(5)]),
        "s3": pytest.approx([2, math.log2(7)]),
    }
    assert list_reasons(found.report) == {"has a value of which the logarithm cannot be taken, or is too large": 1}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"absent": "refuse"}, None),
        ({"absent": "low", "most_absent": 0.5}, [2, 0]),
        ({"absent": "middle", "most_absent": 0.5}, [2, 5]),
        ({"absent": "middle", "most_absent": 0.4}, None),
    ],
)
def test_missing_value_is_what_the_contract_says(tmp_path: Path, rule: dict[str, Any], expected: Any) -> None:
    write(tmp_path, TABLE.replace("\t5\t", "\tNA\t"))
    found = convert(make(**rule), mapping(), tmp_path, most=0.5)
    assert by_patient(found).get("s2") == expected
    assert set(by_patient(found)) >= {"s1", "s3"}
    assert list_reasons(found.report) == (
        {} if expected else {"lacks a value of more genes than the contract allows": 1}
    )


def test_absent_gene_is_filled_or_a_mistake_as_the_contract_says(tmp_path: Path) -> None:
    write(tmp_path)
    genes = ["A", "MARCH1", "B"]
    found = convert(make(genes=genes, absent="middle", most_absent=0.4), mapping(), tmp_path)
    assert by_patient(found)["s1"] == [1, 5, 4]
    assert "m.txt: 1 genes of the contract are absent, and filled as it says: MARCH1" in found.report.notes
    write(tmp_path, TABLE.replace("X\t", "1-Mar\t"))
    with pytest.raises(
        ConversionError,
        match="lacks 1 of 3 genes of the contract, such as MARCH1; at most 0 may be absent; 1 names are dates",
    ):
        convert(make(genes=genes), mapping(), tmp_path)


def test_sample_with_a_word_that_is_no_number_is_left_out_with_its_place(tmp_path: Path) -> None:
    write(tmp_path, TABLE.replace("\t5\t", "\tn/d\t"))
    found = convert(make(absent="low", most_absent=0.9), mapping(), tmp_path, most=0.5)
    assert sorted(found.patients) == ["s1", "s3"]
    (left_out,) = found.report.quarantined
    assert (left_out.reason, left_out.places[0].row) == ("has a value that is no number", 2)


@pytest.mark.parametrize(("rule", "expected"), [("mean", 6), ("largest", 8)])
def test_gene_with_several_rows_is_joined_as_the_contract_says(tmp_path: Path, rule: str, expected: float) -> None:
    write(tmp_path, TABLE.replace("X\t0", "B\t8").replace("\t0\t0", "\tNA\tNA"))
    found = by_patient(convert(make(repeated=rule), mapping(), tmp_path))
    assert found == {"s1": [1, expected], "s2": [2, 5], "s3": [3, 6]}
    with pytest.raises(ConversionError, match="1 genes of the contract have several rows or columns, such as 'B'"):
        convert(make(), mapping(), tmp_path)


def test_names_of_genes_are_led_through_a_table_and_lose_their_version(tmp_path: Path) -> None:
    write(tmp_path, TABLE.replace("\nA", "\nENSG01.5").replace("\nB", "\nENSG02.11"))
    write(tmp_path, "ensembl,symbol\nENSG01,A\nENSG02,B\nENSG03,\n", "n.csv")
    names = {"source": {"kind": "csv", "path": "n.csv"}, "name": "ensembl", "gene": "symbol"}
    found = convert(make(), mapping(gene_names=names, without_version=True), tmp_path)
    assert by_patient(found)["s1"] == [1, 4]
    with pytest.raises(ConversionError, match="lacks 2 of 2 genes"):
        convert(make(), mapping(gene_names=names), tmp_path)
    write(tmp_path, "ensembl,symbol\nENSG01,A\nENSG01,B\n", "n.csv")
    with pytest.raises(ConversionError, match="1 names lead to two genes of the contract"):
        convert(make(), mapping(gene_names=names, without_version=True), tmp_path)


def test_decimal_comma_that_is_not_named_is_a_mistake_that_asks(tmp_path: Path) -> None:
    write(tmp_path, TABLE.replace("\t5\t", "\t5,25\t"))
    with pytest.raises(
        ConversionError, match="1 values have a comma, and the decimal mark is a point; write decimal"
    ):
        convert(make(), mapping(), tmp_path)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ({"kind": "table", "path": "m.txt", "delimiter": ","}, "say whether the genes are in rows or in columns"),
        ({"kind": "table", "path": "m.txt", "genes_in": "rows"}, "say what separates the fields"),
        ({"kind": "gct", "path": "m.txt", "delimiter": ","}, "leave out genes_in and delimiter"),
        ({"kind": "gctx", "path": "m.txt", "layer": "x"}, "a gctx file has no layers"),
        (SOURCE | {"delimiter": ",", "decimal": ","}, "delimiter and decimal are the same sign"),
    ],
)
def test_source_with_a_mistake_is_refused(tmp_path: Path, source: dict[str, Any], sentence: str) -> None:
    write(tmp_path)
    with pytest.raises(SiteConfigError, match=sentence):
        convert(make(), mapping(source), tmp_path)


def test_cells_of_an_h5ad_are_records_of_their_donor(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py", reason="needs the extra genomics")
    with h5py.File(tmp_path / "m.h5ad", "w") as file:
        file["X"] = np.arange(8.0).reshape(4, 2)
        for group, names in (("obs", ["c1", "c2", "c3", "c4"]), ("var", ["B", "A"])):
            file.create_group(group).attrs["_index"] = "_index"
            file[f"{group}/_index"] = names
        file["obs/donor"] = ["d1", "d2", "d1", "d2"]
    found = convert(
        make(records_per_patient=4),
        {"sources": [{"kind": "h5ad", "path": "m.h5ad"}], "columns": {"patient": "donor"}},
        tmp_path,
    )
    records = sorted(zip(found.patients, found.arrays["features"].tolist(), strict=True))
    assert records == [("d1", [1, 0]), ("d1", [5, 4]), ("d2", [3, 2]), ("d2", [7, 6])]


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")
def test_real_leukaemia_arrays_have_pandas_numbers_and_the_classes_of_the_cls_file(tmp_path: Path) -> None:
    folder = SHARED / "adapters" / "genomics"
    table = pd.read_csv(folder / "leukemia_u95.gct.gz", sep="\t", skiprows=2, index_col=0)
    genes = list(table.index[::40])
    contract = make(
        genes=genes, low=-2000, high=20000, label={"name": "class", "positive": ["AML"], "negative": ["ALL"]}
    )
    classes = {
        "source": {"kind": "cls", "path": str(folder / "leukemia.cls")},
        "match": {"sample": "number"},
        "columns": {"class": "class"},
    }
    source = {"kind": "gct", "path": str(folder / "leukemia_u95.gct.gz")}
    found = convert(contract, mapping(source, tables=[classes]), tmp_path)
    assert len(found.patients) == 48
    for name, values, label in zip(found.patients, found.arrays["features"], found.arrays["label"], strict=True):
        np.testing.assert_array_equal(values, table.loc[genes, name].to_numpy(dtype=np.float32))
        assert label == name.startswith("AML")


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")
def test_real_adage_files_are_one_population_of_sixteen_samples(tmp_path: Path) -> None:
    """Four PCL files, of arrays and of sequencing, whose 5,549 genes are in one order."""
    paths = sorted((SHARED / "adage").glob("*.pcl.gz"))
    tables = [pd.read_csv(path, sep="\t", index_col=0) for path in paths]
    genes = [str(gene) for gene in tables[0].index]
    sources = [{"kind": "pcl", "path": str(path)} for path in paths]
    found = convert(make(genes=genes, low=0, high=16), mapping(*sources), tmp_path)
    assert found.arrays["features"].shape == (16, 5549)
    expected = {name: table[name].to_numpy(dtype=np.float32) for table in tables for name in table.columns}
    assert set(found.patients) == set(expected)
    for name, values in zip(found.patients, found.arrays["features"], strict=True):
        np.testing.assert_array_equal(values, expected[name])
