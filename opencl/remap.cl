/* Copy through a table per dimension: padding of every kind, nearest-neighbour resizing.
 *
 * Memory: the target begins at `offset`, and its rows of `cols` elements lie `pitch` elements apart; dimension i of it,
 * i from outside to inside, is
 *
 *     n0 × n1 × n2 × n3 planes, rows, cols
 *
 * and element (i0, ..., i3, row, col) comes from source[t0[i0] + ... + t3[i3] + t_row[row] + t_col[col]], where a
 * negative entry in any of the tables means "no element": the target then gets *fill (0 if fill is null).
 * The tables lie behind one another in `table`, in the order of the dimensions; start_x is where table x begins.
 *
 *     with RUN the columns need no table:      run_start        run_stop
 *                                      ┌───────────┬────────────────┬─────────┐
 *                                col ─▶│   fill    │ col + run_shift│  fill   │
 *                                      └───────────┴────────────────┴─────────┘
 *
 * A work-item writes plane_block planes, and of each row_block × col_block elements.
 *
 * TYPE  element type by size alone: uchar, ushort, uint, ulong
 * RUN   1: the columns are contiguous in the source as above; 0: by table
 */

#ifndef TYPE
#define TYPE uint
#endif
#ifndef RUN
#define RUN 1
#endif

#include "lib/types.h"

static void fill_range(__global TYPE *target, TYPE value, int start, int stop)
{
    for (; start + 16 <= stop; start += 16)
        vstore16((VEC(TYPE))(value), 0, target + start);
    for (; start < stop; ++start)
        target[start] = value;
}

static void copy_range(__global const TYPE *source, __global TYPE *target, int start, int stop)
{
    for (; start + 16 <= stop; start += 16)
        vstore16(vload16(0, source + start), 0, target + start);
    for (; start < stop; ++start)
        target[start] = source[start];
}

__kernel void remap(__global const TYPE *restrict source, __global TYPE *restrict target,
                    __global const int *restrict table, __global const TYPE *restrict fill,
                    int planes, int rows, int cols, int plane_block, int row_block, int col_block,
                    int n1, int n2, int n3, int start_1, int start_2, int start_3, int start_row, int start_col,
                    int run_start, int run_stop, int run_shift, int pitch, int offset)
{
    const int left = get_global_id(0) * col_block, right = min(left + col_block, cols);
    const int top = get_global_id(1) * row_block, bottom = min(top + row_block, rows);
    const int first = get_global_id(2) * plane_block;
    const TYPE blank = fill ? fill[0] : (TYPE)0;

    for (int plane = first; plane < min(first + plane_block, planes); ++plane) {
        const int i3 = plane % n3, rest3 = plane / n3;
        const int i2 = rest3 % n2, rest2 = rest3 / n2;
        const int at_0 = table[rest2 / n1], at_1 = table[start_1 + rest2 % n1];
        const int at_2 = table[start_2 + i2], at_3 = table[start_3 + i3];
        const int in_plane = min(min(at_0, at_1), min(at_2, at_3)) >= 0;
        for (int row = top; row < bottom; ++row) {
            __global TYPE *to = target + offset + (plane * rows + row) * pitch;
            const int at_row = table[start_row + row];
            if (!in_plane || at_row < 0) {
                fill_range(to, blank, left, right);
                continue;
            }
            __global const TYPE *from = source + at_0 + at_1 + at_2 + at_3 + at_row;
#if RUN
            const int start = clamp(run_start, left, right), stop = clamp(run_stop, start, right);
            fill_range(to, blank, left, start);
            copy_range(from + run_shift, to, start, stop);
            fill_range(to, blank, stop, right);
#else
            for (int col = left; col < right; ++col) {
                const int at_col = table[start_col + col];
                to[col] = at_col < 0 ? blank : from[at_col];
            }
#endif
        }
    }
}
