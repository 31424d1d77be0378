"""``consilium-site``: the command of the site engineer and the data protection officer.

Every command works on one site's folder: ``--dir``, or the environment variable ``CONSILIUM_SITE``, or here.
"""

from dataclasses import asdict
from pathlib import Path

import click

from client.admission import study_noise, training_event
from client.data import register
from client.home import SiteHome
from client.registration import register_files
from privacy.budget import Planned, Purpose, choose_order
from privacy.console import print_json, print_table, run, say
from privacy.enrolment import SignedAdmission, read_enrolment
from privacy.errors import SiteConfigError, WireError
from privacy.keys import PublicKey
from privacy.study import Terms, read_terms


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--dir",
    "folder",
    envvar="CONSILIUM_SITE",
    default=".",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The site's folder (environment: CONSILIUM_SITE).",
)
@click.pass_context
def cli(context: click.Context, folder: Path) -> None:
    """Take part in studies with this hospital's data, under this hospital's rules."""
    context.obj = SiteHome(folder)


@cli.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="What others call this site: lower-case letters, digits, hyphens.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
def init(folder: Path, name: str, device: str) -> None:
    """Make a site in DIR: its keys, its book, its policy (site.yaml)."""
    home = SiteHome.init(folder, name, device)
    say(f"made the site '{name}' in {folder}; read {folder}/site.yaml and set its policy")
    say("its identity key, to be compared with other sites' people:")
    click.echo(home.identity().public.text)


@cli.command()
@click.option("--request", type=click.Path(path_type=Path), help="Write the join request to this file.")
@click.option("--admission", type=click.Path(path_type=Path), help="Take in the coordinator's answer.")
@click.pass_obj
def join(home: SiteHome, request: Path | None, admission: Path | None) -> None:
    """Join a coordinator: hand over a request, take in its admission. Keys never leave the site."""
    if (request is None) == (admission is None):
        raise click.UsageError("give either --request FILE (first) or --admission FILE (with the answer)")
    if request is not None:
        _write_new(request, home.join_request().to_bytes() + b"\n")
        say(f"wrote {request}; it contains public keys only; hand it to the coordinator's operator")
        return
    assert admission is not None
    statement = home.accept(read_enrolment(admission, SignedAdmission, SiteConfigError))
    say(f"joined '{statement.federation}' at {statement.address}")
    say("compare the coordinator's identity key with its operator before you start:")
    click.echo(statement.coordinator)


@cli.group()
def peer() -> None:
    """The other sites this one deals with: keys that people have compared."""


@peer.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def peer_list(home: SiteHome, as_json: bool) -> None:
    """The pinned peers and their keys."""
    pinned = home.peers().pinned
    if as_json:
        print_json({"peers": [{"name": name, "key": key} for name, key in sorted(pinned.items())]})
    else:
        print_table(("peer", "key"), sorted(pinned.items()))


@peer.command("trust")
@click.argument("name")
@click.argument("key")
@click.pass_obj
def peer_trust(home: SiteHome, name: str, key: str) -> None:
    """Pin KEY as the identity of the site NAME, after comparing it with its people."""
    try:
        public = PublicKey.from_text(key)
    except WireError as error:
        raise SiteConfigError(f"the key of '{name}': {error}") from None
    home.pin(name, public)
    say(f"'{name}' is pinned")


@peer.command("forget")
@click.argument("name")
@click.pass_obj
def peer_forget(home: SiteHome, name: str) -> None:
    """Trust NAME no more."""
    home.forget(name)
    say(f"'{name}' is no longer pinned")


@cli.group()
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


@cli.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def budget(context: click.Context, as_json: bool) -> None:
    """What was granted, spent and set aside for each population, and what is left."""
    if context.invoked_subcommand is not None:
        return
    home: SiteHome = context.obj
    with home.open_ledger() as ledger:
        budgets = ledger.budgets()
    if as_json:
        print_json({"populations": [each.model_dump(mode="json") for each in budgets]})
        return
    rows = [
        (
            each.population,
            "-" if each.epsilon_granted is None else f"{each.epsilon_granted:g}",
            "-" if each.delta is None else f"{each.delta:g}",
            "unbounded" if each.epsilon_spent is None else f"{each.epsilon_spent:.3f}",
            f"{each.epsilon_set_aside:.3f}",
            f"{each.epsilon_left:.3f}",
        )
        for each in budgets
    ]
    bare = {number for number, each in enumerate(budgets) if each.epsilon_spent is None}
    print_table(("population", "epsilon", "delta", "spent", "set aside", "left"), rows, bare)


@budget.command("grant")
@click.argument("population")
@click.option("--epsilon", required=True, type=float, help="The most that all studies together may cost.")
@click.option("--delta", required=True, type=float, help="At most one in the number of patients.")
@click.option(
    "--typical",
    "study",
    required=True,
    metavar="STUDY.yaml",
    type=click.Path(path_type=Path),
    help="A study like those expected: the Renyi order that serves it best is fixed for this grant.",
)
@click.pass_obj
def budget_grant(home: SiteHome, population: str, epsilon: float, delta: float, study: Path) -> None:
    """Grant POPULATION its budget, once; it is not enlarged later."""
    order = choose_order(epsilon, delta, _typical_plan(read_terms(study)))
    with home.open_ledger() as ledger:
        ledger.grant(population, epsilon, delta, order)
    say(f"granted '{population}' epsilon {epsilon:g} at delta {delta:g}, kept at Renyi order {order}")


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def status(home: SiteHome, as_json: bool) -> None:
    """Who this site is, what it has joined and registered, and the head of its book."""
    from client.overview import overview

    facts = overview(home)
    if as_json:
        print_json(facts)
        return
    print_table(
        ("", ""),
        [
            ("site", facts["site"]),
            ("identity", facts["identity"]),
            ("coordinator", facts["coordinator"] or "not joined"),
            ("peers", ", ".join(facts["peers"]) or "none pinned"),
            ("data", ", ".join(facts["populations"]) or "none registered"),
            ("ledger", f"{facts['ledger']['number']} entries, head {facts['ledger']['hash']}"),
            *(
                (f"study {each['study']}", f"round {each['applied']} of {each['rounds']}, {each['state']}")
                for each in facts["studies"]
            ),
        ],
    )


@cli.command()
@click.pass_obj
def up(home: SiteHome) -> None:
    """Connect to the coordinator and take part in studies until stopped (Ctrl-C or SIGTERM)."""
    from client.up import serve_site

    serve_site(home)


@cli.command()
@click.argument("study", metavar="STUDY.yaml", type=click.Path(path_type=Path))
@click.option("--train", required=True, multiple=True, type=click.Path(path_type=Path), help="CSV; repeat to pool.")
@click.option("--test", required=True, multiple=True, type=click.Path(path_type=Path), help="CSV; may be repeated.")
@click.option("--private/--not-private", required=True, help="With the study's epsilon, or without privacy.")
@click.option(
    "--repeats", default=1, show_default=True, type=click.IntRange(1, 1000), help="Fresh randomness each."
)
def simulate(study: Path, train: tuple[Path, ...], test: tuple[Path, ...], private: bool, repeats: int) -> None:
    """Train on public CSV files in one place, for comparison: nothing is charged and nothing sealed."""
    from client.simulate import simulate as simulated

    terms = read_terms(study)
    noise = study_noise(terms) if private else None
    runs = simulated(terms, train, test, noise, repeats)
    print_json({"simulated": True, "private": private, "runs": [asdict(run) for run in runs]})


def main() -> None:
    """The console script."""
    run(cli, "consilium-site")


def _typical_plan(terms: Terms) -> tuple[Planned, ...]:
    event = training_event(terms, study_noise(terms))
    return (Planned(purpose=Purpose.TRAIN, event=event, times=terms.training.rounds),)


def _write_new(path: Path, data: bytes) -> None:
    try:
        with path.open("xb") as file:
            file.write(data)
    except OSError as error:
        raise SiteConfigError(f"{path}: cannot be written: {error.strerror}") from None
