"""``consilium-site join``: join a coordinator, with an invitation or by two files."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from privacy.command_line import say
from privacy.errors import SiteConfigError

if TYPE_CHECKING:
    from client.site.folder import SiteFolder
    from privacy.protocol.invitation import Invitation


@click.command()
@click.argument("invitation", required=False)
@click.option("--contact", default="", help="Whom to call about this site: a name, a number.")
@click.option("--wait", "wait_s", type=click.IntRange(0, 86400), default=600, show_default=True, help="Seconds.")
@click.option("--request", type=click.Path(path_type=Path), help="By files: write the join request to this file.")
@click.option("--admission", type=click.Path(path_type=Path), help="By files: take in the coordinator's answer.")
@click.pass_obj
def join(
    home: SiteFolder,
    invitation: str | None,
    contact: str,
    wait_s: int,
    request: Path | None,
    admission: Path | None,
) -> None:
    """Join a coordinator with its INVITATION (its text, a file, or -), or by two files. Keys never leave the site.

    With - the text is read from standard input: other users of this machine see what is on the command line.

    With an invitation the site is made in --dir, if there is none yet. Interrupted, run it again without INVITATION.
    """
    from privacy.keys import PublicKey
    from privacy.protocol.enrolment import SignedAdmission, read_enrolment

    if sum(each is not None for each in (invitation, request, admission)) > 1:
        raise click.UsageError("give one of INVITATION, --request FILE and --admission FILE")
    if request is not None:
        _write_new_file(request, home.make_join_request(contact).to_bytes() + b"\n")
        say(f"wrote {request}; it contains public keys only; hand it to the coordinator's operator")
    elif admission is not None:
        statement = home.accept_admission(read_enrolment(admission, SignedAdmission, SiteConfigError))
        say(f"joined '{statement.federation}' at {statement.address}")
        say("compare the coordinator's identity key with its operator before you start:")
        click.echo(PublicKey.from_text(statement.coordinator).typed)
    else:
        _join_with(home, _take_invitation(home, invitation), contact, wait_s)


def _join_with(home: SiteFolder, invitation: Invitation, contact: str, wait_s: int) -> None:
    from client.site.proxy import use_proxy
    from privacy.control.joining import collect_admission, deliver_request
    from privacy.protocol.enrolment import format_fingerprint

    use_proxy(home.config.proxy)
    signed = home.make_invited_request(contact, invitation)
    received = deliver_request(invitation, signed)
    own = format_fingerprint(signed.statement)
    say("the fingerprint of this site's request; read it to the coordinator's operator on the telephone:")
    click.echo(own)
    if own != received:
        raise SiteConfigError(
            f"the coordinator has another request of '{invitation.name}' ({received}): somebody else has the "
            "invitation; tell the operator, and ask for a new one"
        )
    say(f"waiting for the operator of '{invitation.federation}' to admit it (Ctrl-C is harmless)")
    admission = collect_admission(invitation, signed.statement, wait_s, SiteConfigError, say)
    if admission is None:
        say("not admitted yet; continue later with: consilium-site join")
        return
    statement = home.accept_admission(admission)
    say(f"joined '{statement.federation}' at {statement.address}; next: consilium-site check")


def _take_invitation(home: SiteFolder, given: str | None) -> Invitation:
    """Return the invitation that is given or was given before; make the site and store the invitation first."""
    from client.site.folder import SITE_FILE, SiteFolder
    from privacy.control.joining import require_valid
    from privacy.document import read_document
    from privacy.files import replace_file
    from privacy.protocol.invitation import Invitation, read_invitation

    if given is None:
        if not home.invitation_path.exists():
            raise click.UsageError(
                "give the INVITATION that the coordinator's operator has sent, or --request FILE"
            )
        return read_document(home.invitation_path, Invitation, SiteConfigError, "ask for another one")
    invitation = read_invitation(given, SiteConfigError)
    require_valid(invitation, datetime.datetime.now(datetime.UTC), SiteConfigError)
    if not (home.folder / SITE_FILE).exists():
        SiteFolder.create(home.folder, invitation.name)
        say(
            f"made the site '{invitation.name}' in {home.folder}; its identity key, for other hospitals to compare:"
        )
        say(home.load_identity().public.typed)
    if invitation.name != home.config.name:
        raise SiteConfigError(
            f"the invitation is for '{invitation.name}', the site in {home.folder} is '{home.config.name}'; name "
            "another folder with --dir"
        )
    replace_file(home.invitation_path, invitation.to_bytes(), SiteConfigError)
    return invitation


def _write_new_file(path: Path, data: bytes) -> None:
    try:
        with path.open("xb") as file:
            file.write(data)
    except OSError as error:
        raise SiteConfigError(f"{path}: cannot be written: {error.strerror}") from None
