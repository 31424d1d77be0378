from pathlib import Path

import numpy as np
import pytest
import torch

from models.drugs.deepwalk_dti import (
    MODEL,
    DeepWalkDtiOptions,
    bound_change,
    build,
    compute_cosines,
    score_by_drugs,
    score_by_targets,
)
from models.entry import Count
from models.layers.network_embedding import embed_walks
from tests.models.counting import count_parameters


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: count.preset)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


def test_rules_sum_the_likeness_of_what_is_linked() -> None:
    random = np.random.default_rng(0)
    drugs, targets = random.normal(size=(5, 3)), random.normal(size=(4, 3))
    links = (random.random((5, 4)) < 0.5).astype(float)
    by_drugs = score_by_drugs(links, compute_cosines(drugs))
    by_targets = score_by_targets(links, compute_cosines(targets))

    def cosine(one: np.ndarray, other: np.ndarray) -> float:
        return float(one @ other / np.sqrt((one @ one) * (other @ other)))

    for drug in range(5):
        for target in range(4):
            alike = [cosine(drugs[drug], drugs[d]) for d in range(5) if d != drug and links[d, target]]
            assert by_drugs[drug, target] == pytest.approx(sum(alike))
            alike = [cosine(targets[target], targets[t]) for t in range(4) if t != target and links[drug, t]]
            assert by_targets[drug, target] == pytest.approx(sum(alike))


def test_one_link_moves_the_scores_by_no_more_than_the_bound_and_one_by_as_much() -> None:
    random = np.random.default_rng(0)
    cosines = compute_cosines(random.normal(size=(6, 3)))
    links = (random.random((6, 4)) < 0.4).astype(float)
    moved = []
    for drug in range(6):
        other = links.copy()
        other[drug, 2] = 1 - other[drug, 2]
        moved.append(float(np.linalg.norm(score_by_drugs(other, cosines) - score_by_drugs(links, cosines))))
    assert max(moved) == pytest.approx(bound_change(cosines))
    assert bound_change(cosines, 3) == pytest.approx(3 * bound_change(cosines))


def test_scorer_can_be_either_rule_or_the_product_of_the_vectors() -> None:
    module = build(DeepWalkDtiOptions(), {"width": 3}, ())
    values = {"rules": torch.randn(4, 2), "drug": torch.randn(4, 3), "target": torch.randn(4, 3)}
    wanted = {
        0: values["rules"][:, 0],
        1: values["rules"][:, 1],
        2: (values["drug"] * values["target"]).sum(1),
    }
    for which, want in wanted.items():
        with torch.no_grad():
            module.scorer.bias.zero_()
            module.scorer.weight.zero_()
            module.scorer.weight[0, which : 5 if which == 2 else which + 1] = 1.0
        torch.testing.assert_close(module(values), want)


def test_rules_find_links_of_receptors_that_were_taken_out(repository: Path) -> None:
    """Links of G-protein coupled receptors: the rules stand clearly above the product of both degrees."""
    file = repository.parent / "shared/data/dti/gpcr_admat_dgc.txt"
    if not file.exists():
        pytest.skip("shared/data/dti is not here")
    rows = [line.split("\t")[1:] for line in file.read_text().splitlines()[1:]]
    links = np.array(rows, dtype=float).T  # (drugs, targets)
    assert links.shape == (223, 95)
    places = np.argwhere(links > 0)
    out = places[np.random.default_rng(0).permutation(len(places))[: len(places) // 10]]
    known = links.copy()
    known[tuple(out.T)] = 0
    network = np.block([[np.zeros((223, 223)), known], [known.T, np.zeros((95, 95))]])
    vectors = embed_walks(network, 32)
    scores = {
        "drugs": score_by_drugs(known, compute_cosines(vectors[:223])),
        "targets": score_by_targets(known, compute_cosines(vectors[223:])),
        "degrees": known.sum(1)[:, None] * known.sum(0)[None],
    }
    none = links == 0

    def area(found: np.ndarray) -> float:
        here, there = found[tuple(out.T)][:, None], found[none][None]
        return float(((here > there) + 0.5 * (here == there)).mean())

    areas = {name: area(found) for name, found in scores.items()}
    assert areas["drugs"] > areas["degrees"] + 0.05
    assert areas["targets"] > areas["degrees"] + 0.05
