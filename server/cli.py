"""``consilium``: the command of the people who coordinate studies.

Every command works on one federation's folder: ``--dir``, or the environment variable ``CONSILIUM_DIR``, or the
current folder. ``study`` commands call the coordinator's process (``consilium up``) on this host.
"""

import threading
from pathlib import Path

import click

from privacy.command_line import Commands, run, say
from privacy.errors import FederationError
from privacy.logs import log_to
from privacy.process_lifetime import stop_on_signals
from server.commands.demo import demo
from server.commands.model import model
from server.commands.sites import sites
from server.commands.study import study
from server.commands.testimony import testimony
from server.federation.config import CoordinatorConfig
from server.federation.folder import Federation


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="consilium", message="%(prog)s %(version)s")
@click.option(
    "--dir",
    "folder",
    envvar="CONSILIUM_DIR",
    default=".",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The federation's folder (environment: CONSILIUM_DIR).",
)
@click.pass_context
def cli(context: click.Context, folder: Path) -> None:
    """Coordinate studies over hospitals' data, without ever seeing a record or a lone update."""
    context.obj = Federation(folder)


@cli.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="The federation's name: lower-case letters, digits, hyphens.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where sites reach this coordinator.")
@click.option("--port", default=9092, show_default=True, help="And at which port.")
def init(folder: Path, name: str, host: str, port: int) -> None:
    """Make a federation in DIR: its identity, its certificate authority, its configuration."""
    from privacy.document import parse

    config = parse(
        {"federation": name, "host": host, "port": port}, CoordinatorConfig, FederationError, "federation"
    )
    federation = Federation.create(folder, config)
    if config.reach:
        say(config.reach)
    say(f"made the federation '{name}' in {folder}; its identity key, to be compared with sites' people:")
    click.echo(federation.load_identity().public.typed)


@cli.command()
@click.pass_obj
def up(federation: Federation) -> None:
    """Run the coordinator until stopped (Ctrl-C); studies continue where they were."""
    from server.control.coordinator import Coordinator

    config = federation.config
    log_to(federation.folder, "coordinator")
    stop = threading.Event()
    stop_on_signals(stop)
    for sentence in federation.renew_certificates():
        say(sentence)
    say(f"coordinating '{config.federation}' at {config.address}")
    if config.reach:
        say(config.reach)
    Coordinator(federation).serve(stop)
    say("stopped; studies continue with the next 'consilium up'")


for command in (sites, study, model, testimony, demo):
    cli.add_command(command)


def main() -> None:
    """Run the console script ``consilium``."""
    run(cli, "consilium")
