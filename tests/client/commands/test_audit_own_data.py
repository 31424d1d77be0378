"""``consilium-site audit-run --own-data``: decided by a person, paid before it trains, signed, shown to auditors."""

import os
import tarfile
from pathlib import Path

import pytest
import yaml

from benchmarks.small_study import small_terms, write_study
from client.audit.audit_study import FOLDER_PREFIX
from client.site.folder import SiteFolder
from privacy.accounting.plan import Planned, Purpose
from privacy.audit.commands.report import read_timeline
from privacy.audit.report.page import render_page
from privacy.errors import BudgetError, RefusedError, SiteConfigError, TrainingError
from privacy.files import take_lock
from privacy.ledger.entries import Admits, AtLeast, Audit, Ending, Entry
from privacy.ledger.rules import BrokenRuleError
from privacy.study import read_terms
from privacy.study.cost import compute_study_noise, make_training_event
from tests.client.commands.terminal import grant, site, with_data

FEW = ("--own-data", "--canaries", "20", "--patients", "20")


@pytest.fixture
def study(folder: Path) -> str:
    """A site with data, a budget and the study that it may audit."""
    terms = small_terms(training={"rounds": 2, "local_steps": 1, "sampling_rate": 1.0}, evaluation={"rounds": []})
    written = write_study(folder.parent / "study.yaml", terms)
    with_data(folder)
    grant(folder)
    return str(written)


def read(folder: Path) -> list[Entry]:
    with SiteFolder(folder).open_ledger() as ledger:
        return list(ledger.read_entries())


def kinds(folder: Path) -> list[str]:
    return [entry.kind for entry in read(folder)]


def test_audit_of_own_data_is_approved_paid_and_signed(folder: Path, study: str) -> None:
    site(folder, "approve", study, "--for", "audit", "--by", "Ada Byron", "--yes")
    before = len(read(folder))
    done = site(folder, "audit-run", study, *FEW)
    assert "not refuted" in done.stdout
    entries = read(folder)[before:]
    assert [entry.kind for entry in entries] == [
        "allow", "reserve", "settle", "reserve", "settle", "audit", "return",
    ]  # fmt: skip
    (audit,) = [entry.body for entry in entries if isinstance(entry.body, Audit)]
    assert (audit.canaries, audit.epsilon, audit.gaussian_is_claimed) == (20, 3, True)
    assert audit.at_least.one_run <= 3
    assert not list(folder.glob(f"{FOLDER_PREFIX}*"))  # the records that it trained on are gone


def test_audit_of_own_data_costs_what_a_launch_costs(folder: Path, study: str) -> None:
    site(folder, "approve", study, "--for", "audit", "--by", "Ada", "--yes")
    site(folder, "audit-run", study, *FEW)
    with SiteFolder(folder).open_ledger() as ledger:
        (budget,) = ledger.read_state().list_budgets()
    (audited,) = [entry.body for entry in read(folder) if isinstance(entry.body, Audit)]
    assert audited.epsilon == 3
    assert sum(each.spent for each in budget.grants) > 0
    assert sum(each.set_aside for each in budget.grants) == 0


def test_audit_that_nobody_has_approved_trains_nothing(folder: Path, study: str) -> None:
    with pytest.raises(RefusedError, match="approv"):
        site(folder, "audit-run", study, *FEW)
    assert "reserve" not in kinds(folder)


def test_approval_of_a_launch_admits_no_audit(folder: Path, study: str) -> None:
    site(folder, "approve", study, "--by", "Ada", "--yes")
    with pytest.raises(RefusedError, match=r"no approval of an audit .* --for audit"):
        site(folder, "audit-run", study, *FEW)
    assert "allow" not in kinds(folder)


def test_approval_is_used_up_by_one_audit(folder: Path, study: str) -> None:
    site(folder, "approve", study, "--for", "audit", "--by", "Ada", "--yes")
    site(folder, "audit-run", study, *FEW)
    with pytest.raises((RefusedError, BudgetError)):
        site(folder, "audit-run", study, *FEW)


def test_audit_that_fails_has_paid_for_the_round_it_began_and_says_nothing(
    folder: Path, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise TrainingError("the machine gave up")

    site(folder, "approve", study, "--for", "audit", "--by", "Ada", "--yes")
    monkeypatch.setattr("client.training.session.TrainingSession._train_round", fail)
    with pytest.raises(TrainingError, match="gave up"):
        site(folder, "audit-run", study, *FEW)
    assert kinds(folder)[-3:] == ["allow", "reserve", "return"]


def test_audit_without_data_under_the_contract_is_refused(folder: Path) -> None:
    written = write_study(folder.parent / "other.yaml", small_terms(evaluation={"rounds": []}))
    with pytest.raises(SiteConfigError, match="no data are registered"):
        site(folder, "audit-run", str(written), *FEW)


def test_report_shows_the_bound_beside_the_claim(folder: Path, study: str, tmp_path: Path) -> None:
    site(folder, "approve", study, "--for", "audit", "--by", "Ada", "--yes")
    site(folder, "audit-run", study, *FEW)
    page = render_page(read_timeline(SiteFolder(folder).ledger_path, None)).decode()
    assert "by an attack with 20 canaries on one training of these terms, which claim 3" in page


def change_policy(folder: Path, **changes: object) -> None:
    path = folder / "policy.yaml"
    path.write_text(yaml.safe_dump({**(yaml.safe_load(path.read_text()) or {}), **changes}))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"models": ["mlp"]}, "mlp"),
        ({"epsilon_per_study": 1}, "epsilon"),
        ({"persons": 2}, "asks for 2 people"),
    ],
    ids=["model", "epsilon", "two-people"],
)
def test_audit_is_refused_by_what_would_refuse_a_launch(
    folder: Path, study: str, changes: dict[str, object], sentence: str
) -> None:
    site(folder, "approve", study, "--for", "audit", "--by", "Ada", "--yes")
    change_policy(folder, **changes)
    with pytest.raises(RefusedError, match=sentence):
        site(folder, "audit-run", study, *FEW)
    assert "allow" not in kinds(folder)


def test_audit_of_a_restored_site_waits_for_its_people(folder: Path, study: str) -> None:
    site(folder, "approve", study, "--for", "audit", "--by", "Ada", "--yes")
    SiteFolder(folder).mark_restored("2026-11-01T00:00:00Z")
    with pytest.raises(SiteConfigError, match="confirm-policy"):
        site(folder, "audit-run", study, *FEW)
    assert "allow" not in kinds(folder)


def test_records_that_a_crash_left_are_in_no_backup_and_go_with_the_next_audit(
    folder: Path, study: str, tmp_path: Path
) -> None:
    left = folder / f"{FOLDER_PREFIX}crashed" / "site00"
    left.mkdir(parents=True)
    (left / "train.npz").write_bytes(b"records")
    site(folder, "backup", str(tmp_path / "backup.tar"))
    with tarfile.open(tmp_path / "backup.tar") as archive:
        assert not [name for name in archive.getnames() if FOLDER_PREFIX in name]
    site(folder, "approve", study, "--for", "audit", "--by", "Ada", "--yes")
    site(folder, "audit-run", study, *FEW)
    assert not left.exists()


def test_two_audits_do_not_run_at_once(folder: Path, study: str) -> None:
    site(folder, "approve", study, "--for", "audit", "--by", "Ada", "--yes")
    lock = take_lock(folder / "audit.lock")
    assert lock is not None
    with pytest.raises(SiteConfigError, match="another audit"):
        site(folder, "audit-run", study, *FEW)
    os.close(lock)


def test_ledger_takes_no_result_of_an_audit_that_has_not_trained(folder: Path, study: str) -> None:
    terms = read_terms(Path(study))
    site(folder, "approve", study, "--for", "audit", "--by", "Ada", "--yes")
    home = SiteFolder(folder)
    registration = home.load_registry().find_exact(terms.data)
    assert registration is not None
    event = make_training_event(terms, compute_study_noise(terms))
    plan = [Planned(purpose=Purpose.TRAIN, event=event, times=2)]
    result = Audit(
        study="audit-small-00000000",
        canaries=20,
        epsilon=3,
        delta=0.001,
        gaussian_is_claimed=False,
        at_least=AtLeast(one_run=0, trade_off=0, gaussian=0, independent=None),
    )
    with home.open_ledger() as ledger:
        ledger.allow(result.study, registration.population, plan, terms.digest, approval=Admits.AUDIT)
        with pytest.raises(BrokenRuleError, match="no open account that has paid"):
            ledger.record_audit(result)
        ledger.reserve(result.study, 1, event)
        ledger.settle(result.study, 1)
        ledger.give_back(result.study, Ending.WITHDRAWN)
        with pytest.raises(BrokenRuleError, match="no open account that has paid"):
            ledger.record_audit(result)
