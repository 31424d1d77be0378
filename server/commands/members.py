"""``consilium invite``, ``requests``, ``admit``, ``remove`` and ``join``: who belongs to the federation.

At the coordinator's own machine they work in the federation's folder, whether the coordinator runs or not; a running
one follows within a second. With a profile they call the coordinator.
"""

import getpass
import hashlib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from privacy.client_certificate import Role
from privacy.command_line import print_json, print_table, say
from privacy.errors import Error, FederationError
from privacy.keys import PublicKey
from server.commands.connect import connect_to_coordinator, require_federation
from server.federation.folder import Federation

if TYPE_CHECKING:
    from server.federation.profile import Profile

_ROLES = click.Choice([Role.SITE.value, Role.OPERATOR.value, Role.AUDITOR.value])
_READ_IT_OUT = "read it to the other person on the telephone, or let them read it to you; it must be the same"


@click.command()
@click.argument("name")
@click.option("--contact", required=True, help="Whom to call about it: a name, a number.")
@click.option("--role", type=_ROLES, default=Role.SITE.value, show_default=True)
@click.option(
    "--hours", type=click.IntRange(1, 720), default=168, show_default=True, help="How long it can be used."
)
@click.pass_obj
def invite(place: "Federation | Profile", name: str, contact: str, role: str, hours: int) -> None:
    """Print an invitation for NAME, to be used once: a site, an operator or an auditor."""
    if isinstance(place, Federation):
        from server.federation.members import Members

        with _record_locally(place, "Invite", name):
            text = Members(place).invite(name, Role(role), contact, hours).to_text()
    else:
        call = connect_to_coordinator(place).call
        text = call("Invite", name=name, role=role, contact=contact, hours=hours)["invitation"]
    click.echo(text)
    program = "consilium-site" if role == Role.SITE else "consilium"
    say(f"hand this to the people of '{name}'; whoever has it can ask to be '{name}' once, within {hours} hours")
    say(f"there: {program} join INVITATION; then you: consilium admit {name}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def requests(place: "Federation | Profile", as_json: bool) -> None:
    """Who is invited, and whose request waits for you."""
    found = _list_requests(place)
    if as_json:
        print_json({"requests": found})
        return
    print_table(
        ("name", "role", "", "fingerprint", "contact"),
        [
            (each["name"], each["role"], _describe(each), each["fingerprint"] or "-", each["contact"])
            for each in found
        ],
        {place for place, each in enumerate(found) if each["others"]},
    )


@click.command()
@click.argument("who", metavar="NAME|REQUEST")
@click.option("--fingerprint", help="What the other person reads out; without it you are shown it and asked.")
@click.option("--out", type=click.Path(path_type=Path), help="For a request in a file: write the admission here.")
@click.pass_obj
def admit(place: "Federation | Profile", who: str, fingerprint: str | None, out: Path | None) -> None:
    """Admit NAME, whose request came with an invitation, or the party whose request is in the file REQUEST.

    For a request in a file, compare the key that is printed with the one that its people see (consilium-site status).
    """
    if out is not None:
        _admit_file(require_federation(place, "to admit a request in a file"), Path(who), out)
        return
    if Path(who).is_file():
        raise FederationError(f"{who} is a file: say where its admission goes, with --out FILE")
    waiting = next((each for each in _list_requests(place) if each["name"] == who), None)
    if waiting is None or waiting["fingerprint"] is None:
        raise FederationError(
            f"no request of '{who}' waits; see: consilium requests"
            + ("" if waiting is None else f" ('{who}' is invited, its people have not run 'join' yet)")
        )
    if fingerprint is None:
        fingerprint = _compare_aloud(waiting)
    if isinstance(place, Federation):
        from server.federation.members import Members

        with _record_locally(place, "Admit", who):
            Members(place).admit(who, fingerprint)
    else:
        connect_to_coordinator(place).call("Admit", name=who, fingerprint=fingerprint)
    say(f"'{who}' is admitted; it collects its certificate by itself")


@click.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def remove(place: "Federation | Profile", name: str, yes: bool) -> None:
    """Remove NAME at once: its certificates are revoked, its connection ends, studies go on without it.

    Also ends an invitation. To enrol it again it needs new keys: for a site, after 'consilium-site key change'.
    """
    if not yes and sys.stdin.isatty():
        click.confirm(
            f"'{name}' is shut out at once, and its studies go on without it. Remove it?", abort=True, err=True
        )
    if isinstance(place, Federation):
        from server.federation.members import Members

        with _record_locally(place, "Remove", name):
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
    from privacy.protocol.invitation import read_invitation
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
def _record_locally(federation: Federation, call: str, about: str) -> Iterator[None]:
    """Write a change that the block makes in the folder into the audit log, before and after it."""
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


def _admit_file(federation: Federation, request: Path, out: Path) -> None:
    from privacy.protocol.enrolment import SignedJoinRequest, read_enrolment
    from server.federation.members import Members

    signed = read_enrolment(request, SignedJoinRequest, FederationError)
    with _record_locally(federation, "Admit", signed.statement.name):
        admission = Members(federation).enrol(signed)
    try:
        out.write_bytes(admission.to_bytes() + b"\n")
    except OSError as error:
        raise FederationError(f"{out}: cannot be written: {error.strerror}") from None
    say(f"enrolled '{admission.statement.name}'; hand {out} back to it. Its identity key:")
    click.echo(PublicKey.from_text(admission.statement.identity).typed)


def _list_requests(place: "Federation | Profile") -> list[dict[str, Any]]:
    if isinstance(place, Federation):
        from server.federation.members import Members

        _ = place.config
        return Members(place).list_requests()
    found: list[dict[str, Any]] = connect_to_coordinator(place).call("ListRequests")["items"]
    return found


def _describe(request: dict[str, Any]) -> str:
    if request["others"]:
        return "SOMEBODY ELSE used the same invitation too"
    if request["fingerprint"]:
        return "waits for you"
    return "ran out" if request["expired"] else "invited"


def _compare_aloud(request: dict[str, Any]) -> str:
    say(f"'{request['name']}' ({request['role']}); you invited: {request['contact']}")
    say(f"its request says: {request['their_contact'] or 'no contact'}; its fingerprint, {_READ_IT_OUT}:")
    click.echo(request["fingerprint"])
    if request["others"]:
        say("SOMEBODY ELSE has used the same invitation: be sure that you speak with the right people")
    if not sys.stdin.isatty():
        raise FederationError("nobody is here to compare it; give what the other person reads with --fingerprint")
    click.confirm("Is it the same?", abort=True, err=True)
    return str(request["fingerprint"])
