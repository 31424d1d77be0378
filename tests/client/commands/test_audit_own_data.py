"""``consilium-site audit-run --own-data``: decided by a person, paid before it trains, signed, shown to auditors."""

from pathlib import Path

import pytest

from benchmarks.small_study import small_terms, write_study
from client.site.folder import SiteFolder
from privacy.audit.commands.report import read_timeline
from privacy.audit.report.page import render_page
from privacy.errors import BudgetError, RefusedError, SiteConfigError, TrainingError
from privacy.ledger.entries import Audit, Entry
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
    site(folder, "approve", study, "--by", "Ada Byron", "--yes")
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
    assert not list(folder.glob("consilium-audit-*"))  # the records that it trained on are gone


def test_audit_of_own_data_costs_what_a_launch_costs(folder: Path, study: str) -> None:
    site(folder, "approve", study, "--by", "Ada", "--yes")
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


def test_approval_is_used_up_by_one_audit(folder: Path, study: str) -> None:
    site(folder, "approve", study, "--by", "Ada", "--yes")
    site(folder, "audit-run", study, *FEW)
    with pytest.raises((RefusedError, BudgetError)):
        site(folder, "audit-run", study, *FEW)


def test_audit_that_fails_has_paid_for_the_round_it_began_and_says_nothing(
    folder: Path, study: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise TrainingError("the machine gave up")

    site(folder, "approve", study, "--by", "Ada", "--yes")
    monkeypatch.setattr("client.training.session.TrainingSession._train_round", fail)
    with pytest.raises(TrainingError, match="gave up"):
        site(folder, "audit-run", study, *FEW)
    assert kinds(folder)[-3:] == ["allow", "reserve", "return"]


def test_audit_without_data_under_the_contract_is_refused(folder: Path) -> None:
    written = write_study(folder.parent / "other.yaml", small_terms(evaluation={"rounds": []}))
    with pytest.raises(SiteConfigError, match="no data are registered"):
        site(folder, "audit-run", str(written), *FEW)


def test_report_shows_the_bound_beside_the_claim(folder: Path, study: str, tmp_path: Path) -> None:
    site(folder, "approve", study, "--by", "Ada", "--yes")
    site(folder, "audit-run", study, *FEW)
    page = render_page(read_timeline(SiteFolder(folder).ledger_path, None)).decode()
    assert "by an attack with 20 canaries on one training of these terms, which claim 3" in page
