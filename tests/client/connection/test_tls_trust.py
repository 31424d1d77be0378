"""Why a coordinator's certificate is refused: real certificates, a real TLS server that shows them."""

import datetime
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from client.connection.tls_trust import describe_dates, describe_near_expiry, explain_refusal
from server.federation.certificates import (
    AUTHORITY_DAYS,
    SERVER_DAYS,
    TlsFiles,
    create_authority,
    issue_server_certificate,
)

NOW = datetime.datetime.now(datetime.UTC)
BEGINS = NOW + datetime.timedelta(days=1) - datetime.timedelta(minutes=10)
"""Of a certificate issued tomorrow: it allows for clocks that differ."""


def days(count: float) -> datetime.timedelta:
    return datetime.timedelta(days=count)


class Quiet(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def served(files: TlsFiles) -> Iterator[str]:
    """A server that shows the certificate of ``files``; its address."""
    with HTTPServer(("127.0.0.1", 0), Quiet) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("issued", "sentence"),
    [
        (
            -900,
            f"its certificate ran out on {NOW + days(SERVER_DAYS - 900):%Y-%m-%d} and this machine's clock says",
        ),
        (1, f"its certificate is not valid before {BEGINS:%Y-%m-%d %H:%M} UTC: is this machine's clock right?"),
    ],
)
def test_certificate_whose_dates_are_wrong_is_refused_with_the_date(
    tmp_path: Path, issued: float, sentence: str
) -> None:
    files = create_authority(tmp_path, "dates", NOW - days(1000))
    issue_server_certificate(files, now=NOW + days(issued))
    with served(files) as address:
        assert explain_refusal(address, files.ca).startswith(sentence)


def test_authority_that_is_not_valid_yet_is_named(tmp_path: Path) -> None:
    files = create_authority(tmp_path, "dates", NOW + days(1))
    issue_server_certificate(files)
    with served(files) as address:
        assert explain_refusal(address, files.ca).startswith("the federation's authority is not valid before")


def test_authority_that_ran_out_under_a_renewed_one_asks_for_a_new_admission() -> None:
    authority = {"notBefore": "Jan  1 00:00:00 2020 GMT", "notAfter": "Jan  1 00:00:00 2030 GMT"}
    shown = {"notBefore": "Jan  1 00:00:00 2029 GMT", "notAfter": "Jan  1 00:00:00 2031 GMT"}
    said = describe_dates(authority, shown, ssl.cert_time_to_seconds("Feb  1 00:00:00 2030 GMT"))
    assert said.startswith("the federation's authority ran out on 2030-01-01")
    assert "ask the coordinator's operator for a new admission" in said


@pytest.mark.parametrize("issued", [0, -900])
def test_certificate_of_another_authority_is_somebody_elses_whatever_its_dates(
    tmp_path: Path, issued: float
) -> None:
    (tmp_path / "other").mkdir()
    own, other = (create_authority(folder, "a", NOW - days(1000)) for folder in (tmp_path, tmp_path / "other"))
    issue_server_certificate(other, now=NOW + days(issued))
    with served(other) as address:
        assert "is not signed by the federation's authority" in explain_refusal(address, own.ca)


def test_site_is_warned_before_its_authority_runs_out(tmp_path: Path) -> None:
    files = create_authority(tmp_path, "warned")
    ends = (NOW + days(AUTHORITY_DAYS)).timestamp()
    assert describe_near_expiry(files.ca, NOW.timestamp()) is None
    said = describe_near_expiry(files.ca, ends - 100 * 86400)
    assert said is not None
    assert f"runs out on {NOW + days(AUTHORITY_DAYS):%Y-%m-%d}" in said


def test_certificate_of_an_inspecting_proxy_is_named_with_its_issuer(tmp_path: Path) -> None:
    """The proxy makes a certificate for the right address, under its own authority."""
    (tmp_path / "proxy").mkdir()
    own = create_authority(tmp_path, "wood")
    inspecting = create_authority(tmp_path / "proxy", "Hospital inspection")
    issue_server_certificate(inspecting)
    with served(inspecting) as address:
        sentence = explain_refusal(address, own.ca)
    assert sentence == (
        "its certificate is not signed by the federation's authority for this address, but by "
        "'CN=Hospital inspection Consilium authority': does a proxy or firewall on the way inspect TLS? Its operators "
        f"must let {address} pass unopened, since a site trusts nobody in between"
    )


def test_certificate_of_the_federation_for_another_address_blames_no_proxy(tmp_path: Path) -> None:
    own = create_authority(tmp_path, "wood")
    issue_server_certificate(own)
    with served(own) as address:
        port = address.rpartition(":")[2]
        sentence = explain_refusal(f"127.0.0.2:{port}", own.ca)
    assert "inspect" not in sentence
