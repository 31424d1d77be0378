"""What a site keeps of a study: one moment's truth, whatever is cut off in between."""

import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.small_study import small_terms
from client.site.registry import Registration
from client.study.history import AppliedRound
from client.study.kept_secrets import forget_kept_secrets
from client.study.state import BegunAttempt, Counted, ReleasedSeed, StudyState
from client.study.store import StudyStore, read_state
from models.parameters.vector import Vector, compute_vector_digest
from privacy.errors import KeyFileError, SiteConfigError
from tests.privacy.launch_makers import golden_launch

MODEL: Vector = np.array([0.1, -2.0, 1e-300])
REGISTRATION = Registration(
    contract=small_terms().data,
    population="small",
    train="/a.csv",
    test="/b.csv",
    train_sha256="0" * 64,
    test_sha256="1" * 64,
    public_patients=60,
)
NEXT: Vector = np.array([0.2, -3.0, 0.0])
PARAMETERS = golden_launch().statement.parameters


def begin(folder: Path) -> StudyStore:
    state = StudyState(
        model_sha256=compute_vector_digest(MODEL), patients=60, registration=REGISTRATION, noise_multiplier=1.5
    )
    return StudyStore.create(folder, golden_launch(), state, MODEL)


@pytest.fixture
def store(tmp_path: Path) -> StudyStore:
    return begin(tmp_path / "study")


def test_study_begins_at_round_zero_with_the_first_model(store: StudyStore) -> None:
    assert store.launch == golden_launch().statement
    assert (store.state.base, store.state.closed, store.state.reference) == (0, False, None)
    assert store.read_model().tolist() == MODEL.tolist()


def test_study_exists_once_its_state_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    assert not StudyStore.exists(folder)
    begin(folder)
    assert StudyStore.exists(folder)
    (folder / "state.json").unlink()
    assert not StudyStore.exists(folder)
    begin(folder)  # what a power cut left is begun again
    assert StudyStore(folder).read_model().tolist() == MODEL.tolist()


def test_saved_state_is_there_after_a_restart(store: StudyStore) -> None:
    store.save(
        AppliedRound(round=1, epoch=1, sites=("ash", "birch", "cedar"), patients=(60, 70, 80)),
        reference=70,
        released=ReleasedSeed(round=1, attempt=2, cohort=("ash", "birch", "cedar"), base=0),
        counted=Counted(base=0, counts=(1, 2)),
        closed=True,
    )
    again, history = read_state(store.folder)
    assert again == store.state
    assert history.applied == store.history.applied
    assert again.released is not None
    assert (again.released.attempt, again.reference, again.noise_multiplier) == (2, 70, 1.5)


def test_state_takes_no_field_it_does_not_know(store: StudyStore) -> None:
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        store.save(lot=7)
    assert StudyStore(store.folder).state == store.state


def test_advanced_model_replaces_the_one_before(store: StudyStore) -> None:
    store.advance(NEXT, 1)
    again = StudyStore(store.folder)
    assert again.state.base == 1
    assert again.read_model().tolist() == NEXT.tolist()
    assert sorted(path.name for path in store.folder.glob("model-*")) == ["model-00001.f64"]


def test_model_file_is_little_endian_float64(store: StudyStore) -> None:
    assert (store.folder / "model-00000.f64").read_bytes() == MODEL.astype("<f8").tobytes()


def test_power_cut_between_model_and_state_leaves_the_round_before(
    store: StudyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off after the model is written and before the state says so."""

    def cut(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "save", cut)
    with pytest.raises(KeyboardInterrupt):
        store.advance(NEXT, 1)
    again = StudyStore(store.folder)
    assert again.state.base == 0
    assert again.read_model().tolist() == MODEL.tolist()
    again.advance(NEXT, 1)
    assert again.read_model().tolist() == NEXT.tolist()


def test_model_that_was_altered_is_refused(store: StudyStore) -> None:
    path = store.folder / "model-00000.f64"
    path.write_bytes(NEXT.astype("<f8").tobytes())
    with pytest.raises(SiteConfigError, match="the model of round 0 was altered; restore it from backup"):
        store.read_model()
    path.write_bytes(b"123")
    with pytest.raises(SiteConfigError, match="the model of round 0 cannot be read"):
        store.read_model()
    path.unlink()
    with pytest.raises(SiteConfigError, match="the model of round 0 cannot be read"):
        store.read_model()


def test_integers_are_the_same_for_every_attempt(store: StudyStore) -> None:
    assert store.read_integers(1) is None
    integers = np.array([0, 1, 2**32 - 1], dtype=np.uint32)
    store.keep_integers(1, integers)
    kept = StudyStore(store.folder).read_integers(1)
    assert kept is not None
    assert kept.dtype == np.uint32
    assert kept.tolist() == integers.tolist()


@pytest.mark.parametrize(("bits", "most_bytes"), [(8, 1), (16, 2), (17, 4)])
def test_integers_take_no_more_bytes_than_they_need(store: StudyStore, bits: int, most_bytes: int) -> None:
    integers = np.random.default_rng(0).integers(0, 1 << bits, 100_000, dtype=np.uint32)
    integers[0] = (1 << bits) - 1
    store.keep_integers(1, integers)
    (path,) = store.folder.glob("update-*.npz")
    assert path.stat().st_size < most_bytes * len(integers) + 2000
    kept = store.read_integers(1)
    assert kept is not None
    assert kept.dtype == np.uint32
    assert np.array_equal(kept, integers)


def test_integers_of_applied_rounds_are_dropped(store: StudyStore) -> None:
    for number in (1, 2, 3):
        store.keep_integers(number, np.zeros(3, dtype=np.uint32))
    store.advance(NEXT, 2)
    assert [store.read_integers(number) is None for number in (1, 2, 3)] == [True, True, False]


def test_what_rounding_left_is_that_of_the_last_round_before(store: StudyStore) -> None:
    """Rounds may be void, so it is not always the one before."""
    assert store.read_rounding_residual(1) == 0.0
    left = [np.full(PARAMETERS, value) for value in (0.5, -0.25)]
    store.keep_rounding_residual(1, left[0])
    assert store.read_rounding_residual(1) == 0.0, "a round that is repeated does not take its own"
    assert np.array_equal(StudyStore(store.folder).read_rounding_residual(2), left[0])
    assert np.array_equal(store.read_rounding_residual(5), left[0])
    store.keep_rounding_residual(5, left[1])
    assert np.array_equal(store.read_rounding_residual(6), left[1])


def test_what_rounding_left_outlives_the_round_and_the_repetition_of_the_next(store: StudyStore) -> None:
    """The next round is trained again if the power fails before its integers are kept: it needs the same."""
    store.keep_rounding_residual(1, np.zeros(PARAMETERS))
    store.keep_integers(1, np.zeros(3, dtype=np.uint32))
    store.advance(NEXT, 1)
    store.keep_rounding_residual(2, np.ones(PARAMETERS))
    assert np.array_equal(store.read_rounding_residual(2), np.zeros(PARAMETERS))
    assert sorted(path.name for path in store.folder.glob("left-*")) == ["left-00001.f32", "left-00002.f32"]
    store.keep_rounding_residual(3, np.ones(PARAMETERS))
    assert sorted(path.name for path in store.folder.glob("left-*")) == ["left-00002.f32", "left-00003.f32"]


def test_what_rounding_left_is_float32_and_gone_when_the_study_closes(store: StudyStore) -> None:
    third = np.full(PARAMETERS, 1 / 3)
    store.keep_rounding_residual(1, third)
    assert (store.folder / "left-00001.f32").read_bytes() == third.astype("<f4").tobytes()
    np.testing.assert_allclose(store.read_rounding_residual(2), third, rtol=2**-24)
    store.forget_rounding_residual()
    assert list(store.folder.glob("left-*")) == []
    assert store.read_rounding_residual(2) == 0.0
    store.forget_rounding_residual()


@pytest.mark.parametrize("data", [b"", b"123", bytes(4), bytes(4 * 1000)])
def test_what_rounding_left_that_is_damaged_is_refused(store: StudyStore, data: bytes) -> None:
    (store.folder / "left-00001.f32").write_bytes(data)
    with pytest.raises(SiteConfigError, match=r"left-00001\.f32: cannot be read; restore it from backup"):
        store.read_rounding_residual(2)


def test_variate_is_float32_and_outlives_the_process(store: StudyStore) -> None:
    third = np.full(PARAMETERS, 1 / 3)
    store.keep_variate(2, third)
    assert np.array_equal(StudyStore(store.folder).read_variate(2), third.astype(np.float32))
    store.keep_variate(2, np.zeros(PARAMETERS))
    assert np.array_equal(store.read_variate(2), np.zeros(PARAMETERS)), "repeated work overwrites it"


def test_variates_up_to_a_round_are_removed_but_for_one(store: StudyStore) -> None:
    for number in (1, 2, 3, 4):
        store.keep_variate(number, np.zeros(PARAMETERS))
    store.forget_variates(upto=3, but=1)
    assert sorted(path.name for path in store.folder.glob("control-*")) == [
        "control-00001.npz",
        "control-00004.npz",
    ]
    store.forget_variates(upto=4)
    assert list(store.folder.glob("control-*")) == []


@pytest.mark.parametrize("place", [0, 40, 150, -150, -30])
def test_variate_with_one_bit_changed_is_refused_by_name(store: StudyStore, place: int) -> None:
    store.keep_variate(1, np.linspace(-1, 1, PARAMETERS))
    path = store.folder / "control-00001.npz"
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)
    with pytest.raises(SiteConfigError, match=r"control-00001\.npz: the control variate of round 1 cannot be read"):
        store.read_variate(1)


def test_variate_that_is_missing_cut_short_or_too_long_is_refused_by_name(store: StudyStore) -> None:
    path = store.folder / "control-00001.npz"
    store.keep_variate(1, np.zeros(PARAMETERS + 1))
    too_long = path.read_bytes()
    for data in (None, b"", too_long[:-5], too_long):
        path.unlink(missing_ok=True)
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(SiteConfigError, match=r"control-00001\.npz: .*restore it from backup"):
            store.read_variate(1)


def test_draw_key_is_the_same_until_the_rounds_integers_are_kept(store: StudyStore) -> None:
    """Work that a crash interrupted is repeated, not drawn anew."""
    key = store.draw_key(1)
    assert len(key) == 32
    assert StudyStore(store.folder).draw_key(1) == key
    assert store.draw_key(2) != key
    assert (store.folder / "draw-00001.key").stat().st_mode & 0o777 == 0o600
    store.keep_integers(1, np.zeros(3, dtype=np.uint32))
    assert not (store.folder / "draw-00001.key").exists()
    assert store.draw_key(1) != key


def test_draw_key_that_was_cut_short_is_drawn_anew(store: StudyStore) -> None:
    store.draw_key(1)
    (store.folder / "draw-00001.key").write_bytes(b"short")
    assert len(store.draw_key(1)) == 32


def test_draw_key_that_others_can_read_is_refused(store: StudyStore) -> None:
    store.draw_key(1)
    (store.folder / "draw-00001.key").chmod(0o644)
    with pytest.raises((SiteConfigError, KeyFileError), match="others can read this key"):
        store.draw_key(1)


@pytest.mark.parametrize("name", ["launch.json", "state.json"])
def test_file_that_is_damaged_or_missing_is_refused_with_its_name(store: StudyStore, name: str) -> None:
    path = store.folder / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(SiteConfigError, match=rf"{name}: cannot be used: .*restore the study's folder from backup"):
        StudyStore(store.folder)
    path.unlink()
    with pytest.raises(SiteConfigError, match=rf"{name}: cannot be used"):
        StudyStore(store.folder)


def test_nothing_kept_is_a_key_of_an_epoch_or_a_seed(store: StudyStore) -> None:
    """The state's fields are a closed list: what outlives a restart of seeds and keys is encrypted, beside it."""
    assert set(StudyState.model_fields) == {
        "base", "model_sha256", "patients", "reference", "noise_multiplier", "evaluation_noise_multiplier",
        "released", "begun", "counted", "history", "closed", "registration", "objections", "halvings",
        "best", "ended_epochs", "longest_round_minutes", "withheld",
    }  # fmt: skip
    assert set(ReleasedSeed.model_fields) == {"round", "attempt", "cohort", "base"}
    assert set(BegunAttempt.model_fields) == {"round", "attempt"}
    assert sorted(os.listdir(store.folder)) == ["launch.json", "model-00000.f64", "state.json"]


@pytest.mark.parametrize("place", [0, 40, 150, -150, -30])
def test_own_layers_with_one_bit_changed_are_refused_by_name(store: StudyStore, place: int) -> None:
    store.keep_personal_layers(1, np.linspace(-1, 1, 50))
    assert np.array_equal(
        StudyStore(store.folder).read_personal_layers(1), np.linspace(-1, 1, 50).astype(np.float32)
    )
    path = store.folder / "personal-00001.npz"
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)
    with pytest.raises(SiteConfigError, match=r"personal-00001\.npz: the own layers of round 1 cannot be read"):
        store.read_personal_layers(1)


def test_noise_that_is_carried_on_is_stored_to_the_bit_and_removed(store: StudyStore) -> None:
    noise = np.random.default_rng(1).standard_normal((3, 5))
    for number in (1, 2, 3):
        store.keep_carried_noise(number, noise / number)
    np.testing.assert_array_equal(store.read_carried_noise(3), noise / 3)
    store.forget_carried_noise(upto=2, but=1)
    assert sorted(path.name for path in store.folder.glob("noise-*")) == ["noise-00001.npz", "noise-00003.npz"]
    forget_kept_secrets(store.folder)  # as whenever a study ends
    assert list(store.folder.glob("noise-*")) == []


def test_own_layers_up_to_a_round_are_removed_but_for_some(store: StudyStore) -> None:
    for number in (1, 2, 3, 4):
        store.keep_personal_layers(number, np.zeros(2))
    store.forget_personal_layers(upto=3, but={1, None})
    assert sorted(path.name for path in store.folder.glob("personal-*")) == [
        "personal-00001.npz",
        "personal-00004.npz",
    ]
