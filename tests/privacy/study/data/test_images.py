"""A contract of images says what every record is; what contradicts itself is refused with a reason."""

from typing import Any

import pytest
from pydantic import ValidationError

from models.fit import check_fit
from models.generated.records import generate_records
from privacy.study import parse_terms
from privacy.study.data.images import ImagesContract
from privacy.study.data.tensors import Flags, Ids, Numbers

SLICE = {"height": 16, "width": 24, "values": {"kind": "window", "low": -160, "high": 240}, "resize": "pad"}
VOLUME = {**SLICE, "depth": 8, "orientation": "SPL", "resize": "none", "spacing_mm": [3, 1, 1]}


def make(**more: Any) -> ImagesContract:
    return ImagesContract.model_validate(
        {"kind": "images", "name": "scans", "ranges_from": "A window.", "images": [SLICE]} | more
    )


def test_image_is_one_tensor_in_the_order_of_torch() -> None:
    (image,) = make().list_inputs()
    assert isinstance(image, Numbers)
    assert (image.name, image.shape, image.low, image.high) == ("image", (1, 16, 24), -160, 240)
    (colours,) = make(images=[{**SLICE, "colour": "rgb", "values": {"kind": "full-range"}}]).list_inputs()
    assert isinstance(colours, Numbers)
    assert (colours.shape, colours.low, colours.high) == ((3, 16, 24), 0, 1)


def test_volume_has_depth_and_its_slices_have_none() -> None:
    masks = [{"name": "lesion"}, {"name": "organs", "classes": 4}]
    whole = make(images=[VOLUME], masks=masks)
    assert [tensor.shape for tensor in whole.list_inputs()] == [(1, 8, 16, 24)]
    assert whole.list_targets() == (
        Flags(type="flag", name="lesion", shape=(8, 16, 24)),
        Ids(type="id", name="organs", shape=(8, 16, 24), values=4),
    )
    slices = make(images=[VOLUME], masks=masks, record="slice")
    assert [tensor.shape for tensor in slices.list_inputs()] == [(1, 16, 24)]
    assert [tensor.shape for tensor in slices.list_targets()] == [(16, 24), (16, 24)]


def test_columns_beside_an_image_are_those_of_a_table() -> None:
    contract = make(
        features=[
            {"kind": "number", "name": "age", "low": 0, "high": 120},
            {"kind": "category", "name": "sex", "values": ["f", "m"]},
        ],
        label={"name": "finding", "positive": ["1"], "negative": ["0"]},
    )
    assert [tensor.name for tensor in contract.list_inputs()] == ["image", "features"]
    assert contract.list_inputs()[1].shape == (5,)  # a number, two words, two indicators
    assert contract.list_columns() == ["patient", "finding", "age", "sex"]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"images": [{**SLICE, "depth": 4}]}, "depth and orientation"),
        ({"images": [{**SLICE, "orientation": "RAS"}]}, "depth and orientation"),
        ({"images": [{**VOLUME, "orientation": "RAL"}]}, "one letter each"),
        ({"images": [{**VOLUME, "orientation": "RAX"}]}, "one letter each"),
        ({"images": [{**VOLUME, "resize": "pad"}]}, "with resize: none"),
        ({"images": [{**VOLUME, "values": {"kind": "display"}}]}, "windows of their own"),
        ({"images": [{**SLICE, "values": {"kind": "window", "low": 1, "high": 1}}]}, "low < high"),
        ({"images": [SLICE, SLICE]}, "used twice: image"),
        ({"images": [{**SLICE, "name": "patient"}]}, "used twice: patient"),
        ({"masks": [{"of": "other"}]}, "no image 'other'"),
        ({"record": "slice"}, "record: slice needs volumes"),
        ({"images": [VOLUME, {**VOLUME, "name": "second", "depth": 9}], "record": "slice"}, "of one depth"),
        ({"images": [{**VOLUME, "depth": 4096, "height": 4096, "width": 4096}]}, "expected at most"),
        ({"label": {"name": "patient", "positive": ["1"], "negative": ["0"]}}, "used twice: patient"),
    ],
)
def test_contract_that_contradicts_itself_is_refused(more: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        make(**more)


def test_models_of_the_catalogue_take_such_images() -> None:
    study = {
        "consilium": 1, "name": "scan-study", "purpose": "Test.", "task": {"kind": "segmentation"},
        "model": {"name": "unet", "options": {"filters": 2, "levels": 3, "last_pooling": 2, "norm": "group"}},
        "data": make(images=[VOLUME], masks=[{}], record="slice", records_per_patient=8).model_dump(mode="json"),
        "training": {"rounds": 2, "local_steps": 1, "sampling_rate": 0.5, "learning_rate": 1},
        "privacy": {"epsilon": 3, "delta": 0.001, "clipping_norm": 1}, "cohort": {"minimum": 3, "maximum": 8},
    }  # fmt: skip
    terms = parse_terms(study)
    assert check_fit(terms.model, terms.data, terms.task) == {"channels": 1, "height": 16, "width": 24}
    records = generate_records(terms.data, 5, seed=1)
    assert records.arrays["image"].shape == (5, 1, 16, 24)
    assert records.arrays["mask"].shape == (5, 16, 24)
