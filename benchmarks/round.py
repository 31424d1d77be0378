"""Measure the seconds of a round beyond the sites' own work: Consilium and stock Flower, 4 sites, two models.

``python -m benchmarks.round [--json] [--rounds N]``. Both run on this machine, one after the other, over TLS with
node authentication and an SQLite state. The first round of each is a warm-up and is not counted. Figures are
medians.

* ``round_s``: Consilium, from the first question of a round to its stored aggregate: both exchanges, opening the
  aggregate before, training, quantising, sealing, comparing headers, releasing, adding. Read from the coordinator's
  journal.
* ``own_work_s``: training alone, one step a round on a lot of about 6 patients, at the slowest site. Read from the
  sites' own logs. The small model trains with DP-SGD. The large one trains without privacy, because its secure
  noise alone would take longer than everything else.
* ``ours_s``: round_s less own_work_s.
* ``stock_s``: stock Flower, one ``send_and_receive`` of as many float32 values both ways, no training, no sealing.
* ``ratio``: ours_s by stock_s.
* ``site_steps``, ``coordinator_steps``: where the seconds of a round went, on average over rounds and sites
  (:mod:`benchmarks.round_steps`).
* ``bytes_up``, ``bytes_down``: Consilium's bytes of one site in one round; float32 takes 4 bytes a parameter each
  way.
"""

import signal
import tempfile
from collections import Counter
from pathlib import Path
from statistics import fmean, median
from typing import Any, Final

import click

from benchmarks.round_steps import account_for, read_coordinator_steps, read_site_steps
from benchmarks.running_federation import COORDINATOR, Running, running
from benchmarks.small_study import small_terms, without_privacy
from benchmarks.stock import stock_flower
from models.fit import build_study_module
from models.parameters.flatten import count_shared_parameters
from privacy.command_line import print_json, print_table, say
from privacy.study import Terms
from server.federation.config import TimeoutsConfig
from server.results.tally import RoundTally, Tally
from server.study.journal import Journal

SITES: Final = ("ash", "birch", "cedar", "elm")
MODELS: Final[dict[str, dict[str, Any]]] = {
    "small": {"name": "logistic"},
    "large": {"name": "mlp", "options": {"hidden": [3535, 3535]}},
}
_WARM_UP: Final = 1
_PATIENCE_S: Final = 3600.0


@click.command()
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 100), help="Counted rounds each.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def main(rounds: int, as_json: bool) -> None:
    """Seconds per round over the sites' own work, beside stock Flower."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM then ends the processes that it started
    with tempfile.TemporaryDirectory(prefix="round-") as name:
        folder = Path(name)
        say("Consilium ...")
        found = _ours(folder / "ours", rounds)
        say("stock Flower ...")
        (folder / "stock").mkdir()
        with stock_flower(folder / "stock", len(SITES)) as stock:
            for figures in found.values():
                seconds = stock.rounds(figures["parameters"], _WARM_UP + rounds)[_WARM_UP:]
                figures["stock_s"] = round(median(seconds), 3)
                figures["ratio"] = round(figures["ours_s"] / figures["stock_s"], 3)
    if as_json:
        print_json(found)
        return
    keys = ("parameters", "round_s", "own_work_s", "ours_s", "stock_s", "ratio", "bytes_up", "bytes_down", "rounds")
    print_table(("", *found), [(key, *(f"{figures[key]:,}" for figures in found.values())) for key in keys])
    for party in ("site_steps", "coordinator_steps"):
        names = list(dict.fromkeys(name for figures in found.values() for name in figures[party]))
        click.echo()
        print_table(
            (party, *found),
            [(name, *(f"{figures[party].get(name, 0.0):.2f}" for figures in found.values())) for name in names],
        )


def _terms(name: str, rounds: int) -> Terms:
    training = {"rounds": _WARM_UP + rounds, "local_steps": 1, "sampling_rate": 0.1, "learning_rate": 0.01}
    changes = {"model": MODELS[name], "training": training, "evaluation": {"rounds": []}}
    terms = without_privacy(**changes) if name == "large" else small_terms(**changes, privacy={"epsilon": 0.3})
    return terms.model_copy(update={"name": name})


def _ours(folder: Path, rounds: int) -> dict[str, dict[str, Any]]:
    folder.mkdir()
    with running(folder, SITES, _terms("small", rounds), TimeoutsConfig()) as federation:
        return {name: _measured(federation, _terms(name, rounds)) for name in MODELS}


def _measured(federation: Running, terms: Terms) -> dict[str, Any]:
    before = {name: len(federation.training_seconds(name)) for name in SITES}
    study = federation.launch(terms)
    federation.finish(study, _PATIENCE_S)
    rounds = _rounds(federation, study)[_WARM_UP:]
    own = [federation.training_seconds(name)[before[name] + _WARM_UP :] for name in SITES]
    whole, average = median(tally.seconds for tally in rounds), fmean(tally.seconds for tally in rounds)
    steps: Counter[str] = Counter()
    for name in SITES:
        steps.update(read_site_steps(federation, name, study, _WARM_UP))
    slowest = median(max(seconds) for seconds in zip(*own, strict=True))
    return {
        "parameters": count_shared_parameters(build_study_module(terms)),
        "rounds": len(rounds),
        "round_s": round(whole, 3),
        "own_work_s": round(slowest, 3),
        "ours_s": round(whole - slowest, 3),
        "bytes_up": round(fmean(tally.bytes_up for tally in rounds) / len(SITES)),
        "bytes_down": round(fmean(tally.bytes_down for tally in rounds) / len(SITES)),
        "site_steps": account_for(steps, len(rounds) * len(SITES), average),
        "coordinator_steps": account_for(read_coordinator_steps(federation, study, _WARM_UP), len(rounds), average),
    }


def _rounds(federation: Running, study: str) -> list[RoundTally]:
    tally = Tally()
    with Journal(federation.folder / COORDINATOR / "studies" / study) as journal:
        for note in journal.read_notes():
            tally.add_note(note)
    return [tally.rounds[number] for number in sorted(tally.rounds)]


if __name__ == "__main__":
    main()
