"""Envelopes as Flower records: round trips through Flower's own bytes, and what is refused."""

import os

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.app.message.arraychunk import ArrayChunk
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import WireError
from privacy.protocol.envelope import MAX_BODY_BYTES, Envelope
from privacy.protocol.flower_records import from_records, to_records


@given(st.binary(max_size=200), st.binary(max_size=64), st.lists(st.binary(max_size=200), max_size=12))
def test_envelope_through_flowers_bytes_is_unchanged(body: bytes, signature: bytes, blobs: list[bytes]) -> None:
    envelope = Envelope(body, signature, tuple(blobs))
    assert from_records(recorddict_from_proto(recorddict_to_proto(to_records(envelope)))) == envelope


def test_blob_travels_in_pieces_whose_size_does_not_grow_with_it() -> None:
    blob = os.urandom((3 << 20) + 5)
    objects = get_all_nested_objects(to_records(Envelope(b"b", b"s", (blob,)))).values()
    pieces = [part for part in objects if isinstance(part, ArrayChunk)]
    assert [len(piece.data) for piece in pieces] == [1 << 20, 1 << 20, 1 << 20, 5]
    assert b"".join(bytes(piece.data) for piece in pieces) == blob
    assert max(len(part.deflate()) for part in objects) < (1 << 20) + 1000


def _records(**more: ArrayRecord | ConfigRecord | MetricRecord) -> RecordDict:
    return RecordDict({"envelope": ConfigRecord({"body": b"b", "signature": b"s"}), **more})


def _array(
    data: bytes, *, dtype: str = "uint8", shape: tuple[int, ...] = (3,), stype: str = "consilium.bytes"
) -> Array:
    return Array(dtype=dtype, shape=shape, stype=stype, data=data)


@pytest.mark.parametrize(
    "records",
    [
        RecordDict(),
        RecordDict({"envelope": MetricRecord({"body": 1})}),
        RecordDict({"envelope": ConfigRecord({"body": b"b"})}),
        RecordDict({"envelope": ConfigRecord({"body": b"b", "signature": b"s", "more": b""})}),
        RecordDict({"envelope": ConfigRecord({"body": "text", "signature": b"s"})}),
        RecordDict({"envelope": ConfigRecord({"body": bytes(MAX_BODY_BYTES + 1), "signature": b"s"})}),
        _records(loss=MetricRecord({"loss": 0.5})),
        _records(blobs=ConfigRecord({"0": b""})),
        _records(blobs=ArrayRecord()),
        _records(blobs=ArrayRecord({"1": _array(b"abc")})),
        _records(blobs=ArrayRecord({"0": _array(b"abc", dtype="int8")})),
        _records(blobs=ArrayRecord({"0": _array(b"abc", shape=(4,))})),
        _records(blobs=ArrayRecord({"0": _array(b"abc", shape=(1, 3))})),
        _records(blobs=ArrayRecord({"0": Array(np.zeros(3, dtype=np.uint8))})),
    ],
)
def test_records_of_another_form_are_refused(records: RecordDict) -> None:
    with pytest.raises(WireError):
        from_records(records)
