"""What a site tells its people while a study runs, and a policy that they change meanwhile."""

import re
from pathlib import Path

import pytest

from benchmarks.small_study import small_terms
from client.site.folder import SiteFolder
from client.study.activity_log import ActivityLog
from tests.protocol.conftest import Found
from tests.protocol.moments import THREE
from tests.simulator import Simulator, change_policy


@pytest.fixture
def simulator(found: Found) -> Simulator:
    return found(small_terms(training={"rounds": 2}), names=THREE)


def edit_policy(home: Path, **changes: object) -> None:
    """What the data protection officer does while the site runs."""
    change_policy(SiteFolder(home), **changes)


def watched(simulator: Simulator) -> list[str]:
    """What ``ash`` shows from now on, without its times."""
    shown: list[str] = []
    site = simulator.sites["ash"]
    site._activity = site._policy._activity = ActivityLog(lambda line: shown.append(line.split(" ", 2)[2]))
    return shown


def test_study_is_told_in_words_from_admission_to_its_model(simulator: Simulator) -> None:
    shown, study = watched(simulator), simulator.study
    simulator.run()
    spent = [float(each) for line in shown for each in re.findall(r"epsilon (\S+) spent", line)]
    assert spent == sorted(spent)
    assert 2.9 < spent[-1] <= 3
    plain = [re.sub(r"epsilon \S+ spent", "epsilon X spent", line) for line in shown]
    assert plain == [
        f"{study}: admitted: epsilon 3, delta 0.001, 2 rounds, sites ash, birch, cedar",
        f"{study}: round 1 of 2 is trained and sealed; epsilon X spent so far",
        f"{study}: round 2 of 2 is trained and sealed; epsilon X spent so far",
        f"{study}: the last model is evaluated; epsilon X spent so far",
        f"{study}: finished; epsilon X spent in all; the model is in "
        f"{simulator.homes['ash'].folder / 'studies' / study / 'release'}",
    ]


def test_policy_that_was_changed_since_the_start_is_in_force(simulator: Simulator) -> None:
    shown, study = watched(simulator), simulator.study
    edit_policy(simulator.homes["ash"].folder, epsilon_per_study=0.5)
    simulator.run(seconds=5)
    assert shown[0] == "policy.yaml has changed: it is in force from now on"
    assert shown[1].startswith(f"{study}: refuses admission (policy): ")
    assert not simulator.trained
    (refusal,) = simulator.entries("ash", "refuse")
    assert getattr(refusal.body, "code", "") == "policy"


def test_policy_that_cannot_be_read_decides_nothing_and_the_site_stays(simulator: Simulator) -> None:
    shown = watched(simulator)
    file = simulator.homes["ash"].folder / "policy.yaml"
    good = file.read_text()
    file.write_text("models: [")
    simulator.run(lambda: bool(shown))
    file.write_text(good)
    assert "refuses admission (unavailable)" in shown[0]
    assert str(simulator.homes["ash"].folder) not in shown[0]
    assert simulator.entries("ash", "refuse") == []
