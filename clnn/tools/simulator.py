"""Running a network in virtual time, on devices that are here or only described, by every policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from clnn import frontend, passes, plan, schedule
from clnn.devices import described, naming, platforms
from clnn.devices.info import DeviceInfo
from clnn.devices.model import MachineModel
from clnn.errors import NoDeviceError, UsageError
from clnn.feeds import NodeArg
from clnn.graph import Graph, extract
from clnn.plan import Host, Plan, Run
from clnn.plan.simulate import simulate
from clnn.planning import plan_graph
from clnn.runtime import calibration, modelling, selection
from clnn.schedule.timeline import Event, StageTimes, Timeline, run_batch, run_pipeline, summarise
from clnn.tools.inputs import bound_shapes

STREAMS = ("batch", "pipeline")
"""The policies for a stream of images."""


@dataclass(frozen=True)
class Machine:
    """The devices to plan for, and how fast these are, with all others that take power beside them."""

    infos: Sequence[DeviceInfo]
    model: MachineModel


@dataclass(frozen=True)
class Simulation:
    """What a policy makes of a network; ``host_nodes`` are computed by the host, in no time.

    ``moved_bytes`` go between the devices' kernels and their memories, for all images.
    """

    policy: str
    timeline: Timeline
    host_nodes: int
    moved_bytes: float

    @property
    def energy_j_per_image(self) -> float | None:
        """``None`` where the power of no device is known."""
        return self.timeline.energy_mj / 1e3 / self.timeline.images or None

    @property
    def memory_gbs(self) -> float:
        """What kernels move, 10^9 bytes per second, on average."""
        return self.moved_bytes / 1e6 / self.timeline.duration_ms if self.timeline.duration_ms else 0.0

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready figures."""
        timeline = self.timeline
        return {
            "policy": self.policy,
            "images": timeline.images,
            "latency_ms": timeline.latency_ms,
            "images_per_s": timeline.images_per_s,
            "energy_j_per_image": self.energy_j_per_image,
            "memory_gbs": self.memory_gbs,
            "utilisation": timeline.utilisation,
            "host_nodes": self.host_nodes,
        }


def simulate_network(
    model: str,
    dims: Mapping[str, int],
    devices: str | None = None,
    policy: str | None = None,
    platform: str | None = None,
    images: int = 1,
) -> list[Simulation]:
    """Simulate ``images`` inferences of ``model`` by ``policy``, or by each one that there is.

    A policy for one inference takes the images one after the other. Without ``policy``, the results are sorted: by
    latency for one image, by throughput for more. ``devices`` and ``platform`` are as for a session, but platforms may
    be described; devices that are here are measured first if they never were.

    Raises:
        ModelError, OutOfMemoryError: as when the network is loaded on such devices.
        NoDeviceError: a device does not exist.
        UsageError: a policy, platform or dimension does not exist, or ``policy`` needs more images.
    """
    names = _policies(policy, images)
    graph = frontend.load(model)
    shapes = bound_shapes([NodeArg.of(name, graph.types[name]) for name in graph.inputs], dims)
    machine = find_machine(devices, platform)
    if policy is None and len(machine.infos) == 1:
        names = ["single"]  # what all others come to
    found = [_simulate(name, graph, shapes, machine, images) for name in names]
    return sorted(found, key=lambda each: each.timeline.duration_ms)


def _policies(policy: str | None, images: int) -> Sequence[str]:
    known = schedule.policies()
    if policy is None:
        return [name for name in known if images > 1 or name not in STREAMS]
    if policy not in known:
        raise UsageError(f"policy '{policy}' does not exist; choose one of {', '.join(known)}")
    if policy in STREAMS and images == 1:
        raise UsageError(f"policy {policy} is for several images; say how many with --images")
    return [policy]


def find_machine(devices: str | None, platform: str | None) -> Machine:
    """The machine that a platform describes, or that consists of devices of this one."""
    name, file = selection.platform(platform)
    entry = platforms.pick(name, file)
    if entry is None or not entry.described:
        links = described.links_by_ends(entry.links) if entry else {}
        opened = selection.select(devices, platform)
        measured = modelling.machine(opened, measure_missing=True)
        # Of an isolated device there are only the two figures.
        infos = [each.info if each.info.id in measured.devices else calibration.measure(each) for each in opened]
        models = {info.id: measured.model(info) for info in infos}
        return Machine(infos, MachineModel(models, {**measured.links, **links}, measured.crowded))
    chosen = entry.pick(naming.split(devices) if devices else [])
    if chosen is None:
        there = ", ".join(device.id for device in entry.devices)
        raise NoDeviceError(f"platform '{name}' does not describe all of the devices '{devices}'; there are {there}")
    model = described.machine({device.id: device.describe for device in entry.devices}, entry.links)
    return Machine([device.describe.info(device.id) for device in chosen], model)


def _simulate(
    policy: str, graph: Graph, shapes: Mapping[str, tuple[int, ...]], machine: Machine, images: int
) -> Simulation:
    if policy in STREAMS:
        if len(machine.infos) > 1:
            machine = replace(machine, model=machine.model.at_once)
        simulate_stream = _simulate_batch if policy == "batch" else _simulate_pipeline
        plans, events = simulate_stream(graph, shapes, machine, images)
        # In a pipeline every image passes all stages, in a batch one of the devices.
        moved_bytes = sum(
            _moved_bytes(each) * (images if policy == "pipeline" else _images(events, each.used_devices))
            for each in plans
        )
        timeline = summarise(events, machine.model, images)
        return Simulation(policy, timeline, max(map(_host_nodes, plans)), moved_bytes)
    planned = plan_graph(graph, shapes, machine.infos, policy, machine=machine.model)
    timeline = simulate(planned, machine.model)
    if images > 1:
        timeline = summarise(_one_by_one(timeline, images), machine.model, images)
    return Simulation(policy, timeline, _host_nodes(planned), images * _moved_bytes(planned))


def _simulate_batch(
    graph: Graph, shapes: Mapping[str, tuple[int, ...]], machine: Machine, images: int
) -> tuple[Sequence[Plan], Sequence[Event]]:
    plans = {info.id: plan_graph(graph, shapes, [info], machine=machine.model) for info in machine.infos}
    alone = {device: simulate(planned, machine.model).events for device, planned in plans.items()}
    return list(plans.values()), run_batch(alone, images, schedule.should_take)


def _simulate_pipeline(
    graph: Graph, shapes: Mapping[str, tuple[int, ...]], machine: Machine, images: int
) -> tuple[Sequence[Plan], Sequence[Event]]:
    """Stages hand over on the host, whose copies are steps of their plans."""
    graph, costs = passes.run(passes.bind(graph, shapes)), schedule.CostModel(machine.model)
    infos = {info.id: info for info in machine.infos}

    def build_stages(streamed: schedule.StreamPlan) -> list[Plan]:
        return [
            plan.plan_alone(extract(graph, stage.start, stage.stop), infos[stage.device], costs.machine)
            for stage in streamed.stages
        ]

    def stage_ms(plans: Sequence[Plan]) -> list[float]:
        return [simulate(each, machine.model).duration_ms for each in plans]

    streamed, plans = schedule.balance(graph, machine.infos, costs, build_stages, stage_ms)
    devices = [stage.device for stage in streamed.stages]
    times = [StageTimes(device, ms) for device, ms in zip(devices, stage_ms(plans), strict=True)]
    return plans, run_pipeline(times, images, streamed.queue_depth)


def _one_by_one(timeline: Timeline, images: int) -> list[Event]:
    return [
        event.delayed(image * timeline.duration_ms, image) for image in range(images) for event in timeline.events
    ]


def _moved_bytes(planned: Plan) -> float:
    """What the kernels of a plan read and write."""
    return sum(step.work.bytes for step in planned.steps if isinstance(step, Run) and step.work is not None)


def _images(events: Sequence[Event], devices: Sequence[str]) -> int:
    """How many images these devices worked on."""
    return len({event.image for event in events if event.track in devices})


def _host_nodes(planned: Plan) -> int:
    return sum(isinstance(step, Host) for step in planned.steps)
