/* A chain of elementwise operations in one pass: up to six stages, each an operation on the result of the one before
 * and on what else it needs, with NumPy's broadcasting.
 *
 * Memory: as in elementwise.cl. y is a nest of five dimensions n0 (outermost; implied by the number of rows) .. n4;
 * operand k begins at offset_k and lies at strides k_0 .. k_4 in elements, 0 where it repeats; so does y.
 *
 *     v0 .. v3   vectors of the operands            v, k            v, k                 v, k
 *     k0 .. k7   numbers, the same everywhere         │               │                    │
 *                                                     ▼               ▼                    ▼
 *                                                 ┌────────┐      ┌────────┐           ┌────────┐
 *                                                 │ STAGE0 │─────▶│ STAGE1 │──▶ ... ──▶│ STAGE5 │──▶ y
 *                                                 └────────┘      └────────┘           └────────┘
 *                                                         previous
 *
 * STAGEn       an operation of lib/elementwise_ops.h on floats, or NONE behind the last one
 * Xn, Yn, Zn   its arguments: previous, an operand v0 .. v3 or a number k0 .. k7
 * IN0..3       element types of the operands, OUT: that of y. All is computed in float; a truth value is 1 or 0
 * ACCESS       see lib/places.h
 * WIDTH        lanes of a vector
 *
 * Between two stages nothing is rounded, so an integer there must be one that a float holds. Operands that no stage
 * needs are given as x0 with strides 0. y must not overlap an operand.
 */
#ifndef STAGE0
#define STAGE0 ADD
#define X0 v0
#define Y0 v1
#endif
#ifndef STAGE1
#define STAGE1 NONE
#endif
#ifndef STAGE2
#define STAGE2 NONE
#endif
#ifndef STAGE3
#define STAGE3 NONE
#endif
#ifndef STAGE4
#define STAGE4 NONE
#endif
#ifndef STAGE5
#define STAGE5 NONE
#endif
#ifndef IN0
#define IN0 float
#define IN1 float
#define IN2 float
#define IN3 float
#endif
#ifndef OUT
#define OUT float
#endif
#define TYPE float

#include "lib/types.h"

#define FLAGS(mask) PICK(mask, C(1), C(0))
#include "lib/elementwise_ops.h"
#define OP_NONE(x, y, z) previous

#define OPERANDS 4
#include "lib/places.h"

#define RUN(n)                                                                                               \
    {                                                                                                        \
        const float alpha = alpha##n, beta = beta##n;                                                        \
        previous = JOIN(OP_, STAGE##n)(X##n, Y##n, Z##n);                                                    \
    }
#define RUN_STAGES                                                                                           \
    V previous = C(0);                                                                                       \
    RUN(0) RUN(1) RUN(2) RUN(3) RUN(4) RUN(5)

__kernel void chain(__global const IN0 *x0, __global const IN1 *x1, __global const IN2 *x2, __global const IN3 *x3,
                    __global OUT *y,
                    int rows, int cols, int rows_per_item, int cols_per_item, int n1, int n2, int n3,
                    int a0, int a1, int a2, int a3, int a4,
                    int b0, int b1, int b2, int b3, int b4,
                    int c0, int c1, int c2, int c3, int c4,
                    int d0, int d1, int d2, int d3, int d4,
                    int y0, int y1, int y2, int y3, int y4,
                    int offset_a, int offset_b, int offset_c, int offset_d, int offset_y,
                    float number0, float number1, float number2, float number3,
                    float number4, float number5, float number6, float number7,
                    float alpha0, float alpha1, float alpha2, float alpha3, float alpha4, float alpha5,
                    float beta0, float beta1, float beta2, float beta3, float beta4, float beta5)
{
    const int sizes[RANK] = {0, n1, n2, n3, cols};
    const int strides[OPERANDS + 1][RANK] = {
        {a0, a1, a2, a3, a4}, {b0, b1, b2, b3, b4}, {c0, c1, c2, c3, c4}, {d0, d1, d2, d3, d4}, {y0, y1, y2, y3, y4}};
    Place place = {{0}, {offset_a, offset_b, offset_c, offset_d, offset_y}};
    const V k0 = C(number0), k1 = C(number1), k2 = C(number2), k3 = C(number3);
    const V k4 = C(number4), k5 = C(number5), k6 = C(number6), k7 = C(number7);
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
        __global const IN3 *p3 = x3 + place.offset[3];
        for (int next = begin; next < end; next += WIDTH) {
            /* The last vector overlaps its neighbour. */
            const int col = min(next, end - WIDTH);
            const V v0 = ALONG(IN0, p0 + a4 * col, a4);
            const V v1 = ALONG(IN1, p1 + b4 * col, b4);
            const V v2 = ALONG(IN2, p2 + c4 * col, c4);
            const V v3 = ALONG(IN3, p3 + d4 * col, d4);
            RUN_STAGES
            STORE(OUT, CONVERT(OUT, previous), y + place.offset[4] + col);
        }
        advance(&place, RANK - 2, sizes, strides);
    }
#else
    const int end = min(begin + cols_per_item, rows * cols);
    enter(&place, begin, sizes, strides);
    for (int i = begin; i < end; i += WIDTH) {
        TYPE lanes[OPERANDS][WIDTH];
        int to[WIDTH];
        for (int lane = 0; lane < WIDTH; ++lane) {
            lanes[0][lane] = LOAD_ONE(IN0, x0 + place.offset[0]);
            lanes[1][lane] = LOAD_ONE(IN1, x1 + place.offset[1]);
            lanes[2][lane] = LOAD_ONE(IN2, x2 + place.offset[2]);
            lanes[3][lane] = LOAD_ONE(IN3, x3 + place.offset[3]);
            to[lane] = place.offset[4];
            if (i + lane + 1 < end)
                advance(&place, RANK - 1, sizes, strides);
        }
        const V v0 = JOIN(vload, WIDTH)(0, lanes[0]);
        const V v1 = JOIN(vload, WIDTH)(0, lanes[1]);
        const V v2 = JOIN(vload, WIDTH)(0, lanes[2]);
        const V v3 = JOIN(vload, WIDTH)(0, lanes[3]);
        RUN_STAGES
        OUT results[WIDTH];
        JOIN(vstore, WIDTH)(CONVERT(OUT, previous), 0, results);
        for (int lane = 0; lane < min(WIDTH, end - i); ++lane)
            STORE_ONE(OUT, results[lane], y + to[lane]);
    }
#endif
}
