r"""List every domain-separation label: what a signature, a MAC, a commitment or a derived key is for.

What is made for one purpose must not be valid for another, so the bytes that are signed, or from which a key is
derived, begin with a label. Rules:

* a label is used for one purpose and by one function, and never again for another purpose, in any version;
* its number is its place in this list: labels are added at the end, and none is removed;
* signed and hashed text is ``label + "\0" + bytes``; what sealing derives (21 to 27, 46 to 48) is length-prefixed
  instead (``privacy/key_derivation.py``).
"""

from typing import Final

# signatures (Ed25519), by who signs
MESSAGE: Final = "consilium message v1"  # 1, any party
LEDGER_ENTRY: Final = "consilium ledger entry v1"  # 2, a site
LEDGER_KEY: Final = "consilium ledger key v1"  # 3, a site: the proof that it holds its next key
LEDGER_TRAILER: Final = "consilium ledger trailer v1"  # 4, a site
LEDGER_HEAD: Final = "consilium ledger head v1"  # 5, a site
STUDY_PAPER: Final = "consilium study paper v1"  # 6, a site
COUNTERSIGNATURE: Final = "consilium countersignature v1"  # 7, the coordinator
TESTIMONY: Final = "consilium testimony v1"  # 8, the coordinator
JOIN_REQUEST: Final = "consilium join request v1"  # 9, a site
ADMISSION: Final = "consilium admission v1"  # 10, the coordinator
LAUNCH: Final = "consilium launch v1"  # 11, the coordinator
KEY_OFFER: Final = "consilium key offer v1"  # 12, a site
KEY_GRANT: Final = "consilium key grant v1"  # 13, the lead site
HEADER: Final = "consilium header v1"  # 14, a site
HELD_MODEL: Final = "consilium held model v1"  # 15, a site

# keys agreed on or derived at a site
PAIR_SECRET: Final = "consilium pair secret v1"  # noqa: S105 - a label, no secret; 16, X25519 of two session keys
WRAPPING: Final = "consilium wrapping v1"  # 17, X25519 of two session keys
KEPT_SECRETS: Final = "consilium kept secrets v1"  # 18, of the site's identity key

# the study key
STUDY_KEY: Final = "consilium study key v1 bfv"  # 19, with the scheme's parameters behind it
STUDY_KEY_COMMITMENT: Final = "consilium study key commitment v1"  # 20

# what sealing derives (HKDF-SHA256), and keyed digests of patients (HMAC-SHA256)
PAIR_MASK: Final = "consilium sealing v1 01 pair mask"  # 21
OWN_MASK: Final = "consilium sealing v1 02 own mask"  # 22
CHECK_KEY: Final = "consilium sealing v1 03 check key"  # 23
CHECK_COEFFICIENTS: Final = "consilium sealing v1 04 check coefficients"  # 24
CHECK_OFFSETS: Final = "consilium sealing v1 05 check offsets"  # 25
MODEL_DIGEST: Final = "consilium sealing v1 06 model digest"  # 26
SEED_COMMITMENT: Final = "consilium sealing v1 07 seed commitment"  # 27
PATIENT: Final = "consilium patient v1"  # 28
PATIENTS: Final = "consilium patients v1"  # 29
OBJECTIONS: Final = "consilium objections v1"  # 30
LAUNCH_ORDER: Final = "consilium launch order v1"  # 31, an operator
HOOK_EVENT: Final = "consilium hook event v1"  # 32, a site, for its own programs
CONSORTIUM_MEMBERS: Final = "consilium consortium members v1"  # 36, a consortium
CONSORTIUM_REVOCATION: Final = "consilium consortium revocation v1"  # 37, a consortium
SITE_TESTIMONY: Final = "consilium site testimony v1"  # 38, a site
CONTROL_ORDER: Final = "consilium control order v1"  # 41, a site, an operator or an auditor
SPOKEN: Final = "consilium spoken fingerprint v1"  # 42, of a join request
EVIDENCE: Final = "consilium evidence v1"  # 43, a site
LEDGER_VERIFIED: Final = "consilium ledger verified v1"  # 44, a site, for itself

# signatures (ECDSA P-384), by a site's node key
NODE_KEY_PROOF: Final = "consilium node key proof v1"  # 45, a site: the proof that it holds its node key

# keys of other schemes, derived from the study key (HKDF-SHA256)
PAILLIER_KEY: Final = "consilium sealing v1 08 paillier key"  # 46
LWE_SECRET: Final = "consilium sealing v1 09 lwe secret"  # noqa: S105 - a label, no secret; 47

# threshold decryption: the public polynomial that all sites share, and commitments
THRESHOLD_COMMON: Final = "consilium sealing v1 10 threshold common"  # 48
THRESHOLD_COMMITMENT: Final = "consilium threshold commitment v1"  # 49

# noise that is the same whenever it is drawn (HKDF-SHA256)
CORRELATED_NOISE: Final = "consilium correlated noise v1"  # 50, a site

# the lot of a patient where lots are taken in turn (SHA-256)
FIXED_LOT: Final = "consilium fixed lot v1"  # 51, a site


def make_prefix(label: str) -> bytes:
    r"""Return the bytes that go before what is signed or hashed under ``label``.

    >>> make_prefix(HEADER)
    b'consilium header v1\x00'
    """
    return label.encode("ascii") + b"\0"
