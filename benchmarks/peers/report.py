"""The table, the line above it and the reasons below it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.peers.runtimes import RUNTIMES


@dataclass
class Result:
    """One network: what each runtime took, and why others are missing.

    ``times`` has a :func:`rounds.summary` (ms) by runtime, ``starts`` the median of a fresh process's figures
    (``first_ever_ms`` with empty caches, ``cached_ms``, ``peak_rss_mb`` in 1e6 bytes), ``errors`` the largest relative
    differences from ``reference``, ``restless`` the runs after which a runtime's threads went on for long.
    """

    network: str
    batch: int
    reference: str = ""
    times: dict[str, dict[str, float]] = field(default_factory=dict)
    starts: dict[str, dict[str, float]] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    restless: dict[str, int] = field(default_factory=dict)

    def ratio(self, name: str) -> float | None:
        """clnn's median over that of ``name``; below 1 clnn is faster."""
        if "clnn" not in self.times or name not in self.times:
            return None
        return self.times["clnn"]["median_ms"] / self.times[name]["median_ms"]

    def title(self) -> str:
        return self.network if self.batch == 1 else f"{self.network}, batch {self.batch}"


def as_data(results: Iterable[Result], about: Mapping[str, Any]) -> dict[str, Any]:
    """Everything, for JSON."""
    networks = []
    for result in results:
        ratios = {name: result.ratio(name) for name in result.times if name != "clnn"}
        networks.append(vars(result) | {"ratios": ratios})
    return {**about, "networks": networks}


def markdown(results: Sequence[Result], about: Mapping[str, Any]) -> str:
    """A line on the machine, versions and command, the table of times, that of starts if there are any, the reasons."""
    names = [name for name in RUNTIMES if any(name in result.times for result in results)]
    versions = ", ".join(f"{RUNTIMES[name].title} {version}" for name, version in about["versions"].items())
    parts = [
        f"{about['machine']}; {about['threads']} threads; {versions}; `{about['command']}`",
        "Medians in ms of interleaved runs; in brackets clnn's time divided by the runtime's, below 1 where clnn is "
        "faster.",
    ]
    if names:
        parts.append(_table(["Network", *(RUNTIMES[name].title for name in names)], [
            [result.title(), *(_cell(result, name) for name in names)] for result in results
        ]))
    for key, title, digits in (
        ("first_ever_ms", "Process start to first result with empty caches, ms", 0),
        ("cached_ms", "Process start to first result with filled caches, ms", 0),
        ("peak_rss_mb", "Peak resident memory of a process that loads and runs the network, MB", 0),
    ):
        present = [name for name in RUNTIMES if any(key in result.starts.get(name, {}) for result in results)]
        if present:
            rows = [
                [result.title(), *(_number(result.starts.get(name, {}).get(key), digits) for name in present)]
                for result in results
            ]
            parts.append(f"{title}:\n\n" + _table(["Network", *(RUNTIMES[name].title for name in present)], rows))
    reasons = [
        f"- {result.title()}: {' and '.join(names)} left out: {reason}"
        for result in results for reason, names in _by_reason(result).items()
    ]
    reasons += [
        f"- {result.title()}: {RUNTIMES[name].title} was still busy long after {count} of its runs"
        for result in results for name, count in result.restless.items() if count
    ]
    if reasons:
        parts.append("\n".join(reasons))
    return "\n\n".join(parts)


def _by_reason(result: Result) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for name, reason in result.left_out.items():
        names.setdefault(reason, []).append(RUNTIMES[name].title)
    return names


def _cell(result: Result, name: str) -> str:
    if name not in result.times:
        return "—"
    median, ratio = result.times[name]["median_ms"], result.ratio(name)
    text = _number(median, 2 if median < 10 else 1 if median < 100 else 0)
    return text if name == "clnn" or ratio is None else f"{text} ({ratio:.2f})"


def _number(value: float | None, digits: int) -> str:
    return "—" if value is None else f"{value:.{digits}f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(line) + " |" for line in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])
