/* Depthwise convolution of TILE_W neighbouring pixels of an output row x one vector of LANES channels.
 *
 *   depthwise_tile(acc, x, weights, zeros, channels, x_pitch, height, width, h, w, inside, ...)
 *
 * adds to acc[i] the taps of pixel i. `x` points at the first pixel of the picture, `weights` at the first tap, both at
 * the channel of the first lane; h and w are the place of the first tap of pixel 0, which may lie beside the picture.
 * Kernel rows above and below it are left out. Where not all pixels are known to be `inside` between its left and
 * right border, each is looked at by itself, and `zeros` (LANES of them) stand for those beside it.
 */
#ifndef CLNN_DEPTHWISE_H
#define CLNN_DEPTHWISE_H

#include "lib/paste.h"

#ifndef TILE_W
#define TILE_W 8
#endif
#ifndef LANES
#define LANES 16
#endif
#define FLOATN CLNN_PASTE(float, LANES)
#define LOAD CLNN_PASTE(vload, LANES)

__attribute__((always_inline)) static void depthwise_tile(
    FLOATN acc[TILE_W], __global const float *x, __global const float *weights, __global const float *zeros,
    const int channels, const int x_pitch, const int height, const int width, const int h, const int w,
    const int inside, const int kernel_h, const int kernel_w, const int stride_w, const int dilation_h,
    const int dilation_w) {
    const int step = stride_w * x_pitch;
    const int kh_begin = h < 0 ? (-h + dilation_h - 1) / dilation_h : 0;
    const int kh_end = min(kernel_h, (height - h + dilation_h - 1) / dilation_h);
    for (int kh = kh_begin; kh < kh_end; ++kh) {
        for (int kw = 0; kw < kernel_w; ++kw) {
            const FLOATN weight = LOAD(0, weights + (kh * kernel_w + kw) * channels);
            const int iw = w + kw * dilation_w;
            __global const float *p = x + ((h + kh * dilation_h) * width + iw) * x_pitch;
            if (inside) {
#pragma unroll
                for (int i = 0; i < TILE_W; ++i) acc[i] = fma(LOAD(0, p + i * step), weight, acc[i]);
            } else {
#pragma unroll
                for (int i = 0; i < TILE_W; ++i) {
                    const int seen = (uint)(iw + i * stride_w) < (uint)width;
                    acc[i] = fma(LOAD(0, seen ? p + i * step : zeros), weight, acc[i]);
                }
            }
        }
    }
}

#endif
