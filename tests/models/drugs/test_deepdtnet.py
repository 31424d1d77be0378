import pytest
import torch
from torch.nn import functional

from models.drugs.deepdtnet import MODEL, DeepDtnetOptions, build
from models.entry import Count
from models.errors import ModelError
from tests.models.counting import count_parameters

SIZES = {"drug_features": 5, "protein_features": 4}


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: count.preset)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


def test_score_is_the_bilinear_form_of_the_paper() -> None:
    torch.manual_seed(0)
    module = build(DeepDtnetOptions(factors=3), SIZES, ())
    drugs, proteins = torch.randn(6, 5), torch.randn(6, 4)
    form = module.drugs.weight.T @ module.proteins.weight  # W H'
    want = torch.stack([x @ form @ y for x, y in zip(drugs, proteins, strict=True)])
    torch.testing.assert_close(module.compute_scores(drugs, proteins), want)
    logits = module({"drug": drugs, "protein": proteins})
    torch.testing.assert_close(torch.sigmoid(logits) > 0.5, want > 0.5)


def test_gradient_of_a_pair_is_an_outer_product_of_known_length() -> None:
    torch.manual_seed(0)
    module = build(DeepDtnetOptions(factors=3), SIZES, ())
    x, y = torch.randn(1, 5), torch.randn(1, 4)
    logit = module({"drug": x, "protein": y})
    loss = functional.binary_cross_entropy_with_logits(logit, torch.ones(1))
    torch.autograd.backward(loss)
    residual = 8 * (torch.sigmoid(logit.detach()) - 1)
    gradient = module.drugs.weight.grad
    assert gradient is not None
    torch.testing.assert_close(gradient, residual * module.proteins(y).detach().T @ x)
    length = residual.abs() * x.norm() * module.proteins(y).detach().norm()
    assert float(gradient.norm()) == pytest.approx(float(length))
    assert int(torch.linalg.matrix_rank(gradient)) == 1


def test_links_that_the_features_explain_are_completed_from_positive_and_unlabelled_pairs() -> None:
    """A third of the links is told; the others count as pairs that nobody observed, and are found all the same."""
    torch.manual_seed(0)
    drugs, proteins = torch.randn(40, 5), torch.randn(30, 4)
    truth = (drugs @ torch.randn(5, 4) @ proteins.T) > 1.5
    told = truth & (torch.rand(40, 30) < 0.33)
    module = build(DeepDtnetOptions(factors=4), SIZES, ())
    pairs = {"drug": drugs.repeat_interleave(30, 0), "protein": proteins.repeat(40, 1)}
    optimiser = torch.optim.Adam(module.parameters(), lr=0.05)
    for _ in range(80):
        loss = functional.binary_cross_entropy_with_logits(
            module(pairs), told.flatten().float(), pos_weight=torch.tensor(5.0)
        )
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    scores = module.compute_scores(pairs["drug"], pairs["protein"]).detach().reshape(40, 30)
    hidden, none = scores[truth & ~told], scores[~truth]
    assert float((hidden[:, None] > none[None]).float().mean()) > 0.9


def test_task_of_several_numbers_is_refused() -> None:
    with pytest.raises(ModelError, match=r"one number for each pair; the task asks for the shape \(3,\)"):
        build(DeepDtnetOptions(), SIZES, (3,))
