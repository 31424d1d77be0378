import torch

from models.catalogue import find_model
from models.records.patient2vec import measure_overlap
from tests.models.records_over_time import build_model, draw_inputs

SIZES = {"bins": 4, "events": 6, "codes": 20, "demographics": 3}


def test_own_loss_is_the_papers_in_a_loop_over_hops() -> None:
    hops = torch.rand(3, 2, 5, generator=torch.Generator().manual_seed(0)).softmax(2)
    for record, found in zip(hops, measure_overlap(hops), strict=True):
        wanted = sum(
            (float(record[one] @ record[other]) - (one == other)) ** 2 for one in range(2) for other in range(2)
        )
        torch.testing.assert_close(float(found), wanted)


def test_own_loss_is_zero_when_each_hop_looks_at_a_bin_of_its_own() -> None:
    assert float(measure_overlap(torch.eye(2, 5)[None])) == 0.0
    assert float(measure_overlap(torch.eye(1, 5).expand(1, 2, 5))) == 2.0  # both look at the same bin


def test_own_loss_moves_the_weights_of_bins() -> None:
    """The authors' program takes it through ``.data``, where it has no gradient."""
    module, inputs = build_model("patient2vec", SIZES, ()), draw_inputs("patient2vec", SIZES, [0] * 3)
    module(inputs)["own_loss"].sum().backward()
    assert module.bin_weights.weight.grad.any()
    assert module.embedding.weight.grad.any()
    assert module.head.weight.grad is None


def test_attention_is_of_events_and_bins_that_are_there() -> None:
    module, inputs = build_model("patient2vec", SIZES, ()), draw_inputs("patient2vec", SIZES, [0] * 3)
    inputs["events"][0, 2:] = 0
    inputs["events"][1] = 0
    attention = module.read_attention(inputs)
    assert attention["events"].shape == (3, 4, 6)
    assert ((attention["events"] > 0) == (inputs["events"] != 0)).all()
    torch.testing.assert_close(attention["bins"].sum(1), torch.tensor([1.0, 0.0, 1.0]))
    assert (attention["bins"][0] > 0).tolist() == [True, True, False, False]


def test_order_of_events_in_a_bin_does_not_matter_and_that_of_bins_does() -> None:
    module, inputs = build_model("patient2vec", SIZES, ()), draw_inputs("patient2vec", SIZES, [0] * 3)
    outputs = module(inputs)["outputs"]
    torch.testing.assert_close(module(inputs | {"events": inputs["events"].flip(2)})["outputs"], outputs)
    turned = module(inputs | {"events": inputs["events"].flip(1)})["outputs"]
    assert not torch.allclose(turned, outputs, atol=1e-5)


def test_a_bin_without_events_is_skipped() -> None:
    """The same bins with an empty one between them give the same outputs."""
    module, inputs = build_model("patient2vec", SIZES, ()), draw_inputs("patient2vec", SIZES, [0] * 3)
    events = inputs["events"]
    apart = torch.cat([events[:, :2], torch.zeros_like(events[:, :1]), events[:, 2:]], dim=1)
    torch.testing.assert_close(module(inputs | {"events": apart}), module(inputs))


def test_parameters_are_those_of_the_authors_without_what_does_nothing() -> None:
    """605,808 of the authors' program for 100 numbers, 256 units, 3 hops and 100 of unused attention."""
    (paper,) = (count for count in find_model("patient2vec").counts if count.preset == "paper")
    unused, second_biases, dead_biases, vectors = 512 * 100, 2 * 3 * 256, 3, 1000 * 100
    assert paper.parameters == 605_808 - unused - second_biases - dead_biases + vectors
