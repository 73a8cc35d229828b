"""Writing a network for an FPGA board: kernels, host plan, weights and an estimate of what it takes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from clnn import frontend
from clnn.devices import described, platforms
from clnn.devices.described import Board, Description
from clnn.devices.info import DeviceInfo
from clnn.devices.model import MachineModel
from clnn.devices.resources import Resources, taken
from clnn.devices.units import Units
from clnn.errors import InputError, UnsupportedError, UsageError
from clnn.feeds import NodeArg
from clnn.graph import Node, TensorType
from clnn.kernels import Launch, source, stages
from clnn.ops import LowerContext
from clnn.ops.dataflow import OP, read_chain
from clnn.plan import Copy, Host, Plan
from clnn.plan.exported import (
    FORMAT,
    KERNELS,
    PLAN,
    WEIGHTS,
    CopyStep,
    Exported,
    LaunchStep,
    Tensor,
    argument,
)
from clnn.plan.simulate import simulate
from clnn.planning import plan_graph
from clnn.runtime import selection
from clnn.schedule import HOST
from clnn.tools.inputs import bound_shapes

DEVICE = "fpga0"


@dataclass(frozen=True)
class Estimate:
    """What a network takes of a board, and what it is predicted to do there; nothing of it was measured.

    ``used`` and ``available`` are of the kernels, ``external_gbs`` what they move, on average over ``latency_ms``.
    ``ordinary`` are the layers that no stage computes, with the reasons.
    """

    used: Resources
    available: Resources
    latency_ms: float
    external_gbs: float
    bandwidth_gbs: float
    ordinary: Mapping[str, str]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready figures."""
        return {
            "dsps": self.used.dsps, "dsps_available": self.available.dsps,
            "memory_blocks": self.used.memory_blocks, "memory_blocks_available": self.available.memory_blocks,
            "on_chip_bytes": self.used.memory_bytes,
            "latency_ms": self.latency_ms, "external_gbs": self.external_gbs, "bandwidth_gbs": self.bandwidth_gbs,
            "ordinary_layers": dict(self.ordinary),
        }  # fmt: skip


def export_fpga(
    model: str, out: str | os.PathLike[str], board: str, dims: Mapping[str, int], file: str | None = None
) -> Exported:
    """Write ``model`` for the board that the entry ``board`` of platforms.yaml describes into the folder ``out``.

    Raises:
        UsageError: the entry describes no board.
        UnsupportedError: a layer has no OpenCL kernel.
        InputError: the folder cannot be written.
    """
    description, links = _board(board, file)
    graph = frontend.load(model)
    shapes = bound_shapes([NodeArg.of(name, graph.types[name]) for name in graph.inputs], dims)
    machine = described.machine({DEVICE: description}, links)
    plan = plan_graph(graph, shapes, [description.info(DEVICE)], machine=machine)
    host = next((step.node for step in plan.steps if isinstance(step, Host)), None)
    if host is not None:
        reason = plan.schedule.assignments[host.name].reason
        raise UnsupportedError(f"{host} cannot be exported: {reason}; cut the model before it")
    exported = _Writer(plan, description.board).exported(Path(model).name, board, _estimate(plan, description, machine))
    _write(Path(out), exported, plan, description.board)
    return exported


def _board(name: str, file: str | None) -> tuple[Description, list]:
    entry = platforms.pick(name, selection.platform(file)[1] if file else None)
    found = [device.describe for device in entry.devices if device.describe and device.describe.board]
    if len(entry.devices) != 1 or not found:
        raise UsageError(
            f"board '{name}' is not a platform of one FPGA board; choose arria10 or stratix10, or describe yours"
        )
    links = [link.model_copy(update={"between": _renamed(link.between, entry.devices[0].id)}) for link in entry.links]
    return found[0], links


def _renamed(ends: list[str] | None, device: str) -> list[str] | None:
    return [DEVICE if end == device else end for end in ends] if ends else None


def _estimate(plan: Plan, description: Description, machine: MachineModel) -> Estimate:
    latency_ms = simulate(plan, machine).duration_ms
    moved = sum(step.work.bytes for step in plan.steps if getattr(step, "work", None))
    board = description.board
    ordinary = {
        node.name: plan.schedule.assignments[node.name].reason.rpartition("an ordinary kernel: ")[2]
        for node in plan.graph.nodes
        if node.op != OP and plan.lowered.lowered[node.name].launches
    }
    return Estimate(taken(board.units), board.available, latency_ms, moved / 1e6 / latency_ms,
                    description.bandwidth_gbs, ordinary)


class _Writer:
    """Makes plan.json of a plan for a board."""

    def __init__(self, plan: Plan, board: Board) -> None:
        self.plan = plan
        self.units: Units = board.units
        self.fifos: dict[str, int] = {}
        self.scratch: dict[str, int] = {}

    def exported(self, model: str, board: str, estimate: Estimate) -> Exported:
        """All of it."""
        graph, outputs = self.plan.graph, self.plan.lowered.outputs
        (arena,) = self.plan.arenas.values()
        steps = self._steps()
        types = graph.types
        return Exported(
            format=FORMAT, model=model, board=board, width=self.units.width, lanes=self.units.lanes,
            options=_options(self.plan, self.units),
            inputs=[_tensor(name, name, types[name]) for name in graph.inputs],
            outputs=[_tensor(name, tensor, types[tensor]) for name, tensor in outputs.items()],
            memory_bytes=arena.nbytes,
            memory={name: [place.offset, place.nbytes] for name, place in arena.offsets.items()},
            scratch=self.scratch, fifos=self.fifos, steps=steps, estimate=estimate.as_dict(),
        )  # fmt: skip

    def _steps(self) -> list[LaunchStep | CopyStep]:
        """Copies as planned; the launches of each node where its first one is."""
        nodes, done, steps = {node.name: node for node in self.plan.graph.nodes}, set(), []
        for step in self.plan.steps:
            if isinstance(step, Copy):
                steps.append(CopyStep(copy="write" if step.source == HOST else "read", tensor=step.tensor))
            elif step.node not in done:
                done.add(step.node)
                steps += [_launch(step.node, launch) for launch in self._launches(nodes[step.node])]
        return steps

    def _launches(self, node: Node) -> tuple[Launch, ...]:
        """Those of a node, of a chain in a form that needs no board: line buffers in memory, FIFOs that hold all."""
        if node.op != OP:
            return self.plan.lowered.lowered[node.name].launches
        device = DeviceInfo(DEVICE, units=self.units)
        chain, _ = read_chain(LowerContext(node, self.plan.graph.types, self.plan.graph.constants, device))
        scheduled = stages.prove(chain, self.units)
        depths = {stage.output: stage.packets_out for stage in scheduled.stages if stage.output}
        self.fifos |= depths
        here = replace(self.units, transport="pipe", prebuilt=False, line_packets=0, weight_steps=0)
        whole = replace(scheduled, depths=depths)
        self.scratch |= stages.scratch(whole, here)
        return stages.launches(whole, here)


def _tensor(name: str, tensor: str, kind: TensorType) -> Tensor:
    return Tensor(name=name, tensor=tensor, shape=list(kind.shape), dtype=kind.dtype)


def _launch(node: str, launch: Launch) -> LaunchStep:
    return LaunchStep(
        node=node, kernel=launch.kernel.name, source=launch.kernel.source, params=dict(launch.params),
        args=[argument(arg) for arg in launch.args], global_size=list(launch.global_size),
        local_size=list(launch.local_size) if launch.local_size else None,
    )  # fmt: skip


def _options(plan: Plan, units: Units) -> list[str]:
    """Compiler options of the stages for the board."""
    kinds = {part.attrs["activation"].kind for node in plan.graph.nodes if node.op == OP
             for part in node.attrs["stages"] if "activation" in part.attrs}  # fmt: skip
    values = {"TRANSPORT": "CHANNEL", "WIDTH": units.width, "LANES": units.lanes, "DEPTH": units.fifo_packets,
              "LINE_PACKETS": units.line_packets, "WEIGHT_STEPS": units.weight_steps,
              "EXPONENTIALS": int(bool(kinds & stages.EXPONENTIAL))}  # fmt: skip
    return [f"-D{name}={value}" for name, value in values.items()]


def _write(folder: Path, exported: Exported, plan: Plan, board: Board) -> None:
    try:
        (folder / KERNELS).mkdir(parents=True, exist_ok=True)
        text = json.dumps(exported.model_dump(by_alias=True, exclude_none=True), indent=1)
        (folder / PLAN).write_text(text + "\n", "utf-8")
        arrays = {name: array for held in plan.constants.values() for name, array in held.items()}
        np.savez(folder / WEIGHTS, **arrays)
        for name in {step.source for step in exported.steps if isinstance(step, LaunchStep)}:
            (folder / KERNELS / name).write_text(source.read(name), "utf-8")
        (folder / "README.md").write_text(_readme(exported, board), "utf-8")
    except OSError as error:
        raise InputError(f"'{folder}' cannot be written: {error.strerror}; choose another --out") from error


def _readme(exported: Exported, board: Board) -> str:
    estimate = exported.estimate
    others = "\n".join(f"- {name}: {reason}" for name, reason in estimate["ordinary_layers"].items()) or "- none"
    return f"""# {exported.model} for {exported.board}

Written by `clnn export`. Untested on hardware: no FPGA compiler and no board were at hand. The kernels were compiled,
and this form of them was run, on CPU devices.

Compile the stages with Intel's FPGA SDK for OpenCL, for the board that your support package names:

    aoc -board=BOARD -fp-relaxed {' '.join(exported.options)} kernels/stages.cl -o stages.aocx

Estimate, at {board.clock_mhz:g} MHz: {estimate["dsps"]} of {estimate["dsps_available"]} DSPs, \
{estimate["memory_blocks"]} of {estimate["memory_blocks_available"]} memory blocks \
({estimate["on_chip_bytes"] / 1e6:.1f} MB), {estimate["external_gbs"]:.1f} of {estimate["bandwidth_gbs"]:g} GB/s of
external memory, {estimate["latency_ms"]:.1f} ms per inference. Logic is not estimated.

- `plan.json`: buffers, and the steps in order, each with all arguments; those called "fifo" are channels on the board,
  where they are no arguments. The stages of one "node" are launched once each, in queues of their own, and run at once.
  Buffers in "scratch" are line buffers, which the board has on chip: pass null.
- `weights.npz`: the constants, as they lie in memory.
- `kernels/`: the sources, without includes.

Layers that no stage computes, by ordinary kernels; their options are in plan.json, and they have to be compiled too:

{others}

Without the board: `clnn.runtime.exported.ExportedNetwork(FOLDER, "pocl").run(feeds)`.
"""
