"""Write documents.json: golden terms, launch and messages, from the formats' description alone.

Nothing of ours is imported: canonical JSON from ``json`` (keys are ASCII and every number is short, so sorted keys
without spaces are its RFC 8785 form), Ed25519 from ``cryptography``. Run ``python -m
tests.privacy.vectors.generate``; it leaves the file as it is.
"""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

OPERATOR = Ed25519PrivateKey.from_private_bytes(bytes([30]) * 32)
COORDINATOR = Ed25519PrivateKey.from_private_bytes(bytes([1]) * 32)
SITES = {
    name: Ed25519PrivateKey.from_private_bytes(bytes([2 + i]) * 32)
    for i, name in enumerate(("ash", "birch", "cedar"))
}

TERMS: dict[str, Any] = {
    "consilium": 1,
    "name": "golden",
    "purpose": "A study that fits on a page.",
    "model": {
        "name": "mlp",
        "inputs": {},
        "options": {"hidden": [4], "activation": "tanh"},
        "start": None,
        "weight_names": {},
        "frozen": [],
        "trained": [],
        "adapters": None,
        "personal": [],
    },
    "data": {
        "kind": "table",
        "name": "small",
        "patient": "id",
        "ranges_from": "Invented.",
        "features": [
            {"kind": "number", "name": "age", "low": 20, "high": 80},
            {"kind": "category", "name": "sex", "values": ["f", "m"]},
        ],
        "scaled": "signed",
        "label": {"kind": "binary", "name": "ill", "positive": ["yes"], "negative": ["no"]},
        "missing": ["", "?"],
        "records_per_patient": 1,
    },
    "task": {"kind": "binary", "target": "label", "positive_weight": 1},
    "training": {
        "rounds": 4,
        "local_steps": 3,
        "accumulate": 1,
        "sampling_rate": 0.25,
        "learning_rate": 0.5,
        "schedule": "constant",
        "proximal": 0,
        "control_variates": False,
        "weight_decay": 0,
        "augmentation": None,
        "views": 1,
        "server_learning_rate": 1,
        "server": {"rule": "average", "beta1": 0.9, "beta2": 0.99, "tau": 0.001},
        "weights": "patients",
        "stages": [],
    },
    "privacy": {
        "unit": "patient",
        "neighbouring": "add-or-remove-one",
        "placement": "local",
        "epsilon": 3,
        "delta": 0.001,
        "clipping_norm": 1.5,
        "adaptive_clipping": None,
    },
    "cohort": {"minimum": 3, "maximum": 8, "colluders": 1, "participation": 1, "abandon_after_days": 30},
    "secure_aggregation": {"scheme": "bfv", "bits": 16, "value_range": 4},
    "evaluation": {"rounds": [2, 4], "bins": 10, "epsilon": "none", "records": "last", "patience": None},
    "release": {"to": "sites", "model": "last", "decay": 0.8},
}


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def public(key: Ed25519PrivateKey) -> str:
    return base64url(key.public_key().public_bytes_raw())


def signed(key: Ed25519PrivateKey, label: bytes, statement: dict[str, Any]) -> dict[str, Any]:
    return {"statement": statement, "signature": base64url(key.sign(label + b"\0" + canonical(statement)))}


def message(key: Ed25519PrivateKey, body: dict[str, Any], blob: bytes = b"") -> dict[str, str]:
    data = canonical(body)
    return {
        "body": data.decode(),
        "signature": key.sign(b"consilium message v1\0" + data).hex(),
        "blob": blob.hex(),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def vectors() -> dict[str, Any]:
    nonce = "0123456789abcdef" * 2
    order = {
        "federation": "wood",
        "terms": hashlib.sha256(canonical(TERMS)).hexdigest(),
        "parameters": 29,
        "sites": list(SITES),
        "operator": "ada",
        "key": public(OPERATOR),
        "time": "2026-03-02T08:00:00Z",
        "nonce": nonce,
    }
    launch = {
        "federation": "wood",
        "terms": TERMS,
        "roster": [{"name": name, "identity": public(key)} for name, key in SITES.items()],
        "parameters": 29,
        "nonce": nonce,
        "program": {"version": "1.2.3", "code": "c" * 64},
        "order": signed(OPERATOR, b"consilium launch order v1", order),
    }
    digest = hashlib.sha256(canonical(launch)).hexdigest()
    study = f"golden-{digest[:8]}"
    signed_launch = signed(COORDINATOR, b"consilium launch v1", launch)
    request = {
        "consilium": 1,
        "study": study,
        "sender": "coordinator",
        "receiver": "ash",
        "number": 7,
        "answers": None,
        "blobs": [],
        "content": {"kind": "join", "launch": signed_launch, "epoch": 1, "witnessed": None},
    }
    blob = b"a sealed update"
    reply = {
        **request,
        "sender": "ash",
        "receiver": "coordinator",
        "answers": hashlib.sha256(canonical(request)).hexdigest(),
        "blobs": [{"length": len(blob), "sha256": hashlib.sha256(blob).hexdigest()}],
        "content": {
            "kind": "problem",
            "code": "policy",
            "sentence": "epsilon 9 is too much — 3 is allowed",
            "base": None,
        },
    }
    return {
        "coordinator": public(COORDINATOR),
        "sites": {name: public(key) for name, key in SITES.items()},
        "terms": canonical(TERMS).decode(),
        "terms_sha256": hashlib.sha256(canonical(TERMS)).hexdigest(),
        "launch": signed_launch,
        "launch_sha256": digest,
        "study": study,
        "request": message(COORDINATOR, request),
        "reply": message(SITES["ash"], reply, blob),
        "refused": {
            "signed by another": message(SITES["birch"], request),
            "another format": message(COORDINATOR, {**request, "consilium": 2}),
            "an unknown kind": message(COORDINATOR, {**request, "content": {"kind": "run", "code": "x"}}),
            "an unknown field": message(COORDINATOR, {**request, "loss": 1}),
            "a blob that the body does not name": message(COORDINATOR, request, blob),
        },
    }


if __name__ == "__main__":
    path = Path(__file__).with_name("documents.json")
    path.write_text(json.dumps(vectors(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
