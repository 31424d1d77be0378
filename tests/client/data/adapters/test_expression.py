"""Expression matrices of every text format become the same samples; what is no number is never one."""

import gzip
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from client.data.adapters import scratch_matrix
from client.data.adapters.classes import read_classes
from client.data.adapters.expression import UNREADABLE, GenesInColumns, GenesInRows, Layout, Matrix
from privacy.errors import DataError
from tests.client.data.conversion.converting import SHARED

ROWS, COLUMNS = Layout("rows"), Layout("columns")
TABLE = "gene\ts1\ts2\ts3\nA\t1\t2.5\t-3\nB\t4e2\t5\tNA\nC\t7\t8\t9\n"
VALUES = [[1, 400, 7], [2.5, 5, 8], [-3, math.nan, 9]]


def read(matrix: Matrix) -> tuple[list[str], NDArray[np.float64]]:
    blocks = list(matrix.read_blocks())
    names = [name for block in blocks for name in block.samples]
    return names, np.concatenate([block.values for block in blocks])


def write(folder: Path, content: bytes | str, name: str = "m.txt") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def open_rows(path: Path, layout: Layout = ROWS, kind: str = "table", wanted: str = "ABC") -> GenesInRows:
    scratch = path.with_suffix(".scratch")
    scratch.unlink(missing_ok=True)
    return GenesInRows(path, layout, lambda name: name if name in wanted else None, scratch, kind)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "layout", "kind"),
    [
        (TABLE, ROWS, "table"),
        (TABLE.replace("\n", "\r\n"), ROWS, "table"),
        (TABLE.replace("\t", ","), Layout("rows", delimiter=","), "table"),
        (TABLE.replace(".", ",").replace("\t", ";"), Layout("rows", delimiter=";", decimal=","), "table"),
        (gzip.compress(TABLE.encode(), mtime=0), ROWS, "table"),
        ("\ufeff" + TABLE, ROWS, "table"),
        (TABLE.replace("A\t", '"A"\t').replace("gene", '"gene"'), ROWS, "table"),
        ("#1.2\n3\t3\n" + TABLE.replace("\t", "\tabout\t", 1).replace("\nA", "\nA\tx").replace("\nB", "\nB\ty")
         .replace("\nC", "\nC\t"), ROWS, "gct"),
        ("ID\tNAME\tGWEIGHT\ts1\ts2\ts3\nEWEIGHT\t\t\t1\t1\t1\n"
         "A\ta\t1\t1\t2.5\t-3\nB\tb\t1\t400\t5\t\nC\tc\t1\t7\t8\t9\n", ROWS, "pcl"),
        ("about\tgene\ts1\ts2\ts3\nx\tA\t1\t2.5\t-3\ny\tB\t400\t5\tNaN\nz\tC\t7\t8\t9\n",
         Layout("rows", names="gene", ignored=("about",)), "table"),
    ],
    ids=["TSV", "CRLF", "CSV", "decimal comma", "gzip", "mark", "quotes", "GCT", "PCL", "description"],
)  # fmt: skip
def test_matrix_with_genes_in_rows_gives_its_samples(
    tmp_path: Path, content: bytes | str, layout: Layout, kind: str
) -> None:
    matrix = open_rows(write(tmp_path, content), layout, kind)
    names, values = read(matrix)
    assert (list(matrix.genes), names) == (["A", "B", "C"], ["s1", "s2", "s3"])
    np.testing.assert_array_equal(values, VALUES)


def test_matrix_with_genes_in_columns_gives_the_same_and_its_other_columns(tmp_path: Path) -> None:
    text = "who\tA\tx\tC\tB\ns1\t1\tone\t7\t400\ns2\t2.5\ttwo\t8\t5\ns3\t-3\t\t9\tNA\n"
    matrix = GenesInColumns(write(tmp_path, text), COLUMNS, lambda name: name if name in "ABC" else None)
    (block,) = matrix.read_blocks()
    assert (matrix.genes, list(block.samples), block.places) == (["A", "C", "B"], ["s1", "s2", "s3"], [2, 3, 4])
    np.testing.assert_array_equal(block.values[:, [0, 2, 1]], VALUES)
    assert dict(block.words) == {"x": ["one", "two", ""]}


def test_wide_matrix_is_read_in_several_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch_matrix, "_BLOCK", 40)
    expected = np.random.default_rng(0).normal(size=(4, 101))
    frame = pd.DataFrame(expected, index=list("ABCD"), columns=[f"s{n}" for n in range(101)])
    frame.to_csv(tmp_path / "m.txt", sep="\t", index_label="gene")
    matrix = open_rows(tmp_path / "m.txt", wanted="ABD")
    blocks = list(matrix.read_blocks())
    assert max(len(block.samples) for block in blocks) == 13
    np.testing.assert_array_equal(np.concatenate([block.values for block in blocks]), expected[[0, 1, 3]].T)
    assert [place for block in blocks for place in block.places] == list(range(1, 102))


@pytest.mark.parametrize(
    "word", ["abc", "inf", "-Infinity", "1_000", "0x1F", "#DIV/0!", "1.2.3", "nan", "1e999", "\u0661x"]
)
def test_word_that_is_no_number_is_unreadable(tmp_path: Path, word: str) -> None:
    _, values = read(open_rows(write(tmp_path, TABLE.replace("2.5", word))))
    assert values[1, 0] == UNREADABLE
    assert np.isfinite(values[[0, 2]][:, [0, 2]]).all()


def test_decimal_point_where_the_comma_is_named_is_unreadable(tmp_path: Path) -> None:
    _, values = read(open_rows(write(tmp_path, TABLE), Layout("rows", decimal=",")))
    assert values[1, 0] == UNREADABLE


@pytest.mark.parametrize(
    ("content", "kind", "sentence"),
    [
        (TABLE.replace("2.5", "2,5"), "table", "1 values have a comma, and the decimal mark is a point; write decimal"),
        (TABLE.replace("2.5", "1,234.5"), "table", "1 values have a comma"),
        (TABLE.replace("\t5\t", "\t"), "table", "1 rows do not have the 4 fields of the header, the first in line 3"),
        (TABLE.removeprefix("gene\t"), "table", "save it with col.names=NA"),
        (TABLE.replace("s3", "s1"), "table", "1 samples have the name of an earlier one"),
        (TABLE.replace("s3", ""), "table", "a column of the header has no name"),
        ("gene\nA\n", "table", "the header has one column"),
        (TABLE.replace("\t", ","), "table", "the header has one column; name the delimiter"),
        ("gene\ts1\n\"A\t1\n", "table", "a quote opens in the row that begins there"),
        ("#1.4\n" + TABLE, "gct", "whose first line is #1.2 or #1.3"),
        ("#1.2\n3\tx\n" + TABLE, "gct", "expected whole numbers in line 2"),
        ("#1.2\n3\t9\n" + TABLE, "gct", "expected 11 columns, as line 2 says, got 4 in line 3"),
        ("#1.2\n9\t2\n" + TABLE, "gct", "expected 9 genes and 2 samples, as the second line says, got 3"),
        ("#1.3\n3\t3\n" + TABLE, "gct", "expected whole numbers in line 2"),
        ("", "table", "is empty"),
        (b"PK\x03\x04", "table", "an Excel workbook or a ZIP archive"),
        (TABLE.encode("utf-16"), "table", "text in UTF-16"),
        (TABLE.replace("s1", "m\u00fc").encode("latin-1"), "table", "line 1 is no text in UTF-8"),
    ],
)  # fmt: skip
def test_matrix_that_is_wrong_is_refused_with_a_sentence(
    tmp_path: Path, content: bytes | str, kind: str, sentence: str
) -> None:
    path = write(tmp_path, content)
    with pytest.raises(DataError, match=sentence) as refused:
        open_rows(path, kind=kind)
    assert str(refused.value).startswith(f"{path}: ")


def test_rows_of_samples_with_other_lengths_are_refused(tmp_path: Path) -> None:
    matrix = GenesInColumns(write(tmp_path, "who\tA\tB\ns1\t1\t2\ns2\t1\n"), COLUMNS, lambda name: name)
    with pytest.raises(DataError, match="1 rows do not have the 3 fields of the header"):
        list(matrix.read_blocks())


def test_gct_descriptions_of_samples_become_words(tmp_path: Path) -> None:
    text = "#1.3\n2\t2\t1\t2\nid\tsymbol\ts1\ts2\ncell\tna\tMCF7\tA375\ndose\tna\t1\t2\np1\tA\t1\t2\np2\tB\t3\t4\n"
    matrix = open_rows(write(tmp_path, text), Layout("rows", names="symbol"), "gct")
    (block,) = matrix.read_blocks()
    assert (matrix.genes, dict(block.words)) == (["A", "B"], {"cell": ["MCF7", "A375"], "dose": ["1", "2"]})
    np.testing.assert_array_equal(block.values, [[1, 3], [2, 4]])


@pytest.mark.parametrize("name", ["1-Mar", "2-Sep", "Mar-01", "2001-03-01", "2001-03-01 00:00:00", "01.03.2001"])
def test_gene_that_a_spreadsheet_made_a_date_is_counted(tmp_path: Path, name: str) -> None:
    assert open_rows(write(tmp_path, TABLE.replace("\nB\t", f"\n{name}\t"))).dates == 1
    assert open_rows(write(tmp_path, TABLE.replace("\nB\t", "\nMARCH1\t"))).dates == 0


@given(st.binary(max_size=20), st.integers(0, 80))
def test_matrix_with_mutated_bytes_gives_numbers_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int
) -> None:
    content = TABLE.encode()[:at] + noise + TABLE.encode()[at + len(noise) :]
    path = write(tmp_path_factory.mktemp("matrix"), content)
    try:
        (names, values), refused = read(open_rows(path)), ""
    except DataError as error:
        names, values, refused = [], np.empty((0, 0)), str(error)
    assert refused.startswith(f"{path}: ") or len(names) == len(values) > 0
    assert not np.isneginf(values).any()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("4 2 1\n# ALL AML\nALL AML ALL AML\n", ["ALL", "AML", "ALL", "AML"]),
        ("3 2 1\n#ALL AML\n0 1 1\n", ["ALL", "AML", "AML"]),
    ],
)
def test_classes_are_words_for_each_sample(tmp_path: Path, text: str, words: list[str]) -> None:
    assert read_classes(write(tmp_path, text)).words == words


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "4 2 1\n# ALL AML\nALL AML ALL\n",
            "expected 4 2 samples and classes, as its first line says, got 3 and 2",
        ),
        ("1 2 1\n# ALL AML\nCML\n", "1 samples have a class that its second line does not name"),
        ("#numeric\n#x\n1 2\n", "continuous phenotype"),
        ("1 1 1\n", "expected the three lines of a CLS file, got 1"),
    ],
)
def test_classes_that_are_wrong_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        read_classes(write(tmp_path, text))


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")
@pytest.mark.parametrize(
    ("name", "kind", "skipped", "described", "shape"),
    [
        ("adapters/genomics/leukemia_u95.gct.gz", "gct", 2, 2, (48, 9020)),
        ("adapters/genomics/v1_2_n.gct", "gct", 2, 2, (3, 5)),
        ("adapters/genomics/v1_2_n5x10.gct", "gct", 2, 2, (5, 10)),
        ("adage/Anr-gene.pcl.gz", "pcl", 0, 1, (6, 5549)),
        ("adage/Anr_RNAseq_PAO1_gene.pcl.gz", "pcl", 0, 1, (4, 5549)),
    ],
)
def test_real_matrix_has_the_numbers_that_pandas_reads(
    tmp_path: Path, name: str, kind: str, skipped: int, described: int, shape: tuple[int, int]
) -> None:
    path = SHARED / name
    layout = Layout("rows", quote=None)
    names, values = read(GenesInRows(path, layout, lambda gene: gene, tmp_path / "scratch", kind))  # type: ignore[arg-type]
    table = pd.read_csv(path, sep="\t", skiprows=skipped, quoting=3)
    assert values.shape == shape
    assert names == list(table.columns[described:])
    np.testing.assert_array_equal(values, table.iloc[:, described:].to_numpy(dtype=np.float64).T)


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")
def test_real_gct_of_two_descriptions_has_the_numbers_that_pandas_reads(tmp_path: Path) -> None:
    path = SHARED / "adapters" / "genomics" / "p100.gct"
    layout = Layout("rows", quote=None, missing=("", "NA", "NaN", "nan"), names="pr_gene_symbol")
    matrix = GenesInRows(path, layout, lambda gene: gene, tmp_path / "scratch", "gct")
    _, values = read(matrix)
    table = pd.read_csv(path, sep="\t", skiprows=2, quoting=3).iloc[19:]
    assert matrix.genes == list(table["pr_gene_symbol"])
    np.testing.assert_array_equal(values, table.iloc[:, 12:].to_numpy(dtype=np.float64).T)
    assert len(matrix.word_names) == 19
