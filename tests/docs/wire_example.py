"""The messages shown in ``docs/wire.md``: ``python -m tests.docs.wire_example`` prints them.

Keys are fixed and everything else is invented, so the same bytes come out on every machine.
"""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from privacy.canonical import compute_digest, compute_sha256
from privacy.keys import SigningKey
from privacy.protocol.envelope import Envelope, make_envelope
from privacy.protocol.headers import Header, HeadReference, LostHead, View
from privacy.protocol.key_messages import compute_counts_digest
from privacy.protocol.messages import Release, Released, Sealed
from privacy.signed import Signed
from privacy.study import COORDINATOR
from tests.privacy.head_makers import standing

SITE, STUDY, COHORT = "north", "breast-cancer-5f3a9c21", ("east", "north", "south")
SITE_KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
COORDINATOR_KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))
BLOB = b"a sealed update"


def example_release() -> Envelope:
    """The coordinator asks ``north`` to release; headers left out for shortness."""
    content = Release(round=3, attempt=1, headers={})
    return make_envelope(COORDINATOR_KEY, content, study=STUDY, sender=COORDINATOR, receiver=SITE, number=17)


def example_released() -> Envelope:
    """``north`` releases its mask."""
    return make_envelope(
        SITE_KEY,
        Released(round=3, attempt=1, seed="07" * 32),
        study=STUDY,
        sender=SITE,
        receiver=COORDINATOR,
        number=17,
        answers=example_release().body,
    )


def example_header() -> Signed[Header]:
    """What ``north`` has sealed, and from which view of the study."""
    view = View(
        study=STUDY,
        launch="5f3a9c21" + "0" * 56,
        epoch=1,
        round=3,
        attempt=1,
        cohort=compute_digest(COHORT),
        base=2,
        model="1" * 64,
        key="2" * 64,
        layout="3" * 64,
        reference=170,
        patients=compute_counts_digest({"east": 170, "north": 120, "south": 80}),
        headers="6" * 64,
    )
    header = Header(
        site=SITE,
        view=view,
        patients=120,
        blob=compute_sha256(BLOB),
        own_mask="5" * 64,
        ledger=HeadReference(number=10, hash="4" * 64),
        epsilon_spent=2.6494,
        totals=None,
        seen={
            "east": HeadReference(number=21, hash="7" * 64),
            "south": HeadReference(number=9, hash="8" * 64, recovered=LostHead(number=11, hash="9" * 64)),
        },
    )
    return Signed[Header].sign(SITE_KEY, header)


def example_sealed() -> Envelope:
    """``north`` answers a request to train."""
    return make_envelope(
        SITE_KEY,
        Sealed(header=example_header(), ledger=standing(SITE_KEY, SITE), evaluated=None),
        study=STUDY,
        sender=SITE,
        receiver=COORDINATOR,
        number=13,
        answers=b"the body of the request",
        blobs=(BLOB,),
    )


def blocks() -> dict[str, str]:
    """What the page shows, by what it is."""
    released, sealed = example_released(), example_sealed()
    return {
        "released body": released.body.decode(),
        "released signature": released.signature.hex(),
        "sealed body": sealed.body.decode(),
    }


def main() -> None:
    """Print the examples."""
    for name, text in blocks().items():
        print(f"{name}\n{text}\n")  # noqa: T201 - a tool for whoever edits the page


if __name__ == "__main__":
    main()
