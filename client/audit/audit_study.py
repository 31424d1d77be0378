"""Audit one study: train it once with canaries over sites in memory, attack it, and put the bounds beside the claim.

What an audit can say is one-sided. A bound above the claimed epsilon refutes the claim: something that clips, samples,
noises or charges is wrong. A bound below it says that this attacker, with so many canaries, could not refute it.
"""

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np

from client.audit.attack import score_rounds
from client.audit.canaries import (
    Canaries,
    SiteRecords,
    generate_ordinary,
    make_audited_terms,
    make_canaries,
    read_as_trained,
    widen,
    write_records,
)
from client.audit.memory_rounds import AUDITED, MemoryRounds
from client.data.dataset import StudyFiles, compute_public_count
from client.data.examples import Patients, treat_records_as_patients
from client.data.site_data import read_data
from client.training.device import CPU
from client.training.device_records import DeviceRecords
from client.training.interface import TrainingInterface
from client.training.session import TrainingSession
from client.training.simulate import pool_patients
from privacy.accounting.account import PUBLIC_COUNT_STEP
from privacy.audit.empirical.guesses import Bounds, compute_bounds
from privacy.errors import DataError, TermsError
from privacy.randomness import KeyStream, from_os
from privacy.study import Placement, Terms, Unit
from privacy.study.cost import compute_study_noise

MOST_CANARIES: Final = 5000
_TESTED: Final = 10  # patients of a site's test file, which nobody looks at


@dataclass(frozen=True, eq=False)
class OwnPatients:
    """Real patients of one site, beside whom the canaries train.

    Attributes:
        patients: by the terms' own contract.
        public_count: as registered.
        folder: where their records may be on disk meanwhile; they are removed at the end.
        pay: called before each round, with its number; it raises where the round cannot be paid.
    """

    patients: Patients
    public_count: int
    folder: Path
    pay: Callable[[int], None]


MakeSession = Callable[[Terms, StudyFiles, bool], TrainingInterface]
"""(audited terms, files, whether it is the audited site) -> the training of a site."""

FOLDER_PREFIX: Final = ".consilium-audit-"
"""Hidden, so that no backup of a site takes what a crash may leave there."""


class Verdict(StrEnum):
    """What the bounds say of the claim."""

    REFUTED = "refuted"
    """A bound exceeds the claimed epsilon that presumes no more than the claim itself says."""
    DOUBTFUL = "doubtful"
    """Only a bound that presumes more exceeds it: look for the defect."""
    NOT_REFUTED = "not-refuted"
    """No bound exceeds it."""


@dataclass(frozen=True)
class StudyAudit:
    """The outcome of an audit.

    Attributes:
        epsilon: as claimed by the terms.
        delta: of the terms, at which all bounds are.
        canaries: how many there were.
        present: how many of them took part.
        rounds: how many were trained.
        patients: ordinary patients of all sites.
        gaussian: whether the claimed mechanism is Gaussian, since nobody is drawn by chance. Then the bounds that
            presume it presume no more than the claim.
        bounds: of epsilon from below.
    """

    epsilon: float
    delta: float
    canaries: int
    present: int
    rounds: int
    patients: int
    gaussian: bool
    bounds: Bounds

    @property
    def verdict(self) -> Verdict:
        """What the bounds say of the claim."""
        if self.bounds.largest <= self.epsilon:
            return Verdict.NOT_REFUTED
        sure = self.gaussian or self.bounds.presuming_nothing > self.epsilon
        return Verdict.REFUTED if sure else Verdict.DOUBTFUL


def make_plain_session(terms: Terms, files: StudyFiles, audited: bool) -> TrainingInterface:
    """Make the training that a site runs."""
    return TrainingSession(terms, files, "cpu")


def audit_study(
    terms: Terms,
    *,
    canaries: int,
    train: Sequence[Path] = (),
    sites: int = 3,
    patients: int = 100,
    make_session: MakeSession = make_plain_session,
    stream: KeyStream | None = None,
    own: OwnPatients | None = None,
) -> StudyAudit:
    """Train ``terms`` once with canaries at the first site, and bound its epsilon from below.

    Args:
        terms: the study.
        canaries: how many; each takes part with a chance of one half.
        train: public training files by the terms' contract, one for each site; none means generated patients.
        sites: how many, where patients are generated.
        patients: of each site, where they are generated.
        make_session: the training of a site; a test plants a fault in it.
        stream: secret randomness; fresh from the operating system unless a test gives one.
        own: real patients of the audited site; the other sites' are then generated. Nothing is computed from them but
            the noised sums that ``pay`` pays for.

    Raises:
        TermsError: the study cannot be audited.
        DataError: a file breaks the contract, or there are too few patients or files.
        DivergedError: the parameters left the numbers that a model can compute with.
    """
    if not 2 <= canaries <= MOST_CANARIES:
        raise TermsError(f"expected 2 to {MOST_CANARIES} canaries, got {canaries}")
    audited, noise = make_audited_terms(terms, canaries), compute_study_noise(terms)
    stream = stream or from_os()
    made = make_canaries(terms, audited, canaries, stream)
    if train:
        at_sites = [widen(read_data(terms.data, path).patients, audited) for path in train]
    else:
        at_sites = [generate_ordinary(audited, patients, seed) for seed in range(1, sites + 1)]
    if own is not None:
        at_sites[AUDITED] = widen(own.patients, audited)
    require_sites(terms, len(at_sites))
    with tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX, dir=None if own is None else own.folder) as folder:
        sessions, counts, read = dict[str, TrainingInterface](), dict[str, int](), list[Patients]()
        for number, ordinary in enumerate(at_sites):
            name, there = f"site{number:02d}", made if number == AUDITED else None
            files = _write_files(Path(folder) / name, audited, ordinary, there)
            if own is not None and number == AUDITED:
                expected = canaries // 2 // PUBLIC_COUNT_STEP * PUBLIC_COUNT_STEP
                files = replace(files, public_patients=own.public_count + expected)
            sessions[name] = make_session(audited, files, number == AUDITED)
            counts[name] = files.public_patients
            if own is None or number != AUDITED:
                read.append(read_as_trained(audited, ordinary))
        rounds = MemoryRounds(audited, sessions, counts, noise, stream)
        try:
            seen = list(rounds.run() if own is None else rounds.run(own.pay))
        finally:
            for session in sessions.values():
                session.close()
    known = None  # of real patients nothing is used but the noised sums
    if own is None:
        shown = read[1 + audited.cohort.colluders :] if audited.sums_patients else ()
        known = _join([read[AUDITED], *shown], audited)
    attack = score_rounds(audited, made, known, noise, seen)
    delta = terms.privacy.delta
    assert delta is not None, "an epsilon comes with a delta, which the terms check"
    assert terms.privacy.epsilon is not None, "without a claim a study is refused"
    return StudyAudit(
        epsilon=terms.privacy.epsilon,
        delta=delta,
        canaries=canaries,
        present=int(np.count_nonzero(made.present)),
        rounds=len(seen),
        patients=sum(each.patients for each in read) + (0 if own is None else own.public_count),
        gaussian=terms.training.sampling_rate == 1 or terms.privacy.placement is Placement.CORRELATED,
        bounds=compute_bounds(attack.scores, made.present, delta, independent=attack.independent),
    )


def require_sites(terms: Terms, sites: int) -> None:
    """Refuse a number of sites that the study does not allow.

    Raises:
        DataError: too few or too many.
    """
    if not terms.cohort.minimum <= sites <= terms.cohort.maximum:
        raise DataError(
            f"expected {terms.cohort.minimum} to {terms.cohort.maximum} sites (cohort), each with a training file, "
            f"got {sites}"
        )


def _write_files(folder: Path, audited: Terms, ordinary: SiteRecords, there: Canaries | None) -> StudyFiles:
    folder.mkdir()
    parts = {folder.name: ordinary}
    if there is not None:
        parts["canary"] = there.records.select(there.present)
    train = write_records(folder / "train.npz", audited, parts)
    test = write_records(folder / "test.npz", audited, {"test": generate_ordinary(audited, _TESTED, seed=0)})
    # by how many canaries were expected: a count that followed the coins would tell of them
    expected = 0 if there is None else len(there.present) // 2
    count = compute_public_count(len(np.unique(ordinary.owners)) + expected)
    return StudyFiles(audited.data, train, test, _compute_digest(train), _compute_digest(test), count)


def _compute_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _join(parts: Sequence[Patients], audited: Terms) -> DeviceRecords:
    pooled = pool_patients(parts)
    units = treat_records_as_patients(pooled) if audited.privacy.unit is Unit.RECORD else pooled
    return DeviceRecords(units, audited, CPU.device)
