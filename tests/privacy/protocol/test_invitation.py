"""Invitations as text: one word, whatever a mail program makes of it."""

import base64
import datetime
import io
import zlib
from pathlib import Path

import pytest

from privacy.client_certificate import Role
from privacy.errors import SiteConfigError
from privacy.protocol.invitation import Invitation, hash_token, make_token, read_invitation
from tests.privacy.launch_makers import COORDINATOR_KEY

INVITATION = Invitation(
    federation="wood",
    address="wood.example.org:443",
    name="ash",
    role=Role.SITE,
    token=make_token(),
    expires=datetime.datetime(2027, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
    coordinator=COORDINATOR_KEY.public.text,
    authority="-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
)


def test_text_comes_back_however_it_is_wrapped() -> None:
    text = INVITATION.to_text()
    for wrapped in (text, f"  {text}\r\n", "\n".join(text[at : at + 60] for at in range(0, len(text), 60))):
        assert Invitation.from_text(wrapped, SiteConfigError) == INVITATION


@pytest.mark.parametrize("given", ["text", "file", "-"])
def test_invitation_is_read_as_text_from_a_file_and_from_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    """A text on the command line is seen by other users of the machine; the other two are not."""
    file = tmp_path / "invitation"
    file.write_text(f"{INVITATION.to_text()}\n")
    with file.open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        words = {"text": INVITATION.to_text(), "file": str(file), "-": "-"}
        assert read_invitation(words[given], SiteConfigError) == INVITATION


def test_standard_input_without_an_invitation_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(SiteConfigError, match="expected an invitation"):
        read_invitation("-", SiteConfigError)


@pytest.mark.parametrize("cut", [10, 40, 200, -1])
def test_part_of_an_invitation_is_refused_with_the_next_step(cut: int) -> None:
    with pytest.raises(SiteConfigError, match="copy the whole text that 'consilium invite' printed"):
        Invitation.from_text(INVITATION.to_text()[:cut], SiteConfigError)


def test_text_that_inflates_without_end_is_refused() -> None:
    bomb = base64.urlsafe_b64encode(zlib.compress(b" " * 50_000_000, 9)).decode().rstrip("=")
    with pytest.raises(SiteConfigError, match="expected an invitation"):
        Invitation.from_text("consilium-invitation-1-" + bomb, SiteConfigError)


def test_tokens_differ_and_their_digests_do_not_show_them() -> None:
    first, second = make_token(), make_token()
    assert first != second
    assert hash_token(first) == hash_token(first) != hash_token(second)
    assert first not in hash_token(first)
