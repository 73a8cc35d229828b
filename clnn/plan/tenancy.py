"""Which block of memory each tensor lies in, and when that block is in use."""

from __future__ import annotations

from collections.abc import Mapping

from clnn.graph import TensorType
from clnn.plan.clocks import Clocks
from clnn.plan.memory import Interval
from clnn.plan.types import Placement


class Tenancy:
    """The blocks of each memory, with the steps that touch them while a plan is built.

    Constants have memory of their own and are no tenants: touching them does nothing.
    """

    def __init__(self, types: Mapping[str, TensorType], clocks: Clocks) -> None:
        self._types = types
        self._clocks = clocks
        self._nbytes: dict[tuple[str, str], int] = {}
        # (memory, tensor) -> the tensor whose block it shares.
        self._root: dict[tuple[str, str], str] = {}
        self._touches: dict[tuple[str, str], list[int]] = {}

    def enter(self, memory: str, name: str, nbytes: int) -> None:
        """Give tensor or scratch ``name`` a block of its own, unless its type says that it lies in another one."""
        self._nbytes[memory, name] = nbytes

    def share(self, memory: str, name: str, source: str) -> str:
        """Let ``name`` lie in the block of ``source``, whose own tensor is returned."""
        root = self._root[memory, name] = self._find(memory, source)
        return root

    def shares(self, memory: str, name: str) -> bool:
        """Whether ``name`` was given the block of another one."""
        return (memory, name) in self._root

    def touch(self, memory: str, name: str) -> None:
        """Note that the last step so far uses ``name``."""
        self._touches.setdefault((memory, self._find(memory, name)), []).append(max(len(self._clocks.steps) - 1, 0))

    def intervals(self, memory: str) -> list[Interval]:
        """The blocks of a memory and when they are in use."""
        return [
            self._interval(name, self._nbytes[key], touches)
            for key, touches in self._touches.items()
            if (name := key[1]) and key[0] == memory and key in self._nbytes and name == self._find(memory, name)
        ]

    def _interval(self, name: str, nbytes: int, touches: list[int]) -> Interval:
        first, last = min(touches), max(touches)
        if not self._clocks.concurrent:
            return Interval(name, nbytes, first, last)
        queue, known = self._clocks.queue, self._clocks.known
        until: dict[str, int] = {}
        since: dict[str, int] | None = None
        for step in touches:
            until[queue(step)] = max(step, until.get(queue(step), -1))
            clock = known(step)
            since = clock if since is None else {each: min(since[each], clock[each]) for each in since.keys() & clock}
        return Interval(name, nbytes, first, last, since, until)

    def placements(self, memory: str, roots: Mapping[str, Placement]) -> dict[str, Placement]:
        """Placements of the blocks, and of the tensors that lie in them."""
        own = (name for where, name in (*self._nbytes, *self._root) if where == memory)
        return {name: roots[root] for name in own if (root := self._find(memory, name)) in roots}

    def _find(self, memory: str, name: str) -> str:
        """The tensor, or scratch, in whose block ``name`` lies."""
        home = self._types[name].home(name) if name in self._types else name
        return self._root.get((memory, home), home)
