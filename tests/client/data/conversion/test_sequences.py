"""FASTA, intervals of a genome, and tables become a contract's sequences; every rule against a plain loop."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from client.data.conversion.report import ConversionError
from privacy.errors import DataError, SiteConfigError
from tests.client.data.conversion.converting import SHARED, Converted, convert, list_reasons, make_contract

OPEN = {"name": "open", "positive": ["1"], "negative": ["0"]}
GENOME = ">chr1 one\nACGTACGTAC\nGGGTTTNNCC\n>chr2\nTTTTTAAAAA\n"


def make(length: int = 6, *, encoded: str = "ids", more: dict[str, Any] | None = None, **keys: Any) -> Any:
    sequence = {"name": "letters", "alphabet": "dna", "length": length, "encoded": encoded} | (more or {})
    return make_contract(kind="sequences", sequence=sequence, **keys)


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)


def spell(converted: Converted) -> dict[str, str]:
    """The letters of each patient's sequence, ``-`` for padding."""
    return {
        name: "".join("-ACGT?"[number] for number in row)
        for name, row in zip(converted.patients, converted.arrays["letters"], strict=True)
    }


FASTA = {"kind": "fasta", "files": [{"path": "a.fa"}]}


def test_fasta_records_become_letters_of_named_patients(tmp_path: Path) -> None:
    write(tmp_path, a_fa=">p1 x\nACG\nT\n>p2\nacgtacgt\n")
    found = convert(make(), {"source": FASTA, "columns": {"patient": "name"}}, tmp_path)
    assert spell(found) == {"p1": "ACGT--", "p2": "ACGTAC"}
    assert set(found.report.sources) == {"a.fa"}


def test_fasta_header_pattern_gives_patient_and_label(tmp_path: Path) -> None:
    write(tmp_path, a_fa=">s1|p1|1\nAC\n>s2|p2|0\nGT\n>s3|p1|0\nTT\n")
    source = FASTA | {"header": r"\w+\|(?P<patient>\w+)\|(?P<state>[01])"}
    found = convert(make(label=OPEN), {"source": source, "columns": {"open": "state"}}, tmp_path)
    labels = sorted(zip(found.patients, found.arrays["label"].tolist(), strict=True))
    assert labels == [("p1", 0), ("p1", 1), ("p2", 0)]


def test_fasta_of_one_class_a_file_takes_the_label_from_the_mapping(tmp_path: Path) -> None:
    write(tmp_path, a_fa=">p1\nAC\n", b_fa=">p2\nGT\n")
    files = [{"path": "a.fa", "words": {"open": "1"}}, {"path": "b.fa", "words": {"open": "0"}}]
    mapping = {"source": {"kind": "fasta", "files": files}, "columns": {"patient": "name"}}
    found = convert(make(label=OPEN), mapping, tmp_path)
    assert dict(zip(found.patients, found.arrays["label"].tolist(), strict=True)) == {"p1": 1, "p2": 0}


def test_fasta_labels_of_a_table_are_joined_by_key(tmp_path: Path) -> None:
    write(tmp_path, a_fa=">007\nAC\n>8\nGT\n", t_csv="id;score\n8;1,5\n\uff10\uff10\uff17;2,5\n")
    mapping = {
        "source": FASTA,
        "columns": {"patient": "name"},
        "tables": [
            {
                "source": {"kind": "csv", "path": "t.csv", "delimiter": ";", "decimal": ","},
                "match": {"id": "name"},
                "columns": {"level": "score"},
            }
        ],
    }
    label = {"kind": "number", "name": "level", "low": 0, "high": 10}
    found = convert(make(label=label), mapping, tmp_path)
    assert dict(zip(found.patients, found.arrays["label"].tolist(), strict=True)) == {"007": 2.5, "8": 1.5}


def test_fasta_with_bad_records_leaves_them_out_with_line_and_reason(tmp_path: Path) -> None:
    good = "".join(f">p{number}\nACGT\n" for number in range(20))
    write(tmp_path, a_fa=good + ">empty\n>protein\nMKVLE\n>odd header\nAC\n> \nAC\n")
    source = FASTA | {"header": r"(?P<patient>p?\w*)"}
    found = convert(make(), {"source": source}, tmp_path, most=0.5)
    assert list_reasons(found.report) == {
        "the sequence has no letters": 1,
        "the sequence has a character that is no letter of dna": 1,
        "has a header that the pattern 'header' does not match": 1,
        "names no patient": 1,
    }
    assert {place.row for each in found.report.quarantined for place in each.places} == {41, 42, 44, 46}
    assert len(found.patients) == 20


def test_fasta_past_the_limit_of_bad_records_makes_nothing(tmp_path: Path) -> None:
    write(tmp_path, a_fa=">p1\nACGT\n>p2\nMKVLE\n")
    with pytest.raises(ConversionError, match="1 of 2 items"):
        convert(make(), {"source": FASTA, "columns": {"patient": "name"}}, tmp_path)


def test_fasta_with_a_name_twice_is_left_out_where_a_table_is_joined_by_it(tmp_path: Path) -> None:
    write(tmp_path, a_fa=">p1\nAC\n>p1\nGG\n>p2\nTT\n", t_csv="id,open\np1,1\np2,0\n")
    mapping = {"source": FASTA, "columns": {"patient": "name"}}
    plain = convert(make(), mapping, tmp_path)
    assert (len(plain.patients), plain.report.notes) == (3, ("1 sequences have the name of an earlier one",))
    joined = {"source": {"kind": "csv", "path": "t.csv"}, "match": {"id": "name"}, "columns": {"open": "open"}}
    found = convert(make(label=OPEN), mapping | {"tables": [joined]}, tmp_path, most=0.5)
    assert spell(found) == {"p1": "AC----", "p2": "TT----"}
    assert list_reasons(found.report) == {"has the name of an earlier sequence": 1}


def test_all_mistakes_of_several_files_are_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, a_fa="ACGT\n", b_fa="@read\nAC\n")
    source = {"kind": "fasta", "files": [{"path": "a.fa"}, {"path": "b.fa"}]}
    with pytest.raises(ConversionError) as refused:
        convert(make(label=OPEN), {"source": source, "columns": {"patient": "name"}}, tmp_path)
    sentences = "\n".join(refused.value.report.mistakes)
    for part in (
        "a.fa: line 1: expected a FASTA header",
        "b.fa: line 1",
        "a.fa gives no open",
        "b.fa gives no open",
    ):
        assert part in sentences


def test_table_of_sequences_becomes_the_same_as_fasta(tmp_path: Path) -> None:
    write(tmp_path, a_fa=">p1\nACGT\n>p2\nTTN\n", t_csv="who,letters\np1,ACG T\np2,ttn\n")
    fasta = convert(make(), {"source": FASTA, "columns": {"patient": "name"}}, tmp_path)
    source = {"kind": "table", "source": {"kind": "csv", "path": "t.csv"}, "sequence": "letters"}
    table = convert(make(), {"source": source, "columns": {"patient": "who"}}, tmp_path)
    assert spell(fasta) == spell(table) == {"p1": "ACGT--", "p2": "TT----"}


def test_split_by_a_column_of_the_table_is_kept(tmp_path: Path) -> None:
    write(tmp_path, t_csv="who,letters,part\np1,AC,train\np2,GT,test\np3,TT,train\n")
    mapping = {
        "source": {"kind": "table", "source": {"kind": "csv", "path": "t.csv"}, "sequence": "letters"},
        "columns": {"patient": "who"},
        "split": {"by": "column", "name": "part", "training": ["train"], "test": ["test"]},
    }
    found = convert(make(), mapping, tmp_path)
    assert dict(zip(found.patients, found.held_out, strict=True)) == {"p1": False, "p2": True, "p3": False}
    assert convert(make(), mapping, tmp_path, with_targets=False).held_out == [False] * 3


INTERVALS = {"kind": "intervals", "files": [{"path": "a.bed"}], "genome": "g.fa"}
AS_PATIENT = {"source": INTERVALS, "columns": {"patient": "name"}}


def test_intervals_take_their_letters_from_the_genome(tmp_path: Path) -> None:
    write(tmp_path, g_fa=GENOME, a_bed="chr1\t8\t13\ta\t0\t-\nchr2\t3\t7\tb\nchr1\t16\t20\tc\n")
    found = convert(make(), AS_PATIENT, tmp_path)
    assert spell(found) == {"a": "ACGGG-", "b": "TTAA--", "c": "--CC--"}
    assert set(found.report.sources) == {"a.bed", "g.fa"}


def test_intervals_of_the_minus_strand_are_turned_if_the_contract_says_so(tmp_path: Path) -> None:
    write(tmp_path, g_fa=GENOME, a_bed="chr1\t8\t13\ta\t0\t-\nchr1\t8\t13\tb\t0\t+\nchr1\t8\t13\tc\t0\t.\n")
    found = convert(make(minus_strand="reverse-complement"), AS_PATIENT, tmp_path)
    assert spell(found) == {"a": "CCCGT-", "b": "ACGGG-", "c": "ACGGG-"}


@pytest.mark.parametrize("keep", ["start", "middle", "end"])
@pytest.mark.parametrize("length", [1, 4, 5, 12])
@pytest.mark.parametrize("strand", ["+", "-"])
def test_window_of_the_genome_is_what_a_loop_cuts(tmp_path: Path, keep: str, length: int, strand: str) -> None:
    """Read in the direction of the strand, the window begins, ends or has its middle where the interval has."""
    genome = {"chr1": "ACGTACGTACGGGTTTNNCC", "chr2": "TTTTTAAAAA"}
    spans = [("chr1", 0, 3), ("chr1", 7, 12), ("chr1", 15, 20), ("chr2", 4, 8), ("chr2", 0, 10)]
    rows = "".join(f"{chrom}\t{start}\t{end}\tp{n}\t0\t{strand}\n" for n, (chrom, start, end) in enumerate(spans))
    write(tmp_path, g_fa=GENOME, a_bed=rows)
    contract = make(length, more={"keep": keep}, flanks="genome", minus_strand="reverse-complement")
    found = spell(convert(contract, AS_PATIENT, tmp_path))
    for number, (chrom, start, end) in enumerate(spans):
        sense = genome[chrom]
        if strand == "-":
            sense = "".join({"A": "T", "C": "G", "G": "C", "T": "A", "N": "N"}[each] for each in reversed(sense))
            start, end = len(sense) - end, len(sense) - start  # noqa: PLW2901 - as the other strand counts
        spare = length - (end - start)
        before = {"start": 0, "middle": abs(spare) // 2 * (1 if spare >= 0 else -1), "end": spare}[keep]
        first = start - before
        expected = "".join(
            sense[place] if 0 <= place < len(sense) else "-" for place in range(first, first + length)
        ).replace("N", "-")
        assert found[f"p{number}"] == expected


def test_intervals_off_the_genome_are_left_out(tmp_path: Path) -> None:
    write(tmp_path, g_fa=GENOME, a_bed="chr1\t0\t4\ta\nchr1\t18\t21\tb\nchr9\t0\t4\tc\nchr1\t5\t5\td\n")
    found = convert(make(), AS_PATIENT, tmp_path, most=0.9)
    assert list_reasons(found.report) == {
        "ends beyond the end of its sequence": 1,
        "lies on a sequence that the genome lacks": 1,
        "has no letter: start is not below end": 1,
    }
    assert found.patients == ["a"]


def test_intervals_of_a_genome_with_other_names_are_a_mistake_that_shows_both(tmp_path: Path) -> None:
    write(tmp_path, g_fa=">1\nACGT\n", a_bed="chr1\t0\t4\ta\n")
    with pytest.raises(ConversionError, match="its own are called like '1': the names must be the same"):
        convert(make(), AS_PATIENT, tmp_path)


def test_strand_of_fasta_is_asked_for_and_then_used(tmp_path: Path) -> None:
    write(tmp_path, a_fa=">p1(-)\nAACC\n>p2(+)\nAACC\n")
    contract = make(4, minus_strand="reverse-complement")
    source = FASTA | {"header": r"(?P<patient>\w+)\((?P<strand>[+-])\)"}
    with pytest.raises(ConversionError, match="write letters_of: plus if"):
        convert(contract, {"source": source}, tmp_path)
    plus = convert(contract, {"source": source | {"letters_of": "plus"}}, tmp_path)
    turned = convert(contract, {"source": source | {"letters_of": "strand"}}, tmp_path)
    assert spell(plus) == {"p1": "GGTT", "p2": "AACC"}
    assert spell(turned) == {"p1": "AACC", "p2": "AACC"}


def test_overlap_with_sets_gives_a_flag_for_each(tmp_path: Path) -> None:
    write(
        tmp_path,
        g_fa=GENOME,
        a_bed="chr1\t0\t10\ta\nchr1\t10\t20\tb\nchr2\t0\t10\tc\n",
        x_bed="chr1\t3\t6\nchr1\t5\t8\nchr1\t10\t14\n",  # covers 5 of a, 4 of b, none of c
        y_bed="chr2\t0\t100\n",
    )
    contract = make(overlap={"sets": ["x", "y"], "share": 0.5})
    found = convert(contract, AS_PATIENT | {"peaks": {"x": "x.bed", "y": "y.bed"}}, tmp_path)
    flags = dict(zip(found.patients, found.arrays["labels"].tolist(), strict=True))
    assert flags == {"a": [True, False], "b": [False, False], "c": [False, True]}
    one = make(overlap={"sets": ["x"], "share": 0.4})
    found = convert(one, AS_PATIENT | {"peaks": {"x": "x.bed"}}, tmp_path)
    assert dict(zip(found.patients, found.arrays["label"].tolist(), strict=True)) == {"a": 1, "b": 1, "c": 0}


def test_overlap_without_its_sets_is_a_mistake(tmp_path: Path) -> None:
    write(tmp_path, g_fa=GENOME, a_bed="chr1\t0\t10\ta\n")
    with pytest.raises(
        ConversionError, match=r"expected the BED file of each set of the contract \(x\), got those of none"
    ):
        convert(make(overlap={"sets": ["x"], "share": 0.5}), AS_PATIENT, tmp_path)


@pytest.mark.parametrize(
    ("mapping", "sentence"),
    [
        ({"source": FASTA, "columns": {"patiant": "name"}}, "columns: the contract has no column 'patiant'"),
        ({"source": FASTA | {"header": "(?P<a"}}, "is no regular expression"),
        ({"source": {"kind": "fastq", "files": []}}, "source.kind: expected 'fasta', 'intervals', 'table'"),
    ],
)
def test_mapping_with_a_mistake_is_refused(tmp_path: Path, mapping: dict[str, Any], sentence: str) -> None:
    write(tmp_path, a_fa=">p1\nAC\n")
    with pytest.raises(SiteConfigError, match=sentence):
        convert(make(), mapping, tmp_path)


def test_prediction_needs_no_labels(tmp_path: Path) -> None:
    write(tmp_path, a_fa=">p1\nACGT\n")
    found = convert(
        make(label=OPEN), {"source": FASTA, "columns": {"patient": "name"}}, tmp_path, with_targets=False
    )
    assert set(found.arrays) == {"letters"}


def test_messages_and_places_hold_no_word_of_a_record(tmp_path: Path) -> None:
    write(tmp_path, a_fa=">secret-1\nACGT\n>secret-2\nSECRET\n", t_csv="id,open\nsecret-1,secret-word\n")
    mapping = {
        "source": FASTA,
        "columns": {"patient": "name"},
        "tables": [
            {"source": {"kind": "csv", "path": "t.csv"}, "match": {"id": "name"}, "columns": {"open": "open"}}
        ],
    }
    with pytest.raises(DataError) as refused:
        convert(make(label=OPEN), mapping, tmp_path)
    assert "secret" not in str(refused.value).lower().replace(str(tmp_path), "")


def one_hot(text: str) -> NDArray[np.float32]:
    return np.array([[letter == base for letter in text.upper()] for base in "ACGT"], dtype=np.float32)


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")
def test_real_accessibility_windows_are_those_of_a_plain_loop(tmp_path: Path) -> None:
    """10,000 windows of FASTA, labels joined from BED by place; 554 are open, as the source says."""
    folder = SHARED / "accessibility"
    text = gzip.decompress((folder / "intervals.10k.fasta.gz").read_bytes()).decode()
    letters = {part.partition("\n")[0]: part.partition("\n")[2].replace("\n", "") for part in text.split(">")[1:]}
    rows = [
        line.split()
        for line in gzip.decompress((folder / "intervals.10k.bed.gz").read_bytes()).decode().splitlines()
    ]
    labels = {f"{chrom}:{start}-{end}": int(word) for chrom, start, end, word in rows}
    mapping = {
        "source": {
            "kind": "fasta",
            "files": [{"path": str(folder / "intervals.10k.fasta.gz")}],
            "header": r"(?P<chrom>[^:]+):(?P<start>\d+)-(?P<end>\d+)",
        },
        "columns": {"patient": "name"},
        "tables": [
            {
                "source": {"kind": "bed", "path": str(folder / "intervals.10k.bed.gz")},
                "match": {"chrom": "chrom", "start": "start", "end": "end"},
                "columns": {"open": "name"},
            }
        ],
    }
    found = convert(make(1000, encoded="one-hot", label=OPEN), mapping, tmp_path)
    assert sorted(found.patients) == sorted(letters)
    assert found.arrays["label"].sum() == 554
    for number in range(0, 10_000, 7):
        name = found.patients[number]
        assert found.arrays["label"][number] == labels[name]
        assert (found.arrays["letters"][number] == one_hot(letters[name])).all()


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")
def test_real_overlap_is_that_of_a_loop_over_letters(tmp_path: Path) -> None:
    """Windows of 1,000 letters over the peaks of CTCF in fly cells, each letter looked at by itself."""
    peaks = SHARED / "adapters" / "genomics" / "CTCF_Kc_Bushey_2009.bed"
    covered = set[int]()
    for line in peaks.read_text().splitlines()[1:]:
        chrom, start, end = line.split()[:3]
        if chrom == "chr2L":
            covered |= set(range(int(start), int(end)))
    begins = range(60_000, 560_000, 1_000)
    write(tmp_path, t_csv="who,c,s,e,letters\n" + "".join(f"p{n},chr2L,{n},{n + 1000},ACGT\n" for n in begins))
    mapping = {
        "source": {"kind": "table", "source": {"kind": "csv", "path": "t.csv"}, "sequence": "letters"},
        "columns": {"patient": "who", "chrom": "c", "start": "s", "end": "e"},
        "peaks": {"ctcf": str(peaks)},
    }
    contract = make(overlap={"sets": ["ctcf"], "share": 0.3})
    assert set(convert(contract, mapping, tmp_path, with_targets=False).arrays) == {"letters"}
    found = convert(contract, mapping, tmp_path)
    expected = {f"p{n}": int(len(covered & set(range(n, n + 1000))) >= 300) for n in begins}
    assert dict(zip(found.patients, found.arrays["label"].tolist(), strict=True)) == expected
    assert 0 < sum(expected.values()) < len(expected)


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data")
def test_real_masked_genome_gives_quarters_for_masked_and_unknown_letters(tmp_path: Path) -> None:
    """20,000 letters of chromosome 8 with small letters, a run of N and an empty record, cut on both strands."""
    genome = SHARED / "adapters" / "genomics" / "softmask_N.fa"
    chrom = "chr8:11496144-11516144"
    sense = "".join(genome.read_text().split(">")[1].splitlines()[1:])
    spans = [(start, start + 300, "+-"[start // 500 % 2]) for start in range(0, 19_500, 500)]
    (tmp_path / "a.bed").write_text(
        "".join(f"{chrom}\t{start}\t{end}\tp{start}\t0\t{strand}\n" for start, end, strand in spans)
    )
    rules = {"keep": "middle", "unknown": "shares", "lower_case": "unknown"}
    contract = make(401, encoded="one-hot", more=rules, flanks="genome", minus_strand="reverse-complement")
    source = {"kind": "intervals", "files": [{"path": "a.bed"}], "genome": str(genome)}
    found = convert(contract, {"source": source, "columns": {"patient": "name"}}, tmp_path)
    by_name = dict(zip(found.patients, found.arrays["letters"], strict=True))
    quarters = 0
    for start, _, strand in spans:
        first = start - (50 if strand == "+" else 51)
        window = [sense[place] if 0 <= place < len(sense) else "" for place in range(first, first + 401)]
        if strand == "-":
            window = [each.translate(str.maketrans("ACGTacgt", "TGCAtgca")) for each in reversed(window)]
        expected = np.zeros((4, 401))
        for place, letter in enumerate(window):
            if letter and letter in "ACGT":
                expected["ACGT".index(letter), place] = 1
            elif letter:
                expected[:, place] = 0.25
        np.testing.assert_array_equal(by_name[f"p{start}"], expected)
        quarters += int((expected == 0.25).sum())
    assert quarters > 1000
