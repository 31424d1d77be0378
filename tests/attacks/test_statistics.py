"""What a curious coordinator, and a site that helps it, make of statistics: a site's figures, a patient's record."""

import shutil
from math import sqrt
from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.small_study import CONTRACT, make_patients
from client.training.statistics import count_statistics
from privacy.errors import RefusedError, TermsError
from privacy.mechanisms.shared_totals import add_noise_to_totals, compute_share_variances
from privacy.randomness import KeyStream
from privacy.study import Terms
from privacy.study.cost import compute_evaluation_noise
from privacy.study.tasks.task import compute_squared_scales
from server.study.state import Phase
from tests.protocol.conftest import Found
from tests.protocol.moments import THREE, in_phase
from tests.statistics_study import ASKED, statistics_terms

MAY_BE_THREE = {"cohort": {"minimum": 3}, "task": {**ASKED, "differences": []}}
TELLS = "both together would tell the statistics of these few sites"


def test_launch_over_all_sites_but_one_is_refused_before_anything_is_paid(found: Found) -> None:
    """Two sums that differ by one site differ by that site's own figures."""
    simulator = found(statistics_terms(**MAY_BE_THREE))
    simulator.run()
    simulator.study = simulator.federation.launch(simulator.terms, 1, list(THREE))
    simulator.journal.close()
    simulator.start_coordinator()
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.STOPPED)
    for name in THREE:
        refusal = simulator.entries(name, "refuse")[-1].body
        assert refusal.code == "release-refused"  # type: ignore[attr-defined]
        assert TELLS in refusal.sentence  # type: ignore[attr-defined]
        assert "elm" in refusal.sentence  # type: ignore[attr-defined]
        assert len(simulator.entries(name, "evaluate", "allow")) == 2


def test_round_without_a_site_that_is_said_to_be_away_is_refused(found: Found) -> None:
    """The coordinator invites everybody again, then claims that one of them cannot be reached."""
    simulator = found(statistics_terms(**MAY_BE_THREE))
    simulator.run()
    simulator.launch()
    in_phase(simulator, Phase.SEALING)
    simulator.transport.cut_off.add("elm")
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.STOPPED, seconds=50)
    stopped = simulator.journal.read_history().stopped
    assert stopped is not None
    assert TELLS in stopped
    for name in THREE:  # nothing of it was opened, and no mask was released
        assert (simulator.history(name).applied, simulator.state(name).released) == ([], None)


def test_two_studies_side_by_side_over_all_and_all_but_one_do_not_both_open(found: Found) -> None:
    """Both are admitted and sealed before either is opened: the second release is refused."""
    simulator = found(statistics_terms(**MAY_BE_THREE))
    in_phase(simulator, Phase.RELEASING)
    of_all = simulator.study
    simulator.journal.close()
    simulator.transport.forget()
    simulator.study = simulator.federation.launch(simulator.terms, 1, list(THREE))
    simulator.start_coordinator()
    simulator.run()
    assert all(simulator.state(name).released is not None for name in THREE)
    simulator.journal.close()
    simulator.study = of_all
    simulator.start_coordinator()
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.STOPPED, seconds=5)
    assert TELLS in str(simulator.journal.read_history().stopped)
    assert all(simulator.state(name).released is None for name in THREE)


def test_means_of_two_unknown_sites_follow_from_the_sum_of_their_squares() -> None:
    """Why differences need three unknown sites: with two, two equations have one solution, but for which is which."""
    means, patients = (0.31, -0.12), (190, 80)  # public counts stand in the headers
    total = sum(n * m for n, m in zip(patients, means, strict=True))
    squares = sum(n * m**2 for n, m in zip(patients, means, strict=True))
    first, second = patients
    a, b, c = first + first**2 / second, -2 * first * total / second, total**2 / second - squares
    solutions = [(-b + sign * sqrt(b * b - 4 * a * c)) / (2 * a) for sign in (1, -1)]
    assert min(abs(each - means[0]) for each in solutions) < 1e-9
    with pytest.raises(TermsError, match="the means of two could be computed"):
        statistics_terms(cohort={"minimum": 3})


def test_means_of_three_unknown_sites_do_not_follow_from_the_sum_of_their_squares() -> None:
    """Many sites fit the same two sums: a whole circle of them, around the mean."""
    center, radius = 0.1, 0.3
    axes = np.array([[1, -1, 0], [1, 1, -2]]) / np.array([[sqrt(2)], [sqrt(6)]])  # both sum to zero
    circle = [center + radius * (np.cos(t) * axes[0] + np.sin(t) * axes[1]) for t in np.linspace(0, 6, 50)]
    np.testing.assert_allclose([each.sum() for each in circle], 0.3)
    np.testing.assert_allclose([(each**2).sum() for each in circle], circle[0] @ circle[0])
    assert np.ptp([each[0] for each in circle]) > 0.4
    assert statistics_terms(cohort={"minimum": 4}).counts_only


def opened_without_the_colluder(terms: Terms, truth: NDArray[np.int64], seed: int, sites: int) -> NDArray[np.int64]:
    """The opened cells less the colluding site's share: what it knows together with the coordinator."""
    noise = compute_evaluation_noise(terms)
    assert noise is not None
    variances = compute_share_variances(compute_squared_scales(terms.cell_groups), noise, sites - 1)
    shares = [
        add_noise_to_totals(
            (0,) * len(truth), variances, KeyStream(bytes([site, seed % 256, seed // 256]) + bytes(29))
        )
        for site in range(sites - 1)
    ]
    return np.asarray(truth + np.sum(shares, axis=0))


def test_insider_who_knows_all_other_patients_hardly_guesses_whether_one_was_there() -> None:
    """The strongest test there is (a likelihood ratio over all cells) is right as often as the promise allows."""
    terms, tries = statistics_terms(CONTRACT, privacy={"epsilon": 1}), 200
    random = np.random.default_rng(3)
    others = np.stack(
        [random.uniform(-0.5, 0.5, 40), np.zeros(40), np.ones(40), np.zeros(40), np.zeros(40)], axis=1
    )
    only = np.array([[1.0, 0, 0, 1, 0]])  # alone in the last bin of the age, and of the sex
    labels = random.integers(0, 2, 40)
    without = np.array(count_statistics([make_patients(others, labels)], terms))
    with_them = np.array(
        count_statistics([make_patients(np.concatenate([others, only]), np.append(labels, 1))], terms)
    )
    noise = compute_evaluation_noise(terms)
    assert noise is not None
    variance = np.array(compute_squared_scales(terms.cell_groups)) * noise**2
    middle, direction = (without + with_them) / 2, (with_them - without) / variance
    right = 0
    for seed in range(tries):
        there = seed % 2 == 1
        cells = opened_without_the_colluder(terms, with_them if there else without, seed, sites=4)
        right += bool((cells - middle) @ direction > 0) is there
    most = NormalDist().cdf(1 / (2 * noise))  # of a Gaussian of sensitivity 1
    assert right / tries <= most + 3 * sqrt(0.25 / tries)
    bare = sum(
        bool((each - middle) @ direction > 0) is there for each, there in ((without, False), (with_them, True))
    )
    assert bare == 2  # without noise the same test is always right


def test_sites_of_a_study_with_a_larger_minimum_are_not_told_by_one_with_a_smaller(found: Found) -> None:
    """Three sites agreed to be counted among four at least; a later study without them may not single them out."""
    simulator = found(statistics_terms(**{**MAY_BE_THREE, "cohort": {"minimum": 4}}))
    simulator.run()
    population = simulator.state("ash").registration.population
    with simulator.homes["ash"].open_ledger() as ledger:
        cohorts = ledger.read_state().cohorts
    later = ("ash", "box", "fir", "oak", "yew")
    with pytest.raises(RefusedError, match=r"differs by 3 sites .birch, cedar, elm.*differs by at least 4"):
        cohorts.require_distant(population, later, 3)
    cohorts.require_distant("other patients", later, 3)
    cohorts.require_distant(population, ("box", "fir", "oak", "yew"), 4)


def test_sites_whose_study_folders_are_gone_still_know_with_whom_they_have_counted(found: Found) -> None:
    """Somebody tidies up what has ended; the ledger remembers, and the auditor can see it there."""
    simulator = found(statistics_terms(**MAY_BE_THREE))
    simulator.run()
    for name in THREE:
        (recorded,) = simulator.entries(name, "cohort")
        assert recorded.body.cohort == ("ash", "birch", "cedar", "elm")  # type: ignore[attr-defined]
        shutil.rmtree(simulator.homes[name].find_study_folder(simulator.study))
    simulator.study = simulator.federation.launch(simulator.terms, 1, list(THREE))
    simulator.journal.close()
    simulator.start_coordinator()
    simulator.run(lambda: simulator.conductor.machine.phase is Phase.STOPPED)
    for name in THREE:
        assert TELLS in simulator.entries(name, "refuse")[-1].body.sentence  # type: ignore[attr-defined]
