"""``consilium``: the command of the people who coordinate studies.

Every command works on one federation's folder: ``--dir``, or the environment variable ``CONSILIUM_DIR``, or the
current folder. In the folder of a profile, which 'consilium join' makes at another machine, commands call the
coordinator through its gateway.
"""

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from privacy.address import is_loopback
from privacy.command_line import Commands, run, say
from privacy.errors import FederationError
from privacy.logs import log_to
from privacy.process_lifetime import stop_on_signals
from server.commands.audit_run import audit_run
from server.commands.backup import backup, confirm_members, restore
from server.commands.check import check
from server.commands.connect import open_place, require_federation
from server.commands.demo import demo
from server.commands.doctor import doctor
from server.commands.log import log
from server.commands.members import admit, invite, join, remove, requests
from server.commands.model import model
from server.commands.sites import sites
from server.commands.study import study
from server.commands.testimony import testimony
from server.federation.config import CONTROL_PORT, LOOPBACK, SUPERLINK_PORT, CoordinatorConfig
from server.federation.folder import Federation

if TYPE_CHECKING:
    from server.federation.profile import Profile


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="consilium", message="%(prog)s %(version)s")
@click.option(
    "--dir",
    "--federation",
    "folder",
    envvar="CONSILIUM_DIR",
    default=".",
    show_default=True,
    type=click.Path(path_type=Path),
    help="The federation's folder, or a profile's at another machine (environment: CONSILIUM_DIR).",
)
@click.pass_context
def cli(context: click.Context, folder: Path) -> None:
    """Coordinate studies over hospitals' data, without ever seeing a record or a lone update."""
    context.obj = open_place(folder)


@cli.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="The federation's name: lower-case letters, digits, hyphens.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where sites reach this coordinator.")
@click.option("--port", type=int, help="And at which port.  [default: 443 behind a gateway, else 9092]")
@click.option(
    "--gateway", is_flag=True, help="A gateway publishes it; so always where --host is another machine's."
)
@click.option("--superlink-port", default=SUPERLINK_PORT, show_default=True, help="Where the gateway finds it.")
@click.option("--control-port", default=CONTROL_PORT, show_default=True, help="Of the control plane, in all cases.")
@click.option(
    "--listen", default=LOOPBACK, show_default=True, help="0.0.0.0 if the gateway is in another container."
)
@click.option("--contact", default="", help="Whom sites call about this coordinator.")
def init(
    folder: Path,
    name: str,
    host: str,
    port: int | None,
    gateway: bool,
    superlink_port: int,
    control_port: int,
    listen: str,
    contact: str,
) -> None:
    """Make a federation in DIR: its identity, its certificate authority, its configuration."""
    from privacy.document import parse

    behind = gateway or not is_loopback(host)
    if port is None:
        port = 443 if behind else SUPERLINK_PORT
    fields = {"federation": name, "host": host, "port": port, "control_port": control_port, "contact": contact}
    if behind:
        fields |= {"gateway": True, "superlink_port": superlink_port, "listen": listen}
    config = parse(fields, CoordinatorConfig, FederationError, "federation")
    federation = Federation.create(folder, config)
    if config.reach:
        say(config.reach)
    say(f"made the federation '{name}' in {folder}; its identity key, to be compared with sites' people:")
    click.echo(federation.load_identity().public.typed)


@cli.command()
@click.option("--log-json", is_flag=True, help="Log JSON, one object a line, on stderr and in coordinator.log.")
@click.pass_obj
def up(place: "Federation | Profile", log_json: bool) -> None:
    """Run the coordinator until stopped (Ctrl-C); studies continue where they were."""
    from server.control.coordinator import Coordinator

    federation = require_federation(place, "the coordinator")
    config = federation.config
    federation.require_confirmed()
    log_to(federation.folder, "coordinator", as_json=log_json)
    tell = logging.getLogger("activity").info if log_json else say
    stop = threading.Event()
    stop_on_signals(stop)
    for sentence in federation.renew_certificates():
        tell(sentence)
    tell(f"coordinating '{config.federation}' at {config.address}")
    if config.reach:
        tell(config.reach)
    Coordinator(federation).serve(stop)
    tell("stopped; studies continue with the next 'consilium up'")


for command in (
    invite,
    requests,
    admit,
    remove,
    join,
    sites,
    study,
    model,
    testimony,
    log,
    check,
    backup,
    restore,
    confirm_members,
    doctor,
    demo,
    audit_run,
):
    cli.add_command(command)


def main() -> None:
    """Run the console script ``consilium``."""
    run(cli, "consilium")
