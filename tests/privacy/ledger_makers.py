"""Books for the ledger's tests: the same short story of two studies, told on a clock that stands still."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy.accountant import Gaussian, SampledGaussian, Unprotected
from privacy.budget import Planned, Purpose
from privacy.keys import SigningKey
from privacy.ledger import Ledger

KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER_KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))
DATA, CHANGED_DATA, TERMS, MODEL, PATIENTS = ("1" * 64, "2" * 64, "3" * 64, "4" * 64, "5" * 64)
STEP = SampledGaussian(noise_multiplier=2.0, sampling_rate=0.05, steps=10)
TOTALS = Gaussian(noise_multiplier=20.0, count=1)
UNPROTECTED = Unprotected()


def plan(rounds: int = 5, step: SampledGaussian | Unprotected = STEP) -> list[Planned]:
    return [
        Planned(purpose=Purpose.TRAIN, event=step, times=rounds),
        Planned(purpose=Purpose.EVALUATE, event=TOTALS, times=2),
    ]


def clock(*, start: str = "2026-03-02T08:00:00+00:00", step_s: int = 60) -> Callable[[], datetime]:
    """A clock that moves on by ``step_s`` whenever it is looked at."""
    now = datetime.fromisoformat(start).astimezone(UTC) - timedelta(seconds=step_s)

    def look() -> datetime:
        nonlocal now
        now += timedelta(seconds=step_s)
        return now

    return look


def granted_ledger(path: Path, epsilon: float = 3.0) -> Ledger:
    """A new book with one population and its grant."""
    ledger = Ledger.create(path, KEY, "north", clock())
    ledger.register_population("breast-2026", DATA, 160, 1, PATIENTS)
    ledger.grant("breast-2026", epsilon, 1e-3, 8)
    return ledger


def write_story(path: Path) -> None:
    """A book with an entry of every kind."""
    with granted_ledger(path) as ledger:
        ledger.allow("first", "breast-2026", plan(), TERMS)
        ledger.reserve("first", 1, STEP)
        ledger.settle("first", 1)
        ledger.evaluate("first", 1, TOTALS)
        ledger.reserve("first", 2, STEP)
        ledger.incident("first", "void-round", "round 2 is void: a site vanished after sealing", round=2)
        ledger.release("first", MODEL)
        ledger.give_back("first")
        ledger.refuse("second", "policy-epsilon", "the study asks for epsilon 9, this site's policy allows 3")
