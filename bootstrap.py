"""Sets up a working copy: a virtual environment, clnn in it, and an OpenCL device where there is none.

    python3 bootstrap.py            what `make detect` needs
    python3 bootstrap.py --tests    also what `make test` needs: PoCL, Intel's runtime and Oclgrind

It stands alone at the top of the tree, and uses the standard library only, because it runs before anything is
installed. It says what it installs. A second run finds its stamp and does nothing; `_state` is what the stamp covers.

Exit codes: 0 done, 1 something could not be installed, 4 no OpenCL device works.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = Path(os.environ.get("VENV", ROOT / ".venv"))
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
POCL = "pocl-opencl-icd"
OCLGRIND = "oclgrind"


class SetupError(Exception):
    """A step failed; the message says what to do."""


def main() -> int:
    """Do what is still to do and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tests", action="store_true", help="also install what the tests need")
    tests = parser.parse_args().tests
    try:
        stamp = VENV / ("setup-tests.stamp" if tests else "setup.stamp")
        if stamp.is_file() and stamp.read_text() == _state() and PYTHON.exists():
            return 0
        _environment()
        _package()
        _drivers_for_tests() if tests else _some_driver()
        stamp.write_text(_state())
    except SetupError as error:
        print(f"setup: error: {error}", file=sys.stderr)
        return 1
    except NoDevice:
        _run(PYTHON, "-m", "clnn", "doctor")
        print("setup: error: no OpenCL device works; see the lines above", file=sys.stderr)
        return 4
    return 0


class NoDevice(Exception):
    """Everything is installed that could be, and still no device works."""


def _state() -> str:
    files = [ROOT / name for name in ("pyproject.toml", "setup.py", "bootstrap.py")]
    return hashlib.sha256(b"".join([sys.version.encode(), *(path.read_bytes() for path in files)])).hexdigest()


def _environment() -> None:
    if sys.version_info < (3, 10):  # noqa: UP036  # whichever Python the machine has runs this
        raise SetupError(f"Python 3.10 or newer is needed, this is {sys.version.split()[0]}; name another one: "
                         "make PYTHON=python3.11")
    if PYTHON.exists() and _works(PYTHON, "-m", "pip", "--version"):
        return
    if importlib.util.find_spec("ensurepip") is None:  # Debian and Ubuntu ship venv as a package of its own
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        _say(f"installing {package} from the system's packages")
        if not _apt(package):
            raise SetupError(f"Python's venv module is not installed; run: apt-get install {package}")
    _say(f"creating {VENV}")
    # In a process of its own: ensurepip may have come after this one started.
    if not _works(sys.executable, "-m", "venv", "--clear", VENV):
        _run(sys.executable, "-m", "venv", "--clear", VENV)
        raise SetupError(f"cannot create a virtual environment in {VENV}")


def _package() -> None:
    _say("installing clnn and what it needs from pip")
    if not _pip("-e", f"{ROOT}[dev,eval]"):
        raise SetupError("pip could not install clnn; its message is above")
    # As pip does for what it copies: it saves 0.1 s per start where Python is told not to write bytecode itself.
    _works(PYTHON, "-m", "compileall", "-q", ROOT / "clnn")


def _some_driver() -> None:
    if _device_works():
        return
    _say("no OpenCL device works yet: installing PoCL from the system's packages")
    if _apt(POCL) and _device_works():
        return
    _say("that did not help: installing Intel's CPU runtime from pip")
    if _pip("-e", f"{ROOT}[intel]") and _device_works():
        return
    raise NoDevice


def _drivers_for_tests() -> None:
    missing = [package for package in (POCL, OCLGRIND) if not _apt_has(package)]
    if missing:
        _say(f"installing {' and '.join(missing)} from the system's packages")
        if not _apt(*missing):
            _say(f"{' and '.join(missing)} could not be installed; tests that need them will say so")
    _say("installing Intel's CPU runtime from pip")
    if not _pip("-e", f"{ROOT}[intel]"):
        _say("Intel's runtime could not be installed; tests that need it will say so")
    if not _device_works():
        raise NoDevice


def _device_works() -> bool:
    return _works(PYTHON, "-m", "clnn", "doctor", "--quiet")


def _apt_has(package: str) -> bool:
    if shutil.which("dpkg-query") is None:
        return False
    command = ["dpkg-query", "-W", "-f", "${Status}", package]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    return asked.stdout.startswith("install ok")


def _apt(*packages: str) -> bool:
    """Install Debian packages, where that is possible without asking for a password."""
    if shutil.which("apt-get") is None:
        return False
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    if not is_root and not (shutil.which("sudo") and _works("sudo", "-n", "true")):
        _say(f"no right to install system packages; you may run: apt-get install {' '.join(packages)}")
        return False
    prefix = ["env"] if is_root else ["sudo", "-n", "env"]
    apt = [*prefix, "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-y", "-o", "DPkg::Lock::Timeout=120"]
    install = [*apt, "install", "--no-install-recommends", *packages]
    # A fresh machine has no package lists, an old one has lists that name files long gone.
    return _works(*install) or (_run(*apt, "update") and _run(*install))


def _pip(*arguments: str) -> bool:
    return _run(PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments)


def _works(*command: str | Path) -> bool:
    """Whether a command succeeds; what it prints is nobody's concern."""
    done = subprocess.run([str(part) for part in command], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True,
                          check=False)
    return done.returncode == 0


def _run(*command: str | Path) -> bool:
    """Run a command whose messages a person should see; on stderr, as results of `make detect` go to stdout."""
    done = subprocess.run([str(part) for part in command], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=sys.stderr,
                          check=False)
    return done.returncode == 0


def _say(text: str) -> None:
    print(f"setup: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
