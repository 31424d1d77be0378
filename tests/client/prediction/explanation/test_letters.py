"""Explanations of letters: finite differences, an enumeration of all sequences, motifs that were planted."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from client.prediction.explanation.attributions import Explanation, Values
from client.prediction.explanation.letters import (
    METHODS,
    Chance,
    Method,
    draw_letters,
    explain_letters,
    find_letters,
    find_motif,
    make_distance,
    optimise_letters,
)
from client.prediction.explanation.score import Score
from client.prediction.predict import load_model
from client.prediction.release_contract import ReleaseContract
from models.genomics.deep_motif import DeepMotif, DeepMotifOptions, build
from privacy.errors import ReleaseError
from tests.client.prediction.released import release_of_catalogue

PLANTED = "GATTA"
START = 8


def encode(letters: str) -> torch.Tensor:
    return functional.one_hot(torch.tensor(["ACGT".index(each) for each in letters]), 4).T.float()


def draw_sequence(length: int, seed: int = 1) -> dict[str, torch.Tensor]:
    letters = torch.randint(4, (1, length), generator=torch.Generator().manual_seed(seed))
    return {"sequence": functional.one_hot(letters, 4).movedim(1, 2).float()}


def plant(length: int = 24) -> dict[str, torch.Tensor]:
    inputs = draw_sequence(length)
    inputs["sequence"][0, :, START : START + len(PLANTED)] = encode(PLANTED)
    return inputs


def make_detector(length: int) -> DeepMotif:
    """A network whose only filter is the planted word: its logit is 4 for the word, and at most 0 without it."""
    options = DeepMotifOptions(form="cnn", filters=(1,), kernels=(len(PLANTED),), dropout=0.0)
    module = build(options, {"bases": length}, ()).eval()
    with torch.no_grad():
        module.convolutions[0].weight.copy_(encode(PLANTED)[None])  # type: ignore[operator]
        module.convolutions[0].bias.zero_()  # type: ignore[operator]
        module.head.weight.fill_(4.0)
        module.head.bias.fill_(-16.0)
    return module


def released(folder: Path, name: str) -> tuple[ReleaseContract, nn.Module]:
    release, _, contract = release_of_catalogue(folder, name, "binary", patients=2)
    return contract, load_model(release, contract)


def explain(
    contract: ReleaseContract, module: nn.Module, inputs: dict[str, torch.Tensor], method: Method
) -> Explanation:
    return explain_letters(contract, module, inputs, None, method, Chance())


def test_saliency_is_that_of_finite_differences(tmp_path: Path) -> None:
    contract, module = released(tmp_path, "deep-motif")
    module, inputs = module.double(), {"sequence": draw_sequence(24)["sequence"].double()}
    found = explain(contract, module, inputs, "saliency").attributions["sequence"]
    for place, base in itertools.product(range(24), range(4)):
        near = [inputs["sequence"].clone() for _ in range(2)]
        near[0][0, base, place] += 1e-6
        near[1][0, base, place] -= 1e-6
        with torch.no_grad():
            up, down = (float(module({"sequence": each})[0]) for each in near)
        expected = (up - down) / 2e-6 * float(inputs["sequence"][0, base, place])
        assert found[base, place] == pytest.approx(expected, abs=1e-6)


def test_saliency_of_a_planted_word_lies_within_it_unless_the_model_learned_nothing(tmp_path: Path) -> None:
    """Adebayo et al. 2018, Sanity checks for saliency maps: a map that random weights do not change shows the input."""
    contract, _ = released(tmp_path, "deep-motif")
    torch.manual_seed(0)
    options = DeepMotifOptions(form="cnn", filters=(8,), kernels=(len(PLANTED),), dropout=0.0)
    knows, *learned_nothing = (
        measure_part_inside(explain(contract, module, plant(), "saliency").attributions["sequence"])
        for module in (make_detector(24), *(build(options, {"bases": 24}, ()).eval() for _ in range(20)))
    )
    assert knows > 3 * len(PLANTED) / 24
    assert np.mean(learned_nothing) < 2 * len(PLANTED) / 24


def measure_part_inside(values: Values) -> float:
    sizes = np.abs(values)
    return float(sizes[:, START : START + len(PLANTED)].sum() / sizes.sum())


def test_temporal_scores_add_up_and_are_read_from_the_model(tmp_path: Path) -> None:
    contract, _ = released(tmp_path, "deep-motif")
    torch.manual_seed(0)
    module = build(DeepMotifOptions(form="rnn", filters=(), kernels=(), memory=4), {"bases": 12}, ()).eval()
    inputs = draw_sequence(12)
    found = explain(contract, module, inputs, "temporal")
    assert found.baseline is not None
    assert found.attributions["sequence"].sum() == pytest.approx(found.value - found.baseline, abs=1e-6)
    assert set(found.measures) == {"prefix", "suffix"}
    assert found.measures["prefix"][-1] == pytest.approx(found.value, abs=1e-6)
    with torch.no_grad():
        half = float(module({"sequence": inputs["sequence"][:, :, :6]})[0])
    assert found.measures["prefix"][5] == pytest.approx(half, abs=1e-6)


def test_temporal_scores_of_convolutions_are_refused(tmp_path: Path) -> None:
    contract, module = released(tmp_path, "deep-motif")
    with pytest.raises(ReleaseError, match="needs a model that reads letters one after the other"):
        explain(contract, module, draw_sequence(24), "temporal")


def test_drawn_sequences_have_the_probabilities_of_an_enumeration() -> None:
    """All 64 sequences of three letters, beta 2, G and C more frequent than by chance.

    The total variation of 60,000 draws that are not independent is about 0.015 here; the seed is fixed.
    """
    torch.manual_seed(3)
    table, mu, beta = torch.rand(64, dtype=torch.float64), 0.4, 2.0
    powers = torch.tensor([16, 4, 1])

    def number(letters: torch.Tensor) -> torch.Tensor:
        return (letters.argmax(1) * powers).sum(1)

    counts = torch.zeros(64, dtype=torch.float64)
    for step, letters in enumerate(
        draw_letters(lambda each: table[number(each)], encode("ACG"), beta, mu, 400, chains=200)
    ):
        if step >= 100:
            counts += torch.bincount(number(letters), minlength=64)
    words = torch.tensor(list(itertools.product(range(4), repeat=3)))
    strong = ((words == 1) | (words == 2)).sum(1)
    wanted = torch.softmax(-beta * table + mu * strong, 0)
    assert float((counts / counts.sum() - wanted).abs().sum()) / 2 < 0.03


def test_without_distance_letters_are_drawn_by_chance() -> None:
    counts = torch.zeros(4)
    chance = Chance(gc=0.3)
    start = encode("AAAA")
    start[:, 2] = 0  # a letter that is not known stays so
    for letters in draw_letters(lambda each: torch.zeros(len(each)), start, 0.0, chance.mu, 300, chains=200):
        counts += letters.sum((0, 2))
        assert not letters[:, :, 2].any()
    np.testing.assert_allclose((counts / counts.sum()).numpy(), [0.35, 0.15, 0.15, 0.35], atol=0.03)


def test_places_of_a_planted_word_keep_their_letters(tmp_path: Path) -> None:
    contract, _ = released(tmp_path, "deep-motif")
    module = make_detector(24)
    found = explain(contract, module, plant(), "max-entropy")
    inside = np.zeros(24, dtype=bool)
    inside[START : START + len(PLANTED)] = True
    assert found.measures["bits"][inside].min() > 3 * found.measures["bits"][~inside].max()
    assert found.measures["share"].sum(0) == pytest.approx(np.ones(24))
    word = "".join("ACGT"[each] for each in found.attributions["sequence"][:, inside].argmax(0))
    assert word == PLANTED


def test_distance_weighs_units_by_the_score() -> None:
    torch.manual_seed(0)
    options = DeepMotifOptions(form="cnn", filters=(6,), kernels=(3,), dropout=0.0)
    module = build(options, {"bases": 10}, (3,)).eval()
    inputs, others = draw_sequence(10), draw_sequence(10, seed=2)["sequence"]
    score = Score("difference", lambda found: found[:, 2] - found[:, 0], None)
    with torch.no_grad():
        units = [module.convolutions[0](each).relu().amax(2)[0] for each in (inputs["sequence"], others)]
        weights = module.head.weight[2] - module.head.weight[0]
        expected = float((weights * (units[1] - units[0])).square().sum().sqrt())
    found = make_distance(module, inputs, "sequence", score)(torch.cat([others, inputs["sequence"]]))
    assert found.tolist() == pytest.approx([expected, 0.0], abs=1e-6)


def test_motif_of_a_class_is_the_word_that_it_detects(tmp_path: Path) -> None:
    module = make_detector(12)
    start = torch.rand((1, 4, 12), generator=torch.Generator().manual_seed(0))
    shares = optimise_letters(lambda letters: module({"sequence": letters}), start)
    torch.testing.assert_close(shares.sum(0), torch.ones(12))
    with torch.no_grad():
        place = int(module.convolutions[0](shares[None])[0, 0].argmax())
    assert "".join("ACGT"[each] for each in shares[:, place : place + len(PLANTED)].argmax(0)) == PLANTED
    contract, other = released(tmp_path, "deep-motif")
    assert find_motif(contract, other, None).shares.shape == (4, 24)


@pytest.mark.parametrize("method", METHODS)
def test_models_without_letters_are_refused_by_a_sentence(method: Method, tmp_path: Path) -> None:
    contract, module = released(tmp_path, "deepchrome")
    with pytest.raises(ReleaseError, match="explains one-hot letters of DNA"):
        find_letters(contract, method)
    if method != "motif":
        with pytest.raises(ReleaseError, match=f"--method {method} explains one-hot letters"):
            explain(contract, module, {"signals": torch.zeros(1, 5, 40)}, method)


def test_what_a_method_needs_is_said(tmp_path: Path) -> None:
    contract, module = released(tmp_path / "pair", "expression-contrast")
    inputs = {"first": draw_sequence(40)["sequence"], "second": draw_sequence(40, 2)["sequence"]}
    assert set(explain(contract, module, inputs, "saliency").attributions) == {"first", "second"}
    with pytest.raises(ReleaseError, match="explains one sequence; the model takes first, second"):
        explain(contract, module, inputs, "max-entropy")
    contract, module = released(tmp_path / "factor", "tfimpute")
    with pytest.raises(ReleaseError, match="needs a model of letters alone"):
        find_motif(contract, module, None)
    factor = {name: torch.zeros(1, dtype=torch.int64) for name in ("factor", "cell")}
    with pytest.raises(ReleaseError, match="does not end in a linear layer on one vector"):
        explain(contract, module, draw_sequence(40) | factor, "max-entropy")
    contract, module = released(tmp_path / "shares", "deep-motif")
    with pytest.raises(ReleaseError, match="needs letters that are known"):
        explain(contract, module, {"sequence": torch.full((1, 4, 24), 0.25)}, "max-entropy")
