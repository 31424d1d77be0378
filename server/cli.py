"""``consilium``: the command of whoever coordinates studies.

Every command works on one federation's folder: ``--dir``, or the environment variable ``CONSILIUM_DIR``, or here.
``study`` commands talk to the coordinator's process (``consilium up``) on this host.
"""

import threading
from pathlib import Path
from typing import Any

import click

from privacy.command_line import Commands, print_json, run, say
from privacy.errors import FederationError
from privacy.logs import log_to
from privacy.process_lifetime import stop_on_signals
from server.commands.sites import sites
from server.commands.study import study
from server.commands.testimony import testimony
from server.federation.folder import CoordinatorConfig, Federation


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
    federation = Federation.init(folder, config)
    if config.reach:
        say(config.reach)
    say(f"made the federation '{name}' in {folder}; its identity key, to be compared with sites' people:")
    click.echo(federation.identity().public.typed)


@cli.command()
@click.pass_obj
def up(federation: Federation) -> None:
    """Run the coordinator until stopped (Ctrl-C); studies go on where they were."""
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
    say("stopped; studies go on with the next 'consilium up'")


for group in (sites, study, testimony):
    cli.add_command(group)


@cli.command()
@click.option("--data", type=click.Choice(["breast-cancer", "heart"]), default="breast-cancer", show_default=True)
@click.option("--path", type=click.Path(path_type=Path), help="With heart: the folder of the four UCI files.")
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="Make the federation here, not in /tmp.")
@click.option("--keep", is_flag=True, help="Leave the folder for inspection.")
@click.option("--epsilon", default="3", show_default=True, help="The study's epsilon, or 'none': no privacy.")
@click.option("--rounds", type=click.IntRange(1, 1000), help="Instead of the study's own number.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def demo(
    data: str, path: Path | None, folder: Path | None, keep: bool, epsilon: str, rounds: int | None, as_json: bool
) -> None:
    """Four hospitals on this machine train one model together, for real."""
    from server.demo.demo import Demo, DemoChoice

    choice = DemoChoice(data=data, path=path, folder=folder, keep=keep, epsilon=epsilon, rounds=rounds)
    result: dict[str, Any] = Demo(choice, quiet=as_json).run()
    if as_json:
        print_json(result)


def main() -> None:
    """The console script."""
    run(cli, "consilium")
