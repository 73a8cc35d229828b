"""Cutting launches among the devices of a team."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, permutations

from clnn.devices.info import DeviceInfo
from clnn.devices.model import DeviceModel, Work, apportion
from clnn.kernels import Launch
from clnn.ops import Lowered

PATCHWORK = 0.15
"""How much longer several rectangles take than one of the same size: some of what they read is read for each."""


@dataclass(frozen=True)
class Part:
    """What one device runs of a launch, and the share of its work that this is; ``reason`` is for people.

    ``axis`` is the dimension along which the launch was cut, ``None`` where it was along none or two, and ``units`` how
    many compute units the device has.
    """

    device: str
    launch: Launch
    share: float
    reason: str = ""
    axis: int | None = None
    units: int = 1


def divide(
    launch: Launch, work: Work | None, members: Sequence[DeviceInfo], models: Sequence[DeviceModel]
) -> tuple[Part, ...]:
    """Cut a launch so that all finish together, by whichever dimensions of its index space let them most nearly.

    Cuts fall between work-groups. Where the time saved is less than what waiting for each other costs, the launch
    stays whole, on the fastest device: that is the case for a work of ``None``, which counts for nothing.

    Args:
        members: the devices, and ``models`` how fast each is.
    """
    work = work or Work(launch.kernel.name, 0.0, 0.0)
    whole_ms = [model.launch_ms + model.work_ms(work) for model in models]
    best = min(range(len(members)), key=whole_ms.__getitem__)
    ways = [_Way.of(launch, order, work, members, models) for order in _orders(launch)]
    if not ways:
        return (Part(members[best].id, launch, 1.0, "whole: it cannot be cut"),)
    # The last of many work-groups, which may be a small one, matters less.
    way = min(
        ways, key=lambda way: (way.slowest_ms * (1.0 + PATCHWORK * way.is_patchwork), way.axis is None, -way.groups)
    )
    cut_ms = way.slowest_ms + max(model.sync_ms for model in models)
    if cut_ms >= whole_ms[best]:
        return (Part(members[best].id, launch, 1.0, f"whole: {whole_ms[best]:.3f} ms, cut {cut_ms:.3f}"),)
    reason = f"cut: {cut_ms:.3f} ms, whole {whole_ms[best]:.3f}"
    return tuple(
        Part(member.id, piece, size / way.groups, reason, way.axis, member.compute_units)
        for member, pieces in zip(members, way.pieces, strict=True)
        for piece, size in pieces
    )


def _orders(launch: Launch) -> list[tuple[int, ...]]:
    """The dimensions along which the launch can be cut, one by one, and as pairs, whose second one runs fastest."""
    axes = [axis for axis in launch.kernel.cuts if axis < len(launch.global_size) and launch.groups(axis) > 1]
    return [*((axis,) for axis in axes), *permutations(axes, 2)]


@dataclass(frozen=True)
class _Way:
    """A way to cut a launch: of its work-groups in some order, each device gets a run.

    ``pieces`` are the launches of each device, with their numbers of work-groups; ``groups`` counts all. ``axis`` is
    the one dimension along which it is cut, if it is one.
    """

    pieces: tuple[tuple[tuple[Launch, int], ...], ...]
    groups: int
    slowest_ms: float
    axis: int | None

    @property
    def is_patchwork(self) -> bool:
        """Whether some device gets more than one rectangle of the index space."""
        return any(len(own) > 1 for own in self.pieces)

    @classmethod
    def of(
        cls,
        launch: Launch,
        order: tuple[int, ...],
        work: Work,
        members: Sequence[DeviceInfo],
        models: Sequence[DeviceModel],
    ) -> _Way:
        groups = math.prod(launch.groups(axis) for axis in order)
        counts = apportion(groups, [1.0 / max(model.work_ms(work), 1e-9) for model in models])
        ends = list(accumulate(counts))
        pieces = tuple(
            tuple(_run(launch, order, end - count, end, member.compute_units))
            for count, end, member in zip(counts, ends, members, strict=True)
        )
        common = sum(launch.common_bytes[axis] for axis in order) if launch.common_bytes else 0
        slowest_ms = max(
            len(own) * model.launch_ms + model.work_ms(work.part(count / groups))
            + model.moving_ms(common * (1 - count / groups))
            for own, count, model in zip(pieces, counts, models, strict=True)
            if count
        )
        return cls(pieces, groups, slowest_ms, order[0] if len(order) == 1 else None)


def _run(
    launch: Launch, order: tuple[int, ...], start: int, stop: int, units: int
) -> Iterator[tuple[Launch, int]]:
    """The work-groups from ``start`` to ``stop`` in this order, as launches: what is not a rectangle takes several."""
    if start == stop:
        return
    if len(order) == 1:
        yield launch.part(order[0], start, stop, units), stop - start
        return
    outer, inner = order
    width = launch.groups(inner)
    while start < stop:
        row, column = divmod(start, width)
        rows = (stop - start) // width if column == 0 else 0
        end = start + rows * width if rows else min(stop, (row + 1) * width)
        piece = launch.part(outer, row, row + max(rows, 1), units)
        yield (piece if rows else piece.part(inner, column, column + end - start, units)), end - start
        start = end


def divide_node(
    lowered: Lowered, members: Sequence[DeviceInfo], models: Sequence[DeviceModel]
) -> tuple[tuple[Part, ...], ...]:
    """The parts of each launch of a node; only the last launch has work that counts."""
    if not lowered.launches:
        return ()
    works = (*(None,) * (len(lowered.launches) - 1), lowered.work)
    return tuple(
        divide(launch, work, members, models) for launch, work in zip(lowered.launches, works, strict=True)
    )
