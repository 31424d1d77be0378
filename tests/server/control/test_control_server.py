"""The control plane: real gRPC, over the Unix socket and over TLS with real certificates."""

import datetime
import logging
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from privacy.client_certificate import Credential, Role, Subject
from privacy.control.calls import CALLS, ENROLMENT
from privacy.control.channel import Caller, ControlClient, NotRunningError, make_socket_address
from privacy.control.flat_messages import to_message
from privacy.control.order import ORDER_METADATA, sign_order
from privacy.errors import CoordinatorError, Error, FederationError, RefusedCallError, RefusedError, TermsError
from privacy.keys import SigningKey
from privacy.refusal_codes import RefusalCode
from server.control.server import STREAMS_OF_A_PERSON, ControlServer, Fields
from server.federation.client_certificates import issue_for_key
from server.federation.config import CoordinatorConfig
from server.federation.folder import Federation
from server.federation.members import Members
from server.superlink.process import find_free_port
from tests.server.federation.test_members import answer

PEOPLE = {"ash": Role.SITE, "anna": Role.OPERATOR, "otto": Role.AUDITOR}


class Behaviour:
    """What the calls of the test's coordinator do."""

    def __init__(self) -> None:
        self.callers: list[tuple[str, Any]] = []
        self.left = threading.Event()

    def list_sites(self, _: Fields, caller: Any) -> Fields:
        self.callers.append(("ListSites", caller))
        return {"items": [{"name": "é — \n", "online": True}]}

    def invite(self, fields: Fields, caller: Any) -> Fields:
        self.callers.append(("Invite", caller))
        return {"invitation": f"{fields['name']} {fields['hours']}"}

    def show(self, fields: Fields, _: Any) -> Fields:
        match fields["study"]:
            case "wrong":
                raise TermsError("the terms are wrong — in two places:\n  - one\n  - two")
            case "rule":
                raise RefusedError(RefusalCode.POLICY, "the policy does not allow it")
            case "defect":
                raise ZeroDivisionError("with a secret in it")
        return {"document": {"text": fields["study"]}}

    def stop(self, fields: Fields, _: Any) -> Fields:
        raise FederationError(f"there is no study '{fields['study']}'")

    def watch(self, fields: Fields, _: Any) -> Iterator[Fields]:
        try:
            for number in range(fields["after"]):
                yield {"document": {"number": number}}
            if fields["study"] == "fails":
                raise FederationError("nothing is left to watch")
            while fields["study"] == "endless":
                yield {"document": {"kind": "beat"}}
        finally:
            self.left.set()

    def renew(self, _: Fields, caller: Any) -> Fields:
        self.callers.append(("Renew", caller))
        return {"certificate": "PEM"}

    def join(self, _: Fields, caller: Any) -> Fields:
        self.callers.append(("Join", caller))
        return {"fingerprint": "f"}


class Plane:
    """A federation behind a gateway, its control plane, and the credentials of its members."""

    def __init__(self, folder: Path) -> None:
        self.port = find_free_port()
        config = CoordinatorConfig(
            federation="wood", host="localhost", port=443, gateway=True, control_port=self.port
        )
        self.federation = Federation.create(folder / "wood", config)
        self.members = Members(self.federation)
        self.keys: dict[str, SigningKey] = {}
        self.credentials: dict[str, Credential] = {}
        for name, role in PEOPLE.items():
            self.enrol(folder, name, role)
        self.behaviour = it = Behaviour()
        self.server = ControlServer(
            self.federation,
            {
                "ListSites": it.list_sites,
                "Invite": it.invite,
                "ShowStudy": it.show,
                "StopStudy": it.stop,
                "Renew": it.renew,
                "Join": it.join,
            },
            {"WatchStudy": it.watch},
            ("127.0.0.1", self.port),
        )

    def enrol(self, folder: Path, name: str, role: Role) -> None:
        invitation = self.members.invite(name, role, "", 1)
        self.keys[name] = SigningKey.generate()
        signed = answer(invitation, folder / name, self.keys[name])
        admission = self.members.enrol(signed).statement
        key = (folder / name / "tls.key.next").read_bytes()
        self.credentials[name] = Credential(key, admission.certificate.encode())

    @property
    def authority(self) -> bytes:
        return self.federation.tls.ca.read_bytes()

    @property
    def gateway(self) -> Credential:
        folder = self.federation.folder / "gateway"
        return Credential((folder / "gateway.key").read_bytes(), (folder / "gateway.crt").read_bytes())

    def connect(self, name: str, caller: str | None = None) -> ControlClient:
        """Connect as ``name``, and sign as ``caller`` (the same without it)."""
        signs = caller or name
        return ControlClient.remote(
            f"localhost:{self.port}",
            self.authority,
            self.credentials[name],
            Caller("wood", signs, self.keys[signs]),
        )

    def call_raw(
        self,
        name: str,
        credential: Credential | None,
        metadata: tuple[tuple[str, str | bytes], ...],
        /,
        **arguments: Any,
    ) -> bytes:
        """Make a call with this TLS credential and exactly this metadata."""
        key, certificate = (credential.key, credential.certificate) if credential else (None, None)
        secure = grpc.ssl_channel_credentials(self.authority, key, certificate)
        request = to_message(CALLS[name].request, arguments).SerializeToString()
        with grpc.secure_channel(f"localhost:{self.port}", secure) as channel:
            answered: bytes = channel.unary_unary(f"/{CALLS[name].service}/{name}")(
                request, timeout=10, metadata=metadata
            )
        return answered

    def relay(self, certificate: bytes, *more: tuple[str, str | bytes]) -> tuple[tuple[str, str | bytes], ...]:
        """Return the metadata that the gateway sets for a client with this certificate."""
        return (("consilium-client-certificate", urllib.parse.quote(certificate.decode())), *more)


@pytest.fixture(scope="module")
def shared_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    plane = Plane(tmp_path_factory.mktemp("plane"))
    yield plane
    plane.server.close()


@pytest.fixture
def plane(shared_plane: Plane) -> Plane:
    shared_plane.behaviour.callers.clear()
    return shared_plane


@pytest.fixture
def local(plane: Plane) -> ControlClient:
    return ControlClient.local(plane.federation.folder)


def details(error: pytest.ExceptionInfo[grpc.RpcError]) -> str:
    return str(error.value.details())


# The socket ------------------------------------------------------------------------------------------------


def test_call_is_answered_with_its_fields(local: ControlClient) -> None:
    assert local.call("ListSites") == {"items": [{"name": "é — \n", "online": True}]}


def test_large_document_comes_through(local: ControlClient) -> None:
    assert local.call("ShowStudy", study="x" * 1_500_000)["document"]["text"] == "x" * 1_500_000


def test_expected_failure_crosses_as_itself(local: ControlClient) -> None:
    with pytest.raises(TermsError) as caught:
        local.call("ShowStudy", study="wrong")
    assert str(caught.value) == "the terms are wrong — in two places:\n  - one\n  - two"
    assert caught.value.exit_code == 11


def test_refusal_with_a_code_crosses_as_a_sentence(local: ControlClient) -> None:
    with pytest.raises(Error, match="the policy does not allow it"):
        local.call("ShowStudy", study="rule")


def test_defect_crosses_without_what_it_says(local: ControlClient) -> None:
    with pytest.raises(CoordinatorError, match=r"the coordinator failed \(INTERNAL\); its log says why") as caught:
        local.call("ShowStudy", study="defect")
    assert "secret" not in str(caught.value)


def test_call_that_is_not_served_is_refused(local: ControlClient) -> None:
    with pytest.raises(CoordinatorError, match="UNIMPLEMENTED"):
        local.call("Launch", terms={}, parameters=1, sites=[])


def test_stream_gives_its_documents_in_order(local: ControlClient) -> None:
    found = [each["document"]["number"] for each in local.stream("WatchStudy", study="", after=3)]
    assert found == [0, 1, 2]


def test_stream_that_fails_gives_what_it_had_and_its_sentence(local: ControlClient) -> None:
    stream = local.stream("WatchStudy", study="fails", after=1)
    assert next(stream)["document"] == {"number": 0}
    with pytest.raises(FederationError, match="nothing is left to watch"):
        next(stream)


def test_stream_ends_when_nobody_listens(plane: Plane, local: ControlClient) -> None:
    plane.behaviour.left.clear()
    stream = local.stream("WatchStudy", study="endless", after=0)
    assert next(stream)["document"] == {"kind": "beat"}
    stream.close()  # type: ignore[attr-defined]
    assert plane.behaviour.left.wait(20)


def test_coordinator_that_does_not_run_is_said_with_the_next_step(tmp_path: Path) -> None:
    for ask in (lambda c: c.call("ListSites"), lambda c: list(c.stream("WatchStudy", study="", after=1))):
        with pytest.raises(NotRunningError, match="the coordinator does not run; start it with: consilium up"):
            ask(ControlClient.local(tmp_path))


def test_path_that_is_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FederationError, match="a socket's at most 100; move the federation"):
        make_socket_address(tmp_path / ("x" * 100))


# Roles -----------------------------------------------------------------------------------------------------

SERVED = ("ListSites", "Invite", "ShowStudy", "Renew")


@pytest.mark.parametrize("name", PEOPLE)
@pytest.mark.parametrize("call", SERVED)
def test_every_role_may_do_what_the_table_says_and_nothing_else(plane: Plane, name: str, call: str) -> None:
    client = plane.connect(name)
    if PEOPLE[name] in CALLS[call].roles:
        client.call(call)
    else:
        with pytest.raises(RefusedCallError, match=f"the {PEOPLE[name]} '{name}' may not call {call}"):
            client.call(call)
    client.close()


def test_table_gives_a_right_to_nobody_without_a_name() -> None:
    """Calls for anybody are in the service of invitations; every other one names its roles, and never a gateway."""
    for name, call in CALLS.items():
        assert bool(call.roles) is (call.service != ENROLMENT), name
        assert Role.GATEWAY not in call.roles


def test_caller_is_who_the_certificate_says(plane: Plane) -> None:
    plane.connect("anna").call("ListSites")
    caller = plane.behaviour.callers[-1][1]
    assert (caller.role, caller.name, caller.identity) == (Role.OPERATOR, "anna", plane.keys["anna"].public.text)


# The gateway -----------------------------------------------------------------------------------------------


def test_gateway_relays_the_callers_certificate(plane: Plane) -> None:
    plane.call_raw("ListSites", plane.gateway, plane.relay(plane.credentials["otto"].certificate))
    assert plane.behaviour.callers[-1][1].name == "otto"


def test_caller_without_a_certificate_may_join_and_nothing_else(plane: Plane) -> None:
    plane.call_raw("Join", plane.gateway, plane.relay(b""), token="t", request={})
    with pytest.raises(grpc.RpcError) as caught:
        plane.call_raw("ListSites", plane.gateway, plane.relay(b""))
    assert "a caller without a certificate may not call ListSites" in details(caught)


def test_gateway_is_nobody_by_itself(plane: Plane) -> None:
    """Attack: who took over the gateway shows the gateway's own certificate."""
    with pytest.raises(grpc.RpcError) as caught:
        plane.call_raw("ListSites", plane.gateway, plane.relay(plane.gateway.certificate))
    assert "a gateway makes no call of its own" in details(caught)


def test_gateway_cannot_change_anything_in_an_operators_name(plane: Plane) -> None:
    """Attack: who took over the gateway has seen the operator's certificate, and makes a call with it."""
    relayed = plane.relay(plane.credentials["anna"].certificate)
    with pytest.raises(grpc.RpcError) as caught:
        plane.call_raw("Invite", plane.gateway, relayed, name="mallory", role="operator", contact="", hours=1)
    assert "must carry an order signed by its caller" in details(caught)
    assert not plane.behaviour.callers


def test_metadata_of_somebody_who_is_no_gateway_counts_for_nothing(plane: Plane) -> None:
    """Attack: a site connects directly and says that it relays the operator."""
    relayed = plane.relay(plane.credentials["anna"].certificate)
    with pytest.raises(grpc.RpcError) as caught:
        plane.call_raw("ListSites", plane.credentials["ash"], relayed)
    assert "the site 'ash' may not call ListSites" in details(caught)


def test_connection_without_any_certificate_is_refused(plane: Plane) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        plane.call_raw("Join", None, (), token="t", request={})
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


# Orders ----------------------------------------------------------------------------------------------------


def test_signed_call_is_made(plane: Plane) -> None:
    answered = plane.connect("anna").call("Invite", name="elm", role="site", contact="", hours=2)
    assert answered == {"invitation": "elm 2"}


def test_order_that_is_sent_again_is_refused(plane: Plane) -> None:
    arguments: dict[str, Any] = {"name": "elm", "role": "site", "contact": "", "hours": 2}
    request = to_message(CALLS["Invite"].request, arguments).SerializeToString()
    order = (ORDER_METADATA, sign_order(plane.keys["anna"], "wood", "anna", "Invite", request))
    relayed = plane.relay(plane.credentials["anna"].certificate, order)
    plane.call_raw("Invite", plane.gateway, relayed, **arguments)
    with pytest.raises(grpc.RpcError) as caught:
        plane.call_raw("Invite", plane.gateway, relayed, **arguments)
    assert "was used before" in details(caught)
    with pytest.raises(grpc.RpcError) as caught:
        plane.call_raw("Invite", plane.gateway, relayed, **(arguments | {"role": "operator"}))
    assert "is for another call than Invite" in details(caught)


@pytest.mark.parametrize(
    ("signer", "federation", "caller", "call", "sentence"),
    [
        (
            "otto",
            "wood",
            "anna",
            "Invite",
            "the order of the call Invite is not valid: a signature is not by the key",
        ),
        ("anna", "lake", "anna", "Invite", "is for another call"),
        ("anna", "wood", "otto", "Invite", "is for another call"),
        ("anna", "wood", "anna", "Remove", "is for another call"),
    ],
)
def test_order_for_something_else_is_refused(
    plane: Plane, signer: str, federation: str, caller: str, call: str, sentence: str
) -> None:
    request = to_message(CALLS["Invite"].request, {}).SerializeToString()
    order = (ORDER_METADATA, sign_order(plane.keys[signer], federation, caller, call, request))
    with pytest.raises(grpc.RpcError) as caught:
        plane.call_raw("Invite", plane.credentials["anna"], (order,))
    assert sentence in details(caught)


def test_old_order_is_refused_with_the_clocks(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    request = to_message(CALLS["Invite"].request, {}).SerializeToString()
    with monkeypatch.context() as patch:
        real = time.time()
        patch.setattr(time, "time", lambda: real - 400)
        order = (ORDER_METADATA, sign_order(plane.keys["anna"], "wood", "anna", "Invite", request))
    with pytest.raises(grpc.RpcError) as caught:
        plane.call_raw("Invite", plane.credentials["anna"], (order,))
    assert "was signed 400 s ago by its caller's clock" in details(caught)


# Certificates ----------------------------------------------------------------------------------------------


def make_credential(plane: Plane, subject: Subject, now: datetime.datetime) -> Credential:
    """Make a certificate that the authority signed and nobody enrolled."""
    key = ec.generate_private_key(ec.SECP256R1())
    issued = issue_for_key(plane.federation.tls, key.public_key(), subject, now)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Credential(pem, issued.pem.encode())


def test_certificate_that_is_not_its_owners_is_refused(plane: Plane) -> None:
    """Of the right name and role, by the authority, but not one that was issued to this member."""
    other = make_credential(plane, Subject("wood", Role.OPERATOR, "anna"), datetime.datetime.now(datetime.UTC))
    with pytest.raises(grpc.RpcError) as caught:
        plane.call_raw("ListSites", other, ())
    assert "the operator 'anna' was removed from this federation" in details(caught)


def test_certificate_of_another_federation_is_refused(plane: Plane) -> None:
    other = make_credential(plane, Subject("lake", Role.OPERATOR, "anna"), datetime.datetime.now(datetime.UTC))
    with pytest.raises(grpc.RpcError) as caught:
        plane.call_raw("ListSites", other, ())
    assert "the certificate is of the federation 'lake'" in details(caught)


def test_relayed_certificate_that_ran_out_is_refused(plane: Plane) -> None:
    past = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=100)
    old = make_credential(plane, Subject("wood", Role.OPERATOR, "anna"), past)
    with pytest.raises(grpc.RpcError) as caught:
        plane.call_raw("ListSites", plane.gateway, plane.relay(old.certificate))
    assert "the certificate is valid until" in details(caught)


def test_removed_member_is_refused_at_once(plane: Plane, tmp_path: Path) -> None:
    plane.enrol(tmp_path, "ruth", Role.OPERATOR)
    client = plane.connect("ruth")
    client.call("ListSites")
    plane.members.remove("ruth")
    with pytest.raises(RefusedCallError, match="the operator 'ruth' was removed from this federation"):
        client.call("ListSites")


# The log and the limits ------------------------------------------------------------------------------------


def test_log_has_every_call_that_changes_something_before_and_after(plane: Plane) -> None:
    log = plane.federation.open_audit_log()
    known = len(list(log.read()))
    plane.connect("anna").call("Invite", name="elm", role="site", contact="", hours=2)
    plane.connect("anna").call("ListSites")
    with pytest.raises(FederationError):
        plane.connect("anna").call("StopStudy", study="oak-12345678")
    ControlClient.local(plane.federation.folder).call("Invite", name="yew", role="site", contact="", hours=2)
    new = list(log.read(after=known))
    assert [(each.name, each.call, each.about, each.outcome) for each in new] == [
        ("anna", "Invite", "elm", "asked"),
        ("anna", "Invite", "elm", "done"),
        ("anna", "StopStudy", "oak-12345678", "asked"),
        ("anna", "StopStudy", "oak-12345678", "refused: there is no study 'oak-12345678'"),
        ("local", "Invite", "yew", "asked"),
        ("local", "Invite", "yew", "done"),
    ]
    assert new[0].order
    assert not new[-1].order
    assert new[-1].account


def call_often(call: Callable[[], object]) -> None:
    for _ in range(200):
        call()


def test_too_many_calls_are_refused(plane: Plane) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        call_often(lambda: plane.call_raw("Join", plane.gateway, plane.relay(b""), token="t", request={}))
    assert "too many calls" in details(caught)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_member_that_calls_too_often_is_told_to_wait(tmp_path: Path) -> None:
    """Whoever waits for an admission, or listens for messages, goes on later after this error."""
    plane = Plane(tmp_path)  # of its own: other tests would have to wait, too
    client = plane.connect("otto")
    with pytest.raises(NotRunningError, match="too many calls at once; try again in a minute"):
        call_often(lambda: client.call("ListSites"))
    plane.connect("anna").call("ListSites")
    plane.server.close()


def test_strangers_keep_nobody_waiting_who_is_invited(tmp_path: Path) -> None:
    """Attack: somebody without an invitation calls as often as the gateway lets them."""
    plane = Plane(tmp_path)
    invitation = plane.members.invite("elm", Role.SITE, "", 1)

    def join(token: str) -> None:
        plane.call_raw("Join", plane.gateway, plane.relay(b""), token=token, request={})

    with pytest.raises(grpc.RpcError, match="too many calls"):
        call_often(lambda: join("t"))
    join(invitation.token)
    with pytest.raises(grpc.RpcError, match="too many calls"):
        call_often(lambda: join(invitation.token))
    plane.server.close()


def test_one_person_leaves_streams_to_the_others(plane: Plane) -> None:
    """Attack: one auditor opens streams until nobody can watch a study."""
    otto, anna = plane.connect("otto"), plane.connect("anna")
    streams = [otto.stream("WatchStudy", study="endless", after=0) for _ in range(STREAMS_OF_A_PERSON)]
    for stream in streams:
        next(stream)
    with pytest.raises(RefusedCallError, match="'otto' has 4 streams open already"):
        next(otto.stream("WatchStudy", study="endless", after=0))
    assert next(anna.stream("WatchStudy", study="endless", after=0))
    for client in (otto, anna):
        client.close()


def test_refused_calls_are_in_the_processs_log(plane: Plane, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), pytest.raises(RefusedCallError):
        plane.connect("otto").call("Invite", name="elm", role="site", contact="", hours=2)
    with caplog.at_level(logging.WARNING), pytest.raises(grpc.RpcError):
        plane.call_raw("Invite", plane.credentials["anna"], ())
    assert "a call was refused: the auditor 'otto' may not call Invite" in caplog.text
    assert "a call was refused: the call Invite changes something and must carry an order" in caplog.text


def test_refused_calls_of_members_are_in_the_audit_log_and_strangers_are_not(tmp_path: Path) -> None:
    """Who has a name is recorded: wrong role, no order, removed, too many calls; each once, however often."""
    plane = Plane(tmp_path)
    plane.enrol(tmp_path, "ruth", Role.OPERATOR)
    plane.members.remove("ruth")
    known = len(list(plane.federation.open_audit_log().read()))
    for _ in range(3):
        with pytest.raises(RefusedCallError):
            plane.connect("otto").call("Invite", name="elm", role="site", contact="", hours=2)
        with pytest.raises(grpc.RpcError):
            plane.call_raw("Invite", plane.credentials["anna"], ())
        with pytest.raises(RefusedCallError):
            plane.connect("ruth").call("ListSites")
        with pytest.raises(grpc.RpcError):
            plane.call_raw("ListSites", plane.gateway, plane.relay(b""))
    otto = plane.connect("otto")
    with pytest.raises(NotRunningError):
        call_often(lambda: otto.call("ListSites"))
    plane.server.close()
    found = [
        (each.role, each.name, each.call, each.outcome) for each in plane.federation.open_audit_log().read(known)
    ]
    assert [each for each in found if each[1:3] != ("otto", "ListSites")] == [
        (
            "auditor",
            "otto",
            "Invite",
            "refused: "
            + (
                role := "the auditor 'otto' may not call Invite: it is for operator; ask the coordinator's operator"
            ),
        ),
        (
            "operator",
            "anna",
            "Invite",
            "refused: "
            + (order := "the call Invite changes something and must carry an order signed by its caller"),
        ),
        (
            "operator",
            "ruth",
            "ListSites",
            "refused: " + (gone := "the operator 'ruth' was removed from this federation"),
        ),
        ("auditor", "otto", "Invite", f"refused 2 more times within an hour; the last: {role}"),
        ("operator", "anna", "Invite", f"refused 2 more times within an hour; the last: {order}"),
        ("operator", "ruth", "ListSites", f"refused 2 more times within an hour; the last: {gone}"),
    ]
    assert ("auditor", "otto", "ListSites", "refused: too many calls; try again in a few seconds") in found


def test_order_that_was_used_before_a_restart_is_refused(tmp_path: Path) -> None:
    """Attack: the gateway keeps a signed call, waits until the coordinator restarts, and sends it again."""
    plane = Plane(tmp_path)
    arguments: dict[str, Any] = {"name": "elm", "role": "site", "contact": "", "hours": 2}
    request = to_message(CALLS["Invite"].request, arguments).SerializeToString()
    order = (ORDER_METADATA, sign_order(plane.keys["anna"], "wood", "anna", "Invite", request))
    relayed = plane.relay(plane.credentials["anna"].certificate, order)
    plane.call_raw("Invite", plane.gateway, relayed, **arguments)
    plane.server.close()
    plane.server = ControlServer(
        plane.federation, {"Invite": plane.behaviour.invite}, {}, ("127.0.0.1", plane.port)
    )
    with pytest.raises(grpc.RpcError, match="was used before"):
        plane.call_raw("Invite", plane.gateway, relayed, **arguments)
    plane.connect("anna").call("Invite", **arguments)
    plane.server.close()


def test_gateways_certificate_ends_when_it_has_another_one(tmp_path: Path) -> None:
    """Attack: the gateway's key was stolen; its operator removes the files, and the coordinator makes new ones."""
    plane = Plane(tmp_path)
    stolen, relayed = plane.gateway, plane.relay(plane.credentials["otto"].certificate)
    plane.call_raw("ListSites", stolen, relayed)
    for name in ("gateway.key", "gateway.crt"):
        (plane.federation.folder / "gateway" / name).unlink()
    plane.federation.write_gateway_files()
    with pytest.raises(grpc.RpcError) as caught:
        plane.call_raw("ListSites", stolen, relayed)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "another certificate than the one in its folder" in details(caught)
    plane.call_raw("ListSites", plane.gateway, relayed)
    plane.server.close()


def test_request_that_is_too_large_is_refused(plane: Plane) -> None:
    with pytest.raises(CoordinatorError):
        plane.connect("anna").call("ShowStudy", study="x" * (5 << 20))
