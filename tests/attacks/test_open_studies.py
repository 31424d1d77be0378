"""A study that is not sealed: what the coordinator reads, that sites must allow it, and that everybody is told."""

import numpy as np
import pytest

from benchmarks.small_study import small_terms
from privacy.protocol.envelope import read_body
from privacy.protocol.messages import Sealed
from privacy.secure_aggregation.layout import CHECKS
from privacy.secure_aggregation.round_layout import layout_of
from privacy.secure_aggregation.schemes.bfv import StudyKey
from privacy.secure_aggregation.schemes.registry import SCHEMES
from privacy.study import SchemeName
from server.results.tally import NOT_SEALED, Tally
from server.study.state import Phase
from tests.protocol.conftest import Found
from tests.protocol.invariants import require_finished, require_safe
from tests.protocol.moments import in_phase
from tests.simulator import FOUR, Simulator, change_policy

TERMS = small_terms(secure_aggregation={"scheme": "open"})


def allowed_by(simulator: Simulator, *names: str) -> None:
    """The people of these sites write into their policy that updates may travel in the clear."""
    for name in names:
        simulator.sites[name].close()
        change_policy(simulator.homes[name], open_sealing=True)
        simulator.sites[name] = simulator._start(name)


@pytest.fixture
def simulator(found: Found) -> Simulator:
    """A study in the clear, which every site allows."""
    simulator = found(TERMS, launch=False)
    allowed_by(simulator, *FOUR)
    simulator.launch()
    return simulator


def test_open_study_is_refused_unless_a_sites_policy_allows_it(found: Found) -> None:
    """The coordinator launches a study without sealing: a site's policy forbids it until its people say otherwise."""
    simulator = found(TERMS, launch=False)
    allowed_by(simulator, "ash", "birch")
    simulator.launch()
    simulator.run(seconds=5)
    assert "2 sites can take part, the terms need 3" in (simulator.journal.read_history().stopped or "")
    for name in ("cedar", "elm"):
        refusal = simulator.entries(name)[-1]
        assert refusal.kind == "refuse"
        assert "not sealed (secure_aggregation.scheme: open)" in getattr(refusal.body, "sentence", "")
    assert not simulator.trained


def test_open_study_shows_every_update_to_the_coordinator(simulator: Simulator) -> None:
    """No attack: what ``open`` means. Each update is read from its own message, without a key."""
    in_phase(simulator, Phase.RELEASING)
    layout, stranger = layout_of(simulator.journal.read_launch().statement, 1, 0), StudyKey.generate()
    cipher, read = SCHEMES[SchemeName.OPEN], {}
    for envelope in simulator.transport.wire:
        body = read_body(envelope)
        if isinstance(body.content, Sealed):
            slots = cipher.decrypt(stranger, bytes(envelope.blobs[0]), 1)
            slots[-CHECKS:] = 0
            read[body.sender] = layout.unpack(slots, 1, range(layout.parts)).values
    assert set(read) == set(FOUR)
    for name in FOUR:
        integers = simulator.store(name).read_integers(1)
        assert integers is not None
        assert np.array_equal(read[name], integers)


def test_open_study_is_labelled_wherever_it_is_shown(simulator: Simulator) -> None:
    """A study in the clear is taken for a sealed one: the display and the model's card say that it is not."""
    simulator.run(seconds=5)
    require_finished(simulator)
    require_safe(simulator)
    tally = Tally()
    for note in simulator.journal.read_notes():
        tally.add_note(note)
    assert NOT_SEALED in tally.warnings
    for name in FOUR:
        folder = simulator.homes[name].find_study_folder(simulator.study) / "release"
        assert "**not sealed**: the coordinator could read every site's" in (folder / "card.md").read_text()
        assert '"updates_sealed":false' in (folder / "card.json").read_text()
