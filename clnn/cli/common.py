"""What sub-commands share: options that mean the same everywhere, and where output goes.

Results go to stdout; progress, warnings and errors to stderr.

    def command(model: str, device: common.Device = None, json: common.Json = False,
                quiet: common.Quiet = False, verbose: common.Verbose = False) -> None:
        common.start(quiet, verbose)
"""

from __future__ import annotations

import json as json_text
import logging
import math
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Annotated, Any, Protocol, TypeVar

import typer

from clnn.errors import InputError

Item = TypeVar("Item")

_PATIENCE_S = 2.0

_DEVICES = "Devices"
Device = Annotated[str | None, typer.Option(
    "--device", "-d", metavar="NAMES", rich_help_panel=_DEVICES, show_default=False,
    help="Devices to use, separated by commas: cpu, gpu:0, accelerator, pocl, intel:0, ...")]
Policy = Annotated[str | None, typer.Option(
    "--policy", metavar="NAME", rich_help_panel=_DEVICES, show_default=False,
    help="How work is assigned to devices. One image: single (the best device), split (layers cut among them), heft "
         "(branches side by side), auto. Many: batch (each image whole to a device that is free), pipeline (a stage "
         "of the network on each).")]
Platforms = Annotated[str | None, typer.Option(
    "--platforms", metavar="FILE", rich_help_panel=_DEVICES, show_default=False,
    help="A platforms.yaml; else $CLNN_PLATFORMS or ./platforms.yaml.")]
Platform = Annotated[str | None, typer.Option(
    "--platform", metavar="NAME", rich_help_panel=_DEVICES, show_default=False,
    help="An entry of platforms.yaml.")]

_OUTPUT = "Output"
Json = Annotated[bool, typer.Option("--json", rich_help_panel=_OUTPUT, help="Print JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", rich_help_panel=_OUTPUT,
                                     help="No progress, no warnings.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", rich_help_panel=_OUTPUT,
                                       help="Say what is done; show tracebacks.")]


class _Format(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """``clnn: warning: text``, as errors are written."""
        return f"clnn: {record.levelname.lower()}: {super().format(record)}"


def start(quiet: bool = False, verbose: bool = False) -> None:
    """Send clnn's log to stderr: warnings, with ``verbose`` everything, with ``quiet`` errors only."""
    level = logging.DEBUG if verbose else logging.ERROR if quiet else logging.WARNING
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Format("%(message)s"))
    logger = logging.getLogger("clnn")
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False


def platforms_reference(file: str | None, name: str | None) -> str | None:
    """``--platforms`` and ``--platform`` as the one argument of a session: ``FILE``, ``FILE#NAME``, ``#NAME``."""
    if name is None:
        return file
    return f"{file or ''}#{name}"


@contextmanager
def _stdout() -> Iterator[None]:
    """Raise ``InputError`` when stdout cannot be written; that a reader has seen enough stays a BrokenPipeError."""
    try:
        yield
    except OSError as error:
        # What is still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        raise InputError(f"standard output cannot be written: {error.strerror}; send it elsewhere") from error


def say(text: str) -> None:
    """Print a line of results."""
    with _stdout():
        print(text)


def say_json(value: Any) -> None:
    """Print a result as JSON, which has no word for numbers that are not finite: they become null."""
    say(json_text.dumps(_finite(value), indent=2))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def flush() -> None:
    """See to it that what was printed has arrived."""
    if sys.stdout is not None:  # it is None where the caller closed it
        with _stdout():
            sys.stdout.flush()


def note(text: str, quiet: bool = False) -> None:
    """Tell a person something that is no result."""
    if not quiet:
        print(text, file=sys.stderr)


def table(header: Sequence[str], rows: Iterable[Sequence[Any]], right: Sequence[str] = ()) -> str:
    """Aligned columns with two spaces between them; those named in ``right`` are aligned to the right."""
    lines = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]

    def pad(cell: str, column: int) -> str:
        return cell.rjust(widths[column]) if header[column] in right else cell.ljust(widths[column])

    return "\n".join("  ".join(pad(cell, column) for column, cell in enumerate(line)).rstrip() for line in lines)


class Advance(Protocol):
    """Moves a progress bar by ``steps``."""

    def __call__(self, steps: int = 1) -> None: ...


@contextmanager
def progress(label: str, total: int, quiet: bool = False) -> Iterator[Advance]:
    """A progress bar on stderr while a block runs; none when ``quiet``, or when stderr is not a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda steps=1: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda steps=1: bar.advance(task, steps)


@contextmanager
def compiling(quiet: bool = False) -> Iterator[None]:
    """A progress bar while the block compiles kernels, as the first start of a network does, once that takes long."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    from clnn.runtime import builders

    started = time.monotonic()
    with ExitStack() as stack:
        advance, shown = None, 0

        def show(done: int, total: int) -> None:
            nonlocal advance, shown
            if advance is None and time.monotonic() - started > _PATIENCE_S:
                advance, shown = stack.enter_context(progress("compiling kernels", total)), 0
            if advance is not None:
                advance(done - shown)
                shown = done
            if done == total:
                stack.close()
                advance = None

        with builders.listening(show):
            yield


def track(items: Sequence[Item], label: str, quiet: bool = False) -> Iterator[Item]:
    """Go through ``items`` with a progress bar."""
    with progress(label, len(items), quiet) as advance:
        for item in items:
            yield item
            advance()
