"""Blocked matrix products and convolutions as implicit GEMM: kernels, tiles, packing and launches."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from clnn.devices.info import DeviceInfo
from clnn.kernels import aligned
from clnn.kernels.epilogue import EPILOGUE_PARAMS, Epilogue
from clnn.kernels.kernel import Arg, Constraint, Kernel, Launch, Param
from clnn.kernels.window import Pixels, Window

VECTOR = 16
"""Lanes of the vectors in conv_gemm.cl; devices with narrower ones split each into several registers."""

CONV_GEMM = Kernel(
    "conv_gemm",
    "conv_gemm.cl",
    (
        Param("TILE_M", 6, (1, 2, 4, 5, 6, 7, 8, 10, 12, 14), "output pixels (rows of A) that a work-item keeps"),
        Param("TILE_N", 4, (1, 2, 3, 4, 5), "vectors of 16 output channels (columns of B) that a work-item keeps"),
        *EPILOGUE_PARAMS,
    ),
    (Constraint(lambda p: p["TILE_M"] * p["TILE_N"] <= 28, "TILE_M·TILE_N accumulators fit 32 vector registers"),),
    cuts=(0, 1, 2),
)

GEMM_LOCAL = Kernel(
    "gemm_local",
    "gemm_local.cl",
    (
        Param("TILE_M", 64, (16, 32, 64, 128), "output pixels (rows of A) of a work-group"),
        Param("TILE_N", 64, (16, 32, 64, 128), "output channels (columns of B) of a work-group"),
        Param("TILE_K", 16, (8, 16, 32), "depth of the tiles in local memory"),
        Param("MICRO", 4, (1, 2, 4, 8), "output pixels of a work-item"),
        *EPILOGUE_PARAMS,
    ),
    (
        Constraint(lambda p: p["TILE_M"] % p["MICRO"] == 0, "TILE_M is a multiple of MICRO"),
        Constraint(lambda p: group_items(p["TILE_M"], p["TILE_N"], p["MICRO"]) <= 1024, "at most 1024 work-items"),
    ),
    local_bytes=lambda p: 4 * p["TILE_K"] * (p["TILE_M"] + 1 + p["TILE_N"]),
    cuts=(0, 1, 2),
)

PACK = Kernel("pack", "pack.cl")


@dataclass(frozen=True)
class Tile:
    """What one work-item (conv_gemm) or work-group (gemm_local) computes: ``m`` rows × ``lanes`` columns.

    ``efficiency`` is the fraction of the peak that full tiles reach on a large product.
    """

    m: int
    lanes: int
    efficiency: float

    def __str__(self) -> str:
        return f"{self.m}×{self.lanes}"


CPU_TILES = (
    # Measured with PoCL 3.1 on two Zen 4 cores (AVX-512): GEMM of 1024³ and 3×3 convolutions of 64 to 256 channels.
    Tile(6, 64, 0.97),
    Tile(7, 64, 0.95),
    Tile(5, 80, 0.95),
    Tile(8, 48, 0.93),
    Tile(8, 32, 0.94),
    Tile(10, 16, 0.92),
    Tile(6, 16, 0.80),
    Tile(1, 64, 0.30),
)
GPU_TILES = (
    # Ordered by arithmetic per byte of local memory; the efficiencies are those of such tiles in the literature
    # (CLBlast's tuning results), not measured.
    Tile(64, 64, 0.8),
    Tile(32, 32, 0.5),
    Tile(16, 16, 0.2),
)
GPU_MICRO = 4
ITEM_FLOPS = 4_000_000
"""Work of one work-item on a CPU device: some 16 µs at the peak, against the 1 µs that starting one may take."""

NEAR_BYTES = 600_000
"""Weights that a core's own cache holds beside all else. Cores that read all of fewer weights take pixels apart, and
find much of what they read next in their own cache; of more weights each core reads its own part."""


@dataclass(frozen=True)
class Product:
    """A product of A (rows × taps·channels_in) and B (taps·channels_in × channels_out), ``slices`` times.

    The rows of A are pixels seen through ``window``; slices are the groups of a convolution or the matrices
    of a batch.
    """

    window: Window
    channels_in: int
    channels_out: int
    slices: int = 1

    @property
    def depth(self) -> int:
        return self.window.taps * self.channels_in


@dataclass(frozen=True)
class Operands:
    """The tensors of a product; ``weights`` are packed, see ``Product`` and conv_gemm.cl.

    The offset of ``x`` is part of the table ``slices``.
    """

    x: Pixels
    weights: str
    slices: str
    y: Pixels
    zeros: str | None = None


def group_items(tile_m: int, tile_n: int, micro: int) -> int:
    """Work-items of a gemm_local work-group."""
    return tile_m // micro * (tile_n // 4)


def choose_tile(product: Product, device: DeviceInfo) -> Tile:
    """The tile that finishes first when each compute unit does one at a time.

    Time is waves of tiles × size of a tile ÷ its efficiency: this weighs the work lost to padding against
    the compute units left idle. Ties go to the first in the list.
    """

    def cost(tile: Tile) -> float:
        tiles = -(-product.window.rows // tile.m) * -(-product.channels_out // tile.lanes) * product.slices
        return -(-tiles // device.compute_units) * tile.m * tile.lanes / tile.efficiency

    return min(_fitting_tiles(device), key=cost)


def product_kernel(device: DeviceInfo) -> Kernel:
    """The kernel that computes products on a device."""
    return CONV_GEMM if device.kind == "cpu" else GEMM_LOCAL


def _fitting_tiles(device: DeviceInfo) -> list[Tile]:
    if device.kind == "cpu":
        # 28 accumulators leave 4 of AVX-512's 32 registers for operands. Narrower vectors take 2 (of AVX2's 16
        # registers) or 4 (of NEON's 32) for each accumulator.
        limit = 28 if device.vector_width >= VECTOR else 6
        return [tile for tile in CPU_TILES if tile.m * tile.lanes // VECTOR <= limit]
    fitting = [
        tile
        for tile in GPU_TILES
        if group_items(tile.m, tile.lanes, GPU_MICRO) <= device.max_work_group_size
        and GEMM_LOCAL.local_bytes({"TILE_K": 16, "TILE_M": tile.m, "TILE_N": tile.lanes}) <= device.local_mem
    ]
    return fitting or [GPU_TILES[-1]]


def launch_product(product: Product, operands: Operands, epilogue: Epilogue, tile: Tile, device: DeviceInfo) -> Launch:
    """The launch that computes ``product``, whose weights were packed for ``tile``."""
    if device.kind == "cpu":
        return _launch_conv_gemm(product, operands, epilogue, tile, device.compute_units)
    local = (tile.lanes // 4, tile.m // GPU_MICRO, 1)
    blocks, panels = -(-product.window.rows // tile.m), -(-product.channels_out // tile.lanes)
    size = (panels * local[0], blocks * local[1], product.slices)
    params = {"TILE_M": tile.m, "TILE_N": tile.lanes, "MICRO": GPU_MICRO}
    args = _arguments(product, operands, epilogue, (product.window.rows, 1))
    return GEMM_LOCAL.launch(args, size, local, **params, **epilogue.params)


def _launch_conv_gemm(product: Product, operands: Operands, epilogue: Epilogue, tile: Tile, units: int) -> Launch:
    blocks, panels = -(-product.window.rows // tile.m), -(-product.channels_out // tile.lanes)
    row_flops = 2 * tile.m * max(1, product.depth)
    weights_bytes = 4 * product.depth * product.channels_out * product.slices
    pixels_last = weights_bytes <= NEAR_BYTES
    if pixels_last:
        tiles = _tiles_per_item(row_flops * panels * tile.lanes, -(-blocks // (8 * units)))
    else:
        tiles = _tiles_per_item(row_flops * tile.lanes, blocks * panels * product.slices // (4 * units))
    size = (-(-blocks // tiles), panels)
    args = _arguments(product, operands, epilogue, (product.window.rows, tiles, int(pixels_last)))
    params = {"TILE_M": tile.m, "TILE_N": tile.lanes // VECTOR}
    # Each pixel about once: taps find in the cache what those before them have read.
    common = (weights_bytes, 4 * product.window.rows * product.channels_in)
    if pixels_last:
        size, common = size[::-1], common[::-1]
    launch = CONV_GEMM.launch(args, (*size, product.slices), (1, 1, 1), **params, **epilogue.params)
    return replace(launch, common_bytes=(*common, 0))


def _arguments(product: Product, operands: Operands, epilogue: Epilogue, blocking: tuple[int, ...]) -> tuple[Arg, ...]:
    """The arguments of both kernels, which differ in how they are told the blocking."""
    return (
        operands.x.name, operands.weights, *epilogue.tensors, operands.zeros, operands.slices, operands.y.name,
        *epilogue.constants, *blocking, product.channels_in, product.channels_out,
        operands.x.pitch, operands.y.pitch, operands.y.offset, *epilogue.residual_args, *product.window.args,
    )  # fmt: skip


def _tiles_per_item(flops: int, most: int) -> int:
    """Tiles of ``flops`` that one work-item takes in a row: enough to be worth starting, ``most`` to share evenly."""
    return max(1, min(-(-ITEM_FLOPS // flops), most))


def pack_panels(matrices: np.ndarray, lanes: int) -> np.ndarray:
    """Pack B on the host: (slices, taps, channels_in, channels_out) to [slice][panel][tap][channel_in][lane].

    Lanes beyond ``channels_out`` are 0. The result is a contiguous float32 vector, in memory that devices can take.
    """
    slices, taps, depth, columns = matrices.shape
    panels = -(-columns // lanes)
    packed = aligned.zeros((slices, panels, taps, depth, lanes))
    for panel in range(panels):
        part = matrices[..., panel * lanes : (panel + 1) * lanes]
        packed[:, panel, ..., : part.shape[-1]] = part
    return packed.reshape(-1)


def panel_elements(product: Product, lanes: int) -> int:
    """Elements of one packed slice of B."""
    return -(-product.channels_out // lanes) * product.depth * lanes


def launch_pack(
    source: str,
    target: str,
    shape: tuple[int, int, int, int],
    strides: tuple[int, int, int, int],
    lanes: int,
    scale: float = 1.0,
) -> Launch:
    """Pack B on the device: ``shape`` and ``strides`` (elements) are those of (slices, taps, depth, columns)."""
    slices, taps, depth, columns = shape
    size = (taps * depth, -(-columns // lanes), slices)
    return PACK.launch((source, target, float(scale), depth, columns, lanes, *strides), size)
