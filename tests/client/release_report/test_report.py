"""The page of a released model: its figures are scikit-learn's, it has no script, and it says what is not known."""

import re
import stat
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from sklearn import metrics

from benchmarks.small_study import small_terms, write_csv, write_patients
from client.cli import cli
from client.data.site_data import read_contents
from client.prediction.release_contract import read_contract
from client.release_report.make_report import make_report, read_labelled
from client.release_report.reliability import compute_points
from client.release_report.subgroups import find_groups
from privacy.errors import DataError, ReleaseError, SiteConfigError
from tests.client.prediction.released import release_of_catalogue, release_table
from tests.simulator import Simulator


def report(release: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["report", str(release), *options])


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return release_table(tmp_path)[0]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_patients(tmp_path / "patients.csv", 60, "a", seed=5)


def compute_scores(table: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Score, label and sex of every row, by the release's known weights."""
    rows = [line.split(",") for line in table.read_text().splitlines()[1:]]
    age = np.clip([float(row[1]) for row in rows], 20, 80) / 30 - 5 / 3
    sex = np.array([row[2] for row in rows])
    logits = 2.0 * age + np.where(sex == "f", -1.0, 1.0) + 0.125
    return 1 / (1 + np.exp(-logits)), np.array([row[3] == "yes" for row in rows]), sex


def read_cells(page: str, title: str) -> list[str]:
    """The cells of the first row of the page whose heading is ``title``."""
    row = re.search(rf"<tr><th[^>]*><div>{re.escape(title)}</div></th>(.*?)</tr>", page)
    assert row is not None, title
    return [re.sub(r"<[^>]*>", "", cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row[1])]


def test_figures_of_the_page_are_those_of_scikit_learn(release: Path, table: Path) -> None:
    scores, labels, sex = compute_scores(table)
    page = make_report(release, read_labelled(release, table), None, ()).decode()
    for title, expected in (
        ("AUROC", metrics.roc_auc_score(labels, scores)),
        ("average precision", metrics.average_precision_score(labels, scores)),
        ("accuracy", metrics.accuracy_score(labels, scores >= 0.5)),
        ("sensitivity", metrics.recall_score(labels, scores >= 0.5)),
        ("specificity", metrics.recall_score(labels, scores >= 0.5, pos_label=0)),
        ("Brier score", metrics.brier_score_loss(labels, scores)),
    ):
        assert read_cells(page, title)[0] == f"{expected:.3f}"
    for word in ("f", "m"):
        own = sex == word
        count, auroc, *_ = read_cells(page, f"sex: {word}")
        assert count == str(own.sum())
        assert auroc.startswith(f"{metrics.roc_auc_score(labels[own], scores[own]):.3f}")


class Reader(HTMLParser):
    """Count the elements, and what they load."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.loaded: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href", "style", "onload")]


def test_page_has_no_script_and_loads_nothing(release: Path, table: Path) -> None:
    reader = Reader()
    page = make_report(release, read_labelled(release, table), None, ()).decode()
    reader.feed(page)
    assert "script" not in reader.names
    assert reader.loaded == []
    assert {"svg", "table", "style"} <= reader.names
    assert "default-src &#x27;none&#x27;" in page


def test_words_of_a_contract_cannot_become_markup(tmp_path: Path, table: Path) -> None:
    release = release_table(tmp_path / "other", purpose="<script>alert(1)</script> & so on")[0]
    page = make_report(release, read_labelled(release, table), None, ()).decode()
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; so on" in page


def test_page_of_few_patients_has_no_intervals_and_hides_small_groups(release: Path, tmp_path: Path) -> None:
    few = write_csv(tmp_path / "few.csv", ["a,50,f,yes", "b,20,m,no", "c,70,f,no"])
    page = make_report(release, read_labelled(release, few), None, ()).decode()
    assert read_cells(page, "AUROC")[1] == "–"
    assert "Fewer than 10 patients have no interval." in page
    assert read_cells(page, "sex: f")[0] == "fewer than 10"
    assert "sex: missing" not in page


@pytest.mark.parametrize("name", ["retain", "unet", "gru-d", "deepdta", "doctor-ai"])
def test_page_of_other_data_and_tasks_is_made(name: str, tmp_path: Path) -> None:
    release, data, contract = release_of_catalogue(tmp_path, name, patients=12)
    page = make_report(release, read_labelled(release, data), None, ()).decode()
    assert contract.study in page
    assert "The release has no card.json" in page


def test_site_reports_on_its_own_registered_patients_with_what_the_card_says(tmp_path: Path) -> None:
    simulator = Simulator(tmp_path / "wood", small_terms())
    simulator.launch()
    simulator.run()
    home = simulator.homes["ash"]
    released = home.find_study_folder(simulator.study) / "release"
    simulator.close()
    out = tmp_path / "page.html"
    done = CliRunner().invoke(
        cli, ["--dir", str(home.folder), "report", str(released), "--out", str(out)], catch_exceptions=False
    )
    assert done.exit_code == 0
    page = out.read_text()
    assert "this site’s own test patients, as registered" in page
    assert "epsilon 3, delta 0.001" in page
    assert "All sites" in page
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    again = CliRunner().invoke(cli, ["--dir", str(home.folder), "report", str(released), "--out", str(out)])
    assert isinstance(again.exception, ReleaseError)
    assert "name a new file" in str(again.exception)
    (released / "card.json").write_text("{}")
    done = CliRunner().invoke(
        cli, ["--dir", str(home.folder), "report", str(released), "--out", str(tmp_path / "other.html")]
    )
    assert isinstance(done.exception, ReleaseError)


def test_report_without_data_outside_a_site_is_refused(release: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        cli, ["--dir", str(tmp_path), "report", str(release), "--out", str(tmp_path / "p.html")]
    )
    assert isinstance(done.exception, SiteConfigError)


def test_report_on_data_without_labels_is_refused(release: Path, tmp_path: Path) -> None:
    bare = write_csv(tmp_path / "bare.csv", ["a,50,f"], header="id,age,sex")
    done = report(release, str(bare), "--out", str(tmp_path / "p.html"))
    assert isinstance(done.exception, DataError)
    assert "ill" in str(done.exception)


def test_subgroup_that_the_contract_does_not_have_is_refused(release: Path, table: Path, tmp_path: Path) -> None:
    done = report(release, str(table), "--subgroup", "age", "--out", str(tmp_path / "p.html"))
    assert isinstance(done.exception, ReleaseError)
    assert "--subgroup age: the contract has no groups of it; it has groups of: sex" in str(done.exception)


def test_groups_of_a_table_are_its_words_and_who_lacks_one(release: Path, tmp_path: Path) -> None:
    contract = read_contract(release)
    rows = write_csv(tmp_path / "rows.csv", ["a,50,f,yes", "b,20,m,no", "c,70,?,no"])
    groups = find_groups(contract.data, read_contents(contract.data, rows))
    assert {(each.word, tuple(each.members.tolist())) for each in groups} == {
        ("f", (True, False, False)),
        ("m", (False, True, False)),
        ("missing", (False, False, True)),
    }


def test_points_are_those_of_a_plain_loop_with_wilsons_interval() -> None:
    draw = np.random.default_rng(0)
    probabilities = draw.random(200)
    positive = draw.random(200) < probabilities
    for point in compute_points(probabilities, positive):
        place = int(point.probability * 10)
        own = (probabilities >= place / 10) & (probabilities < (place + 1) / 10)
        n, share, z = int(own.sum()), float(positive[own].mean()), 1.959963984540054
        assert point.records == n
        assert point.share == pytest.approx(share)
        assert point.probability == pytest.approx(probabilities[own].mean())
        middle = (share + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
        assert point.low == pytest.approx(middle - half, abs=1e-9)
        assert point.high == pytest.approx(middle + half, abs=1e-9)
