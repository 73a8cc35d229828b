/* Pooling over windows in one to three spatial dimensions (missing ones have size 1).
 *
 * Memory: x is N, D, H, W, C and y is N, OD, OH, OW, C, both with the channels innermost. From one pixel to the next it
 * is x_pitch and y_pitch elements; the first is at x_offset and y_offset.
 *
 * A work-item computes pixel_block output pixels (of the N·OD·OH·OW in a row) × channel_block channels, GROUP vectors
 * of channels at a time and the rest one by one; the last vector of a pixel overlaps its neighbour, so there is no
 * narrower tail. Taps outside the input are cut off before the loops:
 *
 *             first    stop
 *       ┌───────┬────────┐      one dimension of a window that hangs over the front of the input:
 *       │ beyond│ inside │      taps [first, stop) lie inside, the first `counted` taps in the padded input
 *       └───────┴────────┘
 *     start     0
 *
 * TYPE     float, double, char or uchar
 * OP       MAX; AVERAGE of the taps inside, or with count_pad of those in the padded input; LP: (Σ |x|^p)^(1/p)
 * WIDTH    channels per vector, at most as many as a channel block has
 * INDICES  1: MAX also writes where each maximum was, the first of equals, counting elements in
 *          N, C, D, H, W order, or with column_major in the order N, C and then the first spatial dimension fastest
 */

#define MAX 0
#define AVERAGE 1
#define LP 2

#ifndef TYPE
#define TYPE float
#endif
#ifndef OP
#define OP MAX
#endif
#ifndef INDICES
#define INDICES 0
#endif

#include "lib/types.h"

#define GROUP 4

#if OP == MAX
#define INITIAL LOWEST(TYPE)
#define COMBINE(sum, value) max(sum, value)
#define FINISH(sum, count) (sum)
#elif OP == AVERAGE
#define INITIAL 0
#define COMBINE(sum, value) ((sum) + (value))
#define FINISH(sum, count) ((sum) / (TYPE)(count))
#else
#define INITIAL 0
/* p is nearly always 2, and powr() is slow. */
#define COMBINE(sum, value) ((sum) + (p == 2 ? (value) * (value) : powr(fabs(value), (VEC(TYPE))(p))))
#define FINISH(sum, count) (p == 2 ? sqrt(sum) : powr(sum, (VEC(TYPE))(1 / (TYPE)p)))
#endif

typedef struct { int start, first, stop, counted; } Span;

static Span window_span(int out, int size, int taps, int stride, int dilation, int pad_begin, int pad_end)
{
    Span span;
    span.start = out * stride - pad_begin;
    span.first = span.start < 0 ? (dilation - 1 - span.start) / dilation : 0;
    span.stop = min(taps, (size - span.start + dilation - 1) / dilation);
    span.counted = min(taps, (size + pad_end - span.start + dilation - 1) / dilation);
    return span;
}

/* Combines the taps of a window into `count` neighbouring vectors of y; x is at tap (0, 0, 0) of the first one. */
__attribute__((always_inline)) static void reduce(__global const TYPE *x, __global TYPE *y, const int count, Span d,
                                                  Span h, Span w, int tap_d, int tap_h, int tap_w, int taps, int p)
{
    VEC(TYPE) sum[GROUP];
    #pragma unroll
    for (int i = 0; i < count; ++i)
        sum[i] = (VEC(TYPE))(INITIAL);
    for (int kd = d.first; kd < d.stop; ++kd)
        for (int kh = h.first; kh < h.stop; ++kh)
            for (int kw = w.first; kw < w.stop; ++kw) {
                __global const TYPE *at = x + kd * tap_d + kh * tap_h + kw * tap_w;
                #pragma unroll
                for (int i = 0; i < count; ++i) {
                    const VEC(TYPE) value = LOAD(TYPE, at + i * WIDTH);
                    sum[i] = COMBINE(sum[i], value);
                }
            }
    #pragma unroll
    for (int i = 0; i < count; ++i)
        STORE(TYPE, FINISH(sum[i], taps), y + i * WIDTH);
}

/* The tap (d, h, w) of the first of the largest elements of one channel. */
static int3 largest(__global const TYPE *x, Span d, Span h, Span w, int tap_d, int tap_h, int tap_w)
{
    int3 where = (int3)(d.first, h.first, w.first);
    TYPE best = INITIAL;
    for (int kd = d.first; kd < d.stop; ++kd)
        for (int kh = h.first; kh < h.stop; ++kh)
            for (int kw = w.first; kw < w.stop; ++kw) {
                const TYPE value = x[kd * tap_d + kh * tap_h + kw * tap_w];
                if (value > best) {
                    best = value;
                    where = (int3)(kd, kh, kw);
                }
            }
    return where;
}

__kernel void pool(__global const TYPE *restrict x, __global TYPE *restrict y, __global long *restrict indices,
                   int x_pitch, int x_offset, int y_pitch, int y_offset,
                   int pixels, int channels, int pixel_block, int channel_block,
                   int size_d, int size_h, int size_w, int out_d, int out_h, int out_w,
                   int taps_d, int taps_h, int taps_w, int stride_d, int stride_h, int stride_w,
                   int dilation_d, int dilation_h, int dilation_w,
                   int begin_d, int begin_h, int begin_w, int end_d, int end_h, int end_w,
                   int count_pad, int p, int column_major)
{
    const int first_channel = get_global_id(0) * channel_block;
    const int last_channel = min(first_channel + channel_block, channels);
    const int first = get_global_id(1) * pixel_block;
    const int step_h = size_w * x_pitch, step_d = size_h * step_h;
    const int tap_d = dilation_d * step_d, tap_h = dilation_h * step_h, tap_w = dilation_w * x_pitch;

    for (int pixel = first; pixel < min(first + pixel_block, pixels); ++pixel) {
        const int row = pixel / out_w, plane = row / out_h, image = plane / out_d;
        const Span w = window_span(pixel % out_w, size_w, taps_w, stride_w, dilation_w, begin_w, end_w);
        const Span h = window_span(row % out_h, size_h, taps_h, stride_h, dilation_h, begin_h, end_h);
        const Span d = window_span(plane % out_d, size_d, taps_d, stride_d, dilation_d, begin_d, end_d);
        const int inside = (d.stop - d.first) * (h.stop - h.first) * (w.stop - w.first);
        const int count = count_pad ? d.counted * h.counted * w.counted : inside;
        const int corner = image * size_d * step_d + d.start * step_d + h.start * step_h + w.start * x_pitch;

        __global const TYPE *from = x + x_offset + corner;
        __global TYPE *to = y + y_offset + pixel * y_pitch;
        int c = first_channel;
        for (; c + GROUP * WIDTH <= last_channel; c += GROUP * WIDTH)
            reduce(from + c, to + c, GROUP, d, h, w, tap_d, tap_h, tap_w, count, p);
        for (; c < last_channel; c += WIDTH) {
            const int shifted = min(c, last_channel - WIDTH);
            reduce(from + shifted, to + shifted, 1, d, h, w, tap_d, tap_h, tap_w, count, p);
        }
#if INDICES
        for (c = first_channel; c < last_channel; ++c) {
            const int3 tap = largest(from + c, d, h, w, tap_d, tap_h, tap_w);
            const int at_d = d.start + tap.x * dilation_d;
            const int at_h = h.start + tap.y * dilation_h;
            const int at_w = w.start + tap.z * dilation_w;
            const int within = column_major ? (at_w * size_h + at_h) * size_d + at_d
                                            : (at_d * size_h + at_h) * size_w + at_w;
            indices[pixel * channels + c] = (long)(image * channels + c) * size_d * size_h * size_w + within;
        }
#endif
    }
}
