from typing import Any

import pytest
import torch
from torch.nn import functional

from models.drugs.deepdr import MODEL, DeepDrOptions, NetworkFusion, begin_with_features, build, fuse_networks
from models.entry import Count
from models.errors import ModelError
from tests.models.counting import count_parameters

DRUGS = 12


def make_module(**options: Any) -> Any:
    torch.manual_seed(0)
    return build(DeepDrOptions(hidden=16, code=4, **options), {"drugs": DRUGS}, (DRUGS,)).eval()


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: count.preset)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


def test_fusion_of_nine_networks_has_the_parameters_of_the_papers_code() -> None:
    with torch.device("meta"):
        fusion = NetworkFusion([1_519] * 9)
    assert sum(parameter.numel() for parameter in fusion.parameters()) == 197_492_571
    assert (fusion.common.out_features, fusion.code.out_features) == (4_500, 900)


def test_known_drugs_are_no_answer_and_the_others_are_those_of_the_decoder() -> None:
    module = make_module()
    known = torch.zeros(1, DRUGS, dtype=torch.bool)
    known[0, [2, 5]] = True
    outputs = module({"known": known})["outputs"][0]
    code = module.mean(functional.relu(module.encoder(known.float())))
    logits = module.head(functional.relu(module.decoder(code)))[0]
    assert outputs[[2, 5]].tolist() == [-8.0, -8.0]
    torch.testing.assert_close(outputs[~known[0]], logits[~known[0]])


def test_own_loss_is_the_divergence_of_normal_distributions_over_the_drugs() -> None:
    module = make_module(divergence=2.0)
    known = torch.rand(3, DRUGS) < 0.5
    layer = functional.relu(module.encoder(known.float()))
    deviation = torch.exp(0.5 * 8 * torch.tanh(module.log_variance(layer) / 8))
    normal = torch.distributions.Normal(module.mean(layer), deviation)
    want = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(module({"known": known})["own_loss"], 2.0 / DRUGS * want)


def test_code_tells_groups_of_drugs_apart_that_the_networks_join() -> None:
    """Drugs 0 to 9 and 10 to 19 are joined among each other in both networks; links are missing at random."""
    group = torch.arange(20) // 10
    random = torch.Generator().manual_seed(0)
    networks = [
        ((group[:, None] == group) & (torch.rand(20, 20, generator=random) < 0.8)).float() for _ in range(2)
    ]
    codes = fuse_networks(networks, hidden=16, code=4, epochs=60, rate=1.0)
    distances = torch.cdist(codes, codes)
    same = group[:, None] == group
    assert float(distances[~same].mean()) > 1.5 * float(distances[same].mean())


def test_module_that_begins_with_features_finds_the_drugs_that_share_them() -> None:
    features = torch.zeros(DRUGS, 40)
    features[:6, ::2], features[6:, 1::2] = 1.0, 1.0
    module = make_module()
    begin_with_features(module, features, epochs=100, rate=0.02)
    known = torch.zeros(1, DRUGS, dtype=torch.bool)
    known[0, :3] = True
    outputs = module({"known": known})["outputs"][0].detach()
    assert float(outputs[3:6].min()) > float(outputs[6:].max())
    with pytest.raises(ModelError, match=r"features of the 12 drugs .* got 5"):
        begin_with_features(module, features[:5], epochs=1)


def test_labels_that_are_not_the_drugs_are_refused() -> None:
    with pytest.raises(ModelError, match=r"one label for each of the 12; .*leaves_out_known: false"):
        build(DeepDrOptions(), {"drugs": DRUGS}, (3,))
