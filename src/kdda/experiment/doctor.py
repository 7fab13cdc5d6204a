"""`kdda doctor`: versions of packages, cores, memory and accelerators, precision, and which extras lack packages."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, requires, version

import torch
from packaging.requirements import Requirement

from kdda.report.render import Table
from kdda.runtime.device import compute_device, device_name, devices, in_bfloat16, total_memory

GB = 2**30

FOR_DEVELOPERS = ("test", "dev", "docs", "bench")  # extras that no user needs


def installation() -> list[Table]:
    """Versions, devices, and which extras are installed completely."""
    return [_versions(), _devices(), _extras()]


def _versions() -> Table:
    """The versions of Python, kdda and the packages that it always needs."""
    rows = [["python", platform.python_version()], ["kdda", version("kdda")]]
    for line in requires("kdda") or ():  # such as 'torch>=2.5', or 'ray>=2; extra == "ray"'
        if "extra ==" not in line:
            name = Requirement(line).name
            rows.append([name, _version(name) or "MISSING"])
    return Table("Versions", ["package", "version"], rows)


def _devices() -> Table:
    """Cores, accelerators, memory, and the device and precision that are chosen here where nobody chooses."""
    rows = [["cpu", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads in use"]]
    for device in devices():
        memory = total_memory(device)
        size = "" if memory is None else f", {memory / GB:.0f} GB"
        rows.append([str(device), device_name(device) + size])
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:  # not on Windows
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        rows.append(["memory", f"{memory / GB:.0f} GB"])
    rows.append(["device: auto", str(compute_device())])
    rows.append(["precision: auto", "bfloat16" if in_bfloat16("auto") else "float32"])
    return Table("Devices", ["device", "what it is"], rows)


def _extras() -> Table:
    """Each extra of kdda, and which of its packages are missing."""
    rows = []
    for extra, packages in _packages_of_extras().items():
        if extra in FOR_DEVELOPERS:
            continue
        missing = [package for package in packages if _version(package) is None]
        state = "installed"
        if missing:
            state = f'lacks {", ".join(missing)}: pip install "kdda[{extra}]"'
        rows.append([extra, state])
    return Table("Extras", ["extra", "state"], rows)


def _packages_of_extras() -> dict[str, list[str]]:
    """Extra → the packages that it installs, as kdda's metadata has them."""
    packages: dict[str, list[str]] = {}
    for line in requires("kdda") or ():
        requirement = Requirement(line)
        if requirement.marker is not None and "extra ==" in line:
            extra = line.split("extra ==")[1].strip(" '\"")  # the marker ends with it, quoted
            packages.setdefault(extra, []).append(requirement.name)
    return packages


def _version(name: str) -> str | None:
    """The version of an installed package; None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
