import pytest
import torch

from models.drugs.drug_combo import (
    MODEL,
    DrugComboOptions,
    NetworkAutoencoder,
    build,
    embed_genes,
    reward_pair,
    search_pairs,
)
from models.entry import Count
from tests.models.counting import count_parameters


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: count.preset)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


def test_networks_autoencoder_has_the_parameters_of_the_authors_code() -> None:
    """Of six networks: 89,425, and 6 * F * 32 + 91 for each set of F features."""
    features = [7, 9, 11, 13, 15]
    module = NetworkAutoencoder(6, features)
    wanted = 89_425 + sum(6 * each * 32 + 91 for each in features)
    assert sum(value.numel() for value in module.parameters()) == wanted


def test_codes_tell_two_modules_of_genes_and_their_diseases_apart() -> None:
    """Genes 0 to 7 and 8 to 15 are joined among themselves in two networks; each disease has genes of one module."""
    module_of = torch.arange(16) // 8
    together = (module_of[:, None] == module_of).float() - torch.eye(16)
    random = torch.Generator().manual_seed(0)
    networks = []
    for _ in range(2):
        kept = torch.triu(torch.rand(16, 16, generator=random) < 0.7, 1).float()
        networks.append((together * kept).nonzero())
    members = torch.zeros(4, 16)
    for disease in range(4):
        members[disease, 8 * (disease // 2) + torch.arange(4) + disease % 2] = 1
    diseases = torch.zeros(4, 4)
    diseases[0, 1] = diseases[1, 0] = diseases[2, 3] = diseases[3, 2] = 1
    codes = embed_genes(networks, [torch.eye(16)], members, diseases, width=8, steps=100, rate=0.01)
    products = codes.genes @ codes.genes.T
    same = module_of[:, None] == module_of
    assert float(products[same].mean()) > float(products[~same].mean()) + 1
    assert codes.diseases.shape == (4, 4)


def test_reward_counts_genes_that_exactly_one_drug_hits() -> None:
    found = reward_pair({1, 2, 3, 4}, {1, 2, 9}, {2, 3, 8})
    assert found == (0.5, 0.25)
    assert reward_pair({1, 2}, {1}, {2}) == (1.0, 0.0)
    assert reward_pair({1, 2}, {1, 2}, {1, 2}) == (0.0, 1.0)
    assert reward_pair(set(), {1}, {2}) == (0.0, 0.0)


def test_search_finds_the_pair_that_a_look_at_all_finds() -> None:
    random = torch.Generator().manual_seed(0)
    targets = {
        f"drug-{n}": set((torch.rand(12, generator=random) < 0.3).nonzero()[:, 0].tolist()) for n in range(9)
    }
    disease = set(range(8))

    def worth(one: str, other: str) -> float:
        found = reward_pair(disease, targets[one], targets[other])
        return found.complementary - found.overlapping

    best = max(worth(one, other) for one in targets for other in targets if one < other)
    pairs = search_pairs(disease, targets, most=3)
    assert worth(*pairs[0][:2]) == pytest.approx(best)
    assert [worth(*pair[:2]) for pair in pairs] == sorted((worth(*pair[:2]) for pair in pairs), reverse=True)
    assert search_pairs({99}, targets) == []


def test_patient_is_read_through_the_codes_of_the_genes() -> None:
    torch.manual_seed(0)
    module = build(DrugComboOptions(code=3, hidden=4), {"genes": 5}, ())
    codes = torch.randn(5, 3)
    module.begin_with_codes(codes)
    values = torch.randn(2, 5)
    torch.testing.assert_close(module.genes(values), values @ codes)
