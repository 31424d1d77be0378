"""Sums of residues are reduced as Python's integers are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.secure_aggregation.schemes.bfv_parameters import COEFFICIENT_MODULUS, PLAIN_MODULUS
from privacy.secure_aggregation.schemes.residues import reduce_sums


@pytest.mark.parametrize("modulus", [2, PLAIN_MODULUS, COEFFICIENT_MODULUS])
@given(terms=st.integers(1, 1023), data=st.data())
def test_sum_is_reduced_as_an_integer_is(modulus: int, terms: int, data: st.DataObject) -> None:
    multiples = st.integers(0, terms - 1).map(lambda times: times * modulus)
    below = st.integers(1, terms).map(lambda times: times * modulus - 1)
    sums = data.draw(st.lists(st.integers(0, terms * modulus - 1) | multiples | below, min_size=1))
    reduced = reduce_sums(np.array(sums, dtype=np.uint64), modulus, terms)
    assert reduced.tolist() == [each % modulus for each in sums]
