"""Terms, launches and messages for the tests of what is signed and sent; every key is written in a test."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy.keys import SigningKey
from privacy.program import Program
from privacy.study import Terms, read_terms
from privacy.study.launch import Launch, Member, SignedLaunch, sign_order

GOLDEN_TERMS = Path(__file__).parent / "vectors" / "terms.yaml"


def key_number(number: int) -> SigningKey:
    """The same key for the same number."""
    return SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


COORDINATOR_KEY = key_number(1)
OPERATOR_KEY = key_number(30)
PROGRAM = Program(version="1.2.3", code="c" * 64)
NONCE = "0123456789abcdef" * 2
SITE_KEYS = {name: key_number(2 + number) for number, name in enumerate(("ash", "birch", "cedar"))}


def golden_terms() -> Terms:
    """The terms of ``vectors/terms.yaml``."""
    return read_terms(GOLDEN_TERMS)


def launch_of(terms: Terms, keys: dict[str, SigningKey] = SITE_KEYS, federation: str = "wood") -> Launch:
    """An unsigned launch over the sites ``keys``."""
    return order_again(
        {
            "federation": federation,
            "terms": terms,
            "roster": tuple(Member(name=name, identity=key.public.text) for name, key in sorted(keys.items())),
            "parameters": 29,
            "nonce": NONCE,
            "program": PROGRAM,
        }
    )


def order_again(launch: dict[str, Any], key: SigningKey = OPERATOR_KEY) -> Launch:
    """A launch of these fields, with an order for exactly it."""
    terms = Terms.model_validate(launch["terms"])
    members = [Member.model_validate(each) for each in launch["roster"]]
    order = sign_order(
        key,
        "ada",
        federation=launch["federation"],
        terms=terms,
        parameters=launch["parameters"],
        sites=[member.name for member in members],
        nonce=launch["nonce"],
        time=datetime(2026, 3, 2, 8, tzinfo=UTC),
    )
    return Launch.model_validate({**launch, "order": order})


def golden_launch() -> SignedLaunch:
    """The golden launch, signed."""
    return SignedLaunch.sign(COORDINATOR_KEY, launch_of(golden_terms()))
