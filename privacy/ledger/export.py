"""Export a ledger as signed JSON lines, which anybody can verify without the site's disk, and verify an export.

Rules:

* There is one line for each entry: the entry as it was signed, and its signature. Every line is canonical JSON and
  ends in a newline.
* After the entries come the papers of studies, if the site adds any (``privacy/ledger/papers.py``).
* The last line is a trailer that the site signs: the number of entries, and the hash of the last one. It shows
  whether the end of the export was cut off.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from privacy import labels
from privacy.base64url import decode_signature, encode_signature
from privacy.canonical import compute_sha256, to_canonical
from privacy.document import Document, parse
from privacy.errors import Error, LedgerError
from privacy.exchanged_files import normalise_line
from privacy.fields import Digest
from privacy.keys import PublicKey, SigningKey
from privacy.ledger.check_ahead import check_ahead
from privacy.ledger.entries import VERSION
from privacy.ledger.papers import MAX_PAPER_BYTES, Paper, SignedPaper, verify_paper
from privacy.ledger.signing import FIRST, SignedEntry
from privacy.ledger.state import LedgerState, Watch
from privacy.signature_checkers import Checkers

_LABEL: Final = labels.make_prefix(labels.LEDGER_TRAILER)
_MAX_LINE_BYTES: Final = MAX_PAPER_BYTES + 1024
_BEFORE: Final = b'{"entry":'
_BETWEEN: Final = b',"signature":"'
_END: Final = len(b'"}\n')
_TAIL: Final = len(_BETWEEN) + 86 + _END
_KINDS: Final = ({"entry", "signature"}, {"paper"}, {"signature", "trailer"})


class ExportTrailer(Document):
    """The last line: how many entries a complete export has, and the hash of the last one."""

    version: Literal[1] = VERSION
    count: Annotated[int, Field(ge=1)]
    head: Digest


def format_export(entries: Iterable[SignedEntry], key: SigningKey, papers: Iterable[Paper] = ()) -> Iterator[bytes]:
    """Yield the lines of an export.

    Run by a site.
    """
    count, head = 0, FIRST
    for signed in entries:
        count, head = count + 1, compute_sha256(signed.entry)
        # the stored bytes of the entry, because these are what was signed
        yield (
            b'{"entry":' + signed.entry + b',"signature":"' + encode_signature(signed.signature).encode() + b'"}\n'
        )
    for paper in papers:
        yield to_canonical({"paper": SignedPaper.sign(key, paper).model_dump(mode="json")}) + b"\n"
    trailer = ExportTrailer(count=count, head=head)
    signature = key.sign(_LABEL + trailer.to_bytes())
    yield to_canonical({"signature": encode_signature(signature), "trailer": trailer.model_dump()}) + b"\n"


def verify_export(
    path: Path,
    key: PublicKey | None = None,
    watch: Watch | None = None,
    papers: dict[str, Paper] | None = None,
    checkers: Checkers | None = None,
) -> LedgerState:
    """Verify an export as :func:`replay` verifies entries; add the papers of studies to ``papers``.

    Run by an auditor.

    Raises:
        LedgerError: naming the first line that is wrong, or that the end is missing.
    """
    ledger_state = LedgerState()
    found = {} if papers is None else papers
    whole = False
    with closing(check_ahead(_read_lines(path), ledger_state, _cut_entry, checkers)) as lines:
        for number, (line, verified) in enumerate(lines, start=1):
            if whole:
                raise LedgerError(f"line {number}: something follows the trailer")
            # where the entry that was cut out holds, the line is canonical, and has nothing else in it
            signed = None if verified is None or found else _cut_entry(line)
            try:
                if signed is None:
                    value = _read_line(line)
                    if "paper" in value:
                        _add_paper(value["paper"], ledger_state, found)
                        continue
                    signature = decode_signature(value["signature"])
                    if found and "entry" in value:
                        raise LedgerError("an entry follows the papers of studies")
                    if "trailer" in value:
                        _check_trailer(value["trailer"], signature, ledger_state)
                        whole = True
                        continue
            except Error as error:
                raise LedgerError(f"line {number}: {error}") from None
            except Exception as error:  # the file comes from another party: any bytes are possible
                raise LedgerError(f"line {number}: it cannot be read ({type(error).__name__})") from error
            if signed is None:
                entry = ledger_state.apply(SignedEntry(to_canonical(value["entry"]), signature))
            else:
                entry = ledger_state.apply(signed, verified)
            if watch is not None:
                watch(ledger_state, entry)
    if not whole:
        raise LedgerError(
            f"the export ends after entry {ledger_state.head.number} without its signed trailer: its tail was cut off; "
            "ask the site for the whole export"
        )
    ledger_state.check_key(key)
    return ledger_state


def _read_lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(_MAX_LINE_BYTES):
                number += 1
                yield normalise_line(line, number)
    except OSError as error:
        raise LedgerError(f"{path}: cannot be read: {error.strerror}") from None


def _cut_entry(line: bytes) -> SignedEntry | None:
    """Cut an entry and its signature out of a line of an export as it is written; None if it does not look like one."""
    entry, middle, end = line[:-_TAIL], line[-_TAIL:-_END], line[-_END:]
    if not (entry.startswith(_BEFORE) and middle.startswith(_BETWEEN) and end == b'"}\n'):
        return None
    try:
        signature = decode_signature(middle[len(_BETWEEN) :].decode("ascii"))
    except (Error, UnicodeDecodeError):
        return None
    return SignedEntry(entry[len(_BEFORE) :], signature)


def _read_line(line: bytes) -> dict[str, Any]:
    if not line.endswith(b"\n"):
        raise LedgerError("it is cut off or too long: expected a newline at its end")
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        raise LedgerError(
            "expected canonical JSON, got bytes that are not JSON; if the file was changed on its way, ask for it again"
        ) from None
    if not isinstance(value, dict) or set(value) not in _KINDS:
        raise LedgerError("expected an entry or a trailer with its signature, or the paper of a study")
    if to_canonical(value) + b"\n" != line:
        raise LedgerError("the bytes are not the canonical form (RFC 8785) of what they say")
    if not isinstance(value.get("signature", ""), str):
        raise LedgerError("expected a signature as text")
    return value


def _add_paper(value: Any, ledger_state: LedgerState, found: dict[str, Paper]) -> None:
    paper = verify_paper(parse(value, SignedPaper, LedgerError, "the paper"), ledger_state)
    if paper.said.study in found:
        raise LedgerError(f"the study '{paper.said.study}' has a paper already")
    found[paper.said.study] = paper


def _check_trailer(value: Any, signature: bytes, ledger_state: LedgerState) -> None:
    trailer = parse(value, ExportTrailer, LedgerError, "the trailer")
    try:
        ledger_state.key.verify(signature, _LABEL + trailer.to_bytes())
    except Error:
        raise LedgerError("the trailer is not signed by the ledger's key") from None
    if (trailer.count, trailer.head) != ledger_state.head:
        raise LedgerError(
            f"the trailer promises {trailer.count} entries, the export holds {ledger_state.head.number}: part of it "
            "was left out; ask the site for the whole export"
        )
