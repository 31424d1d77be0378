from typing import cast

import torch

from models.imaging.lesion_sdae import MODEL, LesionSdaeOptions, build
from models.layers.denoising import DenoisingAutoencoder

PAPER = cast(LesionSdaeOptions, MODEL.presets["paper"])
REGION = {"channels": 1, "height": 28, "width": 28, "features": 3}


def test_encoders_and_head_of_pixels_alone_have_177302_parameters() -> None:
    module = build(PAPER, {**REGION, "features": 0}, (2,))
    read = [value.numel() for name, value in module.named_parameters() if ".decoder." not in name]
    assert sum(read) == 784 * 200 + 200 + 200 * 100 + 100 + 100 * 2 + 2 == 177_302
    with_numbers = build(PAPER, REGION, (2,))
    read = [value.numel() for name, value in with_numbers.named_parameters() if ".decoder." not in name]
    assert sum(read) == 177_302 + 3 * 200


def test_size_and_form_stand_beside_the_pixels() -> None:
    module = build(
        LesionSdaeOptions(hidden=(5,)), {"channels": 1, "height": 2, "width": 2, "features": 2}, ()
    ).eval()
    inputs = {"image": torch.rand(3, 1, 2, 2), "features": torch.rand(3, 2)}
    autoencoder = cast(DenoisingAutoencoder, module.autoencoders[0])
    rows = torch.cat([inputs["image"].reshape(3, 4), inputs["features"]], dim=1)
    expected = module.head(torch.sigmoid(autoencoder.encoder(rows)))[:, 0]
    torch.testing.assert_close(module(inputs), expected)


def test_pixels_and_numbers_are_restored_without_a_label() -> None:
    module = build(LesionSdaeOptions(hidden=(5, 4)), {"channels": 1, "height": 2, "width": 2, "features": 2}, ())
    module.objective = "layer-1"
    found = module({"image": torch.rand(3, 1, 2, 2), "features": torch.rand(3, 2)})
    assert isinstance(found, dict)
    torch.autograd.backward(found["own_loss"].sum())
    (part,) = MODEL.objectives["layer-1"]
    moved = {name for name, value in module.named_parameters() if value.grad is not None}
    assert moved == {name for name, _ in module.named_parameters() if name.startswith(f"{part}.")}
    decoder = cast(DenoisingAutoencoder, module.autoencoders[0]).decoder
    assert decoder.weight.grad is not None
    assert (decoder.weight.grad.abs().sum(1) > 0).all()  # of all four pixels and both numbers
