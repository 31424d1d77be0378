"""``consilium init``: make a federation."""

from pathlib import Path

import click

from privacy.command_line import say
from privacy.errors import FederationError
from server.federation.ports import CONTROL_PORT, LOOPBACK, SUPERLINK_PORT


@click.command()
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
    from privacy.address import is_loopback
    from privacy.document import parse
    from server.federation.config import CoordinatorConfig
    from server.federation.folder import Federation

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
