/* Walking through a result from front to back, beside OPERANDS operands that broadcast to it.
 *
 * The result is a nest of RANK dimensions, n0 (outermost) to n4; each operand and the result lie at strides along
 * them, 0 where they repeat. The last offset and strides are the result's.
 *
 * ACCESS   ROWS:   strides along the columns are 0 or 1, that of the result is 1, and n4 >= WIDTH: vectors along a row
 *          GATHER: any strides; lanes are loaded one by one, and a work-item computes cols_per_item elements,
 *                  whatever rows they lie in
 */
#define ROWS 0
#define GATHER 1
#ifndef ACCESS
#define ACCESS ROWS
#endif

#define RANK 5

/* Where a work-item stands in the nest: an index per dimension, and the offsets of the operands and of the result. */
typedef struct {
    int index[RANK];
    int offset[OPERANDS + 1];
} Place;

inline void enter(Place *place, int element, const int *sizes, const int strides[OPERANDS + 1][RANK])
{
    #pragma unroll
    for (int d = RANK - 1; d >= 0; --d) {
        place->index[d] = d == 0 ? element : element % sizes[d];
        element = d == 0 ? 0 : element / sizes[d];
        for (int k = 0; k <= OPERANDS; ++k)
            place->offset[k] += place->index[d] * strides[k][d];
    }
}

/* Moves on by one step of dimension `inner`. */
inline void advance(Place *place, int inner, const int *sizes, const int strides[OPERANDS + 1][RANK])
{
    for (int d = inner; d >= 0; --d) {
        for (int k = 0; k <= OPERANDS; ++k)
            place->offset[k] += strides[k][d];
        if (++place->index[d] < sizes[d] || d == 0)
            return;
        for (int k = 0; k <= OPERANDS; ++k)
            place->offset[k] -= sizes[d] * strides[k][d];
        place->index[d] = 0;
    }
}

/* WIDTH elements of an operand along a row, or one of them WIDTH times. */
#define ALONG(IN, p, step) CONVERT(TYPE, (step) ? LOAD(IN, p) : (VEC(COMPUTE(IN)))(LOAD_ONE(IN, p)))
