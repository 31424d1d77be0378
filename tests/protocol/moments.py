"""Moments of a study that tests wait for."""

from server.study.events import RoundCommitted
from server.study.state import Phase
from tests.simulator import Simulator

THREE = ("ash", "birch", "cedar")


def in_phase(simulator: Simulator, phase: Phase, number: int = 1) -> None:
    """Continue until the study is in ``phase`` of round ``number``."""

    def there() -> bool:
        attempt = simulator.journal.read_history().attempt
        return simulator.conductor.machine.phase is phase and attempt is not None and attempt.round == number

    simulator.run(there)
    assert there()


def make_void(simulator: Simulator, number: int, who: str = "birch") -> None:
    """Let ``who`` be away between sealing and release of round ``number`` until it is void; then it is back."""
    in_phase(simulator, Phase.RELEASING, number)
    simulator.transport.cut_off.add(who)
    simulator.run(lambda: number in simulator.journal.read_history().void, seconds=20)
    simulator.transport.cut_off.clear()


def trained_once(simulator: Simulator) -> bool:
    return set(simulator.trained.values()) == {1}


def committed(simulator: Simulator) -> dict[int, RoundCommitted]:
    return simulator.journal.read_history().committed
