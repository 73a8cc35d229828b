/* ArgMax and ArgMin: y[g] = index of the largest or smallest element of group g; NaN counts as beyond all numbers.
 *
 * Memory: x has any strides (see lib/groups.h for how its dimensions become groups and elements), with one reduced
 * dimension; y is numbered by groups, contiguous, of type long.
 *
 *     x  ┌──────────────┐  index of the best of r3 elements  ─▶ y[0]
 *        ├──────────────┤
 *        └──────────────┘  ...
 *
 * EXTREME  MAX or MIN
 * AMONG_EQUALS  FIRST or LAST: which index is taken when several elements are equal
 * TYPE     element type of x (see lib/types.h)
 */
#define MAX 0
#define MIN 1
#define FIRST 0
#define LAST 1

#ifndef EXTREME
#define EXTREME MAX
#endif
#ifndef AMONG_EQUALS
#define AMONG_EQUALS FIRST
#endif
#ifndef TYPE
#define TYPE float
#endif

#include "lib/types.h"
#include "lib/groups.h"

#if EXTREME == MAX
#define BEYOND(a, b) (((a) > (b)) | (((a) != (a)) & ((b) == (b))))
#else
#define BEYOND(a, b) (((a) < (b)) | (((a) != (a)) & ((b) == (b))))
#endif
#define SAME(a, b) (((a) == (b)) | (((a) != (a)) & ((b) != (b))))

/* Elements of one lane come with rising indices. */
#if AMONG_EQUALS == FIRST
#define BETTER(a, b) BEYOND(a, b)
#define CHOSEN(i, j) min(i, j)
#define NEVER_CHOSEN INT_MAX
#else
#define BETTER(a, b) (BEYOND(a, b) | SAME(a, b))
#define CHOSEN(i, j) max(i, j)
#define NEVER_CHOSEN -1
#endif
#define BEST(a, b) PICK(BEYOND(b, a), b, a)

__kernel void argreduce(__global const TYPE *restrict x, __global long *restrict y, NEST_ARGUMENTS)
{
    const Nest nest = NEST;
    const VEC(int) step = ACCESS == ALONG ? CONVERT(int, lane_numbers()) : (VEC(int))(0);
    EACH_BLOCK(&nest) {
        Block block;
        enter_block(&nest, row, group, &block);
        V best = fetch(x, &block, 0);
        VEC(int) index = step;
        EACH_VECTOR(&nest) {
            const V v = fetch(x, &block, o);
            const VEC(int) better = CONVERT(int, BETTER(v, best));
            best = PICK(BETTER(v, best), v, best);
            index = select(index, i3 - old + step, better);
        }
        if (ACCESS == ALONG) {
            V winner = best;
            JOIN_LANES(winner, BEST)
            index = select((VEC(int))(NEVER_CHOSEN), index, CONVERT(int, SAME(best, winner)));
            JOIN_LANES(index, CHOSEN)
        }
        int at[WIDTH];
        JOIN(vstore, WIDTH)(index, 0, at);
        for (int lane = 0; lane < block.count; ++lane)
            y[block.first + lane] = at[lane];
    }
}
