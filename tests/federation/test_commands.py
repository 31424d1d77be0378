"""A study from empty folders to a model, as three people do it: by the commands, one after the other."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dp_accounting import ComposedDpEvent, DpEvent, GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.rdp import RdpAccountant

from benchmarks.running_federation import COORDINATOR, DELTA, Running, Said, command
from benchmarks.small_study import small_terms
from server.superlink.process import find_free_port

pytestmark = pytest.mark.federation

SITES = ("ash", "birch", "cedar")


def ok(said: Said) -> Said:
    """The command has ended well."""
    assert said.code == 0, said.err
    return said


@pytest.fixture(scope="module")
def study_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("author") / "study.yaml"
    file.write_text(yaml.safe_dump(small_terms().model_dump(mode="json")))
    return file


@pytest.fixture(scope="module")
def wood(tmp_path_factory: pytest.TempPathFactory, study_file: Path) -> Iterator[Running]:
    """A federation made by its people's commands; running."""
    folder = tmp_path_factory.mktemp("wood")
    wood = Running(folder, SITES, made=True)
    port = str(find_free_port())
    coordinator = ok(command("consilium", "init", folder / COORDINATOR, "--name", "wood", "--port", port)).out
    keys = {}
    for name in SITES:
        keys[name] = ok(
            command("consilium-site", "init", folder / name, "--name", name, "--device", "cpu")
        ).out.strip()
        set_policy(folder / name / "policy.yaml")
        request, admission = folder / f"{name}.request", folder / f"{name}.admission"
        ok(wood.site(name, "join", "--request", request))
        assert ok(wood.consilium("admit", request, "--out", admission, "--yes")).out.strip() == keys[name]
        assert ok(wood.site(name, "join", "--admission", admission)).out == coordinator
    for number, name in enumerate(SITES):
        for peer in SITES:
            if peer != name:
                ok(wood.site(name, "peer", "trust", peer, keys[peer]))
        train, test = wood.write_tables(name, number)
        ok(wood.site(name, "data", "add", study_file, "--train", train, "--test", test))
        granted = ("--epsilon", "6", "--delta", str(DELTA), "--typical", study_file)
        ok(wood.site(name, "budget", "grant", "small", *granted))
    try:
        wood.start()
        wood.wait_until_online()
        yield wood
    finally:
        left_over = wood.end()
    assert left_over == []


def set_policy(file: Path) -> None:
    """What the data protection officer writes."""
    policy = yaml.safe_load(file.read_text())
    policy["unprotected_test_patients"] = True
    policy["automatic"] = [{"name": "small-studies", "studies": ["small"], "epsilon_at_most": 3}]
    file.write_text(yaml.safe_dump(policy))


@pytest.fixture(scope="module")
def study(wood: Running, study_file: Path) -> str:
    """A study, launched by its command and finished."""
    launched = ok(wood.consilium("study", "launch", study_file, "--json")).json
    assert list(launched) == ["study"]
    wood.finish(launched["study"])
    return str(launched["study"])


def test_check_says_what_the_study_costs(study_file: Path) -> None:
    said = ok(command("consilium", "study", "check", study_file, "--json")).json
    assert (said["rounds"], said["exchanges"], said["parameters"]) == (2, 3, 6)
    assert (said["privacy"]["epsilon"], said["privacy"]["steps"]) == (3, 6)


def test_list_says_that_the_study_is_finished(wood: Running, study: str) -> None:
    (listed,) = ok(wood.consilium("study", "list", "--json")).json["studies"]
    assert (listed["study"], listed["standing"], listed["rounds"]["applied"]) == (study, "finished", 2)
    assert listed["sites"] == list(SITES)
    assert study in ok(wood.consilium("study", "list")).out


def test_show_says_what_came_of_the_study(wood: Running, study: str) -> None:
    shown = ok(wood.consilium("study", "show", study, "--json")).json
    card = json.loads((wood.folder / "ash" / "studies" / study / "release" / "card.json").read_bytes())
    values = {name: each["value"] for name, each in shown["evaluations"][-1]["figures"].items()}
    assert values == card["evaluation"][-1]["figures"]
    assert shown["movement"]["bytes_up"] > 10_000


def test_watch_tells_every_round_and_ends(wood: Running, study: str) -> None:
    notes = [json.loads(line) for line in ok(wood.consilium("study", "watch", study, "--json")).out.splitlines()]
    assert [note["round"] for note in notes if note["kind"] == "committed"] == [1, 2, 3]
    sealed = {note["site"] for note in notes if note["kind"] == "answered" and note["what"] == "sealed"}
    assert sealed == set(SITES)
    assert (notes[-1]["kind"], notes[-1]["standing"]) == ("end", "finished")


def test_every_site_holds_the_same_model_and_its_card_names_it(wood: Running, study: str) -> None:
    digest = wood.released(study)
    for name in SITES:
        card = json.loads((wood.folder / name / "studies" / study / "release" / "card.json").read_bytes())
        assert card["model"]["sha256"] == digest
        assert card["rounds"]["applied"] == 2
        assert card["rounds"]["sites"] == {"1": list(SITES), "2": list(SITES), "3": list(SITES)}
        assert card["evaluation"][-1]["patients"] == 30 * len(SITES)


def test_audit_accepts_every_ledger_and_finds_the_price(wood: Running, study: str) -> None:
    """Prices computed again by dp-accounting from the events in the ledger: at any order, and at the grant's."""
    for name in SITES:
        assert wood.paid(name, study) == ([1, 2], [1, 2])
        events = [dp_event(paid["event"]) for paid in wood.ledger(name, "reserve")]
        (grant,) = wood.ledger(name, "grant")
        price = RdpAccountant().compose(ComposedDpEvent(events)).get_epsilon(DELTA)
        assert 2.9 < price <= 3
        charged = RdpAccountant([grant["order"]]).compose(ComposedDpEvent(events)).get_epsilon(DELTA)
        found = wood.audited(name)
        (population,) = found["populations"]
        assert population["epsilon_spent"] == pytest.approx(charged, abs=2e-4)
        assert population["epsilon_set_aside"] == 0
        assert (found["site"], found["key_given"], found["unsettled_rounds"]) == (name, True, 0)


def dp_event(event: dict[str, Any]) -> DpEvent:
    """An entry's event in dp-accounting's words."""
    assert event["kind"] == "sampled-gaussian"
    step = PoissonSampledDpEvent(event["sampling_rate"], GaussianDpEvent(event["noise_multiplier"]))
    return SelfComposedDpEvent(step, event["steps"])


def test_site_commands_agree_with_the_auditor(wood: Running, study: str) -> None:
    for name in SITES:
        found = wood.audited(name)
        (shown,) = ok(wood.site(name, "budget", "--json")).json["populations"]
        (audited,) = found["populations"]
        assert {figure: shown[figure] for figure in audited} == audited
        status = ok(wood.site(name, "status", "--json")).json
        assert status["ledger"] == {"number": found["entries"], "hash": found["head"]}
        assert status["peers"] == [peer for peer in SITES if peer != name]
        assert [(each["study"], each["state"]) for each in status["studies"]] == [(study, "finished")]
        assert "small" in ok(wood.site(name, "budget")).out
        assert study in ok(wood.site(name, "status")).out


def test_release_was_written_in_the_ledger(wood: Running, study: str) -> None:
    digest = wood.released(study)
    for name in SITES:
        assert [entry["model"] for entry in wood.ledger(name, "release")] == [digest]


def test_secrets_of_a_site_never_reach_the_coordinator(wood: Running, study: str) -> None:
    """Not one file of the coordinator, its databases included, contains a table's line, a key, or the model."""
    assert wood.history(study).finished
    secrets = [
        secret
        for name in SITES
        for secret in (
            *(wood.folder / name / "train.csv").read_bytes().splitlines()[1:3],
            (wood.folder / name / "identity.key").read_bytes().splitlines()[1],
            (wood.folder / name / "node.key").read_bytes().splitlines()[1],
            (wood.folder / name / "studies" / study / "release" / "model.safetensors").read_bytes()[-24:],
        )
    ]
    files = [path for path in (wood.folder / COORDINATOR).rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        contents = path.read_bytes()
        assert not [secret for secret in secrets if secret in contents], path


def test_coordinator_stopped_and_started_keeps_what_it_knows(wood: Running, study: str) -> None:
    wood.stop(COORDINATOR)
    assert "the coordinator does not run" in ok(wood.consilium("study", "list")).err
    assert {site["online"] for site in ok(wood.consilium("sites", "--json")).json["sites"]} == {None}
    wood.start(COORDINATOR)
    wood.wait_until_online()
    (listed,) = ok(wood.consilium("study", "list", "--json")).json["studies"]
    assert listed["standing"] == "finished"
