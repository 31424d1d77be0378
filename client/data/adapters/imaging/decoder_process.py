"""Have compressed DICOM frames decoded by another process, and survive what damaged frames do to it.

GDCM ends its process for some damaged frames. So decoders written in C run in ``decoder_worker.py``. One worker serves
all files; it ends with this process. One that crashes, or takes longer than ``MOST_S``, is replaced.
"""

import atexit
import subprocess
import sys
import threading
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from client.data.adapters.imaging.decoder_worker import read_message, write_message
from privacy.errors import DataError

MOST_S: Final = 120.0
_ELEMENTS: Final = {
    "rows": "Rows",
    "columns": "Columns",
    "samples_per_pixel": "SamplesPerPixel",
    "bits_allocated": "BitsAllocated",
    "bits_stored": "BitsStored",
    "pixel_representation": "PixelRepresentation",
}


class _Decoder:
    """The worker, started with the first frames."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, head: dict[str, Any], body: bytes) -> tuple[dict[str, Any], bytes]:
        """Return the worker's answer.

        Raises:
            DataError: the worker crashed, or took too long.
        """
        if self._process is None:
            command = [sys.executable, "-P", "-m", "client.data.adapters.imaging.decoder_worker"]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Timer(MOST_S, process.kill)
        late.start()
        try:
            write_message(process.stdin, head, body)  # type: ignore[arg-type]
            return read_message(process.stdout)  # type: ignore[arg-type]
        except BaseException as cause:
            self.stop()
            if isinstance(cause, EOFError | BrokenPipeError):
                raise DataError("has compressed pixels that are damaged") from None
            raise
        finally:
            late.cancel()

    def stop(self) -> None:
        """End the worker."""
        if (process := self._process) is not None:
            self._process = None
            process.kill()
            process.communicate()


_DECODER: Final = _Decoder()
atexit.register(_DECODER.stop)


def decode_elsewhere(dataset: Any, frames: int, plugin: str) -> NDArray[Any]:
    """Decode the compressed frames of a pydicom data set by pydicom's ``plugin``.

    Raises:
        DataError: they are damaged.
    """
    options: dict[str, Any] = {name: int(dataset[keyword].value) for name, keyword in _ELEMENTS.items()}
    options |= {
        "number_of_frames": frames,
        "photometric_interpretation": str(dataset.PhotometricInterpretation),
        "planar_configuration": int(dataset.get("PlanarConfiguration", 0)),
        "pixel_keyword": "PixelData",
    }
    head = {"syntax": str(dataset.file_meta.TransferSyntaxUID), "plugin": plugin, "options": options}
    answer, body = _DECODER.ask(head, dataset.PixelData)
    if "failed" in answer:
        raise DataError("has compressed pixels that are damaged")
    return np.frombuffer(body, np.dtype(answer["type"])).reshape(answer["shape"])
