"""What is found is listed for people, who open the list in a spreadsheet."""

import csv

import pytest

from client.data.conversion.findings import Findings


@pytest.mark.parametrize("name", ["=1+1.dcm", "@SUM(1).dcm", "+1.dcm", "-1.dcm", "\t=1.dcm"])
def test_file_name_that_would_be_a_formula_is_listed_as_a_path(name: str) -> None:
    findings = Findings()
    findings.name_file("archive", 1, name)
    findings.quarantine("is damaged", "archive", 1)
    findings.name_file("archive", 2, "a/=1.dcm")
    findings.quarantine("is damaged", "archive", 2)
    rows = list(csv.reader(findings.write_quarantine().decode().splitlines(keepends=True)))
    shown = name.replace("\t", "[U+0009]")  # as everywhere, a character that is not seen is shown by its number
    assert [row[1] for row in rows[1:]] == [f"./{shown}", "a/=1.dcm"]
