"""Moments of a study that tests wait for."""

from server.desk import Phase
from server.history import RoundCommitted
from tests.simulator import Simulator

THREE = ("ash", "birch", "cedar")


def in_phase(simulator: Simulator, phase: Phase, number: int = 1) -> None:
    """Go on until the study is in ``phase`` of round ``number``."""

    def there() -> bool:
        attempt = simulator.journal.history().attempt
        return simulator.conductor.machine.phase is phase and attempt is not None and attempt.round == number

    simulator.run(there)
    assert there()


def trained_once(simulator: Simulator) -> bool:
    return set(simulator.trained.values()) == {1}


def committed(simulator: Simulator) -> dict[int, RoundCommitted]:
    return simulator.journal.history().committed
