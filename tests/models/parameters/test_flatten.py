import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.parameters.flatten import count_shared_parameters, read_shared_parameters, set_shared_parameters
from models.parameters.initial import draw_initial_shared_parameters
from models.parameters.vector import compute_vector_digest
from tests.models.tables import build_for_table

MLP = {"hidden": [4, 3]}
COUNT = 5 * 4 + 4 + 4 * 3 + 3 + 3 + 1


def test_parameter_count_matches_the_layers() -> None:
    assert count_shared_parameters(build_for_table("mlp", MLP, 5)) == COUNT


@given(arrays(np.float32, COUNT, elements=st.floats(-100, 100, width=32)))
def test_vector_of_float32_values_round_trips_exactly(values: np.ndarray) -> None:
    module = build_for_table("mlp", MLP, 5)
    vector = values.astype(np.float64)
    set_shared_parameters(module, vector)
    assert read_shared_parameters(module).tolist() == vector.tolist()


def test_vector_that_can_only_be_read_is_taken_and_stays_as_it_is() -> None:
    """A site's model is a mapped file. What is read of a module is the caller's own."""
    module, vector = build_for_table("mlp", MLP, 5), np.arange(COUNT, dtype=np.float64)
    vector.flags.writeable = False
    set_shared_parameters(module, vector)
    read = read_shared_parameters(module)
    read += 1.0
    assert read_shared_parameters(module).tolist() == vector.tolist()


def test_vector_order_is_that_of_named_parameters() -> None:
    module = build_for_table("mlp", MLP, 5)
    set_shared_parameters(module, np.arange(COUNT, dtype=np.float64))
    first, bias, *_ = module.parameters()
    assert first[1, 0].item() == 5.0
    assert bias[0].item() == 20.0


def test_from_vector_other_length_is_refused() -> None:
    with pytest.raises(ValueError, match=f"expected a vector of {COUNT} parameters"):
        set_shared_parameters(build_for_table("mlp", MLP, 5), np.zeros(COUNT + 1))


def test_initial_vector_does_not_depend_on_torch() -> None:
    vectors = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        vectors.append(draw_initial_shared_parameters(build_for_table("mlp", MLP, 5), "ab" * 32))
    assert vectors[0].tobytes() == vectors[1].tobytes()


def test_initial_vector_golden_bits_stay_the_same() -> None:
    """Origin: this function at its first release, with numpy 2; PCG64's raw output is promised never to change."""
    assert (
        compute_vector_digest(draw_initial_shared_parameters(build_for_table("mlp", MLP, 5), "ab" * 32))
        == "12f273161dc6aea313df1636da774a64e2bb46c5c1f9cb13ceba47f3c9db6037"
    )


def test_initial_vector_differs_between_seeds() -> None:
    module = build_for_table("logistic", {}, 5)
    assert compute_vector_digest(draw_initial_shared_parameters(module, "01")) != compute_vector_digest(
        draw_initial_shared_parameters(module, "02")
    )


def test_initial_vector_is_uniform_by_fan_in() -> None:
    module = build_for_table("mlp", {"hidden": [400]}, 100)
    weights = draw_initial_shared_parameters(module, "1234")[: 100 * 400]
    assert np.abs(weights).max() <= 0.1
    assert np.std(weights) == pytest.approx(0.1 / np.sqrt(3), rel=0.02)
    assert abs(np.mean(weights)) < 0.001
