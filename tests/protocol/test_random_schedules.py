"""Any schedule of faults: no promise is broken meanwhile, and once the faults end, so does the study."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.small_study import small_terms
from models.federated.early_stopping import RankedEvaluations
from privacy.protocol.envelope import Envelope
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_finished, require_safe
from tests.simulator import FOUR, Simulator

REASONS = ("the terms need 3",)
"""Why a study may stop when sites are away again and again: never because they were restarted."""

fault = st.one_of(
    st.tuples(st.just("cut off"), st.sampled_from(FOUR)),
    st.tuples(st.just("reconnect"), st.sampled_from(FOUR)),
    st.tuples(st.just("restart"), st.sampled_from(FOUR)),
    st.tuples(st.just("restart in the middle of an answer"), st.sampled_from(FOUR)),
    st.tuples(st.just("restart everybody"), st.booleans()),
    st.tuples(st.just("lose the answers of"), st.sampled_from(FOUR)),
    st.tuples(st.just("restart the coordinator"), st.booleans()),
    st.tuples(st.just("wait"), st.sampled_from((0.5, 0.5, 0.5, 6.0, 70.0, 700.0))),
)


def happen(simulator: Simulator, kind: str, what: object) -> None:
    """One fault, or nothing but time."""
    lost: set[str] = set()
    dying: list[str] = []

    def deliver(name: str, reply: Envelope) -> Envelope | None:
        if name in dying:
            dying.remove(name)
            simulator.restart_site(name)
            return None
        return None if name in lost else reply

    match kind, what:
        case "cut off", str(name):
            simulator.transport.cut_off.add(name)
        case "reconnect", str(name):
            simulator.transport.cut_off.discard(name)
        case "restart", str(name):
            simulator.restart_site(name)
        case "restart everybody", bool(with_coordinator):
            for name in FOUR:
                simulator.restart_site(name)
            if with_coordinator:
                simulator.restart_coordinator()
        case "restart in the middle of an answer", str(name):
            dying.append(name)
        case "lose the answers of", str(name):
            lost.add(name)
        case "restart the coordinator", bool(delivered):
            simulator.restart_coordinator(delivered=delivered)
        case "wait", float(seconds):
            simulator.step(seconds)
    simulator.transport.replies = deliver
    simulator.step()


@settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(faults=st.lists(fault, max_size=25))
def test_no_schedule_of_faults_breaks_a_promise_or_ends_in_silence(
    found: Found, faults: list[tuple[str, object]]
) -> None:
    require_promises_kept(found(small_terms(evaluation={"rounds": [1]})), faults)


@settings(
    max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(faults=st.lists(fault, max_size=25))
def test_no_schedule_of_faults_makes_sites_stop_or_choose_differently(
    found: Found, faults: list[tuple[str, object]]
) -> None:
    evaluation = {"rounds": [1, 2, 3, 4], "epsilon": 3, "patience": 1}
    simulator = found(small_terms(training={"rounds": 4}, evaluation=evaluation, release={"model": "best"}))
    require_promises_kept(simulator, faults)


def require_promises_kept(simulator: Simulator, faults: list[tuple[str, object]]) -> None:
    """Let faults happen, then none; and look."""
    for kind, what in faults:
        happen(simulator, kind, what)
    simulator.transport.cut_off.clear()
    simulator.transport.replies = lambda _, reply: reply
    simulator.run(seconds=10)
    require_safe(simulator)
    history = simulator.journal.read_history()
    if history.stopped is None:
        require_finished(simulator, *history.closed)
        evaluations, *others = [simulator.history(name).evaluations for name in history.closed]
        assert all(other == evaluations for other in others)
        assert len({simulator.state(name).best for name in history.closed}) == 1
        ranked, over_before = RankedEvaluations(simulator.terms), list[bool]()
        for each in evaluations:
            over_before.append(ranked.are_out_of_patience)
            ranked.add(each.counts)
        assert not any(over_before)
        over = max([*history.committed, *history.void]) == simulator.terms.last_round
        assert ranked.are_out_of_patience or over
        away = {what for kind, what in faults if kind == "cut off"}  # too long while the study was closed
        if not away:
            assert not history.out
        assert set(FOUR) - set(history.closed) - set(history.out) <= away
    else:
        assert any(reason in history.stopped for reason in REASONS), history.stopped
        assert f"consilium study resume {simulator.study} --readmit" in history.stopped
        simulator.resume(*history.out)
        simulator.run(seconds=10)
        require_safe(simulator)
        assert simulator.journal.read_history().finished
    simulator.close()
