"""The last look before something is shown: a secret in it, in whatever form, keeps it back."""

import json
from pathlib import Path

import pytest

from privacy.errors import SiteConfigError
from privacy.secret_search import require_no_secret


@pytest.mark.parametrize("shown", ["before correct-horse after", f"x{b'correct-horse'.hex()}x"])
def test_part_with_a_line_of_a_secret_as_text_or_in_hexadecimal_is_refused(tmp_path: Path, shown: str) -> None:
    (tmp_path / "password").write_bytes(b"correct-horse")
    with pytest.raises(SiteConfigError, match="b would hold a secret of password") as caught:
        require_no_secret([tmp_path / "password"], {"a": "nothing", "b": shown}, SiteConfigError)
    assert "correct-horse" not in str(caught.value)


@pytest.mark.parametrize("ascii_alone", [True, False])
def test_secret_that_json_writes_otherwise_is_found(tmp_path: Path, ascii_alone: bool) -> None:
    (tmp_path / "password").write_text('q"u\\\\o-ü-te\n')
    shown = json.dumps({"contact": 'it is q"u\\\\o-ü-te'}, ensure_ascii=ascii_alone)
    with pytest.raises(SiteConfigError, match="would hold a secret"):
        require_no_secret([tmp_path / "password"], {"a": shown}, SiteConfigError)


def test_body_of_a_key_is_a_secret_and_its_frame_or_a_short_line_is_none(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("-----BEGIN KEY-----\nMC4CAQAwBQYDK2VwBCIEIHh4\nab\n-----END PRIVATE KEY-----\n")
    shown = "-----BEGIN KEY----- and ab"
    require_no_secret([tmp_path / "key", tmp_path / "missing"], {"a": shown}, SiteConfigError)
    with pytest.raises(SiteConfigError):
        require_no_secret([tmp_path / "key"], {"a": shown + "MC4CAQAwBQYDK2VwBCIEIHh4"}, SiteConfigError)
