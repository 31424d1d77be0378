"""Paid work whose result is gone: a study's folder that was lost or put back beside a whole ledger.

A second draw of a paid round might leave beside the first, and two draws tell more than was paid for.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.small_study import small_terms
from privacy.protocol.messages import Joined, Problem, Sealed
from server.study.sites import SiteStatus
from server.study.state import Phase
from tests.protocol.conftest import Found
from tests.protocol.mallory import Mallory, in_charge, require_refused
from tests.protocol.moments import THREE
from tests.simulator import PowerCut, Simulator

PAID = {"rounds": [1], "epsilon": 1.0}


def study_folder(simulator: Simulator, name: str) -> Path:
    return simulator.homes[name].find_study_folder(simulator.study)


def incidents(simulator: Simulator, name: str) -> list[str]:
    return [entry.body.code for entry in simulator.entries(name, "incident")]  # type: ignore[attr-defined]


def put_back_around(mallory: Mallory, work: Callable[[], object]) -> None:
    """Let ash do ``work``, then put its study's folder, but not its ledger, back to the moment before."""
    simulator = mallory.simulator
    folder, copy = study_folder(simulator, "ash"), simulator.folder / "copy"
    shutil.copytree(folder, copy)
    work()
    simulator.sites["ash"].close()
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)
    simulator.sites["ash"] = simulator._start("ash")


def test_folder_lost_after_a_paid_round_is_an_incident_and_the_study_is_not_begun_again(mallory: Mallory) -> None:
    simulator = mallory.simulator
    assert isinstance(mallory.train("ash"), Sealed)
    shutil.rmtree(study_folder(simulator, "ash"))
    simulator.restart_site("ash")
    require_refused(mallory.join("ash", 2), "lost", "the study's folder is lost")
    assert incidents(simulator, "ash") == ["study-lost"]
    assert not simulator.has_begun("ash")
    assert simulator.trained["ash", 1] == 1


def test_folder_lost_before_anything_was_paid_is_begun_again(mallory: Mallory) -> None:
    """A crash between the ledger's entry and the folder leaves just this."""
    shutil.rmtree(study_folder(mallory.simulator, "ash"))
    mallory.simulator.restart_site("ash")
    assert isinstance(mallory.join("ash", 2), Joined)
    assert incidents(mallory.simulator, "ash") == []


def test_round_whose_integers_are_gone_is_not_trained_again(mallory: Mallory) -> None:
    put_back_around(mallory, lambda: mallory.train("ash"))
    mallory.key(2)
    require_refused(mallory.train("ash", epoch=2), "lost", "round 1 is paid, and its result is gone")
    assert incidents(mallory.simulator, "ash") == ["study-lost"]
    assert mallory.simulator.trained["ash", 1] == 1


def test_totals_that_are_gone_are_not_counted_again(found: Found) -> None:
    """Only the totals' randomness and result are gone; the integers of the round are not paid yet."""
    mallory = in_charge(found(small_terms(training={"rounds": 1}, evaluation=PAID)))
    committed, aggregate = mallory.honest_round()
    put_back_around(mallory, lambda: mallory.train("ash", 2, base=1, committed=(committed, aggregate)))
    mallory.key(2, lead="birch", earlier=(1,))
    reply = mallory.train("ash", 2, epoch=2, base=1, committed=(committed, aggregate))
    require_refused(reply, "lost", "the totals of the model after round 1 are paid, and their result is gone")


@pytest.mark.parametrize("evaluation", [{"rounds": [1, 2], "epsilon": 1.0}, {"rounds": []}], ids=["totals", "none"])
def test_power_cut_in_paid_work_repeats_the_same_draw_and_pays_once(
    found: Found, evaluation: dict[str, object]
) -> None:
    simulator = found(small_terms(evaluation=evaluation), THREE)
    cut: list[int] = []

    def die_once(site: str, number: int) -> None:
        if site == "ash" and not cut:
            cut.append(number)
            raise PowerCut

    simulator.before_training = die_once
    simulator.run(seconds=5)
    assert simulator.conductor.machine.phase is Phase.DONE
    assert simulator.conductor.machine.sites["ash"].standing is SiteStatus.CLOSED
    draws = [key for site, number, key in simulator.draws if (site, number) == ("ash", 1)]
    assert len(draws) == 2
    assert len(set(draws)) == 1
    assert len(simulator.entries("ash", "reserve")) == 2
    assert incidents(simulator, "ash") == []
    assert not [
        reply for _, reply in simulator.transport.said if isinstance(reply, Problem) and reply.code == "lost"
    ]
