from typing import Final

import pytest
import torch
from torch.nn import functional

from models.records.care_events import CareEvents, CareEventsOptions, build

SIZES = {"time": 5, "variables": 12}
CODES: Final = "codes"
EVENTS: Final = "events"


def make_model(**options: object) -> CareEvents:
    torch.manual_seed(0)
    return build(CareEventsOptions.model_validate({"hidden": (7, 4), "memory": (6, 5), **options}), SIZES, ())


def draw_events(lengths: list[int]) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    present = torch.arange(5) < torch.tensor(lengths)[:, None]
    return {"values": torch.rand(len(lengths), 5, 12, generator=random), "present": present}


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameters_of_each_stage_are_those_of_the_authors_notebook() -> None:
    sizes = {"time": 50, "variables": 1196}
    with torch.device("meta"):
        codes, events = (build(CareEventsOptions(reads=reads), sizes, ()) for reads in (CODES, EVENTS))
    assert count(codes.encoder) + count(codes.decoder) == 1_571_820
    assert count(events.memory) + count(events.head) == 569_251
    # a memory of Keras has one bias, as ours; torch's second one would be of 4 * (100 + 50 + 50) gates more
    assert 569_251 + 4 * (100 + 50 + 50) == 570_051
    assert count(codes.memory) + count(codes.head) == 569_251 - 4 * 100 * (1196 - 64)


@torch.no_grad()
def test_loss_of_the_first_stage_is_the_mean_over_the_events_of_a_record() -> None:
    module, inputs = make_model().eval(), draw_events([5, 2, 0])
    module.objective = "events"
    returned = module(inputs)
    assert list(returned) == ["own_loss"]
    for record, length in enumerate([5, 2]):
        losses = [
            functional.binary_cross_entropy_with_logits(module.decoder(module.encoder(event)), event)
            for event in inputs["values"][record, :length]
        ]
        assert float(returned["own_loss"][record]) == pytest.approx(float(torch.stack(losses).mean()), rel=1e-5)
    assert float(returned["own_loss"][2]) == 0.0


def test_every_layer_of_the_autoencoder_is_followed_by_a_sigmoid() -> None:
    module = make_model()
    kinds = [type(layer).__name__ for part in (module.encoder, module.decoder) for layer in part.modules()]
    assert [kind for kind in kinds if kind != "Sequential"] == [
        "LinearBeforeSigmoid", "Sigmoid", "LinearBeforeSigmoid", "Sigmoid", "LinearBeforeSigmoid", "Sigmoid", "Linear",
    ]  # fmt: skip


def test_corruption_is_of_the_first_stage_and_of_training_only() -> None:
    module, inputs = make_model(dropout=0.0), draw_events([5, 5])
    assert torch.equal(module(inputs), module(inputs))
    module.objective = "events"
    assert not torch.equal(module(inputs)["own_loss"], module(inputs)["own_loss"])
    module.eval()
    assert torch.equal(module(inputs)["own_loss"], module(inputs)["own_loss"])


@pytest.mark.parametrize(("reads", "matters"), [("codes", True), ("events", False)])
def test_memory_reads_codes_or_events(reads: str, matters: bool) -> None:
    module, inputs = make_model(reads=reads).eval(), draw_events([5, 3])
    before = module(inputs)
    with torch.no_grad():
        for parameter in module.encoder.parameters():
            parameter.add_(0.5)
    assert torch.equal(module(inputs), before) != matters


def test_events_that_are_not_there_change_nothing() -> None:
    module, inputs = make_model().eval(), draw_events([3, 1])
    other = inputs | {"values": torch.where(inputs["present"].unsqueeze(2), inputs["values"], 1.0)}
    for objective in ("task", "events"):
        module.objective = objective
        got, want = module(other), module(inputs)
        torch.testing.assert_close(got, want)
