"""Li et al.'s three parties: who holds what, what the authority sees, and which two must not meet."""

import pickle
from collections.abc import Iterator

import pytest
from scipy.stats import kstest

from privacy.errors import SealingError
from privacy.randomness import KeyStream
from privacy.secure_aggregation.schemes.bcp import BcpKey, BcpMaster
from privacy.secure_aggregation.schemes.bcp_parties import (
    HOLDINGS,
    AuthorityProcess,
    Cloud,
    LocalAuthority,
    Party,
    Secret,
)

MASTER = BcpMaster.draw(KeyStream(b"m" * 32), 160)
N = MASTER.parameters.modulus


@pytest.fixture
def owners() -> list[BcpKey]:
    return [BcpKey.generate(MASTER.parameters) for _ in range(3)]


@pytest.fixture
def authority(owners: list[BcpKey]) -> LocalAuthority:
    return LocalAuthority(MASTER, [owner.public for owner in owners])


def test_matrix_of_holders_lets_nobody_read() -> None:
    """A number is read with a key and without blinding, or with both of a key and its blinding."""
    keys = {Secret.OWN_KEY, Secret.MASTER_KEY, Secret.SYSTEM_KEY}
    assert set(HOLDINGS) == set(Party)
    for held in HOLDINGS.values():
        assert not (Secret.BLINDING in held and held & keys)
    assert not HOLDINGS[Party.CLOUD] & HOLDINGS[Party.AUTHORITY]
    assert set().union(*HOLDINGS.values()) == set(Secret)


def list_numbers(held: object) -> set[int]:
    """All whole numbers that can be reached from an object: in its fields, and in what these hold."""
    if isinstance(held, int):
        return {held}
    if isinstance(held, dict):
        return list_numbers([*held.keys(), *held.values()])
    if isinstance(held, (list, tuple, set)):
        return set().union(*map(list_numbers, held))
    return list_numbers(vars(held)) if hasattr(held, "__dict__") else set()


@pytest.mark.parametrize("party", Party)
def test_every_party_holds_the_secrets_of_its_row_and_no_other(
    owners: list[BcpKey], authority: LocalAuthority, party: Party
) -> None:
    """Cell by cell, after an owner's number was added and the sum given back; the blinding is of one call."""
    first, cloud = owners[0], Cloud(authority)
    cloud.take(MASTER.parameters.encrypt(5, first.public), first.public)
    first.decrypt(cloud.give(first.public))
    secrets = {
        Secret.OWN_KEY: {first._secret},
        Secret.MASTER_KEY: {MASTER._order},
        Secret.SYSTEM_KEY: {authority._system._secret},
        Secret.BLINDING: {(seen - 5) % N for seen in authority.seen},
    }
    without_the_other = {
        key: value for key, value in vars(cloud).items() if key != "_authority"
    }  # a reference only
    kept = list_numbers({Party.OWNER: first, Party.CLOUD: without_the_other, Party.AUTHORITY: authority}[party])
    found = {secret for secret, numbers in secrets.items() if numbers & kept}
    assert found == HOLDINGS[party] - {Secret.BLINDING}


@pytest.fixture(scope="module")
def process() -> Iterator[AuthorityProcess]:
    with AuthorityProcess(160) as started:
        yield started


def test_sum_of_owners_with_own_keys_opens_at_each_of_them(process: AuthorityProcess) -> None:
    parameters = process.published.parameters
    owners, cloud = [BcpKey.generate(parameters) for _ in range(3)], Cloud(process)
    for number, owner in enumerate(owners, start=1):
        process.register(owner.public)
        cloud.take(parameters.encrypt(1000 * number, owner.public), owner.public)
    assert [owner.decrypt(cloud.give(owner.public)) for owner in owners] == [6000] * 3


def test_authority_is_another_process_and_its_keys_never_leave_it(process: AuthorityProcess) -> None:
    """What this process can reach of the authority is a pipe and what is published: no key in either."""
    assert process.process.pid is not None
    assert process.process.is_alive()
    assert set(vars(process)) == {"_pipe", "process", "published"}
    assert set(process.published._fields) == {"parameters", "system"}
    assert set(vars(process.published.parameters)) == {"modulus", "generator"}


def test_cloud_keeps_no_key_and_no_blinding(owners: list[BcpKey], authority: LocalAuthority) -> None:
    cloud = Cloud(authority)
    cloud.take(MASTER.parameters.encrypt(5, owners[0].public), owners[0].public)
    assert set(vars(cloud)) == {"_authority", "_parameters", "_system", "total"}
    kept = pickle.dumps((cloud._parameters, cloud._system, cloud.total))
    for secret in (MASTER._order, authority._system._secret, owners[0]._secret, authority.seen[0]):
        assert secret.to_bytes(64, "little").rstrip(b"\0") not in kept


def test_authority_sees_uniform_numbers_whatever_the_owners_send(
    owners: list[BcpKey], authority: LocalAuthority
) -> None:
    cloud, parameters = Cloud(authority), MASTER.parameters
    for _ in range(150):
        cloud.take(parameters.encrypt(3, owners[0].public), owners[0].public)
    for _ in range(50):
        cloud.give(owners[1].public)
    assert owners[1].decrypt(cloud.give(owners[1].public)) == 450
    assert len(set(authority.seen)) == 201
    assert kstest([number / N for number in authority.seen], "uniform").pvalue > 1e-6


def test_authority_serves_no_key_that_the_cloud_made_up(owners: list[BcpKey], authority: LocalAuthority) -> None:
    """A cloud with a key of its own could else have any single number handed over to itself."""
    cloud, own = Cloud(authority), BcpKey.generate(MASTER.parameters)
    cloud.take(MASTER.parameters.encrypt(42, owners[0].public), owners[0].public)
    with pytest.raises(SealingError, match="registered owners only"):
        cloud.give(own.public)


def test_refusal_of_the_authority_crosses_the_processes(process: AuthorityProcess) -> None:
    parameters = process.published.parameters
    stranger = BcpKey.generate(parameters)
    with pytest.raises(SealingError, match="registered owners only"):
        Cloud(process).take(parameters.encrypt(1, stranger.public), stranger.public)


def test_cloud_with_one_owner_reads_every_others_single_number(
    owners: list[BcpKey], authority: LocalAuthority
) -> None:
    """Why this is no protection against two who conspire: the authority cannot see what it re-encrypts."""
    victim, traitor, cloud = owners[0], owners[1], Cloud(authority)
    alone = cloud.unify(MASTER.parameters.encrypt(42, victim.public), victim.public)
    assert traitor.decrypt(cloud.hand_over(alone, traitor.public)) == 42


def test_cloud_with_the_authority_reads_everything(owners: list[BcpKey]) -> None:
    assert MASTER.decrypt(MASTER.parameters.encrypt(42, owners[0].public), owners[0].public) == 42


def test_sum_of_nothing_is_not_given(authority: LocalAuthority, owners: list[BcpKey]) -> None:
    with pytest.raises(SealingError, match="nothing has been added"):
        Cloud(authority).give(owners[0].public)
