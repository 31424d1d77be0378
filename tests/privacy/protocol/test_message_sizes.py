"""The largest message that the largest study can need fits the wire, whatever its sites have put into it.

Each is built at its limits: 64 sites, 10,000 bins a class, names and numbers as long as they may be.
"""

import pytest

from privacy.keys import SessionKey, SigningKey
from privacy.ledger.signed_head import AccountTotals, Countersigned, GrantTotals, LedgerHead
from privacy.protocol.envelope import MAX_BODY_BYTES, make_envelope
from privacy.protocol.headers import MAX_HEAD_BYTES, Committed, Evaluated, Header, HeadReference, LostHead, View
from privacy.protocol.key_messages import MAX_EARLIER, MAX_HELD, KeyGrant, KeyOffer, KeyParcel, Wrap, Wrappings
from privacy.protocol.messages import Closed, Joined, Open, Opened, Problem, Release, Reply, Request, Sealed, Train
from privacy.refusal_codes import RefusalCode
from privacy.signed import Signed
from privacy.study import MAX_SITES
from privacy.study.launch import MAX_LAUNCH_BYTES
from tests.privacy.launch_makers import PROGRAM

KEY = SigningKey.generate()
NAMES = tuple(f"{'a' * 37}-{number:02d}" for number in range(MAX_SITES))
STUDY = f"{'s' * 40}-00000000"
MOST = 1 << 40
DIGEST = "f" * 64
HEAD = HeadReference(number=MOST, hash=DIGEST, recovered=LostHead(number=MOST, hash=DIGEST))


def keyring_limit() -> int:
    (limit,) = (
        each.max_length for each in KeyGrant.model_fields["keyring"].metadata if hasattr(each, "max_length")
    )
    return int(limit)


def key_limit() -> int:
    return 80  # 60 bytes in base64: a nonce of 12, a key of 32, a tag of 16


def header(name: str) -> Signed[Header]:
    view = View(
        study=STUDY, launch=DIGEST, epoch=MOST, round=MOST, attempt=MOST, cohort=DIGEST, base=MOST, model=DIGEST,
        key=DIGEST, layout=DIGEST, reference=MOST, room=MOST, patients=DIGEST,
        headers=DIGEST,
    )  # fmt: skip
    return Signed[Header].sign(
        KEY,
        Header(
            site=name, view=view, patients=MOST, blob=DIGEST, own_mask=DIGEST,
            ledger=HEAD, epsilon_spent=1.2345678901234567e-300, totals=DIGEST,
            seen={each: HEAD for each in NAMES if each != name},
        ),
    )  # fmt: skip


def offer(name: str) -> Signed[KeyOffer]:
    return Signed[KeyOffer].sign(
        KEY,
        KeyOffer(
            study=STUDY, launch=DIGEST, site=name, epoch=MOST, session_key=SessionKey().public, base=MOST,
            holds=(MOST,) * MAX_HELD, patients=MOST,
        ),
    )  # fmt: skip


def head() -> Signed[LedgerHead]:
    """As large as the coordinator takes it: a thousand grants, many times over."""
    grant = GrantTotals(
        epsilon=1.2345678901234567e-300, delta=1e-300, order=256, spent=2**53 - 1, set_aside=2**53 - 1
    )
    account = AccountTotals(population=NAMES[0], protected=True, held_out_protected=True, grants=(grant,) * 1000)

    def signed(accounts: int) -> Signed[LedgerHead]:
        statement = LedgerHead(
            site=NAMES[0], number=2**53 - 1, hash=DIGEST, time="2026-01-01T00:00:00Z", recovered=DIGEST,
            accounts=(account,) * accounts,
        )  # fmt: skip
        return Signed[LedgerHead].sign(KEY, statement)

    fitting = max(number for number in range(1, 8) if len(signed(number).to_bytes()) <= MAX_HEAD_BYTES)
    assert fitting > 1
    return signed(fitting)


@pytest.fixture(scope="module")
def messages() -> dict[str, Request | Reply]:
    headers, offers = {name: header(name) for name in NAMES}, {name: offer(name) for name in NAMES}
    evaluated = Evaluated(round=MOST, opened_in=MOST, counts=(-MOST,) * 20_000)
    grant = Signed[KeyGrant].sign(
        KEY,
        KeyGrant(
            study=STUDY, launch=DIGEST, lead=NAMES[0], epoch=MOST, offers=DIGEST, commitment=DIGEST,
            wrapped=dict.fromkeys(NAMES, "A" * key_limit()), keyring="A" * keyring_limit(),
        ),
    )  # fmt: skip
    keys = KeyParcel(offers=offers, grant=grant)
    committed = Committed(round=MOST, attempt=MOST, epoch=MOST, cohort=NAMES, headers=headers)
    state = head()
    seen = Countersigned.sign(KEY, "coordinator", state)
    assert MAX_LAUNCH_BYTES + len(seen.to_bytes()) + 4096 < MAX_BODY_BYTES  # a join, whose launch has a limit
    return {
        "wrap": Wrap(epoch=MOST, offers=offers, earlier=(MOST,) * MAX_EARLIER),
        "train": Train(
            round=MOST, attempt=MOST, epoch=MOST, base=MOST, cohort=NAMES, reference=MOST, room=MOST, keys=keys,
            committed=committed, witnessed=seen,
        ),
        "release": Release(round=MOST, attempt=MOST, headers=headers),
        "open": Open(keys=keys, committed=committed),
        "joined": Joined(offer=offers[NAMES[0]], ledger=state, program=PROGRAM),
        "wrapped": Wrappings(grant=grant),
        "sealed": Sealed(header=headers[NAMES[0]], ledger=state, evaluated=evaluated),
        "opened": Opened(base=MOST, evaluated=evaluated),
        "closed": Closed(base=MOST, evaluated=evaluated, ledger=state, epsilon_spent=1.2345678901234567e-300),
        "problem": Problem(code=max(RefusalCode, key=len), sentence="\N{LINEAR B SYLLABLE B008 A}" * 2000, base=MOST),
    }  # fmt: skip


@pytest.mark.parametrize(
    "kind",
    ["wrap", "train", "release", "open", "joined", "wrapped", "sealed", "opened", "closed", "problem"],
)
def test_largest_message_of_each_kind_fits_the_wire(messages: dict[str, Request | Reply], kind: str) -> None:
    content = messages[kind]
    assert content.kind == kind
    envelope = make_envelope(
        KEY, content, study=STUDY, sender=NAMES[0], receiver=NAMES[1], number=MOST, answers=b"asked",
        blobs=(b"blob",) * 4,
    )  # fmt: skip
    assert len(envelope.body) <= MAX_BODY_BYTES
    assert type(content).model_validate(content.model_dump()) == content
