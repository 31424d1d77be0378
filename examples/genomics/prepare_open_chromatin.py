"""Deal public windows of the human genome to three sites, each with files of another form, for ``open_chromatin.yaml``.

    python examples/genomics/prepare_open_chromatin.py FOLDER OUT

FOLDER has ``intervals.10k.fasta.gz``, 10,000 windows of 1,000 bases, and ``intervals.10k.bed.gz``, which says of each
whether DNase finds it open in the cell line GM12878. OUT gets a folder for each site, with the mapping that leads from
its files to the study:

========  =============================================================
site      its files
========  =============================================================
north     a FASTA file compressed by gzip, and labels in a BED file
south     a table, separated by tabs, with a column of letters
east      a FASTA file of open windows and one of closed ones
========  =============================================================

The mappings are in ``examples/genomics/hospitals/``. Windows are dealt in turn, in the order of the file.
"""

import argparse
import gzip
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

SITES: Final = ("north", "south", "east")


class Window(NamedTuple):
    """A window: its name ``chrom:start-end``, its letters, and 1 if it is open."""

    name: str
    letters: str
    open: str


def read_windows(source: Path) -> list[Window]:
    """Read letters and labels of all windows."""
    rows = gzip.decompress((source / "intervals.10k.bed.gz").read_bytes()).decode().splitlines()
    labels = {f"{chrom}:{start}-{end}": word for chrom, start, end, word in map(str.split, rows)}
    records = gzip.decompress((source / "intervals.10k.fasta.gz").read_bytes()).decode().split(">")[1:]
    parts = [record.partition("\n") for record in records]
    return [Window(name, letters.replace("\n", ""), labels[name]) for name, _, letters in parts]


def write_fasta(path: Path, windows: Sequence[Window]) -> None:
    """Write windows as FASTA, in lines of 60 letters."""
    text = ""
    for each in windows:
        lines = [each.letters[at : at + 60] for at in range(0, len(each.letters), 60)]
        text += f">{each.name}\n" + "\n".join(lines) + "\n"
    path.write_bytes(gzip.compress(text.encode(), mtime=0) if path.suffix == ".gz" else text.encode())


def write_site(site: str, folder: Path, windows: Sequence[Window]) -> None:
    """Write the windows of a site in its form."""
    match site:
        case "north":
            write_fasta(folder / "windows.fa.gz", windows)
            places = [each.name.replace(":", "\t").replace("-", "\t") for each in windows]
            rows = [f"{place}\t{each.open}\n" for place, each in zip(places, windows, strict=True)]
            (folder / "windows.bed").write_text("".join(rows))
        case "south":
            rows = [f"{each.name}\t{each.open}\t{each.letters}\n" for each in windows]
            (folder / "windows.tsv").write_text("window\taccessible\tletters\n" + "".join(rows))
        case "east":
            write_fasta(folder / "open.fa", [each for each in windows if each.open == "1"])
            write_fasta(folder / "closed.fa", [each for each in windows if each.open == "0"])


def prepare(source: Path, target: Path) -> None:
    """Read the windows in ``source`` and write the files of all sites under ``target``."""
    windows = read_windows(source)
    for number, site in enumerate(SITES):
        folder, own = target / site, windows[number :: len(SITES)]
        folder.mkdir(parents=True, exist_ok=True)
        write_site(site, folder, own)
        shutil.copy(Path(__file__).parent / "hospitals" / f"windows-{site}.yaml", folder / "mapping.yaml")
        sys.stdout.write(f"{folder}: {len(own)} windows, {sum(each.open == '1' for each in own)} of them open\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Deal public windows of the human genome to three sites.")
    parser.add_argument("source", type=Path, metavar="FOLDER", help="with intervals.10k.fasta.gz and .bed.gz")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new folder for the sites' files")
    asked = parser.parse_args()
    prepare(asked.source, asked.target)
