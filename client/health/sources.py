"""Check what new snapshots of a site's data would need: mapping, sources, room; the registered ones go on without."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from client.data.conversion.convert import read_mapping
from client.data.conversion.kept_snapshots import count_bytes
from client.site.folder import SiteFolder
from client.site.registry import Registration
from privacy.errors import Error
from privacy.health import Line, amber, green

_MIB: Final = 1 << 20


def check_sources(home: SiteFolder) -> Iterator[Line]:
    """Check mappings, the files that they name, and room for one snapshot more; no line without a mapping.

    Raises:
        SiteConfigError: the list of registered data cannot be read.
    """
    mapped = [each for each in home.load_registry().registrations.values() if each.mapping is not None]
    if not mapped:
        return
    problems = [problem for each in mapped if (problem := _find_problem(each)) is not None]
    size, free = count_bytes(home.snapshots), shutil.disk_usage(home.folder).free
    if problems:
        yield amber(
            "sources",
            f"no new snapshot can be made: {'; '.join(problems)}; studies use the registered ones",
            "put back what is named, or register another mapping: consilium-site data add --mapping",
        )
    elif free < size:
        yield amber(
            "sources",
            f"snapshots take {size / _MIB:.0f} MiB, {free / _MIB:.0f} MiB are free: a new one may not fit",
            "make room, or remove snapshots that nobody uses: consilium-site data clean",
        )
    else:
        yield green("sources", f"{len(mapped)} mapped; their snapshots take {size / _MIB:.1f} MiB")


def _find_problem(registration: Registration) -> str | None:
    """Return why the registered mapping cannot be used again, as far as a look at files tells."""
    path = Path(registration.mapping or "")
    try:
        converter, mapping = read_mapping(registration.contract, path)
    except Error as error:
        return str(error)
    files = converter.list_files(mapping) or {}
    gone = [name for name, file in files.items() if not (path.parent / file).exists()]
    return f"{path}: {', '.join(gone)} cannot be found" if gone else None
