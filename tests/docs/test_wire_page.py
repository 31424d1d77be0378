"""``docs/wire.md`` shows the bytes that the program writes, and lists what may be sent."""

import re
from typing import get_args

import pytest

from client.study.participation import Participation
from privacy.canonical import compute_sha256
from privacy.document import Document
from privacy.errors import WireError
from privacy.key_derivation import KeyPurpose
from privacy.protocol import enrolment, envelope, headers, key_messages, messages
from privacy.protocol.envelope import Envelope, open_envelope
from privacy.protocol.messages import Released, Reply, Request
from privacy.secure_aggregation.layout import BLOCK
from privacy.secure_aggregation.quantise import MOST_HALVINGS
from privacy.secure_aggregation.schemes.bfv import compute_sum_bytes
from privacy.secure_aggregation.schemes.bfv_parameters import (
    COEFFICIENT_MODULUS,
    PLAIN_MODULUS,
    POLYNOMIAL_BYTES,
    SEALED_BYTES,
    SEED_BYTES,
    SLOTS,
)
from privacy.secure_aggregation.schemes.registry import SCHEMES
from privacy.signed import Statement
from privacy.study import SchemeName, launch
from tests.docs.pages import ROOT, blocks, rows
from tests.docs.wire_example import COORDINATOR_KEY, SITE_KEY, example_released, example_sealed
from tests.docs.wire_example import blocks as examples

PAGE = ROOT / "docs" / "wire.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_examples_are_what_the_program_writes() -> None:
    bodies = examples()
    assert blocks(PAGE, "json") == [bodies["released body"] + "\n", bodies["sealed body"] + "\n"]
    assert bodies["released signature"] + "\n" in blocks(PAGE, "text")
    assert SITE_KEY.public.text in TEXT


def test_example_read_from_the_page_is_verified() -> None:
    body, signature = blocks(PAGE, "json")[0], blocks(PAGE, "text")[0]
    envelope = Envelope(body.strip().encode(), bytes.fromhex(signature))
    assert isinstance(open_envelope(envelope, SITE_KEY.public).content, Released)
    with pytest.raises(WireError, match="is not by the key"):
        open_envelope(envelope, COORDINATOR_KEY.public)
    assert example_sealed().size == len(example_sealed().body) + 64 + 15
    assert compute_sha256(example_released().body) != compute_sha256(example_sealed().body)


@pytest.mark.parametrize(("heading", "union"), [("Requests", Request), ("Replies", Reply)])
def test_table_of_kinds_is_the_closed_list(heading: str, union: type[Document]) -> None:
    table = {row[0].strip("`"): row[1] + row[2] for row in rows(PAGE, heading)}
    kinds = {member.model_fields["kind"].default: member for member in get_args(union)}
    assert list(table) == list(kinds)
    for kind, member in kinds.items():
        named = set(re.findall(r"`([a-z_]+)`", table[kind]))
        assert set(member.model_fields) - {"kind"} <= named, kind


def test_every_request_has_its_answer_at_a_site() -> None:
    asked = {member.model_fields["kind"].default for member in get_args(Request)}
    always = {"give-up"}  # the site answers it whether it still takes part or not
    assert {name for name in asked if hasattr(Participation, name)} == asked - always


def test_table_of_statements_is_what_is_signed() -> None:
    modules = (enrolment, envelope, headers, key_messages, launch, messages)
    kinds = {kind for module in modules for kind in vars(module).values() if isinstance(kind, type)}
    labels = {kind.label for kind in kinds if issubclass(kind, Statement) and kind is not Statement}
    table = rows(PAGE, "Statements")
    assert {row[2].strip("`") for row in table} == labels
    fields = {row[2].strip("`"): set(re.findall(r"`([a-z_]+)`", row[0])) for row in table}
    assert fields["consilium key offer v1"] == set(key_messages.KeyOffer.model_fields)
    assert fields["consilium key grant v1"] == set(key_messages.KeyGrant.model_fields)


def test_table_of_labels_is_the_codes() -> None:
    labels = [row[0].strip("`") for row in rows(PAGE, "A sealed vector")]
    assert [f"consilium sealing v1 {label}".encode() for label in labels] == [each.value for each in KeyPurpose]


def test_numbers_of_the_ciphertext_are_those_of_the_code() -> None:
    section = TEXT.split("## A sealed vector")[1]
    for number in (PLAIN_MODULUS, COEFFICIENT_MODULUS):
        assert str(number) in section
    for size in (POLYNOMIAL_BYTES, SEALED_BYTES, compute_sum_bytes(3)):
        assert f"{size:,}" in section
    assert f"{SEED_BYTES}-byte seed" in section
    assert f"{SCHEMES[SchemeName.OPEN].sealed_bytes:,} bytes" in section
    assert f"{BLOCK} ciphertexts ({BLOCK * SLOTS:,} slots)" in section
    assert f"at most {MOST_HALVINGS} times" in section
    assert f"at most {envelope.MAX_BODY_BYTES >> 20} MiB" in TEXT
