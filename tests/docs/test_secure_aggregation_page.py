"""``docs/secure-aggregation.md`` gives the numbers that the code has."""

from privacy.secure_aggregation.layout import BLOCK, Layout
from privacy.secure_aggregation.quantise import MOST_HALVINGS
from privacy.secure_aggregation.schemes.bfv import compute_sum_bytes
from privacy.secure_aggregation.schemes.bfv_parameters import (
    COEFFICIENT_MODULUS,
    PLAIN_MODULUS,
    POLYNOMIAL_BYTES,
    RING_DEGREE,
    SEALED_BYTES,
    SEED_BYTES,
    SLOTS,
    compute_failure_bits,
)
from privacy.study import MAX_SITES
from tests.docs.pages import ROOT, rows

PAGE = ROOT / "docs" / "secure-aggregation.md"
TEXT = " ".join(PAGE.read_text(encoding="utf-8").split())


def test_parameters_of_the_page_are_the_codes() -> None:
    table = {row[0]: row[1] for row in rows(PAGE, "Parameters")}
    assert table["ring degree N"] == str(RING_DEGREE)
    assert table["coefficient modulus q"].startswith(f"{COEFFICIENT_MODULUS}, ")
    assert f"{COEFFICIENT_MODULUS.bit_length()} bits" in table["coefficient modulus q"]
    assert table["plaintext modulus t"].startswith(f"{PLAIN_MODULUS}, ")
    assert f"{PLAIN_MODULUS.bit_length()} bits" in table["plaintext modulus t"]
    assert table["ciphertext up"] == f"{SEALED_BYTES:,} bytes"
    assert table["ciphertext down"] == f"{POLYNOMIAL_BYTES:,} + {SEED_BYTES} a site"
    assert f"blocks of {BLOCK} ciphertexts" in TEXT


def test_sizes_of_the_page_are_computed() -> None:
    for bits, sites, per_slot, up, up_part, down, down_part in rows(PAGE, "Packing"):
        layout = Layout(1000, 0, int(bits), int(sites))
        assert layout.per_slot == int(per_slot)
        value_up, value_down = (
            size / SLOTS / layout.per_slot for size in (SEALED_BYTES, compute_sum_bytes(int(sites)))
        )
        assert (f"{value_up:.2f}", f"{value_up / 4:.2f}") == (up, up_part)
        assert (f"{value_down:.2f}", f"{value_down / 4:.2f}") == (down, down_part)


def test_values_a_slot_fall_where_the_page_says() -> None:
    for bits, sites in ((16, 33), (18, 9)):
        assert f"at {bits} bits from {sites}" in TEXT or f"at {bits} from {sites}" in TEXT
        assert (Layout(1, 0, bits, sites - 1).per_slot, Layout(1, 0, bits, sites).per_slot) == (2, 1)
    assert {Layout(1, 0, bits, sites).per_slot for bits in range(20, 25) for sites in range(3, 65)} == {1}


def test_noise_bounds_of_the_page_are_computed() -> None:
    most = next(sites for sites in range(3, 2000) if compute_failure_bits(sites + 1) < 128)
    assert f"that leaves {most} sites, while terms stop at {MAX_SITES}" in TEXT
    assert f"bound is 2^-{compute_failure_bits(64):.0f}, at 32 sites 2^-{compute_failure_bits(32):.0f}" in TEXT
    certain = max(sites for sites in range(3, 64) if 21 * sites + (sites + 1) / 2 < 1024 - 8)
    assert f"up to {certain} sites no draw of noise whatever" in TEXT
    assert COEFFICIENT_MODULUS // (2 * PLAIN_MODULUS) == 1024
    assert f"below 2^-{MOST_HALVINGS} of it" in TEXT
