"""``consilium-site data``: which files hold whose patients, and who wants to be left out."""

import sys
from collections.abc import Iterable
from pathlib import Path

import click

from client.data import register
from client.home import SiteHome
from client.registration import register_files
from privacy.console import say
from privacy.errors import SiteConfigError
from privacy.study import read_terms


@click.group()
def data() -> None:
    """The tables this site has, each a population of patients with one budget."""


@data.command("add")
@click.argument("study", metavar="STUDY.yaml", type=click.Path(path_type=Path))
@click.option("--train", required=True, type=click.Path(path_type=Path), help="CSV of the patients to learn from.")
@click.option("--test", required=True, type=click.Path(path_type=Path), help="CSV of the held-out patients.")
@click.option("--population", help="Whose patients they are; without it, a population named like the contract.")
@click.pass_obj
def data_add(home: SiteHome, study: Path, train: Path, test: Path, population: str | None) -> None:
    """Register two CSV files that keep STUDY.yaml's data contract, as patients of a population."""
    registration = register_files(home, read_terms(study).data, train, test, population)
    say(
        f"registered as patients of '{registration.population}'; others will see a patient count of "
        f"{registration.public_patients}"
    )


@data.command("check")
@click.argument("study", metavar="STUDY.yaml", type=click.Path(path_type=Path))
@click.option("--train", type=click.Path(path_type=Path), help="Check this file instead of the registered one.")
@click.option("--test", type=click.Path(path_type=Path), help="Check this file instead of the registered one.")
@click.pass_obj
def data_check(home: SiteHome, study: Path, train: Path | None, test: Path | None) -> None:
    """Check files against STUDY.yaml's data contract; nothing is registered."""
    contract = read_terms(study).data
    known = home.registry().contracts.get(contract.name)
    if known is None and (train is None or test is None):
        raise SiteConfigError(f"no data are registered as '{contract.name}'; name both files: --train and --test")
    first = train or Path(known.train if known else "")
    second = test or Path(known.test if known else "")
    files, _ = register(contract, first.resolve(), second.resolve())
    say(
        f"both files keep the contract '{contract.name}'; the public patient count would be {files.public_patients}"
    )


@data.command("object")
@click.argument("patients", metavar="PATIENT...", nargs=-1, required=True)
@click.pass_obj
def data_object(home: SiteHome, patients: tuple[str, ...]) -> None:
    """Leave PATIENT... out of every study admitted from now on; - reads identifiers from stdin, one a line.

    What was spent on them stays spent, and a study that has been admitted keeps its patients.
    """
    named = set(_identifiers(sys.stdin if patients == ("-",) else patients))
    if not named:
        raise click.UsageError("no patient is named: give identifiers, or - and one a line on stdin")
    with home.open_ledger() as ledger:
        known = {name: body.patients_commitment for name, body in ledger.populations().items()}
    patient_register = home.patients()
    found = patient_register.count(named, known)
    everybody = patient_register.object(named)
    say(f"{len(named)} patients will be left out of every study admitted from now on; {everybody} object in all")
    for population, count in found.items():
        say(f"{count} of them in '{population}'")
    if strangers := len(named) - sum(found.values()):
        say(
            f"{strangers} of them in no population of this site: if you expected them, compare the spelling with the "
            "table's patient column"
        )


def _identifiers(lines: Iterable[str]) -> Iterable[str]:
    return (line.strip() for line in lines if line.strip())
