"""Tuned trainings without privacy: changes of a study, and patients who are held out."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from benchmarks import reference_training
from benchmarks.paired_seeds import PairedSite
from benchmarks.reference_training import (
    change_study,
    deal_anew,
    hold_out,
    make_cohorts,
    read_changes,
    read_sites,
    take_share,
)
from benchmarks.small_study import small_terms, without_privacy, write_patients, write_study
from client.data.examples import Patients
from privacy.errors import TermsError
from privacy.study import read_terms
from server.demo.sources import DemoChoice


@pytest.fixture
def site(tmp_path: Path) -> PairedSite:
    train = write_patients(tmp_path / "train.csv", 41, "train-", seed=1)
    return PairedSite.read(small_terms(), "ash", train, write_patients(tmp_path / "test.csv", 30, "test-", seed=2))


def list_records(patients: Patients) -> list[tuple[bytes, ...]]:
    """Return every record as its bytes, patient after patient."""
    arrays = [*patients.inputs.values(), *patients.targets.values()]
    return [tuple(array[np.array([row])].tobytes() for array in arrays) for row in range(patients.records)]


def test_changes_go_as_deep_as_they_are_written() -> None:
    changes = read_changes(("training.step.rule=adam", "training.rounds=7", "name=other"))
    assert changes == {"training": {"step": {"rule": "adam"}, "rounds": 7}, "name": "other"}
    terms = without_privacy()
    changed = change_study(terms, changes)
    assert (changed.training.step.rule, changed.training.rounds, changed.evaluation.rounds) == ("adam", 7, (7,))
    assert changed.training.sampling_rate == terms.training.sampling_rate
    assert (changed.data, changed.task) == (terms.data, terms.task)


def test_stages_bring_their_own_rounds(repository: Path) -> None:
    terms = read_terms(repository / "examples" / "records" / "dbn.yaml")
    stages = [each.model_dump(mode="json") | {"rounds": 4} for each in terms.training.stages]
    changed = change_study(terms, {"training": {"stages": stages}})
    assert changed.evaluation.rounds == (4 * len(stages),) != terms.evaluation.rounds


def test_a_change_of_no_key_is_refused() -> None:
    with pytest.raises(TermsError, match="learning_rat"):
        change_study(without_privacy(), {"training": {"learning_rat": 1}})


def test_held_out_patients_are_of_the_training_files_and_train_nobody(site: PairedSite) -> None:
    held = hold_out(site)
    assert (held.training.patients, held.testing.patients) == (33, 8)
    parts = list_records(held.training) + list_records(held.testing)
    assert sorted(parts) == sorted(list_records(site.training))
    for each in (held.training, held.testing):  # numbered from 0 on, none left out
        assert np.unique(each.patient).tolist() == list(range(each.patients))


def test_a_share_leaves_the_test_patients(site: PairedSite) -> None:
    part = take_share(site, 0.5)
    assert part.training.patients == 20
    assert set(list_records(part.training)) <= set(list_records(site.training))
    assert part.testing is site.testing


def test_deals_keep_everybody_once_and_differ(site: PairedSite) -> None:
    everybody = sorted(list_records(site.training) + list_records(site.testing))
    deals = [deal_anew(site, number) for number in (1, 1, 2)]
    for each in deals:
        assert (each.training.patients, each.testing.patients) == (41, 30)
        assert sorted(list_records(each.training) + list_records(each.testing)) == everybody
    tested = [list_records(each.testing) for each in deals]
    assert tested[0] == tested[1] != tested[2]


def test_pooled_are_all_patients(site: PairedSite) -> None:
    cohorts = make_cohorts([site, site])
    (pooled,) = cohorts["pooled"]
    assert pooled.training.patients == 82
    assert list_records(pooled.testing) == 2 * list_records(site.testing)
    assert cohorts["federated"] == [site, site]


def write_hospitals(data: Path) -> Path:
    """Files of three hospitals."""
    for number, name in enumerate(("ash", "birch", "cedar")):
        (data / name).mkdir(parents=True)
        for part, count in (("train", 40), ("test", 30)):
            write_patients(data / name / f"{part}.csv", count, f"{name}-{part}-", seed=number)
    return data


def test_files_are_read_as_the_changes_scale_them(tmp_path: Path) -> None:
    data = write_hospitals(tmp_path / "hearts")
    study = write_study(tmp_path / "small.yaml", small_terms())
    choice = DemoChoice(None, None, study, data, None, False, "none", None, None)
    age, sex = without_privacy().model_dump(mode="json")["data"]["features"]
    ages = []
    for high in (80, 140):  # from 20 on: twice the range
        _, sites = read_sites(choice, {"data": {"features": [{**age, "high": high}, sex]}})
        ages.append(sites[0].training.inputs["features"][np.arange(sites[0].training.records)][:, 0])
    np.testing.assert_allclose(ages[1], (ages[0] - 1) / 2, atol=1e-6)


def test_a_further_study_of_a_model_has_changes_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out, choices = tmp_path / "hearts", tmp_path / "models.json", tmp_path / "choices.yaml"
    write_hospitals(data)
    changes = {"training": {"rounds": 1}}
    choices.write_text(
        yaml.safe_dump({"logistic": {"training": {"rounds": 9}}, "small": changes}), encoding="utf-8"
    )
    monkeypatch.setattr(reference_training, "CHOICES", choices)
    study = write_study(tmp_path / "small.yaml", small_terms())
    asked = [f"logistic={data}", "--study", str(study), "--out", str(out), "--seeds", "1", "--deals", "2"]
    found = CliRunner().invoke(reference_training.main, asked, catch_exceptions=False)
    assert found.exit_code == 0, found.output
    (row,) = json.loads(out.read_text(encoding="utf-8"))["studies"]
    assert (row["model"], row["data"]) == ("logistic", "hearts")
    assert (row["reference"]["study"], row["reference"]["changes"]) == ("small", changes)
    assert row["reference"]["patients"] == 120
    assert {count: len(values) for count, values in row["reference"]["dealt"].items()} == {
        "30": 2,
        "60": 2,
        "120": 2,
    }
