"""What tests of every package share.

What tests start inherits no signal that whoever started the tests ignores, as ``nohup`` and a script's ``&`` do.
"""

import signal
from pathlib import Path

import pytest

from privacy.process_lifetime import take_default_signals
from server.federation.certificates import TlsFiles, create_authority, issue_server_certificate


def pytest_sessionstart() -> None:
    """Take signals as if nobody had ignored them."""
    take_default_signals()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    """A certificate authority and a server certificate for the loopback interface."""
    files = create_authority(tmp_path_factory.mktemp("authority"), "test")
    issue_server_certificate(files)
    return files


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder that holds the packages."""
    return Path(__file__).parent.parent
