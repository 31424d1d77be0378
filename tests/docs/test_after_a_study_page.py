"""Which models ``docs/after-a-study.md`` says explain themselves."""

import re

import torch
from torch import nn

from models.catalogue import NAMES, find_model
from tests.docs.pages import ROOT, rows

PAGE = ROOT / "docs" / "after-a-study.md"


def build_smallest(name: str) -> nn.Module:
    entry = find_model(name)
    count = min(entry.counts, key=lambda each: each.parameters)
    with torch.device("meta"):
        return entry.build(entry.presets[count.preset], count.sizes, count.outputs)


def test_models_that_explain_themselves_are_named() -> None:
    modules = {name: build_smallest(name) for name in NAMES}
    contributing = {name for name, module in modules.items() if hasattr(module, "read_contributions")}
    (said,) = (row[0] for row in rows(PAGE, "Why") if "own contributions" in row[1])
    assert set(re.findall("`(.+?)`", said)) == contributing
    attending = {name for name, module in modules.items() if hasattr(module, "read_attention")}
    (listed,) = re.findall(r"where a model has it \((.+?)\)", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert set(re.findall("`(.+?)`", listed)) == attending
