"""``consilium-site data object``: record, list and take back the objections of patients.

Rules:

* identifiers from stdin are the bytes of a file: UTF-8, with or without a byte order mark;
* the command does what was asked for every patient named. If one of them is not known, it ends with its own exit
  code, so that a script does not take a typing error for success;
* the site holds digests only: it can say whether a named patient objects, and how many object, but not who.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from client.data.identifiers import is_usable, normalise
from privacy.command_line import print_table, say
from privacy.errors import DataError, UnknownPatientsError

if TYPE_CHECKING:
    from client.data.patient_register import PatientRegister
    from client.site.folder import SiteFolder

_COMPARE = "compare the spelling with the table's patient column"


@click.command("object")
@click.argument("patients", metavar="[PATIENT]...", nargs=-1)
@click.option("--list", "listed", is_flag=True, help="Say how many object, or since when each PATIENT does.")
@click.option("--take-back", is_flag=True, help="Let PATIENT... take part in later studies again.")
@click.pass_obj
def data_object(home: SiteFolder, patients: tuple[str, ...], listed: bool, take_back: bool) -> None:
    """Leave PATIENT... out of every study admitted from now on; - reads identifiers from stdin, one a line.

    What was spent on them stays spent, and a study that has been admitted keeps its patients. Whoever is written alike
    (00012, 12 and 12.0) is left out too.
    """
    if listed and take_back:
        raise click.UsageError("give either --list or --take-back")
    named = _read_patients(patients)
    if not named and not (listed and not patients):
        raise click.UsageError("no patient is named: give identifiers, or - and one a line on stdin")
    with home.open_ledger() as ledger:
        known = {name: body.patients_commitment for name, body in ledger.read_state().populations.items()}
    register = home.open_patient_register()
    if listed and named:
        _print_dates(register, named)
    elif listed:
        _print_counts(register, known)
    elif take_back:
        _take_back_objections(register, named)
    else:
        _add_objections(register, named, known)


def _add_objections(register: PatientRegister, named: list[str], known: Mapping[str, str]) -> None:
    found, strangers = register.count_patients(named, known), register.find_unknown(named, known)
    everybody = register.add_objections(named, datetime.now(UTC).date().isoformat())
    say(f"{len(named)} patients will be left out of every study admitted from now on; {everybody} object in all")
    for population, count in found.items():
        say(f"{count} of them in '{population}'")
    if strangers:
        raise UnknownPatientsError(
            f"{len(strangers)} of them in no population of this site, kept for files that are registered later; if you "
            f"expected them, {_COMPARE}"
        )


def _take_back_objections(register: PatientRegister, named: list[str]) -> None:
    objections = register.load_objections()
    unknown = sum(not objections.includes(patient) for patient in named)
    left = register.take_back_objections(named)
    say(
        f"{len(named) - unknown} patients may take part in studies admitted from now on; {left} object in all; a study "
        "that was admitted without them stays without them"
    )
    if unknown:
        raise UnknownPatientsError(f"{unknown} of those named had not objected; {_COMPARE}")


def _print_dates(register: PatientRegister, named: list[str]) -> None:
    objections = register.load_objections()
    print_table(("patient", "objects since"), [(each, objections.find_date(each) or "-") for each in named])


def _print_counts(register: PatientRegister, known: Mapping[str, str]) -> None:
    days = sorted(register.load_objections().since.values())
    rows = [(f"in '{name}'", str(count)) for name, count in register.count_objecting(known).items()]
    print_table(("", "patients who object"), [("in all", str(len(days))), *rows])
    if days:
        say(
            f"the first since {days[0]}, the last since {days[-1]}; the site holds digests only: name patients to ask"
        )


def _read_patients(words: tuple[str, ...]) -> list[str]:
    """Read the normal forms of the patients named, each once, in order.

    Raises:
        DataError: the list is not UTF-8, or a line of it has a control character.
    """
    lines: Iterable[str] = words
    if words == ("-",):
        try:
            lines = sys.stdin.buffer.read().decode("utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise DataError("the list of patients: expected UTF-8, got other bytes; save it as UTF-8") from None
    named: dict[str, None] = {}
    for number, line in enumerate(lines, start=1):
        identifier = normalise(line)
        if identifier and not is_usable(identifier):
            raise DataError(f"patient {number} of the list has a control character; nothing was changed")
        if identifier:
            named[identifier] = None
    return list(named)
