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
from clnn.runtime import cachedir, calibration, discovery, drivers, modelling, selection
from clnn.runtime.discovery import IsolatedDevice, OpenDevice

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


def measured_devices(
    refresh: bool = False,
    tell: Callable[[str], None] = lambda text: None,
    devices: str | None = None,
    platforms: str | None = None,
) -> list[DeviceInfo]:
    """Every device, or those that a session would use; the usable ones with their speed, measured where not known.

    ``tell`` is called with a line before something takes a while. A device that fails while it is measured is listed
    without figures, and a warning says why.

    Raises:
        NoDeviceError, UsageError: as for a session, when ``devices`` or ``platforms`` says which are meant.
    """
    if devices is None and platforms is None:
        return [_measured(info, refresh, tell) for info in discovery.devices(refresh)]
    discovery.devices(refresh)
    return [_with_speed(opened, refresh, tell) for opened in selection.select(devices, platforms)]


def examine(platforms: str | None = None) -> Checkup:
    """Look at everything that clnn needs, a platforms.yaml included; drivers are tried anew."""
    infos = discovery.devices(refresh=True)
    ready = any(info.usable and not info.interpreter for info in infos)
    findings = [_python(), *_packages(), *_environment(), _cache(), *_platforms(platforms), *_drivers(infos)]
    if not ready:
        findings.append(Finding("OpenCL device", "there is none that can be used", False, naming.INSTALL))
    return Checkup(tuple(findings), ready)


def _measured(info: DeviceInfo, refresh: bool, tell: Callable[[str], None]) -> DeviceInfo:
    known = calibration.known(info)
    if not info.usable or info.interpreter or (_is_measured(known) and not refresh):
        return known
    try:
        return _with_speed(discovery.open_device(info), refresh, tell)
    except ClnnError as error:
        log.warning("%s", error)
        return info


def _is_measured(info: DeviceInfo) -> bool:
    return bool(info.gflops) and modelling.known(info) is not None


def _with_speed(opened: OpenDevice | IsolatedDevice, refresh: bool, tell: Callable[[str], None]) -> DeviceInfo:
    # An interpreter's speed says nothing about the machine, and takes minutes to measure. Hints stand as they are.
    if opened.info.interpreter or opened.info.isolated or (_is_measured(opened.info) and not refresh):
        return opened.info
    tell(f"measuring {opened.info.id} ...")
    try:
        modelling.machine([opened], measure_missing=True, refresh=refresh)
        return opened.info if opened.info.gflops and not refresh else calibration.measure(opened, refresh)
    except ClnnError as error:
        log.warning("%s", error)
        return opened.info


def _platforms(reference: str | None) -> list[Finding]:
    """The platforms.yaml that would be used, if there is one."""
    try:
        entry, file = selection.platform(reference)
    except ClnnError as error:
        return [Finding("platforms", str(error), False, "mend the file, or name another with --platforms")]
    if file is None and entry is None:
        return []
    return [Finding("platforms", f"{file or 'the shipped entries'}, entry {entry or '(devices are discovered)'}")]


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
