"""The export shown in ``docs/ledger.md``: ``python -m tests.docs.ledger_example`` writes it into the page.

Keys are fixed and everything else is invented, so the same bytes come out on every machine.
"""

import re
import tempfile
from pathlib import Path

from tests.docs.pages import ROOT
from tests.privacy.ledger_makers import POPULATION, STEP, TERMS, WITNESS, countersigned, granted_ledger, plan

PAGE = ROOT / "docs" / "ledger.md"


def export() -> str:
    """A grant, a study, its first round, and a witness that has seen it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        granted_ledger(Path(folder) / "ledger.sqlite") as ledger,
    ):
        ledger.allow("first", POPULATION, plan(), TERMS)
        ledger.reserve("first", 1, STEP)
        ledger.record_checkpoint(countersigned(ledger), WITNESS.public)
        return b"".join(ledger.export_lines()).decode()


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    block = f"```jsonl\n{export()}```"
    PAGE.write_text(re.sub(r"```jsonl\n.*?```", lambda _: block, text, flags=re.DOTALL), encoding="utf-8")
