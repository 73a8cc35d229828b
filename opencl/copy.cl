/* Strided copy: every operator that only moves elements (Transpose, Concat, Slice, Expand, ...) is launches of this.
 *
 * Memory: source and target are up to six dimensions over the same sizes, each with its own stride in elements
 * (0 repeats, negative runs backwards). The host merges dimensions and deals them out by role:
 *
 *     planes = n0 × n1 × n2 × n3      the rest, n0 outermost; only n1..n3 are needed to take an index apart
 *     rows                            in TRANSPOSE mode the dimension that is contiguous in the source
 *     cols                            contiguous in the target, except in STRIDED mode
 *
 *     a work-item copies plane_block planes, and of each one row_block × col_block rectangle:
 *
 *              cols ─▶
 *       rows  ┌────────┬────────┬───┐
 *         │   │ item 0 │ item 1 │ 2 │   TRANSPOSE goes through it in 16 × 16 tiles held in registers,
 *         ▼   ├────────┼────────┼───┤   the last tile of a side overlapping its neighbour
 *             │ item 3 │ item 4 │ 5 │
 *             └────────┴────────┴───┘
 *
 * TYPE  element type by size alone: uchar, ushort, uint, ulong
 * MODE  UNIT: cols contiguous in both; FILL: one source element for all cols; TRANSPOSE: see above; STRIDED: any
 */

#define UNIT 0
#define FILL 1
#define TRANSPOSE 2
#define STRIDED 3

#ifndef TYPE
#define TYPE uint
#endif
#ifndef MODE
#define MODE UNIT
#endif

#include "lib/types.h"

#if MODE == TRANSPOSE
#define INTERLEAVE_LOW(a, b) \
    (VEC(TYPE))(a.s0, b.s0, a.s1, b.s1, a.s2, b.s2, a.s3, b.s3, a.s4, b.s4, a.s5, b.s5, a.s6, b.s6, a.s7, b.s7)
#define INTERLEAVE_HIGH(a, b) \
    (VEC(TYPE))(a.s8, b.s8, a.s9, b.s9, a.sa, b.sa, a.sb, b.sb, a.sc, b.sc, a.sd, b.sd, a.se, b.se, a.sf, b.sf)

/* Four perfect shuffles of 16 vectors transpose a 16 × 16 tile: each rotates the 8-bit index (row, lane) by one bit. */
static void transpose_tile(__global const TYPE *source, int source_col, __global TYPE *target, int target_row)
{
    VEC(TYPE) tile[16], next[16];
    #pragma unroll
    for (int i = 0; i < 16; ++i)
        tile[i] = vload16(0, source + i * source_col);
    #pragma unroll
    for (int stage = 0; stage < 4; ++stage) {
        #pragma unroll
        for (int i = 0; i < 8; ++i) {
            next[2 * i] = INTERLEAVE_LOW(tile[i], tile[i + 8]);
            next[2 * i + 1] = INTERLEAVE_HIGH(tile[i], tile[i + 8]);
        }
        #pragma unroll
        for (int i = 0; i < 16; ++i)
            tile[i] = next[i];
    }
    #pragma unroll
    for (int i = 0; i < 16; ++i)
        vstore16(tile[i], 0, target + i * target_row);
}
#endif

/* Copies one rectangle; the pointers are at its first element. */
static void copy_rectangle(__global const TYPE *source, __global TYPE *target, int rows, int cols,
                           int source_row, int source_col, int target_row, int target_col)
{
#if MODE == TRANSPOSE
    if (rows >= 16 && cols >= 16) {
        for (int row = 0; row < rows; row += 16) {
            const int r = min(row, rows - 16);
            for (int col = 0; col < cols; col += 16) {
                const int c = min(col, cols - 16);
                transpose_tile(source + r + c * source_col, source_col, target + r * target_row + c, target_row);
            }
        }
        return;
    }
#endif
    for (int row = 0; row < rows; ++row) {
        __global const TYPE *from = source + row * source_row;
        __global TYPE *to = target + row * target_row;
        int col = 0;
#if MODE == UNIT
        for (; col + 16 <= cols; col += 16)
            vstore16(vload16(0, from + col), 0, to + col);
#elif MODE == FILL
        for (; col + 16 <= cols; col += 16)
            vstore16((VEC(TYPE))(from[0]), 0, to + col);
#endif
        for (; col < cols; ++col)
            to[col * target_col] = from[col * source_col];
    }
}

__kernel void copy(__global const TYPE *restrict source, __global TYPE *restrict target,
                   int source_offset, int target_offset,
                   int planes, int rows, int cols, int plane_block, int row_block, int col_block,
                   int n1, int n2, int n3,
                   int source_0, int source_1, int source_2, int source_3, int source_row, int source_col,
                   int target_0, int target_1, int target_2, int target_3, int target_row, int target_col)
{
    const int col = get_global_id(0) * col_block;
    const int row = get_global_id(1) * row_block;
    const int first = get_global_id(2) * plane_block;
    const int height = min(row_block, rows - row);
    const int width = min(col_block, cols - col);
    source += source_offset + row * source_row + col * source_col;
    target += target_offset + row * target_row + col * target_col;

    for (int plane = first; plane < min(first + plane_block, planes); ++plane) {
        const int i3 = plane % n3, rest3 = plane / n3;
        const int i2 = rest3 % n2, rest2 = rest3 / n2;
        const int i1 = rest2 % n1, i0 = rest2 / n1;
        copy_rectangle(source + i0 * source_0 + i1 * source_1 + i2 * source_2 + i3 * source_3,
                       target + i0 * target_0 + i1 * target_1 + i2 * target_2 + i3 * target_3,
                       height, width, source_row, source_col, target_row, target_col);
    }
}
