"""A sum that all its sites open together: exact, by all or by nobody, and the attacks that commitments are for."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import ks_2samp

from privacy.errors import SealingError
from privacy.randomness import from_os
from privacy.secure_aggregation.schemes.bfv_parameters import PLAIN_MODULUS
from privacy.secure_aggregation.schemes.threshold import (
    Ciphertext,
    Member,
    add_ciphertexts,
    commit,
    compute_flood_bits,
    compute_leak_bits,
    compute_noise_bound,
    expand_common,
    open_sum,
)
from privacy.secure_aggregation.schemes.threshold_ring import (
    DEGREE,
    MODULUS,
    Residues,
    add,
    draw_error,
    draw_ternary,
    draw_uniform,
    from_integers,
    multiply,
    negate,
    pack,
    to_integers,
)

COMMON = expand_common(bytes(32))


def slots(number: int) -> NDArray[np.uint64]:
    return np.random.default_rng(number).integers(0, PLAIN_MODULUS, DEGREE, dtype=np.uint64)


@dataclass
class Round:
    """Sites with a joint key, and the ciphertexts of one round."""

    count: int = 3
    members: list[Member] = field(default_factory=list)

    def __post_init__(self) -> None:
        names = [f"site-{number}" for number in range(self.count)]
        self.members = [Member(name, names, COMMON) for name in names]
        publics = {member.name: member.public for member in self.members}
        commitments = {name: commit(public) for name, public in publics.items()}
        self.members[0].join(publics, commitments)
        for member in self.members[1:]:
            member._joint = self.members[0]._joint  # what each computes: 64 sites would take a while
        self.fresh = {member.name: member.encrypt(slots(place)) for place, member in enumerate(self.members)}
        self.total = add_ciphertexts(list(self.fresh.values()))
        self.seconds = {name: each.second for name, each in self.fresh.items()}
        self.commitments = {name: commit(second) for name, second in self.seconds.items()}

    def release(self, place: int) -> Residues:
        return self.members[place].release(0, self.seconds, self.commitments)

    @property
    def plain(self) -> list[int]:
        columns = zip(*(slots(place).tolist() for place in range(self.count)), strict=True)
        return [sum(column) % PLAIN_MODULUS for column in columns]


@pytest.fixture(scope="module")
def three() -> Round:
    return Round()


@pytest.fixture(scope="module")
def shares(three: Round) -> list[Residues]:
    return [three.release(place) for place in range(3)]


def test_all_shares_open_the_sum_exactly(three: Round, shares: list[Residues]) -> None:
    assert open_sum(three.total, shares).tolist() == three.plain


@pytest.mark.parametrize("missing", range(3))
def test_all_shares_but_one_open_nothing(three: Round, shares: list[Residues], missing: int) -> None:
    """What opens is uniform: it agrees with the sum nowhere, and its bits are balanced."""
    opened = open_sum(three.total, shares[:missing] + shares[missing + 1 :])
    assert not np.any(opened == np.array(three.plain, dtype=np.uint64))
    histogram = np.bincount((opened >> np.uint64(39)).astype(int), minlength=16)
    assert np.sum((histogram - 512) ** 2 / 512) < 70  # chi-square, 15 degrees of freedom


def test_site_cannot_open_its_own_ciphertext(three: Round) -> None:
    member = three.members[0]
    opened = open_sum(three.fresh["site-0"], [multiply(three.fresh["site-0"].second, member._share)])
    assert not np.any(opened == slots(0))


@pytest.mark.parametrize("sites", [2, 3, 64])
def test_margin_leaves_every_sum_exact_and_every_share_hidden(sites: int) -> None:
    """The worst noise of all sites and the worst flood stay below q / 2t, and the flood is 2^80 times the noise."""
    worst = compute_noise_bound(sites) + (sites << compute_flood_bits(sites))
    assert worst < MODULUS // (2 * PLAIN_MODULUS) < 4 * worst
    assert compute_flood_bits(sites) - compute_noise_bound(sites).bit_length() > 80
    assert compute_leak_bits(sites) >= 68


@pytest.mark.parametrize(
    ("sites", "noise", "flood", "distance", "values", "up", "down"),
    [(3, 22, 116, 82, 2, 30.4, 40.5), (16, 27, 114, 75, 2, 30.4, 172), (64, 31, 112, 69, 1, 60.8, 1316)],
)
def test_figures_of_the_card_are_those_of_the_ring(
    sites: int, noise: int, flood: int, distance: int, values: int, up: float, down: float
) -> None:
    """Up: two polynomials and a share; down: the sum's first, the shares' sum, and the peers' second ones."""
    assert compute_noise_bound(sites).bit_length() == noise
    assert compute_flood_bits(sites) == flood
    assert int(compute_leak_bits(sites)) == distance
    polynomial = 3 * 54 / 8 / values  # bytes a value: three residues of 54 bits a coefficient
    assert len(pack(COMMON)) == polynomial * values * DEGREE
    assert 3 * polynomial == pytest.approx(up, rel=2e-3)
    assert (2 + sites - 1) * polynomial == pytest.approx(down, rel=2e-3)


def test_number_of_sites_that_leaves_no_room_is_refused() -> None:
    for sites in (1, 1 << 20):
        with pytest.raises(ValueError, match="room for flooding"):
            compute_flood_bits(sites)


def test_noise_of_a_sum_is_within_its_bound_and_64_sites_open_exactly() -> None:
    """The largest federation that terms allow, with sums of the 43-bit slots."""
    large = Round(64)
    secret = np.sum([member._share.astype(np.int64) for member in large.members], axis=0)
    scaled = [(int(number) * MODULUS + PLAIN_MODULUS // 2) // PLAIN_MODULUS for number in large.plain]
    masked = add(*(multiply(large.total.second, member._share) for member in large.members))
    noise = to_integers(add(large.total.first, masked, negate(from_integers(np.array(scaled, dtype=object)))))
    step = MODULUS // PLAIN_MODULUS
    noise = (noise + step // 2) % step - step // 2  # slots that wrapped around t add a multiple of about q / t
    assert max(abs(int(number)) for number in noise) <= compute_noise_bound(64) + PLAIN_MODULUS
    assert np.abs(secret).max() < 64
    opened = open_sum(large.total, [member._open(large.total.second) for member in large.members])
    assert opened.tolist() == large.plain


def test_noise_of_a_share_hides_the_sites_part(three: Round, shares: list[Residues]) -> None:
    """A share less c1 s is the flood, and it looks the same for another share of the key and another ciphertext."""
    floods = []
    for share, member in zip(shares[:2], three.members, strict=False):
        exact = multiply(three.total.second, member._share)
        floods.append(to_integers(add(share, negate(exact))) / (1 << compute_flood_bits(3)))
    one, other = (flood.astype(float) for flood in floods)
    assert -1 <= one.min() < -0.99 < 0.99 < one.max() < 1
    assert ks_2samp(one, other).pvalue > 1e-6


def test_site_lost_after_sealing_leaves_the_sum_closed(three: Round, shares: list[Residues]) -> None:
    """What it costs: nobody can take the lost site's ciphertext out and open the rest, not even all others."""
    rest = add_ciphertexts([three.fresh["site-0"], three.fresh["site-1"]])
    assert not np.any(open_sum(rest, shares[:2]) == np.array(three.plain, dtype=np.uint64))
    other = Round()
    seconds = {name: other.seconds[name] for name in ("site-0", "site-1")}
    with pytest.raises(SealingError, match="a site is missing"):
        other.members[0].release(0, seconds, other.commitments)


def test_second_share_under_a_key_is_refused() -> None:
    again = Round()
    again.release(0)
    with pytest.raises(SealingError, match="has released its share of ciphertext 0"):
        again.release(0)


# the attacks that the commitments are for -------------------------------------------------------------------


def test_share_of_a_chosen_polynomial_is_the_key() -> None:
    """Without the check: a coordinator that asks for the share of 2^155 reads s_i off it."""
    victim = Round().members[0]
    chosen = from_integers(np.array([1 << 155] + [0] * (DEGREE - 1), dtype=object))
    read = [round(int(number) / 2**155) for number in to_integers(victim._open(chosen))]
    assert read == victim._share.tolist()


def test_chosen_polynomial_is_not_opened(three: Round) -> None:
    """With it: the last site sees the others' second polynomials, and picks its own so that their sum is 2^155."""
    victim = Round()
    chosen = from_integers(np.array([1 << 155] + [0] * (DEGREE - 1), dtype=object))
    others = add(*(victim.seconds[f"site-{place}"] for place in (0, 1)))
    forged = {**victim.seconds, "site-2": add(chosen, negate(others))}
    with pytest.raises(SealingError, match="'site-2' shows another polynomial than it committed to"):
        victim.members[0].release(0, forged, victim.commitments)


def test_rogue_key_would_open_everything_and_is_refused() -> None:
    """The last site picks b_i so that the sum is its own public key. It must have committed before it saw the rest."""
    names = ["ash", "birch", "mallory"]
    honest = [Member(name, names, COMMON) for name in names[:2]]
    own = draw_ternary(from_os())
    alone = add(negate(multiply(COMMON, own)), draw_error(from_os()))
    rogue = add(alone, negate(add(*(member.public for member in honest))))
    publics = {**{member.name: member.public for member in honest}, "mallory": rogue}
    early = {
        **{name: commit(public) for name, public in publics.items()},
        "mallory": commit(draw_uniform(from_os())),
    }
    with pytest.raises(SealingError, match="'mallory' shows another polynomial"):
        honest[0].join(publics, early)
    honest[0].join(publics, {name: commit(public) for name, public in publics.items()})  # if it could commit late
    stolen = honest[0].encrypt(slots(9))
    assert open_sum(stolen, [multiply(stolen.second, own)]).tolist() == slots(9).tolist()


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: Member("stranger", ["ash"], COMMON), "none of the key's sites"),
        (lambda: Member("ash", ["ash", "birch"], COMMON).encrypt(slots(1)), "no joint key yet"),
        (lambda: Member("ash", ["ash", "birch"], COMMON).join({"ash": COMMON}, {}), "a site is missing"),
        (lambda: Round().members[0].release(0, Round().seconds, {}), "of different sites"),
    ],
)
def test_step_out_of_order_is_refused(act: Callable[[], object], message: str) -> None:
    with pytest.raises(SealingError, match=message):
        act()


def test_sum_of_one_is_the_ciphertext(three: Round) -> None:
    one = three.fresh["site-0"]
    total = add_ciphertexts([one])
    assert isinstance(total, Ciphertext)
    assert np.array_equal(total.first, one.first)
