"""``consilium invite``, ``requests`` and ``admit``: from a file, and through a gateway that cannot be trusted.

The gateway of these tests is whoever took over the real one: it has the gateway's key and certificate, answers the
operator's calls itself, and has a coordinator of its own.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from client.site.folder import SiteFolder
from privacy.client_certificate import CredentialFiles, Role, Subject
from privacy.errors import Error, FederationError
from privacy.keys import SigningKey
from privacy.protocol.enrolment import JoinRequest, SignedJoinRequest, format_fingerprint
from privacy.protocol.invitation import Invitation
from server.commands.members import admit, invite, requests
from server.control.membership import Membership
from server.control.server import ControlServer, Handler
from server.federation.config import CoordinatorConfig
from server.federation.folder import Federation
from server.federation.members import Members
from server.federation.profile import Profile
from server.superlink.process import SuperLink, find_free_port


def run(command: object, place: object, *arguments: str) -> Result:
    done = CliRunner().invoke(command, list(arguments), obj=place)  # type: ignore[arg-type]
    if isinstance(done.exception, Error):
        raise done.exception
    return done


# From a file -----------------------------------------------------------------------------------------------


def write_request(folder: Path, name: str, role: Role) -> tuple[Path, str]:
    """Write a request with which somebody without an invitation asks to be ``name``; also its key."""
    folder.mkdir()
    key = SigningKey.generate()
    request = JoinRequest(
        name=name,
        role=role,
        identity=key.public.text,
        tls_request=CredentialFiles(folder).make_request(name),
        contact="North hospital",
    )
    path = folder / "request.json"
    path.write_bytes(SignedJoinRequest.sign(key, request).to_bytes())
    return path, key.public.typed


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    return Federation.create(tmp_path / "f", CoordinatorConfig(federation="wood", host="127.0.0.1", port=9092))


def test_request_in_a_file_for_another_role_than_a_sites_is_refused_unless_it_was_named(
    federation: Federation, tmp_path: Path
) -> None:
    """Attack: a file that is called a hospital's asks for an operator's rights."""
    path, key = write_request(tmp_path / "mallory", "north", Role.OPERATOR)
    out = tmp_path / "admission"
    with pytest.raises(FederationError, match="expected the request of a site, got that of the operator 'north'"):
        run(admit, federation, str(path), "--out", str(out), "--yes")
    assert not out.exists()
    assert federation.read_enrolment().people == {}
    done = run(admit, federation, str(path), "--out", str(out), "--yes", "--role", "operator")
    assert f"the operator 'north'; its request says: North hospital; its key:\n{key}\n" in done.stderr
    assert federation.read_enrolment().people["north"].role is Role.OPERATOR


def test_request_in_a_file_is_admitted_only_by_somebody_who_has_compared_its_key(
    federation: Federation, tmp_path: Path
) -> None:
    home = SiteFolder.create(tmp_path / "ash", "ash")
    path = tmp_path / "ash.request"
    path.write_bytes(home.make_join_request().to_bytes())
    with pytest.raises(FederationError, match="once it was compared, say so with --yes"):
        run(admit, federation, str(path), "--out", str(tmp_path / "admission"))
    assert federation.read_sites() == {}
    run(admit, federation, str(path), "--out", str(tmp_path / "admission"), "--yes")
    assert set(federation.read_sites()) == {"ash"}


# Through the gateway ---------------------------------------------------------------------------------------


@dataclass
class World:
    """A federation with an operator at another machine; and the coordinator of whoever took over its gateway."""

    real: Federation
    evil: Federation
    profile: Profile
    handlers: dict[str, Handler]
    evil_handlers: dict[str, Handler]


def make_profile(federation: Federation, folder: Path) -> Profile:
    """Make the profile of an operator who has joined."""
    members = Members(federation)
    invitation = members.invite("ada", Role.OPERATOR, "", 1)
    profile = Profile.create(folder, invitation)
    identity = SigningKey.load(folder / "identity.key")
    signed = members.enrol(SignedJoinRequest.sign(identity, profile._make_request("")))
    CredentialFiles(folder).accept(
        signed.statement.certificate, Subject("wood", Role.OPERATOR, "ada"), FederationError
    )
    (folder / "admission.json").write_bytes(signed.to_bytes())
    return profile


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[World, Callable[..., None]]]:
    """The world, and how to start the gateway with some calls answered by the other coordinator."""
    port = find_free_port()
    config = CoordinatorConfig(federation="wood", host="localhost", port=port, gateway=True, control_port=port)
    real = Federation.create(tmp_path / "real", config)
    evil = Federation.create(tmp_path / "evil", config)
    profile = make_profile(real, tmp_path / "ada")
    handlers, others = (
        Membership(each, SuperLink(each.folder, each.tls, find_free_port())).handlers for each in (real, evil)
    )
    servers: list[ControlServer] = []

    def start(*answered_by_the_gateway: str) -> None:
        for server in servers:
            server.close()
        mixed = {**handlers, **{name: others[name] for name in answered_by_the_gateway}}
        servers[:] = [ControlServer(real, mixed, {}, ("127.0.0.1", port))]

    yield World(real, evil, profile, handlers, others), start
    for server in servers:
        server.close()


def deliver(federation: Federation, text: str, folder: Path) -> SignedJoinRequest:
    """Let the site 'north' answer an invitation of ``federation``."""
    invitation = Invitation.from_text(text, FederationError)
    signed = SiteFolder.create(folder, "north").make_invited_request("", invitation)
    Members(federation).receive(invitation.token, signed)
    return signed


def test_operator_at_another_machine_invites_and_admits(
    world: tuple[World, Callable[..., None]], tmp_path: Path
) -> None:
    it, start = world
    start()
    text = run(invite, it.profile, "north", "--contact", "Bob").stdout.split()[0]
    signed = deliver(it.real, text, tmp_path / "north")
    aloud = format_fingerprint(signed.statement)
    assert aloud in run(requests, it.profile).stdout
    assert run(admit, it.profile, "north", "--fingerprint", aloud).exit_code == 0
    assert set(it.real.read_sites()) == {"north"}


def test_invitation_that_the_gateway_has_replaced_is_refused(world: tuple[World, Callable[..., None]]) -> None:
    """Attack: the gateway answers the call itself, and sends the new site to a coordinator of its own."""
    it, start = world
    start("Invite")
    with pytest.raises(FederationError, match="leads to another coordinator than yours") as caught:
        run(invite, it.profile, "north", "--contact", "Bob")
    assert "consilium-invitation" not in str(caught.value)


def test_invitation_for_another_name_is_refused(world: tuple[World, Callable[..., None]]) -> None:
    """Attack: the gateway answers with an earlier invitation of this coordinator, for somebody else."""
    it, start = world
    earlier = Members(it.real).invite("mallory", Role.OPERATOR, "", 1).to_text()
    it.evil_handlers["Invite"] = lambda _, __: {"invitation": earlier}
    start("Invite")
    with pytest.raises(FederationError, match="is for the operator 'mallory', not the site 'north'"):
        run(invite, it.profile, "north", "--contact", "Bob")


def test_request_to_another_coordinator_is_shown_as_such_and_not_admitted(
    world: tuple[World, Callable[..., None]], tmp_path: Path
) -> None:
    """Attack: the site was led to the gateway's coordinator, which has its request; both people read the same."""
    it, start = world
    text = Members(it.evil).invite("north", Role.SITE, "Bob", 24).to_text()
    aloud = format_fingerprint(deliver(it.evil, text, tmp_path / "north").statement)
    start("ListRequests", "Admit")
    assert "NOT of this coordinator: do not admit" in run(requests, it.profile).stdout
    with pytest.raises(FederationError, match="answers an invitation of another coordinator than yours"):
        run(admit, it.profile, "north", "--fingerprint", aloud)
    assert it.evil.read_sites() == {}
    assert it.real.read_sites() == {}


def test_admission_that_is_not_by_the_coordinator_is_refused(
    world: tuple[World, Callable[..., None]], tmp_path: Path
) -> None:
    """Attack: the gateway keeps the order to admit for itself, and answers that all is well."""
    it, start = world
    start()
    text = run(invite, it.profile, "north", "--contact", "Bob").stdout.split()[0]
    signed = deliver(it.real, text, tmp_path / "north")
    open_request = signed.statement.model_copy(update={"coordinator": None, "authority": None})
    key = SigningKey.load(tmp_path / "north" / "identity.key")
    forged = Members(it.evil).enrol(SignedJoinRequest.sign(key, open_request)).model_dump(mode="json")
    it.evil_handlers["Admit"] = lambda _, __: {"admission": forged}
    start("Admit")
    with pytest.raises(FederationError, match="word that 'north' is admitted did not come"):
        run(admit, it.profile, "north", "--fingerprint", format_fingerprint(signed.statement))
    assert it.real.read_sites() == {}
