"""The stage kernels of FPGA-style devices, and the launches of a chain of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from clnn.devices.units import Units
from clnn.kernels.activation import ACTIVATIONS, NO_ACTIVATION, Activation
from clnn.kernels.dataflow import Firing, Stage, flaw, free_running_flaw, most_depth, schedule
from clnn.kernels.kernel import Arg, Constraint, Kernel, Launch, Param, Pipe
from clnn.kernels.window import Window

OPERATIONS = ("COPY", "MAX", "AVERAGE", "DEPTHWISE")
"""What becomes of a window in the unit for miscellaneous layers; the kernel knows them by their place here."""

_ON_ARRIVAL, _ON_RESULT = 0, 1
_PLACES = {"NONE": 0, "BEFORE": 1, "AFTER": 2}
EXPONENTIAL = {"SIGMOID", "SILU", "TANH"}
"""Activations that the stages have only if they are built with EXPONENTIALS."""
_SIZES = (0, *(1 << power for power in range(4, 17)))

_PARAMS = (
    Param("TRANSPORT", "BUFFER", ("BUFFER", "PIPE", "CHANNEL"), "how packets are handed on"),
    Param("CHANNEL_SHIM", 0, (0, 1), "whether channels are mapped to pipes"),
    Param("WIDTH", 16, (4, 8, 16), "float32 lanes of a packet"),
    Param("LANES", 64, (16, 32, 64, 128, 256), "output channels that the GEMM unit computes at once"),
    Param("LINE_PACKETS", 0, _SIZES, "packets of a line buffer on chip; 0: in memory"),
    Param("WEIGHT_STEPS", 0, _SIZES, "packets of input whose weights are held on chip; 0: none"),
)
_RULES = (Constraint(lambda values: values["LANES"] % values["WIDTH"] == 0, "LANES is a multiple of WIDTH"),)


def _kernel(name: str) -> Kernel:
    return Kernel(name, SOURCE, _PARAMS, _RULES)


SOURCE = "stages.cl"
KERNELS = {name: _kernel(name) for name in ("read", "read_residual", "gemm", "misc", "write")}
"""By name; all are built from one source with one choice of parameters, so that a device needs one program."""


@dataclass(frozen=True)
class Stream:
    """A tensor as it is read or written packet by packet: passes x height x width x vectors.

    Element (n, c, h, w) lies at ``offset`` and the ``strides`` times its indices. Which channels the passes carry say
    ``span``, ``outer``, ``inner`` and ``depth``, see ``opencl/stages.cl``. ``nbytes`` are those of the whole tensor.
    """

    name: str
    offset: int
    strides: tuple[int, int, int, int]
    batch: int
    height: int
    width: int
    vectors: int
    span: int
    outer: int
    inner: int
    depth: int
    nbytes: int

    @property
    def args(self) -> tuple[int, ...]:
        """What the kernels take of it."""
        return (self.offset, *self.strides, self.batch, self.height, self.width, self.vectors,
                self.span, self.outer, self.inner, self.depth)  # fmt: skip

    @property
    def packets(self) -> int:
        """Packets of one pass."""
        return self.height * self.width * self.vectors


@dataclass(frozen=True)
class Misc:
    """What the unit for miscellaneous layers does; the strings name constants.

    Bias, residual (``place``: NONE, BEFORE or AFTER the activation) and activation apply to the packets that come, or
    to the results of a depthwise window. COPY has no window. ``pad_bottom``, ``pad_right`` and ``count_padding`` are
    those of an average.
    """

    window: Window | None = None
    operation: str = "COPY"
    weights: str | None = None
    bias: str | None = None
    slope: str | None = None
    activation: Activation = NO_ACTIVATION
    place: str = "NONE"
    pad_bottom: int = 0
    pad_right: int = 0
    count_padding: bool = False


@dataclass(frozen=True)
class Chain:
    """Layers that one pass through the units computes.

    Attributes:
        name: prefix of the names of its FIFOs and line buffers.
        groups: how often the pictures pass through, each time for other channels.
        product: the window of a convolution or product, ``None`` where there is none, and ``weights`` its constant.
        product_bytes: of the tensor that the product gives.
    """

    name: str
    source: Stream
    target: Stream
    groups: int
    misc: Misc
    product: Window | None = None
    weights: str | None = None
    product_bytes: int = 0
    residual: Stream | None = None

    @property
    def passes(self) -> int:
        return self.groups * self.source.batch

    @property
    def steps(self) -> int:
        """Packets of input that a pixel of the product is computed from."""
        return self.product.taps * self.source.vectors if self.product else 0

    def lines(self) -> dict[str, int]:
        """Packets of the line buffer of each unit that has one: the rows that its window sees."""
        vectors = {"gemm": self.source.vectors, "misc": self.target.vectors}
        windows = {"gemm": self.product, "misc": self.misc.window}
        return {
            unit: rows_kept(window) * window.width * vectors[unit] for unit, window in windows.items() if window
        }

    def _fifo(self, name: str) -> str:
        return f"{self.name}/{name}"

    def stages(self, through_gemm: bool = False) -> tuple[Stage, ...]:
        """The stages in the order of the data; ``through_gemm`` has packets pass the GEMM unit without a product."""
        source, target, passes = self.source, self.target, self.passes
        data, sums, results = (self._fifo(name) for name in ("data", "sums", "results"))
        pixels, vectors = source.height * source.width, target.vectors
        has_gemm = self.product is not None or through_gemm
        first = data if has_gemm else sums
        stages = [Stage("read", (), first, passes, pixels, source.vectors, 1)]
        if has_gemm:
            stages.append(Stage("gemm", (data,), sums, passes, pixels, source.vectors, vectors, self.product))
        joined = (sums,)
        if self.residual:
            added = self._fifo("residual")
            joined = (sums, added)
            stages.append(
                Stage("read_residual", (), added, passes, self.residual.height * self.residual.width, vectors, 1)
            )
        product = self.product
        pixels = product.out_height * product.out_width if product else pixels
        stages += [
            Stage("misc", joined, results, passes, pixels, vectors, vectors, self.misc.window),
            Stage("write", (results,), "", passes, target.height * target.width, vectors, 1),
        ]
        return tuple(stages)

    def depths(self, units: Units, stages: tuple[Stage, ...]) -> dict[str, int] | str:
        """Packets that each FIFO is to hold, at most a part in ``MIN_BANDS`` of the tensor that it replaces.

        A reason instead, where that is not enough for what a stage gives at once.
        """
        replaced = {
            "data": self.source.nbytes,
            "sums": self.product_bytes if self.product else self.source.nbytes,
            "residual": self.residual.nbytes if self.residual else 0,
            "results": self.target.nbytes,
        }
        found = {}
        for stage in stages:
            if stage.output:
                kind = stage.output.removeprefix(f"{self.name}/")
                limit = most_depth(replaced[kind], 4 * units.width)
                # Stages that run at once write packet by packet; a launch does not end within a pixel.
                least = 1 if units.concurrent else stage.packets_per_item
                if limit < least:
                    return f"FIFO '{kind}' needs {least} packets, a quarter of the tensor that it replaces has {limit}"
                found[stage.output] = min(limit, units.fifo_packets)
        return found


def rows_kept(window: Window) -> int:
    """Rows that a line buffer holds: those that a window sees."""
    return min((window.kernel_h - 1) * window.dilation_h + 1, window.height)


@dataclass(frozen=True)
class Scheduled:
    """A chain that was proven to run to its end: its stages, the depth of each FIFO, and the launches."""

    chain: Chain
    stages: tuple[Stage, ...]
    depths: Mapping[str, int]
    firings: tuple[Firing, ...]


def prove(chain: Chain, units: Units) -> Scheduled | str:
    """How a chain runs on these units; or why it is not certain that it could."""
    too_long = next((unit for unit, packets in chain.lines().items() if packets > units.line_packets), None)
    if units.line_packets and too_long:
        return (f"the line buffer of {too_long} would take {chain.lines()[too_long]} packets, "
                f"{units.line_packets} are on chip")
    stages = chain.stages(through_gemm=units.transport == "channel")
    depths = chain.depths(units, stages)
    if isinstance(depths, str):
        return depths
    if units.concurrent:
        told = free_running_flaw(stages, depths)
        whole = tuple(Firing(stage.name, 0, stage.packets_in, 0, stage.items) for stage in stages)
        return told or Scheduled(chain, stages, depths, whole)
    firings = _cut(stages, tuple(depths.items()))
    return firings if isinstance(firings, str) else Scheduled(chain, stages, depths, firings)


@lru_cache(maxsize=1024)
def _cut(stages: tuple[Stage, ...], depths: tuple[tuple[str, int], ...]) -> tuple[Firing, ...] | str:
    """A schedule that was checked; a network has many chains of the same shapes."""
    firings = schedule(stages, dict(depths))
    return firings if isinstance(firings, str) else flaw(stages, dict(depths), firings) or firings


def launches(scheduled: Scheduled, units: Units) -> tuple[Launch, ...]:
    """The launches of a chain, in order."""
    builder = _Launches(scheduled, units)
    return tuple(map(builder.launch, scheduled.firings))


def scratch(scheduled: Scheduled, units: Units) -> dict[str, int]:
    """Bytes of the rings and line buffers that a chain keeps in memory."""
    rings = scheduled.depths if units.transport == "buffer" else {}
    lines = {} if units.line_packets else scheduled.chain.lines()
    packets = {**rings, **{_lines_name(scheduled.chain, unit): count for unit, count in lines.items()}}
    return {name: 4 * units.width * count for name, count in packets.items()}


def _lines_name(chain: Chain, unit: str) -> str:
    return f"{chain.name}/{unit} lines"


class _Launches:
    """Turns firings into launches."""

    def __init__(self, scheduled: Scheduled, units: Units) -> None:
        self.chain = scheduled.chain
        self.depths = scheduled.depths
        self.units = units
        self._per_item = {stage.name: stage.packets_per_item for stage in scheduled.stages}
        self._fifos = {stage.name: (*stage.inputs, stage.output) for stage in scheduled.stages}
        shim = int(units.transport == "channel" and not units.prebuilt)
        # A line buffer in memory serves launches that are cut; stores on chip lose what they hold.
        params = {"TRANSPORT": units.transport.upper(), "CHANNEL_SHIM": shim, "WIDTH": units.width,
                  "LANES": units.lanes, "LINE_PACKETS": units.line_packets, "WEIGHT_STEPS": units.weight_steps}
        self._templates = {
            name: KERNELS[name].launch((), (1,), (1,), **params) for name in self._fifos
        }

    def launch(self, firing: Firing) -> Launch:
        """The launch that a firing is."""
        args = getattr(self, f"_{firing.stage}")(firing)
        return replace(self._templates[firing.stage], args=args)

    def _fifo(self, name: str, position: int) -> tuple[Arg, ...]:
        """The arguments for a FIFO, of which the launch begins at the packet ``position``."""
        depth = self.depths.get(name, 1)
        if self.units.transport == "buffer":
            return name or None, depth, position % depth
        if self.units.transport == "channel" and self.units.prebuilt:
            return ()
        return (Pipe(name or f"{self.chain.name}/none", depth, 4 * self.units.width),)

    def _read(self, firing: Firing, stream: Stream | None = None) -> tuple[Arg, ...]:
        stream = stream or self.chain.source
        (output,) = self._fifos[firing.stage]
        return *self._fifo(output, firing.first_out), stream.name, *stream.args, firing.first_out, firing.last_out

    def _read_residual(self, firing: Firing) -> tuple[Arg, ...]:
        return self._read(firing, self.chain.residual)

    def _write(self, firing: Firing) -> tuple[Arg, ...]:
        (name, _), target = self._fifos["write"], self.chain.target
        return *self._fifo(name, firing.first_in), target.name, *target.args, firing.first_in, firing.last_in

    def _gemm(self, firing: Firing) -> tuple[Arg, ...]:
        chain = self.chain
        data, sums = self._fifos["gemm"]
        return (
            *self._fifo(data, firing.first_in),
            *self._fifo(sums, firing.first_out * self._per_item["gemm"]),
            chain.weights, self._lines("gemm") if chain.product else None, chain.target.vectors,
            *self._window(chain.product, chain.source, chain.source.vectors, firing),
        )  # fmt: skip

    def _misc(self, firing: Firing) -> tuple[Arg, ...]:
        chain, misc = self.chain, self.chain.misc
        sums, *residual, results = self._fifos["misc"]
        when = _ON_RESULT if misc.operation == "DEPTHWISE" else _ON_ARRIVAL
        return (
            *self._fifo(sums, firing.first_in),
            *self._fifo(residual[0] if residual else "", firing.first_in),
            *self._fifo(results, firing.first_out * self._per_item["misc"]),
            misc.weights, misc.bias, misc.slope, self._lines("misc") if misc.window else None,
            float(misc.activation.alpha), float(misc.activation.beta),
            OPERATIONS.index(misc.operation), when, _PLACES[misc.place],
            list(ACTIVATIONS).index(misc.activation.kind), misc.pad_bottom, misc.pad_right, int(misc.count_padding),
            *self._window(misc.window, chain.target, chain.target.vectors, firing),
        )  # fmt: skip

    def _lines(self, unit: str) -> str | None:
        return None if self.units.line_packets else _lines_name(self.chain, unit)

    def _window(self, window: Window | None, passing: Stream, vectors: int, firing: Firing) -> tuple[int, ...]:
        """The arguments for a window; without one, that of a pixel of what passes through."""
        window = window or Window(1, passing.height, passing.width, passing.height, passing.width)
        return (
            *window.args, rows_kept(window), self.chain.source.batch, vectors,
            firing.first_in, firing.last_in, firing.first_out, firing.last_out,
        )  # fmt: skip
