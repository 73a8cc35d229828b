/* 3x3 convolution of stride 1 by Winograd's minimal filtering, F(2x2,3x3) and F(4x4,3x3), for CPU devices: input
 * transform, products and output transform in one work-item, through scratch memory that stays in its core's cache.
 *
 * After Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016; the blocking that keeps all
 * three stages in cache is that of Jia et al., "Optimizing N-Dimensional, Winograd-Based Convolution for Manycore
 * CPUs", PPoPP 2018.
 *
 * Memory
 *   x        activations, channels last: element (n, h, w, c) at ((n·height + h)·width + w)·x_pitch + x_offset + c
 *   weights  transformed and packed [panel][position][channels_in][LANES], LANES = 16·TILE_N output channels, zeros
 *            where there are fewer; position counts the SPAN·SPAN elements of a transformed tile
 *   bias, slope   one value per output channel, or null
 *   zeros    16 zeros, for pixels outside the picture
 *   scratch  [position][tile][channels_in] transformed input, then [position][tile][LANES] products; the positions lie
 *            16 floats further apart than their size, so that they do not fall into the same sets of the cache
 *   y        element (row, channel) at row·y_pitch + y_offset + channel; the residual alike,
 *            with a pitch and an offset of its own
 *
 * Tile: SIZE x SIZE output pixels, made of SPAN x SPAN input pixels, SPAN = SIZE + 2
 *
 *   x   ┌──────┐ SPAN         V_p [tiles x channels_in]        y   ┌────┐ SIZE
 *       │ ┌────┼─┐       ─▶   one matrix per position   ─▶         │    │
 *       └─┼────┘ │            M_p = V_p · W_p, by TILE_M x LANES   └────┘
 *         └──────┘                                                  A' M A, bias, residual, activation
 *         B' d B
 *
 * Index space: (blocks of `tiles` tiles, groups of `panels` panels from first_panel to end_panel, without it),
 * work-groups of one item. `tiles` is a multiple of TILE_M; channels_in is at least 16.
 *
 * Parameters: SIZE, TILE_M, TILE_N, ACTIVATION, RESIDUAL (lib/epilogue.h).
 */
#ifndef SIZE
#define SIZE 4
#endif
#ifndef TILE_M
#define TILE_M 6
#endif
#ifndef TILE_N
#define TILE_N 4
#endif
#define SPAN (SIZE + 2)
#define POSITIONS (SPAN * SPAN)
#define LANES (16 * TILE_N)
#define SKEW 16

#include "lib/epilogue.h"
#include "lib/multiply.h"

DEFINE_MULTIPLY(multiply, __local)

#define C(number) ((float16)(number))

/* One dimension of B' d B: SPAN values, `step` apart, in place. */
__attribute__((always_inline)) static void transform_input(float16 *d, const int step) {
#if SIZE == 4
    const float16 d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step], d4 = d[4 * step], d5 = d[5 * step];
    const float16 even = fma(C(-4.0f), d2, d4), odd = fma(C(-4.0f), d1, d3);
    const float16 near = d4 - d2, far = C(2.0f) * (d3 - d1);
    d[0] = fma(C(4.0f), d0, fma(C(-5.0f), d2, d4));
    d[step] = even + odd;
    d[2 * step] = even - odd;
    d[3 * step] = near + far;
    d[4 * step] = near - far;
    d[5 * step] = fma(C(4.0f), d1, fma(C(-5.0f), d3, d5));
#else
    const float16 d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step];
    d[0] = d0 - d2;
    d[step] = d1 + d2;
    d[2 * step] = d2 - d1;
    d[3 * step] = d1 - d3;
#endif
}

/* One dimension of A' M A: SPAN values, `step` apart, become SIZE, in place. */
__attribute__((always_inline)) static void transform_output(float16 *m, const int step) {
#if SIZE == 4
    const float16 m0 = m[0], m1 = m[step], m2 = m[2 * step], m3 = m[3 * step], m4 = m[4 * step], m5 = m[5 * step];
    const float16 sum = m1 + m2, difference = m1 - m2, sum2 = m3 + m4, difference2 = m3 - m4;
    m[0] = m0 + sum + sum2;
    m[step] = fma(C(2.0f), difference2, difference);
    m[2 * step] = fma(C(4.0f), sum2, sum);
    m[3 * step] = fma(C(8.0f), difference2, difference + m5);
#else
    const float16 m0 = m[0], m1 = m[step], m2 = m[2 * step], m3 = m[3 * step];
    m[0] = m0 + m1 + m2;
    m[step] = m1 - m2 - m3;
#endif
}

__kernel __attribute__((reqd_work_group_size(1, 1, 1), vec_type_hint(float16))) void winograd(
    __global const float *restrict x, __global const float *restrict weights, __global const float *restrict bias,
    __global const float *restrict residual, __global const float *restrict slope,
    __global const float *restrict zeros, __global float *restrict y, __local float *restrict scratch,
    const float alpha, const float beta, const int all_tiles, const int tiles, const int first_panel,
    const int end_panel, const int panels, const int channels_in, const int channels_out, const int x_pitch, const int x_offset, const int y_pitch,
    const int y_offset, const int residual_pitch, const int residual_offset, const int height, const int width,
    const int out_height, const int out_width, const int tile_rows, const int tile_cols, const int pad_top,
    const int pad_left) {
    residual += residual_offset;
    const int first = get_global_id(0) * tiles;
    const int count = min(tiles, all_tiles - first);
    const int v_step = tiles * channels_in + SKEW, m_step = tiles * LANES + SKEW;
    __local float *restrict v = scratch;
    __local float *restrict m = scratch + POSITIONS * v_step;

    for (int t = 0; t < count; ++t) {
        const int tile = first + t;
        const int w = tile % tile_cols * SIZE - pad_left;
        const int h = tile / tile_cols % tile_rows * SIZE - pad_top;
        const int n = tile / tile_cols / tile_rows;
        const int inside = h >= 0 && w >= 0 && h + SPAN <= height && w + SPAN <= width;
        __global const float *corner = x + (((n * height + h) * width + w) * x_pitch + x_offset);
        for (int next = 0; next < channels_in; next += 16) {
            const int c = min(next, channels_in - 16);
            float16 d[POSITIONS];
#pragma unroll
            for (int i = 0; i < SPAN; ++i) {
                if (inside) {
#pragma unroll
                    for (int j = 0; j < SPAN; ++j) d[i * SPAN + j] = vload16(0, corner + ((i * width + j) * x_pitch + c));
                } else {
#pragma unroll
                    for (int j = 0; j < SPAN; ++j) {
                        const int seen = ((uint)(h + i) < (uint)height) & ((uint)(w + j) < (uint)width);
                        d[i * SPAN + j] = vload16(0, seen ? corner + ((i * width + j) * x_pitch + c) : zeros);
                    }
                }
                transform_input(d + i * SPAN, 1);
            }
            __local float *to = v + (t * channels_in + c);
#pragma unroll
            for (int j = 0; j < SPAN; ++j) {
                transform_input(d + j, SPAN);
#pragma unroll
                for (int i = 0; i < SPAN; ++i) vstore16(d[i * SPAN + j], 0, to + (i * SPAN + j) * v_step);
            }
        }
    }

    const int begin = first_panel + get_global_id(1) * panels;
    for (int panel = begin; panel < min(begin + panels, end_panel); ++panel) {
        __global const float *b = weights + panel * POSITIONS * channels_in * LANES;
        for (int p = 0; p < POSITIONS; ++p, b += channels_in * LANES) {
            for (int t = 0; t < count; t += TILE_M) {
                float16 acc[TILE_M][TILE_N];
                __local const float *a[TILE_M];
#pragma unroll
                for (int i = 0; i < TILE_M; ++i) {
                    /* Beyond the last tile the rows of the first one stand in: nothing reads what comes of them. */
                    a[i] = v + (p * v_step + (t + i < count ? t + i : 0) * channels_in);
#pragma unroll
                    for (int j = 0; j < TILE_N; ++j) acc[i][j] = C(0.0f);
                }
                multiply(acc, a, b, channels_in);
                __local float *to = m + (p * m_step + t * LANES);
#pragma unroll
                for (int i = 0; i < TILE_M; ++i) {
#pragma unroll
                    for (int j = 0; j < TILE_N; ++j) vstore16(acc[i][j], i * TILE_N + j, to);
                }
            }
        }

        for (int t = 0; t < count; ++t) {
            const int tile = first + t;
            const int ow = tile % tile_cols * SIZE, oh = tile / tile_cols % tile_rows * SIZE;
            const int row = (tile / tile_cols / tile_rows * out_height + oh) * out_width + ow;
            const int right = min(SIZE, out_width - ow), bottom = min(SIZE, out_height - oh);
            for (int channel = panel * LANES; channel < min((panel + 1) * LANES, channels_out); channel += 16) {
                __local const float *from = m + (t * LANES + channel - panel * LANES);
                float16 d[POSITIONS];
#pragma unroll
                for (int i = 0; i < SPAN; ++i) {
#pragma unroll
                    for (int j = 0; j < SPAN; ++j) d[i * SPAN + j] = vload16(0, from + (i * SPAN + j) * m_step);
                    transform_output(d + i * SPAN, 1);
                }
/* In an array of its own, as the loop below would keep all of `d` in memory. */
                float16 out[SIZE * SIZE];
#pragma unroll
                for (int j = 0; j < SIZE; ++j) {
                    transform_output(d + j, SPAN);
#pragma unroll
                    for (int i = 0; i < SIZE; ++i) out[i * SIZE + j] = d[i * SPAN + j];
                }

                const float16 start = bias ? load_lanes_16(channels_out - channel, bias + channel) : C(0.0f);
#pragma unroll 1
                for (int i = 0; i < bottom; ++i) {
#pragma unroll 1
                    for (int j = 0; j < right; ++j) {
                        const int at = row + i * out_width + j;
                        finish_16(out[i * SIZE + j] + start, channels_out - channel,
                                  residual + (at * residual_pitch + channel), slope + channel, alpha, beta,
                                  y + (at * y_pitch + y_offset + channel));
                    }
                }
            }
        }
    }
}
