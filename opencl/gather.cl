/* Rows picked by indices (Gather, GatherElements, GatherND), or put where indices say (the Scatter operators).
 *
 * Memory: everything contiguous. Row r of the picked tensor (count rows of `cols` elements) belongs to this row of the
 * other tensor, the table:
 *
 *     start = (r / group)·group_stride + (r % lane) + Σ wrap(index[(r % period)·depth + k], size[k])·stride[k]
 *
 *         picked                        table
 *       r ┌──────────┐   index         ┌──────────┐
 *         ├──────────┤  ─ ─ ─ ─ ─▶     │          │
 *         ├──────────┤         start ─▶├──────────┤      size[k], stride[k]: dims[2k], dims[2k + 1]
 *         └──────────┘                 └──────────┘
 *
 * A negative index counts from the end. One that is out of range is moved to the nearest valid one by GATHER, and its
 * row is left out by SCATTER, so that no memory outside the table is touched.
 * A work-item moves row_block rows × col_block columns.
 *
 * TYPE       element type by size alone: uchar, ushort, uint, ulong
 * INDEX      int or long
 * DIRECTION  GATHER: from the table; SCATTER: into it (two rows to one place: which one stays is not defined)
 */

#define GATHER 0
#define SCATTER 1

#ifndef TYPE
#define TYPE uint
#endif
#ifndef INDEX
#define INDEX long
#endif
#ifndef DIRECTION
#define DIRECTION GATHER
#endif

#include "lib/types.h"

#if DIRECTION == GATHER
#define FROM(picked, table) (table)
#define TO(picked, table) (picked)
#else
#define FROM(picked, table) (picked)
#define TO(picked, table) (table)
#endif

/* Where a row starts relative to its group, or -1 where an index is out of range and that matters. */
static int row_start(__global const INDEX *index, __global const int *dims, int depth)
{
    int start = 0;
    for (int k = 0; k < depth; ++k) {
        const INDEX size = dims[2 * k];
        const INDEX wrapped = index[k] < 0 ? index[k] + size : index[k];
        const INDEX valid = clamp(wrapped, (INDEX)0, size - 1);
        if (DIRECTION == SCATTER && valid != wrapped)
            return -1;
        start += (int)valid * dims[2 * k + 1];
    }
    return start;
}

__kernel void gather(__global TYPE *restrict picked, __global TYPE *restrict table, __global const INDEX *restrict index,
                     __global const int *restrict dims, int rows, int cols, int row_block, int col_block,
                     int group, int group_stride, int lane, int period, int depth)
{
    const int left = get_global_id(0) * col_block, right = min(left + col_block, cols);
    const int first = get_global_id(1) * row_block, last = min(first + row_block, rows);

    for (int row = first; row < last; ++row) {
        const int within = row_start(index + (row % period) * depth, dims, depth);
        if (within < 0)
            continue;
        const int start = row / group * group_stride + row % lane + within;
        __global const TYPE *from = FROM(picked + row * cols, table + start);
        __global TYPE *to = TO(picked + row * cols, table + start);
        int col = left;
        for (; col + WIDTH <= right; col += WIDTH)
            STORE(TYPE, LOAD(TYPE, from + col), to + col);
        for (; col < right; ++col)
            to[col] = from[col];
    }
}
