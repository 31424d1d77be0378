"""Register two files as a data set: their patients are settled before anything is learned from them.

Steps, each durable before the next; after an interruption the same command is run again:

1. both files are checked against the contract;
2. their patients are compared with each other and with every known population, and remembered (``patients/``);
3. the ledger records the files' digest, the public count, the commitment to the patients, and who was said to
   differ;
4. the site remembers where the files are (``data.json``); a study in progress keeps those it was admitted with.
"""

import re
from collections.abc import Collection, Set
from pathlib import Path

from client.data.dataset import make_study_files
from client.data.identifiers import count_alike
from client.data.plausibility import format_word
from client.site.folder import SiteFolder
from client.site.registry import Registration
from privacy.document import parse
from privacy.errors import RefusedError, SiteConfigError
from privacy.refusal_codes import RefusalCode
from privacy.study import AnyContract


def register_files(
    home: SiteFolder,
    contract: AnyContract,
    train: Path,
    test: Path,
    population: str | None = None,
    different_from: Collection[str] = (),
    mapping: Path | None = None,
) -> Registration:
    """Register two files under ``contract``, as patients of ``population`` (default: the contract's name).

    Args:
        home: the site.
        contract: what the files must keep.
        train: the file of the patients to learn from.
        test: that of the held-out patients.
        population: the population of their patients.
        different_from: populations that people have said to be of other patients, whatever the identifiers are; the
            population itself if patients who are written alike within these files are different people.
        mapping: the mapping file by which the files were converted, if they were.

    Raises:
        DataError: a file does not keep the contract.
        RefusedError: the patients, or the data, belong to another population, or are written alike.
        LedgerError, SiteConfigError: the ledger or the folder cannot take it.
    """
    require_name(population or contract.name)
    files, patients = make_study_files(contract, train.resolve(), test.resolve())
    facts = {
        "contract": contract,
        "population": population or contract.name,
        "train": str(files.train),
        "test": str(files.test),
        "train_sha256": files.train_sha256,
        "test_sha256": files.test_sha256,
        "public_patients": files.public_patients,
        "mapping": None if mapping is None else str(mapping.resolve()),
    }
    registration = parse(facts, Registration, SiteConfigError, "the registration")
    register_of_patients = home.open_patient_register()
    with register_of_patients.hold_lock(), home.open_ledger() as ledger:
        known = {name: body.patients_commitment for name, body in ledger.read_state().populations.items()}
        alike = require_distinct_patients(patients, registration.population, known, different_from)
        admitted = register_of_patients.admit(registration.population, patients, known, different_from)
        ledger.register_population(
            registration.population,
            registration.data,
            registration.public_patients,
            contract.records_per_patient,
            admitted.commitment,
            contract.digest,
            contract.patient,
            admitted.said_different | ({registration.population: alike} if alike else {}),
        )
        register_of_patients.forget_older(registration.population, admitted.commitment)
        home.add_registration(registration)
    return registration


def require_name(population: str) -> None:
    """Refuse a name that no population can have, before any file is read.

    Raises:
        SiteConfigError: saying what a name may be.
    """
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", population):
        raise SiteConfigError(
            f"--population: expected lower-case letters, digits and hyphens, a letter first, at most 40; got "
            f"{format_word(population)}"
        )


def require_distinct_patients(
    patients: Set[str], population: str, known: Collection[str], different_from: Collection[str]
) -> int:
    """Count patients who are written like another one of the files; people must have said that they differ.

    Raises:
        RefusedError: ``alike-patients``, with their number.
        SiteConfigError: ``different_from`` names a population that does not exist.
    """
    populations = {*known, population}
    for name in different_from:
        if name not in populations:
            raise SiteConfigError(
                f"--different-from {name}: this site has no population '{name}'; "
                f"it has: {', '.join(sorted(populations))}"
            )
    alike = count_alike(patients)
    if alike and population not in different_from:
        raise RefusedError(
            RefusalCode.ALIKE_PATIENTS,
            f"{alike} patients of these files are written like another one of them (as 00012, 12 and 12.0 are): each "
            "person must be one patient, in one file; write them alike, or, if they are different people, say so, for "
            f"the ledger (--different-from {population})",
        )
    return alike
