"""Groups that a site names itself: figures are scikit-learn's on the same rows, and mistakes are sentences."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from benchmarks.small_study import write_csv, write_patients
from client.cli import cli
from client.data.scaling import scale
from client.release_report.subgroups import find_band, name_bands, read_bands
from client.site.folder import SiteFolder
from privacy.errors import ReleaseError
from privacy.study import Number
from tests.client.data.conversion.small_source import write_source
from tests.client.prediction.released import release_of_catalogue, release_table
from tests.client.release_report.test_report import compute_scores, read_cells

WARDS = ("Süd 2", "Nord 1")
COLUMNS: dict[str, Any] = {
    "id": "PatNr",
    "ward": "Station",
    "weight": "Gewicht",
    "stay": {"kind": "elapsed", "from": "Aufn", "to": "Entl", "unit": "days", "format": "DD.MM.YYYY"},
}
GROUPS: dict[str, Any] = {"ward": {"words": list(WARDS)}, "weight": {"bands": [62.5, 80]}, "stay": {"bands": [3]}}


def write_groups(folder: Path, **changes: Any) -> Path:
    """The mapping file of the groups; ``changes`` replace its keys."""
    source = {"kind": "csv", "path": "wards.csv", "encoding": "cp1252", "delimiter": ";", "decimal": ","}
    value = {"mapping": 1, "contract": "small", "source": source, "columns": COLUMNS, "groups": GROUPS, **changes}
    path = folder / "groups.yaml"
    path.write_text(yaml.safe_dump(value), encoding="utf-8")
    return path


def write_wards(folder: Path, rows: list[str]) -> None:
    """The hospital's table, in its own encoding."""
    text = "\n".join(["PatNr;Station;Gewicht;Aufn;Entl", *rows]) + "\n"
    (folder / "wards.csv").write_bytes(text.encode("cp1252"))


def report(release: Path, *options: str | Path) -> Result:
    """What the command says; expected failures are in its result."""
    return CliRunner().invoke(cli, ["report", str(release), *map(str, options)])


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return release_table(tmp_path)[0]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Patients without ties: a man 30 years younger than a woman would have her score, but for the rounding."""
    path = write_patients(tmp_path / "patients.csv", 120, "a", seed=5)
    rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
    tenths = [round(float(age) * 5) * 2 + (sex == "m") for _, age, sex, _ in rows]  # even of women, odd of men
    return write_csv(
        path, [f"{row[0]},{age / 10},{row[2]},{row[3]}" for row, age in zip(rows, tenths, strict=True)]
    )


def read_page(release: Path, tmp_path: Path, *options: str | Path) -> tuple[str, str]:
    """The page, and what the command says."""
    out = tmp_path / "page.html"
    said = report(release, *options, "--out", out)
    assert said.exit_code == 0, said.exception or said.output
    return out.read_text(), said.stderr


def require_group(page: str, title: str, own: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> None:
    """Compare a row of the page with scikit-learn on the rows ``own``."""
    count, auroc, sensitivity, specificity, *_ = read_cells(page, title)
    predicted = scores[own] >= 0.5
    assert count == str(own.sum())
    assert auroc.startswith(f"{metrics.roc_auc_score(labels[own], scores[own]):.3f}")
    assert sensitivity.startswith(f"{metrics.recall_score(labels[own], predicted):.3f}")
    assert specificity.startswith(f"{metrics.recall_score(labels[own], predicted, pos_label=0):.3f}")


def test_figures_of_bands_are_those_of_scikit_learn(release: Path, table: Path, tmp_path: Path) -> None:
    scores, labels, _ = compute_scores(table)
    age = np.array([float(line.split(",")[1]) for line in table.read_text().splitlines()[1:]])
    page, _ = read_page(release, tmp_path, table, "--bands", "age=45.5,54")
    require_group(page, "age: under 45.5", age < 45.5, scores, labels)
    require_group(page, "age: 45.5 to under 54", (age >= 45.5) & (age < 54), scores, labels)
    require_group(page, "age: 54 or more", age >= 54, scores, labels)
    assert "sex: f" in page, "the contract's own groups stay"
    assert "age: missing" not in page


def test_figures_of_own_groups_are_those_of_scikit_learn(release: Path, table: Path, tmp_path: Path) -> None:
    scores, labels, _ = compute_scores(table)
    draw = np.random.default_rng(1)
    ward, weight, days = draw.integers(2, size=120), draw.integers(400, 1100, 120) / 10, draw.integers(0, 9, 120)
    weight[:3] = 62.5  # a limit begins the band above it
    named = [line.split(",")[0] for line in table.read_text().splitlines()[1:]]
    rows = [
        f"{name};{WARDS[ward[row]]};{weight[row]:.1f};01.02.2024;{1 + days[row]:02}.02.2024".replace(".", ",", 1)
        for row, name in enumerate(named)
    ]
    order = draw.permutation(120)
    write_wards(tmp_path, [rows[row] for row in order])
    page, said = read_page(release, tmp_path, table, "--groups", write_groups(tmp_path))
    assert "no row" not in said
    for place, word in enumerate(WARDS):
        require_group(page, f"ward: {word}", ward == place, scores, labels)
        assert re.search(r"\d to 0\.\d", read_cells(page, f"ward: {word}")[1]), "an interval"
    require_group(page, "weight: under 62.5", weight < 62.5, scores, labels)
    require_group(page, "weight: 62.5 to under 80", (weight >= 62.5) & (weight < 80), scores, labels)
    require_group(page, "weight: 80 or more", weight >= 80, scores, labels)
    require_group(page, "stay: under 3", days < 3, scores, labels)


def test_patients_with_no_row_or_several_are_never_guessed(release: Path, table: Path, tmp_path: Path) -> None:
    names = [line.split(",")[0] for line in table.read_text().splitlines()[1:]]
    rows = [f"{name};Nord 1;70;01.02.2024;05.02.2024" for name in names[20:]]
    rows += [f"{name};Süd 2;71;01.02.2024;05.02.2024" for name in names[20:35]]  # another ward, the same bands
    rows += [f"{names[0]};Ost 9;70;01.02.2024;05.02.2024"]
    write_wards(tmp_path, rows)
    page, said = read_page(release, tmp_path, table, "--groups", write_groups(tmp_path))
    assert read_cells(page, "ward: missing")[0] == "20"
    assert read_cells(page, "ward: several")[0] == "15"
    assert read_cells(page, "ward: Nord 1")[0] == "85"
    assert read_cells(page, "weight: 62.5 to under 80")[0] == "100"
    assert "ward: Süd 2" not in page
    assert "20 patients have no row in the groups" in said
    assert "left out: 1: column 'ward': has a word that is none of 'Süd 2', 'Nord 1'" in said
    assert "Ost 9" not in said + page


def test_own_groups_of_few_patients_have_no_figures(release: Path, table: Path, tmp_path: Path) -> None:
    names = [line.split(",")[0] for line in table.read_text().splitlines()[1:]]
    write_wards(tmp_path, [f"{name};Nord 1;50;01.02.2024;05.02.2024" for name in names[:9]])
    page, _ = read_page(release, tmp_path, table, "--groups", write_groups(tmp_path), "--bands", "age=20.5")
    for title in ("ward: Nord 1", "weight: under 62.5", "age: under 20.5"):
        assert read_cells(page, title)[0] == "fewer than 10"
        assert set(read_cells(page, title)[1:]) == {"–"}


def test_own_groups_are_found_for_data_of_any_kind(tmp_path: Path) -> None:
    release, data, contract = release_of_catalogue(tmp_path, "unet", patients=24)
    with np.load(data) as file:
        names = dict.fromkeys(str(name) for name in np.char.decode(file[contract.data.patient].astype("S")))
    write_wards(tmp_path, [f"{name};{WARDS[row % 2]};70;;" for row, name in enumerate(names)])
    columns = {**COLUMNS, contract.data.patient: "PatNr"}
    columns.pop("id") if contract.data.patient != "id" else None
    groups = write_groups(tmp_path, contract=contract.data.name, columns=columns)
    page, _ = read_page(release, tmp_path, data, "--groups", groups)
    assert read_cells(page, "ward: Nord 1")[0] == str(len(names) // 2)
    assert read_cells(page, "stay: missing")[0] == str(len(names))


@pytest.mark.parametrize(
    ("bands", "expected"),
    [
        ("age", "expected a column of the contract and rising limits"),
        ("age=60,40", "expected a column of the contract and rising limits"),
        ("age=40,1_0", "expected a column of the contract and rising limits"),
        ("=40", "expected a column of the contract and rising limits"),
        ("sex=1", "--bands sex: the contract has no such column of numbers; it has: age"),
        ("age=10,40", "--bands age: expected limits between 20 and 80"),
        ("age=40,80", "--bands age: expected limits between 20 and 80"),
    ],
)
def test_bands_that_cannot_be_are_a_sentence(
    bands: str, expected: str, release: Path, table: Path, tmp_path: Path
) -> None:
    said = report(release, table, "--bands", bands, "--out", tmp_path / "p.html")
    assert isinstance(said.exception, ReleaseError)
    assert expected in str(said.exception)
    assert not (tmp_path / "p.html").exists()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"groups": {}}, "names no groups; write groups:"),
        ({"groups": {"ward": {}}}, "name either its words or the limits of its bands"),
        ({"groups": {"ward": {"words": ["a"], "bands": [1]}}}, "name either its words or the limits of its bands"),
        ({"groups": {"ward": {"words": ["a"]}}}, "name at least two words"),
        ({"groups": {"ward": {"words": ["a", "a"]}}}, "a word stands there twice"),
        ({"groups": {"ward": {"words": ["a", ""]}}}, "an empty word means missing"),
        ({"groups": {"weight": {"bands": [2, 1]}}}, "limits of bands rise"),
        ({"groups": {"id": {"bands": [1]}}}, "groups.id: is the patient's column"),
        (
            {"groups": {"centre": {"bands": [1]}}, "columns": {"id": "PatNr"}},
            "lacks 1 column of the mapping: centre",
        ),
        ({"contract": "other"}, "leads to the contract 'other'"),
        ({"columns": {**COLUMNS, "wart": "Station"}}, "columns.wart: the contract has no such column"),
        ({"source": {"kind": "csv", "path": "gone.csv"}}, "gone.csv: cannot be read"),
    ],
)
def test_groups_that_cannot_be_are_a_sentence(
    changes: dict[str, Any], expected: str, release: Path, table: Path, tmp_path: Path
) -> None:
    write_wards(tmp_path, ["a1;Nord 1;70;01.02.2024;05.02.2024"])
    said = report(release, table, "--groups", write_groups(tmp_path, **changes), "--out", tmp_path / "p.html")
    assert said.exception is not None
    assert expected in str(said.exception)
    assert not (tmp_path / "p.html").exists()


def test_groups_in_the_mapping_of_a_study_are_refused(tmp_path: Path) -> None:
    SiteFolder.create(tmp_path / "ash", "ash")
    mapping = write_source(tmp_path, groups={"ward": {"bands": [1]}})
    said = CliRunner().invoke(
        cli,
        ["--dir", str(tmp_path / "ash"), "data", "check", str(tmp_path / "study.yaml"), "--mapping", str(mapping)],
    )
    assert said.exit_code != 0
    assert "groups: belong into a mapping file of their own" in f"{said.output} {said.exception}"


@given(
    values=st.lists(st.integers(-400, 4000).map(lambda each: each / 4), min_size=1),
    limits=st.sets(st.integers(1, 2399).map(lambda each: each / 4), min_size=1, max_size=9).map(sorted),
)
def test_bands_of_scaled_numbers_are_those_of_a_plain_loop(values: list[float], limits: list[float]) -> None:
    number = Number(kind="number", name="age", low=0, high=600)
    for scaled in ("signed", "unit"):
        encoded = scale(np.array(values), 0, 600, scaled).astype(np.float32)
        expected = [sum(limit <= value for limit in limits) for value in values]
        assert find_band(number, scaled, encoded, limits).tolist() == expected


def test_bands_are_read_and_named_as_they_are_written() -> None:
    assert read_bands("a=b=40, 65.5") == ("a=b", (40.0, 65.5))
    assert name_bands([40, 65.5]) == ["under 40", "40 to under 65.5", "65.5 or more"]
