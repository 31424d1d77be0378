"""What a host is; the right thing to type for what is none."""

import pytest

from privacy.address import is_loopback, join_address, read_host, split_address


@pytest.mark.parametrize(
    ("typed", "host"),
    [
        ("fl.example.org", "fl.example.org"),
        ("FL.Example.ORG.", "fl.example.org"),
        ("münchen.example", "xn--mnchen-3ya.example"),
        ("coordinator", "coordinator"),
        ("192.0.2.7", "192.0.2.7"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
    ],
)
def test_host_is_kept_in_one_form(typed: str, host: str) -> None:
    assert read_host(typed) == host
    assert split_address(join_address(host, 9092)) == (host, 9092)


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("", "got nothing"),
        ("a b", "a host has no blanks"),
        ("fl.example.org\n", "a host has no blanks"),
        ("https://fl.example.org", "is a URL, not a host: type --host fl.example.org$"),
        ("https://fl.example.org:9092/x", "is a URL, not a host: type --host fl.example.org --port 9092$"),
        ("https://[::1]:9092", "is a URL, not a host: type --host ::1 --port 9092$"),
        ("fl.example.org/x", "is a URL, not a host: type --host fl.example.org$"),
        ("fl.example.org:9092", "is more than a host, or no IPv6 address: type --host fl.example.org --port 9092$"),
        ("[::1]:9092", "type --host ::1 --port 9092$"),
        ("1::2::3", "type the name or address alone, and the port as --port$"),
        ("fe80::1%eth0", "means something on one machine only"),
        ("300.1.1.1", "is no IPv4 address: four numbers of at most 255"),
        ("127.0.0.01", "is no IPv4 address"),
        ("0.0.0.0", "no address at which a machine can be reached"),  # noqa: S104
        ("::", "no address at which a machine can be reached"),
        ("ff02::1", "no address at which a machine can be reached"),
        ("my_host", "expected letters, digits, hyphens and dots"),
        ("-a.example", "expected letters, digits, hyphens and dots"),
        ("*.example.org", "expected letters, digits, hyphens and dots"),
        ("a" * 64 + ".example.org", "too long for a host name: at most 63 characters between dots, 253 in all"),
        (".".join(["a" * 50] * 6), "too long for a host name"),
        ("straße.example", "write the name as IDNA does"),
    ],
)
def test_what_is_no_host_is_refused_with_what_to_type(typed: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_host(typed)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "fl.example.org",
        "fl.example.org:",
        "fl.example.org:0",
        "fl.example.org:70000",
        "fl.example.org:09092",
        "FL.example.org:9092",
        "::1:9092",
        "[::1]9092",
        "[0:0::1]:9092",
        "[fl.example.org]:9092",
        "a b:1",
        "a:1/x",
    ],
)
def test_address_in_another_form_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="host"):
        split_address(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost", "fl.localhost"])
def test_loopback_is_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["192.0.2.7", "2001:db8::1", "localhost.example.org", "fl.example.org"])
def test_other_hosts_are_not_this_machine(host: str) -> None:
    assert not is_loopback(host)
