"""The scripts that keep public images at hospitals: what their mappings read are the pixels of the source."""

import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from client.data.conversion.kept_snapshots import make_snapshot
from privacy.study import ImagesContract, read_terms
from tests.simulator import Simulator

HOSPITALS = ("archive", "folders", "table")


def write_published(path: Path, train: int = 174, test: int = 30) -> None:
    """Write a file as MedMNIST publishes it: ill lungs are brighter in the middle."""
    random = np.random.default_rng(0)
    arrays = dict[str, Any]()
    for part, count in (("train", train), ("val", 6), ("test", test)):
        labels = random.integers(0, 2, count)
        pixels = random.integers(0, 120, (count, 28, 28))
        pixels[:, 8:20, 8:20] += 120 * labels[:, None, None]
        arrays[f"{part}_images"], arrays[f"{part}_labels"] = pixels.astype(np.uint8), labels[:, None]
    np.savez(path, **arrays)


@pytest.fixture(scope="module")
def chest(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the published file, and a folder for each hospital."""
    folder = tmp_path_factory.mktemp("chest")
    write_published(folder / "published.npz")
    script = repository / "examples" / "imaging" / "prepare_chest_hospitals.py"
    command = [sys.executable, str(script), str(folder / "published.npz"), str(folder / "hospitals")]
    subprocess.run(command, check=True)
    return folder


def test_every_hospital_s_form_gives_the_pixels_of_the_source(
    repository: Path, chest: Path, tmp_path: Path
) -> None:
    contract = read_terms(repository / "examples" / "imaging" / "chest_pictures.yaml").data
    with np.load(chest / "published.npz") as published:
        images = np.concatenate([published[f"{part}_images"] for part in ("train", "val", "test")])
        labels = np.concatenate([published[f"{part}_labels"] for part in ("train", "val", "test")])[:, 0]
    found = 0
    for hospital in HOSPITALS:
        snapshot = make_snapshot(
            contract, chest / "hospitals" / hospital / "mapping.yaml", tmp_path / hospital, 0.0
        )
        for path, are_test in ((snapshot.train, False), (snapshot.test, True)):
            with np.load(path) as records:
                numbers = records["patient"].astype(int)
                assert ((numbers >= 180) == are_test).all()
                np.testing.assert_allclose(records["image"][:, 0], images[numbers] / 255, atol=1.3e-4)  # of 12 bits
                np.testing.assert_array_equal(records["label"], labels[numbers])
                found += len(numbers)
    assert found == 210


def test_study_of_png_tiff_and_dicom_files_is_carried_by_the_federation(
    repository: Path, chest: Path, tmp_path: Path
) -> None:
    terms = read_terms(repository / "examples" / "imaging" / "chest_pictures.yaml")
    training = terms.training.model_copy(update={"rounds": 2, "local_steps": 2, "sampling_rate": 0.5})
    terms = terms.model_copy(
        update={
            "training": training,
            "evaluation": terms.evaluation.model_copy(update={"every": None, "rounds": (2,)}),
        }
    )

    def convert(folder: Path, name: str, _: int) -> tuple[Path, Path]:
        snapshot = make_snapshot(terms.data, chest / "hospitals" / name / "mapping.yaml", folder / "data", 0.0)
        return snapshot.train, snapshot.test

    simulator = Simulator(tmp_path / "wood", terms, HOSPITALS, convert)
    try:
        simulator.launch()
        simulator.run()
        models = {simulator.released_model(name) for name in HOSPITALS}
        assert len(models) == 1
        assert simulator.trained == {(name, number): 1 for name in HOSPITALS for number in (1, 2)}
    finally:
        simulator.close()


def test_hippocampus_in_three_forms_has_the_voxels_that_nibabel_turns(repository: Path, tmp_path: Path) -> None:
    source = repository.parent / "shared" / "data" / "hippocampus"
    if not source.is_dir():
        pytest.skip("shared/data/hippocampus is not here")
    study = read_terms(repository / "examples" / "imaging" / "hippocampus.yaml").data.model_dump()
    (image,) = study["images"]
    image |= {"depth": 64, "height": 48, "width": 48, "spacing_mm": (1, 1, 1)}  # nothing is interpolated
    contract = ImagesContract.model_validate(study | {"images": [image], "records_per_patient": 64})
    script = str(repository / "examples" / "imaging" / "prepare_hippocampus.py")
    for name in ("images", "labels"):  # six volumes: two for each hospital
        (tmp_path / "six" / name).mkdir(parents=True)
        for path in sorted((source / name).glob("*.nii.gz"))[:6]:
            (tmp_path / "six" / name / path.name).symlink_to(path)
    before = sys.argv
    try:
        sys.argv = [script, str(tmp_path / "six"), str(tmp_path / "out")]
        runpy.run_path(script, run_name="__main__")
    finally:
        sys.argv = before
    seen = set[str]()
    for hospital in ("north", "east", "south"):
        snapshot = make_snapshot(contract, tmp_path / "out" / hospital / "mapping.yaml", tmp_path / hospital, 0.0)
        for path in (snapshot.train, snapshot.test):
            with np.load(path) as records:
                for patient in np.unique(records["patient"]):
                    rows = records["patient"] == patient
                    check_slices(source, patient.decode(), records["image"][rows, 0], records["mask"][rows])
                    seen.add(patient.decode())
    assert len(seen) == 6


def read_made_files(script: Path, source: Path, out: Path) -> dict[str, np.ndarray]:
    """Run a script that makes the files of three sites; all of their records."""
    subprocess.run([sys.executable, str(script), str(source), str(out)], check=True)
    parts = [dict(np.load(path)) for path in sorted(out.glob("site-*/*.npz"))]
    assert len(parts) == 6
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def test_knees_are_two_patches_that_face_the_same_way(repository: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images, grades = random.integers(0, 256, (40, 81, 150), dtype=np.uint8), np.arange(40) % 5
    np.savez(tmp_path / "knees.npz", image=images, grade=grades)
    script = repository / "examples" / "imaging" / "prepare_knee.py"
    records = read_made_files(script, tmp_path / "knees.npz", tmp_path / "out")
    numbers = np.array([int(each.removeprefix("knee-")) for each in records["patient"]])
    assert sorted(numbers) == list(range(40))
    np.testing.assert_array_equal(records["grade"], grades[numbers])
    for patches, number in zip(records["patches"], numbers, strict=True):
        np.testing.assert_array_equal(patches[0], images[number, :, :75])
        np.testing.assert_array_equal(patches[1, :, ::-1], images[number, :, 75:])


def test_region_and_square_of_a_lesion_are_cut_around_it_and_its_form_is_that_of_the_original(
    repository: Path, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    images, masks = random.integers(0, 256, (48, 64, 64), dtype=np.uint8), np.zeros((48, 64, 64), dtype=bool)
    masks[:, 8:22, 10:52] = True  # 14 pixels high, 42 wide
    arrays: dict[str, Any] = {"image": images, "mask": np.packbits(masks, axis=-1), "label": 1 + np.arange(48) % 2}
    np.savez(tmp_path / "busi.npz", size=np.full((48, 2), (640, 480), dtype=np.int16), **arrays)
    script = repository / "examples" / "imaging" / "prepare_busi.py"
    records = read_made_files(script, tmp_path / "busi.npz", tmp_path / "out")
    assert len(records["patient"]) == 48
    width, height = 42 * 640 / 64, 14 * 480 / 64
    np.testing.assert_allclose(records["form"], [[width / 1200, height / 1200, width / (width + height)]] * 48)
    for region, patient in zip(records["region"], records["patient"], strict=True):
        rectangle = images[int(patient.removeprefix("image-")), 8:22, 10:52]
        # two of the new rows lie under one old row, and two new columns under three old ones
        wide = rectangle.repeat(2, axis=0).repeat(2, axis=1).reshape(28, 28, 3).mean(2)
        np.testing.assert_allclose(region[0], wide, atol=0.51)
    # the middle of the square is that of the lesion, (15, 31), and its sides are as long in the original
    across = np.floor(31 + ((np.arange(32) + 0.5) / 32 - 0.5) * 42).astype(int)
    down = np.floor(15 + ((np.arange(32) + 0.5) / 32 - 0.5) * 42 * 640 / 480).astype(int)
    within = (down >= 0)[:, None]  # the rest is beyond the image
    for square, patient in zip(records["square"], records["patient"], strict=True):
        number = int(patient.removeprefix("image-"))
        for pixels, whole in zip(square, (images[number], 255 * masks[number]), strict=True):
            np.testing.assert_array_equal(pixels, np.where(within, whole[np.ix_(down, across)], 0))


def test_nodules_lose_pixels_beside_them_and_patients_stay_together(repository: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    images, patients = np.zeros((40, 64, 64), dtype=np.uint8), np.array([f"p{each // 2:02}" for each in range(40)])
    images[:, 20:34, 24:52] = random.integers(1, 256, (40, 14, 28))
    images[:, 0, 0] = 200
    malignant = (np.arange(40) // 2 % 2).astype(np.uint8)
    np.savez(tmp_path / "nodules.npz", image=images, patient=patients, malignant=malignant)
    script = repository / "examples" / "imaging" / "prepare_nodules.py"
    records = read_made_files(script, tmp_path / "nodules.npz", tmp_path / "out")
    parts = [set(np.load(path)["patient"]) for path in (tmp_path / "out").glob("site-*/*.npz")]
    assert sorted(each for part in parts for each in part) == sorted(set(patients))
    order = np.lexsort([records["form"][:, 3], records["patient"]])
    brightness = images[:, 20:34, 24:52].mean((1, 2)) / 255
    rows = np.lexsort([brightness, patients])
    np.testing.assert_array_equal(records["label"][order], malignant[rows])
    np.testing.assert_allclose(records["form"][order, 3], brightness[rows], rtol=1e-6)
    np.testing.assert_allclose(records["form"][:, :3], [[28 / 64, 14 / 64, 28 * 14 / 64**2]] * 40)
    tall = images[rows, 20:34, 24:52].repeat(2, axis=1)
    np.testing.assert_array_equal(records["region"][order, 0], tall)


def test_tiles_of_films_are_their_frames_halved_and_late_frames_are_for_tests(
    repository: Path, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    films = {}
    for film, mask, frames, height, width in (
        ("gall-bladder", "instrument", 20, 180, 320),
        ("robot", "parts", 5, 256, 320),
    ):
        image = random.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
        outlined = random.integers(0, 4, (frames, height, width), dtype=np.uint8)
        arrays: dict[str, Any] = {"image": image, mask: outlined}
        np.savez(tmp_path / f"{film}.npz", **arrays)
        films[film] = image, outlined
    script = repository / "examples" / "imaging" / "prepare_surgery.py"
    sources = [str(tmp_path / f"{film}.npz") for film in films]
    subprocess.run([sys.executable, str(script), *sources, str(tmp_path / "out")], check=True)
    seen: dict[str, set[str]] = {"train": set(), "test": set()}
    for path in sorted((tmp_path / "out").glob("*/*.npz")):
        records = np.load(path)
        for patient, image, mask in zip(records["patient"], records["image"], records["mask"], strict=True):
            film, frame, tile = str(patient).rsplit("-", 2)
            pixels, outlined = films[film]
            top, left = 64 * (int(tile) // 5), 64 * (int(tile) % 5)
            place = (int(frame), slice(top, top + 64), slice(left, left + 64))
            halved = sum(pixels[place][row::2, column::2].astype(float) for row in (0, 1) for column in (0, 1)) / 4
            np.testing.assert_allclose(np.moveaxis(image, 0, 2), halved, atol=0.5)
            foreground = sum(
                (outlined[place] > 0)[row::2, column::2].astype(int) for row in (0, 1) for column in (0, 1)
            )
            np.testing.assert_array_equal(mask, foreground >= 2)
            seen[path.stem].add(f"{film}-{frame}")
    assert seen["test"] == {*(f"gall-bladder-{frame}" for frame in range(16, 20)), "robot-4"}
    assert seen["train"] == {
        *(f"gall-bladder-{frame}" for frame in range(16)),
        *(f"robot-{frame}" for frame in range(4)),
    }


def check_slices(source: Path, patient: str, image: np.ndarray, mask: np.ndarray) -> None:
    """Compare with the published volume: slices go to the front, rows to the feet, columns to the left."""
    values = nibabel.load(source / "images" / f"{patient}.nii.gz").get_fdata()  # towards right, front and head
    labels = nibabel.load(source / "labels" / f"{patient}.nii.gz").get_fdata()
    low, high = np.percentile(values, [1, 99])
    shares = np.clip((values - low) / (high - low), 0, 1)
    for found, stored in ((image, shares), (mask, labels > 0)):
        turned = stored.transpose(1, 2, 0)[:, ::-1, ::-1]  # front, feet, left
        slices, height, width = turned.shape
        assert len(found) == slices
        top, left = (48 - height) // 2, (48 - width) // 2
        np.testing.assert_allclose(found[:, top : top + height, left : left + width], turned, atol=1e-5)
        assert np.isclose(found.sum(), turned.sum(), rtol=1e-4)  # nothing beside it
