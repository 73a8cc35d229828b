"""Finds the OpenCL drivers that are installed, without loading any of them.

A driver registers with an ``.icd`` file: one line that names its library. They are looked for in

    1. $OCL_ICD_VENDORS, when the user set it, and then nowhere else
    2. the system's vendors folder
    3. the folder beside pyopencl's own libraries, where pip's PoCL and Oclgrind register
    4. ``etc/OpenCL/vendors`` of the Python environment, where pip's Intel runtime registers, with a path of the machine
       that built it: the file of that name in the environment's ``lib`` is meant
    5. the library of a system Oclgrind, which registers nowhere

On Windows the drivers are in the registry, where pyopencl's own loader finds them.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import site
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from clnn.runtime import cachedir

SYSTEM_VENDORS = Path("/etc/OpenCL/vendors")
SYSTEM_OCLGRIND = (Path("/usr/lib/oclgrind/liboclgrind-rt-icd.so"),
                   Path("/usr/local/lib/oclgrind/liboclgrind-rt-icd.so"))
REGISTRY = "registry"
_VARIABLE = "$OCL_ICD_VENDORS"


@dataclass(frozen=True)
class Driver:
    """A registered driver: ``library`` as the ICD loader will open it, ``origin`` the file that registers it.

    ``problem`` says why it cannot be loaded, when that is clear from the files alone.
    """

    name: str
    library: str
    origin: str
    problem: str = ""

    @property
    def chosen(self) -> bool:
        """Whether the user's variable, and no file, names it."""
        return self.origin == _VARIABLE

    @property
    def interpreter(self) -> bool:
        """Whether it is Oclgrind, thousands of times slower than a device and used only when named."""
        return "oclgrind" in self.library.lower()

    def signature(self) -> str:
        """A digest that changes when the driver is exchanged: path, size and time of its library."""
        path = _resolve(self.library)
        status = path.stat() if path else None
        stamp = f"{path} {status.st_size} {status.st_mtime_ns}" if status else ""
        return cachedir.digest(self.library, self.origin, stamp, processor())


def find() -> list[Driver]:
    """Every driver registered on this machine, each library once, in the order given above."""
    if os.name == "nt":
        return [Driver(REGISTRY, "", REGISTRY)]
    found: dict[str, Driver] = {}
    for driver in _candidates():
        found.setdefault(str(_resolve(driver.library) or driver.library), driver)
    return list(found.values())


def _candidates() -> list[Driver]:
    chosen = os.environ.get("OCL_ICD_VENDORS")
    if chosen:
        return _chosen(Path(chosen))
    found = _folder(SYSTEM_VENDORS)
    spec = importlib.util.find_spec("pyopencl")
    if spec is not None and spec.origin:
        home = Path(spec.origin).parent
        found += _folder(home / ".libs") + _folder(home / ".dylibs")
    for prefix in dict.fromkeys((sys.prefix, site.USER_BASE or sys.prefix)):
        found += _environment(Path(prefix))
    found += [Driver("oclgrind", str(path), str(path)) for path in SYSTEM_OCLGRIND if path.is_file()]
    return found


def _chosen(path: Path) -> list[Driver]:
    """What $OCL_ICD_VENDORS names: a folder, one ``.icd`` file, or a library."""
    if path.is_dir():
        nothing = Driver(path.name, str(path), _VARIABLE, f"names {path}, which registers no OpenCL driver")
        return _folder(path) or [nothing]
    if not path.exists():
        return [Driver(path.stem, str(path), _VARIABLE, f"names {path}, which does not exist")]
    if path.suffix == ".icd":
        return _file(path)
    return [Driver(path.name.split(".")[0].removeprefix("lib"), str(path), str(path))]


def _folder(folder: Path) -> list[Driver]:
    try:
        registered = sorted(folder.glob("*.icd"))
    except PermissionError:  # as another user's home, where $HOME still names it
        return []
    return [driver for path in registered for driver in _file(path)]


def _file(path: Path) -> list[Driver]:
    try:
        library = path.read_text(errors="replace").strip().split("\n")[0].strip()
    except OSError as error:
        return [Driver(path.stem, "", str(path), f"cannot be read: {error.strerror}")]
    if not library:
        return [Driver(path.stem, "", str(path), "is empty: it should name a library")]
    if os.path.isabs(library) and not os.path.exists(library):
        return [Driver(path.stem, library, str(path), f"names {library}, which does not exist")]
    beside = path.parent / library  # as pip's drivers are registered, for a loader that looks there
    return [Driver(path.stem, str(beside) if beside.is_file() else library, str(path))]


def _environment(prefix: Path) -> list[Driver]:
    """The drivers of a Python environment, dead paths mended; one whose library is nowhere is not installed."""
    mended = []
    for driver in _folder(prefix / "etc" / "OpenCL" / "vendors"):
        library = prefix / "lib" / Path(driver.library).name
        if not driver.problem:
            mended.append(driver)
        elif driver.library and library.is_file():
            mended.append(Driver(driver.name, str(library), driver.origin))
    return mended


def _resolve(library: str) -> Path | None:
    """The file that the dynamic linker would most likely open for ``library``."""
    path = Path(library)
    if path.is_absolute():
        return Path(os.path.realpath(path)) if path.exists() else None
    folders = [*os.environ.get("LD_LIBRARY_PATH", "").split(":"), "/usr/local/lib",
               f"/usr/lib/{platform.machine()}-linux-gnu", "/usr/lib64", "/usr/lib"]
    for folder in folders:
        if folder and (Path(folder) / library).exists():
            return Path(os.path.realpath(Path(folder) / library))
    return None


@cache
def processor() -> str:
    """The processor's description: a home folder may be shared by machines on which drivers behave differently."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            first = file.read(8192).split("\n\n")[0]
    except OSError:
        return platform.machine() + platform.processor()
    # Frequencies and bogomips vary from one reading to the next.
    return "\n".join(line for line in first.splitlines() if line.startswith(("model name", "flags", "Features")))
