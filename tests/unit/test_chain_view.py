"""What is told of chains: table, JSON and picture, of plans for a made-up device."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from clnn.plan.draw_bands import bands_to_svg
from clnn.plan.table import as_dict, as_text
from clnn.plan.traffic import chain_traffic_bytes
from tests.unit.test_bands import plan_of, tiny_yolo


@pytest.fixture(scope="module")
def plan():
    return plan_of(tiny_yolo(256), "on")


def test_a_chain_as_data(plan):
    data = as_dict(plan)
    for record, chain in zip(data["chains"], plan.lowered.chains, strict=True):
        assert record["nodes"] == chain.nodes
        assert record["traffic_bytes"] == chain_traffic_bytes(chain, plan.lowered)
        assert record["banded"]["traffic_bytes"] == pytest.approx(record["traffic_bytes"], rel=0.25)
        assert record["banded"]["arena_bytes"] < record["layered"]["arena_bytes"]
    assert sum(arena["bytes"] for arena in data["arenas"].values()) == pytest.approx(
        max(record["banded"]["arena_bytes"] for record in data["chains"]), rel=0.25
    )


def test_the_bands_of_a_layer_are_one_row(plan):
    layers = as_dict(plan)["layers"]
    names = [layer["layer"] for layer in layers]
    chained = [name for chain in plan.lowered.chains for name in chain.nodes]
    assert len(names) == len(set(names)) < len(plan.graph.nodes)
    assert set(chained) <= set(names)
    whole = {layer["layer"]: layer for layer in as_dict(plan_of(tiny_yolo(256), "off"))["layers"]}
    for layer in layers:
        if layer["layer"] in chained and layer["op"] == "Conv":
            assert layer["flops"] == whole[layer["layer"]]["flops"]
            assert layer["output"] == whole[layer["layer"]]["output"]


def test_a_chain_as_text(plan):
    text = as_text(plan)
    for number, chain in enumerate(plan.lowered.chains, 1):
        assert f"chain {number} on cpu0: {chain.nodes[0]} to {chain.nodes[-1]}" in text
        assert f"in {chain.bands} bands of {chain.rows} rows" in text
    assert "no chains: the largest tensor has" in as_text(plan_of(tiny_yolo(64), "auto"))


def test_a_chain_as_a_picture(plan):
    chain = plan.lowered.chains[0]
    root = ElementTree.fromstring(bands_to_svg(chain, 2))
    boxes = [each for each in root if each.get("class") == "box"]
    bands = sum(
        start < stop
        for name in chain.schedule.ends
        for start, stop in (chain.schedule.computed(name, band) for band in range(chain.bands))
    )
    assert len(boxes) == bands
