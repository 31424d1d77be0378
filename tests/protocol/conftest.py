"""Federations in memory, made and ended."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import torch

from benchmarks.small_study import small_terms
from privacy.study import Terms
from tests.protocol.mallory import Mallory, in_charge
from tests.simulator import FOUR, Simulator

Found = Callable[..., Simulator]


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)  # the models are tiny: more threads only wait for each other


@pytest.fixture
def found(memory: Path) -> Iterator[Found]:
    """Founds a federation for a study; ``launch=False`` leaves the launch to the test.

    A federation is founded once for the same terms and sites; each test has a copy.
    """
    made: list[Simulator] = []

    def found(terms: Terms, names: tuple[str, ...] = FOUR, *, launch: bool = True) -> Simulator:
        founded = memory / "-".join((terms.digest, *names))
        if not founded.exists():
            Simulator(founded, terms, names).close()
        folder = memory / str(uuid4())
        shutil.copytree(founded, folder)
        simulator = Simulator(folder, terms, names)
        made.append(simulator)
        if launch:
            simulator.launch()
        return simulator

    yield found
    for simulator in made:
        simulator.close()
        shutil.rmtree(simulator.folder)


@pytest.fixture
def mallory(found: Found) -> Mallory:
    """In charge of a study of four rounds whose first key epoch is honestly made."""
    return in_charge(found(small_terms(training={"rounds": 4}, evaluation={"rounds": [4]})))
