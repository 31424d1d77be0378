from typing import Any

import numpy as np
import pytest
import torch

from models.catalogue import find_model
from tests.models.records_over_time import build_model

SIZES = {"words": 9, "vocabulary": 20}
SENTENCES = torch.tensor(
    [[3, 7, 7, 1, 19, 4, 2, 8, 5], [3, 7, 1, 0, 0, 0, 0, 0, 0], [6, 0, 0, 0, 0, 0, 0, 0, 0], [0] * 9]
)


def _build(widths: tuple[int, ...], outputs: tuple[int, ...] = ()) -> Any:
    entry = find_model("deepr")
    module: Any = entry.build(entry.presets["small"].model_copy(update={"widths": widths}), SIZES, outputs)
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=random) - 0.5)
        module.embedding.weight[0] = 0.0
    return module.eval()


def test_outputs_are_those_of_a_loop_over_windows() -> None:
    """Every window of every width with a word in its middle, none outside of the sentence."""
    module = _build((2, 3))
    weights = {key: value.detach().double().numpy() for key, value in module.named_parameters()}
    found = module({"words": SENTENCES}).detach()
    for record, sentence in enumerate(SENTENCES.tolist()):
        words = [word for word in sentence if word]
        features = []
        for place, width in enumerate((2, 3)):
            vectors = [np.zeros(16)] * width + [weights["embedding.weight"][word] for word in words]
            vectors += [np.zeros(16)] * width
            best = np.zeros(8)
            for middle in range(len(words)):
                first = width + middle - (width - 1) // 2
                window = np.stack(vectors[first : first + width], axis=1)  # (embedding, width)
                value = np.einsum("few,ew->f", weights[f"windows.{place}.weight"], window)
                best = np.maximum(best, value + weights[f"windows.{place}.bias"])
            features.append(best)
        wanted = weights["head.weight"][0] @ np.concatenate(features) + weights["head.bias"][0]
        assert float(found[record]) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("widths", [(1,), (2, 3), (5,)])
@pytest.mark.parametrize("outputs", [(), (3,)])
def test_contributions_of_words_and_the_bias_add_up_to_the_output(
    widths: tuple[int, ...], outputs: tuple[int, ...]
) -> None:
    module, inputs = _build(widths, outputs), {"words": SENTENCES}
    contributions = module.read_contributions(inputs)["words"]
    assert contributions.shape == (4, 9, *outputs)
    assert not contributions[SENTENCES == 0].any()
    bias = module.head.bias.detach().reshape(outputs)
    torch.testing.assert_close(contributions.sum(1) + bias, module(inputs).detach(), rtol=1e-5, atol=1e-5)


def test_a_motif_is_found_wherever_it_stands() -> None:
    """Words 3 and 7 side by side answer a filter that looks for them; the contribution is theirs alone."""
    module = build_model("deepr", SIZES, ())
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        module.embedding.weight[3, 0] = module.embedding.weight[7, 1] = 1.0
        module.windows[0].weight[0, 0, 0] = module.windows[0].weight[0, 1, 1] = 1.0  # 3, then 7 in the middle
        module.windows[0].bias[0] = -1.0
        module.head.weight[0, 0] = 1.0
    early, late = [3, 7, 1, 2, 4, 5, 6, 8, 9], [1, 2, 4, 5, 6, 8, 3, 7, 9]
    inputs = {"words": torch.tensor([early, late, [7, 3, 1, 2, 4, 5, 6, 8, 9]])}
    assert module(inputs).tolist() == [1.0, 1.0, 0.0]
    contributions = module.read_contributions(inputs)["words"]
    assert contributions[0].nonzero().flatten().tolist() == [0, 1, 2]
    assert contributions[1].nonzero().flatten().tolist() == [6, 7, 8]


def test_words_after_the_sentence_change_nothing() -> None:
    module = _build((2, 3))
    longer = torch.cat([SENTENCES, torch.zeros(4, 5, dtype=torch.int64)], dim=1)
    torch.testing.assert_close(module({"words": longer}), module({"words": SENTENCES}))
