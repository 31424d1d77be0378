"""Studies that begin with public weights, train a part of a model, or leave layers at the sites."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load, load_file, save
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks.small_study import read_columns, small_terms, without_privacy
from client.data.site_data import read_data
from client.study.personal_layers import OWN_LAYERS_FILE
from client.study.store import StudyStore
from client.training.study_model import begin_model, build_model, make_first_model
from models.parameters.flatten import count_personal_parameters, count_shared_parameters, set_shared_parameters
from models.parameters.lora import compute_plain_tensors
from privacy.canonical import compute_sha256
from privacy.errors import SiteConfigError, TermsError
from privacy.ledger.entries import Refuse
from privacy.protocol.envelope import Envelope, read_body
from privacy.protocol.messages import Sealed
from privacy.study import Terms
from server.study.state import Phase
from tests.models.choices import arranged
from tests.models.tables import build_for_table
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_finished, require_safe
from tests.protocol.moments import THREE, committed, in_phase, make_void, trained_once
from tests.simulator import FOUR, PowerCut, Simulator

MLP: dict[str, Any] = {"name": "mlp", "options": {"hidden": [4], "norm": "layer"}}
"""Layers 0 (linear), 1 (norm) and 3 (the head) over 5 inputs: 24, 8 and 5 numbers."""

PARTS: dict[str, tuple[dict[str, Any], tuple[int, int]]] = {
    "warm start": ({"start": ""}, (37, 0)),
    "head only": ({"start": "", "trained": ["head"]}, (5, 0)),
    "frozen": ({"start": "", "frozen": ["layers.0"]}, (13, 0)),
    "adapters": ({"start": "", "adapters": {"rank": 2}, "trained": ["head"]}, (18 + 5, 0)),
    "personal norm": ({"personal": ["layers.1"]}, (29, 8)),
    "personal head": ({"personal": ["head"]}, (32, 5)),
    "adapters and a personal head": ({"start": "", "adapters": {"rank": 1}, "personal": ["head"]}, (9, 5)),
}
"""What the terms choose; how many numbers are shared, and how many are personal."""

PLACEMENTS: dict[str, dict[str, Any]] = {
    "local": {"training": {"rounds": 3}},
    "variates": {"training": {"rounds": 3, "control_variates": True, "accumulate": 2}},
    "distributed": {
        "training": {"rounds": 3, "local_steps": 1},
        "privacy": {"placement": "distributed"},
        "secure_aggregation": {"value_range": "auto", "bits": 20},
    },
    "sites": {
        "training": {"rounds": 3, "weights": "uniform"},
        "privacy": {"placement": "distributed", "unit": "site"},
        "secure_aggregation": {"value_range": 60.0, "bits": 20},
    },
}


REFUSED = {
    "distributed": "too little noise to train layers of its own",
    "sites": "so totals that they score must not be opened",
}
"""Where personal layers cannot be, or cannot be scored."""


@pytest.fixture
def public(tmp_path: Path) -> Path:
    """Weights that somebody has published."""
    file = tmp_path / "public.safetensors"
    file.write_bytes(public_bytes())
    return file


def public_bytes(lacking: str = "-") -> bytes:
    tensors = compute_plain_tensors(arranged(build_for_table("mlp", MLP["options"], 5)))
    return save({name: part for name, part in tensors.items() if lacking not in name})


def terms_of(part: str, placement: str = "local", **sections: Any) -> Terms:
    model = dict(MLP) | PARTS[part][0]
    if "start" in model:
        model["start"] = compute_sha256(public_bytes())
    return small_terms(**{**PLACEMENTS[placement], **sections, "model": model})


def with_weights(found: Found, terms: Terms, file: Path, *names: str, lacking: str = "") -> Simulator:
    """A federation whose sites have the weights, but for one."""
    simulator = found(terms, launch=False, **({"names": names} if names else {}))
    for name, home in simulator.homes.items():
        if name != lacking:
            home.open_public_weights().add(file)
    simulator.launch()
    return simulator


def folder(simulator: Simulator, name: str) -> Path:
    return simulator.homes[name].find_study_folder(simulator.study)


def own_layers(simulator: Simulator, name: str) -> dict[str, list[float]]:
    tensors = load_file(folder(simulator, name) / OWN_LAYERS_FILE)
    return {key: part.ravel().tolist() for key, part in tensors.items()}


def released(simulator: Simulator, name: str = "ash") -> dict[str, NDArray[np.float32]]:
    found: dict[str, NDArray[np.float32]] = load(simulator.released_model(name))
    return found


# Every combination ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("part", PARTS)
def test_combination_works(found: Found, public: Path, part: str, placement: str) -> None:
    """One model at all sites, as long as what is trained together; nothing else has moved; restarted in between."""
    if "personal" in PARTS[part][0] and placement in REFUSED:
        with pytest.raises(TermsError, match=REFUSED[placement]):
            terms_of(part, placement)
    unscored: dict[str, Any] = {"evaluation": {"rounds": []}} if placement == "sites" else {}
    if placement == "distributed" and "personal" in PARTS[part][0]:
        return
    terms = terms_of(part, placement, **unscored)
    simulator = with_weights(found, terms, public, *THREE)
    simulator.run(lambda: 2 in committed(simulator))
    simulator.restart_site("ash")
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert trained_once(simulator)
    parameters, own = PARTS[part][1]
    model = build_model(terms)
    assert (count_shared_parameters(model), count_personal_parameters(model)) == (parameters, own)
    assert simulator.store("ash").launch.parameters == parameters
    assert simulator.store("ash").read_model().size == parameters
    got, moved = released(simulator), moves(terms)
    plain = build_for_table("mlp", MLP["options"], 5)
    plain.load_state_dict({name: torch.from_numpy(part) for name, part in got.items()})
    if "start" in PARTS[part][0]:
        begun = load(public.read_bytes())
        assert {name for name in got if not np.array_equal(got[name], begun[name])} == moved


def moves(terms: Terms) -> set[str]:
    """The tensors of the plain model that training together may change."""
    every = dict(build_for_table("mlp", MLP["options"], 5).named_parameters())
    chosen = terms.model
    trained = {"head": "layers.3"}
    if chosen.adapters is not None:
        beside = {"layers.0.weight", "layers.3.weight"} - {
            f"{trained.get(n, n)}.weight" for n in (*chosen.trained, *chosen.personal)
        }
        return beside | {name for name in every for n in chosen.trained if name.startswith(trained.get(n, n) + ".")}
    if chosen.trained:
        return {name for name in every for n in chosen.trained if name.startswith(trained.get(n, n) + ".")}
    return {name for name in every if not name.startswith(tuple(f"{n}." for n in chosen.frozen) or "-")}


# Public weights ---------------------------------------------------------------------------------------------


def test_site_without_the_weights_refuses_and_the_others_go_on(found: Found, public: Path) -> None:
    simulator = with_weights(found, terms_of("head only"), public, lacking="elm")
    simulator.run(seconds=5)
    assert not simulator.has_begun("elm")
    (refused,) = [entry.body for entry in simulator.entries("elm", "refuse")]
    assert isinstance(refused, Refuse)
    assert refused.code == "weights"
    assert "which are not here; get the file from its publisher, then run: consilium-site weights add FILE" in (
        refused.sentence
    )
    require_finished(simulator, *THREE)
    require_safe(simulator)


@pytest.mark.parametrize(
    ("lacking", "sentence"),
    [("layers.0.bias", "has no tensor 'layers.0.bias', which is frozen"), ("layers.3", "")],
)
def test_weights_that_do_not_fit_are_refused_at_admission(
    found: Found, tmp_path: Path, lacking: str, sentence: str
) -> None:
    """But a new head may begin at random values, the same ones everywhere."""
    file = tmp_path / "body.safetensors"
    file.write_bytes(public_bytes(lacking))
    model = dict(MLP) | {"start": compute_sha256(file.read_bytes()), "trained": ["head"]}
    simulator = with_weights(found, small_terms(model=model), file, *THREE)
    simulator.run(lambda: 1 in committed(simulator) or not simulator.conductor.running)
    if sentence:
        for name in THREE:
            (refused,) = [entry.body for entry in simulator.entries(name, "refuse")]
            assert isinstance(refused, Refuse)
            assert refused.code == "weights"
            assert sentence in refused.sentence
            assert str(simulator.folder) not in refused.sentence
    else:
        assert 1 in committed(simulator)
        require_safe(simulator)


def test_weights_that_are_damaged_after_admission_stop_that_site_and_say_so(found: Found, public: Path) -> None:
    simulator = with_weights(found, terms_of("head only"), public)
    simulator.run(lambda: 1 in committed(simulator))
    weights = simulator.homes["elm"].open_public_weights()
    path = weights.build_path(terms_of("head only").model.start or "")
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    simulator.restart_site("elm")
    simulator.run(seconds=5)
    refusals = [reply for name, reply in simulator.transport.said if name == "elm" and reply.kind == "problem"]
    assert any("not the file that the terms name" in getattr(reply, "sentence", "") for reply in refusals)
    require_finished(simulator, *THREE)


def test_released_model_is_the_public_one_and_what_the_adapters_learnt(found: Found, public: Path) -> None:
    """Anyone can load it without adapters; what was learnt has at most the adapters' rank."""
    simulator = with_weights(found, terms_of("adapters"), public, *THREE)
    simulator.run(seconds=5)
    got, begun = released(simulator), load_file(public)
    learnt = got["layers.0.weight"].astype(np.float64) - begun["layers.0.weight"]
    singular = np.linalg.svd(learnt, compute_uv=False)
    assert singular[1] > 1e-3
    assert singular[2] < 1e-6
    card = json.loads((folder(simulator, "ash") / "release" / "card.json").read_bytes())
    assert card["model"]["adapters"] == {"rank": 2, "scale": 1.0, "layers": []}
    assert card["model"]["start"] == compute_sha256(public.read_bytes())
    assert (
        "| adapters | rank 2, beside every frozen layer"
        in (folder(simulator, "ash") / "release" / "card.md").read_text()
    )
    assert "**Not of the file**" not in (folder(simulator, "ash") / "release" / "card.md").read_text()


# Personal layers --------------------------------------------------------------------------------------------


def test_own_layers_stay_at_their_site(found: Found) -> None:
    """They differ between sites; the released file has their first values; nothing sent is as long as with them."""
    terms = terms_of("personal head")
    simulator = found(terms)
    simulator.run(seconds=5)
    require_finished(simulator)
    first = build_model(terms)
    assert count_personal_parameters(first) == 5
    own = {name: own_layers(simulator, name) for name in FOUR}
    assert [set(layers) for layers in own.values()] == [{"layers.3.weight", "layers.3.bias"}] * 4
    assert len({json.dumps(layers) for layers in own.values()}) == 4
    model = released(simulator)
    for name in FOUR:
        assert own[name]["layers.3.bias"] != model["layers.3.bias"].tolist()
        beside = {path.name for path in (folder(simulator, name) / "release").iterdir()}
        assert beside == {"model.safetensors", "contract.json", "card.json", "card.md"}
        figures = json.loads((folder(simulator, name) / "own-figures.json").read_bytes())
        assert set(figures) == {"global", "local"}
        assert figures["global"]["patients"] == figures["local"]["patients"] == 30
    card = json.loads((folder(simulator, "ash") / "release" / "card.json").read_bytes())
    assert card["model"]["personal"] == ["head"]
    assert (
        "| personal | head: each site has its own, the file has their first values |"
        in (folder(simulator, "ash") / "release" / "card.md").read_text()
    )
    assert "**Not of the file**" in (folder(simulator, "ash") / "release" / "card.md").read_text()


def values(simulator: Simulator, name: str, number: int) -> list[float]:
    found: list[float] = simulator.store(name).read_personal_layers(number).tolist()
    return found


def kept(simulator: Simulator, name: str) -> list[str]:
    return sorted(path.name for path in folder(simulator, name).glob("personal-*"))


def test_own_layers_of_the_last_applied_round_are_kept_and_no_others(found: Found) -> None:
    simulator = found(terms_of("personal norm"), names=THREE)
    simulator.run(lambda: simulator.all_have(2))
    assert "personal-00001.npz" not in kept(simulator, "ash")
    assert "personal-00002.npz" in kept(simulator, "ash")
    simulator.run(seconds=5)
    assert kept(simulator, "ash") == ["personal-00003.npz"]
    own = np.concatenate(list(own_layers(simulator, "ash").values()))
    assert sorted(own.tolist()) == sorted(values(simulator, "ash", 3))


def test_own_layers_of_a_round_without_this_site_do_not_hold(found: Found) -> None:
    """It trained, and its update was lost: the round is applied without it, and its layers are as they were."""
    simulator = found(terms_of("personal head", training={"rounds": 6}))
    simulator.transport.replies = lambda name, reply: None if name == "elm" and seals(reply, 2) else reply
    held: list[list[str]] = []
    simulator.before_training = lambda site, number: (
        held.append(kept(simulator, "elm")) if site == "elm" and number > 2 else None
    )
    simulator.run(lambda: simulator.trained["elm", 2] == 1)
    assert kept(simulator, "elm") == ["personal-00001.npz", "personal-00002.npz"]
    simulator.run(lambda: 2 in committed(simulator), seconds=60)
    assert "elm" not in committed(simulator)[2].committed.cohort
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    assert held[0] == ["personal-00001.npz"], "the layers of round 1 still held"
    assert kept(simulator, "elm") == ["personal-00006.npz"]


def seals(reply: Envelope, number: int) -> bool:
    content = read_body(reply).content
    return isinstance(content, Sealed) and content.header.statement.view.round == number


def test_own_layers_of_a_void_round_do_not_hold(found: Found) -> None:
    """Trained by all, never opened: the next round trains from the layers before, and the void ones are removed."""
    simulator = found(terms_of("personal head", training={"rounds": 5}))
    in_phase(simulator, Phase.RELEASING, 2)
    held = values(simulator, "ash", 1)
    make_void(simulator, 2)
    simulator.run(lambda: simulator.trained["ash", 3] == 1)
    assert simulator.journal.read_history().void == {2}
    assert values(simulator, "ash", 1) == held
    assert kept(simulator, "ash")[0] == "personal-00001.npz"
    simulator.run(lambda: simulator.state("ash").base == 3)
    assert kept(simulator, "ash")[0] == "personal-00003.npz"
    simulator.run(seconds=5)
    require_finished(simulator, "ash", "cedar", "elm")
    require_safe(simulator)


def test_best_model_comes_with_the_own_layers_that_were_beside_it(found: Found) -> None:
    """And with the figures of both: what was best is not what was last."""
    rounds = [1, 2, 3, 4, 5, 6]
    terms = small_terms(
        model=dict(MLP) | {"personal": ["head"]},
        training={"rounds": 6, "learning_rate": 3.0},
        evaluation={"rounds": rounds, "epsilon": 3.0},
        release={"model": "best"},
    )
    simulator = found(terms, names=THREE)
    held: dict[tuple[str, int], list[float]] = {}

    def remember(site: str, number: int) -> None:
        if number > 1:
            held[site, number - 1] = values(simulator, site, number - 1)

    simulator.before_training = remember
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    best = simulator.state("ash").best
    assert best is not None
    for name in THREE:
        held[name, 6] = values(simulator, name, 6)
        own = own_layers(simulator, name)
        together = [*own["layers.3.weight"], *own["layers.3.bias"]]
        assert together == held[name, best.round]
        assert set(kept(simulator, name)) == {f"personal-{number:05d}.npz" for number in (best.round, 6)}


def test_power_cut_between_own_layers_and_integers_repeats_the_same_draw(
    found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = found(terms_of("personal head"), names=THREE)
    keeps = StudyStore.keep_rounding_residual
    cut: list[list[float]] = []

    def once(store: StudyStore, number: int, left: NDArray[np.float64]) -> None:
        if number == 2 and not cut and store.folder.parent.parent.name == "ash":
            cut.append(store.read_personal_layers(2).tolist())
            raise PowerCut
        keeps(store, number, left)

    monkeypatch.setattr(StudyStore, "keep_rounding_residual", once)
    simulator.run(lambda: 2 in committed(simulator), seconds=5)
    assert committed(simulator)[2].committed.cohort == THREE
    assert simulator.trained["ash", 2] == 2
    assert cut == [values(simulator, "ash", 2)]
    for _ in range(2):
        simulator.restart_site("ash")
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)


def test_studies_with_layers_of_their_own_go_as_a_plain_implementation_does(found: Found) -> None:
    """Everybody in every lot, no noise: a plain loop over sites in float64 that keeps each one's norm."""
    training = {"rounds": 3, "local_steps": 4, "sampling_rate": 1.0, "learning_rate": 0.5}
    model = dict(MLP) | {"personal": ["layers.1"]}
    terms = without_privacy(training=training, model=model, secure_aggregation={"bits": 24})
    simulator = found(terms, names=THREE)
    simulator.run(seconds=5)
    require_finished(simulator)
    first = released_first(terms)
    own = {name: {key: first[key] for key in first if key.startswith("layers.1.")} for name in THREE}
    shared = {key: part for key, part in first.items() if not key.startswith("layers.1.")}
    tables = {name: table(simulator, name) for name in THREE}
    for _ in range(3):
        after = {name: descended(shared | own[name], *tables[name], steps=4, rate=0.5) for name in THREE}
        patients = [len(tables[name][1]) for name in THREE]
        shared = {
            key: torch.stack([count * after[name][key] for name, count in zip(THREE, patients, strict=True)]).sum(0)
            / sum(patients)
            for key in shared
        }
        own = {name: {key: after[name][key] for key in own[name]} for name in THREE}
    for key, part in shared.items():
        np.testing.assert_allclose(released(simulator)[key], part.numpy(), atol=1e-4)
    for name in THREE:
        for key, part in own[name].items():
            np.testing.assert_allclose(own_layers(simulator, name)[key], part.numpy(), atol=1e-4)


def released_first(terms: Terms) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().double() for name, parameter in first_module(terms).named_parameters()}


def first_module(terms: Terms) -> torch.nn.Module:
    module = begin_model(terms)[0]
    set_shared_parameters(module, make_first_model(terms))
    return module


def table(simulator: Simulator, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    patients = read_data(simulator.terms.data, simulator.homes[name].folder / "train.csv").patients
    features, labels = read_columns(patients)
    return torch.from_numpy(features).double(), torch.from_numpy(labels).double()


def descended(
    start: dict[str, torch.Tensor], features: torch.Tensor, labels: torch.Tensor, steps: int, rate: float
) -> dict[str, torch.Tensor]:
    module = build_for_table("mlp", MLP["options"], 5).double()
    module.load_state_dict(start)
    descent = torch.optim.SGD(module.parameters(), lr=rate)
    for _ in range(steps):
        descent.zero_grad()
        torch.autograd.backward(binary_cross_entropy_with_logits(module({"features": features}), labels))
        descent.step()
    return {name: parameter.detach() for name, parameter in module.named_parameters()}


@pytest.mark.parametrize("harm", ["cut", "flipped", "gone"])
def test_own_layers_that_are_damaged_are_named(found: Found, harm: str) -> None:
    simulator = found(terms_of("personal head"), names=THREE)
    simulator.run(lambda: simulator.all_have(1))
    path = folder(simulator, "ash") / "personal-00001.npz"
    data = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        middle = len(data) // 2
        path.write_bytes(
            data[:middle] if harm == "cut" else data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        )
    with pytest.raises(
        SiteConfigError, match=r"personal-00001\.npz: the own layers of round 1 cannot be read; restore"
    ):
        simulator.store("ash").read_personal_layers(1)
