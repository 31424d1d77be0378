"""Which coordinator is reached through which proxy."""

from collections.abc import Iterator

import pytest

from privacy.errors import LinkError
from privacy.proxy import find_proxy, set_proxy

PROXY = "http://proxy.example:3128"


@pytest.fixture(autouse=True)
def _no_proxy_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_loopback_is_reached_directly(monkeypatch: pytest.MonkeyPatch, variable: str, host: str) -> None:
    monkeypatch.setenv(variable, PROXY)
    assert find_proxy(host, 9092) is None
    assert find_proxy("fl.example.org", 9092) is not None


def test_proxy_for_http_alone_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", PROXY)
    assert find_proxy("fl.example.org", 9092) is None


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://ada:secret@proxy.example:3128", "proxy.example:3128"),
        ("proxy.example:3128", "proxy.example:3128"),
        ("http://proxy.example", "proxy.example:80"),
        ("https://[2001:db8::7]", "[2001:db8::7]:443"),
    ],
)
def test_proxy_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch, url: str, name: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", url)
    proxy = find_proxy("fl.example.org", 9092)
    assert proxy is not None
    assert proxy.name == name


@pytest.mark.parametrize(
    "url", ["socks5://ada:secret@proxy.example:1080", "http://", "http://proxy.example:x", "ftp://a"]
)
def test_proxy_that_cannot_be_used_is_refused_without_its_password(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", url)
    with pytest.raises(
        LinkError, match="expected http://host:port; correct it, or name the coordinator in NO_PROXY"
    ) as raised:
        find_proxy("fl.example.org", 9092)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("covers", "host"),
    [
        ("*", "fl.example.org"),
        ("fl.example.org", "fl.example.org"),
        ("example.org", "fl.example.org"),
        (".example.org", "fl.example.org"),
        ("*.example.org", "fl.example.org"),
        ("Example.ORG", "fl.example.org"),
        ("other.example, example.org", "fl.example.org"),
        ("other.example example.org", "fl.example.org"),
        ("fl.example.org:9092", "fl.example.org"),
        ("10.1.2.3", "10.1.2.3"),
        ("10.0.0.0/8", "10.1.2.3"),
        ("10.1.2.3/8", "10.1.2.3"),
        ("10.1.2.3:9092", "10.1.2.3"),
        ("2001:db8::/32", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("[2001:db8::7]:9092", "2001:db8::7"),
    ],
)
def test_no_proxy_covers(monkeypatch: pytest.MonkeyPatch, covers: str, host: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", covers)
    assert find_proxy(host, 9092) is None


@pytest.mark.parametrize(
    ("covers", "host"),
    [
        ("", "fl.example.org"),
        (",", "fl.example.org"),
        ("ample.org", "fl.example.org"),
        ("fl.example.org.evil.example", "fl.example.org"),
        ("fl.example.org:443", "fl.example.org"),
        ("10.0.0.0/8", "11.1.2.3"),
        ("10.0.0.0/8", "fl.example.org"),
        ("0.1.2.3", "10.1.2.3"),
        ("2001:db8::/32", "10.1.2.3"),
    ],
)
def test_no_proxy_does_not_cover(monkeypatch: pytest.MonkeyPatch, covers: str, host: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    monkeypatch.setenv("NO_PROXY", covers)
    assert find_proxy(host, 9092) is not None


@pytest.fixture
def _no_setting_after() -> Iterator[None]:
    yield
    set_proxy(None)


@pytest.mark.usefixtures("_no_setting_after")
def test_proxy_that_is_set_counts_alone_until_it_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://other.example:1")
    monkeypatch.setenv("NO_PROXY", "*")
    set_proxy("http://proxy.example:3128", ["10.0.0.0/8"], "ada", "p@ss:w/rd")
    found = find_proxy("fl.example.org", 443)
    assert found is not None
    assert found.url == "http://ada:p%40ss%3Aw%2Frd@proxy.example:3128"
    assert found.name == "proxy.example:3128"
    assert find_proxy("10.1.2.3", 443) is None
    assert find_proxy("127.0.0.1", 443) is None
    set_proxy(None)
    assert find_proxy("fl.example.org", 443) is None
