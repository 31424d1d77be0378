"""Find out who makes a call of the control plane, and whether they may.

* A call over the Unix socket is the operator's of this machine, who alone can enter the federation's folder.
* A call over TLS is that of the certificate with which the connection was made. Behind the gateway this is the
  gateway's, which must be the present one in its folder: one that was stolen ends when another one is made. The
  caller's own comes in the metadata, which the gateway always sets itself, and is verified here again.
* A certificate counts only while it is in the list of its owner's: a removed member is refused at once.
* What a role may do is in ``privacy/control/calls.py``.
"""

import datetime
import urllib.parse
from dataclasses import dataclass
from typing import Final

import grpc
from cryptography import x509

from privacy.client_certificate import Role, read_certificate
from privacy.control.calls import CALLS, Call
from privacy.control.order import ORDER_METADATA
from privacy.errors import CoordinatorError, RefusedCallError, WireError
from server.federation.client_certificates import format_serial, verify_client_certificate
from server.federation.folder import LOCAL_OPERATOR, Federation

CERTIFICATE_METADATA: Final = "consilium-client-certificate"


@dataclass(frozen=True)
class Caller:
    """Who makes a call; ``identity`` is the key that signs their orders, None over the Unix socket."""

    role: Role | None
    name: str
    identity: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether the call came over the Unix socket."""
        return self.role is Role.OPERATOR and self.identity is None


class OldGatewayError(CoordinatorError):
    """The gateway shows another certificate than its present one; it reads a new one within about a second."""


class RemovedCallerError(RefusedCallError):
    """The caller's certificate is one of this federation that was revoked: they are a member no longer."""

    def __init__(self, caller: Caller, sentence: str) -> None:
        super().__init__(sentence)
        self.caller = caller


NOBODY: Final = Caller(None, "")


def identify_caller(context: grpc.ServicerContext, federation: Federation, now: datetime.datetime) -> Caller:
    """Identify who makes this call.

    Raises:
        RefusedCallError: their certificate is not of this federation, ran out, or was revoked.
        OldGatewayError: the gateway's is not its present one.
    """
    if context.peer().startswith("unix:"):
        return Caller(Role.OPERATOR, LOCAL_OPERATOR)
    shown = context.auth_context().get("x509_pem_cert") or ()
    if not shown:
        return NOBODY
    caller = _verify(shown[0].decode("ascii"), federation, now)
    if caller.role is not Role.GATEWAY:
        return caller
    relayed = dict(context.invocation_metadata()).get(CERTIFICATE_METADATA, "")
    if not relayed:
        return NOBODY
    caller = _verify(urllib.parse.unquote(str(relayed)), federation, now)
    if caller.role is Role.GATEWAY:
        raise RefusedCallError("a gateway makes no call of its own")
    return caller


def require_right(name: str, caller: Caller) -> Call:
    """Return the call ``name``, if ``caller`` may make it.

    Raises:
        RefusedCallError: they may not.
    """
    call = CALLS[name]
    if call.roles and caller.role not in call.roles:
        who = f"the {caller.role} '{caller.name}'" if caller.role else "a caller without a certificate"
        may = " or ".join(sorted(call.roles))
        raise RefusedCallError(f"{who} may not call {name}: it is for {may}; ask the coordinator's operator")
    return call


def read_order(context: grpc.ServicerContext) -> bytes | None:
    """Return the signed order of this call; None if there is none."""
    order = dict(context.invocation_metadata()).get(ORDER_METADATA)
    return order if isinstance(order, bytes) else None


def _verify(pem: str, federation: Federation, now: datetime.datetime) -> Caller:
    try:
        certificate = read_certificate(pem)
        authority = x509.load_pem_x509_certificate(federation.tls.ca.read_bytes())
        subject = verify_client_certificate(authority, certificate, now)
    except WireError as error:
        raise RefusedCallError(f"{error}; renew it, or join the federation again") from None
    if subject.federation != federation.config.federation:
        raise RefusedCallError(f"the certificate is of the federation '{subject.federation}'")
    if subject.role is Role.GATEWAY:
        if certificate != federation.read_gateway_certificate():
            raise OldGatewayError("the gateway shows another certificate than the one in its folder")
        return Caller(Role.GATEWAY, subject.name)
    member = federation.read_enrolment().find(subject.role, subject.name)
    if member is None or format_serial(certificate) not in member.serials:
        sentence = f"the {subject.role} '{subject.name}' was removed from this federation"
        raise RemovedCallerError(Caller(subject.role, subject.name), sentence)
    return Caller(subject.role, subject.name, member.identity)
