/* Elementwise operations: y[i] = OP(x0[..], x1[..], x2[..]) with NumPy's broadcasting; all unary, binary and ternary
 * operators, Cast, quantisation, and the scaling at the end of normalisations are launches of this.
 *
 * Memory: y is visited from front to back as a nest of five dimensions n0 (outermost; implied by the number of rows)
 * .. n4. Operand k begins at offset_k and lies at strides k_0 .. k_4 in elements; 0 repeats it. So does y, at strides
 * y_0 .. y_4. The host merges dimensions.
 *
 *     rows = n0·n1·n2·n3       a work-item computes rows_per_item rows of cols_per_item columns
 *
 *              n4 columns ─▶
 *       rows  ┌────────┬────────────┐
 *         │   │ item 0 │ item 1     │   the last item of a row takes what is left over;
 *         ▼   ├────────┼────────────┤   a piece of a row is never shorter than WIDTH
 *             │ item 2 │ item 3     │
 *             └────────┴────────────┘
 *
 * ACCESS   vectors along a row, or lanes loaded one by one, see lib/places.h
 * OP       an operation of lib/elementwise_ops.h; an operand that it does not need is given as x0 with strides 0
 * IN0..2   element types of the operands, OUT: that of y, TYPE: the type to compute in (see lib/types.h)
 * WIDTH    lanes of a vector
 */
#ifndef OP
#define OP ADD
#endif
#ifndef IN0
#define IN0 float
#endif
#ifndef IN1
#define IN1 float
#endif
#ifndef IN2
#define IN2 float
#endif
#ifndef TYPE
#define TYPE float
#endif
#ifndef OUT
#define OUT float
#endif

#include "lib/types.h"

#define FLAGS(mask) TRUTH(OUT, mask)
#include "lib/elementwise_ops.h"

#define OPERANDS 3
#include "lib/places.h"

#define RESULT VEC(COMPUTE(OUT))
#define APPLY(v0, v1, v2) CONVERT(COMPUTE(OUT), JOIN(OP_, OP)(v0, v1, v2))

__kernel void elementwise(__global const IN0 *x0, __global const IN1 *x1, __global const IN2 *x2, __global OUT *y,
                          int rows, int cols, int rows_per_item, int cols_per_item, int n1, int n2, int n3,
                          int a0, int a1, int a2, int a3, int a4,
                          int b0, int b1, int b2, int b3, int b4,
                          int c0, int c1, int c2, int c3, int c4,
                          int y0, int y1, int y2, int y3, int y4,
                          int offset_a, int offset_b, int offset_c, int offset_y,
                          float alpha, float beta)
{
    const int sizes[RANK] = {0, n1, n2, n3, cols};
    const int strides[OPERANDS + 1][RANK] = {
        {a0, a1, a2, a3, a4}, {b0, b1, b2, b3, b4}, {c0, c1, c2, c3, c4}, {y0, y1, y2, y3, y4}};
    Place place = {{0}, {offset_a, offset_b, offset_c, offset_y}};
    const int begin = get_global_id(0) * cols_per_item;

#if ACCESS == ROWS
    /* the last item of a row takes what is left of it */
    const int end = begin + 2 * cols_per_item > cols ? cols : begin + cols_per_item;
    const int first = get_global_id(1) * rows_per_item;
    enter(&place, first * cols, sizes, strides);
    for (int row = first; row < min(first + rows_per_item, rows); ++row) {
        __global const IN0 *p0 = x0 + place.offset[0];
        __global const IN1 *p1 = x1 + place.offset[1];
        __global const IN2 *p2 = x2 + place.offset[2];
        __global OUT *to = y + place.offset[3];
        for (int next = begin; next < end; next += WIDTH) {
            /* The last vector overlaps its neighbour; lanes computed before are not stored again, as y may be x0. */
            const int col = min(next, end - WIDTH);
            const V v0 = ALONG(IN0, p0 + a4 * col, a4);
            const V v1 = ALONG(IN1, p1 + b4 * col, b4);
            const V v2 = ALONG(IN2, p2 + c4 * col, c4);
            const RESULT v = APPLY(v0, v1, v2);
            if (col == next) {
                STORE(OUT, v, to + col);
                continue;
            }
            COMPUTE(OUT) lanes[WIDTH];
            JOIN(vstore, WIDTH)(v, 0, lanes);
            for (int lane = next - col; lane < WIDTH; ++lane)
                STORE_ONE(OUT, lanes[lane], to + col + lane);
        }
        advance(&place, RANK - 2, sizes, strides);
    }
#else
    const int end = min(begin + cols_per_item, rows * cols);
    enter(&place, begin, sizes, strides);
    for (int i = begin; i < end; i += WIDTH) {
        TYPE lanes[3][WIDTH];
        int to[WIDTH];
        for (int lane = 0; lane < WIDTH; ++lane) {
            lanes[0][lane] = LOAD_ONE(IN0, x0 + place.offset[0]);
            lanes[1][lane] = LOAD_ONE(IN1, x1 + place.offset[1]);
            lanes[2][lane] = LOAD_ONE(IN2, x2 + place.offset[2]);
            to[lane] = place.offset[3];
            if (i + lane + 1 < end)
                advance(&place, RANK - 1, sizes, strides);
        }
        const V v0 = JOIN(vload, WIDTH)(0, lanes[0]);
        const V v1 = JOIN(vload, WIDTH)(0, lanes[1]);
        const V v2 = JOIN(vload, WIDTH)(0, lanes[2]);
        COMPUTE(OUT) results[WIDTH];
        JOIN(vstore, WIDTH)(APPLY(v0, v1, v2), 0, results);
        for (int lane = 0; lane < min(WIDTH, end - i); ++lane)
            STORE_ONE(OUT, results[lane], y + to[lane]);
    }
#endif
}
