/* Convolution as implicit GEMM for GPUs, with the interface of conv_gemm.cl: the same arguments, the same memory.
 * Correct on CPU devices, where it is slow; never run on a GPU so far.
 *
 * A work-group computes TILE_M pixels x TILE_N output channels, a work-item MICRO x 4 of them:
 *
 *                        b [TILE_K][TILE_N]  weights, as they lie in the panel
 *                          +-----------------+
 *                          |                 |
 *   a [TILE_K][TILE_M]     +-----------------+
 *   pixels, transposed     |       [item]    |      work-item (i, j) of a (TILE_N / 4) x (TILE_M / MICRO) group:
 *   +----+                 |                 |      pixels MICRO·j ..., channels 4·i ..., so that neighbours in the
 *   |    |                 |                 |      group read and write neighbouring float4
 *   +----+                 +-----------------+
 *
 * k runs over kernel_h x kernel_w x channels_in, TILE_K at a time; the a tile is gathered from the picture while it
 * is loaded (im2col without the matrix), neighbouring work-items along k, which is contiguous in x.
 *
 * Index space: (panels · TILE_N / 4, blocks of pixels · TILE_M / MICRO, z).
 *
 * Parameters: TILE_M, TILE_N, TILE_K, MICRO, ACTIVATION, RESIDUAL (lib/epilogue.h).
 */
#ifndef TILE_M
#define TILE_M 64
#endif
#ifndef TILE_N
#define TILE_N 64
#endif
#ifndef TILE_K
#define TILE_K 16
#endif
#ifndef MICRO
#define MICRO 4
#endif
#define LANES TILE_N
#define GROUP_X (TILE_N / 4)
#define GROUP_Y (TILE_M / MICRO)
#define GROUP (GROUP_X * GROUP_Y)

#include "lib/epilogue.h"

__kernel __attribute__((reqd_work_group_size(GROUP_X, GROUP_Y, 1))) void gemm_local(
    __global const float *restrict x, __global const float *restrict weights, __global const float *restrict bias,
    __global const float *restrict residual, __global const float *restrict slope,
    __global const float *restrict zeros, __global const int4 *restrict slices, __global float *restrict y,
    const float alpha, const float beta, const int rows, const int tiles, const int channels_in,
    const int channels_out, const int x_pitch, const int y_pitch, const int y_offset, const int residual_pitch,
    const int residual_offset, const int height, const int width, const int out_height, const int out_width,
    const int kernel_h, const int kernel_w, const int stride_h, const int stride_w, const int dilation_h,
    const int dilation_w, const int pad_top, const int pad_left) {
    residual += residual_offset;
    __local float a[TILE_K][TILE_M + 1];  /* + 1: columns fall into different banks */
    __local float b[TILE_K][TILE_N];

    const int4 slice = slices[get_global_id(2)];
    const int item = get_local_id(1) * GROUP_X + get_local_id(0);
    const int depth = kernel_h * kernel_w * channels_in;
    /* from the ids of work-items, which count the offset of a launch of a part; those of groups do not */
    const int first = get_global_id(1) / GROUP_Y * TILE_M;
    const int c = get_global_id(0) * 4;
    x += slice.s0;
    weights += slice.s1 + get_global_id(0) / GROUP_X * depth * LANES;

    float4 acc[MICRO];
#pragma unroll
    for (int i = 0; i < MICRO; ++i) {
        acc[i] = bias ? load_lanes_4(channels_out - c, bias + slice.s3 + c) : (float4)(0.0f);
    }

    for (int begin = 0; begin < depth; begin += TILE_K) {
        for (int t = item; t < TILE_K * TILE_M; t += GROUP) {
            const int k = begin + t % TILE_K;
            const int row = first + t / TILE_K;
            const int tap = k / channels_in;
            const int h = row / out_width % out_height * stride_h - pad_top + tap / kernel_w * dilation_h;
            const int w = row % out_width * stride_w - pad_left + tap % kernel_w * dilation_w;
            const int n = row / out_width / out_height;
            const int inside = row < rows && k < depth && h >= 0 && h < height && w >= 0 && w < width;
            a[t % TILE_K][t / TILE_K] = inside ? x[((n * height + h) * width + w) * x_pitch + k % channels_in] : 0.0f;
        }
        for (int t = item; t < TILE_K * TILE_N; t += GROUP) {
            const int k = begin + t / TILE_N;
            b[t / TILE_N][t % TILE_N] = k < depth ? weights[k * LANES + t % TILE_N] : 0.0f;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int k = 0; k < TILE_K; ++k) {
            const float4 weight = vload4(get_local_id(0), b[k]);
#pragma unroll
            for (int i = 0; i < MICRO; ++i) {
                acc[i] = fma((float4)(a[k][get_local_id(1) * MICRO + i]), weight, acc[i]);
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }

#pragma unroll
    for (int i = 0; i < MICRO; ++i) {
        const int row = first + get_local_id(1) * MICRO + i;
        const int y_row = slice.s2 + row, y_channel = slice.s3 + c;
        if (row < rows && c < channels_out) {
            finish_4(acc[i], channels_out - c, residual + (y_row * residual_pitch + y_channel), slope + y_channel,
                     alpha, beta, y + (y_row * y_pitch + y_offset + y_channel));
        }
    }
}
