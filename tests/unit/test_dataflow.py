"""Static schedules of chains: every one that is proven can be carried out, and nothing else is taken for proven."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from clnn import plan, schedule
from clnn.devices.info import DeviceInfo
from clnn.devices.units import Units
from clnn.kernels import Launch, stages
from clnn.kernels.dataflow import MIN_BANDS, Firing, Stage, flaw, free_running_flaw
from clnn.kernels.dataflow import schedule as cut
from clnn.kernels.stages import Scheduled, rows_kept
from clnn.kernels.window import Window
from tests.chains import MANY_CHAINS, RandomChain


def proven(seed: int, units: Units) -> Scheduled | None:
    """The chain of a random seed as it was proven, ``None`` where it was not."""
    found, launches = [], stages.launches

    def note(whole: Scheduled, units: Units) -> tuple[Launch, ...]:
        found.append(whole)
        return launches(whole, units)

    chain = RandomChain(seed)
    device = DeviceInfo("fpga0", units=units, gflops=1.0, bandwidth_gbs=1.0)
    scheduled = schedule.find_policy("single")(chain.graph, [device], schedule.CostModel())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clnn.ops.dataflow.launches", note)
        plan.lower(chain.graph, scheduled, [device])
    return found[-1] if found else None


class Jam(Exception):
    """A stage took what was not there, gave what had no room, or computed from rows that were overwritten."""


class Machine:
    """Carries packets through the stages one by one, each marked with its number."""

    def __init__(self, whole: Sequence[Stage], depths: Mapping[str, int]) -> None:
        self.fifos: dict[str, deque[int]] = {name: deque() for name in depths}
        self.depths = depths
        self.moves = 0
        self.stages = {stage.name: stage for stage in whole}
        self.lines: dict[str, dict[int, int]] = {stage.name: {} for stage in whole}

    def work(self, firing: Firing, blocks: bool = False) -> Iterator[None]:
        """What a launch does; where it has to wait it yields, or jams unless it ``blocks``."""
        stage, taken = self.stages[firing.stage], firing.first_in
        if not 0 <= firing.first_out <= firing.last_out <= stage.items:
            raise Jam(f"{stage.name} has no such items")
        for item in range(firing.first_out, firing.last_out):
            while taken < stage.needed(item):
                yield from self._take(stage, taken, blocks)
                taken += 1
            self._look(stage, item)
            for packet in range(stage.packets_per_item):
                while len(self.fifos[stage.output]) >= self.depths[stage.output]:
                    yield from self._wait(blocks, f"'{stage.output}' is full")
                self.fifos[stage.output].append(item * stage.packets_per_item + packet)
                self.moves += 1
        if taken > firing.last_in:
            raise Jam(f"{stage.name} took more than it was launched for")
        for number in range(taken, firing.last_in):
            yield from self._take(stage, number, blocks)

    @staticmethod
    def _wait(blocks: bool, why: str) -> Iterator[None]:
        if not blocks:
            raise Jam(why)
        yield

    def _take(self, stage: Stage, number: int, blocks: bool) -> Iterator[None]:
        self.moves += 1
        for name in stage.inputs:
            while not self.fifos[name]:
                yield from self._wait(blocks, f"'{name}' is empty")
            if self.fifos[name].popleft() != number:
                raise Jam(f"{stage.name} took another packet than it should have")
        if stage.window:
            in_pass = stage.pixels * stage.vectors
            ring = rows_kept(stage.window) * stage.window.width * stage.vectors
            self.lines[stage.name][number % in_pass % ring] = number

    def _look(self, stage: Stage, item: int) -> None:
        """See that all packets under the window of an item are in the line buffer."""
        if not stage.window:
            return
        window, vectors, in_pass = stage.window, stage.vectors, stage.pixels * stage.vectors
        done, rest = divmod(item, window.out_height * window.out_width)
        oy, ox = divmod(rest, window.out_width)
        ring = rows_kept(window) * window.width * vectors
        for kh in range(window.kernel_h):
            for kw in range(window.kernel_w):
                h = oy * window.stride_h - window.pad_top + kh * window.dilation_h
                w = ox * window.stride_w - window.pad_left + kw * window.dilation_w
                if 0 <= h < window.height and 0 <= w < window.width:
                    number = (h * window.width + w) * vectors
                    if self.lines[stage.name].get(number % ring) != done * in_pass + number:
                        raise Jam(f"{stage.name} computes from a row that is not there")


def carried_out(whole: Sequence[Stage], depths: Mapping[str, int], firings: Sequence[Firing]) -> bool:
    """Whether launches that follow one another get all packets through."""
    machine = Machine(whole, depths)
    try:
        for firing in firings:
            deque(machine.work(firing), maxlen=0)
    except Jam:
        return False
    ends = {firing.stage: (firing.last_in, firing.last_out) for firing in firings}
    return all(ends.get(each.name) == (each.packets_in, each.items) for each in whole) and not any(
        machine.fifos.values()
    )


def runs_free(whole: Sequence[Stage], depths: Mapping[str, int]) -> bool:
    """Whether stages that run at once, and block, get all packets through; the watchdog ends what no longer moves."""
    machine = Machine(whole, depths)
    working = [machine.work(Firing(each.name, 0, each.packets_in, 0, each.items), blocks=True) for each in whole]
    while working:
        before = machine.moves
        left = [process for process in working if next(process, "done") is None]
        if len(left) == len(working) and machine.moves == before:
            return False
        working = left
    return True


def units_of(random: np.random.Generator) -> Units:
    width, lanes = ((4, 16), (8, 32), (16, 32))[random.integers(3)]
    return Units("buffer", width, lanes, fifo_packets=int(random.choice([4, 9, 64, 2048])))


def mutated(random: np.random.Generator, firings: tuple[Firing, ...]) -> tuple[Firing, ...]:
    """A schedule with one mistake, or perhaps none."""
    changed, at = list(firings), int(random.integers(len(firings)))
    match random.integers(4):
        case 0:
            del changed[at]
        case 1:
            other = int(random.integers(len(firings)))
            changed[at], changed[other] = changed[other], changed[at]
        case 2:
            shift = int(random.choice([-2, -1, 1, 2]))
            changed[at] = replace(changed[at], last_in=changed[at].last_in + shift)
        case 3:
            shift = int(random.choice([-2, -1, 1, 2]))
            later = next((i for i in range(at + 1, len(changed)) if changed[i].stage == changed[at].stage), None)
            changed[at] = replace(changed[at], last_out=changed[at].last_out + shift)
            if later is not None:
                changed[later] = replace(changed[later], first_out=changed[later].first_out + shift)
    return tuple(changed)


CAUTION = ("may overwrite", "fewer than", "goes backwards")
"""What the check refuses although it may go well."""


def agree(seed: int) -> bool:
    """Check the proof of a random chain, and of faulty schedules of it, against the machine; whether it was proven."""
    random = np.random.default_rng(seed)
    whole = proven(seed, units_of(random))
    if whole is None:
        return False
    assert flaw(whole.stages, whole.depths, whole.firings) is None
    assert carried_out(whole.stages, whole.depths, whole.firings)
    for _ in range(4):
        wrong = mutated(random, whole.firings)
        depths = {name: max(1, depth - int(random.integers(2))) for name, depth in whole.depths.items()}
        told = flaw(whole.stages, depths, wrong)
        assert carried_out(whole.stages, depths, wrong) == (told is None) or any(word in told for word in CAUTION)
    shallow = {name: int(random.integers(1, 4)) for name in whole.depths}
    assert free_running_flaw(whole.stages, shallow) is None
    assert runs_free(whole.stages, shallow)
    return True


@pytest.mark.parametrize("block", range(4))
def test_check_and_machine_agree(block):
    assert sum(agree(seed) for seed in range(20 * block, 20 * (block + 1))) > 5


@pytest.mark.slow
@pytest.mark.parametrize("block", range(MANY_CHAINS // 100))
def test_check_and_machine_agree_on_many_chains(block):
    for seed in range(1000 + 100 * block, 1100 + 100 * block):
        agree(seed)


@pytest.mark.parametrize("seed", range(40))
def test_fifos_hold_at_most_a_quarter_and_stages_run_in_bands(seed):
    whole = proven(seed, Units())
    if whole is None:
        pytest.skip("this chain is too small for stages")
    chain = whole.chain
    replaced = {"data": chain.source.nbytes, "results": chain.target.nbytes,
                "sums": chain.product_bytes if chain.product else chain.source.nbytes,
                "residual": chain.residual.nbytes if chain.residual else 0}  # fmt: skip
    for name, depth in whole.depths.items():
        assert depth * 4 * Units().width <= replaced[name.rpartition("/")[2]] / MIN_BANDS
    for stage in whole.stages:
        assert sum(firing.stage == stage.name for firing in whole.firings) >= MIN_BANDS




def test_a_stage_that_gives_more_at_once_than_fits_gets_stuck():
    whole = (
        Stage("read", (), "a", 1, 8, 1, 1),
        Stage("gemm", ("a",), "b", 1, 8, 1, 4, Window(1, 1, 8, 1, 8)),
        Stage("write", ("b",), "", 1, 8, 4, 1),
    )
    assert cut(whole, {"a": 2, "b": 3}) == "stage read would get stuck after 0 of 0 packets"
    assert isinstance(cut(whole, {"a": 2, "b": 4}), tuple)


def test_a_cycle_is_not_run_free():
    whole = (Stage("one", ("b",), "a", 1, 8, 1, 1), Stage("two", ("a",), "b", 1, 8, 1, 1))
    assert free_running_flaw(whole, {"a": 4, "b": 4}) == "stage two gives to one, which comes before it"


def test_a_fifo_has_one_reader():
    whole = (Stage("read", (), "a", 1, 8, 1, 1), Stage("write", ("a",), "", 1, 8, 1, 1))
    more = (*whole, replace(whole[1], name="write again"))
    assert free_running_flaw(whole, {"a": 4}) is None
    assert free_running_flaw(more, {"a": 4}) == "FIFO 'a' is written by 1 stages and read by 2"
