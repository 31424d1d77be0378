"""Envelopes as Flower records: round trips through Flower's own bytes, and what is refused."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from flwr.common.serde import recorddict_from_proto, recorddict_to_proto
from hypothesis import given
from hypothesis import strategies as st

from privacy.errors import WireError
from privacy.protocol.envelope import MAX_BODY_BYTES, Envelope
from privacy.protocol.flower_records import MAX_MESSAGE_BYTES, MAX_PIECES, from_records, require_small, to_records


@given(st.binary(max_size=200), st.binary(max_size=64))
def test_envelope_through_flowers_bytes_is_unchanged(body: bytes, signature: bytes) -> None:
    envelope = Envelope(body, signature)
    assert from_records(recorddict_from_proto(recorddict_to_proto(to_records(envelope)))) == envelope


def _records(**more: ArrayRecord | ConfigRecord | MetricRecord) -> RecordDict:
    return RecordDict({"envelope": ConfigRecord({"body": b"b", "signature": b"s"}), **more})


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
        _records(blobs=ArrayRecord({"0": Array(np.zeros(3, dtype=np.uint8))})),
    ],
)
def test_records_of_another_form_are_refused(records: RecordDict) -> None:
    with pytest.raises(WireError):
        from_records(records)


def test_blobs_of_an_envelope_do_not_travel_in_it() -> None:
    assert from_records(to_records(Envelope(b"body", b"signature", (b"sealed",)))) == Envelope(
        b"body", b"signature"
    )


def test_message_of_the_largest_size_is_taken_and_a_larger_one_refused() -> None:
    require_small(MAX_PIECES, MAX_MESSAGE_BYTES)
    for pieces, size in ((MAX_PIECES + 1, 0), (1, MAX_MESSAGE_BYTES + 1)):
        with pytest.raises(WireError):
            require_small(pieces, size)
