from typing import cast

import pytest
import torch

from models.errors import ModelError
from models.imaging.image_report import MODEL, ImageReport, ImageReportOptions, build

SMALL = cast(ImageReportOptions, MODEL.presets["small"])
SIZES = {"channels": 1, "height": 16, "width": 16, "words": 4, "vocabulary": 10}


def draw(records: int) -> dict[str, torch.Tensor]:
    return {"image": torch.rand(records, 1, 16, 16), "report": torch.randint(1, 10, (records, 4))}


def make(outputs: tuple[int, ...] = (), **changes: object) -> ImageReport:
    return build(SMALL.model_copy(update=changes), SIZES, outputs)


@pytest.mark.parametrize("stages", [1, 3])
def test_parameters_are_as_many_as_counted(stages: int) -> None:
    module = make((3,), stages=stages)

    def stage(channels: int) -> int:
        encoder = (9 * channels * 4 + 4 + 8) + (9 * 4 * 8 + 8 + 16)  # with the norms' weights and biases
        return encoder + 4 * 8 + (8 + 4 + 1) * 3

    wanted = 10 * 4 + stage(1) + (stages - 1) * stage(2)
    assert sum(each.numel() for each in module.parameters()) == wanted


def test_report_without_words_looks_everywhere_alike() -> None:
    module, inputs = make(), draw(3)
    inputs["report"][1] = 0
    weights = module.read_attention(inputs)["image"]
    torch.testing.assert_close(weights[1], torch.full((1, 16, 16), 1 / 16))
    assert weights[0].std() > 0


def test_report_is_the_mean_of_its_words_in_any_order() -> None:
    module, inputs = make(), draw(2)
    inputs["report"] = torch.tensor([[3, 7, 0, 0], [0, 7, 0, 3]])
    inputs["image"][1] = inputs["image"][0]
    first, second = module(inputs)
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(
        module._read_report(inputs["report"])[0], (module.words.weight[3] + module.words.weight[7]) / 2
    )


def test_stage_sees_the_agreement_of_the_one_before_and_adds_to_its_outputs() -> None:
    module, inputs = make(), draw(2)
    first, second = module._sieve(inputs)
    torch.testing.assert_close(module(inputs), (first.numbers + second.numbers)[:, 0])
    marks = torch.sigmoid(first.agreement).repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    report = module._read_report(inputs["report"])
    again = module.stages[1].sieve(torch.cat([inputs["image"], marks], 1), report)  # type: ignore[operator]
    torch.testing.assert_close(again.numbers, second.numbers)


def test_features_are_those_of_the_places_that_the_report_names() -> None:
    """By a loop over places."""
    module, inputs = make(stages=1), draw(2)
    (found,) = module._sieve(inputs)
    stage, report = module.stages[0], module._read_report(inputs["report"])
    for record in range(2):
        maps = stage.encoder(inputs["image"])[record].flatten(1)  # type: ignore[operator]
        wanted = stage.mapping(report[record])  # type: ignore[operator]
        scores = torch.stack([place @ wanted for place in maps.T]).exp()
        features = sum(score * place for score, place in zip(scores, maps.T, strict=True)) / scores.sum()
        numbers = stage.head(torch.cat([features, report[record]]))  # type: ignore[operator]
        torch.testing.assert_close(found.numbers[record], numbers)


def test_image_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(ModelError, match="'image-report' with 2 blocks expects a width of at least 4, got 3"):
        build(SMALL, SIZES | {"width": 3}, ())
