"""Sites that refuse a study: whoever launched it hears all of them, not one a launch."""

from benchmarks.small_study import small_terms
from server.study.state import Phase
from tests.protocol.conftest import Found
from tests.simulator import FOUR, Simulator, change_policy


def forbid(simulator: Simulator, *names: str) -> None:
    """Their data protection officers allow less epsilon than the study asks for."""
    for name in names:
        change_policy(simulator.homes[name], epsilon_per_study=0.5)
        simulator.restart_site(name)


def stopped(simulator: Simulator) -> str:
    return simulator.journal.read_history().stopped or ""


def test_study_that_three_of_four_refuse_stops_with_all_three_reasons(found: Found) -> None:
    simulator = found(small_terms(), launch=False)
    forbid(simulator, *FOUR[1:])
    simulator.launch()
    simulator.run()
    assert "1 sites can take part, the terms need 3" in stopped(simulator)
    for name in FOUR[1:]:
        assert f"{name}: the study asks for epsilon 3, this site allows 0.5 a study" in stopped(simulator)


def test_refusals_are_told_when_the_time_to_join_is_over_though_a_site_is_silent(found: Found) -> None:
    simulator = found(small_terms(), launch=False)
    forbid(simulator, "ash", "birch")
    simulator.transport.cut_off.add("elm")
    simulator.launch()
    simulator.step()
    assert simulator.conductor.machine.phase is Phase.JOINING
    simulator.run(seconds=10)
    assert "ash: the study asks" in stopped(simulator)
    assert "birch: the study asks" in stopped(simulator)


def test_refusals_that_leave_enough_sites_stop_nothing(found: Found) -> None:
    simulator = found(small_terms(), launch=False)
    forbid(simulator, "birch")
    simulator.launch()
    simulator.run()
    assert simulator.conductor.machine.phase is Phase.DONE
