"""``consilium-site data``: registering, checking, objecting."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from benchmarks.small_study import small_terms, write_csv, write_patients, write_study
from client.cli import cli
from client.data.dataset import read_study
from client.data.inspection import CheckReport
from client.site.folder import SiteFolder
from client.site.register_data import register_files
from privacy.errors import DataError, RefusedError, SiteConfigError, UnknownPatientsError
from privacy.study import parse_terms
from tests.client.commands.terminal import script, site, with_data
from tests.client.data.named_arrays import make_arrays, make_contract, write_arrays


def test_data_are_registered_with_a_rounded_count(folder: Path) -> None:
    with_data(folder)
    registered = SiteFolder(folder).load_registry().find_exact(small_terms().data)
    assert registered is not None
    assert registered.public_patients == 60
    with SiteFolder(folder).open_ledger() as ledger:
        assert ledger.read_state().find_population("small").patients == 60


def test_data_registered_again_change_nothing(folder: Path) -> None:
    with_data(folder)
    with SiteFolder(folder).open_ledger() as ledger:
        head = ledger.head
    with_data(folder)
    with SiteFolder(folder).open_ledger() as ledger:
        assert ledger.head == head


def test_data_registered_under_another_name_are_refused(folder: Path) -> None:
    """The same patients would have two budgets."""
    with_data(folder)
    write_study(folder.parent / "study.yaml", small_terms(data={"name": "other"}))
    with pytest.raises(RefusedError, match="small"):
        with_data(folder)
    assert set(SiteFolder(folder).load_registry().registrations) == {small_terms().data.digest}


def test_data_that_break_the_contract_are_refused_without_a_value(folder: Path) -> None:
    path = folder.parent / "train.csv"
    path.write_text(path.read_text() + "a99,forty,f,yes\n")
    with pytest.raises(DataError, match="column 'age': 1 rows are not a number") as caught:
        with_data(folder)
    assert "forty" not in str(caught.value)
    assert SiteFolder(folder).load_registry().registrations == {}


def test_data_check_registers_nothing(folder: Path) -> None:
    beside = folder.parent
    done = site(
        folder, "data", "check", str(beside / "study.yaml"),
        "--train", str(beside / "train.csv"), "--test", str(beside / "test.csv"),
    )  # fmt: skip
    assert "the public patient count would be 60" in done.stderr
    assert SiteFolder(folder).load_registry().registrations == {}


def checked(folder: Path, *options: str) -> Result:
    """``data check`` of the two files beside the site; expected failures are in its result."""
    beside = folder.parent
    files = ["--train", str(beside / "train.csv"), "--test", str(beside / "test.csv")]
    return CliRunner().invoke(
        cli, ["--dir", str(folder), "data", "check", str(beside / "study.yaml"), *files, *options]
    )


def test_data_check_shows_what_would_be_trained(folder: Path) -> None:
    rows = [
        f"p{row},{'' if row < 3 else 90 if row < 7 else 50},f,{'yes' if row < 20 else 'no'}" for row in range(60)
    ]
    write_csv(folder.parent / "train.csv", [*rows, "p59,50,f,yes"])
    SiteFolder(folder).open_patient_register().add_objections(["p0"], "2026-03-31")
    done = checked(folder)
    assert done.exit_code == 0
    training, headings, age, sex = done.stdout.splitlines()[:4]
    assert training == (
        "training: train.csv: 61 records of 60 patients, 1 of them object; 59 records used, 1 dropped; labels of those "
        "used: 19 positive, 40 negative"
    )
    assert headings.split() == ["column", "missing", "below", "the", "range", "above", "it"]
    assert age.split() == ["age", "3", "0", "4"]
    assert sex.split() == ["sex", "0", "0", "0", "constant"]
    assert "note: training file: 1 of 61 records are dropped: records_per_patient is 1" in done.stdout
    assert "note: training file: 1 of 60 patients object and are left out" in done.stdout


def test_data_check_names_row_and_word_at_the_terminal_and_nowhere_else(folder: Path) -> None:
    path = folder.parent / "train.csv"
    path.write_text(path.read_text() + "secret-1,NA,f,yes\nsecret-2,50,f,positive\n")
    test = folder.parent / "test.csv"
    test.write_text("id;age;sex;ill\nq;50;f;no\n")
    done = checked(folder)
    assert done.exit_code == 1  # an exception, which the console script turns into a sentence
    assert "mistake: training file: column 'age': 1 rows are not a number" in done.stdout
    assert "    line 66: 'NA'" in done.stdout
    assert "if it means missing, the study's author adds it to the contract" in done.stdout
    assert "    line 67: 'positive'" in done.stdout
    assert (
        "test file: lacks 4 columns of the contract: id, ill, age, sex; its columns are separated by" in done.stdout
    )
    assert isinstance(done.exception, DataError)
    assert "training file: column 'ill': 1 rows are neither" in str(done.exception)
    assert "test file: lacks 4 columns" in str(done.exception)
    document = checked(folder, "--json").stdout
    for word in ("'NA'", "'positive'", "secret"):
        assert word not in str(done.exception) + document


def test_data_check_as_json_is_a_document_with_lines_and_counts(folder: Path) -> None:
    path = folder.parent / "train.csv"
    path.write_text(path.read_text() + "a99,forty,f,yes\n")
    document = json.loads(checked(folder, "--json").stdout)
    assert CheckReport.model_validate(document).training is not None
    assert document["findings"][0] == {
        "level": "mistake",
        "where": "training",
        "lines": [66],
        "records": [],
        "sentence": "column 'age': 1 rows are not a number (decimal point, no units)",
    }
    assert (document["training"]["records"], document["test"]["records"]) == (65, 30)


def test_data_check_says_what_policy_and_population_will_say(folder: Path) -> None:
    with_data(folder)
    overlapping(folder)
    done = checked(folder)
    assert "mistake: this site: 7 of these 40 patients are in the population 'small'" in done.stdout
    assert isinstance(done.exception, RefusedError)
    assert (
        "this site: would refuse the study: about 30 patients are registered, this site asks for 50" in done.stdout
    )
    assert "this site: would refuse the study: delta 0.001 is more than" not in done.stdout
    assert checked(folder, "--population", "small").exit_code == 0
    write_study(folder.parent / "study.yaml", small_terms(data={"name": "other"}, privacy={"delta": 0.1}))
    assert "this site: would refuse the study: delta 0.1 is more than one in 40 patients" in checked(folder).stdout


def always_ill(folder: Path) -> None:
    write_csv(folder.parent / "train.csv", [f"a{row},50,{'fm'[row % 2]},yes" for row in range(64)])


def test_suspicious_files_are_registered_only_when_people_say_so(folder: Path) -> None:
    always_ill(folder)
    with pytest.raises(RefusedError, match="nothing was registered: 1 warning; mend"):
        with_data(folder)
    assert SiteFolder(folder).load_registry().registrations == {}
    with_data(folder, "--despite")
    assert set(SiteFolder(folder).load_registry().registrations) == {small_terms().data.digest}


@pytest.mark.parametrize(("answer", "registered"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_suspicious_files_are_asked_about(folder: Path, answer: str, registered: bool) -> None:
    always_ill(folder)
    beside = folder.parent
    files = ["--train", str(beside / "train.csv"), "--test", str(beside / "test.csv")]
    arguments = ["--dir", str(folder), "data", "add", str(beside / "study.yaml"), *files]
    done = CliRunner().invoke(cli, arguments, input=answer)
    assert "warning: training file: column 'ill': the label is the same in all 64 rows" in done.stderr
    assert "register the files despite the warnings?" in done.stderr
    assert bool(SiteFolder(folder).load_registry().registrations) is registered


def test_data_check_takes_the_registered_files(folder: Path) -> None:
    with pytest.raises(SiteConfigError, match=r"no data are registered as 'small'; name both files \(--train"):
        site(folder, "data", "check", str(folder.parent / "study.yaml"))
    with_data(folder)
    assert "keep the contract 'small'" in site(folder, "data", "check", str(folder.parent / "study.yaml")).stderr


# Arrays ----------------------------------------------------------------------------------------------------


@pytest.fixture
def arrays_folder(folder: Path) -> Path:
    """The site with a study on arrays, and two files of them, beside it."""
    terms = {**small_terms().model_dump(mode="json"), "data": make_contract().model_dump(mode="json")}
    changes = {"model": {"name": "mlp", "options": {"hidden": [3]}}, "task": {"kind": "multiclass"}}
    write_study(folder.parent / "study.yaml", parse_terms({**terms, **changes}))
    write_arrays(folder.parent / "train.npz", **make_arrays(30))
    write_arrays(folder.parent / "test.npz", **make_arrays(12, "q"))
    return folder


def run_on_arrays(folder: Path, command: str, *options: str) -> Result:
    beside = folder.parent
    files = ["--train", str(beside / "train.npz"), "--test", str(beside / "test.npz")]
    return CliRunner().invoke(
        cli, ["--dir", str(folder), "data", command, str(beside / "study.yaml"), *files, *options]
    )


def test_arrays_are_registered_and_their_patients_have_a_budget(arrays_folder: Path) -> None:
    done = run_on_arrays(arrays_folder, "add")
    assert "train.npz: 30 records of 30 patients; 30 records used, 0 dropped" in done.stderr
    assert "'label' of those used, in classes 0, 1, ...: 10, 10, 10" in done.stderr
    registered = SiteFolder(arrays_folder).load_registry().find_exact(make_contract())
    assert registered is not None
    training, testing = read_study(registered.to_study_files())
    assert (training.patients.patients, testing.patients.records, registered.public_patients) == (30, 12, 30)
    other = make_contract(name="others")
    with pytest.raises(RefusedError, match="42 of these 42 patients are in the population 'scans'"):
        register_files(SiteFolder(arrays_folder), other, Path(registered.train), Path(registered.test))


def test_arrays_are_checked_like_a_table(arrays_folder: Path) -> None:
    arrays = make_arrays(30)
    arrays["image"] = arrays["image"].astype(np.float32) + 0.5
    arrays["image"][2, 0, 0] = 256
    arrays["codes"][7, 1] = 4711
    write_arrays(arrays_folder.parent / "train.npz", **arrays)
    done = run_on_arrays(arrays_folder, "check")
    assert "mistake: training file: array 'codes': 1 values in 1 records are outside the vocabulary" in done.stdout
    assert "    record 7: '4711'" in done.stdout
    assert "warning: training file: array 'image': " in done.stdout
    table = [line.split() for line in done.stdout.splitlines() if line.startswith("image ")]
    assert table[0][:3] == ["image", "number,", "3x4"]
    assert table[0][4] == "256"
    document = run_on_arrays(arrays_folder, "check", "--json").stdout
    assert json.loads(document)["findings"][0]["records"] == [7]
    assert "4711" not in document + str(done.exception)
    assert isinstance(done.exception, DataError)


def test_arrays_with_suspicious_targets_are_registered_only_when_people_say_so(arrays_folder: Path) -> None:
    write_arrays(arrays_folder.parent / "train.npz", **{**make_arrays(30), "label": np.zeros(30, dtype=int)})
    assert isinstance(run_on_arrays(arrays_folder, "add").exception, RefusedError)
    assert run_on_arrays(arrays_folder, "add", "--despite").exit_code == 0


# Populations -----------------------------------------------------------------------------------------------


def overlapping(folder: Path) -> None:
    """Another study's files beside the site: 7 of the 40 patients are in the first study's training file."""
    known = (folder.parent / "train.csv").read_text().splitlines()[1:8]
    path = write_patients(folder.parent / "train.csv", 23, "c", seed=3)
    path.write_text(path.read_text() + "\n".join(known) + "\n")
    write_patients(folder.parent / "test.csv", 10, "d", seed=4)
    write_study(folder.parent / "study.yaml", small_terms(data={"name": "other"}))


def test_patients_of_another_population_are_refused_with_their_number(folder: Path) -> None:
    with_data(folder)
    overlapping(folder)
    with pytest.raises(RefusedError, match="7 of these 40 patients are in the population 'small'") as caught:
        with_data(folder)
    assert caught.value.code == "same-patients"
    assert "--population small" in str(caught.value)
    assert set(SiteFolder(folder).load_registry().registrations) == {small_terms().data.digest}


def test_patients_of_another_population_are_registered_under_it(folder: Path) -> None:
    with_data(folder)
    overlapping(folder)
    with_data(folder, "--population", "small")
    registered = SiteFolder(folder).load_registry().registrations.values()
    assert {each.contract.name: each.population for each in registered} == {"small": "small", "other": "small"}
    with SiteFolder(folder).open_ledger() as ledger:
        assert set(ledger.read_state().populations) == {"small"}


def test_population_with_a_name_that_is_none_is_refused_with_a_sentence(folder: Path) -> None:
    with pytest.raises(SiteConfigError, match="--population: expected lower-case letters, digits and hyphens"):
        with_data(folder, "--population", "St. Ash")


def numbered(path: Path, numbers: list[str]) -> Path:
    return write_csv(path, [f"{number},50,f,{'yes' if row % 2 else 'no'}" for row, number in enumerate(numbers)])


def test_patients_written_otherwise_in_a_second_export_are_refused_until_people_say_they_differ(
    folder: Path,
) -> None:
    numbered(folder.parent / "train.csv", [f"{number:05}" for number in range(40)])
    numbered(folder.parent / "test.csv", [f"{number:05}" for number in range(40, 60)])
    with_data(folder)
    numbered(folder.parent / "train.csv", [f"{number}.0" for number in range(30, 60)])
    numbered(folder.parent / "test.csv", [f"{number}" for number in range(60, 70)])
    write_study(folder.parent / "study.yaml", small_terms(data={"name": "other"}))
    with pytest.raises(RefusedError, match="30 of these 40 patients are in the population 'small', or are written"):
        with_data(folder)
    with pytest.raises(SiteConfigError, match="has no population 'smal'; it has: other, small"):
        with_data(folder, "--different-from", "smal")
    with_data(folder, "--different-from", "small")
    with SiteFolder(folder).open_ledger() as ledger:
        assert ledger.read_state().find_population("other").said_different == {"small": 30}
        head = ledger.head
    with_data(folder)
    with SiteFolder(folder).open_ledger() as ledger:
        assert ledger.head == head


@pytest.mark.parametrize("second", ["train.csv", "test.csv"])
def test_patients_written_in_two_ways_in_one_registration_are_refused_until_people_say_they_differ(
    folder: Path, second: str
) -> None:
    path = folder.parent / second
    for name, number in (("train.csv", "0012"), (second, "12")):
        (folder.parent / name).write_text((folder.parent / name).read_text() + f"{number},50,f,no\n")
    with pytest.raises(
        RefusedError, match="2 patients of these files are written like another one of them"
    ) as caught:
        with_data(folder)
    assert caught.value.code == "alike-patients"
    assert SiteFolder(folder).load_registry().registrations == {}
    with_data(folder, "--different-from", "small")
    with SiteFolder(folder).open_ledger() as ledger:
        assert ledger.read_state().find_population("small").said_different == {"small": 2}
    assert "12" in path.read_text()


# Objections ------------------------------------------------------------------------------------------------


def trained_on(folder: Path) -> set[str]:
    """The patients that a study admitted now would be trained on."""
    home = SiteFolder(folder)
    registered = home.load_registry().find_exact(small_terms().data)
    assert registered is not None
    training, _ = read_study(registered.to_study_files(home.open_patient_register().load_objections()))
    return set(training.ids)


def test_patient_who_objects_is_left_out_of_the_training_table(folder: Path) -> None:
    with_data(folder)
    assert {"a1", "a2"} < trained_on(folder)
    done = site(folder, "data", "object", "a1", "a2")
    assert trained_on(folder) == {f"a{number}" for number in range(64)} - {"a1", "a2"}
    assert done.stdout == ""
    assert "2 patients will be left out of every study admitted from now on; 2 object in all" in done.stderr
    assert "2 of them in 'small'" in done.stderr


def test_objections_are_read_from_stdin_one_a_line(folder: Path) -> None:
    with_data(folder)
    site(folder, "data", "object", "a1")
    done = site(folder, "data", "object", "-", typed="a2\n\n  b3 \na1\n")
    assert "3 patients will be left out" in done.stderr
    assert "3 object in all" in done.stderr
    assert trained_on(folder) == {f"a{number}" for number in range(64)} - {"a1", "a2"}


def test_objection_of_a_stranger_is_kept_and_said(folder: Path) -> None:
    """Whoever is registered later must be left out too; a slip of the pen must be seen."""
    with_data(folder)
    done = script("data", "object", "stranger-1", "a2", folder=folder)
    assert done.returncode == UnknownPatientsError.exit_code == 32
    assert "2 patients will be left out" in done.stderr
    assert "1 of them in 'small'" in done.stderr
    assert "1 of them in no population of this site, kept for files that are registered later" in done.stderr
    assert "stranger-1" not in done.stderr
    assert "a2" not in trained_on(folder)
    assert SiteFolder(folder).open_patient_register().load_objections().includes("stranger-1")


@pytest.mark.parametrize(
    "content",
    [b"\xef\xbb\xbfa1\r\na2\r\n", "a1\u200b\n\n\u00a0a2\n\ufeff\n".encode(), b"A1\na\xef\xbc\x92"],
)
def test_list_of_objections_is_read_as_a_spreadsheet_wrote_it(folder: Path, content: bytes) -> None:
    with_data(folder)
    done = CliRunner().invoke(cli, ["--dir", str(folder), "data", "object", "-"], input=content)
    assert done.exit_code == 0
    assert "2 of them in 'small'" in done.stderr
    assert {"a1", "a2"}.isdisjoint(trained_on(folder))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("a1\n".encode("utf-16"), "the list of patients: expected UTF-8, got other bytes"),
        (b"a1\na\x002\n", "patient 2 of the list has a control character; nothing was changed"),
    ],
)
def test_list_of_objections_that_cannot_be_read_changes_nothing(
    folder: Path, content: bytes, sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        CliRunner().invoke(
            cli, ["--dir", str(folder), "data", "object", "-"], input=content, catch_exceptions=False
        )
    assert not SiteFolder(folder).open_patient_register().load_objections().since


def test_objections_are_listed_by_count_and_asked_about_by_name(folder: Path) -> None:
    with_data(folder)
    site(folder, "data", "object", "a1", "b2")
    counts = site(folder, "data", "object", "--list")
    assert [line.split() for line in counts.stdout.splitlines()][1:] == [["in", "all", "2"], ["in", "'small'", "2"]]
    today = datetime.now(UTC).date().isoformat()
    dates = site(folder, "data", "object", "--list", "A1", "a2")
    assert [line.split() for line in dates.stdout.splitlines()][1:] == [["A1", today], ["a2", "-"]]


def test_objection_that_is_taken_back_lets_the_patient_take_part_again(folder: Path) -> None:
    with_data(folder)
    site(folder, "data", "object", "a1", "a2")
    done = site(folder, "data", "object", "--take-back", "a1")
    assert "1 patients may take part in studies admitted from now on; 1 object in all" in done.stderr
    assert "a1" in trained_on(folder)
    assert "a2" not in trained_on(folder)
    with pytest.raises(UnknownPatientsError, match="1 of those named had not objected"):
        site(folder, "data", "object", "--take-back", "a1")


@pytest.mark.parametrize("arguments", [["--list", "--take-back", "a1"], ["--take-back"], []])
def test_objection_command_that_asks_for_nothing_is_written_wrongly(folder: Path, arguments: list[str]) -> None:
    assert site(folder, "data", "object", *arguments).exit_code == 2


def test_objection_without_a_patient_is_written_wrongly(folder: Path) -> None:
    done = site(folder, "data", "object", "-", typed=" \n")
    assert done.exit_code == 2
    assert "no patient is named: give identifiers, or - and one a line on stdin" in done.stderr


def test_objection_leaves_the_ledger_as_it_is(folder: Path) -> None:
    """Spent budget stays: there is nothing to give back."""
    with_data(folder)
    with SiteFolder(folder).open_ledger() as ledger:
        head = ledger.head
    site(folder, "data", "object", "a1")
    with SiteFolder(folder).open_ledger() as ledger:
        assert ledger.head == head
