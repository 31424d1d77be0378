from typing import Any

import pytest
import torch

from models.catalogue import find_model
from models.records.phenotyping_cnn import align_to_the_end
from tests.models.records_over_time import draw_inputs

SIZES = {"visits": 8, "codes": 12}


def _build(fusion: str, windows: int = 4) -> Any:
    entry = find_model("phenotyping-cnn")
    options = entry.presets["small"].model_copy(update={"fusion": fusion, "windows": windows})
    module = entry.build(options, SIZES, ())
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=random) - 0.5)
    return module.eval()


def _find_visits_that_matter(module: Any, inputs: dict[str, torch.Tensor]) -> list[bool]:
    """Whether the output depends on the codes of each visit."""
    numbers = inputs["visits"].float().requires_grad_()
    # the module reads flags as numbers, so that numbers have a gradient
    module({"visits": numbers, "present": inputs["present"]}).sum().backward()
    assert numbers.grad is not None
    return numbers.grad[0].any(1).tolist()


def test_visits_end_together_and_fill_windows() -> None:
    visits = torch.arange(1.0, 6.0).expand(2, 5)[:, :, None]
    present = torch.tensor([[True] * 5, [True, True, False, False, False]])
    found, there = align_to_the_end(visits, present, 4)
    assert found.shape == (2, 8, 1)
    assert found[0, :, 0][there[0]].tolist() == [1, 2, 3, 4, 5]
    assert found[1, :, 0][there[1]].tolist() == [1, 2]
    assert there.tolist() == [[False] * 3 + [True] * 5, [False] * 6 + [True] * 2]


def test_single_fusion_reads_the_last_window_alone() -> None:
    inputs = draw_inputs("phenotyping-cnn", SIZES, [7])
    assert not any(_find_visits_that_matter(_build("single"), inputs)[:5])
    assert any(_find_visits_that_matter(_build("early"), inputs)[:5])


def test_filters_of_late_fusion_stay_within_their_windows() -> None:
    """The features of each window are those of early fusion on a record with the visits of this window alone."""
    late, early, inputs = _build("late"), _build("early"), draw_inputs("phenotyping-cnn", SIZES, [8])
    early.embedding, early.filters = late.embedding, late.filters
    seen: list[torch.Tensor] = []
    for module in (late, early):
        module.head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    late(inputs)
    features = seen[0].reshape(4, -1)
    for window in range(4):
        alone = {"visits": torch.zeros_like(inputs["visits"]), "present": torch.arange(8)[None] < 2}
        alone["visits"][:, :2] = inputs["visits"][:, 2 * window : 2 * window + 2]
        early(alone)
        torch.testing.assert_close(seen[-1][0], features[window])


def test_slow_fusion_joins_two_neighbouring_windows_at_a_time() -> None:
    """Four windows need two layers of joints, whose filters see two and then all four windows."""
    module = _build("slow")
    lengths: list[tuple[int, int]] = []
    for layer in (module.filters, *module.joints):
        layer.register_forward_hook(lambda _, given, __: lengths.append((len(given[0]), given[0].shape[2])))
    module(draw_inputs("phenotyping-cnn", SIZES, [8, 5, 1]))
    assert lengths == [(12, 2), (6, 4), (3, 8)]


@pytest.mark.parametrize("fusion", ["single", "early", "late", "slow"])
def test_an_output_is_the_same_alone_and_beside_others(fusion: str) -> None:
    module, inputs = _build(fusion), draw_inputs("phenotyping-cnn", SIZES, [8, 5, 1, 0])
    together = module(inputs)
    for record in range(4):
        alone = module({name: value[record : record + 1] for name, value in inputs.items()})
        torch.testing.assert_close(alone[0], together[record])
