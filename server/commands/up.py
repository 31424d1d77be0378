"""``consilium up``: run the coordinator."""

import logging
import threading
from typing import TYPE_CHECKING

import click

from privacy.command_line import say
from privacy.logs import log_to
from privacy.process_lifetime import stop_on_signals

if TYPE_CHECKING:
    from server.federation.folder import Federation
    from server.federation.profile import Profile


@click.command()
@click.option("--log-json", is_flag=True, help="Log JSON, one object a line, on stderr and in coordinator.log.")
@click.pass_obj
def up(place: "Federation | Profile", log_json: bool) -> None:
    """Run the coordinator until stopped (Ctrl-C); studies continue where they were."""
    from privacy.process_memory import share_one_heap
    from server.commands.connect import require_federation
    from server.control.coordinator import Coordinator

    share_one_heap()
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
