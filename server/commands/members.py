"""``consilium invite``, ``requests``, ``admit``, ``remove`` and ``join``: who belongs to the federation.

At the coordinator's own machine they work in the federation's folder, whether the coordinator runs or not; a running
one follows within a second. With a profile they call the coordinator.
"""

from __future__ import annotations

import getpass
import hashlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from privacy.command_line import print_json, print_table, say
from privacy.errors import Error, FederationError

if TYPE_CHECKING:
    from privacy.client_certificate import Role
    from server.federation.folder import Federation
    from server.federation.invitations import WaitingRequest
    from server.federation.profile import Profile

_ROLES: Final = (
    "site",
    "operator",
    "auditor",
)  # words of privacy.client_certificate.Role, which help need not import
_READ_IT_OUT = "read it to the other person on the telephone, or let them read it to you; it must be the same"


@click.command()
@click.argument("name")
@click.option("--contact", required=True, help="Whom to call about it: a name, a number.")
@click.option("--role", type=click.Choice(_ROLES), default=_ROLES[0], show_default=True)
@click.option(
    "--hours", type=click.IntRange(1, 720), default=168, show_default=True, help="How long it can be used."
)
@click.pass_obj
def invite(place: Federation | Profile, name: str, contact: str, role: str, hours: int) -> None:
    """Print an invitation for NAME, to be used once: a site, an operator or an auditor."""
    from privacy.client_certificate import Role
    from server.commands.connect import connect_to_coordinator
    from server.federation.folder import Federation

    if isinstance(place, Federation):
        from server.federation.members import Members

        with record_locally(place, "Invite", name):
            text = Members(place).invite(name, Role(role), contact, hours).to_text()
    else:
        from server.federation.relayed_answers import require_own_invitation

        call = connect_to_coordinator(place).call
        text = call("Invite", name=name, role=role, contact=contact, hours=hours)["invitation"]
        require_own_invitation(text, name, Role(role), place.load_admission())
    click.echo(text)
    program = "consilium-site" if role == Role.SITE else "consilium"
    say(f"hand this to the people of '{name}'; whoever has it can ask to be '{name}' once, within {hours} hours")
    say(f"there: {program} join INVITATION; then you: consilium admit {name}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def requests(place: Federation | Profile, as_json: bool) -> None:
    """Who is invited, and whose request waits for you."""
    found = [(each, _find_refusal(place, each)) for each in _list_requests(place)]
    if as_json:
        print_json({"requests": [_to_document(each, refusal) for each, refusal in found]})
        return
    print_table(
        ("name", "role", "", "fingerprint", "contact"),
        [(each.name, each.role, _describe(each, no), each.fingerprint or "-", each.contact) for each, no in found],
        {row for row, (each, refusal) in enumerate(found) if each.others or refusal},
    )


@click.command()
@click.argument("who", metavar="NAME|REQUEST")
@click.option("--fingerprint", help="What the other person reads out; without it you are shown it and asked.")
@click.option("--out", type=click.Path(path_type=Path), help="For a request in a file: write the admission here.")
@click.option(
    "--role",
    type=click.Choice(_ROLES),
    default=_ROLES[0],
    show_default=True,
    help="What a request in a file must be for.",
)
@click.option("--yes", is_flag=True, help="For a request in a file: its key was compared; do not ask.")
@click.pass_obj
def admit(
    place: Federation | Profile, who: str, fingerprint: str | None, out: Path | None, role: str, yes: bool
) -> None:
    """Admit NAME, whose request came with an invitation, or the party whose request is in the file REQUEST.

    For a request in a file you are shown its role, name, contact and key; compare the key with the one that its people
    see (consilium-site status).
    """
    from privacy.client_certificate import Role
    from server.commands.connect import connect_to_coordinator, require_federation
    from server.federation.folder import Federation

    if out is not None:
        _admit_file(require_federation(place, "to admit a request in a file"), Path(who), out, Role(role), yes)
        return
    if Path(who).is_file():
        raise FederationError(f"{who} is a file: say where its admission goes, with --out FILE")
    waiting = next((each for each in _list_requests(place) if each.name == who), None)
    if waiting is None or waiting.request is None:
        raise FederationError(
            f"no request of '{who}' waits; see: consilium requests"
            + ("" if waiting is None else f" ('{who}' is invited, its people have not run 'join' yet)")
        )
    if refusal := _find_refusal(place, waiting):
        raise FederationError(refusal)
    if fingerprint is None:
        fingerprint = _compare_aloud(waiting)
    if isinstance(place, Federation):
        from server.federation.members import Members

        with record_locally(place, "Admit", who):
            Members(place).admit(who, fingerprint)
    else:
        from server.federation.relayed_answers import require_own_admission

        answered = connect_to_coordinator(place).call("Admit", name=who, fingerprint=fingerprint)["admission"]
        require_own_admission(answered, waiting.request.statement, place.load_admission())
    say(f"'{who}' is admitted; it collects its certificate by itself")


@click.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def remove(place: Federation | Profile, name: str, yes: bool) -> None:
    """Remove NAME at once: its certificates are revoked, its connection ends, studies go on without it.

    Also ends an invitation. To enrol it again it needs new keys: for a site, after 'consilium-site key change'.
    """
    from server.commands.connect import connect_to_coordinator
    from server.federation.folder import Federation

    if not yes and sys.stdin.isatty():
        click.confirm(
            f"'{name}' is shut out at once, and its studies go on without it. Remove it?", abort=True, err=True
        )
    if isinstance(place, Federation):
        from server.federation.members import Members

        with record_locally(place, "Remove", name):
            Members(place).remove(name)
    else:
        connect_to_coordinator(place).call("Remove", name=name)
    say(f"'{name}' is removed")


@click.command()
@click.argument("invitation", required=False)
@click.option("--contact", default="", help="Whom to call about this installation.")
@click.option("--wait", "wait_s", type=click.IntRange(0, 86400), default=600, show_default=True, help="Seconds.")
@click.pass_context
def join(context: click.Context, invitation: str | None, contact: str, wait_s: int) -> None:
    """Make a profile in --dir from an operator's or auditor's INVITATION (its text, or a file of it).

    Interrupted, run it again without INVITATION.
    """
    from privacy.client_certificate import Role
    from privacy.protocol.invitation import read_invitation
    from server.federation.folder import Federation
    from server.federation.profile import Profile

    place = context.obj
    if invitation is not None:
        parsed = read_invitation(invitation, FederationError)
        if parsed.role is Role.SITE:
            raise FederationError("this invitation is for a site; use it there: consilium-site join INVITATION")
        place = Profile.create(place.folder, parsed)
    if isinstance(place, Federation):
        raise FederationError(f"{place.folder}: no profile here; give the invitation: consilium join INVITATION")
    if not place.has_joined:
        own, received = place.deliver(contact)
        say(f"your fingerprint; {_READ_IT_OUT}:")
        click.echo(own)
        if own != received:
            raise FederationError(
                f"the coordinator received another request ({received}); ask for a new invitation"
            )
        if not place.collect(wait_s, say):
            say("not admitted yet; continue later with: consilium join")
            return
    admission = place.load_admission()
    say(f"joined '{admission.federation}' as the {admission.role} '{admission.name}'")


@contextmanager
def record_locally(federation: Federation, call: str, about: str) -> Iterator[None]:
    """Write a change that the block makes in the folder into the audit log, before and after it."""
    from privacy.client_certificate import Role

    log = federation.open_audit_log()

    def record(outcome: str) -> None:
        log.append(
            time=time.time(),
            role=Role.OPERATOR,
            name="local",
            account=getpass.getuser(),
            call=call,
            about=about,
            request=hashlib.sha256(f"{call} {about}".encode()).hexdigest(),
            outcome=outcome[:500],
            order="",
        )

    _ = federation.config  # raises if the folder is not a federation's
    record("asked")
    try:
        yield
    except Error as error:
        record(f"refused: {error}")
        raise
    record("done")


def _admit_file(federation: Federation, request: Path, out: Path, role: Role, yes: bool) -> None:
    from privacy.keys import PublicKey
    from privacy.protocol.enrolment import SignedJoinRequest, read_enrolment
    from server.federation.members import Members

    signed = read_enrolment(request, SignedJoinRequest, FederationError)
    asked = signed.statement
    if asked.role is not role:
        raise FederationError(
            f"{request}: expected the request of a {role}, got that of the {asked.role} '{asked.name}'; if you mean "
            f"it, say so with --role {asked.role}"
        )
    say(f"{request}: the {asked.role} '{asked.name}'; its request says: {asked.contact or 'no contact'}; its key:")
    say(PublicKey.from_text(asked.identity).typed)
    if not yes:
        if not sys.stdin.isatty():
            raise FederationError("nobody is here to compare the key; once it was compared, say so with --yes")
        click.confirm("Do its people see the same key, and may it be that?", abort=True, err=True)
    with record_locally(federation, "Admit", signed.statement.name):
        admission = Members(federation).enrol(signed)
    try:
        out.write_bytes(admission.to_bytes() + b"\n")
    except OSError as error:
        raise FederationError(f"{out}: cannot be written: {error.strerror}") from None
    say(f"enrolled '{admission.statement.name}'; hand {out} back to it. Its identity key:")
    click.echo(PublicKey.from_text(admission.statement.identity).typed)


def _list_requests(place: Federation | Profile) -> list[WaitingRequest]:
    from server.commands.connect import connect_to_coordinator
    from server.federation.folder import Federation

    if isinstance(place, Federation):
        from server.federation.members import Members

        _ = place.config
        return Members(place).list_requests()
    from privacy.document import parse
    from server.federation.invitations import WaitingRequest

    answered = connect_to_coordinator(place).call("ListRequests")["items"]
    if not isinstance(answered, list):
        raise FederationError("the coordinator answered something else than a list of requests; ask its operator")
    return [parse(each, WaitingRequest, FederationError, "a request that came") for each in answered]


def _find_refusal(place: Federation | Profile, waiting: WaitingRequest) -> str | None:
    """Say why a request that came through the gateway cannot be admitted; None if it can, or none has come."""
    from server.federation.folder import Federation

    if isinstance(place, Federation) or waiting.request is None:
        return None
    from server.federation.relayed_answers import require_own_request

    try:
        require_own_request(waiting, place.load_admission())
    except FederationError as error:
        return str(error)
    return None


def _to_document(waiting: WaitingRequest, refusal: str | None) -> dict[str, Any]:
    request = None if waiting.request is None else waiting.request.statement
    return {
        **waiting.model_dump(mode="json", exclude={"request"}),
        "fingerprint": waiting.fingerprint,
        "their_contact": None if request is None else request.contact,
        "refusal": refusal,
    }


def _describe(waiting: WaitingRequest, refusal: str | None) -> str:
    if refusal is not None:
        return "NOT of this coordinator: do not admit"
    if waiting.others:
        return "SOMEBODY ELSE used the same invitation too"
    if waiting.request is not None:
        return "waits for you"
    return "ran out" if waiting.expired else "invited"


def _compare_aloud(waiting: WaitingRequest) -> str:
    assert waiting.request is not None
    assert waiting.fingerprint is not None
    say(f"'{waiting.name}' ({waiting.role}); you invited: {waiting.contact}")
    theirs = waiting.request.statement.contact or "no contact"
    say(f"its request says: {theirs}; its fingerprint, {_READ_IT_OUT}:")
    click.echo(waiting.fingerprint)
    if waiting.others:
        say("SOMEBODY ELSE has used the same invitation: be sure that you speak with the right people")
    if not sys.stdin.isatty():
        raise FederationError("nobody is here to compare it; give what the other person reads with --fingerprint")
    click.confirm("Is it the same?", abort=True, err=True)
    return waiting.fingerprint
