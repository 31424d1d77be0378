"""FASTA files become records, and a genome is read by place; a damaged file becomes a sentence."""

import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.data.adapters.fasta import FastaFile, Genome
from privacy.canonical import compute_sha256
from privacy.errors import DataError, DataUnavailableError
from tests.client.data.conversion.converting import SHARED

PLAIN = ">one first\nACGT\nacgt\n\n>two\nNNNN\n>three\n"


def write(folder: Path, content: bytes | str, name: str = "a.fa") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def parse_plainly(text: str) -> list[tuple[str, str]]:
    """The oracle: headers and letters, for well-formed text."""
    return [
        (header.strip(), "".join(lines.split()))
        for header, _, lines in (part.partition("\n") for part in text.split(">")[1:])
    ]


def test_record_of_one_letter_a_line_takes_the_memory_of_its_letters(tmp_path: Path) -> None:
    path = write(tmp_path, b">one\n" + b"A \xa0\n" * 200_000)
    tracemalloc.start()
    try:
        (record,) = FastaFile(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert record.letters == "A" * 200_000
    assert peak < 4_000_000  # a list of its lines would be 8,000,000


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.encode(),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: gzip.compress(text.encode()),
        lambda text: ("\ufeff" + text).encode(),
        lambda text: ("; a comment\n" + text + "\n\n").encode(),
        lambda text: text.removesuffix("\n").encode(),
    ],
    ids=["plain", "CRLF", "gzip", "mark", "comment", "no last line end"],
)
def test_fasta_in_any_form_gives_the_same_records(tmp_path: Path, change: Callable[[str], bytes]) -> None:
    content = change(PLAIN)
    file = FastaFile(write(tmp_path, content))
    found = list(file)
    assert [(each.header, each.letters) for each in found] == [
        ("one first", "ACGTacgt"),
        ("two", "NNNN"),
        ("three", ""),
    ]
    assert [each.name for each in found] == ["one", "two", "three"]
    assert file.sha256 == compute_sha256(content)


def test_fasta_gives_the_line_of_each_header(tmp_path: Path) -> None:
    assert [each.line for each in FastaFile(write(tmp_path, PLAIN))] == [1, 5, 7]


@given(
    st.lists(st.tuples(st.from_regex(r"[A-Za-z0-9|:]{1,20}", fullmatch=True), st.text("ACGTNacgtn", max_size=50))),
    st.integers(1, 60),
)
def test_fasta_wrapped_at_any_width_gives_the_letters(
    tmp_path_factory: pytest.TempPathFactory, records: list[tuple[str, str]], width: int
) -> None:
    records = [("first", "A"), *records]
    text = "".join(
        f">{name}\n" + "".join(letters[at : at + width] + "\n" for at in range(0, len(letters), width))
        for name, letters in records
    )
    path = write(tmp_path_factory.mktemp("fasta"), text)
    assert [(each.name, each.letters) for each in FastaFile(path)] == records


def test_fasta_with_a_line_of_many_megabytes_is_read(tmp_path: Path) -> None:
    letters = "ACGT" * 1_000_000
    (record,) = FastaFile(write(tmp_path, f">long\n{letters}\n"))
    assert record.letters == letters


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "is empty"),
        ("\n\n", "has 2 lines and no FASTA record"),
        ("ACGT\n>one\nA\n", "line 1: expected a FASTA header"),
        ("@read\nACGT\n+\nIIII\n", "it looks like FASTQ"),
        (">one\rACGT\r>two\rA\r", "line 1 has a carriage return inside"),
        (">one\nAC\x00GT\n", "line 2 is no text"),
        (b">\xff\xfe\nA\n", "line 1: the header is no text in UTF-8"),
        (b"\x89HDF\r\n\x1a\n", "it looks like an HDF5 file"),
        (b"\x43\x27\x41\x1a\x00\x00", "it looks like a 2bit genome"),
        (gzip.compress(PLAIN.encode(), mtime=0)[:-9], "is no complete gzip file"),
        (">" + "x" * (3 << 20), "the header has more than"),
    ],
)
def test_fasta_that_is_none_is_refused_with_a_sentence(tmp_path: Path, content: bytes | str, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        list(FastaFile(write(tmp_path, content)))


def test_fasta_that_is_absent_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(DataUnavailableError, match="cannot be read"):
        list(FastaFile(tmp_path / "none.fa"))


@given(st.binary(max_size=200), st.integers(0, 200), st.booleans())
def test_fasta_with_mutated_bytes_gives_records_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int, packed: bool
) -> None:
    content = gzip.compress((PLAIN * 5).encode(), mtime=0) if packed else (PLAIN * 5).encode()
    path = write(tmp_path_factory.mktemp("fasta"), content[:at] + noise + content[at + len(noise) :])
    try:
        records, refused = list(FastaFile(path)), ""
    except DataError as error:
        records, refused = [], str(error)
    assert records or str(path) in refused
    assert all(not any(each.isspace() for each in record.letters) for record in records)


def test_genome_gives_the_letters_of_every_part(tmp_path: Path) -> None:
    text = ">chr1 assembled\nACGTAC\nGTTT\n>chr2\nNNNNA\n>chr3\nACGT\n"
    genome = Genome(write(tmp_path, text), frozenset({"chr1", "chr3", "chr9"}), tmp_path / "scratch")
    assert genome.names == {"chr1", "chr2", "chr3"}
    for name, letters in (("chr1", "ACGTACGTTT"), ("chr3", "ACGT")):
        assert genome.find_length(name) == len(letters)
        for start in range(len(letters) + 1):
            for end in range(start, len(letters) + 1):
                assert genome.read(name, start, end) == letters[start:end]
    assert genome.find_length("chr2") is None, "it is not wanted, and takes no room"
    assert (tmp_path / "scratch").read_bytes() == b"ACGTACGTTTACGT"


def test_genome_with_a_sequence_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 3: a sequence of this name is there already"):
        Genome(write(tmp_path, ">chr1\nA\n>chr1\nC\n"), frozenset({"chr1"}), tmp_path / "scratch")


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")
def test_fasta_of_real_files_is_what_a_plain_loop_reads() -> None:
    path = SHARED / "accessibility" / "intervals.10k.fasta.gz"
    found = [(each.header, each.letters) for each in FastaFile(path)]
    assert len(found) == 10_000
    assert found == parse_plainly(gzip.decompress(path.read_bytes()).decode())
    masked = list(FastaFile(SHARED / "adapters" / "genomics" / "softmask_N.fa"))
    assert [(each.name, len(each.letters)) for each in masked] == [("chr8:11496144-11516144", 20_000), ("empty", 0)]
    assert any(each.islower() for each in masked[0].letters)
