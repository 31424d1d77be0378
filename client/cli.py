"""``consilium-site``: the command line of the site engineer and the data protection officer.

Every command works on the folder of one site: ``--dir``, else the environment variable ``CONSILIUM_SITE``, else the
current folder.
"""

from pathlib import Path
from typing import Any

import click

from client.commands.approve import approve, refuse, revoke
from client.commands.audit_run import audit_run
from client.commands.backup import backup, confirm_policy, restore
from client.commands.budget import budget
from client.commands.check import check
from client.commands.consortium import consortium
from client.commands.data import data
from client.commands.doctor import doctor
from client.commands.evidence import evidence
from client.commands.explain import explain
from client.commands.export import export
from client.commands.join import join
from client.commands.key import key
from client.commands.ledger import ledger
from client.commands.peer import peer
from client.commands.policy import policy
from client.commands.predict import predict
from client.commands.release import release
from client.commands.report import report
from client.commands.simulate import simulate
from client.commands.weights import weights
from client.commands.withdraw import withdraw
from client.site.folder import SiteFolder
from privacy.command_line import Commands, print_json, print_table, run, say


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="consilium", message="%(prog)s %(version)s")
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
    context.obj = SiteFolder(folder)


@cli.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="What others call this site: lower-case letters, digits, hyphens.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
def init(folder: Path, name: str, device: str) -> None:
    """Make a site in DIR: its keys, its ledger, its policy (policy.yaml)."""
    home = SiteFolder.create(folder, name, device)
    say(
        f"made the site '{name}' in {folder}, where every study waits for a person; read {folder}/policy.yaml and "
        "set its policy"
    )
    say("its identity key, to be compared with other sites' people:")
    click.echo(home.load_identity().public.typed)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def status(home: SiteFolder, as_json: bool) -> None:
    """Who this site is, whether it runs, where studies stand, and the head of its ledger."""
    from client.commands.status import list_site_facts

    facts = list_site_facts(home)
    if as_json:
        print_json(facts)
        return
    print_table(
        ("", ""),
        [
            ("site", facts["site"]),
            ("", _describe_running(facts["running"])),
            *([("ROLLED BACK", facts["rolled_back"])] if facts["rolled_back"] else []),
            ("identity", facts["identity"]),
            ("coordinator", facts["coordinator"] or "not joined"),
            ("peers", ", ".join(facts["peers"]) or "none pinned"),
            ("data", ", ".join(facts["populations"]) or "none registered"),
            ("ledger", f"{facts['ledger']['number']} entries, head {facts['ledger']['hash']}"),
            *((f"study {each['study']}", _describe_standing(each)) for each in facts["studies"]),
            *((f"study {each['study']}", _describe_waiting(each)) for each in facts["waiting"]),
        ],
    )


def _describe_running(link: dict[str, Any] | None) -> str:
    if link is None:
        return "does not run; start it with: consilium-site up"
    since = f"runs since {link['running_since']}" if link["running_since"] else "runs"
    if link["connected_since"]:
        return f"{since}, connected since {link['connected_since']}"
    return f"{since}, not connected: {link['sentence'] or 'it is being tried'}"


def _describe_waiting(waiting: dict[str, Any]) -> str:
    return f"waits for a person since {waiting['since']}: consilium-site approve {waiting['study']}"


def _describe_standing(study: dict[str, Any]) -> str:
    rounds = f"round {study['applied']} of {study['rounds']}"
    match study["state"]:
        case "withheld":
            return (
                f"{rounds}, finished; its model waits for a person: consilium-site release approve {study['study']}"
            )
        case "finished":
            if study["statistics"] is not None:
                return f"finished; the statistics of all sites are in {study['statistics']}"
            return f"{rounds}, finished; its model is in {study['release']}"
        case "ended":
            return f"{rounds}, ended here: the ledger has closed its account"
        case _:
            return f"{rounds}, open"


@cli.command()
@click.option("--log-json", is_flag=True, help="Log JSON, one object a line, on stderr and in log/site.log.")
@click.pass_obj
def up(home: SiteFolder, log_json: bool) -> None:
    """Connect to the coordinator and take part in studies until stopped (Ctrl-C)."""
    from client.connection.service import serve_site

    serve_site(home, log_json=log_json)


for noun in (
    join,
    policy,
    peer,
    consortium,
    data,
    weights,
    budget,
    approve,
    refuse,
    revoke,
    withdraw,
    ledger,
    key,
    release,
    predict,
    explain,
    report,
    export,
    simulate,
    audit_run,
    check,
    backup,
    restore,
    confirm_policy,
    doctor,
    evidence,
):
    cli.add_command(noun)


def main() -> None:
    """Run the console script."""
    run(cli, "consilium-site")
