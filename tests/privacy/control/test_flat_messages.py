"""Messages of the control plane and dictionaries: there and back."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.control import control_pb2 as pb
from privacy.control.calls import CALLS
from privacy.control.flat_messages import parse_message, to_fields, to_message
from privacy.errors import WireError

JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(terms=JSON, parameters=st.integers(0, 2**64 - 1), sites=st.lists(st.text()), order=JSON)
def test_fields_come_back(terms: Any, parameters: int, sites: list[str], order: Any) -> None:
    fields = {"terms": terms, "parameters": parameters, "sites": sites, "order": order}
    data = to_message(pb.LaunchCall, fields).SerializeToString()
    assert to_fields(parse_message(pb.LaunchCall, data)) == fields


@given(st.binary(max_size=64))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    for call in CALLS.values():
        with contextlib.suppress(WireError):
            to_fields(parse_message(call.request, data))


def test_missing_fields_have_their_defaults() -> None:
    assert to_fields(pb.LaunchCall()) == {"terms": None, "parameters": 0, "sites": [], "order": None}


def test_text_that_is_no_json_is_refused() -> None:
    with pytest.raises(WireError, match="terms_json: expected JSON"):
        to_fields(pb.LaunchCall(terms_json="{"))


def test_field_that_is_not_in_the_message_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(KeyError):
        to_message(pb.LaunchCall, {"colour": 1})
