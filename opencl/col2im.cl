/* The second half of a transposed convolution: gather the products of input pixels and kernel taps.
 *
 * Memory
 *   columns  element (n, ih, iw, g, kh, kw, c) in that order, row-major: input pixel (n, ih, iw) times the weights of
 *            tap (kh, kw) for channel c of group g
 *   bias     one value per output channel, or null
 *   y        channels last: element (n, oh, ow, g·channels + c)
 *
 * Gather, here with stride 2 and 3 taps along one axis: input i adds to the outputs i·stride + tap - pad
 *
 *   columns   i=0 [t0 t1 t2]      i=1 [t0 t1 t2]      i=2 [t0 t1 t2]
 *                  |  |   \_________  /  |   \__________ /
 *   y              0  1            2     3             4   ...      output o sums the taps t with
 *                                                                   (o + pad - t·dilation) = i·stride
 *
 * Index space: (blocks of `pixels` output pixels, vectors of LANES channels in all groups).
 *
 * Parameter: LANES (16 for CPU devices, 4 for GPUs).
 */
#ifndef LANES
#define LANES 16
#endif

#include "lib/lanes.h"
#include "lib/paste.h"

#define FLOATN CLNN_PASTE(float, LANES)
#define LOAD_LANES CLNN_PASTE(load_lanes_, LANES)
#define STORE_LANES CLNN_PASTE(store_lanes_, LANES)

__kernel void col2im(__global const float *restrict columns, __global const float *restrict bias,
                     __global float *restrict y, const int rows, const int pixels, const int groups,
                     const int channels, const int height, const int width, const int out_height,
                     const int out_width, const int kernel_h, const int kernel_w, const int stride_h,
                     const int stride_w, const int dilation_h, const int dilation_w, const int pad_top,
                     const int pad_left) {
    const int vectors = (channels + LANES - 1) / LANES;
    const int group = get_global_id(1) / vectors;
    const int c = get_global_id(1) % vectors * LANES;
    const int count = channels - c;
    const int taps = kernel_h * kernel_w;
    const int first = get_global_id(0) * pixels;
    const int last = min(first + pixels, rows);

    for (int row = first; row < last; ++row) {
        const int ow = row % out_width, oh = row / out_width % out_height, n = row / out_width / out_height;
        FLOATN sum = bias ? LOAD_LANES(count, bias + group * channels + c) : (FLOATN)(0.0f);
        for (int kh = 0; kh < kernel_h; ++kh) {
            const int h = oh + pad_top - kh * dilation_h;
            if (h < 0 || h % stride_h != 0 || h / stride_h >= height) continue;
            for (int kw = 0; kw < kernel_w; ++kw) {
                const int w = ow + pad_left - kw * dilation_w;
                if (w < 0 || w % stride_w != 0 || w / stride_w >= width) continue;
                const int pixel = (n * height + h / stride_h) * width + w / stride_w;
                const int tap = (pixel * groups + group) * taps + kh * kernel_w + kw;
                sum += LOAD_LANES(count, columns + tap * channels + c);
            }
        }
        STORE_LANES(sum, count, y + (row * groups + group) * channels + c);
    }
}
