"""What must hold of a federation whatever has happened to it."""

from collections import Counter, defaultdict

from privacy.accounting.epsilon import epsilon_of
from privacy.accounting.figures import Budget
from privacy.audit.check_ledger import check_ledger
from privacy.ledger.entries import Entry
from privacy.protocol.key_messages import Wrappings
from privacy.protocol.messages import Released, Sealed
from tests.protocol.openable import Round
from tests.simulator import Simulator


def require_safe(simulator: Simulator) -> None:
    """No promise is broken: at any moment, finished or not."""
    require_sound_ledgers(simulator)
    require_one_release_a_round(simulator)
    require_one_draw_a_round(simulator)
    require_one_cohort_an_attempt(simulator)
    require_one_key_an_epoch(simulator)
    require_equal_models(simulator)
    for name in simulator.names:
        require_no_lone_update(simulator, colluder=name)


def require_sound_ledgers(simulator: Simulator) -> None:
    """Every ledger verifies, pays no round twice, and has not spent or set aside more than the terms promise."""
    for name in simulator.names:
        entries = simulator.entries(name)
        paid = Counter(
            (entry.kind, getattr(entry.body, "round", None))
            for entry in entries
            if entry.kind in ("reserve", "evaluate")
        )
        assert all(times == 1 for times in paid.values()), (name, paid)
        require_within_terms(simulator, name, entries)


def budget(simulator: Simulator, name: str) -> Budget:
    """A site's budget as an auditor computes it, from the file and the site's public key."""
    home = simulator.homes[name]
    verified = check_ledger(home.ledger_path, home.load_identity().public)
    return next(each for each in verified.populations if each.population == simulator.terms.data.name)


def require_within_terms(simulator: Simulator, name: str, entries: list[Entry]) -> None:
    """What was paid in the study costs its patients no more than the terms say, and no more than was set aside."""
    privacy, evaluation = simulator.terms.privacy, simulator.terms.evaluation
    for kind, allowed in (("reserve", privacy.epsilon), ("evaluate", evaluation.epsilon)):
        events = [entry.body.event for entry in entries if entry.kind == kind]  # type: ignore[attr-defined]
        if allowed is not None and privacy.delta is not None and events:
            assert epsilon_of(events, privacy.delta) <= allowed + 1e-6
    admitted = sum(entry.body.charge for entry in entries if entry.kind == "allow")  # type: ignore[attr-defined]
    for grant in budget(simulator, name).grants:
        assert grant.spent + grant.set_aside <= admitted <= grant.limit


def require_one_release_a_round(simulator: Simulator) -> None:
    """No site has ever given the seeds of two attempts of one round."""
    seeds: dict[tuple[str, int], set[tuple[int, str]]] = defaultdict(set)
    for name, reply in simulator.transport.said:
        if isinstance(reply, Released):
            seeds[name, reply.round].add((reply.attempt, reply.seed))
    assert all(len(released) == 1 for released in seeds.values()), seeds


def require_no_lone_update(simulator: Simulator, colluder: str) -> None:
    """What has left the sites, with all that ``colluder`` knows, opens nobody's update alone: by linear algebra."""
    cohorts = {(asked.round, asked.attempt): asked.cohort for asked in simulator.attempts()}
    honest = [name for name in simulator.names if name != colluder]
    numbers = {name: number for number, name in enumerate(honest)} | {colluder: -1}
    rounds: dict[int, Round] = defaultdict(lambda: Round(len(honest), 1, simulator.terms.cohort.minimum))
    for name, reply in simulator.transport.said:
        if name == colluder or not isinstance(reply, Sealed | Released):
            continue
        shown = reply.header.statement.view if isinstance(reply, Sealed) else reply
        cohort = tuple(numbers[member] for member in cohorts[shown.round, shown.attempt])
        if isinstance(reply, Sealed):
            rounds[shown.round].seal(numbers[name], (shown.attempt, cohort))
        else:
            rounds[shown.round].let_go(numbers[name], (shown.attempt, cohort))
    assert not any(game.lone_updates() for game in rounds.values())


def require_one_draw_a_round(simulator: Simulator) -> None:
    """However often training was broken off, a round's randomness was drawn once."""
    keys: dict[tuple[str, int], set[bytes]] = defaultdict(set)
    for name, number, key in simulator.draws:
        keys[name, number].add(key)
    assert all(len(drawn) == 1 for drawn in keys.values())


def require_one_cohort_an_attempt(simulator: Simulator) -> None:
    """A (round, attempt) is sealed for one cohort only, each sealing has a mask of its own, and attempts rise."""
    cohorts: dict[tuple[int, int], set[str]] = defaultdict(set)
    last: dict[tuple[str, int], int] = {}
    for name, reply in simulator.transport.said:
        if isinstance(reply, Sealed):
            view = reply.header.statement.view
            cohorts[view.round, view.attempt].add(view.cohort)
            assert last.get((name, view.round), 0) <= view.attempt
            last[name, view.round] = view.attempt
    assert all(len(named) == 1 for named in cohorts.values()), cohorts


def require_one_key_an_epoch(simulator: Simulator) -> None:
    """Whatever became of the answers, one site has drawn the study key of an epoch."""
    grants = [reply.grant.statement for _, reply in simulator.transport.said if isinstance(reply, Wrappings)]
    keys = {(grant.epoch, grant.commitment) for grant in grants}
    assert len(keys) == len({epoch for epoch, _ in keys})


def require_equal_models(simulator: Simulator) -> None:
    """Sites that have reached the same round hold the same bytes."""
    models: dict[int, set[bytes]] = defaultdict(set)
    for name in simulator.names:
        if simulator.has_begun(name):
            models[simulator.state(name).base].add(simulator.model_file(name))
    assert all(len(held) == 1 for held in models.values())


def require_finished(simulator: Simulator, *names: str) -> None:
    """The study has ended, and the sites (all, if none are named) have released the same model."""
    assert simulator.journal.read_history().finished
    assert len({simulator.released_model(name) for name in names or simulator.names}) == 1
