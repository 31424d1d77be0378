"""``consilium check``: whether the coordinator can do its work, or this profile reach it, and what to do if not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from privacy.errors import CoordinatorHealthError

if TYPE_CHECKING:
    from server.federation.folder import Federation
    from server.federation.profile import Profile


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def check(place: Federation | Profile, as_json: bool) -> None:
    """Look at everything that the coordinator needs; each line is green, amber or red, with the next step.

    Nothing is changed. The command ends with 0 if no line is red, else with 45.
    """
    from privacy.health import print_health
    from server.health.coordinator import examine

    health = examine(place)
    print_health(health, as_json=as_json)
    health.require_no_red(CoordinatorHealthError)
