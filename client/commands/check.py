"""``consilium-site check``: whether this site can take part in studies, and what to do if not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from privacy.errors import SiteHealthError

if TYPE_CHECKING:
    from client.site.folder import SiteFolder


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def check(home: SiteFolder, as_json: bool) -> None:
    """Look at everything that this site needs; each line is green, amber or red, with the next step.

    Nothing is changed. The command ends with 0 if no line is red, else with 34.
    """
    from client.health.site import examine_site
    from privacy.health import print_health

    health = examine_site(home)
    print_health(health, as_json=as_json)
    health.require_no_red(SiteHealthError)
