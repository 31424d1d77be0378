"""A study that waits for a person, over real processes: a site killed meanwhile, a coordinator that restarts."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from benchmarks.running_federation import Running
from benchmarks.small_study import small_terms, write_study

pytestmark = pytest.mark.federation
NAMES = ("ash", "birch", "cedar")


@pytest.fixture
def wood(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Three sites; the people of ash decide."""
    wood = Running(tmp_path_factory.mktemp("waiting") / "wood", NAMES)  # a socket's path is short
    wood.register_data(small_terms())
    policy = wood.folder / "ash" / "policy.yaml"
    strict = yaml.safe_load(policy.read_text()) | {"automatic": [], "contact": "Ada, 1234", "release": "person"}
    policy.write_text(yaml.safe_dump(strict))
    wood.start()
    wood.wait_until_online()
    yield wood
    wood.end()


def test_study_waits_over_kills_of_both_sides_and_goes_on_when_a_person_agrees(
    wood: Running, tmp_path: Path
) -> None:
    study_file = write_study(tmp_path / "study.yaml", small_terms())
    study = wood.consilium("study", "launch", study_file, "--json").json["study"]
    shown = _wait_for_decision(wood, study)
    assert shown["contact"] == "Ada, 1234"
    wood.kill("ash")
    wood.kill_coordinator()
    wood.start("ash", "coordinator")
    wood.wait_until_online()
    assert _wait_for_decision(wood, study)["waits_since"] == shown["waits_since"]
    assert wood.ledger("ash", "allow") == []
    said = wood.site("ash", "approve", study, "--by", "Ada", "--yes")
    assert said.code == 0, said.err
    assert "launched by" in said.out
    _wait_until(lambda: wood.consilium("study", "show", study, "--json").json["standing"] == "finished")
    folder = wood.folder / "ash" / "studies" / study
    assert not (folder / "release").exists()
    assert wood.site("ash", "release", "approve", study, "--by", "Ada", "--yes").code == 0
    assert (folder / "release" / "model.safetensors").exists()


def _wait_for_decision(wood: Running, study: str) -> dict[str, str]:
    def decides() -> bool:
        shown = wood.consilium("study", "show", study, "--json").json
        return any(site["state"] == "deciding" for site in shown["sites"])

    _wait_until(decides)
    shown = wood.consilium("study", "show", study, "--json").json
    (found,) = [site for site in shown["sites"] if site["state"] == "deciding"]
    return dict(found)


def _wait_until(ready: object, patience_s: float = 90.0) -> None:
    assert callable(ready)
    end = time.monotonic() + patience_s
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.5)
