"""Files become a registered data set: whose patients they hold is settled before anything is learned from them.

Steps, each durable before the next; whoever is interrupted runs the same command again:

1. both files are checked against the contract;
2. their patients are compared with every population this site knows, and remembered (``patients/``);
3. the book is told: the files' digest, the public count, the commitment to the patients;
4. the site remembers where the files are (``data.json``); a study in progress keeps those it was admitted with.
"""

from pathlib import Path

from client.data import register
from client.home import Registration, SiteHome
from privacy.document import parse
from privacy.errors import SiteConfigError
from privacy.study import DataContract


def register_files(
    home: SiteHome, contract: DataContract, train: Path, test: Path, population: str | None = None
) -> Registration:
    """Register two files under ``contract``, as patients of ``population`` (the contract's name, if not given).

    Raises:
        DataError: a file does not keep the contract.
        RefusedError: the patients, or the data, belong to another population.
        LedgerError, SiteConfigError: the book or the folder cannot take it.
    """
    files, patients = register(contract, train.resolve(), test.resolve())
    facts = {
        "population": population or contract.name,
        "train": str(files.train),
        "test": str(files.test),
        "train_sha256": files.train_sha256,
        "test_sha256": files.test_sha256,
        "public_patients": files.public_patients,
    }
    registration = parse(facts, Registration, SiteConfigError, "the registration")
    register_of_patients = home.patients()
    with register_of_patients.alone(), home.open_ledger() as ledger:
        known = {name: body.patients_commitment for name, body in ledger.populations().items()}
        commitment = register_of_patients.admit(registration.population, patients, known)
        ledger.register_population(
            registration.population,
            registration.data,
            registration.public_patients,
            contract.records_per_patient,
            commitment,
        )
        register_of_patients.forget_older(registration.population, commitment)
        home.add_registration(contract.name, registration)
    return registration
