"""A site's ClientApp: it answers an envelope with an envelope, and only installed code runs.

Rules:

* one handler answers everything; what a request means is in its envelope, not in Flower's message type;
* an expected failure is answered with what may leave of it (``client/study/problem.py``);
* an unexpected failure is answered with its class and nothing more: its text could quote a record, so it stays in
  the site's own log;
* a failure of the ledger, a key file or the site's folder ends the agent: a site that cannot record must not act;
* what interrupts the agent leaves as it is, without a reply.
"""

import logging
from collections.abc import Callable
from typing import Final

from flwr.app import Context, Message
from flwr.app import Error as FlowerError
from flwr.clientapp import ClientApp
from flwr.common.constant import ErrorCode

from client.connection.link import InterruptError
from client.study.problem import describe_error
from privacy.errors import Error, KeyFileError, LedgerError, RefusedError, SiteConfigError
from privacy.protocol.envelope import Envelope
from privacy.protocol.flower_records import from_records, to_records
from privacy.refusal_codes import RefusalCode

Answer = Callable[[Envelope], Envelope]

_LEAVING: Final = (LedgerError, KeyFileError, SiteConfigError, InterruptError)
_log = logging.getLogger(__name__)


def make_client_app(answer: Answer) -> ClientApp:
    """Return a ClientApp that answers every envelope with ``answer``.

    Calling it raises LedgerError, KeyFileError, SiteConfigError or InterruptError when ``answer`` does; any other
    failure becomes an error reply.
    """
    app = ClientApp()

    @app.query()
    def handle(message: Message, _: Context) -> Message:
        try:
            return Message(to_records(answer(from_records(message.content))), reply_to=message)
        except _LEAVING:
            raise
        except Error as error:
            _log.warning("a request was refused: %s", error)
            reason = describe_error(error).sentence
        except Exception as error:
            _log.exception("a request failed unexpectedly")
            reason = f"the site failed unexpectedly ({type(error).__name__}); its own log says why"
        return Message(FlowerError(ErrorCode.CLIENT_APP_RAISED_EXCEPTION, reason), reply_to=message)

    return app


def _refuse(_: Envelope) -> Envelope:
    raise RefusedError(
        RefusalCode.NO_AGENT, "this site answers through its own agent only; start it with: consilium-site up"
    )


app = make_client_app(_refuse)
"""The app that a run's bundle names. A stock SuperNode that loads it can only refuse."""
