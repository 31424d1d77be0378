import pytest
import torch
from torch.nn import functional

from models.errors import ModelError
from models.fit import set_objective
from models.genomics.deepnet_rbp import MODEL, DeepnetRbp, DeepnetRbpOptions, build, compute_shares
from models.layers.boltzmann import CountMachine
from tests.models.counting import count_parameters

WORDS, FOLDS, MOTIFS, DRAWS = 7, 5, 3, 6


def make(**options: object) -> DeepnetRbp:
    torch.manual_seed(0)
    chosen = DeepnetRbpOptions.model_validate(
        {"sequence": 4, "structure": 2, "joint": (3, 2), "draws": DRAWS, **options}
    )
    return build(chosen, {"words": WORDS, "folds": FOLDS, "motifs": MOTIFS}, ()).eval()


def make_records(records: int = 3) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {
        "sequence": torch.randint(1, 9, (records, WORDS)).float(),
        "structure": torch.randint(1, 9, (records, FOLDS)).float(),
        "motifs": torch.randint(0, 2, (records, MOTIFS)).float(),
    }


@pytest.mark.parametrize(
    ("place", "widths"), [(0, (2000, 1000, 3000, 3000, 2)), (2, (128, 64, 128, 128, 1))], ids=["paper", "narrow"]
)
def test_parameters_are_those_of_the_classifier_and_of_what_the_machines_show(
    place: int, widths: tuple[int, ...]
) -> None:
    one, two, low, high, outputs = widths
    both = one + two + 529
    classifier = (4096 + 1) * one + (2052 + 1) * two + (both + 1) * low + (low + 1) * high + (high + 1) * outputs
    visible = 4096 + 2052 + both + low
    assert count_parameters(MODEL, MODEL.counts[place]) == classifier + visible
    if place == 0:
        assert (classifier, visible) == (29_846_002, 12_677)


def test_task_joins_both_machines_and_the_motifs() -> None:
    module, records = make(), make_records()
    weights = dict(module.named_parameters())

    def apply(name: str, states: torch.Tensor) -> torch.Tensor:
        return 1 / (1 + torch.exp(-(states @ weights[f"{name}.hidden.weight"].T + weights[f"{name}.hidden.bias"])))

    counts = {
        name: DRAWS * records[name] / records[name].sum(1, keepdim=True) for name in ("sequence", "structure")
    }
    lowest = [apply(name, counts[name]) for name in ("sequence", "structure")]
    states = apply("joint.1", apply("joint.0", torch.cat([*lowest, records["motifs"]], dim=1)))
    torch.testing.assert_close(module(records), (states @ module.head.weight.T + module.head.bias)[:, 0])


def test_length_of_an_rna_changes_nothing() -> None:
    module, records = make(), make_records()
    longer = {**records, "sequence": 5 * records["sequence"], "structure": 2 * records["structure"]}
    torch.testing.assert_close(module(longer), module(records))
    assert compute_shares(torch.zeros(1, 4)).tolist() == [[0, 0, 0, 0]]


def test_gradient_of_the_divergence_is_the_rule_of_the_replicated_softmax() -> None:
    """Salakhutdinov and Hinton 2009: <n h> before the chain less <n h> behind it, where n are counts of words."""
    torch.manual_seed(2)
    machine = CountMachine(WORDS, 4, DRAWS).double().eval()
    counts = DRAWS * functional.normalize(torch.rand(1, WORDS, dtype=torch.float64), p=1)
    torch.autograd.backward(machine.compute_divergences(counts, 1).sum())
    end = machine.run_chain(counts, 1)
    torch.testing.assert_close(end.sum(1), torch.tensor([float(DRAWS)], dtype=torch.float64))
    before, behind = (machine.encode(each).detach() for each in (counts, end))
    wanted = torch.outer(behind[0], end[0]) - torch.outer(before[0], counts[0])
    torch.testing.assert_close(machine.hidden.weight.grad, wanted)
    torch.testing.assert_close(machine.hidden.bias.grad, (behind - before)[0])
    torch.testing.assert_close(machine.visible.weight.grad, end - counts)


def test_words_of_the_chain_are_drawn_with_the_probabilities_of_the_softmax() -> None:
    torch.manual_seed(3)
    machine = CountMachine(4, 2, 20_000)
    with torch.no_grad():
        machine.hidden.weight.zero_()
        machine.visible.weight.copy_(torch.tensor([[0.1, 0.2, 0.3, 0.4]]).log())
    drawn = machine.run_chain(torch.full((2, 4), 5_000.0), 1)
    # 20,000 draws: five standard deviations of a share are at most 0.018
    shares = drawn / 20_000
    torch.testing.assert_close(shares, torch.tensor([[0.1, 0.2, 0.3, 0.4]]).expand(2, 4), rtol=0, atol=0.018)
    assert drawn.sum(1).tolist() == [20_000, 20_000]
    with torch.no_grad():
        machine.visible.weight[0, 0] = float("nan")
    assert machine.run_chain(torch.full((1, 4), 5_000.0), 1).shape == (1, 4)


@pytest.mark.parametrize(
    ("objective", "moved"), [("sequence", "sequence"), ("structure", "structure"), ("joint-2", "joint.1")]
)
def test_stage_trains_its_machine_alone(objective: str, moved: str) -> None:
    module = make()
    set_objective(module, objective)
    torch.autograd.backward(module(make_records())["own_loss"].sum())
    named = [name for name, value in module.named_parameters() if value.grad is not None]
    assert named
    assert all(name.startswith(moved) for name in named)


def test_objective_of_a_machine_that_is_not_there_is_refused() -> None:
    module = make(joint=(3,))
    set_objective(module, "joint-2")
    with pytest.raises(ModelError, match="objective joint-2: the model has 1 joint layers"):
        module(make_records())
