"""``consilium-site export``: a released model in a format that other programs read."""

from pathlib import Path

import click

from privacy.command_line import say

_FORMATS = ("safetensors", "onnx", "archive", "monai-bundle")


@click.command("export")
@click.argument("folder", metavar="RELEASE", type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(_FORMATS), required=True, help="Of what is written.")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="A new file (onnx, archive), or a new folder."
)
def export(folder: Path, form: str, out: Path) -> None:
    """Write the released model in RELEASE for other programs, from the contract's units to its scores.

    Clipping, scaling and words are inside an ONNX file, an archive (torch.export, .pt2) and a MONAI bundle. What is
    written holds no patient's data; it is the released model, and its contract.
    """
    from client.prediction.release_contract import read_contract

    contract = read_contract(folder)
    from client.prediction.export.formats import export_model
    from client.prediction.predict import load_model

    description = export_model(contract, load_model(folder, contract), form, out)  # type: ignore[arg-type]
    taken = ", ".join(f"{each.name} {each.dtype} {list(each.shape)}" for each in description.inputs[:8])
    given = ", ".join(f"{each.name} {each.dtype} {list(each.shape)}" for each in description.outputs)
    say(
        f"wrote {out}: for each record it takes {taken}{' ...' if len(description.inputs) > 8 else ''}; gives {given}"
    )
    if contract.model.personal:
        say(f"the layers {', '.join(contract.model.personal)} have their first values: each site trained its own")
