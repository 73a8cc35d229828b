/* Depthwise convolution: every channel has a kernel of its own.
 *
 * Memory
 *   x        channels last: element (n, h, w, c) at ((n·height + h)·width + w)·x_pitch + x_offset + c
 *   weights  [kernel_h][kernel_w][channels]
 *   bias, slope   one value per channel, or null
 *   zeros    LANES zeros that stand for pixels beside the picture
 *   y        element (row, c) at row·y_pitch + y_offset + c, the residual alike, with a pitch
 *            and an offset of its own; rows are the output pixels in order
 *
 * Tile: TILE_W pixels of one output row x one vector of LANES channels
 *
 *   x row  [ . . p0 . p1 . p2 . p3 . . ]   p_i: input pixel under the current tap, stride_w apart
 *              |    |    |    |
 *              v    v    v    v            acc_i += p_i · weight of the tap
 *   y row  [ .. acc0 acc1 acc2 acc3 .. ]
 *
 * Kernel rows above and below the picture are left out. A tile that sees its left or right border, or reaches over
 * the end of the row, chooses between picture and zeros pixel by pixel. Where the vector width does not divide the
 * channels, the last vector of a work-item is moved back over channels that it has done already: no lane is masked.
 *
 * Index space: (output rows in groups of rows_per_item, groups of chunk channels, of which the last takes the rest).
 * chunk is a multiple of LANES and at most the number of channels.
 *
 * Parameters: TILE_W, LANES, ACTIVATION, RESIDUAL (lib/epilogue.h).
 */
#include "lib/depthwise.h"
#include "lib/epilogue.h"

#define FINISH CLNN_PASTE(finish_, LANES)

/* The hint keeps compilers from vectorising over work-items as well. */
__kernel __attribute__((vec_type_hint(FLOATN))) void depthwise(
    __global const float *restrict x, __global const float *restrict weights, __global const float *restrict bias,
    __global const float *restrict residual, __global const float *restrict slope,
    __global const float *restrict zeros, __global float *restrict y, const float alpha, const float beta,
    const int rows, const int rows_per_item, const int channels, const int chunk, const int x_pitch,
    const int x_offset, const int y_pitch, const int y_offset, const int residual_pitch, const int residual_offset,
    const int height, const int width, const int out_height, const int out_width, const int kernel_h,
    const int kernel_w, const int stride_h, const int stride_w, const int dilation_h, const int dilation_w,
    const int pad_top, const int pad_left) {
    residual += residual_offset;
    x += x_offset;
    const int begin = get_global_id(1) * chunk;
    const int end = begin + 2 * chunk > channels ? channels : begin + chunk;
    const int first = get_global_id(0) * rows_per_item;
    const int last = min(first + rows_per_item, rows);

    for (int row = first; row < last; ++row) {
        const int h = row % out_height * stride_h - pad_top;
        __global const float *picture = x + row / out_height * height * width * x_pitch;

        for (int ow = 0; ow < out_width; ow += TILE_W) {
            const int w = ow * stride_w - pad_left;
            const int reach = (TILE_W - 1) * stride_w + (kernel_w - 1) * dilation_w;
            const int inside = w >= 0 && w + reach < width && ow + TILE_W <= out_width;

            for (int next = begin; next < end; next += LANES) {
                const int c = min(next, end - LANES);
                const FLOATN start = bias ? LOAD(0, bias + c) : (FLOATN)(0.0f);
                FLOATN acc[TILE_W];
#pragma unroll
                for (int i = 0; i < TILE_W; ++i) acc[i] = start;

                depthwise_tile(acc, picture + c, weights + c, zeros, channels, x_pitch, height, width, h, w, inside,
                               kernel_h, kernel_w, stride_w, dilation_h, dilation_w);
#pragma unroll
                for (int i = 0; i < TILE_W; ++i) {
                    const int y_row = row * out_width + ow + i;
                    if (ow + i < out_width) {
                        FINISH(acc[i], LANES, residual + (y_row * residual_pitch + c), slope + c, alpha, beta,
                               y + (y_row * y_pitch + y_offset + c));
                    }
                }
            }
        }
    }
}
