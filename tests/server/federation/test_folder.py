"""A federation's folder: made once, enrolment answered once, launches signed."""

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from benchmarks.small_study import small_terms
from privacy.client_certificate import CredentialFiles
from privacy.errors import FederationError
from privacy.keys import SigningKey, format_node_key
from privacy.protocol.enrolment import JoinRequest, NodeKeyClaim, SignedJoinRequest
from server.federation.config import CoordinatorConfig
from server.federation.folder import Federation
from server.federation.members import Members
from server.study.journal import Journal
from server.study.timeouts import Timeouts
from tests.privacy.launch_makers import key_number

CONFIG = CoordinatorConfig(federation="wood", host="127.0.0.1", port=9092)
OWN_NODE_KEYS = {name: ec.generate_private_key(ec.SECP384R1()) for name in ("ash", "birch", "cedar", "elm")}
NODE_KEYS = {name: format_node_key(key) for name, key in OWN_NODE_KEYS.items()}
TLS_REQUEST = CredentialFiles(Path(tempfile.mkdtemp())).make_request("ash")
KEYS = {name: key_number(2 + number) for number, name in enumerate(NODE_KEYS)}


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    return Federation.create(tmp_path / "wood", CONFIG)


def request(name: str, key: SigningKey | None = None, **changes: Any) -> SignedJoinRequest:
    key = key or KEYS[name]
    fields = {
        "name": name,
        "identity": key.public.text,
        "node_key": NODE_KEYS[name],
        "tls_request": TLS_REQUEST,
        **changes,
    }
    return SignedJoinRequest.sign(key, prove(JoinRequest(**fields)))


def prove(request: JoinRequest) -> JoinRequest:
    """Add what the holder of the request's node key adds, if it is one of ours."""
    holders = [key for name, key in OWN_NODE_KEYS.items() if NODE_KEYS[name] == request.node_key]
    if request.node_proof is not None or not holders:
        return request
    return request.model_copy(update={"node_proof": prove_node_key(holders[0], request)})


def prove_node_key(node_key: ec.EllipticCurvePrivateKey, request: JoinRequest) -> str:
    """Prove with ``node_key`` that it belongs to who made the request."""
    claim = NodeKeyClaim(name=request.name, identity=request.identity, tls_request=request.tls_request)
    return claim.prove(node_key)


def enrol_all(federation: Federation) -> Federation:
    for name in KEYS:
        Members(federation).enrol(request(name))
    return federation


def test_new_federation_is_its_owners_alone(federation: Federation) -> None:
    assert federation.folder.stat().st_mode & 0o777 == 0o700
    for path in federation.folder.glob("*.key"):
        assert path.stat().st_mode & 0o077 == 0, path
    assert federation.config == CONFIG
    assert federation.timeouts == Timeouts()
    assert (federation.read_sites(), federation.list_studies(), federation.read_nodes()) == ({}, [], {})


def test_folder_that_is_not_empty_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("mine")
    with pytest.raises(FederationError, match="the folder is not empty; choose another, nothing was changed"):
        Federation.create(tmp_path, CONFIG)
    assert os.listdir(tmp_path) == ["note"]


def test_folder_that_is_no_federation_is_refused_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(
        FederationError, match=r"no coordinator\.yaml here; make a federation with: consilium init DIR"
    ):
        Federation(tmp_path).config  # noqa: B018 - it is read here


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("federation: wood\nprot: 1", "prot: unknown key; did you mean 'port'?"),
        ("federation: wood\nport: 70000", "port: expected at most 65535"),
        ("federation: wood\nport: 1\ntimeouts: {seal_s: 0}", "timeouts.seal_s: expected more than 0"),
    ],
)
def test_configuration_with_a_mistake_is_refused(federation: Federation, text: str, sentence: str) -> None:
    (federation.folder / "coordinator.yaml").write_text(text)
    with pytest.raises(FederationError) as caught:
        federation.config  # noqa: B018 - it is read here
    assert sentence in str(caught.value)


def test_sites_file_that_is_damaged_is_refused(federation: Federation) -> None:
    (federation.folder / "sites.json").write_text("{")
    with pytest.raises(FederationError, match=r"sites\.json: cannot be used: .*restore it from your backup"):
        federation.read_sites()


def test_node_ids_of_64_bits_are_kept(federation: Federation) -> None:
    federation.write_nodes({"ash": 2**64 - 1})
    assert federation.read_nodes() == {"ash": 2**64 - 1}
    (federation.folder / "superlink" / "nodes.json").write_text("{")
    with pytest.raises(FederationError, match="it is written anew by: consilium up"):
        federation.read_nodes()


# Launching -------------------------------------------------------------------------------------------------


def test_launch_is_signed_over_terms_and_roster(federation: Federation) -> None:
    enrol_all(federation)
    study = federation.launch(small_terms(), 6, [])
    with Journal(federation.find_study_folder(study)) as journal:
        launch = journal.read_launch().verify(federation.load_identity().public)
    assert (launch.study, launch.federation, launch.parameters) == (study, "wood", 6)
    assert {member.name: member.identity for member in launch.roster} == {
        name: key.public.text for name, key in KEYS.items()
    }
    assert launch.terms == small_terms()


def test_launch_invites_the_sites_that_are_named_each_once(federation: Federation) -> None:
    enrol_all(federation)
    study = federation.launch(small_terms(), 6, ["elm", "birch", "ash", "elm"])
    with Journal(federation.find_study_folder(study)) as journal:
        assert journal.read_launch().statement.names == ("ash", "birch", "elm")


def test_same_terms_launched_twice_are_two_studies(federation: Federation) -> None:
    enrol_all(federation)
    assert federation.launch(small_terms(), 6, []) != federation.launch(small_terms(), 6, [])


def test_launch_that_fits_no_message_is_refused(federation: Federation) -> None:
    """Else the study would end at its first request, and could never begin."""
    enrol_all(federation)
    terms = small_terms(model={"name": "logistic", "options": {"words": ["x" * 1000] * 3000}})
    with pytest.raises(FederationError, match=r"the launch has 3\d{6} bytes, and no site takes more than 2097152"):
        federation.launch(terms, 6, [])
    assert federation.list_studies() == []


def test_launch_of_a_site_that_is_not_enrolled_is_refused(federation: Federation) -> None:
    enrol_all(federation)
    with pytest.raises(FederationError, match="not enrolled: oak; enrolled sites: ash, birch, cedar, elm"):
        federation.launch(small_terms(), 6, ["ash", "birch", "oak"])


def test_launch_over_too_few_sites_is_refused(federation: Federation) -> None:
    with pytest.raises(FederationError, match=r"0 sites are invited, the terms allow 3 to 8 \(cohort\)"):
        federation.launch(small_terms(), 6, [])
    enrol_all(federation)
    with pytest.raises(FederationError, match="2 sites are invited"):
        federation.launch(small_terms(), 6, ["ash", "birch"])
    assert federation.list_studies() == []


def test_studies_are_listed_oldest_first_whatever_happens_in_them(federation: Federation) -> None:
    enrol_all(federation)
    studies = [federation.launch(small_terms(), 6, []) for _ in range(4)]
    (federation.find_study_folder(studies[0]) / "stop").touch()
    assert federation.list_studies() == studies
