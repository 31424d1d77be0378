"""What tests of every package share.

* What tests start inherits no signal that whoever started the tests ignores, as ``nohup`` and a script's ``&`` do.
* Property tests try the same examples in every run, no example is timed, and torch draws the same in every test: a
  change fails by what it changes, not by chance or a busy machine. ``--hypothesis-profile=explore`` tries others.
* What starts no federation comes first, and of both parts the files that take longest: no core is idle at the end.
"""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest
from hypothesis import HealthCheck, settings

from privacy.process_lifetime import take_default_signals
from server.federation.certificates import TlsFiles, create_authority, issue_server_certificate

settings.register_profile(
    "same-each-time", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("same-each-time")

LONGEST: Final = (
    "models/test_every_model_federated.py",
    "client/prediction/export/test_formats.py",
    "protocol/test_coordinator_killed.py",
    "protocol/test_restarts_between.py",
    "protocol/test_optimisers.py",
    "deploy/test_tutorial_walk.py",
    "federation/test_operations.py",
    "federation/test_commands.py",
    "federation/test_demo.py",
)
"""Those of half a minute of processor time and more."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what starts no federation first, and of both parts the files that take longest."""
    longest = {Path(__file__).parent / name for name in LONGEST}
    items.sort(key=lambda item: (item.get_closest_marker("federation") is not None, item.path not in longest))


def pytest_sessionstart() -> None:
    """Take signals as if nobody had ignored them."""
    take_default_signals()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Begin every test with the same draws of torch, whatever ran before it in this process."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    """A certificate authority and a server certificate for the loopback interface."""
    files = create_authority(tmp_path_factory.mktemp("authority"), "test")
    issue_server_certificate(files)
    return files


@pytest.fixture(scope="session")
def memory() -> Iterator[Path]:
    """An empty folder, in memory where that is offered: most of a federation's time goes into durable writes."""
    shared = Path("/dev/shm")  # noqa: S108
    with TemporaryDirectory(dir=shared if shared.is_dir() else None) as name:
        yield Path(name)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder that holds the packages."""
    return Path(__file__).parent.parent
