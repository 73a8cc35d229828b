"""Settings of a session."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clnn.errors import UsageError

PRECISIONS = ("exact", "fast")
VERIFY = ("off", "first_run")
CHAIN = ("auto", "on", "off")


@dataclass(frozen=True)
class Options:
    """How a session runs.

    Attributes:
        precision: "fast" admits algorithms that round differently from a plain sum of products, as Winograd
            convolutions do, "exact" does not.
        chain: whether runs of layers are computed in bands of rows, so that what lies between them stays in cache and
            takes little memory: "auto" where that is predicted to save time, or the network would not fit the device
            otherwise, "on" wherever it saves memory, "off" never. The results are the same.
        threads: threads of a CPU driver; it reads the number when it is loaded, so that it holds for the
            process, and a second session that asks for another number is refused. ``None``: all cores.
        verify: "first_run" compares each kernel variant once with the host, before the first result of a plan is
            returned, and does without a device that computes wrongly; "off" trusts devices.
        cache_dir: folder for program binaries; ``None``: ``$CLNN_CACHE_DIR`` or the user's cache folder.
        timeout_s: seconds after which a run is given up with ``DeadlineError``; ``None``: never, and on an isolated
            device once it takes many times as long as earlier runs.

    Raises:
        UsageError: a value is not of the kind described.
    """

    precision: str = "fast"
    chain: str = "auto"
    threads: int | None = None
    verify: str = "off"
    cache_dir: str | os.PathLike[str] | None = None
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise UsageError(f"option precision: {self.precision!r} is none of {', '.join(PRECISIONS)}")
        if self.chain not in CHAIN:
            raise UsageError(f"option chain: {self.chain!r} is none of {', '.join(CHAIN)}")
        if self.threads is not None and not _is_positive(self.threads, int):
            raise UsageError(f"option threads: {self.threads!r} is not a number of threads (1 or more)")
        if self.verify not in VERIFY:
            raise UsageError(f"option verify: {self.verify!r} is none of {', '.join(VERIFY)}")
        if self.cache_dir is not None and not isinstance(self.cache_dir, str | os.PathLike):
            raise UsageError(f"option cache_dir: {self.cache_dir!r} is not the path of a folder")
        if self.timeout_s is not None and not _is_positive(self.timeout_s, int | float):
            raise UsageError(f"option timeout_s: {self.timeout_s!r} is not a positive number of seconds")

    @classmethod
    def of(cls, value: Options | Mapping[str, Any] | None) -> Options:
        """Make options of a mapping with the same keys.

        Raises:
            UsageError: a key is unknown.
        """
        if isinstance(value, Options):
            return value
        value = {} if value is None else value
        if not isinstance(value, Mapping):
            raise UsageError(f"options: {type(value).__name__} is neither clnn.Options nor a dict")
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = [key for key in value if key not in known]
        if unknown:
            raise UsageError(f"options: unknown key '{unknown[0]}'; there are {', '.join(known)}")
        return cls(**value)


def _is_positive(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and value > 0
