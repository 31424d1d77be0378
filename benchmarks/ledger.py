"""Measure a ledger: appending, verifying, the report, a Rényi filter query; and the start of the commands.

``python -m benchmarks.ledger [--json] [--folder DIR]``. Everything runs on this machine, on the disk of DIR.

* ``append_p50_ms``, ``append_p99_ms``: one durable entry (a round reserved, or a round settled) through the site's
  own ledger; ``synchronous`` is the setting that its connection reports (2 is FULL).
* ``verify``, ``report``: ``consilium-audit verify`` and ``report`` of a ledger with that many entries, from start to
  end of the process.
* The ledgers of ``verify`` hold studies of 50 rounds with different noise and a checkpoint after every round.
  Their entries are checked and signed as usual, but written in one transaction: they are input, and are not
  measured.
* ``filter_query_ms``: whether a study of 1,000 different events fits a grant, the first time (``cold``) and again.
* ``budget``: ``consilium-site budget`` with a ledger of about 100 entries; ``budget_10000`` with 10,000, opened
  before, so that the site's mark says which entries it has verified; ``budget_10000_first``: the first time.
* ``help``: ``--help`` of each program, and of the command whose help takes longest.

A program has two figures, ``s`` from its start to its end, and ``cpu_s``, the processor time of all its processes,
which depends less on what else the machine does. They are medians: of 7 runs, of 3 for a verification, of 1 for a
report and the first budget.
"""

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

import click

import client.cli
import privacy.audit.cli
import server.cli
from client.site.folder import SiteFolder
from privacy.accounting.account import Account
from privacy.accounting.epsilon import compute_renyi_limit, compute_stored_curve
from privacy.accounting.events import Gaussian, SampledGaussian
from privacy.accounting.plan import Planned, Purpose, compute_plan_curve
from privacy.accounting.renyi import STORED_ORDERS
from privacy.command_line import print_json, print_table, say
from privacy.keys import SigningKey
from privacy.ledger import Ledger, LedgerState
from privacy.ledger.database import create_tables
from privacy.ledger.entries import (
    Allow,
    Body,
    Checkpoint,
    Evaluate,
    Grant,
    ModelRelease,
    Open,
    Population,
    Reserve,
    Return,
    Settle,
)
from privacy.ledger.signed_head import Countersigned, LedgerHead
from privacy.signed import Signed

SIZES: Final = (10_000, 100_000)
APPENDS: Final = 1000
EVENTS: Final = 1000
STARTS: Final = 7
VERIFICATIONS: Final = 3
_PROGRAMS: Final[dict[str, click.Group]] = {
    "consilium": server.cli.cli,
    "consilium-site": client.cli.cli,
    "consilium-audit": privacy.audit.cli.cli,
}
_ROUNDS: Final = 50
_POPULATION: Final = "benchmark"
_EPSILON: Final = 100.0
_DELTA: Final = 1e-3
_PATIENTS: Final = 990
_ORDER: Final = 8
_DIGEST: Final = "0" * 64


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--folder",
    default=tempfile.gettempdir(),
    show_default=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the ledgers are written.",
)
def main(as_json: bool, folder: Path) -> None:
    """Measure the ledger, on this disk."""
    with tempfile.TemporaryDirectory(prefix="ledger-", dir=folder) as name:
        home = SiteFolder.create(Path(name) / "site", "bench")
        found = {**_append(home), **_filter_query()}
        budget = ("consilium-site", "--dir", str(home.folder), "budget")
        found["budget"] = _run(STARTS, *budget)
        found["help"] = {program: _run(STARTS, program, "--help") for program in _PROGRAMS} | _run_slowest_help()
        found |= {"verify": {}, "report": {}}
        for size in SIZES:
            say(f"a ledger of {size:,} entries ...")
            ledger_state = home.folder / f"{size}.sqlite"
            write_ledger(ledger_state, home.load_identity(), size)
            found["verify"][str(size)] = _run(VERIFICATIONS, "consilium-audit", "verify", str(ledger_state))
            page = home.folder / f"{size}.html"
            found["report"][str(size)] = _run(1, "consilium-audit", "report", str(ledger_state), "-o", str(page))
        shutil.copy(home.folder / f"{SIZES[0]}.sqlite", home.ledger_path)
        found["budget_10000_first"] = _run(1, *budget)
        found["budget_10000"] = _run(STARTS, *budget)
    if as_json:
        print_json(found)
        return
    print_table(("figure", ""), [(key, f"{figure:,}") for key, figure in _flatten(found)])


def _flatten(found: dict[str, Any], before: str = "") -> Iterator[tuple[str, float]]:
    for key, value in found.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{before}{key} ")
        else:
            yield f"{before}{key}", value


def _append(home: SiteFolder) -> dict[str, Any]:
    """Time entries that are appended one by one, as by a site in a study."""
    event = SampledGaussian(noise_multiplier=20, sampling_rate=0.01, steps=10)
    with Ledger.open(home.ledger_path, home.load_identity()) as ledger:
        ledger.register_population(_POPULATION, _DIGEST, _PATIENTS, 1, _DIGEST, "c" * 64, "id")
        ledger.grant(_POPULATION, _EPSILON, _DELTA, _ORDER)
    # The ledger without these appends is put back below: budget_s is measured on a short one.
    young = home.ledger_path.read_bytes()
    with Ledger.open(home.ledger_path, home.load_identity()) as ledger:
        (synchronous,) = ledger._connection.execute("PRAGMA synchronous").fetchone()
        ledger.allow("appended", _POPULATION, [_planned(event, APPENDS)], _DIGEST)
        times = []
        for number in range(APPENDS // 2):
            times.append(_timed(lambda number=number: ledger.reserve("appended", number, event)))  # type: ignore[misc]
            times.append(_timed(lambda number=number: ledger.settle("appended", number)))  # type: ignore[misc]
    home.ledger_path.write_bytes(young)
    with Ledger.open(home.ledger_path, home.load_identity()) as ledger:
        ledger.allow("young", _POPULATION, [_planned(event, _ROUNDS)], _DIGEST)
        for number in range(_ROUNDS):
            ledger.reserve("young", number, event)
            ledger.settle("young", number)
    percentiles = quantiles(times, n=100)
    return {
        "synchronous": synchronous,
        "append_p50_ms": round(percentiles[49] * 1000, 3),
        "append_p99_ms": round(percentiles[98] * 1000, 3),
    }


def _filter_query() -> dict[str, Any]:
    account = Account(_POPULATION)
    account.add_grant(_EPSILON, _DELTA, _ORDER)
    plan = [
        _planned(SampledGaussian(noise_multiplier=20 + number / 7, sampling_rate=0.01, steps=10 + number), 1)
        for number in range(EVENTS)
    ]
    cold = _timed(lambda: account.find_grant("asked", plan))
    warm = median(_timed(lambda: account.find_grant("asked", plan)) for _ in range(STARTS))
    return {"filter_query_ms": {"cold": round(cold * 1000, 3), "again": round(warm * 1000, 3)}}


def write_ledger(path: Path, key: SigningKey, entries: int) -> None:
    """Write a ledger with this many entries, each checked and signed, in one transaction."""
    path.touch(mode=0o600)
    ledger_state, time = LedgerState(), datetime(2026, 1, 1, tzinfo=UTC)
    with closing(create_tables(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        for body in _life(ledger_state, key):
            if ledger_state.head.number == entries:
                break
            time += timedelta(minutes=1)
            signed = ledger_state.append(body, time.strftime("%Y-%m-%dT%H:%M:%SZ"), key)
            connection.execute(
                "INSERT INTO entry VALUES (?, ?, ?)", (ledger_state.head.number, signed.entry, signed.signature)
            )
        connection.execute("COMMIT")


def _life(ledger_state: LedgerState, key: SigningKey) -> Iterator[Body]:
    """Yield the entries of a population, its grant, and one study after the other without end."""
    yield Open(site="bench", key=key.public.text)
    yield Population(
        population=_POPULATION,
        contract=_DIGEST,
        patient_column="id",
        data=_DIGEST,
        patients=_PATIENTS,
        records_per_patient=1,
        patients_commitment=_DIGEST,
    )
    yield Grant(
        population=_POPULATION,
        epsilon=_EPSILON,
        delta=_DELTA,
        order=_ORDER,
        limit=compute_renyi_limit(_EPSILON, _DELTA, _ORDER),
    )
    number = 0
    while True:
        number += 1
        yield from _study(ledger_state, key, f"study-{number}", 200 + number / 7)


def _study(ledger_state: LedgerState, key: SigningKey, study: str, noise: float) -> Iterator[Body]:
    step = SampledGaussian(noise_multiplier=noise, sampling_rate=0.01, steps=10)
    totals = Gaussian(noise_multiplier=10 * noise, count=1)
    plan = (_planned(step, _ROUNDS), Planned(purpose=Purpose.EVALUATE, event=totals, times=_ROUNDS // 10))
    prices = {event: compute_stored_curve(event) for event in (step, totals)}
    at = STORED_ORDERS.index(_ORDER)
    curve = compute_plan_curve(plan)
    assert curve is not None  # both are bounded
    yield Allow(
        study=study,
        population=_POPULATION,
        terms=_DIGEST,
        plan=plan,
        grant=1,
        curve=curve,
        charge=curve[at],
    )
    for number in range(1, _ROUNDS + 1):
        paid = prices[step] or ()
        yield Reserve(study=study, round=number, event=step, curve=paid, charge=paid[at])
        yield Settle(study=study, round=number)
        if number % 10 == 0:
            paid = prices[totals] or ()
            yield Evaluate(study=study, round=number, event=totals, curve=paid, charge=paid[at])
        head = Signed[LedgerHead].sign(key, ledger_state.make_head_statement())
        yield Checkpoint(
            witness=key.public.text, countersigned=Countersigned.sign(key, "coordinator", head)
        )  # one key signs for site and coordinator; the cost is the same
    yield ModelRelease(study=study, model=_DIGEST)
    yield Return(study=study, charge=0)


def _planned(event: SampledGaussian, times: int) -> Planned:
    return Planned(purpose=Purpose.TRAIN, event=event, times=times)


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _run(times: int, program: str, *arguments: str) -> dict[str, float]:
    """Run one of our programs, and return the medians of its seconds and of the CPU seconds of all its processes."""
    command = [str(Path(sys.executable).with_name(program)), *arguments]
    took, used = [], []
    for _ in range(times):
        before = _children_cpu()
        took.append(_timed(lambda: subprocess.run(command, check=True, capture_output=True)))
        used.append(_children_cpu() - before)
    return {"s": round(median(took), 3), "cpu_s": round(median(used), 3)}


def _run_slowest_help() -> dict[str, dict[str, float]]:
    """Show the help of every command once, and measure the one that took the most CPU seconds."""
    commands = [words for program, group in _PROGRAMS.items() for words in _list_commands(group, (program,))]
    used = {words: _run(1, *words, "--help")["cpu_s"] for words in commands}
    slowest = max(commands, key=lambda words: used[words])
    return {" ".join(slowest): _run(STARTS, *slowest, "--help")}


def _list_commands(group: click.Group, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*words, name)
        if isinstance(command, click.Group):
            yield from _list_commands(command, (*words, name))


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
