"""The proxy that ``site.yaml`` names."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from client.site.config import SiteConfig
from client.site.proxy import ProxyConfig, use_proxy
from privacy.document import read_yaml
from privacy.errors import SiteConfigError
from privacy.proxy import find_proxy, set_proxy


@pytest.fixture(autouse=True)
def _no_setting_after() -> Iterator[None]:
    yield
    set_proxy(None)


def read(folder: Path, text: str) -> ProxyConfig | None:
    (folder / "site.yaml").write_text(f"name: north\nproxy: {text}\n")
    return read_yaml(folder / "site.yaml", SiteConfig, SiteConfigError).proxy


def test_proxy_with_a_password_from_its_file_is_used(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.touch(mode=0o600)
    secret.write_text("s3cret\n")
    use_proxy(read(tmp_path, f"{{url: http://proxy.example:3128, user: ada, password_file: {secret}}}"))
    found = find_proxy("fl.example.org", 443)
    assert found is not None
    assert found.url == "http://ada:s3cret@proxy.example:3128"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{url: 'socks5://proxy.example:1'}", "expected http://host:port"),
        ("{url: proxy.example}", "expected http://host:port"),
        ("{url: 'http://proxy.example:1/path'}", "expected http://host:port"),
        ("{url: 'http://ada:s3cret@proxy.example:1'}", "no user or password belongs into the address"),
        ("{url: 'http://proxy.example:1', password_file: /run/x}", "write user, too"),
        ("{url: 'http://proxy.example:1', password: s3cret}", "password"),
    ],
)
def test_proxy_that_cannot_be_used_is_refused_without_its_password(
    tmp_path: Path, text: str, sentence: str
) -> None:
    with pytest.raises(SiteConfigError, match=sentence) as raised:
        read(tmp_path, text)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("mode", "text", "sentence"),
    [
        (0o644, "s3cret", "everybody can read"),
        (0o600, "", "got 0 lines"),
        (0o600, "s3cret\nagain", "got 2 lines"),
        (None, "", "password_file"),
    ],
)
def test_password_file_that_cannot_be_used_is_refused(
    tmp_path: Path, mode: int | None, text: str, sentence: str
) -> None:
    secret = tmp_path / "password"
    if mode is not None:
        secret.write_text(text)
        secret.chmod(mode)
    config = ProxyConfig(url="http://proxy.example:1", user="ada", password_file=str(secret))
    with pytest.raises(SiteConfigError, match=sentence) as raised:
        use_proxy(config)
    assert "s3cret" not in str(raised.value)
