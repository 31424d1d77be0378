"""What tests of every package share."""

from pathlib import Path

import pytest

from server.authority import TlsFiles, create_authority, issue_server_certificate


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
