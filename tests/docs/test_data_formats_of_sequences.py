"""The mappings that docs/data-formats.md shows for sequences, expression and pairs are ones that this program takes."""

import re

import pytest
import yaml

from client.data.conversion.expression_mapping import ExpressionMapping
from client.data.conversion.mapping import DataMapping
from client.data.conversion.pairs_mapping import PairsMapping
from client.data.conversion.sequences_mapping import SequencesMapping
from privacy.document import parse
from privacy.errors import SiteConfigError
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "data-formats.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("section", "kind"),
    [("Sequences", SequencesMapping), ("Expression", ExpressionMapping), ("Pairs", PairsMapping)],
)
def test_mapping_on_the_page_is_taken(section: str, kind: type[DataMapping]) -> None:
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert blocks
    for block in blocks:
        parse(yaml.safe_load(block), kind, SiteConfigError, section)


def test_formats_on_the_page_are_those_of_the_mappings() -> None:
    schema = ExpressionMapping.model_json_schema()["$defs"]
    kinds = [
        *schema["TextMatrixSource"]["properties"]["kind"]["enum"],
        *schema["Hdf5Source"]["properties"]["kind"]["enum"],
    ]
    expression = PAGE.split("\n## Expression\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", expression, re.MULTILINE) == ["kind", *kinds]
