"""What the fold tells, against the ledger's own figures and a count by hand."""

from decimal import Decimal
from pathlib import Path

import pytest

from privacy.accounting.epsilon import compute_charge, epsilon_of
from privacy.accounting.figures import round_up
from privacy.accounting.renyi_filter import RenyiFilter
from privacy.audit.commands.report import read_timeline
from privacy.audit.report.findings import Gravity, Reading, list_findings
from privacy.audit.report.timeline import Timeline
from privacy.ledger.entries import About, Choice
from tests.privacy.audit.report_makers import EXPOSED, GENTLE, long_ledger, write_year
from tests.privacy.ledger_makers import (
    KEY,
    OTHER_KEY,
    POPULATION,
    STEP,
    TERMS,
    TOTALS,
    granted_ledger,
    plan,
    requirement,
    write_every_kind,
)


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Reading:
    path = tmp_path_factory.mktemp("year") / "ledger.sqlite"
    write_year(path)
    return read_timeline(path, OTHER_KEY.public)


def sentences(reading: Reading) -> str:
    return "\n".join(finding.sentence for finding in list_findings(reading))


def test_story_at_its_end_stands_where_the_ledger_stands(year: Reading) -> None:
    for budget in year.ledger.list_budgets():
        history = year.timeline.histories[budget.population]
        last = history.points[-1]
        assert last.granted == (budget.epsilon_granted or 0)
        if last.spent is None:
            assert budget.epsilon_spent is None
        else:
            assert round_up(Decimal(last.spent)) == pytest.approx(budget.epsilon_spent, abs=1e-4)
        committed = sum(each.epsilon_of(each.spent + each.set_aside) for each in _filters(year, budget.population))
        assert last.committed == pytest.approx(float(committed))


def test_story_of_each_grant_is_what_its_studies_and_the_lost_ledger_spent(year: Reading) -> None:
    for population, history in year.timeline.histories.items():
        account = year.ledger.accounts[population]
        rest = history.compute_unattributed_spending(account)
        for number, filter_ in enumerate(account.filters, start=1):
            studies = [each for each in history.studies if each.said.grant == number]
            assert filter_.spent == sum(each.spent for each in studies) + rest[number - 1]
            assert filter_.set_aside == sum(each.set_aside for each in studies)


def test_story_of_a_recovery_leaves_the_lost_part_to_no_study(year: Reading) -> None:
    lost = year.timeline.histories[POPULATION].compute_unattributed_spending(year.ledger.accounts[POPULATION])
    assert lost == [5 * compute_charge(STEP, 8) + 2 * compute_charge(TOTALS, 8), 0]


def test_grant_before_the_first_payment_is_not_marked_and_one_after_it_is(year: Reading) -> None:
    first, second = year.timeline.histories[POPULATION].grants
    assert (first.after_results, second.after_results) == (False, True)
    assert "The budget of breast-2026 was enlarged after results were seen: epsilon 1.5" in sentences(year)


def test_grant_after_an_admission_without_a_payment_is_not_marked(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with granted_ledger(path) as ledger:
        ledger.record_refusal("a", "test", "a refusal")
        ledger.grant(POPULATION, 1, 1e-4, 16)
    assert not any(each.after_results for each in read_timeline(path, None).timeline.histories[POPULATION].grants)


def test_grant_after_a_recovery_that_took_spending_over_is_marked(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    write_every_kind(path)
    *_, last = read_timeline(path, None).timeline.histories[POPULATION].grants
    assert last.after_results


def test_study_tells_its_rounds_its_models_and_its_end(year: Reading) -> None:
    study = year.timeline.studies["tumour-grade-02"]
    assert study.reserved == list(range(1, 11))
    assert study.settled == set(study.reserved)
    assert study.evaluated == [10]
    assert study.spent == 10 * compute_charge(GENTLE, 8) + compute_charge(TOTALS, 8)
    assert study.returned == compute_charge(TOTALS, 8)
    assert study.closed is not None
    assert [each.to for each in study.releases] == ["sites"]


def test_study_closed_by_a_recovery_counts_with_its_whole_plan(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    write_every_kind(path)
    reading = read_timeline(path, None)
    study, account = reading.timeline.studies["first"], reading.ledger.accounts[POPULATION]
    assert study.closed_by_recovery
    assert study.spent == 5 * compute_charge(STEP, 8) + 2 * compute_charge(TOTALS, 8)
    assert account.compute_study_epsilon("first", 1e-3) == epsilon_of([STEP] * 5 + [TOTALS] * 2, 1e-3)


def test_population_trained_on_without_privacy_is_an_alarm_and_comes_first(year: Reading) -> None:
    first, *others = list_findings(year)
    assert first.gravity is Gravity.ALARM
    assert first.sentence.startswith(f"The patients of {EXPOSED} were trained on without privacy on ")
    assert not any(each.gravity is Gravity.ALARM for each in others)
    since = year.timeline.histories[EXPOSED].unbounded_since
    assert since is not None
    assert all((point.spent is None) == (point.at >= since) for point in year.timeline.histories[EXPOSED].points)


@pytest.mark.parametrize(
    "sentence",
    [
        "Totals over the held-out patients of stroke-2025 left without noise",
        "The ledger was restored from a backup on ",
        "2 incidents recorded",
        "2 rounds were paid and never settled",
        "1 entry at the end nobody has witnessed",
        "31 patients of sepsis-icu are written like patients of stroke-2025, and different people by what the site's",
    ],
)
def test_findings_of_a_bad_year_name_everything(year: Reading, sentence: str) -> None:
    assert sentence in sentences(year)


def test_findings_speak_of_the_key_only_when_none_was_given(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with granted_ledger(path):
        pass
    assert "The ledger vouches for itself only" in sentences(read_timeline(path, None))
    assert "The ledger vouches for itself only" not in sentences(read_timeline(path, KEY.public))


def test_story_tells_keys_witnesses_approvals_and_counts(year: Reading) -> None:
    timeline = year.timeline
    assert [each.key for each in timeline.keys] == [KEY.public.typed, OTHER_KEY.public.typed]
    (witness,) = timeline.witnesses.values()
    assert (witness.times, witness.newest) == (2, year.ledger.head.number - 1)
    assert timeline.approvals[0].at.entry == 4
    assert timeline.entries.total() == year.ledger.head.number


def test_approvers_of_a_study_are_who_agreed_to_its_terms_or_to_its_launch(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    write_every_kind(path)
    timeline = read_timeline(path, OTHER_KEY.public).timeline
    agreed = {
        name: [each.by for each in timeline.list_approvers(study)] for name, study in timeline.studies.items()
    }
    assert agreed == {
        "first": ["data protection"],
        "third": ["Ada"],
        "audited": ["data protection"],
        "alone": ["data protection"],
    }


def test_decision_to_refuse_and_one_about_a_release_are_no_approval_of_the_study(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with granted_ledger(path) as ledger:
        asked = requirement("a", persons=2)
        ledger.require(asked)
        ledger.decide("a", About.ADMISSION, Choice.REFUSE, "Bob", launch=asked.launch, why="too many columns")
        ledger.decide("a", About.ADMISSION, Choice.APPROVE, "Bob", launch=asked.launch)
        ledger.decide("a", About.ADMISSION, Choice.APPROVE, "Ada", launch=asked.launch)
        ledger.allow("a", POPULATION, plan(), TERMS)
    timeline = read_timeline(path, None).timeline
    assert [each.by for each in timeline.list_approvers(timeline.studies["a"])] == ["Bob", "Ada"]
    assert [each.choice for each in timeline.decisions["a"]] == [Choice.REFUSE, Choice.APPROVE, Choice.APPROVE]


def test_story_of_a_long_ledger_counts_every_round() -> None:
    timeline = Timeline()
    for state, entry in long_ledger(500):
        timeline.apply(state, entry)
    assert [len(each.reserved) for each in timeline.studies.values()] == [50] * 4


def _filters(reading: Reading, population: str) -> list[RenyiFilter]:
    return reading.ledger.accounts[population].filters
