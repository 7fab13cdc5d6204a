"""What this machine and installation offer."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, requires, version

import torch
from packaging.requirements import Requirement

from kdda.models.device import in_bfloat16
from kdda.report.render import Table


def installation() -> list[Table]:
    """Versions, devices, and which extras are installed whole."""
    return [_versions(), _devices(), _extras()]


def _versions() -> Table:
    names = [Requirement(line).name for line in requires("kdda") or () if "extra ==" not in line]
    rows = [["python", platform.python_version()], ["kdda", version("kdda")]]
    return Table("Versions", ["package", "version"], rows + [[name, _version(name) or "MISSING"] for name in names])


def _devices() -> Table:
    rows = [["cpu", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads in use"]]
    for index in range(torch.cuda.device_count()):
        own = torch.cuda.get_device_properties(index)
        rows.append([f"cuda:{index}", f"{own.name}, {own.total_memory / 2**30:.0f} GB"])
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        rows.append(["memory", f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GB"])
    rows.append(["precision: auto", "bfloat16" if in_bfloat16("auto") else "float32"])
    return Table("Devices", ["device", "what it is"], rows)


def _extras() -> Table:
    found: dict[str, list[Requirement]] = {}
    for line in requires("kdda") or ():
        own = Requirement(line)
        if own.marker is not None and "extra ==" in line:
            found.setdefault(line.split("extra ==")[1].strip(" '\""), []).append(own)
    rows = []
    for extra, needs in found.items():
        lacking = [own.name for own in needs if _version(own.name) is None]
        rows.append([extra, f'lacks {", ".join(lacking)}: pip install "kdda[{extra}]"' if lacking else "installed"])
    return Table("Extras", ["extra", "state"], rows)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
