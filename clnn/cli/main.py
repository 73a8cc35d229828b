"""The command ``clnn``: finds the sub-command, turns every outcome into one line and an exit code.

A sub-command NAME is the function ``command`` in ``clnn/cli/NAME.py``, imported when it is called (or all of them, for
``--help``), so these files import what is heavy inside the function.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from clnn.cli import common
from clnn.errors import ClnnError
from clnn.version import VERSION

COMMANDS = ("detect", "run", "eval", "bench", "inspect", "plan", "simulate", "export", "models", "devices", "doctor")

_USAGE_CODE = 2
_INTERNAL_CODE = 1
_INTERRUPTED_CODE = 130


class LazyGroup(TyperGroup):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, in the order of the help text."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any | None:
        """The command called ``cmd_name``, or ``None``."""
        if cmd_name not in COMMANDS:
            return None
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        app.command(cmd_name)(import_module(f"clnn.cli.{cmd_name}").command)
        return get_command(app)


app = typer.Typer(cls=LazyGroup, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
                  context_settings={"help_option_names": ["-h", "--help"]})


def _show_version(wanted: bool) -> None:
    if wanted:
        common.say(f"clnn {VERSION}")
        raise typer.Exit


@app.callback()
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True,
                                                callback=_show_version)] = False) -> None:
    """Runs ONNX networks on the OpenCL devices of this machine."""


def run(arguments: Sequence[str]) -> int:
    """Carry out a command line and return its exit code; every failure is told in one line on stderr."""
    group = get_command(app)
    try:
        with group.make_context("clnn", list(arguments)) as context:
            group.invoke(context)
        common.flush()
    except typer.Exit as error:
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", _INTERRUPTED_CODE)
    except BrokenPipeError:
        return 0  # whoever read our output has seen enough
    except ClnnError as error:
        return _fail(str(error), error.exit_code)
    except MemoryError:
        return _fail("out of memory; use a smaller batch or image", 7)
    except Exception as error:
        if hasattr(error, "format_message"):  # typer's own errors; which package defines them depends on its version
            return _usage(error)
        logging.getLogger("clnn").debug("traceback", exc_info=True)
        return _fail(f"internal error: {type(error).__name__}: {' '.join(str(error).split())}; please report it with "
                     "the output of the same command and -v", _INTERNAL_CODE)
    return 0


def main() -> None:
    """Entry point of the script ``clnn``."""
    sys.exit(run(sys.argv[1:]))


def _usage(error: Any) -> int:
    message = " ".join(error.format_message().split())
    if not message:  # no arguments at all: the help text was shown instead
        return _USAGE_CODE
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "clnn"
    return _fail(f"{message.rstrip('.')}; see '{command} --help'", _USAGE_CODE)


def _fail(message: str, code: int) -> int:
    print(f"clnn: error: {message}", file=sys.stderr)
    return code
