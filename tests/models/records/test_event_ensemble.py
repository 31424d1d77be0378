import math

import pytest
import torch

from models.catalogue import find_model
from models.records.event_ensemble import average_bins, count_steps_since
from tests.models.records_over_time import build_model

SIZES = {"events": 6, "codes": 20}
EVENTS = torch.tensor([[3, 3, 7, 1, 19, 0], [5, 2, 2, 0, 0, 0], [0] * 6])
HOURS = torch.tensor([[0.1, 0.2, 0.3, 0.6, 0.9, 0.0], [0.9, 0.3, 0.2, 0.0, 0.0, 0.0], [0.0] * 6])


def test_output_is_the_mean_of_the_three_networks() -> None:
    module = build_model("event-ensemble", SIZES, ())
    vectors, there = module.embedding(EVENTS), EVENTS != 0
    each = [
        module.memory(vectors, HOURS, there),
        module.attention(vectors, HOURS, there),
        module.stumps(EVENTS, HOURS),
    ]
    wanted = sum(part.squeeze(1) for part in each) / 3
    torch.testing.assert_close(module({"events": EVENTS, "hours": HOURS}), wanted)


def test_stumps_answer_as_a_count_does() -> None:
    module = build_model("event-ensemble", SIZES, ())
    answers = module.stumps.ask(EVENTS, HOURS)
    assert answers.shape == (3, 3, 2, 19)
    for record in range(3):
        for place, within in enumerate((0.25, 0.5, math.inf)):
            for times, least in enumerate((1, 2)):
                for code in range(1, 20):
                    seen = int(((EVENTS[record] == code) & (HOURS[record] < within)).sum())
                    assert answers[record, place, times, code - 1] == (seen >= least)


def test_bins_are_means_of_their_events_oldest_first() -> None:
    vectors = torch.arange(1.0, 7.0).expand(1, 6)[:, :, None]
    means, present = average_bins(vectors, HOURS[:1], EVENTS[:1] != 0, 0.25, 4)
    assert means[0, :, 0].tolist() == [5.0, 4.0, 3.0, 1.5]
    assert present[0].tolist() == [True] * 4
    older = average_bins(vectors, 10 * HOURS[:1], EVENTS[:1] != 0, 0.25, 4)[0]
    assert older[0, 0, 0] == 3.0  # what is older than the last bin belongs to it


def test_gaps_are_steps_since_the_last_bin_with_events() -> None:
    present = torch.tensor([[False, True, False, False, True, True]])
    assert count_steps_since(present)[0, present[0]].tolist() == [0, 3, 1]


def test_attention_is_of_events_that_are_there_and_sees_their_time() -> None:
    module = build_model("event-ensemble", SIZES, ())
    found = module.read_attention({"events": EVENTS, "hours": HOURS})["events"]
    assert ((found > 0) == (EVENTS != 0)).all()
    torch.testing.assert_close(found.sum(1), torch.tensor([1.0, 1.0, 0.0]))
    assert found[0, 0] != found[0, 1]  # one code at two times


@pytest.mark.parametrize("part", ["events", "hours"])
def test_order_of_the_list_and_hours_of_nothing_do_not_matter(part: str) -> None:
    module, inputs = build_model("event-ensemble", SIZES, ()), {"events": EVENTS, "hours": HOURS}
    other = {name: value.flip(1) for name, value in inputs.items()}
    if part == "hours":
        other = inputs | {"hours": torch.where(EVENTS == 0, 0.7, HOURS)}
    torch.testing.assert_close(module(other), module(inputs))


def test_parameters_are_those_of_the_parts() -> None:
    """Shared vectors; a memory with one bias; four functions of time; four stretches, once or twice."""
    (paper,) = (count for count in find_model("event-ensemble").counts if count.preset == "paper")
    memory = 4 * 64 * (33 + 64 + 1) + 64 + 1
    attention = (4 * 16 + 16) + (48 * 32 + 32) + 32 + (48 * 64 + 64) + 64 + 1
    assert paper.parameters == 1001 * 32 + memory + attention + 1000 * 4 * 2 + 1
