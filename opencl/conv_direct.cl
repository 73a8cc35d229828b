/* Direct convolution of few input channels for CPU devices: a network's first layer, which reads planes as they come
 * and writes channels last.
 *
 * After Georganas et al., "Anatomy of High-Performance Deep Learning Convolutions on SIMD Architectures", SC 2018: a
 * register tile along the output row, scalars broadcast from the input, vectors over output channels.
 *
 * Memory
 *   x        planes: element (n, c, h, w) at n·batch_pitch + c·plane_pitch + h·row_pitch + x_offset + w
 *   weights  packed [panel][channels_in][kernel_h][kernel_w][LANES]: a panel holds the taps of LANES = 16·TILE_N
 *            output channels, zeros where there are fewer
 *   bias, slope   one value per output channel, or null
 *   strip    STRIP floats: the pixels of one input row that a tile sees, zeros for those beside the picture
 *   y        element (row, channel) at row·y_pitch + y_offset + channel; residual alike, with its own pitch and
 *            offset. Rows are output pixels, n·out_height·out_width of them
 *
 * Tile: TILE_M pixels of one output row x TILE_N vectors of 16 output channels, in registers; KERNEL_W 3, STRIDE_W 2:
 *
 *   row h + kh of plane c        p0   p1   p2   p3   p4   p5   p6 ...    each pixel is loaded once and broadcast,
 *                                 |    |    |    |    |    |    |
 *   weights of the kernel row    b0   b1  b2,b0 b1  b2,b0 b1  b2,b0      multiplied by all taps that see it,
 *   [ b0 | b1 | b2 ]              |    |  /   \  |  /   \  |  /   \
 *                                 acc0      acc1      acc2     ...       and added to the outputs of those taps
 *
 * The KERNEL_W·TILE_N vectors of weights stay in registers beside the TILE_M·TILE_N accumulators. Kernel rows above
 * and below the picture are left out. A tile that sees the left or right border, or reaches over the end of the row,
 * reads a copy of its input row in `strip`.
 *
 * Index space: (groups of `tiles` tiles, panels), work-groups of one item. Tiles are counted row by row, all_tiles in
 * all and row_tiles in a row, of which the last may reach over its end.
 *
 * Parameters: TILE_M, TILE_N, KERNEL_W, STRIDE_W, ACTIVATION, RESIDUAL (lib/epilogue.h).
 */
#ifndef TILE_M
#define TILE_M 16
#endif
#ifndef TILE_N
#define TILE_N 1
#endif
#ifndef KERNEL_W
#define KERNEL_W 3
#endif
#ifndef STRIDE_W
#define STRIDE_W 1
#endif
#define LANES (16 * TILE_N)
#define REACH ((TILE_M - 1) * STRIDE_W + KERNEL_W)
#define STRIP ((REACH + 15) / 16 * 16)

#include "lib/tile.h"

/* name(acc, a, b): one kernel row, packed at b, over the pixels at `a` in address space SPACE. Always inlined: only
 * then do the accumulators live in registers. */
#define DEFINE_KERNEL_ROW(name, SPACE)                                                                               \
    __attribute__((always_inline)) static void name(float16 acc[TILE_M][TILE_N], SPACE const float *a,               \
                                                    __global const float *b) {                                       \
        float16 tap[KERNEL_W][TILE_N];                                                                               \
        _Pragma("unroll") for (int kw = 0; kw < KERNEL_W; ++kw) {                                                    \
            _Pragma("unroll") for (int j = 0; j < TILE_N; ++j) tap[kw][j] = vload16(kw * TILE_N + j, b);             \
        }                                                                                                            \
        _Pragma("unroll") for (int p = 0; p < REACH; ++p) {                                                          \
            const float16 pixel = (float16)(a[p]);                                                                   \
            _Pragma("unroll") for (int kw = 0; kw < KERNEL_W; ++kw) {                                                \
                const int i = (p - kw) / STRIDE_W;                                                                   \
                if (kw <= p && (p - kw) % STRIDE_W == 0 && i < TILE_M) {                                             \
                    _Pragma("unroll") for (int j = 0; j < TILE_N; ++j) acc[i][j] = fma(pixel, tap[kw][j], acc[i][j]); \
                }                                                                                                    \
            }                                                                                                        \
        }                                                                                                            \
    }

DEFINE_KERNEL_ROW(kernel_row, __global)
DEFINE_KERNEL_ROW(kernel_row_of_strip, __local)

/* Copies `count` floats; neither side is touched beyond them. */
__attribute__((always_inline)) static void copy(__global const float *from, __local float *to, const int count) {
    int i = 0;
    for (; i + 16 <= count; i += 16) vstore16(vload16(0, from + i), 0, to + i);
#pragma unroll 1
    for (; i < count; ++i) to[i] = from[i];
}

/* The hint keeps compilers from vectorising over work-items as well. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1), vec_type_hint(float16))) void conv_direct(
    __global const float *restrict x, __global const float *restrict weights, __global const float *restrict bias,
    __global const float *restrict residual, __global const float *restrict slope, __global float *restrict y,
    __local float *restrict strip, const float alpha, const float beta, const int all_tiles, const int tiles,
    const int row_tiles, const int channels_in, const int channels_out, const int batch_pitch, const int plane_pitch,
    const int row_pitch, const int x_offset, const int y_pitch, const int y_offset, const int residual_pitch,
    const int residual_offset, const int height, const int width, const int out_height, const int out_width,
    const int kernel_h, const int stride_h, const int dilation_h, const int pad_top, const int pad_left) {
    const int channel = get_global_id(1) * LANES;
    residual += residual_offset;
    weights += channel * channels_in * kernel_h * KERNEL_W;

    float16 start[TILE_N];
#pragma unroll
    for (int j = 0; j < TILE_N; ++j) {
        const int c = channel + 16 * j;
        start[j] = bias ? load_lanes_16(channels_out - c, bias + c) : (float16)(0.0f);
    }

    const int first = get_global_id(0) * tiles;
    const int last = min(first + tiles, all_tiles);
    for (int tile = first; tile < last; ++tile) {
        const int ow = tile % row_tiles * TILE_M;
        const int row = tile / row_tiles;
        const int n = row / out_height;
        const int h = row % out_height * stride_h - pad_top;
        const int kh_begin = h < 0 ? (-h + dilation_h - 1) / dilation_h : 0;
        const int kh_end = min(kernel_h, (height - h + dilation_h - 1) / dilation_h);
        const int w = ow * STRIDE_W - pad_left;
        const int inside = w >= 0 && w + REACH <= width;
        /* the part of the strip that the picture covers */
        const int begin = max(0, -w), end = min(REACH, width - w);

        float16 acc[TILE_M][TILE_N];
#pragma unroll
        for (int i = 0; i < TILE_M; ++i) {
#pragma unroll
            for (int j = 0; j < TILE_N; ++j) acc[i][j] = start[j];
        }
        if (!inside) {
            for (int i = 0; i < STRIP; i += 16) vstore16((float16)(0.0f), 0, strip + i);
        }
        for (int c = 0; c < channels_in; ++c) {
            __global const float *a = x + (n * batch_pitch + c * plane_pitch + h * row_pitch + x_offset + w);
            __global const float *b = weights + c * kernel_h * KERNEL_W * LANES;
            for (int kh = kh_begin; kh < kh_end; ++kh) {
                __global const float *p = a + kh * dilation_h * row_pitch, *q = b + kh * KERNEL_W * LANES;
                if (inside) {
                    kernel_row(acc, p, q);
                } else {
                    copy(p + begin, strip + begin, end - begin);
                    kernel_row_of_strip(acc, strip, q);
                }
            }
        }

        const int y_row = row * out_width + ow;
        store_tile(acc, out_width - ow, channels_out - channel, residual + (y_row * residual_pitch + channel),
                   residual_pitch, slope + channel, alpha, beta, y + (y_row * y_pitch + y_offset + channel), y_pitch);
    }
}
