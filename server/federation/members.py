"""Invite, admit, renew and remove the members of a federation: sites, operators, auditors.

* A member is enrolled by its join request, which a person has admitted: after an invitation and two people who have
  read the request's fingerprint to each other, or from a file whose origin people have checked.
* A site is enrolled, and its certificate renewed, only if it proves that it holds its node key: a public one that
  somebody has seen would otherwise be theirs, and its owner kept out.
* To be removed takes effect at once: the certificates are revoked (for the gateway and for the control plane), and
  the coordinator takes the node away from the SuperLink.
* A member's later certificates do not end the earlier ones, which run out by themselves. A member gets one when the
  newest is due; otherwise it could have as many as it likes, and they would fill the list of members.
"""

import contextlib
import datetime
import hashlib
from collections.abc import Callable, Iterator
from typing import Any, Final

from privacy.client_certificate import RENEW_DAYS, Role, Subject, read_certificate, read_signing_request
from privacy.document import parse
from privacy.errors import FederationError, WireError
from privacy.files import hold_lock
from privacy.keys import PublicKey
from privacy.protocol.enrolment import (
    Admission,
    JoinRequest,
    NodeKeyClaim,
    SignedAdmission,
    SignedJoinRequest,
    format_fingerprint,
    normalise_fingerprint,
)
from privacy.protocol.invitation import Invitation, hash_token, make_token
from server.federation.client_certificates import Issued, RevokedCertificate, issue_client_certificate
from server.federation.config import CONFIG_FILE, EnrolledPerson, EnrolledSite, Enrolment
from server.federation.folder import LOCAL_OPERATOR, Federation
from server.federation.invitations import Invited, WaitingRequest

_RENEW_FROM: Final = datetime.timedelta(days=RENEW_DAYS + 1)
"""Before the end of a certificate; a day more than members ask for, whose clocks may differ."""
_RESERVED: Final = f"'{LOCAL_OPERATOR}' is the operator at the coordinator's own machine; choose another name"


class Members:
    """The members of ``federation``.

    Args:
        federation: its folder.
        clock: tells the time, with its zone.
    """

    def __init__(self, federation: Federation, clock: Callable[[], datetime.datetime] | None = None) -> None:
        self._federation = federation
        self._clock = clock or (lambda: datetime.datetime.now(datetime.UTC))

    @contextlib.contextmanager
    def _change(self) -> Iterator[None]:
        """Let one process or thread at a time change who is enrolled."""
        with hold_lock(self._federation.folder / "members.lock"):
            yield

    def enrol(self, signed: SignedJoinRequest) -> SignedAdmission:
        """Enrol the party that made this request, issue its certificate, and return its admission.

        A party that is enrolled with the same keys gets a new certificate; its earlier ones stay valid.

        Raises:
            FederationError: the request is damaged, the name is enrolled with other keys, or a key with another
                name.
        """
        request = _require_valid(signed)
        with self._change():
            return self._enrol(request)

    def _enrol(self, request: JoinRequest) -> SignedAdmission:
        federation = self._federation
        config, identity, enrolment = federation.config, federation.load_identity(), federation.read_enrolment()
        authority = federation.tls.ca.read_text(encoding="ascii")
        digest = hashlib.sha256(authority.encode("ascii")).hexdigest()
        if request.coordinator not in (None, identity.public.text) or request.authority not in (None, digest):
            raise FederationError(
                f"'{request.name}' answers an invitation that names another coordinator's key or authority: somebody "
                "changed the invitation on its way; invite it again, over another channel"
            )
        self._require_free(request, enrolment)
        issued = self._issue(request.role, request.name, request.tls_request)
        federation.write_enrolment(_add_member(enrolment, request, issued, self._clock()))
        return SignedAdmission.sign(
            identity,
            Admission(
                federation=config.federation,
                name=request.name,
                role=request.role,
                identity=request.identity,
                coordinator=identity.public.text,
                address=config.address,
                control=config.control_address,
                ca_certificate=authority,
                certificate=issued.pem,
                contact=config.contact,
            ),
        )

    def renew_member(self, role: Role, name: str, signing_request: str, node_proof: str | None = None) -> str:
        """Issue a further certificate for who is enrolled as ``name``, once it is time; return it as PEM.

        Before it is time, the same request gets the newest certificate again: its first answer may have been lost.

        Raises:
            FederationError: nobody is enrolled so, a site has not proved that it holds its node key, or the newest
                certificate is not due.
            WireError: the signing request is damaged.
        """
        with self._change():
            enrolment, now = self._federation.read_enrolment(), self._clock()
            member = enrolment.find(role, name)
            if member is None:
                raise FederationError(f"no {role} '{name}' is enrolled")
            if isinstance(member, EnrolledSite):
                _require_node_key(member, name, signing_request, node_proof)
            issued = self._issue(role, name, signing_request)
            if member.newest:
                newest = read_certificate(member.newest)
                ends = newest.not_valid_after_utc
                if now + _RENEW_FROM < ends or issued.ends <= ends:
                    if newest.public_key() == read_signing_request(signing_request):
                        return member.newest
                    raise FederationError(
                        f"the {role} '{name}' has a certificate until {ends:%Y-%m-%d}, and it is not time for "
                        f"another; if its key was lost, have '{name}' removed and invited again"
                    )
            self._federation.write_enrolment(_add_certificate(enrolment, role, name, issued, now))
        return issued.pem

    def invite(self, name: str, role: Role, contact: str, hours: int) -> Invitation:
        """Invite ``name``; return the invitation, whose token is stored as a digest only.

        Raises:
            FederationError: somebody is enrolled under this name already, or sites cannot reach this coordinator.
        """
        config, enrolment = self._federation.config, self._federation.read_enrolment()
        if name == LOCAL_OPERATOR:
            raise FederationError(_RESERVED)
        if name in enrolment.sites or name in enrolment.people:
            raise FederationError(
                f"'{name}' is enrolled already; to enrol it with other keys, remove it first: consilium remove {name}"
            )
        if not config.gateway:
            raise FederationError(
                "this coordinator is reached by its own machine only, and an invitation would lead nowhere; set "
                f"gateway: true and host in {CONFIG_FILE} (docs/deployment.md), or exchange files (consilium admit)"
            )
        expires = self._clock().replace(microsecond=0) + datetime.timedelta(hours=hours)
        fields = {
            "federation": config.federation,
            "address": config.address,
            "name": name,
            "role": role,
            "token": make_token(),
            "expires": expires,
            "coordinator": self._federation.load_identity().public.text,
            "authority": self._federation.tls.ca.read_text(encoding="ascii"),
        }
        invitation = parse(fields, Invitation, FederationError, "invitation")
        invited = {"role": role, "contact": contact, "token": hash_token(invitation.token), "expires": expires}
        with self._change():
            self._federation.open_invitations().add(name, parse(invited, Invited, FederationError, "invitation"))
        return invitation

    def receive(self, token: str, signed: SignedJoinRequest) -> Invited:
        """Take the request that came with a token; see :meth:`Invitations.receive`."""
        with self._change():
            return self._federation.open_invitations().receive(token, signed, self._clock())

    def list_requests(self) -> list[WaitingRequest]:
        """List who is invited and not admitted yet, and the request of each that has come."""
        now = self._clock()
        return [
            WaitingRequest(
                name=name,
                role=each.role,
                contact=each.contact,
                expires=each.expires,
                expired=each.request is None and now > each.expires,
                others=each.others,
                request=each.request,
            )
            for name, each in sorted(self._federation.open_invitations().read().items())
            if each.admission is None
        ]

    def admit(self, name: str, fingerprint: str) -> SignedAdmission:
        """Admit the invited ``name``, whose request has the fingerprint that two people have compared.

        Raises:
            FederationError: no request of it has come, or its fingerprint is another one.
        """
        with self._change():
            invitations = self._federation.open_invitations()
            invited = invitations.require_request(name)
            assert invited.request is not None
            expected = format_fingerprint(invited.request.statement)
            if normalise_fingerprint(fingerprint) != normalise_fingerprint(expected):
                raise FederationError(
                    f"the request of '{name}' has the fingerprint {expected}, not {fingerprint}: if the other person "
                    f"reads another one, the invitation is in other hands; remove it (consilium remove {name}) and "
                    "invite again"
                )
            admission = self._enrol(_require_valid(invited.request))
            invitations.add(name, invited.model_copy(update={"admission": admission}))
        return admission

    def remove(self, name: str) -> None:
        """Remove ``name`` and revoke its certificates; its invitation ends. Studies go on without it.

        Raises:
            FederationError: it is neither enrolled nor invited.
        """
        with self._change():
            self._remove(name)
        self._federation.write_gateway_files()

    def _remove(self, name: str) -> None:
        enrolment, invitations = self._federation.read_enrolment(), self._federation.open_invitations()
        member = enrolment.sites.get(name) or enrolment.people.get(name)
        if member is None and name not in invitations.read():
            known = ", ".join(sorted([*enrolment.sites, *enrolment.people])) or "none"
            raise FederationError(f"'{name}' is not enrolled; enrolled are: {known}")
        invitations.remove(name)
        if member is None:
            return
        now = self._clock()
        revoked = [RevokedCertificate(serial=serial, when=now) for serial in member.serials]
        node_keys = (member.node_key,) if isinstance(member, EnrolledSite) else ()
        self._federation.write_enrolment(
            Enrolment(
                sites={other: each for other, each in enrolment.sites.items() if other != name},
                people={other: each for other, each in enrolment.people.items() if other != name},
                revoked=(*enrolment.revoked, *revoked),
                removed_node_keys=(*enrolment.removed_node_keys, *node_keys),
            )
        )

    def _issue(self, role: Role, name: str, signing_request: str) -> Issued:
        subject = Subject(self._federation.config.federation, role, name)
        return issue_client_certificate(self._federation.tls, signing_request, subject, self._clock())

    def _require_free(self, request: JoinRequest, enrolment: Enrolment) -> None:
        """Refuse a request whose name is ours or has other keys, or whose keys have another name or were removed."""
        if request.name == LOCAL_OPERATOR:
            raise FederationError(_RESERVED)
        if request.node_key in enrolment.removed_node_keys:
            raise FederationError(
                f"the node key of '{request.name}' is that of a site that was removed, and is never accepted again: "
                "its people make another one with consilium-site key change, and ask again"
            )
        known: dict[str, EnrolledSite | EnrolledPerson] = {**enrolment.sites, **enrolment.people}
        mine = known.get(request.name)
        keys = {request.identity, request.node_key} - {None}
        if mine is not None and (mine.identity, getattr(mine, "node_key", None)) != (
            request.identity,
            request.node_key,
        ):
            raise FederationError(
                f"'{request.name}' is enrolled with other keys; if its people changed its key, run: "
                f"consilium remove {request.name}; a new installation takes another name"
            )
        for name, each in known.items():
            if name != request.name and keys & {each.identity, getattr(each, "node_key", None)}:
                raise FederationError(f"the keys of this request are enrolled as '{name}' already")


def _require_valid(signed: SignedJoinRequest) -> JoinRequest:
    """Verify a request's signature and the form of its keys; return it."""
    try:
        request = signed.verify(PublicKey.from_text(signed.statement.identity))
        request.require_node_key()
        read_signing_request(request.tls_request)
    except WireError as error:
        raise FederationError(f"the join request is damaged: {error}") from None
    return request


def _require_node_key(member: EnrolledSite, name: str, signing_request: str, proof: str | None) -> None:
    try:
        claim = NodeKeyClaim(name=name, identity=member.identity, tls_request=signing_request)
        claim.verify(member.node_key, proof)
    except (ValueError, WireError):
        raise FederationError(
            f"the certificate of '{name}' is renewed only for who holds the node key with which it is enrolled; start "
            "that site from its own folder, or have it removed and invited again"
        ) from None


def _add_member(enrolment: Enrolment, request: JoinRequest, issued: Issued, now: datetime.datetime) -> Enrolment:
    """Return the enrolment with the party of ``request``, and one more certificate of it."""
    known = enrolment.find(request.role, request.name)
    fields: dict[str, Any] = {
        "identity": request.identity,
        "contact": request.contact,
        "serials": {} if known is None else known.serials,
    }
    if request.role is Role.SITE:
        assert request.node_key is not None
        site = EnrolledSite(node_key=request.node_key, **fields)
        enrolment = enrolment.model_copy(update={"sites": {**enrolment.sites, request.name: site}})
    else:
        assert request.role in (Role.OPERATOR, Role.AUDITOR)
        person = EnrolledPerson(role=request.role, **fields)
        enrolment = enrolment.model_copy(update={"people": {**enrolment.people, request.name: person}})
    return _add_certificate(enrolment, request.role, request.name, issued, now)


def _add_certificate(
    enrolment: Enrolment, role: Role, name: str, issued: Issued, now: datetime.datetime
) -> Enrolment:
    """Return the enrolment with one more certificate of ``name``, and without those that have run out."""
    where = "sites" if role is Role.SITE else "people"
    members = getattr(enrolment, where)
    valid = {serial: ends for serial, ends in members[name].serials.items() if ends >= now}
    update = {"serials": {**valid, issued.serial: issued.ends}, "newest": issued.pem}
    return enrolment.model_copy(update={where: {**members, name: members[name].model_copy(update=update)}})
