"""Read from the logs of a federation where the seconds of its rounds went: at a site, and in the coordinator's run.

The sites share the machine's cores, so a step's seconds are those of the clock while other sites work too. What is left
of a round, when all steps of a party are taken off, it waits for the others.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.running_federation import COORDINATOR, Running

_STEP = re.compile(r"([a-z ]+) (\d+\.\d\d) s")


def read_site_steps(federation: Running, site: str, study: str, skipped: int) -> Counter[str]:
    """Add up the seconds of each step in all answers of ``site``, without the first ``skipped`` rounds."""
    total: Counter[str] = Counter()
    for kind in ("train", "release"):
        answers = _find(federation.folder / site / "log" / "site.log", rf"{study}: '{kind}' is answered: (.*)")
        for steps in list(answers)[skipped:]:
            total.update(steps)
    return total


def read_coordinator_steps(federation: Running, study: str, skipped: int) -> Counter[str]:
    """Add up the seconds of each step of the coordinator's run, without the first ``skipped`` rounds."""
    log = federation.folder / COORDINATOR / "superlink" / f"{study}.log"
    total: Counter[str] = Counter()
    for steps in list(_find(log, r"round \d+ is stored: (.*)"))[skipped:]:
        total.update(steps)
    return total


def account_for(steps: Counter[str], rounds: int, round_s: float) -> dict[str, float]:
    """Return the seconds of each step in one round on average; what is left of ``round_s`` is ``wait``."""
    found = {name: round(seconds / rounds, 2) for name, seconds in steps.most_common()}
    return found | {"wait": round(round_s - sum(found.values()), 2)}


def _find(log: Path, line: str) -> Iterator[dict[str, float]]:
    text = log.read_text(encoding="utf-8") if log.exists() else ""
    for words in re.findall(line, text):
        yield {name.strip(): float(seconds) for name, seconds in _STEP.findall(words)}
