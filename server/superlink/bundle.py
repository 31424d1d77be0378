"""The bundle of a Flower run: it names installed code, and contains none.

Flower needs a bundle for every run: a zip archive with a ``pyproject.toml`` and a list of its contents. Our bundle
names the *installed* server app and the keys of the run's configuration. Sites never download it.
"""

import io
import zipfile
from collections.abc import Mapping
from typing import Final

from privacy.canonical import compute_sha256

SERVER_APP: Final = "server.superlink.server_app:app"
_CLIENT_APP: Final = "client.connection.client_app:app"


def make_bundle(config: Mapping[str, str | int], app: str = SERVER_APP) -> bytes:
    """Make the bundle of a run: one TOML file that names the installed server app and the keys of ``config``."""
    defaults = "\n".join(
        f"{key} = {'0' if isinstance(value, int) else chr(34) * 2}" for key, value in config.items()
    )
    project = f"""
[project]
name = "consilium-run"
version = "1.0.0"
description = "Runs the coordinator's installed server app; a site runs its own."
license = {{text = "Apache-2.0"}}

[tool.flwr.app]
publisher = "consilium"

[tool.flwr.app.components]
serverapp = "{app}"
clientapp = "{_CLIENT_APP}"

[tool.flwr.app.config]
{defaults}
"""
    return pack_bundle({"pyproject.toml": project.encode()})


def pack_bundle(files: Mapping[str, bytes]) -> bytes:
    """Pack ``files`` as a bundle: a zip archive with a list of its contents (path, SHA-256, bits)."""
    contents = "\n".join(f"{path},{compute_sha256(data)},{8 * len(data)}" for path, data in files.items())
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in (*files.items(), (".info/CONTENT", contents.encode())):
            archive.writestr(zipfile.ZipInfo(path), data)
    return packed.getvalue()
