import pytest
import torch

from models.fit import set_objective
from models.imaging.dbn_ensemble import DbnEnsemble, DbnEnsembleOptions, build, join_probabilities
from models.layers.boltzmann import BoltzmannMachine, RegionalBoltzmannMachine
from models.layers.regions import LinearByRegion
from models.records.dbn import DbnOptions, DeepBeliefNetwork
from models.records.dbn import build as build_dbn

REGIONS, VOXELS = 3, 5


def make_ensemble(outputs: tuple[int, ...] = (), **options: object) -> DbnEnsemble:
    chosen = DbnEnsembleOptions.model_validate({"hidden": (4, 2), **options})
    return build(chosen, {"regions": REGIONS, "voxels": VOXELS}, outputs).eval()


def take_region(ensemble: DbnEnsemble, region: int) -> DeepBeliefNetwork:
    """The network of a region, as a DBN of its own."""
    alone = build_dbn(DbnOptions(hidden=(4, 2)), {"features": VOXELS}, ()).eval()
    with torch.no_grad():
        for machine, joint in zip(alone.machines, ensemble.machines, strict=True):
            assert isinstance(machine, BoltzmannMachine)
            assert isinstance(joint, RegionalBoltzmannMachine)
            machine.hidden.weight.copy_(joint.hidden.get_weight()[region])
            machine.hidden.bias.copy_(joint.hidden.get_bias()[region])
            machine.visible.weight.copy_(joint.visible.get_weight()[region])
        alone.head.weight.copy_(ensemble.votes.get_weight()[region])
        alone.head.bias.copy_(ensemble.votes.get_bias()[region])
    return alone


def test_paper_form_has_a_network_for_each_region() -> None:
    module = build(DbnEnsembleOptions(), {"regions": 8, "voxels": 216}, ())
    machines = (216 * 64 + 64 + 216) + (64 * 32 + 32 + 64)
    assert sum(each.numel() for each in module.parameters()) == 8 * (machines + 33) == 130_248


def test_linear_layer_of_a_region_sees_it_alone() -> None:
    layer, values = LinearByRegion(REGIONS, VOXELS, 2), torch.rand(4, 2, REGIONS, VOXELS)
    wanted = torch.stack(
        [values[:, :, each] @ layer.get_weight()[each].T + layer.get_bias()[each] for each in range(3)], 2
    )
    torch.testing.assert_close(layer(values), wanted)
    torch.testing.assert_close(layer(values[:, 0]), wanted[:, 0])


def test_mean_vote_is_the_mean_probability_of_networks_that_see_one_region() -> None:
    ensemble, regions = make_ensemble(), torch.rand(4, REGIONS, VOXELS)
    alone = [torch.sigmoid(take_region(ensemble, each)({"features": regions[:, each]})) for each in range(REGIONS)]
    torch.testing.assert_close(torch.sigmoid(ensemble({"regions": regions})), sum(alone) / REGIONS)


@pytest.mark.parametrize("objective", ["layer-1", "layer-2"])
def test_pre_training_loss_is_the_sum_of_those_of_the_regions(objective: str) -> None:
    ensemble, regions = make_ensemble(), torch.rand(4, REGIONS, VOXELS)
    set_objective(ensemble, objective)
    wanted = []
    for each in range(REGIONS):
        alone = take_region(ensemble, each)
        set_objective(alone, objective)
        wanted.append(alone({"features": regions[:, each]})["own_loss"])
    torch.testing.assert_close(ensemble({"regions": regions})["own_loss"], sum(wanted))


def test_mean_probabilities_of_classes_and_of_a_label() -> None:
    logits = 3 * torch.randn(4, REGIONS, 5)
    torch.testing.assert_close(join_probabilities(logits).softmax(1), logits.softmax(2).mean(1))
    torch.testing.assert_close(join_probabilities(logits[:, :, :1]).sigmoid(), logits[:, :, :1].sigmoid().mean(1))
    extreme = join_probabilities(torch.tensor([[[200.0], [190.0]], [[-200.0], [-200.0]]]))
    assert torch.isfinite(extreme).all()


def test_learned_vote_weighs_the_outputs_of_all_regions() -> None:
    ensemble, regions = make_ensemble((3,), vote="layer"), torch.rand(4, REGIONS, VOXELS)
    assert ensemble.joint is not None
    outputs = ensemble.votes(ensemble.encode(regions, 2)).flatten(1)
    torch.testing.assert_close(
        ensemble({"regions": regions}), outputs @ ensemble.joint.weight.T + ensemble.joint.bias
    )
