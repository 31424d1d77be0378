"""Use the proxy that ``site.yaml`` names, for all connections of this process.

::

    proxy:
      url: http://proxy.hospital.example:3128
      user: ada                              # where the proxy asks for one
      password_file: /run/secrets/proxy      # one line; not readable by everybody
      no_proxy: [10.0.0.0/8, .hospital.example]

Without ``proxy`` the environment counts (``HTTPS_PROXY``, ``NO_PROXY``); with it the environment does not
(``privacy/proxy.py``). No password stands in ``site.yaml``, in the environment, or in what other programs see.
"""

import os
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from privacy.document import Document
from privacy.errors import SiteConfigError
from privacy.proxy import set_proxy

_MOST: Final = 4096


class ProxyConfig(Document):
    """The proxy through which a site reaches its coordinator."""

    url: str
    user: str = Field(default="", max_length=200)
    password_file: str = ""
    no_proxy: tuple[str, ...] = ()

    @field_validator("url")
    @classmethod
    def _is_usable(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            usable = False
        if not usable or parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError("expected http://host:port or https://host:port")
        if "@" in parts.netloc:
            raise ValueError("no user or password belongs into the address: write user, and password_file")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _has_user(self) -> Self:
        if self.password_file and not self.user:
            raise ValueError("password_file is given, and no user: write user, too")
        return self


def use_proxy(config: ProxyConfig | None) -> None:
    """Use the site's proxy from now on; without one, the environment's.

    Raises:
        SiteConfigError: the password cannot be read.
    """
    if config is None:
        set_proxy(None)
        return
    password = _read_password(Path(config.password_file)) if config.password_file else ""
    set_proxy(config.url, config.no_proxy, config.user, password)


def _read_password(path: Path) -> str:
    """Read the password; its group may read it, since clusters hand secrets over so."""
    where = f"site.yaml names {path} as the proxy's password_file"
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            data = file.read(_MOST)
        lines = data.decode("utf-8").splitlines()
    except OSError as error:
        raise SiteConfigError(f"{where}: it cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SiteConfigError(f"{where}: it is not text") from None
    if mode & 0o007:
        raise SiteConfigError(
            f"{where}: everybody can read it (mode {mode:04o}, expected 0600): change the password"
        )
    if len(lines) != 1 or not lines[0]:
        raise SiteConfigError(f"{where}: expected the password in one line, got {len(lines)} lines")
    return lines[0]
