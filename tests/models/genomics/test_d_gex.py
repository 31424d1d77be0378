from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from client.training.local_steps import make_loss
from models.entry import Count
from models.genomics.d_gex import MODEL, DGexOptions, build
from models.tasks.registry import make_task
from privacy.study import parse_terms
from tests.models.counting import count_parameters
from tests.models.generated_studies import generated_site, generated_terms


def sum_by_hand(landmarks: int, hidden: tuple[int, ...], targets: int) -> int:
    widths = (landmarks, *hidden, targets)
    return sum((below + 1) * above for below, above in pairwise(widths))


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: f"{count.preset}{count.outputs}")
def test_parameters_are_those_of_the_formula(count: Count) -> None:
    options = MODEL.presets[count.preset]
    assert isinstance(options, DGexOptions)
    targets = count.outputs[0] if count.outputs else 1
    wanted = sum_by_hand(count.sizes["landmarks"], options.hidden, targets)
    assert count_parameters(MODEL, count) == wanted == count.parameters


def test_outputs_are_those_of_hyperbolic_tangents_in_a_loop() -> None:
    torch.manual_seed(0)
    module = build(DGexOptions(hidden=(4, 3)), {"landmarks": 6}, (5,)).eval()
    values = torch.randn(2, 6)
    states = values
    for place in (0, 3):
        layer = module.layers[place]
        assert isinstance(layer, torch.nn.Linear)
        states = torch.tanh(states @ layer.weight.T + layer.bias)
    wanted = states @ module.targets.weight.T + module.targets.bias
    torch.testing.assert_close(module({"features": values}), wanted)


def test_hidden_layers_are_dropped_in_training_and_the_inputs_are_not() -> None:
    torch.manual_seed(1)
    module = build(DGexOptions(hidden=(400,), dropout=0.25), {"landmarks": 6}, (5,))
    seen: list[torch.Tensor] = []
    module.targets.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    values = torch.randn(20, 6)
    module({"features": values})
    first = module.layers[0]
    assert isinstance(first, torch.nn.Linear)
    kept = seen[0] != 0
    # 8,000 draws: five standard deviations of their mean are 0.024
    assert float(kept.double().mean()) == pytest.approx(0.75, abs=0.024)
    whole = torch.tanh(values @ first.weight.T + first.bias)
    torch.testing.assert_close(seen[0][kept], whole[kept] / 0.75)


def test_study_of_many_target_genes_has_one_loss_and_one_error_for_a_sample(tmp_path: Path) -> None:
    """The loss is the mean over the genes, and so is the error, in the genes' own units."""
    label = {"type": "number", "name": "label", "shape": [7], "low": -8, "high": 8, "scaled": "none"}
    written = generated_terms("d-gex").model_dump(mode="json")
    written["data"]["targets"], written["evaluation"]["bins"] = [label], 1000
    terms = parse_terms(written)
    site = generated_site(tmp_path, terms, patients=5, records=1)
    inputs, targets = site.records.select(np.arange(5))
    outputs = site.module(inputs).detach()
    assert outputs.shape == (5, 7)
    losses = make_loss(terms)(outputs, targets)
    torch.testing.assert_close(losses, (outputs - targets["label"]).square().mean(1))
    task = make_task(terms.task, terms.data)
    counts = task.count_cells(outputs, {"label": targets["label"].cpu().numpy()}, 1000)
    found = task.compute_figures(counts.tolist(), 1000)["mae"]
    wanted = float((outputs.clamp(-8, 8) - targets["label"]).abs().mean())
    assert found == pytest.approx(wanted, abs=16 / 1000 / 2)
