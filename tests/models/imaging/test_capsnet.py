from itertools import pairwise
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.errors import ModelError
from models.imaging.capsnet import MODEL, Capsnet, CapsnetOptions, ClassCapsules, build, keep_longest, squash

PAPER = cast(CapsnetOptions, MODEL.presets["paper"])
SMALL = cast(CapsnetOptions, MODEL.presets["small"])
SIZES = {"channels": 1, "height": 19, "width": 20}


def small(**changes: Any) -> Capsnet:
    return build(SMALL.model_copy(update=changes), SIZES, (3,))


def route(votes: NDArray[Any], steps: int) -> NDArray[Any]:
    """The paper's procedure 1, for one record: votes (capsules, classes, width) to sums (classes, width)."""
    capsules, classes, _ = votes.shape
    agreements = np.zeros((capsules, classes))
    for step in range(steps):
        weights = np.exp(agreements) / np.exp(agreements).sum(1, keepdims=True)
        sums = np.stack([sum(weights[i, j] * votes[i, j] for i in range(capsules)) for j in range(classes)])
        if step == steps - 1:
            break
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        found = lengths**2 / (1 + lengths**2) * sums / lengths
        agreements += np.array([[votes[i, j] @ found[j] for j in range(classes)] for i in range(capsules)])
    return sums


@pytest.mark.parametrize(("channels", "classes"), [(1, 10), (1, 2), (3, 2)])
def test_paper_form_has_the_counted_parameters(channels: int, classes: int) -> None:
    capsules = 32 * 6 * 6
    convolutions = 81 * channels * 256 + 256 + 81 * 256 * 256 + 256
    matrices = capsules * classes * 8 * 16
    widths = [16 * classes, 512, 1024, channels * 28 * 28]
    decoder = sum(into * out + out for into, out in pairwise(widths))
    module = build(PAPER, {"channels": channels, "height": 28, "width": 28}, (classes,))
    assert sum(each.numel() for each in module.parameters()) == convolutions + matrices + decoder


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_routing_is_that_of_the_paper_s_loop(steps: int) -> None:
    layer = ClassCapsules(matrices=6, width=4, classes=3, class_width=5, routings=steps)
    primary = 2 * torch.rand(2, 6, 4) - 1
    matrices = layer.votes.weight.detach().reshape(6, 3, 5, 4).numpy()
    for found, record in zip(layer(primary).detach().numpy(), primary.numpy(), strict=True):
        votes = np.einsum("ijdw,iw->ijd", matrices, record)
        np.testing.assert_allclose(found, route(votes, steps), rtol=1e-4, atol=1e-5)


def test_capsules_in_a_row_share_a_matrix_and_their_sum_is_over_the_root_of_their_number() -> None:
    layer = ClassCapsules(matrices=2, width=4, classes=3, class_width=5, routings=1, sharing=9)
    primary = 2 * torch.rand(2, 18, 4) - 1
    matrices = layer.votes.weight.detach().reshape(2, 3, 5, 4).repeat_interleave(9, dim=0)
    votes = torch.einsum("ijdw,riw->rijd", matrices, primary)
    shares = votes.sum(1) / 3  # a third of each vote for each class
    torch.testing.assert_close(layer(primary).detach(), shares / 3)


def test_shared_votes_count_what_is_seen_alike_wherever_it_is() -> None:
    options = SMALL.model_copy(update={"shared_votes": True, "reconstruction": 0.0})
    module = build(options, {"channels": 1, "height": 37, "width": 37}, (3,))
    assert module.classes.votes.weight.numel() == SMALL.kinds * SMALL.primary_width * 3 * SMALL.class_width
    image = torch.zeros(2, 1, 37, 37)
    image[0, 0, 16, 16] = image[1, 0, 18, 20] = 1.0  # moved by the second convolution's stride
    outputs = module({"image": image})
    assert isinstance(outputs, torch.Tensor)
    torch.testing.assert_close(outputs[0], outputs[1])


def test_weights_of_routing_are_constants_of_the_gradient() -> None:
    layer, primary = ClassCapsules(4, 3, 2, 5, routings=3), torch.rand(1, 4, 3)
    votes = layer.votes(primary.flatten(1)[:, :, None]).reshape(1, 4, 2, 5).detach()
    torch.autograd.backward(layer(primary).sum())
    # with constant weights the gradient of a capsule's matrix is its weight times the capsule
    gradient = layer.votes.weight.grad
    assert gradient is not None
    each = gradient.reshape(4, 2, 5, 3)
    weights = (each / primary[0][:, None, None]).mean((2, 3))
    torch.testing.assert_close(each, weights[..., None, None] * primary[0][:, None, None].expand_as(each))
    torch.testing.assert_close(weights.sum(1), torch.ones(4))
    torch.testing.assert_close((weights[None, ..., None] * votes).sum(1), layer(primary).detach())


def test_output_is_the_logit_of_a_capsule_s_length() -> None:
    sums = torch.tensor([[0.1, -0.2], [3.0, 4.0]], dtype=torch.float64)
    lengths = squash(sums).norm(dim=1)
    torch.testing.assert_close(
        lengths, torch.tensor([0.05 / 1.05, 25 / 26], dtype=torch.float64), rtol=1e-4, atol=0
    )
    torch.testing.assert_close(sums.square().sum(1).log().sigmoid(), lengths, rtol=1e-4, atol=0)
    assert torch.isfinite(squash(torch.zeros(1, 2))).all()


def test_reconstruction_reads_the_longest_capsule_alone() -> None:
    capsules = torch.tensor([[[0.1, 0.0], [0.0, 0.5], [0.3, 0.3]]])
    assert keep_longest(capsules).tolist() == [[[0, 0], [0, 0.5], [0, 0]]]
    module, image = small(), torch.rand(2, 1, 19, 20)
    found = module({"image": image})
    assert isinstance(found, dict)
    assert module.decoder is not None
    with torch.no_grad():
        for parameter in module.decoder[-1].parameters():
            parameter.zero_()
    errors = (0.5 - image).square().sum((1, 2, 3))  # a sigmoid of zero everywhere
    grey = module({"image": image})
    assert isinstance(grey, dict)
    torch.testing.assert_close(grey["own_loss"], SMALL.reconstruction * errors)


def test_without_reconstruction_there_is_no_decoder() -> None:
    module = small(reconstruction=0.0)
    assert module.decoder is None
    assert isinstance(module({"image": torch.rand(2, 1, 19, 20)}), torch.Tensor)


def test_image_that_vanishes_is_refused() -> None:
    build(SMALL, {"channels": 1, "height": 17, "width": 17}, (2,))({"image": torch.zeros(1, 1, 17, 17)})
    with pytest.raises(ModelError, match="kernels of 9 expects a height of at least 17, got 16; write a smaller"):
        build(SMALL, {"channels": 1, "height": 16, "width": 17}, (2,))
