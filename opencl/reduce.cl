/* Reductions: y[g] = AFTER(fold over the elements e of group g of BEFORE(x[g, e])).
 *
 * Memory: x has any strides (see lib/groups.h for how its dimensions become groups and elements); y is numbered by
 * groups, contiguous.
 *
 *     x  ┌──────────────┐  elements of group 0  ─▶ y[0]
 *        ├──────────────┤  elements of group 1  ─▶ y[1]
 *        └──────────────┘  ...
 *
 * A float's sum is the sum of WIDTH partial sums (ALONG) or is taken in order (ACROSS, GATHER).
 *
 * FOLD_BY SUM, PROD, MAX, MIN; MAX and MIN are NaN if an element is
 * BEFORE  NONE, ABS, SQUARE
 * AFTER   NONE, MEAN (divide by count), SQRT, LOG
 * TYPE    element type of x and y (see lib/types.h)
 */
#ifndef FOLD_BY
#define FOLD_BY SUM
#endif
#ifndef BEFORE
#define BEFORE NONE
#endif
#ifndef AFTER
#define AFTER NONE
#endif
#ifndef TYPE
#define TYPE float
#endif

#include "lib/types.h"
#include "lib/groups.h"

#define FOLD_SUM(a, b) ((a) + (b))
#define FOLD_PROD(a, b) ((a) * (b))
#define FOLD_MAX(a, b) PICK(((b) > (a)) | ((b) != (b)), b, a)
#define FOLD_MIN(a, b) PICK(((b) < (a)) | ((b) != (b)), b, a)

/* What an empty group gives. */
#define START_SUM 0
#define START_PROD 1
#define START_MAX LOWEST(TYPE)
#define START_MIN HIGHEST(TYPE)

#define BEFORE_NONE(v) (v)
#define BEFORE_ABS(v) PICK((v) < C(0), C(0) - (v), v)
#define BEFORE_SQUARE(v) ((v) * (v))

#define AFTER_NONE(v) (v)
#define AFTER_MEAN(v) ((v) / C(count))
#define AFTER_SQRT(v) sqrt(v)
#define AFTER_LOG(v) log(v)

__kernel void reduce(__global const TYPE *restrict x, __global TYPE *restrict y, NEST_ARGUMENTS, int count)
{
    const Nest nest = NEST;
    EACH_BLOCK(&nest) {
        Block block;
        enter_block(&nest, row, group, &block);
        V total = C(JOIN(START_, FOLD_BY));
        FOLD(&nest, x, &block, total, JOIN(FOLD_, FOLD_BY), JOIN(BEFORE_, BEFORE))
        put_groups(JOIN(AFTER_, AFTER)(total), y, &block);
    }
}
