import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from models.entry import Count
from models.errors import ModelError
from models.genomics.expecto import MODEL, ExpectoOptions, build, compute_variant_effect, weigh_windows
from models.parameters.flatten import list_shared_parameters
from models.parameters.pretrained import load_public_weights
from models.parameters.trainable import apply_layer_choice
from models.parameters.weights_file import compute_weights_digest
from privacy.study import Model
from tests.models.counting import count_parameters

SMALL = ExpectoOptions.model_validate(MODEL.presets["small"].model_dump())


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: count.preset)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


def test_network_and_head_have_the_parameters_of_the_paper() -> None:
    with torch.device("meta"):
        network = build(ExpectoOptions(), {"bases": 41_800}, (218,))
    parts = {name: sum(each.numel() for each in part.parameters()) for name, part in network.named_children()}
    assert parts == {"chromatin": 149_536_251, "head": 218 * 20_021}


def one_hot(length: int, seed: int = 0) -> torch.Tensor:
    letters = np.random.default_rng(seed).integers(0, 4, (2, length))
    return torch.tensor(np.stack([letters == base for base in range(4)], axis=1)).float()


def test_decays_are_those_of_a_loop_over_windows() -> None:
    torch.manual_seed(0)
    network, sequence = build(SMALL, {"bases": 48}, ()), one_hot(48)
    profiles = [network.chromatin(sequence[:, :, at : at + 16]) for at in range(0, 33, 8)]  # five windows
    wanted = []
    for side in (-1, 1):
        for rate in (0.1, 0.5):
            total = torch.zeros(2, 4)
            for bin_, found in zip((-2, -1, 0, 1, 2), profiles, strict=True):
                if bin_ * side >= 0:
                    total = total + math.exp(-rate * abs(bin_)) * found
            wanted.append(total)
    torch.testing.assert_close(network.compute_decays(sequence), torch.cat(wanted, dim=1))


def test_an_even_number_of_windows_is_halved_by_the_middle() -> None:
    weights = weigh_windows(4, (0.0,))
    assert weights.tolist() == [[1, 1, 0, 0], [0, 0, 1, 1]]


def test_effect_of_a_variant_is_the_difference_of_two_predictions() -> None:
    torch.manual_seed(0)
    network, sequence = build(SMALL, {"bases": 48}, (3,)).eval(), one_hot(48)
    variant = torch.eye(4)[[2, 0]].T  # G, A
    changed = sequence.clone()
    changed[:, :, 20:22] = variant
    effect = compute_variant_effect(network, {"sequence": sequence}, 20, variant)
    torch.testing.assert_close(effect, (network({"sequence": changed}) - network({"sequence": sequence})).detach())
    assert effect.shape == (2, 3)
    assert effect.abs().max() > 0
    same = compute_variant_effect(network, {"sequence": sequence[:1]}, 5, sequence[0, :, 5:9])
    assert not same.any()
    with pytest.raises(ModelError, match="replaces letters 47 to 48; the sequence has 48"):
        compute_variant_effect(network, {"sequence": sequence}, 47, variant)


def test_frozen_network_leaves_the_head_to_train(tmp_path: Path) -> None:
    network, public = (
        build(SMALL, {"bases": 48}, ()),
        build(SMALL, {"bases": 16}, ()),
    )
    path = tmp_path / "network.safetensors"
    save_file({name: value for name, value in public.state_dict().items() if name.startswith("chromatin")}, path)
    digest = compute_weights_digest(path)
    apply_layer_choice(network, Model(name="expecto", start=digest, frozen=("chromatin",)))
    load_public_weights(network, path, digest)
    assert set(list_shared_parameters(network)) == {"head.weight", "head.bias"}
    torch.testing.assert_close(network.chromatin(one_hot(16)), public.chromatin(one_hot(16)))


def test_windows_and_sequences_that_are_too_short_are_refused() -> None:
    with pytest.raises(ModelError, match="at least 2000 letters, a window; the data have 1999"):
        build(ExpectoOptions(), {"bases": 1999}, ())
    with pytest.raises(ModelError, match=r"model.options.window: 100 letters are too few for 6 convolutions"):
        build(ExpectoOptions(window=100), {"bases": 1999}, ())
