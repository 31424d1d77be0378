"""What every model of the catalogue must do, by being in the catalogue: counts, losses, gradients, privacy.

Records are generated (``models/generated/``): nobody's. The device is ``CONSILIUM_TEST_DEVICE``, or the CPU.
"""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load, save

from client.training.local_steps import begin_stage, make_example, make_loss
from client.training.scoring import compute_outputs, count_scores
from models.catalogue import NAMES, find_model
from models.entry import Count
from models.errors import ModelError
from models.fit import build_module, check_fit
from models.outputs import read_outputs
from models.parameters.lora import compute_plain_tensors
from models.tasks.registry import make_task
from privacy.dpsgd import DpSgd, Mechanism, run_self_test
from privacy.dpsgd.ghost_clipping import CLIP_MARGIN
from privacy.randomness import KeyStream
from privacy.study import Terms
from privacy.study.data.tensors import Ids
from privacy.study.tasks.task import count_cells
from tests.models.counting import count_parameters
from tests.models.generated_studies import DEVICE, GeneratedSite, all_rows, generated_site, generated_terms

KEY = b"a key of 32 bytes, for tests now"
TASKS = [(name, task) for name in NAMES for task in find_model(name).tasks]
DEEP = {"deepnet-rbp": {"joint": [6, 6]}}
"""Options of models whose preset has not the layers of every objective."""
STAGES = [(name, objective) for name in NAMES for objective in (*find_model(name).objectives, "task")]


@pytest.mark.parametrize(
    ("name", "count"), [(name, count) for name in NAMES for count in find_model(name).counts], ids=str
)
def test_parameter_count_is_exact(name: str, count: Count) -> None:
    assert count_parameters(find_model(name), count) == count.parameters


@pytest.mark.parametrize("name", NAMES)
def test_entry_says_what_a_researcher_needs(name: str) -> None:
    entry = find_model(name)
    assert {"paper", "small"} <= set(entry.presets)
    assert {count.preset for count in entry.counts} == set(entry.presets)
    assert all((entry.title, entry.citation, entry.inputs, entry.tasks))
    assert {axis for each in entry.inputs for axis in each.axes if isinstance(axis, str)} <= set(entry.example)
    for preset, options in entry.presets.items():
        assert entry.check_options(name, {"preset": preset}) == options


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_loss_and_gradients_are_finite_and_outputs_have_the_shape_of_the_task(
    name: str, task: str, tmp_path: Path
) -> None:
    terms = generated_terms(name, task)
    site = generated_site(tmp_path, terms)
    inputs, targets = site.records.select(all_rows(site))
    returned = site.module(inputs)
    assert read_outputs(returned).shape == (len(all_rows(site)), *terms.task.compute_output_shape(terms.data))
    losses = make_loss(terms)(returned, targets)
    assert losses.shape == (len(all_rows(site)),)
    torch.autograd.backward(losses.sum())
    for key, parameter in site.module.named_parameters():
        if parameter.grad is not None:
            assert torch.isfinite(parameter.grad).all(), key


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns_in_some_stage(name: str, tmp_path: Path) -> None:
    terms = generated_terms(name)
    site = generated_site(tmp_path, terms, patients=12)
    inputs, targets = site.records.select(all_rows(site))
    moved = set()
    for number in range(1, terms.training.rounds + 1):
        with begin_stage(site.module, terms, number), torch.random.fork_rng():
            torch.manual_seed(number)
            site.module.zero_grad()
            torch.autograd.backward(make_loss(terms)(site.module(inputs), targets).sum())
            moved |= {
                key for key, value in site.module.named_parameters() if value.grad is not None and value.grad.any()
            }
    assert moved == {key for key, _ in site.module.named_parameters()}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("edge", ["empty", "full"])
def test_records_at_the_edge_have_finite_losses_and_gradients(name: str, edge: str, tmp_path: Path) -> None:
    """Everything is zero and every mask empty; everything is at its upper end and every mask full."""
    terms = generated_terms(name)
    site = generated_site(tmp_path, terms, patients=2)
    inputs, targets = site.records.select(all_rows(site))
    tensors = {each.name: each for each in terms.data.list_inputs()}
    for key, value in inputs.items():
        tensor = tensors[key]
        top = tensor.values - 1 if isinstance(tensor, Ids) else 1
        inputs[key] = torch.zeros_like(value) if edge == "empty" else torch.full_like(value, top)
    targets = {key: inputs.get(key, value) for key, value in targets.items()}
    losses = make_loss(terms)(site.module(inputs), targets)
    assert torch.isfinite(losses).all()
    if losses.requires_grad:
        torch.autograd.backward(losses.sum())
    gradients = [value.grad for value in site.module.parameters() if value.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("name", NAMES)
def test_output_of_a_record_does_not_depend_on_others(name: str, tmp_path: Path) -> None:
    site = generated_site(tmp_path, generated_terms(name), patients=3, records=2)
    site.module.eval()
    inputs, _ = site.records.select(all_rows(site))
    with torch.no_grad():
        together = read_outputs(site.module(inputs))
        for row in range(len(together)):
            alone = read_outputs(site.module({key: value[row : row + 1] for key, value in inputs.items()}))
            torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "objective"), STAGES)
def test_gradient_of_a_patient_is_that_of_a_loop(name: str, objective: str, tmp_path: Path) -> None:
    """Unclipped and clipped sums equal autograd on one record after the other, for patients with several records."""
    terms = terms_of_stage(name, objective)
    site = generated_site(tmp_path, terms, patients=4)
    with begin_stage(site.module, terms, 1):
        run_self_test(site.module, make_loss(terms), make_example(terms))
        _turn_randomness_off(site.module)
        wanted = [_gradient_one_by_one(site, terms, patient) for patient in range(4)]
        for norm in (1e3, min(float(each.norm()) for each in wanted) / 3 + 1e-9):
            engine = DpSgd(site.module, make_loss(terms), Mechanism(1.0, 4, norm, 0.0), KeyStream(KEY))
            got = engine.sum_lot(site.records, np.arange(4))
            factors = [min(1.0, CLIP_MARGIN * norm / max(1e-12, float(each.norm()))) for each in wanted]
            want = torch.stack([factor * each for factor, each in zip(factors, wanted, strict=True)]).sum(0)
            assert float((got - want).norm()) <= 1e-4 * max(1e-6, float(want.norm()))


@pytest.mark.parametrize("name", NAMES)
def test_one_patient_more_moves_the_sum_by_no_more_than_the_norm(name: str, tmp_path: Path) -> None:
    terms = generated_terms(name)
    site = generated_site(tmp_path, terms, patients=5)
    engine = DpSgd(site.module, make_loss(terms), Mechanism(1.0, 5, 0.01, 0.0), KeyStream(KEY))
    _turn_randomness_off(site.module)
    everybody = engine.sum_lot(site.records, np.arange(5))
    for patient in range(5):
        rest = engine.sum_lot(site.records, np.array([each for each in range(5) if each != patient]))
        assert float((everybody - rest).norm()) <= 0.01


class Admits:
    """A filter that admits ``patients``, always."""

    def __init__(self, *patients: int) -> None:
        self._patients = patients

    def admit(self, lengths: NDArray[np.float64], patients: NDArray[np.int64]) -> NDArray[np.bool_]:
        assert ((lengths > 0) & (lengths <= 1)).all()
        return np.isin(patients, self._patients)

    def settle(self) -> None:
        pass


@pytest.mark.parametrize("name", NAMES)
def test_patients_who_are_left_out_add_nothing_and_change_nothing_of_the_others(name: str, tmp_path: Path) -> None:
    """Two sums of which each leaves out whom the other has are together the sum of everybody."""
    terms = generated_terms(name)
    site = generated_site(tmp_path, terms, patients=4)

    def add(kept: Admits | None) -> torch.Tensor:
        engine = DpSgd(
            site.module, make_loss(terms), Mechanism(1.0, 4, 0.1, 1.0), KeyStream(KEY), patient_filter=kept
        )
        return engine.sum_lot(site.records, np.arange(4)).double()

    with begin_stage(site.module, terms, terms.training.rounds):
        whole, apart = add(None), [add(Admits(0, 3)), add(Admits(1, 2))]
    assert float((apart[0] + apart[1] - whole).norm()) <= 1e-5 * float(sum(each.norm() for each in apart))
    assert all(0 < float(each.norm()) <= 0.2 for each in apart)


@pytest.mark.parametrize("name", NAMES)
def test_private_step_repeats_with_its_key_and_moves_with_another(name: str, tmp_path: Path) -> None:
    terms = generated_terms(name)
    site = generated_site(tmp_path, terms, patients=12, records=1)

    def step(key: bytes) -> torch.Tensor:
        with begin_stage(site.module, terms, 1):
            engine = DpSgd(site.module, make_loss(terms), Mechanism(0.5, 10, 1.0, 1.0), KeyStream(key))
            return engine.compute_gradient(site.records)

    first, again, other = step(KEY), step(KEY), step(KEY[::-1])
    assert torch.equal(first, again)
    assert torch.isfinite(first).all()
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", NAMES)
def test_released_tensors_make_the_same_model(name: str, tmp_path: Path) -> None:
    terms = generated_terms(name)
    site = generated_site(tmp_path, terms, patients=3)
    stored = load(save(compute_plain_tensors(site.module)))
    again = build_module(terms.model, terms.data, terms.task)
    again.load_state_dict({key: torch.from_numpy(value) for key, value in stored.items()})
    inputs = {key: value.cpu().numpy() for key, value in site.records.select(all_rows(site))[0].items()}
    assert torch.equal(compute_outputs(again.eval(), inputs), compute_outputs(site.module.eval(), inputs))


@pytest.mark.parametrize(("name", "task"), TASKS)
def test_totals_have_the_cells_of_the_terms_and_outputs_can_be_described(
    name: str, task: str, tmp_path: Path
) -> None:
    terms = generated_terms(name, task)
    site = generated_site(tmp_path, terms, patients=8, records=1)
    counts = count_scores(site.module, site.patients, terms)
    assert counts.shape == (count_cells(terms.cell_groups),)
    made = make_task(terms.task, terms.data)
    figures = made.compute_figures(counts.tolist(), terms.evaluation.bins)
    assert set(figures) == {figure.name for figure in made.figures}
    assert made.count_patients(counts.tolist(), terms.evaluation.bins) == 8
    inputs = {key: value.cpu().numpy() for key, value in site.records.select(all_rows(site))[0].items()}
    for column in made.describe_outputs(compute_outputs(site.module, inputs)).values():
        assert len(column) == 8
        assert np.isfinite(column).all()


def test_misfit_names_the_input_and_what_the_data_have() -> None:
    terms = generated_terms("mlp")
    other = terms.model.model_copy(update={"inputs": {"features": "image"}})
    with pytest.raises(ModelError, match=r"needs an input 'image' \(number, features\); .* have features"):
        check_fit(other, terms.data, terms.task)


def test_names_are_those_of_files_and_domains() -> None:
    for name in NAMES:
        entry = find_model(name)
        assert import_module(f"models.{entry.domain}.{name.replace('-', '_')}").MODEL is entry


@pytest.mark.skipif(
    DEVICE.type == "cpu", reason="compares another device with the CPU: name it in CONSILIUM_TEST_DEVICE"
)
@pytest.mark.parametrize("name", NAMES)
def test_device_gives_what_the_cpu_gives(name: str, tmp_path: Path) -> None:
    terms = generated_terms(name)
    totals = []
    for device in (torch.device("cpu"), DEVICE):
        site = generated_site(tmp_path, terms, patients=4, device=device)
        _turn_randomness_off(site.module)
        engine = DpSgd(site.module, make_loss(terms), Mechanism(1.0, 4, 0.1, 0.0), KeyStream(KEY))
        totals.append(engine.sum_lot(site.records, np.arange(4)).cpu())
    assert float((totals[1] - totals[0]).norm()) <= 1e-3 * float(totals[0].norm())


def terms_of_stage(name: str, objective: str) -> Terms:
    """Terms with one stage, of a model with a layer for each objective."""
    objectives = find_model(name).objectives
    if not objectives:
        return generated_terms(name)
    stage = {"name": "only", "objective": objective, "rounds": 2, "learning_rate": 0.1}
    layers = [each for each in objectives if each.startswith("layer-")]
    return generated_terms(
        name,
        model={
            "options": {
                "preset": "small",
                **({"hidden": [6] * len(layers)} if layers else {}),
                **DEEP.get(name, {}),
            }
        },
        training={"stages": [stage]},
        evaluation={"rounds": []},
    )


def _turn_randomness_off(module: torch.nn.Module) -> None:
    module.eval()


def _gradient_one_by_one(site: GeneratedSite, terms: Terms, patient: int) -> torch.Tensor:
    rows = np.flatnonzero(site.patients.patient == patient)
    loss = make_loss(terms)
    trained = [value for value in site.module.parameters() if value.requires_grad]
    total = [torch.zeros_like(value) for value in trained]
    for row in rows:
        inputs, targets = site.records.select(np.array([row]))
        found = torch.autograd.grad(loss(site.module(inputs), targets).sum(), trained, allow_unused=True)
        total = [mine if one is None else mine + one / len(rows) for mine, one in zip(total, found, strict=True)]
    return torch.cat([each.flatten() for each in total])
