"""Invite, admit, renew and remove the members of a federation: sites, operators, auditors.

* A member is enrolled by its join request, which a person has admitted: after an invitation and two people who have
  read the request's fingerprint to each other, or from a file whose origin people have checked.
* To be removed takes effect at once: the certificates are revoked (for the gateway and for the control plane), and
  the coordinator takes the node away from the SuperLink.
* A member's later certificates do not end the earlier ones, which run out by themselves.
"""

import contextlib
import datetime
from collections.abc import Iterator
from typing import Any

from privacy.client_certificate import Role, Subject, read_signing_request
from privacy.document import parse
from privacy.errors import FederationError, WireError
from privacy.files import hold_lock
from privacy.keys import PublicKey, convert_node_key_to_pem
from privacy.protocol.enrolment import (
    Admission,
    JoinRequest,
    SignedAdmission,
    SignedJoinRequest,
    format_fingerprint,
    normalise_fingerprint,
)
from privacy.protocol.invitation import Invitation, hash_token, make_token
from server.federation.client_certificates import Issued, RevokedCertificate, issue_client_certificate
from server.federation.config import CONFIG_FILE, EnrolledPerson, EnrolledSite, Enrolment
from server.federation.folder import Federation
from server.federation.invitations import Invited


class Members:
    """The members of ``federation``."""

    def __init__(self, federation: Federation) -> None:
        self._federation = federation

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
        try:
            request = signed.verify(PublicKey.from_text(signed.statement.identity))
            if request.node_key is not None:
                convert_node_key_to_pem(request.node_key)
            read_signing_request(request.tls_request)
        except WireError as error:
            raise FederationError(f"the join request is damaged: {error}") from None
        with self._change():
            return self._enrol(request)

    def _enrol(self, request: JoinRequest) -> SignedAdmission:
        federation = self._federation
        config, identity, enrolment = federation.config, federation.load_identity(), federation.read_enrolment()
        if request.coordinator not in (None, identity.public.text):
            raise FederationError(
                f"'{request.name}' answers an invitation that names another coordinator's key: somebody changed the "
                "invitation on its way; invite it again, over another channel"
            )
        self._require_free(request, enrolment)
        issued = self._issue(request.role, request.name, request.tls_request)
        federation.write_enrolment(_add_member(enrolment, request, issued.serial))
        return SignedAdmission.sign(
            identity,
            Admission(
                federation=config.federation,
                name=request.name,
                role=request.role,
                identity=request.identity,
                coordinator=identity.public.text,
                address=config.address,
                ca_certificate=federation.tls.ca.read_text(encoding="ascii"),
                certificate=issued.pem,
                contact=config.contact,
            ),
        )

    def renew_member(self, role: Role, name: str, signing_request: str) -> str:
        """Issue a further certificate for who is enrolled as ``name``; return it as PEM.

        Raises:
            FederationError: nobody is enrolled so.
            WireError: the signing request is damaged.
        """
        with self._change():
            enrolment = self._federation.read_enrolment()
            member = enrolment.find(role, name)
            if member is None:
                raise FederationError(f"no {role} '{name}' is enrolled")
            issued = self._issue(role, name, signing_request)
            self._federation.write_enrolment(_add_serial(enrolment, role, name, issued.serial))
        return issued.pem

    def invite(self, name: str, role: Role, contact: str, hours: int) -> Invitation:
        """Invite ``name``; return the invitation, whose token is stored as a digest only.

        Raises:
            FederationError: somebody is enrolled under this name already, or sites cannot reach this coordinator.
        """
        config, enrolment = self._federation.config, self._federation.read_enrolment()
        if name in enrolment.sites or name in enrolment.people:
            raise FederationError(
                f"'{name}' is enrolled already; to enrol it with other keys, remove it first: consilium remove {name}"
            )
        if not config.behind_gateway:
            raise FederationError(
                "this coordinator is reached by its own machine only, and an invitation would lead nowhere; set "
                f"control_port and host in {CONFIG_FILE} (docs/deployment.md), or exchange files (consilium admit)"
            )
        expires = datetime.datetime.now(datetime.UTC).replace(microsecond=0) + datetime.timedelta(hours=hours)
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
            return self._federation.open_invitations().receive(token, signed, datetime.datetime.now(datetime.UTC))

    def list_requests(self) -> list[dict[str, Any]]:
        """List who is invited and not admitted yet, and the request of each that has come."""
        now = datetime.datetime.now(datetime.UTC)
        items: list[dict[str, Any]] = []
        for name, each in sorted(self._federation.open_invitations().read().items()):
            if each.admission is None:
                request = None if each.request is None else each.request.statement
                items.append(
                    {
                        "name": name,
                        "role": each.role,
                        "contact": each.contact,
                        "expires": each.expires.isoformat(),
                        "expired": request is None and now > each.expires,
                        "fingerprint": None if request is None else format_fingerprint(request),
                        "their_contact": None if request is None else request.contact,
                        "others": each.others,
                    }
                )
        return items

    def admit(self, name: str, fingerprint: str) -> SignedAdmission:
        """Admit the invited ``name``, whose request has the fingerprint that two people have compared.

        Raises:
            FederationError: no request of it has come, or its fingerprint is another one.
        """
        invited = self._federation.open_invitations().require_request(name)
        assert invited.request is not None
        expected = format_fingerprint(invited.request.statement)
        if normalise_fingerprint(fingerprint) != normalise_fingerprint(expected):
            raise FederationError(
                f"the request of '{name}' has the fingerprint {expected}, not {fingerprint}: if the other person reads "
                f"another one, the invitation is in other hands; remove it (consilium remove {name}) and invite again"
            )
        admission = self.enrol(invited.request)
        with self._change():
            admitted = invited.model_copy(update={"admission": admission})
            self._federation.open_invitations().add(name, admitted)
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
        now = datetime.datetime.now(datetime.UTC)
        revoked = [RevokedCertificate(serial=serial, when=now) for serial in member.serials]
        self._federation.write_enrolment(
            Enrolment(
                sites={other: each for other, each in enrolment.sites.items() if other != name},
                people={other: each for other, each in enrolment.people.items() if other != name},
                revoked=(*enrolment.revoked, *revoked),
            )
        )

    def _issue(self, role: Role, name: str, signing_request: str) -> Issued:
        subject = Subject(self._federation.config.federation, role, name)
        return issue_client_certificate(
            self._federation.tls, signing_request, subject, datetime.datetime.now(datetime.UTC)
        )

    def _require_free(self, request: JoinRequest, enrolment: Enrolment) -> None:
        """Refuse a request whose name has other keys here, or whose keys have another name."""
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


def _add_member(enrolment: Enrolment, request: JoinRequest, serial: str) -> Enrolment:
    """Return the enrolment with the party of ``request``, and one more certificate of it."""
    if request.role is Role.SITE:
        assert request.node_key is not None
        known = enrolment.sites.get(request.name)
        site = EnrolledSite(
            identity=request.identity,
            node_key=request.node_key,
            contact=request.contact,
            serials=(*(known.serials if known else ()), serial),
        )
        return enrolment.model_copy(update={"sites": {**enrolment.sites, request.name: site}})
    assert request.role in (Role.OPERATOR, Role.AUDITOR)
    earlier = enrolment.people.get(request.name)
    person = EnrolledPerson(
        role=request.role,
        identity=request.identity,
        contact=request.contact,
        serials=(*(earlier.serials if earlier else ()), serial),
    )
    return enrolment.model_copy(update={"people": {**enrolment.people, request.name: person}})


def _add_serial(enrolment: Enrolment, role: Role, name: str, serial: str) -> Enrolment:
    """Return the enrolment with one more certificate of ``name``."""
    where = "sites" if role is Role.SITE else "people"
    members = getattr(enrolment, where)
    member = members[name].model_copy(update={"serials": (*members[name].serials, serial)})
    return enrolment.model_copy(update={where: {**members, name: member}})
