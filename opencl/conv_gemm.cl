/* Convolution as implicit GEMM for CPU devices; 1x1 convolution, Gemm and MatMul are its special case of one tap.
 *
 * Memory
 *   x        activations, channels last: element (n, h, w, c) at ((n·height + h)·width + w)·x_pitch + c
 *   weights  packed [z][panel][kernel_h][kernel_w][channels_in][LANES]: a panel holds the taps of LANES = 16·TILE_N
 *            output channels, zeros where there are fewer (see pack.cl)
 *   bias, slope   one value per output channel, or null
 *   zeros    channels_in zeros, a pixel outside the picture; null where there is no padding
 *   slices   int4 per z: where it begins in x, in weights (elements), in rows and in channels of y and residual.
 *            z counts groups, or the matrices of a batch
 *   y        element (row, channel) at row·y_pitch + y_offset + channel; the residual alike,
 *            with a pitch and an offset of its own. Rows are output pixels, n·out_height·out_width of them
 *
 * Tile: one work-item keeps TILE_M pixels x TILE_N vectors of 16 output channels in registers
 *
 *               panel of weights, one row per k        k runs over the taps of the kernel, and within a tap over the
 *              [ b0 ........ b15 | b16 ...... b31 ]    input channels. Per k: TILE_N vector loads, TILE_M scalars
 *   pixel 0  a [ acc[0][0]       | acc[0][1]      ]    broadcast, TILE_M·TILE_N fused multiply-adds.
 *   pixel 1  a [ acc[1][0]       | acc[1][1]      ]
 *      ...                                             A work-item takes `tiles` such tiles one after the other, so
 *   TILE_M-1 a [ ...             |                ]    that its panel stays in the cache.
 *
 * Index space: (blocks of TILE_M·tiles pixels, panels, z), work-groups of one item; with `pixels_last` panels come
 * first and blocks second, so that who takes work-groups in a row takes all channels of a range of pixels.
 *
 * Parameters: TILE_M, TILE_N, ACTIVATION, RESIDUAL (lib/epilogue.h).
 */
#ifndef TILE_M
#define TILE_M 6
#endif
#ifndef TILE_N
#define TILE_N 4
#endif
#define LANES (16 * TILE_N)

#include "lib/multiply.h"
#include "lib/tile.h"

DEFINE_MULTIPLY(multiply, __global)

/* The hint keeps compilers from vectorising over work-items, which Intel's does otherwise, at ten times the code. */
__kernel __attribute__((reqd_work_group_size(1, 1, 1), vec_type_hint(float16))) void conv_gemm(
    __global const float *restrict x, __global const float *restrict weights, __global const float *restrict bias,
    __global const float *restrict residual, __global const float *restrict slope,
    __global const float *restrict zeros, __global const int4 *restrict slices, __global float *restrict y,
    const float alpha, const float beta, const int rows, const int tiles, const int pixels_last,
    const int channels_in, const int channels_out, const int x_pitch, const int y_pitch, const int y_offset, const int residual_pitch,
    const int residual_offset, const int height, const int width, const int out_height, const int out_width,
    const int kernel_h, const int kernel_w, const int stride_h, const int stride_w, const int dilation_h,
    const int dilation_w, const int pad_top, const int pad_left) {
    residual += residual_offset;
    const int4 slice = slices[get_global_id(2)];
    const int panel = get_global_id(pixels_last ? 0 : 1);
    const int channel = panel * LANES;
    const int tap = channels_in * LANES;
    x += slice.s0;
    weights += slice.s1 + panel * kernel_h * kernel_w * tap;
    /* The taps of one kernel row are one run of memory where neither dilation nor other groups lie between them. */
    const int joined = kernel_w == 1 || (dilation_w == 1 && x_pitch == channels_in);

    float16 start[TILE_N];
#pragma unroll
    for (int j = 0; j < TILE_N; ++j) {
        const int c = channel + 16 * j;
        start[j] = bias ? load_lanes_16(channels_out - c, bias + slice.s3 + c) : (float16)(0.0f);
    }

    const int first = get_global_id(pixels_last ? 1 : 0) * tiles * TILE_M;
    const int last = min(first + tiles * TILE_M, rows);
    for (int row = first; row < last; row += TILE_M) {
        float16 acc[TILE_M][TILE_N];
        __global const float *b = weights;
#pragma unroll
        for (int i = 0; i < TILE_M; ++i) {
#pragma unroll
            for (int j = 0; j < TILE_N; ++j) acc[i][j] = start[j];
        }

        /* Where all pixels lie in one row and see no border to the left or right, one run covers a kernel row. */
        int ow = row % out_width;
        int oh = row / out_width % out_height;
        int n = row / out_width / out_height;
        const int h = oh * stride_h - pad_top;
        const int w = ow * stride_w - pad_left;
        const int inside =
            joined && ow + TILE_M <= out_width && w >= 0 && w + (TILE_M - 1) * stride_w + kernel_w <= width;
        const int runs = inside ? 1 : kernel_w;
        const int run = inside ? kernel_w * channels_in : channels_in;

        int top[TILE_M], left[TILE_M], corner[TILE_M];
        if (!inside) {
#pragma unroll 1
            for (int i = 0; i < TILE_M; ++i) {
                top[i] = oh * stride_h - pad_top;
                left[i] = ow * stride_w - pad_left;
                corner[i] = ((n * height + top[i]) * width + left[i]) * x_pitch;
                /* Beyond the last pixel the tile repeats it, so that nothing is read out of bounds. */
                if (row + i + 1 < last && ++ow == out_width) {
                    ow = 0;
                    if (++oh == out_height) {
                        oh = 0;
                        ++n;
                    }
                }
            }
        }

        for (int kh = 0; kh < kernel_h; ++kh) {
            const int dh = kh * dilation_h;
            for (int kw = 0; kw < runs; ++kw, b += run * LANES) {
                __global const float *a[TILE_M];
                if (inside) {
                    if (h + dh < 0 || h + dh >= height) continue;
                    __global const float *p = x + ((n * height + h + dh) * width + w) * x_pitch;
#pragma unroll
                    for (int i = 0; i < TILE_M; ++i) a[i] = p + i * stride_w * x_pitch;
                } else {
                    const int dw = kw * dilation_w;
                    const int offset = (dh * width + dw) * x_pitch;
#pragma unroll
                    for (int i = 0; i < TILE_M; ++i) {
                        const int ih = top[i] + dh, iw = left[i] + dw;
                        /* as unsigned numbers, negative ones are large */
                        const int seen = ((uint)ih < (uint)height) & ((uint)iw < (uint)width);
                        a[i] = seen ? x + (corner[i] + offset) : zeros;
                    }
                }
                multiply(acc, a, b, run);
            }
        }

        const int y_row = slice.s2 + row, y_channel = slice.s3 + channel;
        __global float *to = y + (y_row * y_pitch + y_offset + y_channel);
        __global const float *more = residual + (y_row * residual_pitch + y_channel);
        store_tile(acc, last - row, channels_out - channel, more, residual_pitch, slope + y_channel, alpha, beta, to,
                   y_pitch);
    }
}
