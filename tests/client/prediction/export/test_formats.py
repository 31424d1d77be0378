"""Every model of the catalogue in every format that holds it: other programs load it and give the same scores."""

import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from benchmarks.small_study import small_terms
from client.data.conversion.images.feature_words import read_features
from client.prediction.export.formats import TOLERANCE, Format, export_model
from client.prediction.export.onnx_file import make_onnx
from client.prediction.predict import load_model, predict
from client.prediction.release_contract import ReleaseContract, read_contract
from models.catalogue import NAMES, find_model
from privacy.errors import ReleaseError
from privacy.study import Terms, parse_terms
from tests.client.prediction.released import release_first_values, release_of_catalogue, release_table

Arrays = dict[str, NDArray[Any]]
Run = Callable[[Arrays], Arrays]


def export_as(release: Path, form: Format, out: Path) -> tuple[ReleaseContract, Any]:
    contract = read_contract(release)
    return contract, export_model(contract, load_model(release, contract), form, out)


def read_inputs(description: Any, data: Path) -> Arrays:
    with np.load(data, allow_pickle=False) as arrays:
        return {each.name: arrays[each.name].astype(each.dtype) for each in description.inputs}


def load_onnx(path: Path) -> Run:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(None, inputs), strict=True))


def load_archive(path: Path) -> Run:
    return run_program(torch.export.load(path))


def run_program(program: torch.export.ExportedProgram) -> Run:
    module = program.module()

    def run(inputs: Arrays) -> Arrays:
        found = module(*(torch.from_numpy(each) for each in inputs.values()))
        return {name: values.detach().numpy() for name, values in found.items()}

    return run


def compare(found: Arrays, expected: Any) -> None:
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=TOLERANCE, atol=TOLERANCE, err_msg=name)


@pytest.mark.parametrize("name", NAMES)
def test_archive_and_onnx_of_every_model_give_the_same_scores(name: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    release, data, contract = release_of_catalogue(tmp_path, name, patients=5, short=True)
    module = load_model(release, contract)
    said = predict(contract, module, data).outputs
    archive, onnx = tmp_path / "m.pt2", tmp_path / "m.onnx"
    description = export_model(contract, module, "archive", archive)
    program = torch.export.load(archive)
    run_archive = run_program(program)  # before the exporter of ONNX has it
    onnx.write_bytes(make_onnx(program, description))  # one trace is enough for both
    inputs = read_inputs(description, data)
    for run in (run_archive, load_onnx(onnx)):
        compare(run(inputs), said)
        compare(
            run({key: values[:1] for key, values in inputs.items()}),
            {key: values[:1] for key, values in said.items()},
        )


TASKS = [(name, task) for name in ("logistic", "unet") for task in find_model(name).tasks]


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_archive_of_every_task_gives_the_same_scores(name: str, task: str, tmp_path: Path) -> None:
    release, data, contract = release_of_catalogue(tmp_path, name, task, patients=4, short=True)
    out = tmp_path / "m.pt2"
    description = export_model(contract, load_model(release, contract), "archive", out)
    compare(
        load_archive(out)(read_inputs(description, data)),
        predict(contract, load_model(release, contract), data).outputs,
    )


@pytest.mark.parametrize("form", ["onnx", "archive"])
def test_export_of_a_table_takes_columns_in_their_own_units(form: Format, tmp_path: Path) -> None:
    release, table = release_table(tmp_path)
    out = tmp_path / f"model.{form}"
    contract, description = export_as(release, form, out)
    run = (load_onnx if form == "onnx" else load_archive)(out)
    said = predict(contract, load_model(release, contract), table).outputs
    columns = {"age": np.array([50, 20, np.nan, 65]), "sex": np.array([0, 1, 1, 0])}  # f is the first word
    assert [each.name for each in description.inputs] == list(columns)
    compare(run(columns), said)
    beyond = {"age": np.array([900.0]), "sex": np.array([-1])}
    (found,) = run(beyond)["probability"]
    assert float(found) == pytest.approx(1 / (1 + np.exp(-(2.0 + 0.25 + 0.125))), abs=1e-6)


def make_image_terms(**column: Any) -> Terms:
    """An image beside an age and a sex."""
    sex = {"kind": "category", "name": "sex", "values": ["f", "m"]} | column
    return parse_terms(
        small_terms().model_dump(mode="json")
        | {
            "model": {"name": "image-table", "options": {"preset": "small"}},
            "data": {
                "kind": "images",
                "name": "pictures",
                "ranges_from": "invented",
                "images": [
                    {
                        "name": "image",
                        "height": 32,
                        "width": 32,
                        "values": {"kind": "full-range"},
                        "resize": "stretch",
                    }
                ],
                "features": [{"kind": "number", "name": "age", "low": 20, "high": 80}, sex],
                "label": {"name": "ill", "positive": ["yes"], "negative": ["no"]},
            },
        }
    )


def test_export_of_images_takes_the_columns_beside_them_in_their_own_units(tmp_path: Path) -> None:
    terms = make_image_terms()
    release, out = release_first_values(tmp_path, terms), tmp_path / "m.pt2"
    contract, description = export_as(release, "archive", out)
    assert [each.name for each in description.inputs] == ["age", "sex", "image"]
    pictures = np.random.default_rng(1).random((4, 1, 32, 32), dtype=np.float32)
    words = [{"age": age, "sex": sex} for age, sex in (("50", "f"), ("20", "m"), ("?", "m"), ("900", "?"))]
    encoded = np.stack([read_features(terms.data, each, {}) for each in words])  # type: ignore[arg-type]
    np.savez(tmp_path / "new.npz", patient=np.array(list("abcd")), image=pictures, features=encoded)
    said = predict(contract, load_model(release, contract), tmp_path / "new.npz").outputs
    ages, sexes = np.array([50, 20, np.nan, 900]), np.array([0, 1, 1, -1])
    compare(load_archive(out)({"age": ages, "sex": sexes, "image": pictures}), said)


def test_column_that_is_called_like_the_image_is_not_taken_for_it(tmp_path: Path) -> None:
    release = release_first_values(tmp_path, make_image_terms(name="image"))
    with pytest.raises(ReleaseError, match="would take two inputs called 'image'; use --format safetensors"):
        export_as(release, "archive", tmp_path / "m.pt2")


def test_monai_runs_a_bundle_and_gives_the_same_scores(tmp_path: Path) -> None:
    bundle = pytest.importorskip("monai.bundle")
    release, data, contract = release_of_catalogue(tmp_path, "unet", patients=4)
    out = tmp_path / "bundle"
    _, description = export_as(release, "monai-bundle", out)
    parser = bundle.ConfigParser()
    parser.read_config(str(out / "configs" / "inference.json"))
    parser.read_meta(str(out / "configs" / "metadata.json"))
    parser["bundle_root"] = str(out)
    network, inferer = parser.get_parsed_content("network_def"), parser.get_parsed_content("inferer")
    image = torch.from_numpy(read_inputs(description, data)["image"])
    with torch.no_grad():
        found = inferer(image, network).numpy()
    said = predict(contract, load_model(release, contract), data).outputs["probability"]
    np.testing.assert_allclose(found, said, rtol=TOLERANCE, atol=TOLERANCE)
    metadata = json.loads((out / "configs" / "metadata.json").read_text())
    assert metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] == list(image.shape[2:])
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.rglob("*") if path.is_file()} == {0o600}


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("image-table", "this model takes 2: features .*, image .*; use --format archive or onnx"),
        ("deepdta", "takes one tensor of numbers; this model takes 2: compound"),
        ("retain", "takes one tensor of numbers; this model takes 2"),
    ],
)
def test_bundle_of_a_model_that_it_cannot_hold_is_refused(name: str, sentence: str, tmp_path: Path) -> None:
    release, _, _ = release_of_catalogue(tmp_path, name, patients=1, short=True)
    with pytest.raises(ReleaseError, match=sentence):
        export_as(release, "monai-bundle", tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_safetensors_hold_the_weights_and_the_contract(tmp_path: Path) -> None:
    release, _ = release_table(tmp_path)
    out = tmp_path / "weights"
    contract, _ = export_as(release, "safetensors", out)
    before, after = load_file(release / "model.safetensors"), load_file(out / "model.safetensors")
    assert {name: values.tolist() for name, values in before.items()} == {
        name: values.tolist() for name, values in after.items()
    }
    assert read_contract(out) == contract
    assert load_model(out, contract) is not None


def test_description_goes_with_the_file_and_names_words(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    release, _ = release_table(tmp_path)
    contract, description = export_as(release, "onnx", tmp_path / "m.onnx")
    kept = {each.key: each.value for each in onnx.load(tmp_path / "m.onnx").metadata_props}
    assert json.loads(kept["consilium"]) == description.model_dump(mode="json")
    assert kept["notice"] == "Research output: not a medical device, no advice about any patient."
    assert [each.meaning for each in description.inputs] == [
        "a number, clipped to 20 to 80; NaN where missing",
        "0 f, 1 m; -1 where missing",
    ]
    assert description.contract == contract


@pytest.mark.parametrize("form", ["onnx", "safetensors"])
def test_what_exists_is_not_written_over(form: Format, tmp_path: Path) -> None:
    release, _ = release_table(tmp_path)
    out = tmp_path / "there"
    out.write_text("mine")
    with pytest.raises(ReleaseError, match="exists already"):
        export_as(release, form, out)
    assert out.read_text() == "mine"


def test_onnx_operators_are_those_of_torch(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    from client.prediction.export.onnx_operators import list_translations

    class Both(torch.nn.Module):
        def forward(self, values: torch.Tensor) -> tuple[torch.Tensor, ...]:
            order = values.sort(dim=1, descending=True, stable=True).indices
            return (order, *torch.cummax(values, dim=1), torch.cummax(values[:, :, 0], dim=0).values)

    values = torch.from_numpy(np.random.default_rng(0).integers(-3, 4, (4, 6, 2)))
    out = tmp_path / "operators.onnx"
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            torch.export.export(Both(), (values,)), custom_translation_table=list_translations(), verbose=False
        )
    assert program is not None
    program.save(out)
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: values.numpy()})
    for here, there in zip(found, Both()(values), strict=True):
        np.testing.assert_array_equal(here, there.numpy())
