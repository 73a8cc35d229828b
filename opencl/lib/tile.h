/* The epilogue of a whole tile: TILE_M pixels x TILE_N vectors of 16 channels, of which the first `rows` and `columns`
 * exist. The pointers point at the tile's first pixel and channel.
 */
#ifndef CLNN_TILE_H
#define CLNN_TILE_H

#include "lib/epilogue.h"

__attribute__((always_inline)) static void store_tile(float16 acc[TILE_M][TILE_N], const int rows, const int columns,
                                                      __global const float *residual, const int residual_pitch,
                                                      __global const float *slope, const float alpha, const float beta,
                                                      __global float *y, const int y_pitch) {
    if (rows >= TILE_M && columns >= 16 * TILE_N) {
#pragma unroll
        for (int i = 0; i < TILE_M; ++i) {
#pragma unroll
            for (int j = 0; j < TILE_N; ++j) {
                finish_16(acc[i][j], 16, residual + (i * residual_pitch + 16 * j), slope + 16 * j, alpha, beta,
                          y + (i * y_pitch + 16 * j));
            }
        }
        return;
    }
    /* At the edge of the matrix a copy in memory lets the rest be a loop: with its masks it would be most of the
     * program if it were unrolled. */
    float16 sum[TILE_M][TILE_N];
#pragma unroll
    for (int i = 0; i < TILE_M; ++i) {
#pragma unroll
        for (int j = 0; j < TILE_N; ++j) sum[i][j] = acc[i][j];
    }
#pragma unroll 1
    for (int i = 0; i < min(TILE_M, rows); ++i) {
#pragma unroll 1
        for (int c = 0; c < min(16 * TILE_N, columns); c += 16) {
            finish_16(sum[i][c / 16], columns - c, residual + (i * residual_pitch + c), slope + c, alpha, beta,
                      y + (i * y_pitch + c));
        }
    }
}

#endif
