"""Chains of stages joined by FIFOs: how their work is cut into launches, and the proof that none of them gets stuck.

A chain is a synchronous dataflow graph whose stages are fired by packets (Lee and Messerschmitt, "Static Scheduling of
Synchronous Data Flow Programs for Digital Signal Processing", IEEE Transactions on Computers 1987); how many packets a
stage takes before it can give one depends on where its window stands, as in cyclo-static dataflow (Bilsen et al.,
"Cyclo-Static Dataflow", IEEE Transactions on Signal Processing 1996). Everything here is exact arithmetic on counts.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from clnn.kernels.window import Window

MIN_BANDS = 4
"""Launches into which each stage is cut at least; a FIFO holds at most one part in as many of what passes through."""


@dataclass(frozen=True)
class Stage:
    """A kernel that takes packets from FIFOs and gives some to another.

    A pass is one picture of rows, columns and vectors. What is not there on a side is "": a reader takes from memory.

    Attributes:
        inputs: the FIFOs it takes from, as many packets from each.
        output: the FIFO that it gives to.
        window: what an output pixel needs; its ``batch`` counts for nothing. ``None``: all pass through, packet by
            packet.
        passes: pictures that pass through, ``vectors`` packets for each pixel of them.
        given: packets for each pixel of the output.
    """

    name: str
    inputs: tuple[str, ...]
    output: str
    passes: int
    pixels: int
    vectors: int
    given: int
    window: Window | None = None

    @property
    def packets_in(self) -> int:
        """Packets that it takes from each input in all."""
        return self.passes * self.pixels * self.vectors if self.inputs else 0

    @property
    def items(self) -> int:
        """Pixels, or without a window packets, that it gives in all."""
        if not self.output:
            return 0
        return self.passes * (self._out_pixels if self.window else self.pixels * self.vectors)

    @property
    def packets_per_item(self) -> int:
        return self.given if self.window else 1

    @property
    def packets_out(self) -> int:
        return self.items * self.packets_per_item

    @property
    def _out_pixels(self) -> int:
        return self.window.out_height * self.window.out_width

    @cached_property
    def _rows(self) -> list[int]:
        """The last row, clamped to the picture, that each output row sees."""
        window = self.window
        reach = (window.kernel_h - 1) * window.dilation_h - window.pad_top
        return [min(max(oy * window.stride_h + reach, 0), window.height - 1) for oy in range(window.out_height)]

    @cached_property
    def _columns(self) -> list[int]:
        window = self.window
        reach = (window.kernel_w - 1) * window.dilation_w - window.pad_left
        return [min(max(ox * window.stride_w + reach, 0), window.width - 1) for ox in range(window.out_width)]

    @cached_property
    def _row_ends(self) -> list[int]:
        """Pixels of a pass that must have come before each output row is complete."""
        return [row * self.window.width + self._columns[-1] + 1 for row in self._rows]

    def needed(self, item: int) -> int:
        """Packets that must have come before ``item``, counted from 0, can be given; all, after the last one."""
        if not self.inputs:
            return 0
        if item >= self.items:
            return self.packets_in
        if self.window is None:
            return item + 1
        done, rest = divmod(item, self._out_pixels)
        oy, ox = divmod(rest, self.window.out_width)
        pixels = self._rows[oy] * self.window.width + self._columns[ox] + 1
        if oy:  # items leave in order
            pixels = max(pixels, self._row_ends[oy - 1])
        return (done * self.pixels + pixels) * self.vectors

    def takeable(self, items: int) -> int:
        """Packets that may be taken once ``items`` were given: more could overwrite rows that the next one needs."""
        if not self.inputs:
            return 0
        return items if self.window is None and self.output else self.needed(items)

    def possible(self, packets: int) -> int:
        """Items that can be given once ``packets`` have come."""
        if self.window is None or not self.inputs:
            return packets if self.inputs else self.items
        done, rest = divmod(packets, self.pixels * self.vectors)
        pixels = rest // self.vectors
        oy = bisect_right(self._row_ends, pixels)
        ox = 0
        if oy < self.window.out_height:
            ox = bisect_right(self._columns, pixels - self._rows[oy] * self.window.width - 1)
        return min(done * self._out_pixels + oy * self.window.out_width + ox, self.items)


@dataclass(frozen=True)
class Firing:
    """A launch of a stage: the packets and items that it takes and gives, from the first up to the last, excluded."""

    stage: str
    first_in: int
    last_in: int
    first_out: int
    last_out: int


def schedule(stages: Sequence[Stage], depths: Mapping[str, int]) -> tuple[Firing, ...] | str:
    """Launches, one after the other, that carry a chain out; or why there are none.

    Each stage in turn, from the source on, does as much as its inputs and the room in its output allow.

    Args:
        stages: in the order of the data.
        depths: packets that each FIFO holds.
    """
    written = dict.fromkeys(depths, 0)
    taken = {stage.name: 0 for stage in stages}
    given = {stage.name: 0 for stage in stages}
    reader = {name: stage for stage in stages for name in stage.inputs}
    firings: list[Firing] = []
    while any(taken[each.name] < each.packets_in or given[each.name] < each.items for each in stages):
        before = len(firings)
        for stage in stages:
            items = stage.items
            if stage.output:
                room = depths[stage.output] + taken[reader[stage.output].name]
                items = min(items, room // stage.packets_per_item)
            there = min((written[name] for name in stage.inputs), default=0)
            items = max(min(items, stage.possible(there)), given[stage.name])
            packets = min(there, stage.takeable(items))
            firing = Firing(stage.name, taken[stage.name], packets, given[stage.name], items)
            if firing.last_in > firing.first_in or firing.last_out > firing.first_out:
                firings.append(firing)
                taken[stage.name], given[stage.name] = packets, items
                if stage.output:
                    written[stage.output] = items * stage.packets_per_item
        if len(firings) == before:
            stuck = next(each for each in stages if given[each.name] < each.items or taken[each.name] < each.packets_in)
            return f"stage {stuck.name} would get stuck after {taken[stuck.name]} of {stuck.packets_in} packets"
    return tuple(firings)


def flaw(stages: Sequence[Stage], depths: Mapping[str, int], firings: Sequence[Firing]) -> str | None:
    """What is wrong with a schedule of launches that follow one another; ``None`` proves that it runs to its end.

    A launch finds all that it takes, and room for all that it gives, so that it never waits; every FIFO is empty at the
    end; the packets that an item is computed from have come, and none that come before it overwrite them; each stage is
    cut into at least ``MIN_BANDS`` launches.
    """
    by_name = {stage.name: stage for stage in stages}
    held = dict.fromkeys(depths, 0)
    progress = {stage.name: (0, 0) for stage in stages}
    launches = dict.fromkeys(by_name, 0)
    for number, firing in enumerate(firings):
        stage = by_name[firing.stage]
        where = f"launch {number}, of stage {stage.name},"
        if (firing.first_in, firing.first_out) != progress[stage.name]:
            return f"{where} does not begin where the one before ended"
        if firing.last_in < firing.first_in or firing.last_out < firing.first_out:
            return f"{where} goes backwards"
        if firing.last_out > firing.first_out and stage.needed(firing.last_out - 1) > firing.last_in:
            return f"{where} gives items whose packets have not come"
        if firing.last_in > stage.takeable(firing.last_out):
            return f"{where} takes packets that may overwrite those of an item to come"
        for name in stage.inputs:
            held[name] -= firing.last_in - firing.first_in
            if held[name] < 0:
                return f"{where} takes {-held[name]} packets more than '{name}' holds"
        if stage.output:
            held[stage.output] += (firing.last_out - firing.first_out) * stage.packets_per_item
            if (excess := held[stage.output] - depths[stage.output]) > 0:
                return f"{where} gives {excess} packets more than fit '{stage.output}'"
        progress[stage.name] = firing.last_in, firing.last_out
        launches[stage.name] += 1
    for stage in stages:
        if progress[stage.name] != (stage.packets_in, stage.items):
            return f"stage {stage.name} ends after {progress[stage.name][0]} of {stage.packets_in} packets"
        if launches[stage.name] < MIN_BANDS:
            return f"stage {stage.name} runs in {launches[stage.name]} bands, fewer than {MIN_BANDS}"
    left = [name for name, count in held.items() if count]
    return f"{held[left[0]]} packets are left in '{left[0]}'" if left else None


def free_running_flaw(stages: Sequence[Stage], depths: Mapping[str, int]) -> str | None:
    """What could get stages stuck that run at once and block on FIFOs; ``None`` proves that nothing does.

    A network of processes that block on bounded channels can deadlock only along a cycle, whatever the directions of
    its channels: where every stage gives to one other at most, and each FIFO is read and written by one stage, there is
    none, and any depth will do. What is given and what is taken must be as much.
    """
    writers = [stage for stage in stages if stage.output]
    for name, depth in depths.items():
        given = [stage.packets_out for stage in writers if stage.output == name]
        taken = [stage.packets_in for stage in stages if name in stage.inputs]
        if len(given) != 1 or len(taken) != 1:
            return f"FIFO '{name}' is written by {len(given)} stages and read by {len(taken)}"
        if given != taken:
            return f"FIFO '{name}' is given {given[0]} packets, of which {taken[0]} are taken"
        if depth < 1:
            return f"FIFO '{name}' holds no packet"
    order = {stage.name: index for index, stage in enumerate(stages)}
    for stage in writers:
        reader = next(each for each in stages if stage.output in each.inputs)
        if order[reader.name] <= order[stage.name]:
            return f"stage {stage.name} gives to {reader.name}, which comes before it"
    return None


def most_depth(nbytes: int, packet_bytes: int) -> int:
    """Packets that a FIFO may hold in place of a tensor of ``nbytes``: a part in ``MIN_BANDS`` of it."""
    return math.floor(nbytes / MIN_BANDS / packet_bytes)
