"""Choose what of a site's health may be shown outside, and name the files whose contents never are."""

from collections.abc import Iterator
from pathlib import Path

from client.site.config import SiteConfig
from client.site.folder import SiteFolder
from privacy.health import Health, Light


def leave_out_paths(health: Health) -> Health:
    """Return the report without what it says of data files that are missing or changed: a path may hold names."""
    return health.model_copy(
        update={
            "lines": tuple(
                line.model_copy(update={"found": "left out"})
                if line.check in ("data", "sources") and line.light is not Light.GREEN
                else line
                for line in health.lines
            )
        }
    )


def list_secret_files(home: SiteFolder, config: SiteConfig) -> Iterator[Path]:
    """List the files of a site that hold a secret and nothing else; some may not be there."""
    names = ("identity.key", "identity.key.next", "node.key", "tls.key.next", "invitation.json")
    yield from (home.folder / name for name in names)
    yield home.folder / "tls.pem"
    yield home.folder / "patients" / "secret"
    yield from (home.folder / "studies").glob("*/*.key")
    if config.proxy is not None and config.proxy.password_file:
        yield Path(config.proxy.password_file)
