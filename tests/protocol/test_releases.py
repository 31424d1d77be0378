"""A finished model that waits for a person, the hours of a site, and rounds that take too long."""

import json

import pytest

from benchmarks.small_study import small_terms
from client.site.policy import Policy
from privacy.errors import RefusedError, SiteConfigError
from server.study.state import Phase
from tests.client.commands.terminal import site
from tests.protocol.conftest import Found
from tests.protocol.moments import THREE
from tests.simulator import PowerCut, Simulator, change_policy


@pytest.fixture
def simulator(found: Found) -> Simulator:
    """The model of ash waits for a person; the other sites release it."""
    simulator = found(small_terms(), names=THREE, launch=False)
    change_policy(simulator.homes["ash"], release="person")
    simulator.launch()
    return simulator


def test_model_is_not_released_before_a_person_agrees(simulator: Simulator) -> None:
    simulator.run()
    assert simulator.conductor.machine.phase is Phase.DONE
    home, study = simulator.homes["ash"], simulator.study
    folder = home.find_study_folder(study)
    assert not (folder / "release").exists()
    assert simulator.entries("ash", "release") == []
    assert len(simulator.entries("birch", "release")) == 1
    assert f"consilium-site release approve {study}" in site(home.folder, "status").stdout
    (listed,) = json.loads(site(home.folder, "release", "list", "--json").stdout)["waiting"]
    assert listed["study"] == study
    done = site(home.folder, "release", "approve", study, "--by", "Ada", "--yes")
    assert "released by Ada" in done.stderr
    assert simulator.released_model("ash") == simulator.released_model("birch")
    assert [entry.kind for entry in simulator.entries("ash")][-2:] == ["decide", "release"]
    with pytest.raises(SiteConfigError, match="models that wait: none"):
        site(home.folder, "release", "approve", study, "--by", "Ada", "--yes")


def test_refused_release_stays_unpublished_until_the_same_person_agrees(simulator: Simulator) -> None:
    simulator.run()
    home, study = simulator.homes["ash"], simulator.study
    site(home.folder, "release", "refuse", study, "--by", "Ada", "--why", "not yet")
    with pytest.raises(RefusedError, match=r"the release of .* needs a person: 1 agreed, 1 refused"):
        site(home.folder, "release", "approve", study, "--by", "Bob", "--yes")
    assert not (home.find_study_folder(study) / "release").exists()
    site(home.folder, "release", "approve", study, "--by", "Ada", "--yes")
    assert (home.find_study_folder(study) / "release" / "model.safetensors").exists()


def test_policy_that_was_loosened_after_admission_releases_nothing(simulator: Simulator) -> None:
    """What was asked when the study was admitted holds to its end."""
    simulator.run(lambda: simulator.all_have(1))
    change_policy(simulator.homes["ash"], release="automatic")
    simulator.run()
    assert simulator.state("ash").withheld is not None
    assert simulator.entries("ash", "release") == []


def test_policy_that_was_tightened_after_admission_counts(found: Found) -> None:
    simulator = found(small_terms(), names=THREE)
    simulator.run(lambda: simulator.all_have(1))
    change_policy(simulator.homes["ash"], release="person")
    simulator.run()
    assert simulator.state("ash").withheld is not None
    assert simulator.entries("ash", "release") == []


@pytest.mark.parametrize("step", ["record_release", "publish"])
def test_power_cut_in_a_release_leaves_it_to_be_done_again(
    step: str, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a site without a person: before the ledger has the release, and between the ledger and the folder."""
    simulator = found(small_terms(), names=THREE)
    simulator.run(lambda: simulator.all_have(1))

    def cut(*_: object, **__: object) -> None:
        monkeypatch.undo()
        raise PowerCut

    where = (
        "client.study.participation.publish_release"
        if step == "publish"
        else "privacy.ledger.Ledger.record_release"
    )
    monkeypatch.setattr(where, cut)
    simulator.run(seconds=5)
    assert len({simulator.released_model(name) for name in THREE}) == 1
    assert {len(simulator.entries(name, "release")) for name in THREE} == {1}
    assert not [path for name in THREE for path in simulator.homes[name].folder.rglob("unpublished")]


# hours and minutes -------------------------------------------------------------------------------------------


def test_site_outside_its_hours_counts_as_away_and_trains_later(
    found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = found(small_terms(), launch=False)
    change_policy(simulator.homes["ash"], hours=["20:00-06:00"])
    monkeypatch.setattr(Policy, "allows_hour", lambda policy, now: not policy.hours)
    simulator.launch()
    simulator.run(lambda: simulator.journal.read_history().base >= 1, seconds=20)
    assert not [name for name, _ in simulator.trained if name == "ash"]
    assert "trains at 20:00-06:00 only" in simulator.conductor.machine.sites["ash"].why
    assert simulator.entries("ash", "refuse", "reserve") == []
    monkeypatch.undo()
    change_policy(simulator.homes["ash"], hours=[])
    simulator.run(seconds=20)
    assert simulator.state("ash").closed


def test_round_that_took_too_long_is_an_incident_and_the_last_one(
    found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = found(small_terms(training={"rounds": 3}), launch=False)
    change_policy(simulator.homes["ash"], minutes_per_round=1e-9)
    simulator.launch()
    simulator.run(lambda: simulator.journal.read_history().base >= 2, seconds=20)
    assert [number for name, number in simulator.trained if name == "ash"] == [1]
    (incident,) = simulator.entries("ash", "incident")
    assert getattr(incident.body, "code", "") == "long-round"
    simulator.restart_site("ash")
    change_policy(simulator.homes["ash"], minutes_per_round=600)
    simulator.run(seconds=20)
    assert simulator.state("ash").closed
