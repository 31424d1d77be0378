"""Check batches of a ledger's entries for the process that started this one; see ``check_ahead.py``.

It reads batches from its standard input, and writes a byte for each entry to its standard output. It ends with its
input: when the process that started it has ended, for whatever reason.
"""

import sys

from privacy.ledger.check_ahead import check_batch, pause_garbage_collection, read_batch
from privacy.process_lifetime import leave_terminal_to_parent


def main() -> None:
    """Check until there is nothing left to check."""
    leave_terminal_to_parent()
    with pause_garbage_collection():
        while (batch := read_batch(sys.stdin.buffer)) is not None:
            sys.stdout.buffer.write(check_batch(batch))
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
