/* The k largest (or smallest) elements of rows, in order, and where they are.
 *
 * Memory: x is outer × n × inner; its outer·inner rows run along n. The results are outer × k × inner.
 *
 *     topk_select   row ├── chunk 0 ──┼── chunk 1 ──┼── chunk 2 ─┤     a work-item per chunk
 *                            │             │             │
 *                         heap of k     heap of k     heap of k        in `heaps`, k per chunk
 *                              ╲           │           ╱
 *     topk_merge                 heap of k, sorted                     a work-item per row; the first heap is reused
 *
 * An element is one long: an order-preserving integer of its value above, the complement of its position below. So all
 * are different, equal values rank by position with the first one ahead, and NaN counts as the largest number. A heap
 * is a binary min-heap: its first entry is the least of the best so far, and what is not above that is passed over.
 *
 * TYPE     float, int, char or uchar
 * LARGEST  1: the largest first; 0: the smallest first
 */

#ifndef TYPE
#define TYPE float
#endif
#ifndef LARGEST
#define LARGEST 1
#endif

#include "lib/types.h"

/* Floats order like the integers of their bits, but for negative ones, whose order is reversed. */
#define ORDERED(bits) ((bits) ^ (((bits) >> 31) & INT_MAX))
#define KEY_float(x) (isnan(x) ? INT_MAX : ORDERED(as_int((x) + 0.0f))) /* + 0 makes -0 and 0 the same */
#define KEY_int(x) (x)
#define KEY_char(x) ((int)(x))
#define KEY_uchar(x) ((int)(x))
#define DIRECTED(key) (LARGEST ? (key) : ~(key))

/* False only where x cannot be better than `least`; with a NaN on either side it is true. */
#if LARGEST
#define MAY_BEAT(x, least) (!((x) <= (least)))
#else
#define MAY_BEAT(x, least) (!((x) >= (least)))
#endif

static long entry(TYPE value, int position)
{
    const int key = DIRECTED(JOIN(KEY_, TYPE)(value));
    return ((long)key << 32) | (uint)~position;
}

static int position_of(long element)
{
    return ~(int)element;
}

/* Puts an element in place of the first one of a heap and restores the heap's order. */
static void replace_least(__global long *heap, int size, long element)
{
    int hole = 0;
    for (int child = 1; child < size; child = 2 * hole + 1) {
        child += child + 1 < size && heap[child + 1] < heap[child];
        if (heap[child] >= element)
            break;
        heap[hole] = heap[child];
        hole = child;
    }
    heap[hole] = element;
}

/* Offers the elements [start, stop) of a row to a heap. */
static void offer(__global long *heap, int k, __global const TYPE *row, int stride, int start, int stop)
{
    for (int i = start; i < stop; ++i) {
        const long element = entry(row[i * stride], i);
        if (element > heap[0])
            replace_least(heap, k, element);
    }
}

__kernel void topk_select(__global const TYPE *restrict x, __global long *restrict heaps,
                          int n, int inner, int k, int chunk)
{
    const int number = get_global_id(0), row_number = get_global_id(1);
    const int start = number * chunk, stop = min(start + chunk, n);
    __global const TYPE *row = x + row_number / inner * n * inner + row_number % inner;
    __global long *heap = heaps + (row_number * get_global_size(0) + number) * k;

    for (int i = 0; i < k; ++i)
        heap[i] = LONG_MIN;
    int i = min(start + k, stop);
    offer(heap, k, row, inner, start, i);
    if (inner == 1)
        for (; i + WIDTH <= stop; i += WIDTH)
            if (any(MAY_BEAT(LOAD(TYPE, row + i), row[position_of(heap[0])])))
                offer(heap, k, row, 1, i, i + WIDTH);
    offer(heap, k, row, inner, i, stop);
}

__kernel void topk_merge(__global const TYPE *restrict x, __global long *restrict heaps,
                         __global TYPE *restrict values, __global long *restrict indices,
                         int n, int inner, int k, int chunks)
{
    const int row_number = get_global_id(0);
    const int outer = row_number / inner, column = row_number % inner;
    __global long *heap = heaps + row_number * chunks * k;

    for (int i = k; i < chunks * k; ++i)
        if (heap[i] > heap[0])
            replace_least(heap, k, heap[i]);

    /* Heap sort: the least of the rest goes behind the rest, so the order is descending. */
    for (int rest = k - 1; rest > 0; --rest) {
        const long least = heap[0];
        replace_least(heap, rest, heap[rest]);
        heap[rest] = least;
    }
    for (int i = 0; i < k; ++i) {
        const int position = position_of(heap[i]), at = (outer * k + i) * inner + column;
        if (values)
            values[at] = x[(outer * n + position) * inner + column];
        if (indices)
            indices[at] = position;
    }
}
