"""What ``consilium up`` is to a SuperLink: the process that owns it. Prints its process id, then waits.

Run as ``python -m tests.server.superlink.owner FOLDER TLS_FOLDER PORT``.
"""

import contextlib
import sys
import time
from pathlib import Path

from privacy.process_lifetime import take_default_signals
from server.federation.certificates import TlsFiles
from server.superlink.process import SuperLink

if __name__ == "__main__":
    take_default_signals()
    folder, tls, port = sys.argv[1:]
    with (
        contextlib.suppress(KeyboardInterrupt),
        SuperLink(Path(folder), TlsFiles(Path(tls)), int(port)) as superlink,
    ):
        sys.stdout.write(f"{superlink.process}\n")
        sys.stdout.flush()
        time.sleep(600)
