"""The text of metrics, and who gets it: a program on this machine, under a loopback name."""

import http.client
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator

import pytest

from privacy.errors import LedgerError
from privacy.metrics import CONTENT_TYPE, Family, format_families, make_gauge, serve_metrics

AWKWARD = Family("odd_total", "counter", "A back\\slash\nand a line.", [({"name": 'a"b\\c\nd'}, 2.5)])


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found: int = probe.getsockname()[1]
    return found


def refuse_warning(sentence: str) -> None:
    raise AssertionError(sentence)


def get(port: int, path: str = "/metrics", host: str | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def test_text_escapes_what_labels_and_help_may_hold() -> None:
    assert format_families([AWKWARD]) == (
        "# HELP odd_total A back\\\\slash\\nand a line.\n# TYPE odd_total counter\n"
        'odd_total{name="a\\"b\\\\c\\nd"} 2.5\n'
    )
    assert format_families([Family("none", "gauge", "No sample.")]) == ""
    assert format_families([make_gauge("big", "B.", 2**40)]).endswith("\nbig 1099511627776\n")
    assert format_families([make_gauge("inf", "I.", float("inf"))]).endswith("\ninf +Inf\n")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is of Debian's package prometheus")
def test_text_is_what_prometheus_reads() -> None:
    text = format_families([AWKWARD, make_gauge("small", "S.", 1e-9)])
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_metrics_are_served_on_the_loopback_interface_under_its_names_alone(port: int) -> None:
    with serve_metrics(port, lambda: [make_gauge("up", "U.", 1)], refuse_warning, lambda: None):
        assert get(port) == (200, "# HELP up U.\n# TYPE up gauge\nup 1\n")
        assert get(port, host=f"localhost:{port}")[0] == 200
        assert get(port, host="evil.example")[0] == 403
        assert get(port, "/other")[0] == 404
        answer = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        answer.request("GET", "/metrics")
        assert answer.getresponse().headers["Content-Type"] == CONTENT_TYPE
        answer.request("POST", "/metrics", b"x")
        assert answer.getresponse().status == 501
        others = [
            each[4][0] for each in socket.getaddrinfo(socket.gethostname(), port) if each[4][0] != "127.0.0.1"
        ]
        for other in others:
            with pytest.raises(OSError):  # noqa: PT011 - refused, or no route
                socket.create_connection((str(other), port), 1).close()


def test_metrics_that_fail_are_503_and_the_program_goes_on(port: int) -> None:
    def collect() -> Iterator[Family]:
        yield make_gauge("up", "U.", 1)
        raise LedgerError("damaged")

    with serve_metrics(port, collect, refuse_warning, lambda: None):
        assert get(port)[0] == 503
        assert get(port)[0] == 503


def test_client_that_says_nothing_keeps_nobody_waiting_for_long(port: int) -> None:
    served = serve_metrics(port, lambda: [make_gauge("up", "U.", 1)], refuse_warning, lambda: None)
    with served, socket.create_connection(("127.0.0.1", port)):
        assert get(port)[0] == 200


def test_port_in_use_is_a_warning_and_the_program_runs_without_metrics(port: int) -> None:
    warnings: list[str] = []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with serve_metrics(port, list, warnings.append, lambda: None):
            assert "metrics" not in [each.name for each in threading.enumerate()]
    (sentence,) = warnings
    assert f"metrics_port {port} cannot be listened on (Address already in use)" in sentence
    assert sentence.endswith("free that port or name another one, then restart")


def test_no_port_serves_nothing_and_warns_of_nothing() -> None:
    with serve_metrics(None, list, refuse_warning, lambda: None):
        assert "metrics" not in [each.name for each in threading.enumerate()]


def test_collector_is_closed_in_the_thread_that_collected(port: int) -> None:
    threads = []
    with serve_metrics(
        port,
        lambda: threads.append(threading.get_ident()) or [],  # type: ignore[func-returns-value]
        refuse_warning,
        lambda: threads.append(threading.get_ident()),
    ):
        get(port)
    assert len(threads) == 2
    assert len(set(threads)) == 1
