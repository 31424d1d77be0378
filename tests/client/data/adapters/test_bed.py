"""BED files become intervals; a row that is none is reported with its line."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.data.adapters.bed import BedFile, Interval
from privacy.errors import DataError
from tests.client.data.conversion.converting import SHARED

Problems = list[tuple[str, int]]


def read(path: Path) -> tuple[list[Interval], Problems]:
    problems: Problems = []
    return list(BedFile(path, lambda reason, line, _: problems.append((reason, line)))), problems


def write(folder: Path, content: bytes | str) -> Path:
    path = folder / "a.bed"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("chr1\t0\t10", Interval(1, "chr1", 0, 10)),
        ("chr1 0 10 gene 5 -", Interval(1, "chr1", 0, 10, "-", {"name": "gene", "score": "5", "strand": "-"})),
        ("chr1\t0\t10\ta b", Interval(1, "chr1", 0, 10, ".", {"name": "a b"})),
        (
            "HLA-A*01:01\t1\t2\tn\t0\t.\t5.5\t-1",
            Interval(
                1,
                "HLA-A*01:01",
                1,
                2,
                ".",
                {"name": "n", "score": "0", "strand": ".", "column7": "5.5", "column8": "-1"},
            ),
        ),
    ],
    ids=["BED3", "spaces", "a space in a name", "more fields"],
)
def test_bed_row_gives_an_interval_and_its_words(tmp_path: Path, row: str, expected: Interval) -> None:
    assert read(write(tmp_path, row + "\n")) == ([expected], [])


def test_bed_lines_that_are_no_rows_are_skipped(tmp_path: Path) -> None:
    text = "# made by hand\nbrowser position chr1:1-2\ntrack name=x\n\nchrom\tstart\tend\nchr1\t5\t9\n#end\n"
    expected = [Interval(6, "chr1", 5, 9)]
    assert read(write(tmp_path, text)) == (expected, [])
    assert read(write(tmp_path, text.replace("\n", "\r\n"))) == (expected, [])
    assert read(write(tmp_path, gzip.compress(text.encode()))) == (expected, [])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("chr1\t5", "fewer than the three fields"),
        ("chr1\t-5\t9", "no whole numbers from 0"),
        ("chr1\t5.0\t9", "no whole numbers from 0"),
        ("chr1\t1e3\t9000", "no whole numbers from 0"),
        ("chr1\t1,000\t9,000", "no whole numbers from 0"),
        ("\t5\t9", "no whole numbers from 0"),
        ("chr1\t9\t5", "start is not below end"),
        ("chr1\t5\t5", "start is not below end"),
        ("chr1\t5\t9\tn\t0\tplus", "none of + - ."),
    ],
)
def test_bed_row_that_is_wrong_is_reported_with_its_line(tmp_path: Path, row: str, reason: str) -> None:
    found, problems = read(write(tmp_path, f"chr1\t1\t2\n{row}\nchr1\t3\t4\n"))
    assert [each.line for each in found] == [1, 3]
    assert [(reason in sentence, line) for sentence, line in problems] == [(True, 2)]


@pytest.mark.parametrize("content", ["track name=x\n", "#\n"])
def test_bed_without_an_interval_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match="has no interval"):
        read(write(tmp_path, content))


@given(st.binary(max_size=40), st.integers(0, 120))
def test_bed_with_mutated_bytes_gives_intervals_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int
) -> None:
    content = b"chr1\t0\t10\tname\t5\t+\nchr2\t20\t30\tname\t5\t-\n" * 3
    path = write(tmp_path_factory.mktemp("bed"), content[:at] + noise + content[at + len(noise) :])
    try:
        found, refused = read(path)[0], ""
    except DataError as error:
        found, refused = [], str(error)
    assert found or refused == "" or str(path) in refused
    assert all(each.chrom and 0 <= each.start < each.end and each.strand in "+-." for each in found)


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")
@pytest.mark.parametrize(
    ("name", "count", "left_out"),
    [
        ("CTCF_Kc_Bushey_2009.bed", 2264, 0),
        ("example.narrowPeak", 3, 0),
        ("hg38-problem.bed", 2, 0),
        ("mm9.bed12", 5, 0),
        ("c.gff", 0, 14),
        ("v.vcf", 0, 5),
    ],
)
def test_bed_of_real_files_has_every_row(name: str, count: int, left_out: int) -> None:
    found, problems = read(SHARED / "adapters" / "genomics" / name)
    assert (len(found), len(problems)) == (count, left_out)
