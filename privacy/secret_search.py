"""Search what is about to be shown for an installation's own secrets, and refuse it where one appears.

It is the last check of a program that shows only what it knows to be public: it finds a defect of that program.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from privacy.errors import Error

_SHORTEST_SECRET: Final = 6


def require_no_secret(secrets: Iterable[Path], parts: Mapping[str, str], error: type[Error]) -> None:
    """Refuse ``parts``, by name, in which a line of one of the secret files appears: as text, in JSON, in hexadecimal.

    Args:
        secrets: files that hold a secret and nothing else; one that is not there has none.
        parts: the texts that are to be shown.
        error: the type of the error to raise.

    Raises:
        error: naming the part and the file of the secret, not the secret.
    """
    for path in secrets:
        try:
            data = path.read_bytes()
        except OSError:
            continue
        lines = data.decode("utf-8", "ignore").splitlines()
        escaped = [
            json.dumps(line, ensure_ascii=ascii_alone)[1:-1] for line in lines for ascii_alone in (True, False)
        ]
        for secret in {data.hex(), *lines, *escaped}:
            if len(secret) < _SHORTEST_SECRET or secret.startswith("-----"):
                continue
            for name, text in parts.items():
                if secret in text:
                    raise error(
                        f"{name} would hold a secret of {path.name}; nothing was written: tell the developers, without "
                        "sending the file"
                    )
