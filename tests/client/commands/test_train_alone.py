"""``consilium-site train-alone``: decided by a person, paid before its first step, silent about who was left out."""

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mpmath  # type: ignore[import-untyped]
import numpy as np
import pytest
import torch
from dp_accounting import dp_event
from dp_accounting.rdp import RdpAccountant

from benchmarks.small_study import make_patients, small_terms, write_study
from client.data.dataset import read_study
from client.prediction.release_contract import MODEL_FILE
from client.site.folder import SiteFolder
from client.site.policy import Policy
from client.study.train_alone import make_event
from client.training.local_steps import DivergedError
from client.training.simulate import train_in_one_place
from privacy.accounting.epsilon import compute_charge
from privacy.accounting.individual_filter import PARTS, IndividualFilter
from privacy.accounting.plan import Planned, Purpose
from privacy.audit.commands.report import read_timeline
from privacy.audit.report.page import render_page
from privacy.canonical import compute_sha256
from privacy.errors import BudgetError, RefusedError, SiteConfigError, TermsError
from privacy.files import take_lock
from privacy.ledger.entries import Admits, Ending, ModelRelease, Reserve, Return
from privacy.randomness import KeyStream
from privacy.study import TableContract, Terms, read_terms
from tests.client.commands.terminal import grant, site, with_data
from tests.client.commands.test_audit_own_data import change_policy, kinds, read

ONCE = ["allow", "reserve", "settle", "release", "return"]
STEPS, PAID = 12, 3
ONE_STEP = {"rounds": 4, "local_steps": 1, "sampling_rate": 1.0, "learning_rate": 0.5}
DISTRIBUTED = {"epsilon": 3, "delta": 1e-3, "clipping_norm": 1.0, "placement": "distributed"}


def alone_terms(**changes: Any) -> Terms:
    """The small study as one site can train it: everybody in every step, evaluated on nobody."""
    training = {"rounds": 4, "local_steps": 3, "sampling_rate": 1.0, "learning_rate": 0.5}
    return small_terms(**{"training": training, "evaluation": {"rounds": []}, **changes})


def allow(folder: Path, study: str, *options: str) -> None:
    """Let people of the site agree to trainings alone."""
    change_policy(folder, individual_filters=True)
    site(folder, "approve", study, "--for", "alone", "--by", "Ada Byron", "--yes", *options)


@pytest.fixture
def study(folder: Path) -> str:
    """A site with data, a budget, and the study that it may train alone."""
    written = write_study(folder.parent / "study.yaml", alone_terms())
    with_data(folder)
    grant(folder)
    return str(written)


def train(folder: Path, study: str, paid_steps: int = PAID) -> dict[str, object]:
    """The command's document."""
    done = site(folder, "train-alone", study, "--paid-steps", str(paid_steps), "--json")
    found: dict[str, object] = json.loads(done.stdout)
    return found


def list_alone_states(folder: Path) -> list[str]:
    """What the site's status says of its trainings alone."""
    return [each["state"] for each in json.loads(site(folder, "status", "--json").stdout)["alone"]]


def find_bodies(folder: Path, kind: type) -> list[object]:
    return [entry.body for entry in read(folder) if isinstance(entry.body, kind)]


def test_training_alone_is_approved_paid_whole_before_it_begins_and_released(folder: Path, study: str) -> None:
    allow(folder, study)
    before = len(read(folder))
    done = train(folder, study)
    assert [entry.kind for entry in read(folder)[before:]] == ONCE
    (paid,), (released,), (closed,) = (find_bodies(folder, kind) for kind in (Reserve, ModelRelease, Return))
    assert isinstance(paid, Reserve)
    assert isinstance(released, ModelRelease)
    assert isinstance(closed, Return)
    assert (paid.event.kind, done["steps"], done["paid_steps"]) == ("individual-gaussian", STEPS, PAID)
    assert (closed.why, closed.charge) == (Ending.FINISHED, 0)
    model = Path(str(done["release"])) / MODEL_FILE
    assert released.model == done["model"] == compute_sha256(model.read_bytes())
    assert released.to == "this site"


def test_charge_is_that_of_the_paid_steps_and_within_the_epsilon_of_the_terms_by_other_accountants(
    folder: Path, study: str
) -> None:
    allow(folder, study)
    done = train(folder, study)
    (paid,) = find_bodies(folder, Reserve)
    assert isinstance(paid, Reserve)
    with SiteFolder(folder).open_ledger() as ledger:
        (budget,) = ledger.read_state().list_budgets()
    noise = mpmath.mpf(str(done["noise_multiplier"]))
    with mpmath.workdps(30):
        assert paid.charge == mpmath.ceil(budget.grants[0].order * PAID / (2 * noise**2) * 10**9)
    assert (budget.grants[0].spent, budget.grants[0].set_aside) == (paid.charge, 0)
    other = RdpAccountant(range(2, 257)).compose(dp_event.GaussianDpEvent(float(noise)), PAID)
    assert 2.9 < other.get_epsilon(1e-3) <= 3
    assert RdpAccountant(range(2, 257)).compose(dp_event.GaussianDpEvent(float(noise)), STEPS).get_epsilon(1e-3) > 5


def test_model_is_marked_and_its_card_and_the_reports_say_what_it_is(folder: Path, study: str) -> None:
    allow(folder, study)
    release = Path(str(train(folder, study)["release"]))
    label = "individual Rényi filters, one site"
    assert label.encode() in (release / MODEL_FILE).read_bytes()
    contract = json.loads((release / "contract.json").read_bytes())
    assert contract["study"] == release.parent.name
    card = json.loads((release / "card.json").read_bytes())
    assert card["alone"] == {"kind": label, "paid_steps": PAID, "steps": STEPS}
    assert (card["privacy"]["epsilon"], card["launches"]["seen"], card["evaluation"]) == (3, 1, [])
    text = (release / "card.md").read_text()
    assert "**Individual Rényi filters, one site.**" in text
    assert "those whom the model gets wrong leave first" in text
    page = render_page(read_timeline(SiteFolder(folder).ledger_path, None)).decode()
    assert f"{label}: {STEPS} steps over all patients of this site alone" in page


def test_status_shows_trainings_alone(folder: Path, study: str) -> None:
    assert json.loads(site(folder, "status", "--json").stdout)["alone"] == []
    allow(folder, study)
    done = train(folder, study)
    said = json.loads(site(folder, "status", "--json").stdout)
    assert said["alone"] == [{"study": done["study"], "state": "released", "release": done["release"]}]
    assert said["studies"] == []
    line = next(line for line in site(folder, "status").stdout.splitlines() if str(done["study"]) in line)
    assert line.split("  ", 1)[1].strip() == (
        f"trained on this site's patients alone; its model is in {done['release']}"
    )


def test_released_model_predicts_and_the_page_on_it_warns(folder: Path, study: str, tmp_path: Path) -> None:
    allow(folder, study)
    release = str(train(folder, study)["release"])
    test = str(folder.parent / "test.csv")
    site(folder, "predict", release, test, "--out", str(tmp_path / "said.csv"))
    assert len((tmp_path / "said.csv").read_text().splitlines()) > 30
    site(folder, "report", release, test, "--out", str(tmp_path / "page.html"))
    page = " ".join((tmp_path / "page.html").read_text().split())
    assert f"every patient pays for {PAID} of {STEPS} steps" in page
    assert "none: one site trained alone" in page


def describe_visible(folder: Path, study: str, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Everything that a training alone shows: output, log, entries and files, without names and digests."""
    caplog.clear()
    before = len(read(folder))
    with caplog.at_level(logging.DEBUG):
        done = site(folder, "train-alone", study, "--paid-steps", "1")
    shown = [done.stdout, done.stderr, *(f"{each.name} {each.getMessage()}" for each in caplog.records)]
    shown += [f"{entry.kind} {entry.body.model_dump_json()}" for entry in read(folder)[before:]]
    release = next((folder / "studies").glob("alone-*/release"))
    shown += [f"{path.name} {path.stat().st_size}" for path in sorted(release.iterdir())]
    known = re.compile(rf"alone-small-[0-9a-f]{{8}}|[0-9a-f]{{64}}|[0-9a-f]{{16}}|{re.escape(str(folder))}")
    return [known.sub("*", each) for each in shown]


def test_what_is_shown_is_the_same_whether_everybody_or_nobody_is_left_out(
    folder: Path, study: str, caplog: pytest.LogCaptureFixture
) -> None:
    shown, spent = [], []
    for norm in (0.0001, 1000.0):  # everybody's gradient is clipped, or nobody's is longer than 1/64
        other = folder.parent / f"site {norm:g}"
        shutil.copytree(folder, other)
        terms = alone_terms(privacy={"epsilon": 3, "delta": 1e-3, "clipping_norm": norm})
        written = str(write_study(folder.parent / "study.yaml", terms))
        allow(other, written)
        shown.append(describe_visible(other, written, caplog))
        spent.append(count_admitted(other, terms))
    assert spent == [0, 64]
    sizes = [[line for line in each if line.startswith("card")] for each in shown]
    rest = [[line for line in each if not line.startswith("card")] for each in shown]
    assert rest[0] == rest[1]
    assert [len(each) for each in sizes] == [2, 2]  # cards name the clipping norm, which is public


def count_admitted(folder: Path, terms: Terms) -> int:
    """How many patients are still in the last step, by a training whose filter the test holds."""
    registration = SiteFolder(folder).load_registry().find_exact(terms.data)
    assert registration is not None
    patients = read_study(registration.to_study_files())[0].patients
    kept = IndividualFilter(patients.patients, 1)
    train_in_one_place(terms, patients, make_event(terms, 1).noise_multiplier, patient_filter=kept)
    return int((kept.spent < PARTS**2).sum())


def test_training_that_is_killed_stays_charged_and_the_next_one_is_charged_again(folder: Path, study: str) -> None:
    terms = alone_terms(training={"rounds": 400, "local_steps": 100, "sampling_rate": 1.0, "learning_rate": 0.5})
    long = str(write_study(folder.parent / "long.yaml", terms))
    allow(folder, long, "--runs", "1")
    code = "from client.cli import main; main()"
    command = [sys.executable, "-c", code, "--dir", str(folder), "train-alone", long, "--paid-steps", "9"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 120
        while "reserve" not in kinds(folder) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert kinds(folder)[-2:] == ["allow", "reserve"]
    assert not list((folder / "studies").glob("alone-*/release"))
    assert list_alone_states(folder) == ["open"]
    allow(folder, study)
    before = len(read(folder))
    train(folder, study)
    assert sorted(list_alone_states(folder)) == ["ended", "released"]
    assert [entry.kind for entry in read(folder)[before:]] == ["return", *ONCE]
    paid = find_bodies(folder, Reserve)
    with SiteFolder(folder).open_ledger() as ledger:
        (budget,) = ledger.read_state().list_budgets()
    assert len(paid) == 2
    assert budget.grants[0].spent == sum(each.charge for each in paid if isinstance(each, Reserve) and each.charge)
    assert find_bodies(folder, Return)[0].why is Ending.WITHDRAWN  # type: ignore[attr-defined]


@pytest.mark.parametrize("recorded", [True, False])
def test_model_that_a_crash_left_unpublished_is_published_only_if_its_release_stands(
    folder: Path, study: str, recorded: bool
) -> None:
    allow(folder, study, "--runs", "2")
    terms, home = read_terms(Path(study)), SiteFolder(folder)
    event = make_event(terms, PAID)
    plan = [Planned(purpose=Purpose.TRAIN, event=event, times=1)]
    unpublished = folder / "studies" / "alone-small-00000000" / "unpublished"
    unpublished.mkdir(parents=True)
    (unpublished / MODEL_FILE).write_bytes(b"a model")
    with home.open_ledger() as ledger:
        ledger.allow("alone-small-00000000", "small", plan, terms.digest, approval=Admits.ALONE)
        ledger.reserve("alone-small-00000000", 1, event)
        if recorded:
            ledger.record_release("alone-small-00000000", compute_sha256(b"a model"), "this site")
    train(folder, study)
    assert (unpublished.parent / "release" / MODEL_FILE).exists() is recorded
    assert not unpublished.exists()
    assert find_bodies(folder, Return)[0].why is (Ending.FINISHED if recorded else Ending.WITHDRAWN)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"individual_filters": False}, RefusedError, "individual_filters: true in policy.yaml"),
        ({"persons": 2}, RefusedError, "asks for 2 people"),
        ({"release": "person"}, RefusedError, "release: automatic"),
        ({"models": ["mlp"]}, RefusedError, "mlp"),
        ({"epsilon_per_study": 1}, RefusedError, "epsilon"),
    ],
    ids=["not-named", "two-people", "released-by-a-person", "model", "epsilon"],
)
def test_training_alone_that_the_policy_does_not_allow_is_refused(
    folder: Path, study: str, changes: dict[str, object], error: type[Exception], sentence: str
) -> None:
    allow(folder, study)
    change_policy(folder, **changes)
    with pytest.raises(error, match=sentence):
        train(folder, study)
    assert "allow" not in kinds(folder)


def test_policy_allows_no_filters_unless_somebody_writes_it() -> None:
    assert not Policy().individual_filters


@pytest.mark.parametrize("admits", [None, "launch", "audit"])
def test_training_alone_that_nobody_has_approved_trains_nothing(
    folder: Path, study: str, admits: str | None
) -> None:
    change_policy(folder, individual_filters=True)
    if admits is not None:
        site(folder, "approve", study, "--for", admits, "--by", "Ada", "--yes")
    with pytest.raises(RefusedError, match=r"no approval of a training alone .* --for alone"):
        train(folder, study)
    assert "allow" not in kinds(folder)


def test_approval_of_a_training_alone_is_used_up_by_it(folder: Path, study: str) -> None:
    allow(folder, study)
    train(folder, study)
    with pytest.raises(RefusedError, match="no approval of a training alone"):
        train(folder, study)


def test_training_alone_for_which_no_grant_has_room_is_refused(folder: Path, study: str) -> None:
    allow(folder, study, "--runs", "9")
    with SiteFolder(folder).open_ledger() as ledger:
        (budget,) = ledger.read_state().list_budgets()
    price = compute_charge(make_event(read_terms(Path(study)), PAID), budget.grants[0].order)
    for _ in range(budget.grants[0].limit // price):
        train(folder, study)
    with pytest.raises(BudgetError, match="is left"):
        train(folder, study)
    assert kinds(folder)[-1] == "return"


def test_training_alone_of_a_restored_site_waits_for_its_people(folder: Path, study: str) -> None:
    allow(folder, study)
    SiteFolder(folder).mark_restored("2026-11-01T00:00:00Z")
    with pytest.raises(SiteConfigError, match="confirm-policy"):
        train(folder, study)
    assert "allow" not in kinds(folder)


def test_two_trainings_alone_do_not_run_at_once(folder: Path, study: str) -> None:
    allow(folder, study)
    lock = take_lock(folder / "alone.lock")
    assert lock is not None
    with pytest.raises(SiteConfigError, match="another training alone"):
        train(folder, study)
    os.close(lock)


def test_training_alone_without_data_under_the_contract_is_refused(folder: Path) -> None:
    written = write_study(folder.parent / "other.yaml", alone_terms())
    change_policy(folder, individual_filters=True)
    with pytest.raises(SiteConfigError, match="no data are registered"):
        train(folder, str(written))


def test_training_alone_that_diverges_has_paid_and_has_no_model(folder: Path, study: str) -> None:
    training = {"rounds": 4, "local_steps": 3, "sampling_rate": 1.0, "learning_rate": 1e12}
    wild = str(write_study(folder.parent / "wild.yaml", alone_terms(training=training)))
    allow(folder, wild)
    with pytest.raises(DivergedError):
        train(folder, wild)
    assert kinds(folder)[-3:] == ["allow", "reserve", "return"]
    assert not list((folder / "studies").iterdir())
    assert not list((folder / "studies").glob("alone-*/release"))


@pytest.mark.parametrize(
    ("changes", "paid_steps", "sentence"),
    [
        (
            {"training": {"rounds": 4, "local_steps": 3, "sampling_rate": 0.5, "learning_rate": 0.5}},
            3,
            "sampling_rate",
        ),
        ({"privacy": {"unit": "record"}}, 3, "unit is record"),
        (
            {"privacy": DISTRIBUTED, "training": ONE_STEP, "secure_aggregation": {"value_range": "auto"}},
            3,
            "placement is distributed",
        ),
        ({"privacy": {"epsilon": "none", "delta": None, "clipping_norm": None}}, 3, "epsilon is none"),
        ({"release": {"model": "best"}, "evaluation": {"rounds": [4], "bins": 10, "epsilon": 1}}, 3, "is best"),
        ({}, 13, "expected 1 to 12 paid steps"),
        ({}, 0, "expected 1 to 12 paid steps"),
    ],
)
def test_terms_that_one_site_cannot_train_with_filters_are_refused_by_name(
    changes: dict[str, dict[str, object]], paid_steps: int, sentence: str
) -> None:
    with pytest.raises(TermsError, match=sentence):
        make_event(alone_terms(**changes), paid_steps)


@pytest.mark.parametrize(("model", "options"), [("logistic", {}), ("mlp", {"hidden": [4]})])
def test_training_in_which_nobody_is_left_out_is_the_plain_one_to_the_bit(
    model: str, options: dict[str, object]
) -> None:
    terms = alone_terms(model={"name": model, "options": options})
    assert isinstance(terms.data, TableContract)
    patients = make_patients(np.random.default_rng(3).uniform(-1, 1, (40, terms.data.width)), np.arange(40) % 2)
    noise = make_event(terms, STEPS).noise_multiplier
    key = bytes(range(32))
    plain = train_in_one_place(terms, patients, noise, stream=KeyStream(key))
    kept = IndividualFilter(40, STEPS)
    filtered = train_in_one_place(terms, patients, noise, stream=KeyStream(key), patient_filter=kept)
    assert kept.spent.any()
    for name, parameter in plain.state_dict().items():
        assert torch.equal(parameter, filtered.state_dict()[name])
    few = train_in_one_place(terms, patients, noise, stream=KeyStream(key), patient_filter=IndividualFilter(40, 1))
    assert any(not torch.equal(each, few.state_dict()[name]) for name, each in plain.state_dict().items())
