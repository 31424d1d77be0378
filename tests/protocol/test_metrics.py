"""The metrics of a study in progress, at a site and at the coordinator, against the records that they are read from."""

import pytest

from benchmarks.small_study import small_terms
from client.connection.link import AgentEvent, Kind
from client.connection.metrics import CountingActivity, SiteMetrics
from privacy.errors import SuperLinkError
from privacy.metrics import Family
from server.control.metrics import CoordinatorMetrics
from tests.protocol.conftest import Found
from tests.simulator import Simulator


@pytest.fixture
def simulator(found: Found) -> Simulator:
    """A study of four rounds over four sites."""
    return found(small_terms(training={"rounds": 4}, evaluation={"rounds": [4]}))


def committed(simulator: Simulator) -> int:
    return len(simulator.journal.read_history().committed)


def values(families: list[Family]) -> dict[str, float]:
    """The samples by metric and labels."""
    return {
        "/".join((family.name, *labels.values())): value for family in families for labels, value in family.samples
    }


def test_site_shows_rounds_bytes_refusals_and_the_budget_of_its_ledger(simulator: Simulator) -> None:
    simulator.run(lambda: committed(simulator) == 2)
    home, activity = simulator.homes["ash"], CountingActivity()
    metrics = SiteMetrics(home, activity)
    activity.report_refusal(simulator.study, "train", "busy", "later")
    for event in (AgentEvent(Kind.ONLINE, ""), AgentEvent(Kind.ASKED, "", 7), AgentEvent(Kind.ANSWERED, "", 9)):
        metrics.count(event)
    found = values(list(metrics.collect()))
    assert found["consilium_site_connected"] == 1
    assert (found["consilium_site_bytes_total/in"], found["consilium_site_bytes_total/out"]) == (7, 9)
    assert found["consilium_site_refusals_total/busy"] == 1
    assert found[f"consilium_site_study_rounds/{simulator.study}"] == simulator.state("ash").base
    assert found[f"consilium_site_study_rounds_planned/{simulator.study}"] == 4
    with home.open_ledger() as ledger:
        state = ledger.read_state()
        (budget,) = state.list_budgets()
    assert found["consilium_site_ledger_entries"] == state.head.number
    assert found["consilium_site_epsilon_left/small"] == budget.epsilon_left
    simulator.run(seconds=5)
    later = values(list(metrics.collect()))
    assert later["consilium_site_studies_finished"] == 1
    assert later["consilium_site_ledger_entries"] > found["consilium_site_ledger_entries"]
    assert f"consilium_site_study_rounds/{simulator.study}" not in later
    metrics.close()


def test_coordinator_shows_phases_rounds_and_bytes_and_reads_each_note_once(simulator: Simulator) -> None:
    simulator.run(lambda: committed(simulator) == 2)
    metrics = CoordinatorMetrics(simulator.federation, dict)
    found = values(list(metrics.collect()))
    again = values(list(metrics.collect()))
    for name in ("bytes_total/up", "bytes_total/down", f"study_rounds/{simulator.study}"):
        assert again[f"consilium_coordinator_{name}"] == found[f"consilium_coordinator_{name}"]
    assert found[f"consilium_coordinator_study_rounds/{simulator.study}"] == 2
    assert found["consilium_coordinator_studies/open"] == 1
    assert [name for name in found if name.startswith(f"consilium_coordinator_study_phase/{simulator.study}/")]
    assert found["consilium_coordinator_bytes_total/up"] > 0
    assert found["consilium_coordinator_site_online/ash"] == 0
    simulator.run(seconds=5)
    later = values(list(metrics.collect()))
    assert later["consilium_coordinator_studies/finished"] == 1
    assert later["consilium_coordinator_bytes_total/up"] > found["consilium_coordinator_bytes_total/up"]


def test_superlink_that_restarts_is_shown_and_hides_nothing_else(simulator: Simulator) -> None:
    def fail() -> dict[int, bool]:
        raise SuperLinkError("it is restarting")

    found = values(list(CoordinatorMetrics(simulator.federation, fail).collect()))
    assert found["consilium_coordinator_superlink_up"] == 0
    assert found["consilium_coordinator_studies/open"] == 1
