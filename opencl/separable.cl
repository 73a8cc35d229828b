/* Depthwise convolution and the 1x1 convolution after it, in one kernel for CPU devices: what lies between them never
 * leaves the cache of a core.
 *
 * Memory
 *   x        channels last: element (n, h, w, c) at ((n·height + h)·width + w)·x_pitch + x_offset + c
 *   taps     weights of the depthwise convolution, [kernel_h][kernel_w][channels]; `tap_bias` one value per channel
 *   weights  of the 1x1 convolution, packed [panel][channels][16·TILE_N] (see pack.cl)
 *   bias, slope   one value per output channel, or null, as may be `tap_bias`
 *   zeros    16 zeros that stand for pixels beside the picture
 *   scratch  [pixel][channels + SKEW]: the result of the depthwise convolution
 *   y        element (row, channel) at row·y_pitch + y_offset + channel; the residual alike,
 *            with a pitch and an offset of its own. Rows are output pixels in order
 *
 * Tile: a work-item takes `pixels` output pixels through both convolutions
 *
 *   x ──▶ TILE_W pixels x 16 channels at a time ──▶ scratch [pixels x channels] ──▶ TILE_M x 16·TILE_N at a time ──▶ y
 *         taps, tap_bias, INNER                                                     weights, bias, residual, ACTIVATION
 *
 * Index space: blocks of `pixels` pixels, work-groups of one item. channels is at least 16; where 16 does not divide it
 * the last vector is moved back over channels that have been done already.
 *
 * Parameters: TILE_M, TILE_N, INNER (the activation between the two), ACTIVATION, RESIDUAL (lib/epilogue.h).
 */
#ifndef TILE_M
#define TILE_M 6
#endif
#ifndef TILE_N
#define TILE_N 4
#endif
#ifndef INNER
#define INNER NONE
#endif
#define SKEW 16

#include "lib/depthwise.h"
#include "lib/multiply.h"
#include "lib/tile.h"

DEFINE_MULTIPLY(multiply, __local)

#define ACTIVATE_INNER CLNN_PASTE(ACTIVATION_, INNER)(16)

__kernel __attribute__((reqd_work_group_size(1, 1, 1), vec_type_hint(float16))) void separable(
    __global const float *restrict x, __global const float *restrict taps, __global const float *restrict tap_bias,
    __global const float *restrict weights, __global const float *restrict bias,
    __global const float *restrict residual, __global const float *restrict slope,
    __global const float *restrict zeros, __global float *restrict y, __local float *restrict scratch,
    const float inner_alpha, const float inner_beta, const float alpha, const float beta, const int rows,
    const int pixels, const int channels, const int channels_out, const int panels, const int x_pitch,
    const int x_offset, const int y_pitch, const int y_offset, const int residual_pitch,
    const int residual_offset, const int height, const int width, const int out_height, const int out_width,
    const int kernel_h, const int kernel_w, const int stride_h, const int stride_w, const int dilation_h,
    const int dilation_w, const int pad_top, const int pad_left) {
    residual += residual_offset;
    x += x_offset;
    const int first = get_global_id(0) * pixels;
    const int count = min(pixels, rows - first);
    const int pitch = channels + SKEW;

    for (int done = 0; done < count;) {
        const int ow = (first + done) % out_width, row = (first + done) / out_width;
        const int run = min(min(TILE_W, out_width - ow), count - done);
        const int h = row % out_height * stride_h - pad_top, w = ow * stride_w - pad_left;
        const int reach = (TILE_W - 1) * stride_w + (kernel_w - 1) * dilation_w;
        const int inside = w >= 0 && w + reach < width;
        __global const float *picture = x + row / out_height * height * width * x_pitch;
        for (int next = 0; next < channels; next += 16) {
            const int c = min(next, channels - 16);
            const float16 start = tap_bias ? vload16(0, tap_bias + c) : (float16)(0.0f);
            float16 acc[TILE_W];
#pragma unroll
            for (int i = 0; i < TILE_W; ++i) acc[i] = start;
            depthwise_tile(acc, picture + c, taps + c, zeros, channels, x_pitch, height, width, h, w, inside, kernel_h,
                           kernel_w, stride_w, dilation_h, dilation_w);
            __local float *to = scratch + (done * pitch + c);
#pragma unroll
            for (int i = 0; i < TILE_W; ++i) {
                if (i < run) {
                    vstore16(ACTIVATE_INNER(acc[i], (float16)(0.0f), inner_alpha, inner_beta), 0, to + i * pitch);
                }
            }
        }
        done += run;
    }

    for (int panel = 0; panel < panels; ++panel) {
        const int channel = panel * 16 * TILE_N;
        __global const float *b = weights + panel * channels * 16 * TILE_N;
        float16 start[TILE_N];
#pragma unroll
        for (int j = 0; j < TILE_N; ++j) {
            const int c = channel + 16 * j;
            start[j] = bias ? load_lanes_16(channels_out - c, bias + c) : (float16)(0.0f);
        }
        for (int t = 0; t < count; t += TILE_M) {
            float16 acc[TILE_M][TILE_N];
            __local const float *a[TILE_M];
#pragma unroll
            for (int i = 0; i < TILE_M; ++i) {
                a[i] = scratch + min(t + i, count - 1) * pitch;
#pragma unroll
                for (int j = 0; j < TILE_N; ++j) acc[i][j] = start[j];
            }
            multiply(acc, a, b, channels);
            const int y_row = first + t;
            store_tile(acc, count - t, channels_out - channel, residual + (y_row * residual_pitch + channel),
                       residual_pitch, slope + channel, alpha, beta, y + (y_row * y_pitch + y_offset + channel),
                       y_pitch);
        }
    }
}
