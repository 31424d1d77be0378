"""Check a site's keys, ledger, policy, registered data and studies; nothing computed from a record is shown."""

import os
from collections.abc import Iterator
from typing import Final

from client.data.dataset import require_registered
from client.site.folder import SiteFolder
from client.site.launcher import ProcessLauncher
from client.study.waiting_studies import WaitingStudies
from privacy.errors import Error
from privacy.health import Line, amber, green, red
from privacy.ledger.database import verify_file
from privacy.ledger.ledger import read_utc_time

_SMALLEST_COHORT: Final = 3
"""No study has fewer sites (``cohort.minimum``)."""
_HASHED_BYTES: Final = 2 << 30
"""Files that are larger together are only opened: to read them all would take minutes."""


def check_keys(home: SiteFolder) -> Iterator[Line]:
    """Check the identity key and Flower's node key.

    Raises:
        KeyFileError: one is missing, damaged or readable by others.
        SiteConfigError: a change of the identity key is unfinished.
    """
    from privacy.keys import load_node_key

    load_node_key(home.node_key_path)
    yield green("keys", f"identity {home.load_identity().public.typed}")


def check_ledger(home: SiteFolder) -> Iterator[Line]:
    """Check every entry of the ledger, that it is not behind what was countersigned, and that time has not gone back.

    Raises:
        LedgerError, StorageError: it does not verify, or cannot be read or written now.
    """
    # opening alone would take the word of the site's own mark for what it verified before
    verify_file(home.ledger_path, home.load_identity().public)
    with home.open_ledger() as ledger:
        state = ledger.read_state()
    found = f"{state.head.number} entries verify"
    witnessed = home.load_witnessed()
    recover = (
        "restore the newest backup; then ask the coordinator's operator for the newest head (consilium testimony "
        "head), and run: consilium-site ledger recover FILE"
    )
    now = f"{read_utc_time():%Y-%m-%dT%H:%M:%SZ}"
    if state.rollback is not None:
        yield red("ledger", f"{found}, but this site cannot train: {state.rollback.sentence}", recover)
    elif witnessed is not None and not state.contains(
        witnessed.head.statement.number, witnessed.head.statement.hash
    ):
        yield red(
            "ledger",
            f"{found}, but entry {witnessed.head.statement.number}, which the coordinator has countersigned, is not in "
            "it",
            recover,
        )
    elif state.time > now:
        yield red(
            "ledger",
            f"{found}, the last one is of {state.time}, and this clock says {now}",
            "set the clock; if it is right now: consilium-site ledger clock --by NAME",
        )
    elif tight := [each.population for each in state.list_budgets() if each.protected and each.epsilon_left <= 0]:
        yield amber(
            "ledger",
            f"{found}; no budget is left for {', '.join(tight)}",
            "decide whether to grant more: consilium-site budget",
        )
    else:
        yield green("ledger", found)


def check_peers(home: SiteFolder) -> Iterator[Line]:
    """Check that enough peers are believed for the smallest cohort that a study may have.

    Raises:
        SiteConfigError: the list of peers cannot be read.
    """
    believed = home.load_peers().find_believed(f"{read_utc_time():%Y-%m-%d}", home.config.name)
    names = ", ".join(sorted(believed.keys)) or "none"
    if len(believed.keys) < _SMALLEST_COHORT - 1:
        yield amber(
            "peers",
            f"believed: {names}; a study has at least {_SMALLEST_COHORT} sites, and each must believe the others",
            "compare keys with the people of other hospitals: consilium-site peer trust --help",
        )
    elif believed.doubts:
        doubts = "; ".join(believed.doubts.values())
        yield amber("peers", f"believed: {names}; {doubts}", "see: consilium-site peer list")
    else:
        yield green("peers", f"believed: {names}")


def check_policy(home: SiteFolder) -> Iterator[Line]:
    """Check that the policy can be read, was not restored unseen, and whether people are waited for.

    Raises:
        SiteConfigError: it cannot be used.
    """
    policy = home.policy
    people = f"{policy.persons} {'person' if policy.persons == 1 else 'people'} must agree to a study"
    found = (
        f"{people}, {len(policy.automatic)} rules need nobody, at most epsilon {policy.epsilon_per_study:g} each"
    )
    if (unconfirmed := home.describe_unconfirmed()) is not None:
        sentence, _, step = unconfirmed.rpartition(": ")
        yield amber("policy", f"{found}; {sentence}", step)
    elif waiting := [each.study for each in WaitingStudies(home).list_all()]:
        yield amber(
            "policy",
            f"{found}; waiting for a person: {', '.join(waiting)}",
            "decide: consilium-site approve --help",
        )
    else:
        yield green("policy", found)


def check_data(home: SiteFolder) -> Iterator[Line]:
    """Check that registered files are where they were, and unchanged.

    Raises:
        SiteConfigError: the list of registered data cannot be read.
    """
    registrations = home.load_registry().registrations.values()
    if not registrations:
        yield amber("data", "none is registered", "register files: consilium-site data add --help")
        return
    queued = not isinstance(home.config.launcher, ProcessLauncher)
    left, opened = _HASHED_BYTES, 0
    for each in registrations:
        files = each.to_study_files()
        try:
            size = sum(os.stat(path).st_size for path in (files.train, files.test))
            if size <= left:
                require_registered(files)
                left -= size
            else:
                opened += 1
        except (Error, OSError) as error:
            sentence = str(error) if isinstance(error, Error) else f"{error.filename}: {error.strerror}"
            step = "put the registered files back, or register these: consilium-site data add"
            if queued:
                step += "; files that only the nodes see cannot be looked at from here"
            yield red("data", f"{each.contract.name}: {sentence}", step)
            return
    found = f"{len(registrations)} registered, unchanged"
    if opened:
        found += f"; {opened} too large to read now are there"
    yield green("data", found)
