from typing import Any

import pytest
import torch

from models.catalogue import find_model
from models.errors import ModelError
from models.records.code_embeddings import CodeEmbeddingsOptions, SkipGram
from tests.models.records_over_time import build_model, draw_inputs

SIZES = {"visits": 5, "codes": 12}


def _loss_pair_by_pair(layer: Any, visits: torch.Tensor, kept: list[int], window: int) -> torch.Tensor:
    """The mean of -log softmax over the ordered pairs of one record's codes in ``kept``, one after the other."""
    vectors, contexts = layer.vectors.detach().double(), layer.contexts.detach().double()
    codes = [[code for code in visit.nonzero().flatten().tolist() if code in kept] for visit in visits]
    losses = [
        -torch.log_softmax(contexts @ vectors[centre], 0)[other]
        for here, centres in enumerate(codes)
        for centre in centres
        for there, others in enumerate(codes)
        for other in others
        if abs(here - there) <= window and (here, centre) != (there, other)
    ]
    return torch.stack(losses).mean() if losses else torch.zeros(())


@pytest.mark.parametrize(("window", "codes_each"), [(0, 64), (1, 64), (2, 4)])
def test_own_loss_is_the_mean_over_pairs(window: int, codes_each: int) -> None:
    entry = find_model("code-embeddings")
    changes = {"window": window, "codes_each": codes_each, "pair_loss": 0.5}
    module: Any = entry.build(entry.presets["small"].model_copy(update=changes), SIZES, (5, 12))
    with torch.no_grad():
        for parameter in module.parameters():
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    inputs = draw_inputs("code-embeddings", SIZES, [5, 3, 1, 0])
    found = module(inputs)["own_loss"]
    for record in range(4):
        visits = inputs["visits"][record] & inputs["present"][record][:, None]
        kept = visits.any(0).nonzero().flatten().tolist()[:codes_each]
        wanted = 0.5 * _loss_pair_by_pair(module.codes, visits, kept, window)
        torch.testing.assert_close(found[record].double(), wanted.double(), rtol=1e-4, atol=1e-4)


def test_outputs_are_what_the_mean_vector_of_a_visit_predicts() -> None:
    module, inputs = build_model("code-embeddings", SIZES, (5, 12)), draw_inputs("code-embeddings", SIZES, [5])
    found = module(inputs)["outputs"][0]
    for visit, codes in enumerate(inputs["visits"][0]):
        middle = module.codes.vectors[codes].mean(0)
        torch.testing.assert_close(found[visit], module.codes.contexts @ middle)


def test_codes_with_the_same_contexts_come_nearer_though_they_never_stand_together() -> None:
    """Codes 0 and 1 each stand with 2 or 3, codes 4 and 5 with 6 or 7."""
    pairs = [(0, 2), (0, 3), (1, 2), (1, 3), (4, 6), (4, 7), (5, 6), (5, 7)]
    visits = torch.zeros(len(pairs), 1, 8)
    for record, pair in enumerate(pairs):
        visits[record, 0, list(pair)] = 1.0
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = SkipGram(8, CodeEmbeddingsOptions(width=4))
    optimiser = torch.optim.SGD(layer.parameters(), 1.0)
    for _ in range(300):
        optimiser.zero_grad()
        layer(visits)[..., -1].sum().backward()
        optimiser.step()
    alike = torch.nn.functional.cosine_similarity(layer.vectors[:1].detach(), layer.vectors.detach())
    assert float(alike[1]) > 0.9
    assert float(alike[4:6].max()) < 0.5


def test_task_with_other_labels_is_refused() -> None:
    entry = find_model("code-embeddings")
    with pytest.raises(ModelError, match="expected 12 outputs a visit, got 7; leave the task's labels out"):
        entry.build(entry.presets["small"], SIZES, (5, 7))
