"""Which sums a coordinator can open, computed: all its schedules of lies, as linear algebra.

The model (``tests/protocol/openable.py``) is the rules of ``client/study/seal_round.py`` and
``client/study/participation.py`` for one round. Each honest site seals, under rising attempts, whatever cohort the
coordinator shows it. It releases once, and only when every honest site of its cohort has shown the same view. It
may be restarted at any time: the seed of its newest sealing is kept, so that a restart changes nothing here.

The rules are then broken one by one, to see that the computation would notice.
"""

import random

import pytest

from tests.protocol.openable import Round, View


def played(seed: int, honest: int, colluders: int, minimum: int, put_back: int = 0) -> Round:
    """A random schedule: cohorts told to each site as the coordinator likes, releases asked for at any time."""
    chance = random.Random(seed)
    game = Round(honest, colluders, minimum, put_back)
    everybody = [*range(honest), *range(-colluders, 0)]
    views: list[View] = []
    for attempt in range(1, 5):
        for _ in range(2):
            size = chance.randint(max(minimum - 1, 1), len(everybody))
            views.append((attempt, tuple(sorted(chance.sample(everybody, size)))))
        for site in chance.sample(range(honest), honest):
            game.seal(site, chance.choice(views[-2:]))
        for site in range(honest):
            if chance.random() < 0.5:
                game.release(site, chance.choice(views))
    for site in range(honest):
        for view in chance.sample(views, len(views)):
            game.release(site, view)
    return game


@pytest.mark.parametrize(("honest", "colluders"), [(2, 1), (3, 1), (4, 1), (4, 2), (5, 3), (3, 0)])
def test_no_schedule_of_lies_opens_a_lone_update(honest: int, colluders: int) -> None:
    """Sum minus one over attempts, cohorts told differently, releases in any order: 300 random schedules each."""
    games = [played(seed, honest, colluders, max(3, colluders + 2)) for seed in range(300)]
    assert sum(bool(game.opened()) for game in games) > 5, "schedules in which nothing opens show nothing"
    assert not any(game.lone_updates() for game in games)


@pytest.mark.parametrize(("honest", "colluders"), [(2, 1), (3, 1), (4, 1), (4, 2), (5, 2)])
def test_one_site_put_back_whenever_the_coordinator_likes_opens_no_lone_update(honest: int, colluders: int) -> None:
    """It seals what it is asked, releases any seed that it ever had, as often as it likes; the others release once.

    Every whole cohort has another honest site, in no other whole cohort: nothing takes that site's update off again.
    """
    games = [played(seed, honest, colluders, colluders + 2, put_back=1) for seed in range(300)]
    assert any(len(set(game.released.get(0, []))) > 1 for game in games), "it has released one round several times"
    assert not any(game.lone_updates() for game in games)


def test_two_sites_put_back_by_turns_are_the_limit() -> None:
    """With a conspiring third they are whole cohorts by themselves, with any one other site or without it.

    It takes no seed on a disk: sites that are put back seal and release anew. Do not put back several running sites.
    """
    assert any(played(seed, 4, 1, 3, put_back=2).lone_updates() for seed in range(300))


def test_the_computation_finds_lone_updates_where_the_minimum_is_too_small() -> None:
    """With ``colluders + 1`` sites a whole cohort may hold one honest site: then its sum is that site's update."""
    assert any(played(seed, 3, 2, 3).lone_updates() for seed in range(100))


def test_the_computation_finds_lone_updates_where_sites_release_twice() -> None:
    """Two whole sums of one round that differ by one site: the difference is its update."""
    assert any(played(seed, 4, 1, 3, put_back=4).lone_updates() for seed in range(300))
