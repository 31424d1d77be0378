"""Write what this site has seen of other sites' ledgers, for auditors (``privacy/protocol/site_testimony.py``)."""

import os
from collections.abc import Iterator
from pathlib import Path

from client.site.folder import SiteFolder
from client.study.peer_heads import PeerHeads
from client.study.store import StudyStore
from privacy.errors import SiteConfigError
from privacy.files import create_private_file
from privacy.ledger.testimony import StudySeen
from privacy.protocol.site_testimony import HeaderSeen, SiteOpening, format_site_testimony


def write_site_testimony(home: SiteFolder, path: Path) -> int:
    """Write the testimony to the new file ``path``, mode 0600; return how many headers are in it.

    Raises:
        SiteConfigError: the file exists or cannot be written, or the folder of a study is lost.
    """
    count = 0

    def list_counted() -> Iterator[SiteOpening | StudySeen | HeaderSeen]:
        nonlocal count
        for item in _list_items(home):
            count += isinstance(item, HeaderSeen)
            yield item

    try:
        with create_private_file(path) as file:
            try:
                for line in format_site_testimony(list_counted(), home.load_identity()):
                    file.write(line)
                file.flush()
                os.fsync(file.fileno())
            except BaseException:  # a testimony is whole or absent
                path.unlink()
                raise
    except OSError as error:
        raise SiteConfigError(f"{path}: cannot be written: {error.strerror}; name another file") from None
    return count


def _list_items(home: SiteFolder) -> Iterator[SiteOpening | StudySeen | HeaderSeen]:
    name = home.config.name
    yield SiteOpening(site=name, key=home.load_identity().public.text)
    peers, stores = PeerHeads(home.peer_heads_path), dict[str, StudyStore]()
    try:
        for seen in peers.read_all():
            view = seen.header.statement.view
            if view.study not in stores:
                stores[view.study] = store = _read_study(home, view.study)
                sites = {member.name: member.identity for member in store.launch.roster}
                yield StudySeen(study=view.study, terms=store.launch.terms.digest, sites=sites)
            if seen.header.statement.site != name:
                trained = stores[view.study].launch.terms.trains(view.round)
                yield HeaderSeen(header=seen.header, trained=trained, refused=seen.refused)
    finally:
        peers.close()


def _read_study(home: SiteFolder, study: str) -> StudyStore:
    folder = home.find_study_folder(study)
    if not StudyStore.exists(folder):
        raise SiteConfigError(
            f"{folder}: this site has seen ledgers in the study '{study}', whose folder is lost; restore it from your "
            "backup, since without it nobody can tell who signed what was seen"
        )
    return StudyStore(folder)
