"""Write the testimony for auditors: the rounds of all studies and the countersigned ledger heads, in one file."""

from collections.abc import Iterator
from pathlib import Path

from privacy.errors import FederationError
from privacy.files import replace_file
from privacy.ledger.testimony import HeadSeen, Opening, RoundSeen, StudySeen, VoidSeen, format_testimony
from privacy.study import COORDINATOR
from server.federation.folder import Federation
from server.study.journal import Journal


def write_testimony(federation: Federation, path: Path) -> None:
    """Write the signed testimony to the new file ``path``.

    Raises:
        FederationError: the file exists or cannot be written, or a journal cannot be read.
    """
    if path.exists():
        raise FederationError(f"{path}: there is a file already; name another one")
    replace_file(path, b"".join(format_federation_testimony(federation)), FederationError)


def format_federation_testimony(federation: Federation) -> Iterator[bytes]:
    """Yield the lines of the signed testimony.

    Raises:
        FederationError: a journal cannot be read.
    """
    yield from format_testimony(_list_items(federation), federation.load_identity())


def _list_items(federation: Federation) -> Iterator[Opening | StudySeen | RoundSeen | VoidSeen | HeadSeen]:
    key = federation.load_identity().public.text
    yield Opening(witness=COORDINATOR, federation=federation.config.federation, key=key)
    for study in federation.list_studies():
        with Journal(federation.find_study_folder(study)) as journal:
            launch, history = journal.read_launch().statement, journal.read_history()
        sites = {member.name: member.identity for member in launch.roster}
        yield StudySeen(study=study, terms=launch.terms.digest, sites=sites)
        for number, event in sorted(history.committed.items()):
            yield RoundSeen(
                study=study,
                round=number,
                attempt=event.committed.attempt,
                base=event.committed.view.base,
                trained=launch.terms.trains(number),
                heads={name: header.statement.ledger.hash for name, header in event.committed.headers.items()},
            )
        for number in sorted(history.void):
            yield VoidSeen(study=study, round=number)
    for countersigned in federation.open_witness().read_heads():
        yield HeadSeen(countersigned=countersigned)
