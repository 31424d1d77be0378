"""Run a site: the agent in this process, training in a warm child process, both ended together.

Events are reported in words (``client/study/activity_log.py``), on stderr and in ``log/site.log``. Figures that are
computed from records go to ``log/`` and nowhere else.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from client.connection.agent import serve
from client.connection.blob_exchange import exchange_blobs
from client.connection.ledger_verification import keep_verifying
from client.connection.link import AgentEvent, Kind
from client.connection.message_listener import MessageListener
from client.connection.metrics import CountingActivity, SiteMetrics
from client.connection.renewal import connect_to_control_plane, keep_renewing
from client.connection.tls_trust import describe_near_expiry, make_tls_context
from client.data.dataset import StudyFiles
from client.site.folder import SiteFolder
from client.site.hooks import EventKind
from client.site.proxy import use_proxy
from client.site.running import Connection, format_now, lock_for_serving, write_connection
from client.study.activity_log import ActivityLog
from client.study.request_handler import RequestHandler
from client.training.interface import TrainingInterface
from client.training.launchers.choose import Place, describe_launcher, make_training
from privacy.command_line import say
from privacy.errors import Error
from privacy.logs import log_to
from privacy.metrics import serve_metrics
from privacy.process_lifetime import stop_on_signals
from privacy.process_memory import keep_freed_memory
from privacy.study.launch import Launch

_KEPT_BYTES: Final = 3 << 27  # a round of 12 million parameters takes and frees less than this several times


def serve_site(home: SiteFolder, *, log_json: bool = False) -> None:
    """Take part in studies until stopped by a signal (``privacy/process_lifetime.py``).

    Raises:
        SiteConfigError: the folder is not that of a site that has joined, another process serves it, or training
            cannot be confined as ``site.yaml`` requires.
        LinkError: the coordinator does not know this site.
        LedgerError, KeyFileError: the ledger or a key does not verify.
    """
    config, admission = home.config, home.load_admission()
    use_proxy(config.proxy)
    keep_freed_memory(_KEPT_BYTES)

    where = describe_launcher(config.launcher)
    place = Place(config.name, home.folder, home.log_path, config.device, config.precision)
    stop = threading.Event()

    def training_for(launch: Launch, files: StudyFiles) -> TrainingInterface:
        return make_training(config.launcher, place, launch.study, launch.terms, files, stop)

    with lock_for_serving(home):
        log_to(home.folder / "log", "site", as_json=log_json)
        stop_on_signals(stop)
        activity = CountingActivity(_show_nothing if log_json else say)
        write_connection(home, Connection(running_since=format_now()))
        site = RequestHandler(home, training_for, activity)
        try:
            activity.report(f"'{site.name}' serves {home.folder}")
            activity.report(where)
            for warning in _list_warnings(home, site):
                activity.report(warning, level=logging.WARNING)
            metrics = SiteMetrics(home, activity)
            on_event = _make_event_reporter(home, activity, metrics)
            credential = home.credentials.path
            tls = make_tls_context(home.ca_path, credential)

            def report_failed_renewal(sentence: str) -> None:
                activity.report(sentence, level=logging.WARNING)
                site.hooks.tell(EventKind.CERTIFICATE_ENDS, sentence)

            keep_renewing(
                home, stop, activity.report, lambda: tls.load_cert_chain(credential), report_failed_renewal
            )

            def report_bad_ledger(sentence: str) -> None:
                activity.report(sentence, level=logging.ERROR)
                site.hooks.tell(EventKind.INCIDENT, sentence)

            keep_verifying(home, stop, report_bad_ledger)
            listener = MessageListener(lambda: connect_to_control_plane(home), stop)

            def warn(sentence: str) -> None:
                activity.report(sentence, level=logging.WARNING)

            with serve_metrics(config.metrics_port, metrics.collect, warn, metrics.close):
                serve(
                    admission.address,
                    home.ca_path,
                    home.node_key_path,
                    exchange_blobs(home, site.answer, site.compute_blob_limit, site.open_ahead),
                    on_event=on_event,
                    stop=stop,
                    tls=tls,
                    listener=listener,
                    memory=home.folder / "node.json",
                )
        except Error as error:
            logging.getLogger(__name__).error("%s", error)
            raise
        finally:
            site.close()
        activity.report(f"'{site.name}' has stopped")


def _show_nothing(line: str) -> None:
    """Show nothing: the log has the line, and goes to the screen itself."""


def _list_warnings(home: SiteFolder, site: RequestHandler) -> list[str]:
    """List what this site's people have to act on."""
    warnings = []
    if ends := describe_near_expiry(home.ca_path, time.time()):
        warnings.append(ends)
    if unconfirmed := home.describe_unconfirmed():
        warnings.append(unconfirmed)
    if (incident := site.find_rollback()) is not None:
        warnings.append(f"this site cannot train: {incident.sentence}")
    return warnings


def _make_event_reporter(
    home: SiteFolder, activity: ActivityLog, metrics: SiteMetrics
) -> Callable[[AgentEvent], None]:
    started = format_now()

    def on_event(event: AgentEvent) -> None:
        metrics.count(event)
        match event.kind:
            case Kind.ONLINE:
                write_connection(home, Connection(running_since=started, connected_since=format_now()))
                activity.report(event.sentence, about="link")
            case Kind.WAITING:
                write_connection(home, Connection(running_since=started, sentence=event.sentence))
                activity.report(f"waiting: {event.sentence}", about="link", level=logging.WARNING)
            case Kind.DROPPED:
                logging.getLogger(__name__).warning("%s", event.sentence)
            case _:
                logging.getLogger(__name__).debug("%s", event.sentence)

    return on_event
