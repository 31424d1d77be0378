"""A study file is begun from a table's columns: what people must say is left to them, no value is shown."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from benchmarks.small_study import small_terms
from privacy.errors import TermsError
from privacy.study import Category, Number, TableContract, Terms, parse_terms, read_terms
from server.cli import cli
from server.study.draft_file import make_study_name

ROWS = ["p1,50.5,f,NA,yes,a letter of one", "p2,61,m,7,no,another letter", "p3,,f,8,yes,a third"]
LETTERS = [f"p{number},{number},m,{number},no,letter {number}" for number in range(4, 40)]
FILLED = {
    "purpose": "a test",
    "ranges_from": "invented",
    "low": "0",
    "high": "100",
    "values": '["f", "m"]',
    "positive": '["yes"]',
    "negative": '["no"]',
    "name": "mlp",
    "kind": "binary",
}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "Ward 3 (export).csv"
    header = "patient id,age,sex,\u00e4pfel,ill,letter"
    path.write_text("\ufeff" + "\n".join([header, *ROWS, *LETTERS]) + "\n", encoding="utf-8")
    return path


def new(source: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["study", "new", "--from", str(source), *options], catch_exceptions=False)


def filled_in(text: str, folder: Path) -> Terms:
    """The terms, once a person has filled in every marked place."""
    filled = re.sub(r"(\w+):  # FILL:.*", lambda found: f"{found[1]}: {FILLED[found[1]]}", text)
    path = folder / "study.yaml"
    path.write_text(filled, encoding="utf-8")
    return read_terms(path)


def test_study_begun_from_a_table_has_its_columns_and_none_of_its_values(table: Path, tmp_path: Path) -> None:
    done = new(table, "--patient", "patient id", "--label", "ill")
    for value in ("50.5", "61", '"yes"', "p1", "letter of one"):
        assert value not in done.stdout.replace(FILLED["positive"], "")
    terms = filled_in(done.stdout, tmp_path)
    assert (terms.name, terms.data.name, terms.data.patient) == ("ward-3-export", "ward-3-export", "patient id")
    assert isinstance(terms.data, TableContract)
    assert terms.data.features == (
        Number(kind="number", name="age", low=0, high=100),
        Category(kind="category", name="sex", values=("f", "m")),
        Number(kind="number", name="\u00e4pfel", low=0, high=100),
    )
    assert terms.data.missing == ("", "?", "NA")
    assert "# not used, text or too many words: letter" in done.stdout
    assert "no value; fill in ranges and words from what is known without looking at patients" in done.stderr
    checked = CliRunner().invoke(cli, ["study", "check", str(tmp_path / "study.yaml")], catch_exceptions=False)
    assert checked.exit_code == 0
    assert "PROBLEM" not in checked.stdout


def test_study_that_is_not_filled_in_is_refused_at_every_marked_place(table: Path, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    done = new(table, "--patient", "patient id", "--out", str(path))
    with pytest.raises(TermsError) as caught:
        read_terms(path)
    marked = re.findall(r"(\w+):  # FILL:", path.read_text())
    assert f"{len(marked)} places to fill in, marked FILL; then: consilium study check {path}" in done.stderr
    mistakes = [
        line for line in str(caught.value).splitlines()[1:] if re.search(rf"({'|'.join(set(marked))}):", line)
    ]
    assert len(mistakes) == len(marked)


def test_study_begun_from_a_public_table_has_its_ranges_and_words(table: Path, tmp_path: Path) -> None:
    done = new(table, "--patient", "patient id", "--label", "ill", "--public", "--name", "apples")
    terms = filled_in(done.stdout, tmp_path)
    assert isinstance(terms.data, TableContract)
    age, sex, _ = terms.data.features
    assert age == Number(kind="number", name="age", low=4, high=61)
    assert sex == Category(kind="category", name="sex", values=("f", "m"))
    assert terms.data.ranges_from.endswith("of Ward 3 (export).csv, a public table.")
    assert "which you say is public" in done.stderr


@pytest.mark.parametrize("name", ["contract.json", "other.yaml"])
def test_study_begun_from_a_contract_has_its_table(tmp_path: Path, name: str) -> None:
    other = small_terms()
    source = tmp_path / name
    source.write_bytes(b'{"contract":1,"data":' + other.data.to_bytes() + b"}\n")
    if name == "other.yaml":
        source.write_bytes(other.to_bytes())
    done = new(source, "--name", "again")
    assert filled_in(done.stdout, tmp_path).data == other.data
    assert new(source, "--public").exit_code == 2


@pytest.mark.parametrize("name", ["contract.json", "other.yaml"])
def test_study_begun_from_a_contract_of_arrays_asks_for_model_and_task(tmp_path: Path, name: str) -> None:
    arrays = {
        "kind": "arrays", "name": "spectra", "ranges_from": "invented",
        "inputs": [{"type": "number", "name": "spectrum", "shape": [5], "low": 0, "high": 4}],
        "targets": [{"type": "id", "name": "label", "values": 2}],
    }  # fmt: skip
    model = {"name": "mlp", "options": {"hidden": [3]}}
    other = parse_terms(
        {**small_terms().model_dump(mode="json"), "data": arrays, "task": {"kind": "binary"}, "model": model}
    )
    source = tmp_path / name
    source.write_bytes(
        other.to_bytes() if name == "other.yaml" else b'{"contract":1,"data":' + other.data.to_bytes() + b"}\n"
    )
    done = new(source, "--name", "again")
    assert re.findall(r"(\w+):  # FILL:", done.stdout) == ["purpose", "name", "kind"]
    terms = filled_in(done.stdout, tmp_path)
    assert (terms.data, terms.task.kind, terms.model.name) == (other.data, "binary", "mlp")


def test_contract_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "contract.json"
    source.write_bytes(b'{"contract":1,"data":{"kind":"scrolls"}}\n')
    with pytest.raises(TermsError, match=r"contract\.json: data"):
        new(source)


@pytest.mark.parametrize(
    ("content", "options", "sentence"),
    [
        (b"a;b\n1;2\n", (), "separated by commas; got one column"),
        (b"a,a\n", (), "names every column, each once"),
        (b"a,b\n\xff,1\n", (), "expected a CSV file in UTF-8"),
        (b'a,b\n"1,2\n', (), "is not CSV"),
        (b"a,b\n1,2\n", ("--label", "c"), "--label: .* has no column 'c'; it has: a, b"),
    ],
)
def test_study_from_a_table_that_cannot_be_used_is_refused(
    tmp_path: Path, content: bytes, options: tuple[str, ...], sentence: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(TermsError, match=sentence):
        new(path, *options)


@pytest.mark.parametrize(("name", "study"), [("A b.csv", "a-b"), ("2024.csv", "study-2024"), ("--.csv", "study")])
def test_study_is_named_like_its_file(name: str, study: str) -> None:
    assert make_study_name(Path(name)) == study
