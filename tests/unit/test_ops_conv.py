"""Convolutions and matrix products as data: shapes, costs, choices; no OpenCL."""

from __future__ import annotations

import numpy as np
import pytest

from clnn.devices.info import DeviceInfo
from clnn.errors import ModelFormatError, UnsupportedError
from clnn.graph import CHANNELS_LAST, PLAIN, Node, TensorType
from clnn.kernels import winograd
from clnn.kernels.activation import Activation
from clnn.kernels.direct import pack_weights
from clnn.kernels.gemm import CPU_TILES, Product, choose_tile, pack_panels
from clnn.kernels.window import Window
from clnn.ops import InferContext, LowerContext, find

CPU = DeviceInfo("cpu0", compute_units=2)
GPU = DeviceInfo("gpu0", kind="gpu", compute_units=20, max_work_group_size=256)


def make(op: str, *shapes, constants=(), **attrs) -> tuple[Node, dict, dict]:
    """A node over float32 inputs of these shapes, its types, and zeros for those that are ``constants``."""
    names = tuple("" if shape is None else f"x{i}" for i, shape in enumerate(shapes))
    types = {name: TensorType(shape, "float32") for name, shape in zip(names, shapes, strict=True) if name}
    return Node("n", op, names, ("y",), attrs, 22), types, {names[i]: np.zeros(shapes[i], "f") for i in constants}


def infer(op: str, *shapes, **attrs) -> tuple:
    node, types, constants = make(op, *shapes, **attrs)
    return find(op).infer(InferContext(node, types, constants))[0].shape


def context(op: str, *shapes, device=CPU, constants=(1,), layout=CHANNELS_LAST, **attrs) -> LowerContext:
    node, types, values = make(op, *shapes, constants=constants, **attrs)
    types["y"] = find(op).infer(InferContext(node, types, values))[0]
    if op == "Conv":
        types |= {"x0": types["x0"].with_layout(layout), "y": types["y"].with_layout(CHANNELS_LAST)}
    return LowerContext(node, types, values, device)


@pytest.mark.parametrize(
    ("x", "w", "attrs", "expected"),
    [
        ((1, 3, 224, 224), (64, 3, 7, 7), {"strides": (2, 2), "pads": (3, 3, 3, 3)}, (1, 64, 112, 112)),
        ((2, 4, 9, 10), (6, 4, 3, 2), {"dilations": (2, 3), "pads": (0, 1, 2, 0)}, (2, 6, 7, 8)),
        ((1, 4, 11, 12), (6, 4, 3, 3), {"auto_pad": "SAME_UPPER", "strides": (2, 2)}, (1, 6, 6, 6)),
        ((1, 4, 11, 12), (6, 4, 3, 3), {"auto_pad": "VALID", "pads": (1, 1, 1, 1)}, (1, 6, 9, 10)),
        ((1, 4, 30), (8, 4, 5), {"strides": (2,), "pads": (2, 2)}, (1, 8, 15)),
        ((1, 4, 5, 6, 7), (8, 4, 3, 3, 3), {}, (1, 8, 3, 4, 5)),
        (("N", 3, "H", "W"), (8, 3, 3, 3), {"pads": (1, 1, 1, 1)}, ("N", 8, "H", "W")),
        (("N", 3, "H", 20), (8, 3, 3, 3), {"strides": (2, 2)}, ("N", 8, "?", 9)),
        (("N", 3, "H", 20), (8, 3, 4, 4), {"auto_pad": "SAME_LOWER"}, ("N", 8, "H", 20)),
    ],
)
def test_conv_shapes(x, w, attrs, expected):
    assert infer("Conv", x, w, **attrs) == expected


@pytest.mark.parametrize(
    ("x", "w", "attrs", "reason"),
    [
        ((1, 3, 9, 9), (8, 4, 3, 3), {}, "3 input channels"),
        ((1, 4, 9, 9), (8, 2, 3, 3), {"group": 3}, "8 output channels"),
        ((1, 4, 9, 9), (8, 4, 3), {}, "rank"),
        ((1, 4, 2, 9), (8, 4, 4, 3), {}, "larger than"),
        ((1, 4, 9, 9), (8, 4, 3, 3), {"kernel_shape": (5, 3)}, "kernel_shape"),
        ((1, 4, 9, 9), (8, 4, 3, 3), {"strides": (0, 1)}, "strides"),
        ((1, 4, 9, 9), (8, 4, 3, 3), {"pads": (1, 1)}, "pads"),
        ((1, 4, 9, 9), (8, 4, 3, 3), {"dilations": "x"}, "dilations"),
        ((1, 4, 9, 9), (8, 4, 3, 3), {"auto_pad": "FULL"}, "auto_pad"),
        ((1, 4, 9, 9), (8, 4, 3, 3), {"group": 0}, "groups"),
    ],
)
def test_conv_refuses(x, w, attrs, reason):
    with pytest.raises(ModelFormatError, match=reason):
        infer("Conv", x, w, **attrs)


def test_conv_refuses_bias_of_wrong_shape():
    with pytest.raises(ModelFormatError, match="bias"):
        infer("Conv", (1, 4, 9, 9), (8, 4, 3, 3), (7,))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((5, 7), (7, 9), (5, 9)),
        ((7,), (7,), ()),
        ((7,), (3, 7, 4), (3, 4)),
        ((2, 1, 5, 7), (3, 7, 9), (2, 3, 5, 9)),
        (("N", 5, 7), (7, 9), ("N", 5, 9)),
    ],
)
def test_matmul_shapes(a, b, expected):
    assert infer("MatMul", a, b) == expected


@pytest.mark.parametrize(("a", "b"), [((5, 7), (8, 9)), ((2, 5, 7), (3, 7, 9)), ((), (7, 9))])
def test_matmul_refuses(a, b):
    with pytest.raises(ModelFormatError):
        infer("MatMul", a, b)


def test_gemm_shapes():
    assert infer("Gemm", (7, "N"), (9, 7), (9,), transA=1, transB=1) == ("N", 9)
    for c in [(5,), (2, 9), (1, 5, 9)]:
        with pytest.raises(ModelFormatError, match="broadcast"):
            infer("Gemm", (5, 7), (7, 9), c)


def test_flops():
    for op, shapes, attrs, flops in [
        ("Conv", [(1, 64, 56, 56), (128, 64, 3, 3)], {"pads": (1, 1, 1, 1)}, 2 * 56 * 56 * 128 * 64 * 9),
        ("Conv", [(1, 64, 56, 56), (64, 1, 3, 3)], {"group": 64, "pads": (1, 1, 1, 1)}, 2 * 56 * 56 * 64 * 9),
        ("Gemm", [(7, 5), (9, 7)], {"transA": 1, "transB": 1}, 2 * 5 * 7 * 9),
        ("MatMul", [(3, 5, 7), (7, 9)], {}, 2 * 3 * 5 * 7 * 9),
    ]:
        ctx = context(op, *shapes, **attrs)
        assert find(op).cost(ctx.node, ctx.types).flops == flops


@pytest.mark.parametrize(
    ("shapes", "attrs", "device", "choice"),
    [
        ([(1, 64, 80, 80), (64, 64, 3, 3)], {"strides": (2, 2)}, CPU, "implicit GEMM, tile 6×64"),
        ([(1, 512, 7, 7), (512, 512, 3, 3)], {"pads": (1, 1, 1, 1)}, CPU, "implicit GEMM, tile 7×64"),
        ([(1, 3, 416, 416), (16, 3, 3, 3)], {}, CPU, "implicit GEMM, tile 10×16"),
        ([(1, 32, 112, 112), (32, 1, 3, 3)], {"group": 32}, CPU, "depthwise"),
        ([(1, 32, 112, 112), (32, 1, 3, 3)], {"group": 32}, GPU, "depthwise"),
        # one channel more per group, or too few for a vector: no depthwise kernel
        ([(1, 32, 112, 112), (64, 1, 3, 3)], {"group": 32}, CPU, "implicit GEMM, tile 10×16"),
        ([(1, 3, 112, 112), (3, 1, 3, 3)], {"group": 3}, CPU, "implicit GEMM, tile 10×16"),
        ([(1, 64, 80, 80), (64, 64, 3, 3)], {}, GPU, "implicit GEMM, tile 64×64"),
        ([(1, 64, 6, 6), (20, 64, 3, 3)], {}, GPU, "implicit GEMM, tile 16×16"),
    ],
)
def test_algorithm_and_tile(shapes, attrs, device, choice):
    assert find("Conv").lower(context("Conv", *shapes, device=device, **attrs)).choice == choice


@pytest.mark.parametrize(
    ("shapes", "attrs", "layout", "choice"),
    [
        ([(1, 3, 640, 640), (16, 3, 3, 3)], {"strides": (2, 2), "pads": (1, 1, 1, 1)}, PLAIN, "direct, tile 16×16"),
        ([(1, 3, 224, 224), (64, 3, 7, 7)], {"strides": (2, 2), "pads": (3, 3, 3, 3)}, PLAIN, "direct, tile 8×32"),
        # too many channels; a kernel or a dilation that the kernel does not know
        ([(1, 5, 640, 640), (16, 5, 3, 3)], {}, CHANNELS_LAST, "implicit GEMM, tile 10×16"),
        ([(1, 3, 224, 224), (64, 3, 11, 11)], {"strides": (4, 4)}, CHANNELS_LAST, "implicit GEMM, tile 6×64"),
        ([(1, 3, 640, 640), (16, 3, 3, 3)], {"dilations": (2, 2)}, CHANNELS_LAST, "implicit GEMM, tile 10×16"),
        ([(1, 3, 640, 640), (16, 3, 3, 3)], {"constants": ()}, CHANNELS_LAST, "implicit GEMM, tile 10×16"),
        ([(1, 3, 640, 640), (16, 3, 3, 3)], {"device": GPU}, CHANNELS_LAST, "implicit GEMM, tile 32×32"),
        # rows of two pixels would leave most of a tile empty
        ([(1, 4, 640, 2), (16, 4, 3, 3)], {"pads": (1, 1, 1, 1)}, CHANNELS_LAST, "implicit GEMM, tile 10×16"),
    ],
)
def test_layout_of_planes(shapes, attrs, layout, choice):
    """Where x comes plain, a direct convolution takes it so, and everything else has it converted."""
    op = find("Conv")
    assert op.layouts(context("Conv", *shapes, layout=PLAIN, **attrs)).inputs[0] == layout
    assert op.lower(context("Conv", *shapes, layout=layout, **attrs)).choice == choice


def test_choice_of_a_direct_convolution_has_a_reason():
    ctx = context("Conv", (1, 3, 640, 640), (16, 3, 3, 3), layout=PLAIN)
    assert find("Conv").lower(ctx).reason.startswith("implicit GEMM would take")


def test_direct_work_items_cover_the_rows():
    ctx = context("Conv", (2, 3, 50, 61), (40, 3, 3, 3), layout=PLAIN)
    (launch,) = find("Conv").lower(ctx).launches
    tile_m, tile_n = dict(launch.params)["TILE_M"], dict(launch.params)["TILE_N"]
    all_tiles, tiles, row_tiles = launch.args[9:12]
    groups, panels = launch.global_size
    assert row_tiles * tile_m >= 59 > (row_tiles - 1) * tile_m
    assert all_tiles == 2 * 48 * row_tiles
    assert groups * tiles >= all_tiles > (groups - 1) * tiles
    assert panels * tile_n * 16 >= 40 > (panels - 1) * tile_n * 16


def test_direct_weights_are_packed_per_channel():
    weights = np.arange(1, 5 * 2 * 2 * 3 + 1, dtype=np.float32).reshape(5, 2, 2, 3)
    packed = pack_weights(weights, 16).reshape(2, 2, 3, 16)
    np.testing.assert_array_equal(packed[..., :5], weights.transpose(1, 2, 3, 0))
    assert not packed[..., 5:].any()


def test_tiles_fit_the_registers():
    product = Product(Window.flat(1000), 64, 64)
    assert choose_tile(product, CPU).m * choose_tile(product, CPU).lanes // 16 == 24
    narrow = choose_tile(product, DeviceInfo("avx2", vector_width=8))
    assert narrow.m * narrow.lanes // 8 <= 12


def test_small_products_are_spread_over_the_compute_units():
    """With as many units as tiles of 64 columns, smaller tiles finish sooner although each is less efficient."""
    product = Product(Window.flat(12), 64, 64)
    assert choose_tile(product, DeviceInfo("big", compute_units=8)).lanes < 64


def test_a_vector_takes_the_tile_of_one_row():
    assert choose_tile(Product(Window.flat(1), 2048, 1000), CPU) == CPU_TILES[-1]


def test_every_tile_is_a_legal_configuration():
    for shapes in [((400, 64), (64, columns)) for columns in (16, 32, 48, 64)] + [((1, 64), (64, 64))]:
        lowered = find("MatMul").lower(context("MatMul", *shapes))
        assert lowered.launches[-1].options[0].startswith("-DTILE_M=")


@pytest.mark.parametrize("channels", [64, 256])
def test_work_items_cover_the_product(channels: int):
    """Of few weights, work-items that take the same pixels come one after the other; of many, those of one panel."""
    ctx = context("Conv", (1, channels, 80, 80), (100, channels, 3, 3), pads=(1, 1, 1, 1))
    (launch,) = find("Conv").lower(ctx).launches
    tile_m, tile_n = dict(launch.params)["TILE_M"], dict(launch.params)["TILE_N"]
    rows, tiles, pixels_last = launch.args[10:13]
    blocks, panels = launch.global_size[1::-1] if pixels_last else launch.global_size[:2]
    slices = launch.global_size[2]
    assert pixels_last == (channels == 64)
    assert rows == 6400
    assert blocks * tiles * tile_m >= rows > (blocks - 1) * tiles * tile_m
    assert panels * tile_n * 16 >= 100 > (panels - 1) * tile_n * 16
    assert slices == 1
    assert launch.local_size == (1, 1, 1)


def test_pointwise_convolution_is_a_flat_product():
    """1×1 over 20 × 30 pixels of two pictures is one row of 1200."""
    ctx = context("Conv", (2, 8, 20, 30), (5, 8, 1, 1))
    lowered = find("Conv").lower(ctx)
    assert lowered.launches[0].args[20:24] == (1, 1200, 1, 1200)
    assert not any("zeros" in name for name in lowered.constants)


@pytest.mark.parametrize("size", [2, 4])
def test_winograd_weights_are_transformed_and_packed(size):
    weights = np.random.default_rng(0).standard_normal((21, 5, 3, 3)).astype(np.float32)
    g = winograd._FILTER_TRANSFORM[size]
    expected = np.einsum("ai,kcij,bj->abck", g, weights.astype(np.float64), g).reshape(-1, 5, 21)
    packed = winograd.transform_weights(weights, size, 16).reshape(2, -1, 5, 16)
    whole = np.concatenate(list(packed), axis=-1)
    # half a unit in the last place of float32, of values up to 5
    np.testing.assert_allclose(whole[..., :21], expected, rtol=0, atol=5 * 2**-24)
    assert not whole[..., 21:].any()


def test_weights_are_packed_in_panels():
    matrices = np.arange(1, 2 * 3 * 5 + 1, dtype=np.float32).reshape(1, 2, 3, 5)
    packed = pack_panels(matrices, 4).reshape(1, 2, 2, 3, 4)
    np.testing.assert_array_equal(packed[0, 0], matrices[0, :, :, :4])
    np.testing.assert_array_equal(packed[0, 1, ..., 0], matrices[0, :, :, 4])
    assert not packed[0, 1, ..., 1:].any()


def test_weights_computed_at_run_time_are_packed_on_the_device():
    lowered = find("Conv").lower(context("Conv", (1, 8, 5, 5), (20, 8, 3, 3), constants=()))
    pack, product = lowered.launches
    (scratch,) = lowered.scratch
    assert pack.args[:2] == ("x1", scratch)
    assert product.args[1] == scratch
    assert lowered.scratch[scratch] % (4 * 9 * 8) == 0


def test_epilogue_of_a_fused_node():
    ctx = context(
        "Conv", (1, 8, 5, 5), (20, 8, 3, 3), (20,), (1, 20, 3, 3), (20, 1, 1), constants=(1, 2, 4),
        activation=Activation("PRELU"), residual="after",
    )  # fmt: skip
    (launch,) = find("Conv").lower(ctx).launches
    assert launch.args[2:5] == ("x2", "x3", "y/slope")
    assert {"-DACTIVATION=PRELU", "-DRESIDUAL=AFTER"} <= set(launch.options)


def test_layouts():
    ctx = context("Conv", (1, 8, 5, 5), (20, 8, 3, 3))
    assert find("Conv").layouts(ctx).outputs == (CHANNELS_LAST,)
    assert find("Conv").layouts(ctx).inputs[0] == CHANNELS_LAST


def test_obstacles():
    def obstacle(op, *shapes, dtype="float32", **attrs):
        ctx = context(op, *shapes, **attrs)
        types = {name: TensorType(kind.shape, dtype) for name, kind in ctx.types.items()}
        return find(op).obstacle(LowerContext(ctx.node, types, ctx.constants, CPU))

    assert obstacle("Conv", (1, 8, 5, 5), (20, 8, 3, 3)) is None
    assert "3-D" in obstacle("Conv", (1, 8, 5, 5, 5), (20, 8, 3, 3, 3))
    assert "float64" in obstacle("MatMul", (5, 7), (7, 9), dtype="float64")
    assert "empty" in obstacle("MatMul", (5, 0), (0, 9))
    assert "elements" in obstacle("MatMul", (1 << 16, 8), (8, 1 << 16), constants=())
    assert "2^31" in obstacle("ConvTranspose", (1, 1, 4096, 4096), (1, 1, 16, 16), strides=(1, 1))
    assert "matrix C" in obstacle("Gemm", (5, 7), (7, 9), (5, 9), (5, 9), residual="before")


def test_weights_too_large_once_packed():
    """A column of 2^27 rows is packed as 16 of them or more."""
    with pytest.raises(UnsupportedError, match="split the node"):
        find("MatMul").lower(context("MatMul", (1, 1 << 27), (1 << 27, 1), constants=()))


def test_transposed_convolution_is_a_product_and_a_gather():
    ctx = context("ConvTranspose", (2, 8, 5, 6), (8, 20, 2, 2), strides=(2, 2))
    lowered = find("ConvTranspose").lower(ctx)
    assert [launch.kernel.name for launch in lowered.launches] == ["conv_gemm", "col2im"]
    assert ctx.output().shape == (2, 20, 10, 12)
    assert list(lowered.scratch.values()) == [4 * 2 * 5 * 6 * 4 * 20]


def test_empty_outputs_launch_nothing():
    assert find("Conv").lower(context("Conv", (0, 8, 5, 5), (20, 8, 3, 3))).launches == ()
    assert find("MatMul").lower(context("MatMul", (0, 7), (7, 9))).launches == ()
