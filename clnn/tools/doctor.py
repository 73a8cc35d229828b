"""What is installed, what is broken, how to mend it; and the devices with their measured speed."""

from __future__ import annotations

import logging
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from clnn import env
from clnn.devices import naming
from clnn.devices.info import DeviceInfo
from clnn.errors import ClnnError
from clnn.runtime import cachedir, calibration, discovery, drivers

log = logging.getLogger(__name__)

_REQUIRED = ("numpy", "onnx", "pillow", "platformdirs", "pydantic", "pyopencl", "pyyaml", "rich", "typer")
_OPTIONAL = ("onnxruntime", "pycocotools", "pocl-binary-distribution", "intel-opencl-rt", "intel-cmplr-lib-rt")


@dataclass(frozen=True)
class Finding:
    """One thing looked at: whether it is as it should be, and what to do when it is not."""

    subject: str
    state: str
    good: bool = True
    remedy: str = ""


@dataclass(frozen=True)
class Checkup:
    """All findings, and whether a device can be used."""

    findings: tuple[Finding, ...]
    ready: bool

    def as_dict(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return {"ready": self.ready, "findings": [asdict(finding) for finding in self.findings]}


def measured_devices(refresh: bool = False, tell: Callable[[str], None] = lambda text: None) -> list[DeviceInfo]:
    """Every device; the usable ones with their speed, measured now where that is not known.

    ``tell`` is called with a line before something takes a while. A device that fails while it is measured is listed
    without figures, and a warning says why.
    """
    return [_measured(info, refresh, tell) for info in discovery.devices(refresh)]


def examine() -> Checkup:
    """Look at everything that clnn needs; drivers are tried anew."""
    infos = discovery.devices(refresh=True)
    ready = any(info.usable and not info.interpreter for info in infos)
    findings = [_python(), *_packages(), *_environment(), _cache(), *_drivers(infos)]
    if not ready:
        findings.append(Finding("OpenCL device", "there is none that can be used", False, naming.INSTALL))
    return Checkup(tuple(findings), ready)


def _measured(info: DeviceInfo, refresh: bool, tell: Callable[[str], None]) -> DeviceInfo:
    # An interpreter's speed says nothing about the machine, and takes minutes to measure.
    if not info.usable or info.interpreter:
        return info
    known = calibration.known(info)
    if known.gflops and not refresh:
        return known
    tell(f"measuring {info.id} ...")
    try:
        return calibration.measure(discovery.open_device(info), refresh)
    except ClnnError as error:
        log.warning("%s", error)
        return info


def _python() -> Finding:
    return Finding("Python", f"{platform.python_version()} in {sys.prefix}, {platform.system()} {platform.machine()}")


def _packages() -> list[Finding]:
    findings = []
    for name in (*_REQUIRED, *_OPTIONAL):
        try:
            findings.append(Finding(name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            if name in _REQUIRED:
                findings.append(Finding(name, "is not installed", False, f"run: pip install {name}"))
    return findings


def _environment() -> list[Finding]:
    return [Finding(f"${variable.name}", f"{variable.get()} ({variable.meaning})")
            for variable in env.ALL if variable.get()]


def _cache() -> Finding:
    folder = cachedir.root()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Finding("cache", f"{folder} cannot be written: {error.strerror}; clnn works, but starts slowly", False,
                       f"set {env.CACHE_DIR.name} to a folder that can")
    entries = [path for path in Path(folder).rglob("*") if path.is_file()]
    megabytes = sum(path.stat().st_size for path in entries) / 1e6
    return Finding("cache", f"{folder}, {len(entries)} files, {megabytes:.1f} MB; it may be deleted at any time")


def _drivers(infos: list[DeviceInfo]) -> list[Finding]:
    registered = [Finding("driver", f"{driver.library or driver.name}, registered by {driver.origin}")
                  for driver in drivers.find() if not driver.problem]
    if not registered and not infos:
        return [Finding("driver", "no OpenCL driver is registered", False, naming.INSTALL)]
    devices = [Finding(f"device {info.id}", _state(info), info.usable, info.remedy) for info in infos]
    return registered + devices


def _state(info: DeviceInfo) -> str:
    if info.reason:
        return f"{info.name or info.platform} {info.reason}"
    return f"{info.name}, driver {info.driver}, works" + (", used only when named" if info.interpreter else "")
