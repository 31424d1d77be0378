"""Measure the encryptions that a federation can add updates under: bytes and CPU time a parameter of each step.

* One core, three sites that send the same update of 16-bit values (Phong's 32 bits, BCP's 32). Every opened sum is
  compared with the plain one.
* Each system gets a size that it can carry in seconds. Times are divided by the parameters.
* Moduli of Paillier and BCP have 3,072 bits. BCP's primes are not safe ones, which changes no time and saves a minute.
* ``seal``, ``add`` and ``open`` are one site's or one update's share; ``setup`` is what a site does once a key, whole.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from benchmarks.ckks import PRACTICE, ckks_path
from benchmarks.path import CPU, Laps, Path
from benchmarks.sealed_path import float32_path, invented_update, sealed_path
from privacy.errors import SealingError
from privacy.key_derivation import KeyPurpose, derive_stream
from privacy.randomness import from_os
from privacy.secure_aggregation.schemes import batchcrypt, phong
from privacy.secure_aggregation.schemes.bcp import BcpKey, BcpMaster
from privacy.secure_aggregation.schemes.bcp_parties import Cloud, LocalAuthority
from privacy.secure_aggregation.schemes.bfv import StudyKey
from privacy.secure_aggregation.schemes.bfv_parameters import PLAIN_MODULUS, SLOTS
from privacy.secure_aggregation.schemes.lwe import LweParameters, LweSecret
from privacy.secure_aggregation.schemes.paillier import MODULUS_BITS, PaillierKey
from privacy.secure_aggregation.schemes.threshold import Member, add_ciphertexts, commit, expand_common, open_sum
from privacy.secure_aggregation.schemes.threshold_ring import DEGREE, POLYNOMIAL_BYTES, add
from privacy.study import SchemeName

SITES: Final = 3
_SPREAD: Final = 1 << 14  # of invented integers, so that three sites' sums fit 16 bits


@dataclass(frozen=True)
class Measured:
    """One system's figures: bytes and microseconds a parameter, and seconds once a key."""

    system: str
    parameters: int
    bytes_up: float
    bytes_down: float
    seal_us: float
    add_us: float
    open_us: float
    setup_s: float
    reads_single_updates: str
    selectable: bool
    rests_on: str


Way = Callable[[], Measured]


def measure_encryptions(quick: bool) -> list[dict[str, Any]]:
    """Measure every system; ``quick`` leaves out those that need more than a few seconds."""
    return [asdict(measure()) for name, measure in WAYS.items() if not quick or name not in SLOW]


def _of_path(
    system: str,
    make: Callable[[], Path],
    parameters: int,
    who: str,
    rests_on: str,
    *,
    selectable: bool = False,
    setup: Callable[[], object] = lambda: None,
) -> Measured:
    laps = Laps(CPU)
    setup()
    once, path = laps.lap(), make()
    per = 1e6 / parameters
    return Measured(
        system,
        parameters,
        path.bytes_up / parameters,
        path.bytes_down / parameters,
        (path.quantise + path.seal) * per,
        path.add * per,
        path.open * per,
        once,
        who,
        selectable,
        rests_on,
    )


def _sealed(scheme: SchemeName, parameters: int) -> Measured:
    return _of_path(
        "open" if scheme is SchemeName.OPEN else f"{scheme}, masked",
        partial(sealed_path, invented_update(parameters), SITES, scheme=scheme),
        parameters,
        "the coordinator" if scheme is SchemeName.OPEN else "nobody (masks)",
        _RESTS_ON[scheme],
        selectable=True,
        setup=partial(_make_key, scheme),
    )


_RESTS_ON: Final = {
    SchemeName.OPEN: "nothing",
    SchemeName.BFV: "ring-LWE",
    SchemeName.LWE: "LWE",
    SchemeName.PAILLIER: "factoring",
}


def _make_key(scheme: SchemeName) -> None:
    """Make what a site makes once a key epoch."""
    key = StudyKey.generate().to_bytes()
    if scheme is SchemeName.PAILLIER:
        PaillierKey.draw(derive_stream(key, KeyPurpose.PAILLIER_KEY))
    elif scheme is SchemeName.LWE:
        parameters = LweParameters(plain_modulus=PLAIN_MODULUS)
        LweSecret.draw(parameters, SLOTS, derive_stream(key, KeyPurpose.LWE_SECRET))


def _float32() -> Measured:
    make = partial(float32_path, invented_update(100_000), SITES)
    return _of_path("float32", make, 100_000, "the coordinator", "nothing")


def _ckks() -> Measured:
    make = partial(ckks_path, invented_update(100_000), SITES, PRACTICE)
    return _of_path("ckks, as usual", make, 100_000, _ONE_KEY, "ring-LWE")


def _phong_paillier(parameters: int = 65 * 8) -> Measured:
    laps = Laps(CPU)
    key = PaillierKey.draw(from_os())
    setup, integers = laps.lap(), _draw(parameters)
    vectors = phong.PaillierVectors(key.public, key)
    fresh = vectors.encrypt(integers)
    sealing = laps.lap()
    server = phong.EncryptedWeights(phong.PaillierVectors(key.public), fresh)
    for _ in range(SITES - 1):
        server.update(fresh)
    adding = laps.lap() / (SITES - 1)
    _require(vectors.decrypt(server.weights, parameters), SITES * integers)
    size = vectors.compute_bits(parameters) / 8
    return _make(
        "phong: paillier", parameters, size, size, (sealing, adding, laps.lap(), setup), _ONE_KEY, "factoring"
    )


def _phong_lwe(parameters: int = 1024) -> Measured:
    laps = Laps(CPU)
    secret = LweSecret.draw(LweParameters(), parameters, from_os())
    public = secret.make_public()
    setup, integers = laps.lap(), _draw(parameters)
    vectors = phong.LweVectors(secret.parameters, public, secret)
    fresh = vectors.encrypt(integers)
    sealing = laps.lap()
    server = phong.EncryptedWeights(phong.LweVectors(secret.parameters), fresh)
    for _ in range(SITES - 1):
        server.update(fresh)
    adding = laps.lap() / (SITES - 1)
    _require(vectors.decrypt(server.weights), SITES * integers)
    opening = laps.lap()
    # bytes are those of the paper's model: the first 3,000 numbers weigh less there
    size = secret.parameters.compute_bits(109_386) / 8 / 109_386 * parameters
    return _make("phong: lwe", parameters, size, size, (sealing, adding, opening, setup), _ONE_KEY, "LWE")


def _batchcrypt(plaintexts: int = 8) -> Measured:
    laps = Laps(CPU)
    key = PaillierKey.draw(from_os())
    setup, batching = laps.lap(), batchcrypt.Batching(16, SITES, MODULUS_BITS - 1)
    parameters = plaintexts * batching.per_plaintext
    values = invented_update(parameters)
    alpha = batchcrypt.compute_clipping(values.min(), values.max(), parameters, 16)
    laps.lap()
    integers = batchcrypt.quantise(values, alpha, batching, from_os())
    fresh = [key.encrypt(number) for number in batchcrypt.encode(integers.tolist(), batching)]
    sealing, total = laps.lap(), fresh
    for _ in range(SITES - 1):
        total = [key.public.add(pair) for pair in zip(total, fresh, strict=True)]
    adding = laps.lap() / (SITES - 1)
    opened = batchcrypt.decode([key.decrypt(each) for each in total], parameters, batching)
    opening = laps.lap()
    _require(opened, SITES * integers)
    size = len(fresh) * key.public.ciphertext_bytes
    return _make(
        "batchcrypt: paillier", parameters, size, size, (sealing, adding, opening, setup), _ONE_KEY, "factoring"
    )


def _bcp(parameters: int = 65) -> Measured:
    laps = Laps(CPU)
    master = BcpMaster.draw(from_os(), MODULUS_BITS, safe=False)
    owners = [BcpKey.generate(master.parameters) for _ in range(SITES)]
    setup, integers = laps.lap() / SITES, _draw(parameters)
    (number,) = phong.pack_signed(integers.tolist(), 65, 47)
    cloud = Cloud(LocalAuthority(master, [owner.public for owner in owners]))
    laps.lap()
    fresh = [master.parameters.encrypt(number, owner.public) for owner in owners]
    sealing = laps.lap() / SITES
    for ciphertext, owner in zip(fresh, owners, strict=True):
        cloud.take(ciphertext, owner.public)
    adding = laps.lap() / SITES
    given = cloud.give(owners[0].public)
    opened, modulus = owners[0].decrypt(given), master.parameters.modulus
    opening = laps.lap()
    centred = opened - modulus if opened > modulus // 2 else opened
    _require(np.array(phong.unpack_signed([centred], 65, 47)), SITES * integers)
    size = 2 * 2 * MODULUS_BITS / 8
    who = "cloud with the authority, or with one owner"
    return _make(
        "li: bcp, cloud and authority", parameters, size, size, (sealing, adding, opening, setup), who, "factoring"
    )


def _threshold(ciphertexts: int = 2) -> Measured:
    names = [f"site-{number}" for number in range(SITES)]
    common, laps = expand_common(bytes(32)), Laps(CPU)
    members = [Member(name, names, common) for name in names]
    publics = {member.name: member.public for member in members}
    for member in members:
        member.join(publics, {name: commit(public) for name, public in publics.items()})
    setup = laps.lap() / SITES
    slots = np.random.default_rng(0).integers(0, PLAIN_MODULUS, DEGREE, dtype=np.uint64)
    sealing = adding = opening = 0.0
    for number in range(ciphertexts):
        laps.lap()
        fresh = {member.name: member.encrypt(slots) for member in members}
        sealing += laps.lap() / SITES
        total = add_ciphertexts(list(fresh.values()))
        adding += laps.lap() / SITES
        seconds = {name: each.second for name, each in fresh.items()}
        commitments = {name: commit(second) for name, second in seconds.items()}
        shares = [member.release(number, seconds, commitments) for member in members]
        opening += laps.lap() / SITES
        opened = open_sum(total, [add(*shares)])
        opening += laps.lap()
        _require(opened.astype(np.int64), (SITES * slots.astype(object) % PLAIN_MODULUS).astype(np.int64))
    parameters = 2 * DEGREE * ciphertexts  # two values of 16 bits a slot, as in the layout of three sites
    # up: a ciphertext and a share; down: the sum's first polynomial, all shares added, and the peers' second ones
    up, down = (number * POLYNOMIAL_BYTES * ciphertexts for number in (3, 2 + SITES - 1))
    return _make(
        "threshold bfv", parameters, up, down, (sealing, adding, opening, setup), "all sites together", "ring-LWE"
    )


_ONE_KEY: Final = "every site; the coordinator with one"


def _make(
    system: str,
    parameters: int,
    up: float,
    down: float,
    seconds: tuple[float, float, float, float],
    who: str,
    rests_on: str,
) -> Measured:
    sealing, adding, opening, setup = seconds
    per = 1e6 / parameters
    return Measured(
        system,
        parameters,
        up / parameters,
        down / parameters,
        sealing * per,
        adding * per,
        opening * per,
        setup,
        who,
        False,
        rests_on,
    )


def _draw(parameters: int) -> "np.ndarray[Any, np.dtype[np.int64]]":
    return np.random.default_rng(0).integers(-_SPREAD, _SPREAD, parameters)


def _require(opened: "np.ndarray[Any, Any]", expected: "np.ndarray[Any, Any]") -> None:
    if not np.array_equal(opened, expected):
        raise SealingError("the sum that was opened is wrong")


WAYS: Final[dict[str, Way]] = {
    "float32": _float32,
    "open": partial(_sealed, SchemeName.OPEN, 100_000),
    "bfv": partial(_sealed, SchemeName.BFV, 100_000),
    "lwe": partial(_sealed, SchemeName.LWE, 100_000),
    "paillier": partial(_sealed, SchemeName.PAILLIER, 8_000),
    "ckks": _ckks,
    "phong-paillier": _phong_paillier,
    "phong-lwe": _phong_lwe,
    "batchcrypt": _batchcrypt,
    "bcp": _bcp,
    "threshold": _threshold,
}
SLOW: Final = ("paillier", "bcp")
