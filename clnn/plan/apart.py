"""Cutting nodes among devices with memories of their own: each computes some rows of a picture, and keeps them.

Layers that follow one another leave their rows where they are, and only the rows beside a border that the next layer
sees from the other side of it are copied: halo exchange, as in stencil codes on distributed memory. What cannot be
computed by rows is computed by one device, to which all rows are brought.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

from clnn.devices.info import DeviceInfo
from clnn.graph import Node, TensorType
from clnn.ops import LowerContext, find
from clnn.ops.rows import ROW_AXIS, Band, Rows
from clnn.plan.pieces import Ranges, concat_node, piece_name, piece_type, slice_node
from clnn.plan.types import LoweredGraph
from clnn.schedule import Assignment
from clnn.schedule.team import Team

_BATCH_AXIS = 0


def share_rows(lowered: LoweredGraph, devices: Mapping[str, DeviceInfo]) -> LoweredGraph:
    """Replace the nodes of teams whose memories lie apart by nodes for some rows each, on one device each."""
    for team in lowered.schedule.teams.values():
        if team.apart:
            sharing = _Sharing(lowered, team)
            for node in lowered.graph.nodes:
                sharing.add(node)
            lowered = sharing.finish()
    return lowered


@dataclass(frozen=True)
class _Piece:
    """The rows ``start`` to ``stop`` of a tensor, which are the tensor ``name`` on a device."""

    device: str
    name: str
    start: int
    stop: int


class _Sharing:
    """The graph and schedule so far, and where the rows of each tensor are."""

    def __init__(self, lowered: LoweredGraph, team: Team) -> None:
        self._lowered = lowered
        self._team = team
        speeds = dict(zip(team.members, team.info.member_speeds, strict=True))
        self._fastest = max(team.members, key=speeds.__getitem__)
        self._upto = [0.0, *accumulate(speed / sum(speeds.values()) for speed in speeds.values())]
        self._types = dict(lowered.graph.types)
        self._nodes: list[Node] = []
        self._assignments = dict(lowered.schedule.assignments)
        self._pieces: dict[str, list[_Piece]] = {}
        self._made: set[str] = set()

    def add(self, node: Node) -> None:
        """Append a node: by rows where the team shall compute it and can."""
        own = self._assignments[node.name]
        if own.device != self._team.id:
            self._add_whole(node, own)
            return
        rows = self._rows(node)
        shares = rows and self._shares(node, rows)
        if shares is None:
            self._add_whole(node, replace(own, device=self._fastest, reason="it cannot be computed by rows"))
        else:
            self._add_shares(node, rows, shares)

    def finish(self) -> LoweredGraph:
        """The lowered graph without the team."""
        for name in dict.fromkeys(self._lowered.outputs.values()):
            self._join(name)
        schedule = self._lowered.schedule
        teams = {name: team for name, team in schedule.teams.items() if team is not self._team}
        graph = self._lowered.graph.replace(nodes=tuple(self._nodes), types=self._types)
        return replace(
            self._lowered, graph=graph, schedule=replace(schedule, assignments=self._assignments, teams=teams, order=())
        )

    def _context(self, node: Node) -> LowerContext:
        return LowerContext(node, self._types, self._lowered.graph.constants, self._team.info, self._lowered.exact)

    def _rows(self, node: Node) -> Rows | None:
        """How the node's rows depend on those of its inputs, if it can be computed by rows."""
        if any(self._types[name].rank != ROW_AXIS + 2 for name in filter(None, node.outputs)):
            return None
        rows = find(node.op).by_rows(self._context(node))
        if rows is None or any(axis in (_BATCH_AXIS, ROW_AXIS) for axis, _, _ in rows.parts):
            return None
        return rows

    def _shares(self, node: Node, rows: Rows) -> list[tuple[str, int, int]] | None:
        """The rows of each member in proportion to their speeds, between tiles; ``None`` where one would get none."""
        height = self._types[node.outputs[0]].shape[ROW_AXIS]
        borders = [min(height, round(height * share / rows.tile) * rows.tile) for share in self._upto]
        borders[-1] = height
        shares = [(member, *span) for member, span in zip(self._team.members, pairwise(borders), strict=True)]
        for _, start, stop in shares:
            if start >= stop:
                return None
            for name, reach in zip(node.inputs, rows.reaches, strict=True):
                if reach is not None:
                    first, last = reach.rows(start, stop, self._types[name].shape[ROW_AXIS])
                    if first >= last:  # it would see nothing but padding
                        return None
        return shares

    def _add_whole(self, node: Node, assignment: Assignment) -> None:
        for name in node.reads:
            self._join(name)
        self._append(node, assignment.device, assignment.reason)

    def _add_shares(self, node: Node, rows: Rows, shares: Sequence[tuple[str, int, int]]) -> None:
        # All that is exchanged comes first: in a queue it would wait for the layer.
        inputs = [self._inputs(node, rows, *share) for share in shares]
        for (member, start, stop), own in zip(shares, inputs, strict=True):
            outputs = tuple(name and f"{name}@{member}" for name in node.outputs)
            for name, piece in zip(node.outputs, outputs, strict=True):
                if name:
                    self._types[piece] = self._of_rows(name, stop - start)
                    self._pieces.setdefault(name, []).append(_Piece(member, piece, start, stop))
            if rows.parts:
                for piece, (axis, first, last) in zip(outputs, rows.parts, strict=True):
                    self._slice(own[0], member, {axis: (first, last)}, piece)
                continue
            reach, padding = rows.reaches[0], (0, 0)
            if reach is not None:
                padding = reach.padding(start, stop, self._types[node.inputs[0]].shape[ROW_AXIS])
            context = self._context(node)
            made, inner = find(node.op).band(context, Band(f"@{member}", own, outputs, padding))
            self._types.update(inner)
            self._append(made, member, f"rows {start} to {stop} of {node.name}")

    def _inputs(self, node: Node, rows: Rows, member: str, start: int, stop: int) -> tuple[str, ...]:
        """The tensors with what a member has to see for its rows, on its device as far as they are made for it."""
        found = []
        for name, reach in zip(node.inputs, rows.reaches, strict=True):
            if reach is None:
                self._join(name)
                found.append(name)
            else:
                found.append(self._view(name, member, *reach.rows(start, stop, self._types[name].shape[ROW_AXIS])))
        return tuple(found)

    def _view(self, name: str, member: str, start: int, stop: int) -> str:
        """The rows ``start`` to ``stop`` of a tensor, where a member can see them all."""
        if name not in self._pieces or name in self._made:
            whole = start == 0 and stop == self._types[name].shape[ROW_AXIS]
            return name if whole else self._slice(name, member, {ROW_AXIS: (start, stop)})
        parts = []
        for piece in self._pieces[name]:
            first, last = max(start, piece.start), min(stop, piece.stop)
            if first < last:
                inside = first - piece.start, last - piece.start
                is_all = (first, last) == (piece.start, piece.stop)
                parts.append(piece.name if is_all else self._slice(piece.name, piece.device, {ROW_AXIS: inside}))
        if len(parts) == 1:
            return parts[0]
        result = f"{name}@{member}/{start}:{stop}"
        if result not in self._types:
            self._types[result] = self._of_rows(name, stop - start)
            self._concat(parts, result, member)
        return result

    def _join(self, name: str) -> None:
        """Bring all rows of a tensor together, under its name."""
        if name in self._pieces and name not in self._made:
            self._made.add(name)
            self._concat([piece.name for piece in self._pieces[name]], name, self._fastest)

    def _concat(self, parts: Sequence[str], result: str, device: str) -> None:
        node = concat_node(f"{result}/rows", ROW_AXIS, parts, result)
        self._append(node, device, f"brings the rows of {len(parts)} tensors together")

    def _slice(self, name: str, device: str, ranges: Ranges, result: str = "") -> str:
        """The part of a tensor in these ranges, on a device; called ``result`` if that is given."""
        if not result:
            result = piece_name(f"{name}@{device}", ranges)
            if result in self._types:
                return result
            self._types[result] = piece_type(self._types[name], ranges)
        self._append(slice_node(name, ranges, result), device, f"a part of '{name}'")
        return result

    def _append(self, node: Node, device: str, reason: str) -> None:
        self._nodes.append(node)
        self._assignments[node.name] = Assignment(node.name, device, reason)

    def _of_rows(self, name: str, count: int) -> TensorType:
        """The type of a tensor with so many rows of another one."""
        return piece_type(self._types[name], {ROW_AXIS: (0, count)})
