/* Local response normalisation: y = x · (bias + scale · sum of x² over the neighbouring channels) ^ -beta.
 *
 * Memory: x and y are rows of `channels` contiguous floats, one row per position (channels-last layout).
 *
 *     channels ─▶
 *     ┌──────┬──────┬───┐       a work-item computes rows_per_item rows, in vectors of WIDTH channels; the sum for
 *     │  v0  │  v1  │v2 │       channel c goes from c - before to c + after, as far as there are channels
 *     └──────┴──────┴───┘
 *
 * WIDTH  lanes of a vector
 */
#ifndef WIDTH
#define WIDTH 16
#endif

#include "lib/types.h"

#define V VEC(float)

inline VEC(int) lane_numbers(void)
{
    int numbers[WIDTH];
    for (int lane = 0; lane < WIDTH; ++lane)
        numbers[lane] = lane;
    return JOIN(vload, WIDTH)(0, numbers);
}

/* WIDTH channels of a row from `first` on; those that do not exist are 0. */
inline V channels_at(__global const float *x, int row, int rows, int first, int channels)
{
    const int at = row * channels + first, end = rows * channels;
    if (first >= 0 && first + WIDTH <= channels)
        return LOAD(float, x + at);
    /* Over a border the vector reads elements of the next row, which do not count, unless there is none. */
    V v;
    if (at >= 0 && at + WIDTH <= end) {
        v = LOAD(float, x + at);
    } else {
        float lanes[WIDTH];
        for (int lane = 0; lane < WIDTH; ++lane)
            lanes[lane] = at + lane >= 0 && at + lane < end ? x[at + lane] : 0.0f;
        v = JOIN(vload, WIDTH)(0, lanes);
    }
    const VEC(int) channel = lane_numbers() + first;
    return select((V)(0.0f), v, (channel >= 0) & (channel < channels));
}

__kernel void lrn(__global const float *restrict x, __global float *restrict y, int rows, int channels,
                  int rows_per_item, int before, int after, float scale, float bias, float beta)
{
    const int first = get_global_id(0) * rows_per_item;
    for (int row = first; row < min(first + rows_per_item, rows); ++row) {
        __global float *to = y + row * channels;
        for (int c = 0; c < channels; c += WIDTH) {
            V sum = (V)(0.0f);
            for (int d = -before; d <= after; ++d) {
                const V v = channels_at(x, row, rows, c + d, channels);
                sum = fma(v, v, sum);
            }
            /* log and exp are within 1 ulp, and the logarithm is small: together they err by some 3e-7 */
            const V power = exp(-beta * log(fma(sum, (V)(scale), (V)(bias))));
            const V result = channels_at(x, row, rows, c, channels) * power;
            if (c + WIDTH <= channels) {
                STORE(float, result, to + c);
            } else {
                float lanes[WIDTH];
                JOIN(vstore, WIDTH)(result, 0, lanes);
                for (int lane = 0; c + lane < channels; ++lane)
                    to[c + lane] = lanes[lane];
            }
        }
    }
}
