"""The two files that are passed by hand."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from privacy.canonical import to_canonical
from privacy.client_certificate import CredentialFiles
from privacy.errors import FederationError, SiteConfigError, WireError
from privacy.keys import generate_node_key
from privacy.protocol.enrolment import (
    Admission,
    JoinRequest,
    SignedAdmission,
    SignedJoinRequest,
    format_fingerprint,
    read_enrolment,
)
from tests.privacy.launch_makers import COORDINATOR_KEY, SITE_KEYS


@pytest.fixture
def request_file(tmp_path: Path) -> Path:
    key = SITE_KEYS["ash"]
    node_key = generate_node_key(tmp_path / "node.key")
    tls_request = CredentialFiles(tmp_path).make_request("ash")
    request = JoinRequest(name="ash", identity=key.public.text, node_key=node_key, tls_request=tls_request)
    path = tmp_path / "ash.request"
    path.write_bytes(SignedJoinRequest.sign(key, request).to_bytes() + b"\n")
    return path


def admission(**changes: Any) -> dict[str, Any]:
    return {
        "federation": "wood",
        "name": "ash",
        "identity": SITE_KEYS["ash"].public.text,
        "coordinator": COORDINATOR_KEY.public.text,
        "address": "127.0.0.1:9092",
        "control": "127.0.0.1:9092",
        "certificate": "-----BEGIN CERTIFICATE-----\nBBBB\n-----END CERTIFICATE-----\n",
        "ca_certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        **changes,
    }


def test_request_read_back_is_signed_by_the_key_it_names(request_file: Path) -> None:
    signed = read_enrolment(request_file, SignedJoinRequest, FederationError)
    assert signed.verify(SITE_KEYS["ash"].public).name == "ash"


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: b"\n\r\n" + data + b"\n\n",
        lambda data: json.dumps(json.loads(data), indent=4).encode(),
        lambda data: json.dumps(json.loads(data), indent=4).replace("\n", "\r\n").encode("utf-8-sig"),
        lambda data: json.dumps(dict(reversed(json.loads(data).items()))).encode(),
        lambda data: data.decode().encode("utf-16"),
    ],
    ids=["crlf", "mark", "blank lines", "pretty", "pretty, crlf, mark", "other order", "utf-16"],
)
def test_request_that_was_changed_on_its_way_is_taken(request_file: Path, change: Callable[[bytes], bytes]) -> None:
    request_file.write_bytes(change(request_file.read_bytes()))
    signed = read_enrolment(request_file, SignedJoinRequest, FederationError)
    assert signed.verify(SITE_KEYS["ash"].public).name == "ash"


def test_request_with_another_value_is_not_its_owners(request_file: Path) -> None:
    request_file.write_text(request_file.read_text().replace('"ash"', '"elm"'))
    signed = read_enrolment(request_file, SignedJoinRequest, FederationError)
    with pytest.raises(WireError, match="a signature is not by the key"):
        signed.verify(SITE_KEYS["ash"].public)


def test_request_holds_public_halves_only(request_file: Path) -> None:
    text = request_file.read_text()
    assert "PRIVATE" not in text
    keys = {"identity", "node_key", "node_proof", "tls_request", "coordinator", "authority"}
    assert set(JoinRequest.model_fields) == {"name", "role", "contact"} | keys


def test_admission_read_back_is_equal(tmp_path: Path) -> None:
    signed = SignedAdmission.sign(COORDINATOR_KEY, Admission(**admission()))
    path = tmp_path / "ash.admission"
    path.write_bytes(signed.to_bytes() + b"\n")
    assert read_enrolment(path, SignedAdmission, SiteConfigError) == signed


def test_request_given_as_an_admission_is_refused(request_file: Path) -> None:
    with pytest.raises(SiteConfigError, match=r"statement\.federation: missing"):
        read_enrolment(request_file, SignedAdmission, SiteConfigError)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"\xff\xfe", "as an attachment that nothing changes"),
        (b"", "as an attachment that nothing changes"),
        (b'{"a":"b\nc"}', "as an attachment that nothing changes"),
        (b'{"signature":"A","signature":"B"}', "as an attachment that nothing changes"),
        (b'{"signature":NaN}', "as an attachment that nothing changes"),
        (b"[" * 100_000, "as an attachment that nothing changes"),
        (b" " * 10_000_001, "is it another file"),
        (b"{ }", "2 mistakes"),
        (b"[]", "got a list"),
    ],
)
def test_file_that_is_no_request_is_refused_with_its_name(tmp_path: Path, data: bytes, sentence: str) -> None:
    (tmp_path / "a.request").write_bytes(data)
    with pytest.raises(FederationError, match=rf"a\.request: .*{sentence}"):
        read_enrolment(tmp_path / "a.request", SignedJoinRequest, FederationError)


def test_file_that_is_missing_is_refused_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(FederationError, match=r"none: cannot be read: No such file"):
        read_enrolment(tmp_path / "none", SignedJoinRequest, FederationError)


@pytest.mark.parametrize(
    "change",
    [
        {"address": "127.0.0.1"},
        {"address": "https://wood:9092"},
        {"address": "wood 1:9092"},
        {"ca_certificate": "é"},
        {"ca_certificate": "A" * 20_001},
        {"coordinator": "short"},
        {"name": "../ash"},
    ],
)
def test_admission_with_a_wrong_field_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "a.admission"
    path.write_bytes(to_canonical({"statement": admission(**change), "signature": "A" * 86}))
    with pytest.raises(SiteConfigError, match=f"statement.{next(iter(change))}: "):
        read_enrolment(path, SignedAdmission, SiteConfigError)


def test_fingerprint_covers_everything_in_the_request(request_file: Path) -> None:
    request = read_enrolment(request_file, SignedJoinRequest, FederationError).statement
    fingerprint = format_fingerprint(request)
    assert re.fullmatch("[0-9a-hjkmnp-tv-z]{5}(-[0-9a-hjkmnp-tv-z]{5}){3}", fingerprint)
    changes = {
        "name": "birch",
        "identity": "A" * 43,
        "coordinator": "B" * 43,
        "authority": "c" * 64,
        "contact": "x",
    }
    others = {format_fingerprint(request.model_copy(update={name: value})) for name, value in changes.items()}
    assert len(others | {fingerprint}) == len(changes) + 1


def test_request_has_the_keys_of_its_role(request_file: Path) -> None:
    fields = read_enrolment(request_file, SignedJoinRequest, FederationError).statement.model_dump()
    for wrong in ({"role": "operator"}, {"node_key": None}, {"role": "gateway"}):
        with pytest.raises(ValueError, match=r"node_key: a site has one|a gateway is not enrolled"):
            JoinRequest.model_validate({**fields, **wrong})
