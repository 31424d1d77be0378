import re
from typing import Any

import pytest

from privacy.document import parse
from privacy.errors import TermsError
from privacy.study.augmentation import Augmentation
from privacy.study.data.arrays import ArraysContract

CONTRACT = ArraysContract.model_validate(
    {
        "kind": "arrays",
        "name": "scans",
        "ranges_from": "the device",
        "inputs": [
            {"type": "number", "name": "image", "shape": [3, 16, 16], "low": 0, "high": 255},
            {"type": "number", "name": "wide", "shape": [16, 24], "low": 0, "high": 255},
            {"type": "number", "name": "deep", "shape": [5, 16, 16], "low": 0, "high": 255},
            {"type": "number", "name": "bases", "shape": [4, 60], "low": 0, "high": 1},
            {"type": "id", "name": "letters", "shape": [60], "values": 5},
            {"type": "id", "name": "codes", "shape": [30], "values": 900},
            {"type": "number", "name": "doses", "shape": [30], "low": 0, "high": 10},
            {"type": "number", "name": "age", "low": 0, "high": 120},
        ],
        "targets": [
            {"type": "flag", "name": "mask", "shape": [16, 16]},
            {"type": "flag", "name": "sites", "shape": [60]},
            {"type": "id", "name": "label", "values": 2},
        ],
    }
)


def read(*steps: dict[str, Any]) -> Augmentation:
    return parse({"steps": list(steps)}, Augmentation, TermsError, "augmentation")


@pytest.mark.parametrize(
    "step",
    [
        {"kind": "flip", "tensors": ["image", "mask"]},
        {"kind": "flip", "tensors": ["deep"], "axis": "depth"},
        {"kind": "quarter_turn", "tensors": ["image", "deep", "mask"]},
        {"kind": "rotate", "tensors": ["wide"], "degrees": 180},
        {"kind": "translate", "tensors": ["image", "mask"], "outside": "zero"},
        {"kind": "crop", "tensors": ["image", "mask"]},
        {"kind": "scale", "tensors": ["image", "mask"]},
        {"kind": "contrast", "tensors": ["image", "age"]},
        {"kind": "noise", "tensors": ["image", "age"]},
        {"kind": "stain", "tensors": ["image"]},
        {"kind": "reverse_complement", "tensors": ["bases"], "positions": ["sites"]},
        {"kind": "reverse_complement", "tensors": ["letters"], "complement": [0, 4, 3, 2, 1]},
        {"kind": "drop_words", "tensors": ["codes", "doses"]},
    ],
)
def test_step_that_suits_the_data_is_taken_and_survives_the_wire(step: dict[str, Any]) -> None:
    choice = read(step)
    assert choice.find_misfit(CONTRACT) is None
    assert read(*choice.model_dump(mode="json")["steps"]) == choice


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        (
            {"kind": "flip", "tensors": ["scan"]},
            r"steps\[0\], flip: there is no input or target 'scan', only image, ",
        ),
        ({"kind": "flip", "tensors": ["age"]}, "'age': expected at least 2 axes, got number"),
        ({"kind": "flip", "tensors": ["mask"], "axis": "depth"}, "expected at least 3 axes"),
        ({"kind": "flip", "tensors": ["image", "deep"], "axis": "depth"}, "different depths"),
        ({"kind": "crop", "tensors": ["image", "wide"]}, "'wide': expected height and width of 'image'"),
        ({"kind": "quarter_turn", "tensors": ["wide"]}, "'wide': expected as much height as width, got number"),
        ({"kind": "noise", "tensors": ["codes"]}, "'codes': expected numbers, got id"),
        ({"kind": "contrast", "tensors": ["mask"]}, "there is no input 'mask'"),
        ({"kind": "stain", "tensors": ["deep"]}, "'deep': expected an image of 3 colours, got number, 5x16x16"),
        (
            {"kind": "stain", "tensors": ["image"], "dark": -1},
            "'image': the model sees numbers from 0 to 1; write dark: 0 and bright: 1",
        ),
        ({"kind": "reverse_complement", "tensors": ["image"]}, "expected an axis of 4 letters, first of"),
        ({"kind": "reverse_complement", "tensors": ["bases"], "letters": "last"}, "letters, last of"),
        ({"kind": "reverse_complement", "tensors": ["letters"]}, "expected a sequence of ids of 4 words"),
        (
            {"kind": "reverse_complement", "tensors": ["bases"], "positions": ["mask"]},
            "different numbers of positions",
        ),
        (
            {"kind": "reverse_complement", "tensors": ["bases"], "positions": ["label"]},
            "'label': expected a value for each position",
        ),
        (
            {"kind": "reverse_complement", "tensors": ["bases"], "positions": ["marks"]},
            "no input or target 'marks'",
        ),
        ({"kind": "drop_words", "tensors": ["codes", "letters"]}, "different shapes"),
        ({"kind": "drop_words", "tensors": ["age"]}, "'age': expected several values, got number"),
    ],
)
def test_step_that_does_not_suit_the_data_is_described(step: dict[str, Any], sentence: str) -> None:
    misfit = read(step).find_misfit(CONTRACT)
    assert misfit is not None
    assert re.search(sentence, misfit)


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        ({"kind": "turn", "tensors": ["image"]}, "kind"),
        ({"kind": "flip"}, "tensors"),
        ({"kind": "flip", "tensors": ["image", "image"]}, "a tensor is named twice"),
        ({"kind": "flip", "tensors": ["image"], "chance": 1.5}, "chance"),
        ({"kind": "flip", "tensors": ["image"], "chance": True}, "chance expects a number"),
        ({"kind": "rotate", "tensors": ["image"], "degrees": 181}, "degrees"),
        ({"kind": "translate", "tensors": ["image"], "part": 0.6}, "part"),
        ({"kind": "crop", "tensors": ["image"], "least": 0}, "least"),
        ({"kind": "noise", "tensors": ["image"], "deviation": float("nan")}, "deviation"),
        ({"kind": "stain", "tensors": ["image"], "part": 1}, "part"),
        ({"kind": "stain", "tensors": ["image"], "dark": 1, "bright": 1}, "bright: expected a number above dark"),
        ({"kind": "reverse_complement", "tensors": ["bases"], "complement": [1, 2, 0]}, "opposite"),
        ({"kind": "reverse_complement", "tensors": ["bases"], "complement": [3, 2, 1, 1]}, "opposite"),
        ({"kind": "reverse_complement", "tensors": ["bases"], "positions": ["bases"]}, "both in tensors and in"),
    ],
)
def test_step_out_of_bounds_is_refused(step: dict[str, Any], sentence: str) -> None:
    with pytest.raises(TermsError, match=sentence):
        read(step)


def test_no_step_and_too_many_are_refused() -> None:
    with pytest.raises(TermsError, match="steps"):
        read()
    with pytest.raises(TermsError, match="steps"):
        read(*[{"kind": "flip", "tensors": ["image"]}] * 21)


def test_misfit_names_the_step() -> None:
    flip = {"kind": "flip", "tensors": ["image"]}
    misfit = read(flip, {**flip, "tensors": ["age"]}).find_misfit(CONTRACT)
    assert misfit is not None
    assert misfit.startswith("steps[1], flip: 'age': expected")
