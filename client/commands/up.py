"""``consilium-site up``: take part in studies."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from client.site.folder import SiteFolder


@click.command()
@click.option("--log-json", is_flag=True, help="Log JSON, one object a line, on stderr and in log/site.log.")
@click.pass_obj
def up(home: "SiteFolder", log_json: bool) -> None:
    """Connect to the coordinator and take part in studies until stopped (Ctrl-C)."""
    from client.connection.service import serve_site

    serve_site(home, log_json=log_json)
