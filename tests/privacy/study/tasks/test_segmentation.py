import re
from typing import Any

import pytest

from privacy.study.tasks.segmentation import SegmentationTerms
from tests.privacy.study.tasks.misfits import CONTRACT, describe_misfit, make_terms


def test_flags_have_one_logit_a_voxel_and_two_groups() -> None:
    terms = make_terms("segmentation", target="vessel", threshold=0.3, class_weights=[1, 5])
    assert isinstance(terms, SegmentationTerms)
    assert terms.find_misfit(CONTRACT) is None
    assert terms.list_targets() == ("vessel",)
    assert terms.compute_output_shape(CONTRACT) == (8, 6)
    groups = terms.list_cell_groups(CONTRACT, 9)
    assert [(group.cells, group.squared_sensitivity, group.histogram) for group in groups] == [
        (11, 1, True),
        (3, 3_000_000, False),
    ]


@pytest.mark.parametrize(("ignored", "foreground"), [(None, (1, 2, 3)), (2, (1, 3)), (0, (1, 2, 3))])
def test_ids_have_a_logit_for_each_class_and_groups_for_each_foreground_class(
    ignored: int | None, foreground: tuple[int, ...]
) -> None:
    terms = make_terms("segmentation", target="organs", ignored=ignored)
    assert terms.find_misfit(CONTRACT) is None
    assert terms.compute_output_shape(CONTRACT) == (4, 4, 8, 6)
    groups = terms.list_cell_groups(CONTRACT, 9)
    assert [group.cells for group in groups] == [11] * len(foreground) + [3] * len(foreground)
    assert [group.name.split(":")[0] for group in groups] == [f"class {each}" for each in foreground] * 2


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {},
            "the task needs 'mask', flags, or an id of 2 to 1000 values, of an image or a volume; the data have",
        ),
        (
            {"target": "age"},
            "needs 'age' to be flags, or an id .* of an image or a volume; .* it is number, one value",
        ),
        ({"target": "image"}, "needs 'image' to be flags, or an id .*; in the data it is number, 8x6"),
        ({"target": "codes"}, "needs 'codes' to be flags, or an id .*; in the data it is flag, 7"),
        ({"target": "grade"}, "needs 'grade' to be flags, or an id .*; in the data it is id of 5 words"),
        ({"target": "vessel", "ignored": 1}, "ignored: only ids have .*; in the data 'vessel' is flag, 8x6"),
        ({"target": "organs", "threshold": 0.4}, "threshold: only flags .*; in the data 'organs' is id of 4"),
        (
            {"target": "organs", "ignored": 4},
            "ignored: expected one value of 'organs' .* got 4; .* it has 4 values",
        ),
        ({"target": "lesion", "ignored": 1}, "ignored: .* at least two others, got 1; .* it has 2 values"),
        ({"target": "organs", "class_weights": [1, 2]}, "class_weights: expected 4 weights, .* 'organs', got 2"),
        ({"target": "vessel", "class_weights": [1]}, "class_weights: expected 2 weights, .* 'vessel', got 1"),
    ],
)
def test_a_target_that_is_no_mask_is_a_misfit(fields: dict[str, Any], words: str) -> None:
    assert re.search(words, describe_misfit("segmentation", **fields))
