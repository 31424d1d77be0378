"""Verify the whole ledger when the site starts and once a day, signatures included, and say so if it does not hold.

Opening a ledger takes the word of the site's own mark for what it verified before
(:mod:`privacy.ledger.verified_mark`). This look does not.
"""

import threading
from collections.abc import Callable

from client.connection.daily_look import LOOK_EVERY_S, look_daily
from client.site.folder import SiteFolder
from privacy.errors import Error
from privacy.ledger.database import verify_file


def keep_verifying(
    home: SiteFolder, stop: threading.Event, failed: Callable[[str], None], every_s: float = LOOK_EVERY_S
) -> threading.Thread:
    """Start a thread that verifies the ledger of ``home`` until ``stop`` is set.

    Args:
        home: the site's folder.
        stop: ends the thread.
        failed: is called with a sentence each time the ledger does not verify or cannot be read.
        every_s: seconds between two looks.
    """

    def look() -> None:
        try:
            verify_file(home.ledger_path, home.load_identity().public)
        except Error as error:
            failed(f"this site's ledger does not verify: {error}")

    return look_daily("ledger verification", look, stop, every_s)
