"""Answer the calls about members: join, admit, remove, renew; and the exports for auditors."""

from collections.abc import Iterator
from typing import Final

from privacy.client_certificate import Role
from privacy.document import parse
from privacy.errors import FederationError, SuperLinkError, WireError
from privacy.keys import PublicKey
from privacy.protocol.enrolment import SignedJoinRequest, format_fingerprint
from server.control.caller import Caller
from server.control.server import Fields, Handler, Streamer
from server.federation.folder import Federation
from server.federation.members import Members
from server.federation.testimony import format_federation_testimony
from server.superlink.process import SuperLink

MOST_HOURS: Final = 30 * 24
_CHUNK_BYTES: Final = 1 << 20


class Membership:
    """The calls about the members of ``federation``."""

    def __init__(self, federation: Federation, superlink: SuperLink) -> None:
        self._federation = federation
        self._members = Members(federation)
        self._superlink = superlink

    @property
    def handlers(self) -> dict[str, Handler]:
        """The calls with one answer, by name."""
        return {
            "Join": self._join,
            "Collect": self._collect,
            "Renew": self._renew,
            "ListSites": self._list_sites,
            "Invite": self._invite,
            "ListRequests": self._list_requests,
            "Admit": self._admit,
            "Remove": self._remove,
            "ExportHead": self._export_head,
        }

    @property
    def streamers(self) -> dict[str, Streamer]:
        """The calls with a stream of answers, by name."""
        return {"ExportTestimony": self._export_testimony, "ReadLog": self._read_log}

    def _join(self, fields: Fields, _: Caller) -> Fields:
        signed = parse(fields["request"], SignedJoinRequest, WireError, "request")
        invited = self._members.receive(fields["token"], signed)
        assert invited.request is not None
        return {"fingerprint": format_fingerprint(invited.request.statement)}

    def _collect(self, fields: Fields, _: Caller) -> Fields:
        admission = self._federation.open_invitations().collect(fields["token"]).admission
        if admission is None:
            return {"state": "waiting"}
        return {"state": "admitted", "admission": admission.model_dump(mode="json")}

    def _renew(self, fields: Fields, caller: Caller) -> Fields:
        assert caller.role is not None
        if caller.is_local:
            raise FederationError("the operator at this machine has no certificate to renew")
        request, proof = fields["signing_request"], fields["node_proof"]
        return {"certificate": self._members.renew_member(caller.role, caller.name, request, proof or None)}

    def _list_sites(self, _: Fields, __: Caller) -> Fields:
        nodes = self._federation.read_nodes()
        try:
            online = self._superlink.control.list_nodes()
        except SuperLinkError:  # it is restarting
            online = {}
        programs = self._federation.read_programs()
        return {
            "items": [
                {
                    "name": name,
                    "program": programs[name].short if name in programs else None,
                    "online": online.get(nodes.get(name, -1), False),
                    "identity": PublicKey.from_text(site.identity).typed,
                    "contact": site.contact,
                }
                for name, site in sorted(self._federation.read_sites().items())
            ]
        }

    def _invite(self, fields: Fields, _: Caller) -> Fields:
        if fields["role"] not in {Role.SITE, Role.OPERATOR, Role.AUDITOR}:
            raise FederationError(f"role: expected site, operator or auditor, got '{fields['role']}'")
        if not 1 <= fields["hours"] <= MOST_HOURS:
            raise FederationError(f"an invitation is for 1 to {MOST_HOURS} hours, got {fields['hours']}")
        invitation = self._members.invite(fields["name"], Role(fields["role"]), fields["contact"], fields["hours"])
        return {"invitation": invitation.to_text()}

    def _list_requests(self, _: Fields, __: Caller) -> Fields:
        return {"items": [each.model_dump(mode="json") for each in self._members.list_requests()]}

    def _admit(self, fields: Fields, _: Caller) -> Fields:
        admission = self._members.admit(fields["name"], fields["fingerprint"])
        return {"admission": admission.model_dump(mode="json")}

    def _remove(self, fields: Fields, _: Caller) -> Fields:
        self._members.remove(fields["name"])
        return {}

    def _export_head(self, fields: Fields, _: Caller) -> Fields:
        newest = self._federation.open_witness().read_newest_head(fields["site"])
        if newest is None:
            known = ", ".join(sorted(self._federation.read_sites())) or "none"
            raise FederationError(f"no head of a ledger of '{fields['site']}' was seen; enrolled sites: {known}")
        return {"document": newest.model_dump(mode="json")}

    def _export_testimony(self, _: Fields, __: Caller) -> Iterator[Fields]:
        waiting = bytearray()
        for line in format_federation_testimony(self._federation):
            waiting += line
            while len(waiting) >= _CHUNK_BYTES:
                yield {"data": bytes(waiting[:_CHUNK_BYTES])}
                del waiting[:_CHUNK_BYTES]
        yield {"data": bytes(waiting)}

    def _read_log(self, fields: Fields, _: Caller) -> Iterator[Fields]:
        for entry in self._federation.open_audit_log().read(after=fields["after"]):
            yield {"document": {**entry.model_dump(mode="json"), "hash": entry.digest}}
