"""A data set is registered: one population, one budget, whoever interrupts and whatever changes."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.small_study import small_terms, write_patients
from client.data.dataset import make_study_files, read_study
from client.site.folder import SiteFolder
from client.site.register_data import register_files
from client.site.registry import Registration
from client.study.request_handler import RequestHandler
from client.training.session import TrainingSession
from client.training.worker import Worker
from privacy.accounting.figures import Budget
from privacy.errors import DataError, RefusedError
from privacy.ledger.entries import Population
from privacy.protocol.envelope import read_body
from privacy.protocol.messages import Join, Problem, Reply
from tests.simulator import Simulator

TERMS = small_terms()
CONTRACT = TERMS.data


def add(home: SiteFolder, population: str | None = None) -> Registration:
    """Register the two files beside the site."""
    beside = home.folder.parent
    return register_files(home, CONTRACT, beside / "train.csv", beside / "test.csv", population)


def change_training_file(home: SiteFolder, patients: int = 75) -> None:
    write_patients(home.folder.parent / "train.csv", patients, "a", seed=9)


def populations(home: SiteFolder) -> list[Population]:
    with home.open_ledger() as ledger:
        return [entry.body for entry in ledger.read_entries() if isinstance(entry.body, Population)]


@pytest.fixture
def home(folder: Path) -> SiteFolder:
    return SiteFolder(folder)


# A file that changes ---------------------------------------------------------------------------------------


def test_changed_file_is_another_entry_of_the_same_population(home: SiteFolder) -> None:
    add(home)
    with home.open_ledger() as ledger:
        ledger.grant("small", 6.0, 1e-3, 8)
    change_training_file(home)
    add(home)
    first, second = populations(home)
    assert (first.patients, second.patients) == (60, 70)
    assert first.data != second.data
    assert first.patients_commitment != second.patients_commitment
    with home.open_ledger() as ledger:
        (budget,) = ledger.read_state().list_budgets()
        assert budget.epsilon_granted == 6.0


def test_file_that_lost_patients_keeps_them_in_the_population(home: SiteFolder) -> None:
    add(home)
    change_training_file(home, patients=20)
    add(home)
    with home.open_ledger() as ledger:
        known = {name: body.patients_commitment for name, body in ledger.read_state().populations.items()}
    assert home.open_patient_register().count_patients([f"a{number}" for number in range(64)], known) == {
        "small": 64
    }


def test_changed_file_is_not_trained_on_before_it_is_registered_again(home: SiteFolder) -> None:
    registration = add(home)
    change_training_file(home)
    with pytest.raises(DataError, match="the file changed since it was registered; register the new data first"):
        read_study(registration.to_study_files(home.open_patient_register().load_objections()))
    read_study(add(home).to_study_files(home.open_patient_register().load_objections()))


def asked_to_join(simulator: Simulator, name: str) -> Reply:
    """What a site answers when the coordinator invites it."""
    asked = simulator.signed(name, Join(launch=simulator.journal.read_launch(), epoch=1))
    content = read_body(simulator.sites[name].answer(asked)).content
    assert isinstance(content, Reply)
    return content


def with_a_real_trainer(simulator: Simulator, name: str) -> None:
    """Restart a site as it is in a hospital: data are read by a child process."""
    home = simulator.homes[name]
    simulator.sites[name].close()
    simulator.sites[name] = RequestHandler(
        home, lambda launch, files: Worker(launch.terms, files, "cpu", home.log_path)
    )


def test_study_on_a_changed_file_is_refused_and_admitted_once_it_is_registered_again(tmp_path: Path) -> None:
    simulator = Simulator(tmp_path / "wood", TERMS)
    home = simulator.homes["ash"]
    with_a_real_trainer(simulator, "ash")
    write_patients(home.folder / "train.csv", 60, "ash-a", seed=77)
    simulator.launch()
    refused = asked_to_join(simulator, "ash")
    assert isinstance(refused, Problem)
    assert refused.code == "data"
    assert simulator.entries("ash", "allow") == []
    register_files(home, CONTRACT, home.folder / "train.csv", home.folder / "test.csv")
    assert not isinstance(asked_to_join(simulator, "ash"), Problem)
    assert len(simulator.entries("ash", "allow")) == 1
    simulator.close()


def test_study_in_progress_is_not_given_the_patients_of_another_population(tmp_path: Path) -> None:
    """It keeps the files it was admitted with: were they exchanged, the new patients would be free."""
    simulator = Simulator(tmp_path / "wood", TERMS)
    simulator.launch()
    simulator.run(until=lambda: simulator.all_have(0))
    home = simulator.homes["ash"]
    train = write_patients(home.folder / "train-2.csv", 200, "other-a", seed=5)
    test = write_patients(home.folder / "test-2.csv", 30, "other-b", seed=6)
    register_files(home, CONTRACT, train, test, "others")
    simulator.restart_site("ash")
    simulator.run(seconds=5)
    assert simulator.store("ash").state.registration.population == "small"
    assert simulator.store("ash").state.registration.to_study_files().train.name == "train.csv"
    assert [entry.body.population for entry in simulator.entries("ash", "allow")] == ["small"]  # type: ignore[attr-defined]
    simulator.close()


# Interrupted -----------------------------------------------------------------------------------------------


def steps(home: SiteFolder) -> list[Callable[[], object]]:
    """What a registration does, one after the other, each as it is done in ``register_files``."""
    beside = home.folder.parent
    files, patients = make_study_files(CONTRACT, beside / "train.csv", beside / "test.csv")
    registration = Registration(
        contract=CONTRACT,
        population="small",
        train=str(files.train),
        test=str(files.test),
        train_sha256=files.train_sha256,
        test_sha256=files.test_sha256,
        public_patients=files.public_patients,
    )
    commitments: list[str] = []

    def remember() -> None:
        with home.open_ledger() as ledger:
            known = {name: body.patients_commitment for name, body in ledger.read_state().populations.items()}
        commitments.append(home.open_patient_register().admit("small", patients, known).commitment)

    def tell_the_ledger() -> None:
        with home.open_ledger() as ledger:
            ledger.register_population(
                "small",
                registration.data,
                files.public_patients,
                1,
                commitments[0],
                CONTRACT.digest,
                CONTRACT.patient,
            )

    return [
        remember,
        tell_the_ledger,
        lambda: home.open_patient_register().forget_older("small", commitments[0]),
        lambda: home.add_registration(registration),
    ]


@pytest.mark.parametrize("done", range(5))
@pytest.mark.parametrize("again", [False, True], ids=["first", "changed file"])
def test_registration_that_was_interrupted_is_repeated(home: SiteFolder, done: int, again: bool) -> None:
    """After any number of its steps, the same command comes to the same end."""
    if again:
        add(home)
        change_training_file(home)
    for step in steps(home)[:done]:
        step()
    registration = add(home)
    assert len(populations(home)) == 1 + again
    assert home.load_registry().registrations == {CONTRACT.digest: registration}
    assert len(list((home.folder / "patients").glob("small-*.digests"))) == 1
    with home.open_ledger() as ledger:
        assert ledger.read_state().is_registered("small", CONTRACT.digest, registration.data)
        known = {name: body.patients_commitment for name, body in ledger.read_state().populations.items()}
    assert home.open_patient_register().count_patients(["a0", "b0"], known) == {"small": 2}


@pytest.mark.parametrize("done", range(5))
def test_files_of_an_interrupted_registration_are_used_only_if_the_ledger_knows_them(
    home: SiteFolder, done: int
) -> None:
    for step in steps(home)[:done]:
        step()
    registration = home.load_registry().find_exact(CONTRACT)
    with home.open_ledger() as ledger:
        assert registration is None or ledger.read_state().is_registered(
            "small", CONTRACT.digest, registration.data
        )


def register_under(folder: Path, population: str, name: str, begin: "multiprocessing.synchronize.Event") -> None:
    """A process of its own; ends with 0 if it could register, with the refusal's exit code if not."""
    home = SiteFolder(folder)
    contract = CONTRACT.model_copy(update={"name": population})
    begin.wait()
    try:
        register_files(home, contract, folder.parent / f"{name}.csv", folder.parent / f"{name}-test.csv")
    except RefusedError as error:
        raise SystemExit(error.exit_code) from None


def test_same_patients_registered_twice_at_once_are_one_population(home: SiteFolder) -> None:
    """Two processes, two names, files that share 30 patients and differ in bytes: one of them is refused."""
    beside = home.folder.parent
    for name in ("one", "two"):
        write_patients(beside / f"{name}.csv", 30, "same", seed=len(name))
        write_patients(beside / f"{name}-test.csv", 10, name, seed=5)
    (beside / "two.csv").write_text((beside / "two.csv").read_text() + "more,30,f,no\n")
    spawn = multiprocessing.get_context("spawn")
    begin = spawn.Event()
    processes = [
        spawn.Process(target=register_under, args=(home.folder, f"pop-{name}", name, begin))
        for name in ("one", "two")
    ]
    for process in processes:
        process.start()
    begin.set()
    for process in processes:
        process.join(60)
    assert sorted(process.exitcode or 0 for process in processes) == [0, RefusedError.exit_code]
    with home.open_ledger() as ledger:
        assert len(ledger.read_state().populations) == 1


# Objections in a federation --------------------------------------------------------------------------------


def patients_in_training(simulator: Simulator, name: str) -> int:
    """How many patients the trainer of a site's only study holds: what its gradients are made of."""
    (training,) = simulator.sites[name]._trainings.values()
    assert isinstance(training, TrainingSession)
    return training._training.patients


def budget(simulator: Simulator, name: str) -> Budget:
    with simulator.homes[name].open_ledger() as ledger:
        (found,) = ledger.read_state().list_budgets()
        return found


def test_patient_who_objects_is_left_out_of_later_studies_and_kept_in_the_one_admitted(tmp_path: Path) -> None:
    """Ash has 60 training patients. One objects before the study is admitted, another while it runs."""
    simulator = Simulator(tmp_path / "wood", small_terms(privacy={"epsilon": 1.0}))
    home = simulator.homes["ash"]
    home.open_patient_register().add_objections(["ash-a0"], "2026-03-31")
    simulator.launch()
    simulator.run(until=lambda: simulator.all_have(0))
    assert patients_in_training(simulator, "ash") == 59

    home.open_patient_register().add_objections(["ash-a1"], "2026-03-31")
    simulator.restart_site("ash")
    simulator.run(until=lambda: simulator.all_have(1))
    assert patients_in_training(simulator, "ash") == 59
    spent = budget(simulator, "ash")
    assert spent.epsilon_spent
    home.open_patient_register().add_objections(["ash-a2"], "2026-03-31")
    assert budget(simulator, "ash") == spent
    simulator.run()
    assert simulator.state("ash").closed
    assert simulator.state("ash").patients == 60  # the public count stays as registered
    assert len(simulator.state("ash").objections) == 1

    registered = home.load_registry().find_exact(CONTRACT)
    assert registered is not None
    training, _ = read_study(registered.to_study_files(home.open_patient_register().load_objections()))
    assert set(training.ids) == {f"ash-a{number}" for number in range(3, 60)}
    first = simulator.study
    simulator.journal.close()
    simulator.launch()
    assert simulator.study != first
    simulator.run(until=lambda: simulator.all_have(0))
    assert patients_in_training(simulator, "ash") == 57
    simulator.close()
