"""``consilium-site policy check``: what in a policy cannot be meant."""

from pathlib import Path

import pytest

from tests.client.commands.terminal import site


def check(folder: Path, text: str) -> str:
    path = folder.parent / "other-policy.yaml"
    path.write_text(text, encoding="utf-8")
    return site(folder, "policy", "check", str(path)).stderr


@pytest.mark.parametrize(
    ("models", "warning"),
    [
        ("[logistic, mlp@1]", None),
        ("[all]", None),
        ("[mlp@2]", "mlp@2 allows nothing: this program has version 1 of mlp"),
        ("[lungs@1, logistic]", "no such model in the catalogue: lungs@1; see: consilium model list"),
    ],
)
def test_models_and_versions_that_no_program_here_has_are_named(
    folder: Path, models: str, warning: str | None
) -> None:
    rule = f"{{name: quick, epsilon_at_most: 1.0, models: {models}}}"
    for text in (f"models: {models}\n", f"automatic: [{rule}]\n"):
        said = check(folder, text).splitlines()
        assert said[:-1] == ([] if warning is None else [warning])
        assert "the policy holds" in said[-1]
