import math

import numpy as np
import pytest
import torch
from torch import nn

from models.entry import Count
from models.genomics.attentive_chrome import (
    MODEL,
    AttentiveChrome,
    AttentiveChromeOptions,
    BidirectionalLstms,
    build,
)
from models.parameters.initial import draw_initial_shared_parameters
from tests.models.counting import count_parameters


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: count.preset)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


def test_lstms_of_each_series_are_those_of_torch() -> None:
    torch.manual_seed(0)
    ours = BidirectionalLstms(series=3, width=2, units=4)
    values = torch.randn(5, 3, 7, 2)
    found = ours(values)
    for place in range(3):
        theirs = nn.LSTM(2, 4, batch_first=True, bidirectional=True)
        with torch.no_grad():
            for direction, end in enumerate(("", "_reverse")):
                lane = 2 * place + direction
                getattr(theirs, f"weight_ih_l0{end}").copy_(ours.inputs[lane].weight)
                getattr(theirs, f"bias_ih_l0{end}").copy_(ours.inputs[lane].bias)
                getattr(theirs, f"weight_hh_l0{end}").copy_(ours.recurrences[lane].weight)
                getattr(theirs, f"bias_hh_l0{end}").copy_(ours.recurrences[lane].bias)
        want, _ = theirs(values[:, place])
        torch.testing.assert_close(found[:, place], want)


@pytest.fixture
def network() -> AttentiveChrome:
    torch.manual_seed(1)
    return build(AttentiveChromeOptions(bin_units=6, mark_units=4), {"marks": 5, "bins": 12}, ())


def test_attention_over_bins_and_over_marks_sums_to_one(network: AttentiveChrome) -> None:
    found = network.read_attention({"signals": 5 * torch.rand(3, 5, 12)})
    assert found["bins"].shape == (3, 5, 12)
    assert found["marks"].shape == (3, 5)
    torch.testing.assert_close(found["bins"].sum(2), torch.ones(3, 5))
    torch.testing.assert_close(found["marks"].sum(1), torch.ones(3))
    assert float(found["bins"].min()) > 0
    assert float(found["bins"].std()) > 1e-3


def test_output_is_the_head_of_the_marks_by_their_attention(network: AttentiveChrome) -> None:
    """With a score for one mark far above the others, the output is the head's of this mark alone."""
    signals = torch.rand(3, 5, 12)
    seen: list[torch.Tensor] = []
    network.mark_lstm.register_forward_hook(lambda *given: seen.append(given[2]))
    network(inputs := {"signals": signals})
    with torch.no_grad():
        network.mark_scores.weight.mul_(1e4)
    chosen = network.read_attention(inputs)["marks"].argmax(1)
    marks = seen[0][:, 0]  # (records, marks, units)
    want = network.head(marks[torch.arange(3), chosen]).flatten()
    torch.testing.assert_close(network(inputs), want, rtol=1e-4, atol=1e-5)


def test_each_mark_has_weights_of_its_own(network: AttentiveChrome) -> None:
    """A change of one mark's signal changes the attention over its own bins, and over no other mark's."""
    signals = torch.rand(2, 5, 12)
    changed = signals.clone()
    changed[:, 3] = torch.rand(2, 12)
    before, after = (network.read_attention({"signals": each})["bins"] for each in (signals, changed))
    same = [torch.equal(before[:, mark], after[:, mark]) for mark in range(5)]
    assert same == [True, True, True, False, True]
    alike = network.read_attention({"signals": signals[:, :1].expand(2, 5, 12)})["bins"]
    assert not torch.allclose(alike[:, 0], alike[:, 1], atol=1e-4)


def test_initial_bound_begins_every_layer_within_it_and_without_it_as_before() -> None:
    sizes, seed = {"marks": 5, "bins": 12}, "5f" * 32
    options = AttentiveChromeOptions(bin_units=6, mark_units=4)
    bounded = build(options.model_copy(update={"initial_bound": 0.1}), sizes, ())
    values = draw_initial_shared_parameters(bounded, seed)
    assert np.abs(values).max() <= 0.1
    assert values.std() == pytest.approx(0.1 / math.sqrt(3), rel=0.03)  # of a uniform distribution
    usual = draw_initial_shared_parameters(build(options, sizes, ()), seed)
    assert len(usual) == len(values)
    assert np.abs(usual).max() > 0.9  # a gate of a single number is uniform up to 1


def test_places_tell_bins_of_the_same_reads_apart() -> None:
    """Far from both ends a constant signal looks the same at every bin, unless the place is read, too."""
    spreads = []
    for places in (None, 10.0):
        torch.manual_seed(2)
        options = AttentiveChromeOptions(bin_units=6, mark_units=4, places=places)
        network = build(options, {"marks": 5, "bins": 60}, ())
        inner = network.read_attention({"signals": torch.ones(1, 5, 60)})["bins"][:, :, 25:35]
        spreads.append(float((inner.amax(2) / inner.amin(2)).min()))
    assert spreads[0] == pytest.approx(1, abs=1e-4)
    assert spreads[1] > 1.01
