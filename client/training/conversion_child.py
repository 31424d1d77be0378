"""Convert a hospital's data in a process of its own: the program of the confined child.

It is started by ``client/training/confined_conversion.py`` with the number of a socket's descriptor. The site sends an
:class:`Order`, once; the child answers with :class:`Told` documents and at last with how it ended.

Rules:

* it ends when the site closes the socket, or ends;
* memory is limited: a file that is made to fill it gives a sentence, and where memory runs short all the same, the
  kernel ends this process and not the site's. What was in memory is never written to a core file;
* what libraries print is dropped, since it may hold what the files hold; with ``CONSILIUM_TRACEBACK=1`` a defect of
  this program is shown.
"""

import contextlib
import os
import resource
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from client.training import frames
from privacy.canonical import from_canonical
from privacy.command_line import TRACEBACK
from privacy.document import Document, parse
from privacy.errors import DataError, DataUnavailableError, Error, SiteConfigError, StorageError
from privacy.process_lifetime import call_when_closed, leave_terminal_to_parent
from privacy.study import AnyContract

MAX_ANSWER: Final = 1 << 26  # bytes: a sentence names every mistake
_MOST_ORDER: Final = 1 << 30
_TELL_EVERY_S: Final = 0.1
_OOM_SCORE: Final = b"1000"  # proc_pid_oom_score_adj(5): the first to be ended

ErrorName = Literal["DataError", "DataUnavailableError", "SiteConfigError", "StorageError"]
ERRORS: Final[dict[ErrorName, type[Error]]] = {
    "DataError": DataError,
    "DataUnavailableError": DataUnavailableError,
    "SiteConfigError": SiteConfigError,
    "StorageError": StorageError,
}


class Order(Document):
    """What is converted: the arguments of :func:`client.data.conversion.convert.convert_to`."""

    contract: AnyContract
    working_folder: str
    mapping: str
    folder: str
    most_quarantined: float
    with_targets: bool
    divided: bool
    most_memory: int
    """Bytes of the process's own memory."""


class Told(Document):
    """How far it is."""

    kind: Literal["told"] = "told"
    what: str
    done: int
    total: int | None


class Ended(Document):
    """The report is written; ``usable``: the records too."""

    kind: Literal["ended"] = "ended"
    usable: bool


class Failed(Document):
    """Nothing was made, by an expected error."""

    kind: Literal["failed"] = "failed"
    error: ErrorName
    sentence: str


class Defect(Document):
    """Nothing was made, by an unexpected error of this class."""

    kind: Literal["defect"] = "defect"
    error: str = Field(max_length=100)


class Answer(Document):
    """What the child says."""

    said: Annotated[Told | Ended | Failed | Defect, Field(discriminator="kind")]


def serve(descriptor: int) -> None:
    """Do what the site orders, and end."""
    leave_terminal_to_parent()
    site = socket.socket(fileno=descriptor)
    order = parse(from_canonical(bytes(frames.receive(site, _MOST_ORDER))), Order, SiteConfigError, "the order")
    _limit_memory(order.most_memory)
    call_when_closed(descriptor, lambda: os._exit(1))  # the site sends nothing more
    teller = _Teller(site)
    with contextlib.suppress(OSError):  # the site has ended
        _answer(site, _convert(order, teller))
    os._exit(0)


def _convert(order: Order, teller: "_Teller") -> Ended | Failed | Defect:
    """Convert, and say how it ended."""
    from client.data.conversion.convert import convert_to
    from client.data.conversion.report import ConversionError

    with contextlib.suppress(OSError):  # hidden, or gone; then the mapping's path does not begin there
        os.chdir(order.working_folder)
    try:
        convert_to(
            order.contract,
            Path(order.mapping),
            Path(order.folder),
            order.most_quarantined,
            teller.tell,
            with_targets=order.with_targets,
            divided=order.divided,
        )
    except ConversionError:
        return Ended(usable=False)
    except Error as error:
        name = next((name for name, kind in ERRORS.items() if type(error) is kind), None)
        return Defect(error=type(error).__name__) if name is None else Failed(error=name, sentence=str(error))
    except MemoryError:
        where = f"'{teller.what}'" if teller.what else "a source"
        return Failed(
            error="DataError",
            sentence=f"{where}: needs more than {order.most_memory >> 20} MiB of memory to be read: it is damaged, or "
            "too large in one piece; leave it out, or divide it",
        )
    except Exception as error:
        if os.environ.get(TRACEBACK):
            traceback.print_exc()
        return Defect(error=type(error).__name__[:100])
    return Ended(usable=True)


class _Teller:
    """Tells the site how far the conversion is, a few times a second."""

    def __init__(self, site: socket.socket) -> None:
        self._site, self._last = site, 0.0
        self.what = ""

    def tell(self, what: str, done: int, total: int | None) -> None:
        """Say what is read, how many items are done, and of how many, if that is known."""
        now, is_new = time.monotonic(), what != self.what
        self.what = what
        if is_new or now - self._last >= _TELL_EVERY_S:
            self._last = now
            _answer(self._site, Told(what=what, done=done, total=total))


def _answer(site: socket.socket, said: Told | Ended | Failed | Defect) -> None:
    frames.send(site, Answer(said=said).to_bytes())


def _limit_memory(most_bytes: int) -> None:
    for kind, most in ((resource.RLIMIT_DATA, most_bytes), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(kind)[1]
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (least, least))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_bytes(_OOM_SCORE)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
