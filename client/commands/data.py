"""``consilium-site data``: which files hold whose patients."""

from pathlib import Path

import click

from client.commands.objections import data_object
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
@click.option(
    "--different-from",
    multiple=True,
    metavar="POPULATION",
    help="Its patients are other people, though identifiers are alike; stands in the ledger. Repeat.",
)
@click.pass_obj
def data_add(
    home: SiteHome, study: Path, train: Path, test: Path, population: str | None, different_from: tuple[str, ...]
) -> None:
    """Register two CSV files that keep STUDY.yaml's data contract, as patients of a population."""
    registration = register_files(home, read_terms(study).data, train, test, population, different_from)
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


data.add_command(data_object)
