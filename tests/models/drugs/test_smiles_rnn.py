import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

from models.catalogue import find_model
from models.drugs.smiles_rnn import END, START, TOKENS, SmilesRnn, SmilesRnnOptions, number_letters, write_smiles
from models.entry import Count
from models.errors import ModelError
from tests.models.counting import count_parameters
from tests.models.records_over_time import build_model, draw_inputs, pad_inputs

MODEL = find_model("smiles-rnn")
MOLECULES = ["CCO", "c1ccccc1", "CC(=O)O", "ClCCBr", "C#N"]


def read(texts: list[str], places: int) -> dict[str, torch.Tensor]:
    rows = [[*number_letters(text), END] for text in texts]
    visits = torch.zeros(len(rows), places, TOKENS, dtype=torch.bool)
    for row, tokens in enumerate(rows):
        visits[row, range(len(tokens)), tokens] = True
    return {"visits": visits, "present": visits.any(2)}


@pytest.fixture(scope="module")
def trained() -> SmilesRnn:
    """A model that knows ``MOLECULES`` by heart."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = SmilesRnn(SmilesRnnOptions(hidden=(32,), dropout=(0.0,)), TOKENS)
        inputs = read(MOLECULES, 12)
        target, there = inputs["visits"][:, 1:].float().argmax(2), inputs["present"][:, 1:]
        optimiser = torch.optim.Adam(module.parameters(), lr=0.05)
        for _ in range(60):
            optimiser.zero_grad()
            losses = torch.nn.functional.cross_entropy(module(inputs)[:, :-1][there], target[there])
            torch.autograd.backward(losses)
            optimiser.step()
    return module


@pytest.mark.parametrize("count", MODEL.counts, ids=lambda count: count.preset)
def test_parameters_are_as_many_as_counted(count: Count) -> None:
    assert count_parameters(MODEL, count) == count.parameters


def test_parameters_of_the_paper_are_those_of_layers_with_one_bias() -> None:
    tokens, width = 52, 256
    memory = 4 * width * (tokens + width + 1) + 4 * width * (width + width + 1)
    assert memory + tokens * (width + 1) == MODEL.counts[0].parameters


def test_letters_that_follow_change_no_output() -> None:
    sizes = {"visits": 6, "codes": 12}
    module: Any = build_model("smiles-rnn", sizes, (6, 12))
    inputs = draw_inputs("smiles-rnn", sizes, [6, 3])
    before = module(inputs)
    padded = module(pad_inputs(inputs, 2))
    torch.testing.assert_close(padded[:, :6], before)
    inputs["visits"][:, 4] = ~inputs["visits"][:, 4]
    after = module(inputs)
    torch.testing.assert_close(after[:, :4], before[:, :4])
    assert not torch.allclose(after[0, 4:], before[0, 4:])


def test_text_and_tokens_are_the_same_molecule() -> None:
    for text in MOLECULES:
        assert write_smiles(torch.tensor([[*number_letters(text), END, END]])) == [text]
    assert number_letters("") == [START]
    with pytest.raises(ModelError, match="expected letters of SMILES"):
        number_letters("C?")


def test_sample_is_drawn_from_the_shares_that_forward_gives(trained: SmilesRnn) -> None:
    """Near temperature 0 each token is the likeliest one after those before it."""
    drawn = trained.sample(1, 12, torch.Generator().manual_seed(0), temperature=1e-4)[0].tolist()
    tokens = drawn[: drawn.index(END) + 1]
    visits = torch.nn.functional.one_hot(torch.tensor([tokens]), TOKENS).bool()
    logits = trained({"visits": visits, "present": visits.any(2)})[0]
    assert logits[:-1].argmax(1).tolist() == tokens[1:]
    first = trained.sample(2000, 2, torch.Generator().manual_seed(0), temperature=1.0)[:, 1]
    share = torch.softmax(logits[0].detach(), 0)[first[0]]
    spread = float(torch.sqrt(share * (1 - share) / 2000))
    assert abs(float((first == first[0]).float().mean() - share)) < 5 * spread


def test_samples_of_a_memorised_set_are_valid_molecules_of_it(trained: SmilesRnn, repository: Path) -> None:
    pytest.importorskip("rdkit", reason="the extra 'chemistry' is not installed")
    judge = runpy.run_path(str(repository / "examples/drugs/sample_smiles.py"))["judge_molecules"]
    written = write_smiles(trained.sample(60, 12, torch.Generator().manual_seed(0), temperature=0.5))
    judged = judge(written, MOLECULES)
    assert judged.valid > 0.8
    assert judged.unique > 2 / 60
    assert judged.new < 0.5
    assert judge(["CCO", "OCC", "C(", ""], ["CCO"]) == (0.5, 0.5, 0.0)  # one molecule, written in two ways


def test_fragment_begins_every_sample_and_impossible_wishes_are_refused(trained: SmilesRnn) -> None:
    generator = torch.Generator().manual_seed(0)
    written = write_smiles(trained.sample(20, 12, generator, begin=number_letters("c1c"), temperature=0.5))
    assert all(each.startswith("c1c") for each in written)
    assert all(set(each[3:]) <= set("c1") for each in written)
    for wish in ({"temperature": 0.0}, {"begin": number_letters("CCCCCCCCCCCC")}):
        with pytest.raises(ModelError, match="a temperature above 0"):
            trained.sample(1, 12, generator, **wish)


def test_layers_without_their_share_of_dropout_are_refused() -> None:
    with pytest.raises(ModelError, match="a share for each of the 3 layers, got 2"):
        MODEL.build(SmilesRnnOptions(hidden=(4, 4, 4)), {"visits": 6, "codes": 12}, (6, 12))
