"""Run one attack: ``python -m benchmarks.attacks NAME [--json] [--picture FILE.png]``."""

from pathlib import Path

import click

from benchmarks.attacks.gan import run_gan
from benchmarks.attacks.inversion import ATTACKS, Image, Inverted, invert
from benchmarks.attacks.membership import attack_membership
from benchmarks.attacks.pictures import draw_table, write_png
from benchmarks.attacks.properties import infer_property
from benchmarks.attacks.reconstruction import reconstruct
from benchmarks.attacks.views import PROTECTIONS, Protection
from privacy.canonical import Json
from privacy.command_line import print_json, print_table

Rows = list[dict[str, Json]]
NAMES = (*ATTACKS, "reconstruction", "membership", "gan", "property")


def run_attack(name: str, picture: Path | None = None) -> Rows:
    """Run the attack ``name`` in full; return a row for each protection, and party where they differ."""
    if name in ATTACKS:
        return _list_images(*invert(name), picture)
    if name == "reconstruction":
        return _list_images(*reconstruct(), picture)
    if name == "membership":
        members = [attack_membership(each, 32) for each in (Protection(), Protection(8.0), Protection(3.0))]
        return [
            {
                "protection": each.protection.title,
                "auc": round(each.auc, 3),
                "caught at 1 % false alarms": round(each.caught, 3),
            }
            for each in members
        ]
    if name == "gan":
        made = [run_gan(each) for each in PROTECTIONS]
        return [
            {
                "protection": each.protection.title,
                "likeness to the class": round(each.likeness, 2),
                "more to members than to others": round(each.likeness_of_members, 3),
            }
            for each in made
        ]
    return [
        {"protection": each.protection.title, "party": each.party.value, "right": each.right, "rounds": each.rounds}
        for each in infer_property(30)
    ]


def _list_images(true: Image, found: list[Inverted], picture: Path | None) -> Rows:
    if picture is not None:
        write_png(picture, draw_table(true, found))
    return [
        {"protection": each.protection.title, "party": each.party.value, "psnr": round(each.psnr, 1)}
        for each in found
    ]


@click.command()
@click.argument("name", type=click.Choice(NAMES))
@click.option("--picture", type=click.Path(path_type=Path), help="Write what was reconstructed as PNG.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def main(name: str, picture: Path | None, as_json: bool) -> None:
    """Attack this platform's own messages, on generated records, without and with each protection."""
    rows = run_attack(name, picture)
    if as_json:
        print_json({"attack": name, "rows": rows})
        return
    print_table(tuple(rows[0]), [[str(value) for value in row.values()] for row in rows])


if __name__ == "__main__":
    main()
