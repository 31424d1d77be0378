"""The example of ``docs/security/evidence.md``: ``python -m tests.docs.evidence_example`` prints it."""

import tempfile
from pathlib import Path

from privacy.ledger.evidence import EvidencePack
from tests.privacy.evidence_makers import pack
from tests.privacy.ledger_makers import granted_ledger


def example_pack() -> EvidencePack:
    """The evidence of the site ``north``, whose ledger has one population and its grant."""
    with tempfile.TemporaryDirectory() as folder, granted_ledger(Path(folder) / "ledger.sqlite") as ledger:
        return pack(ledger)


def main() -> None:
    """Print the example."""
    print(example_pack().to_bytes().decode())  # noqa: T201 - a tool for whoever edits the page


if __name__ == "__main__":
    main()
