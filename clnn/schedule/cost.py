"""Predicting how long a node takes on a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clnn.devices.info import DeviceInfo
from clnn.graph import Node, TensorType
from clnn.ops import find

LAUNCH_MS = 0.003
"""Time to enqueue one small kernel; 2-3 µs on the CPU runtimes it was measured on."""


@dataclass(frozen=True)
class CostModel:
    """The roofline model: a node takes as long as its arithmetic or its memory traffic, whichever is longer.

    After Williams, Waterman and Patterson, "Roofline", CACM 2009. Rates are those of ``DeviceInfo``.
    """

    def node_ms(self, node: Node, types: Mapping[str, TensorType], device: DeviceInfo) -> float:
        """Predicted milliseconds of one node with static types; 0 when the device's rates are unknown."""
        op = find(node.op)
        if op is None or not (device.gflops and device.bandwidth_gbs):
            return 0.0
        cost = op.cost(node, types)
        return LAUNCH_MS + max(cost.flops / (device.gflops * 1e6), cost.bytes / (device.bandwidth_gbs * 1e6))
