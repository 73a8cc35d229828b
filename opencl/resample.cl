/* Weighted sums of neighbours along two dimensions: linear and cubic resizing, with or without antialiasing.
 *
 * Memory: x is outer × a × b × inner and y is outer × rows × cols × inner, both contiguous. Output row i is the sum of
 * its taps_row source rows index_row[i·taps_row ...], weighted by weight_row[i·taps_row ...]; columns likewise:
 *
 *       x      ·  ·  ·  ·  ·            y[i][j] = Σ Σ weight_row[i][s] · weight_col[j][t]
 *              ·  ●  ●  ·  ·  ─▶ ■                      · x[index_row[i][s]][index_col[j][t]]
 *              ·  ●  ●  ·  ·
 *
 * each element standing for `inner` of them. An index below 0 makes the whole output row or column `outside`.
 * A work-item computes row_block of the outer·rows output rows × col_block columns, GROUP vectors at a time and the
 * rest one by one; the last vector overlaps its neighbour.
 *
 * WIDTH  elements per vector, at most `inner`
 */

#include "lib/types.h"

#define GROUP 4

__attribute__((always_inline)) static void
resample_group(__global const float *x, __global float *y, const int count, int line, int inner,
               __global const int *rows, __global const float *row_weights, int taps_row,
               __global const int *cols, __global const float *col_weights, int taps_col)
{
    VEC(float) sum[GROUP];
    #pragma unroll
    for (int i = 0; i < count; ++i)
        sum[i] = (VEC(float))(0.0f);
    for (int s = 0; s < taps_row; ++s)
        for (int t = 0; t < taps_col; ++t) {
            __global const float *at = x + rows[s] * line + cols[t] * inner;
            const float weight = row_weights[s] * col_weights[t];
            #pragma unroll
            for (int i = 0; i < count; ++i)
                sum[i] = fma((VEC(float))(weight), LOAD(float, at + i * WIDTH), sum[i]);
        }
    #pragma unroll
    for (int i = 0; i < count; ++i)
        STORE(float, sum[i], y + i * WIDTH);
}

__kernel void resample(__global const float *restrict x, __global float *restrict y,
                       __global const int *restrict index_row, __global const float *restrict weight_row,
                       __global const int *restrict index_col, __global const float *restrict weight_col,
                       int outer, int a, int b, int inner, int rows, int cols, int taps_row, int taps_col,
                       int row_block, int col_block, float outside)
{
    const int left = get_global_id(0) * col_block, right = min(left + col_block, cols);
    const int first = get_global_id(1) * row_block, last = min(first + row_block, outer * rows);

    for (int row = first; row < last; ++row) {
        const int i = row % rows;
        __global const float *from = x + row / rows * a * b * inner;
        __global const int *rows_of = index_row + i * taps_row;
        for (int col = left; col < right; ++col) {
            __global float *to = y + (row * cols + col) * inner;
            __global const int *cols_of = index_col + col * taps_col;
            if (rows_of[0] < 0 || cols_of[0] < 0) {
                for (int k = 0; k < inner; ++k)
                    to[k] = outside;
                continue;
            }
            int k = 0;
            for (; k + GROUP * WIDTH <= inner; k += GROUP * WIDTH)
                resample_group(from + k, to + k, GROUP, b * inner, inner, rows_of, weight_row + i * taps_row, taps_row,
                               cols_of, weight_col + col * taps_col, taps_col);
            for (; k < inner; k += WIDTH) {
                const int shifted = min(k, inner - WIDTH);
                resample_group(from + shifted, to + shifted, 1, b * inner, inner, rows_of, weight_row + i * taps_row,
                               taps_row, cols_of, weight_col + col * taps_col, taps_col);
            }
        }
    }
}
