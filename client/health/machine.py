"""Check the device on which a site trains, its memory, and what confines training and the reading of data."""

from collections.abc import Iterator
from typing import Final

from client.site.folder import SiteFolder
from client.site.launcher import ProcessLauncher, find_confinement
from client.training.confined_conversion import describe_conversion
from client.training.launchers.choose import describe_launcher
from privacy.health import Line, amber, green
from privacy.machine_checks import read_free_memory

_GIB: Final = 1 << 30
MEMORY_AMBER_BYTES: Final = 2 * _GIB


def check_device(home: SiteFolder) -> Iterator[Line]:
    """Check that the device of ``site.yaml`` can be used, and how much of its memory is free.

    Raises:
        TrainingError: there is no such device here.
    """
    config = home.config
    if not isinstance(config.launcher, ProcessLauncher):
        yield green("device", f"training runs in {config.launcher.kind}: a job there chooses its device")
        return
    import torch

    from client.training.device import Device

    device = Device.choose(config.device, config.precision).device
    if device.type == "cuda":
        free: int | None = torch.cuda.mem_get_info(device)[0]
        found = f"{torch.cuda.get_device_name(device)} with {(free or 0) / _GIB:.1f} GiB free"
    else:
        free = read_free_memory()
        found = f"cpu, {torch.get_num_threads()} threads"
        found += f", {free / _GIB:.1f} GiB of memory free" if free is not None else ""
    if free is not None and free < MEMORY_AMBER_BYTES:
        yield amber("device", found, "end what else uses this memory: a study may need more than is left")
    else:
        yield green("device", found)


def check_confinement(home: SiteFolder) -> Iterator[Line]:
    """Check what confines training, and the conversion of hospital data, as ``site.yaml`` asks for it.

    Raises:
        SiteConfigError: ``confinement: required``, and it does not work here.
    """
    launcher = home.config.launcher
    # on this machine, whatever the launcher
    conversion, hides_files = describe_conversion(find_confinement(launcher))
    found = f"{describe_launcher(launcher)}; {conversion}"
    if hides_files:
        yield green("confinement", found)
    else:
        yield amber(
            "confinement", found, "install bubblewrap, or a kernel with Landlock; then: confinement: required"
        )
