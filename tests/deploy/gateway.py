"""A real nginx, run by the gateway's own script, in front of a real SuperLink and a small control plane."""

import os
import queue
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from privacy.client_certificate import Role, Subject
from privacy.keys import SigningKey, generate_node_key, load_node_key
from privacy.proxy import make_http_client
from server.federation.certificates import TlsFiles
from server.federation.client_certificates import RevokedCertificate, issue_for_key
from server.federation.config import CoordinatorConfig, EnrolledSite
from server.federation.folder import Federation
from server.superlink.process import SuperLink, find_free_port
from tests.loopback import wait_for

START = Path(__file__).parents[2] / "deploy" / "gateway" / "start"
CERTIFICATE = "consilium-client-certificate"


def find_missing(*programs: str) -> str:
    """Say which of ``programs`` this machine lacks; empty if none."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    lacking = [name for name in programs if shutil.which(name, path=path) is None]
    return f"needs {', '.join(lacking)} (scripts/install-debian-packages)" if lacking else ""


@dataclass(frozen=True)
class Party:
    """Somebody with a TLS key and a certificate, and the node key of a site."""

    name: str
    pem: Path
    """TLS key and certificate."""
    node_key: Path
    serial: str

    @property
    def pair(self) -> tuple[bytes, bytes]:
        """Key and certificate, as grpcio takes them."""
        key, marker, certificate = self.pem.read_bytes().partition(b"-----BEGIN CERTIFICATE-----")
        return key, marker + certificate


def make_party(files: TlsFiles, subject: Subject, folder: Path, now: datetime | None = None) -> Party:
    """Make a key, and have the authority of ``files`` issue its certificate."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    issued = issue_for_key(files, key.public_key(), subject, now or datetime.now(UTC))
    pem = folder / f"{subject.name}.pem"
    from cryptography.hazmat.primitives import serialization as s

    text = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    pem.write_bytes(text + issued.pem.encode())
    node_key = folder / f"{subject.name}.node"
    generate_node_key(node_key)
    return Party(subject.name, pem, node_key, issued.serial)


class EchoControl:
    """A real gRPC server with TLS that says which certificates a call came with: a stand-in for the control plane."""

    def __init__(self, tls: TlsFiles, port: int) -> None:
        self.receiving: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        """The first part of each upload."""
        self._server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
        upload = {"Upload": grpc.stream_unary_rpc_method_handler(self._receive)}
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("consilium.v1.Transfer", upload),)
        )
        for service in ("consilium.v1.Control", "consilium.v1.Enrolment", "consilium.v1.Other"):
            methods = {
                "Echo": grpc.unary_unary_rpc_method_handler(self._echo),
                "Watch": grpc.unary_stream_rpc_method_handler(self._watch),
            }
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
        credentials = grpc.ssl_server_credentials(
            [(tls.key.read_bytes(), tls.certificate.read_bytes())], tls.ca.read_bytes(), require_client_auth=True
        )
        self._server.add_secure_port(f"127.0.0.1:{port}", credentials)
        self._server.start()

    def _echo(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        relayed = [str(value) for name, value in context.invocation_metadata() if name == CERTIFICATE]
        common_name = context.auth_context()["x509_common_name"][0].decode()
        return f"{common_name}|{len(request)}|{'+'.join(relayed)}".encode()

    def _watch(self, request: bytes, context: grpc.ServicerContext) -> Any:
        while context.is_active():
            yield b"beat"
            time.sleep(0.2)

    def _receive(self, parts: Iterator[bytes], _: grpc.ServicerContext) -> bytes:
        first = next(parts)
        self.receiving.put(first)
        return str(len(first) + sum(map(len, parts))).encode()

    def close(self) -> None:
        self._server.stop(None).wait()


class GatewayWorld:
    """A federation behind its gateway, with the sites ``north`` and ``south``; close it."""

    def __init__(self, folder: Path, host: str = "localhost", **limits: str) -> None:
        superlink_port, self.control_port, self.port = find_free_port(), find_free_port(), find_free_port()
        config = CoordinatorConfig(
            federation="wood",
            host=host,
            port=self.port,
            superlink_port=superlink_port,
            gateway=True,
            control_port=self.control_port,
        )
        self.folder = folder
        self.federation = Federation.create(folder / "wood", config)
        self.tls = self.federation.tls
        self.address = f"{host}:{self.port}"
        self.sites = {name: self.make_party(name) for name in ("north", "south")}
        self.enrol(*self.sites.values())
        self.superlink = SuperLink(self.federation.folder, self.tls, superlink_port)
        self.superlink.start()
        self.control = EchoControl(self.tls, self.control_port)
        for site in self.sites.values():
            node_key = self.federation.read_sites()[site.name].node_key
            self.superlink.control.register_node(node_key)
        self._run = folder / "nginx"
        folder.chmod(0o711)  # nginx started by root works as another user
        settings = {
            "CONSILIUM_HOST": host,
            "CONSILIUM_SUPERLINK": f"localhost:{superlink_port}",
            "CONSILIUM_CONTROL": f"localhost:{self.control_port}",
            "CONSILIUM_FILES": str(self.federation.folder / "gateway"),
            "CONSILIUM_LISTEN": f"0.0.0.0:{self.port}",
            "CONSILIUM_RUN": str(self._run),
            "CONSILIUM_WORKERS": "1",
            "PATH": f"{os.environ['PATH']}:/usr/sbin",
        }
        self._gateway = subprocess.Popen(
            [str(START)], env=settings | limits, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self.said: list[str] = []
        self._clients: list[FleetHttpClient] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        wait_for("the gateway", self.answers)

    def _read(self) -> None:
        assert self._gateway.stderr is not None
        self.said.extend(line.rstrip() for line in self._gateway.stderr)

    def answers(self) -> bool:
        """Whether the gateway accepts connections."""
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def make_party(
        self, name: str, role: Role = Role.SITE, files: TlsFiles | None = None, now: datetime | None = None
    ) -> Party:
        """A party with a certificate of the federation's authority, or another one."""
        folder = self.folder / ("others" if files else "parties")
        return make_party(files or self.tls, Subject("wood", role, name), folder, now)

    def enrol(self, *sites: Party, revoked: tuple[Party, ...] = ()) -> None:
        """Enrol exactly these sites, and revoke the certificates of others."""
        from privacy.keys import format_node_key

        enrolled = {
            site.name: EnrolledSite(
                identity=SigningKey.generate().public.text,
                node_key=format_node_key(load_node_key(site.node_key)),
                serials={site.serial: datetime.now(UTC) + timedelta(days=90)},
            )
            for site in sites
        }
        gone = tuple(RevokedCertificate(serial=each.serial, when=datetime.now(UTC)) for each in revoked)
        known = self.federation.read_enrolment()
        self.federation.write_enrolment(known.model_copy(update={"sites": enrolled, "revoked": gone}))
        self.federation.write_gateway_files()

    def make_context(self, party: Party | None, ca: Path | None = None) -> ssl.SSLContext:
        """The TLS context of a client."""
        context = ssl.create_default_context(cafile=ca or self.tls.ca)
        if party is not None:
            context.load_cert_chain(party.pem)
        return context

    def client(self, party: Party | None = None) -> httpx.Client:
        """An HTTP client that shows a party's certificate."""
        return httpx.Client(
            base_url=f"https://{self.address}", verify=self.make_context(party), trust_env=False, timeout=20
        )

    def fleet(self, certificate: Party, node: Party, *interceptors: Any) -> FleetHttpClient:
        """Flower's own client, with one party's certificate and one party's node key."""
        key = load_node_key(node.node_key)
        client = FleetHttpClient(
            f"https://{self.address}", interceptors=[NodeAuthHttpInterceptor(key, key.public_key()), *interceptors]
        )
        client._client.close()
        client._client = make_http_client("localhost", self.port, self.make_context(certificate), 20.0)
        self._clients.append(client)
        return client

    def channel(self, party: Party | None = None, port: int | None = None) -> grpc.Channel:
        """A gRPC channel that shows a party's certificate; to the gateway, or to a port that leads there."""
        key, certificate = party.pair if party else (None, None)
        credentials = grpc.ssl_channel_credentials(self.tls.ca.read_bytes(), key, certificate)
        address = f"localhost:{port or self.port}"
        return grpc.secure_channel(address, credentials, [("grpc.enable_http_proxy", 0)])

    def close(self) -> None:
        """Stop everything."""
        self._gateway.terminate()
        self._gateway.wait(timeout=20)
        assert self._gateway.stderr is not None
        self._reading.join()
        self._gateway.stderr.close()
        for client in self._clients:
            client.close()
        self.control.close()
        self.superlink.stop()


def ask_openssl(address: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Connect with ``openssl s_client``."""
    command = ["openssl", "s_client", "-connect", address, "-servername", "localhost", *arguments]
    return subprocess.run(command, input="", capture_output=True, text=True, timeout=30, check=False)
