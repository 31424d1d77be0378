"""A launch that keeps the name of a contract that people registered, and changes what the name stands for.

Whoever signs launches alone could make forty patients of one, train who has objected, learn another disease, or ask a
free question about a file by what is refused. All of it is refused before a record is read.
"""

from typing import Any

import pytest

from benchmarks.small_study import CONTRACT, small_terms, write_csv
from client.site.register_data import register_files
from privacy.errors import RefusedError
from privacy.protocol.messages import Join, Problem, Reply
from privacy.study import Terms
from tests.protocol.conftest import Found
from tests.simulator import Simulator

HONEST = small_terms()
SWAPS: dict[str, dict[str, Any]] = {
    "a visit is a patient": {"patient": "visit"},
    "another disease": {"label": {"name": "hiv", "positive": ["pos"], "negative": ["neg"]}},
    "many records of a patient": {"records_per_patient": 40},
    "a word fewer": {
        "features": [CONTRACT["features"][0], {"kind": "category", "name": "sex", "values": ["f", "x"]}]
    },
}


def asked_to_join(simulator: Simulator, terms: Terms, name: str = "ash") -> Reply:
    """Launch ``terms`` over a federation that has registered HONEST's contract; what a site answers."""
    simulator.terms = terms
    simulator.launch()
    return simulator.exchange(name, Join(launch=simulator.journal.read_launch(), epoch=1))[0]


@pytest.mark.parametrize("swap", list(SWAPS))
def test_contract_swapped_behind_its_name_is_refused_and_nobody_is_trained(found: Found, swap: str) -> None:
    simulator = found(HONEST, launch=False)
    reply = asked_to_join(simulator, small_terms(data=SWAPS[swap]))
    assert isinstance(reply, Problem)
    assert reply.code == "data"
    assert "keep another contract than the study's" in reply.sentence
    assert not simulator.entries("ash", "allow", "reserve")
    assert not simulator.trained


@pytest.mark.parametrize("swap", list(SWAPS))
def test_refusal_of_a_swapped_contract_is_the_same_whatever_the_file_holds(found: Found, swap: str) -> None:
    """By a category without one word, or terms too dear, a launch asked whether a value occurs: for nothing."""
    answers = set()
    for rows in (["p,50,f,yes"], ["p,50,m,no"], []):
        simulator = found(HONEST, launch=False)
        write_csv(simulator.homes["ash"].folder / "train.csv", rows)
        for epsilon in (3, 0.001):
            reply = asked_to_join(simulator, small_terms(data=SWAPS[swap], privacy={"epsilon": epsilon}))
            assert isinstance(reply, Problem)
            answers.add((reply.code, reply.sentence))
        assert len(simulator.entries("ash", "refuse")) == 2
        assert not simulator.entries("ash", "allow")
    assert len(answers) == 1


def test_study_of_the_registered_contract_is_admitted_before_a_record_is_read(found: Found) -> None:
    simulator = found(HONEST)
    simulator.run(until=lambda: simulator.all_have(0))
    assert len(simulator.entries("ash", "allow")) == 1
    (training,) = simulator.sites["ash"]._trainings.values()
    assert "_tables" not in vars(training)
    simulator.run(until=lambda: simulator.all_have(1))
    assert "_tables" in vars(training)


def test_population_told_by_another_column_is_refused_by_the_ledger(found: Found) -> None:
    """People may register another contract for the same population, but a patient stays a patient."""
    simulator = found(HONEST, launch=False)
    home = simulator.homes["ash"]
    folder = home.folder
    train = write_csv(folder / "t.csv", [f"v{n},50,f,yes" for n in range(60)], "visit,age,sex,ill")
    test = write_csv(folder / "u.csv", [f"w{n},50,m,no" for n in range(30)], "visit,age,sex,ill")
    visits = small_terms(data={"patient": "visit"}).data
    with pytest.raises(RefusedError, match="are told by the column 'id', this contract tells them by 'visit'"):
        register_files(home, visits, train, test, "small")
    assert home.load_registry().find_exact(visits) is None
