/* Normalisation of groups: softmax, layer, instance, group, RMS and Lp normalisation.
 *
 * Memory: x has any strides (see lib/groups.h for how its dimensions become groups and elements), y the same ones.
 *
 *     x  ┌──────────────┐       y  ┌──────────────┐
 *        │ group 0      │ ─▶ ...   │ group 0      │   two or three passes over a block of groups, which by then
 *        ├──────────────┤          ├──────────────┤   lies in a cache
 *        │ group 1      │          │ group 1      │
 *
 * NORM    SOFTMAX           exp(x - max) / sum of exp(x - max)
 *         LOG_SOFTMAX       its logarithm
 *         MEAN_VARIANCE     (x - mean) / (sqrt(variance + inner) + outer)
 *         ROOT_MEAN_SQUARE  x / sqrt(mean of x² + inner)
 *         L1, L2            x / sum of |x|, x / sqrt(sum of x²); 0 where that norm is 0
 * AFFINE  NONE | SCALE | SCALE_BIAS: by what a result is multiplied, and what is added to that, rounding once
 * TYPE    element type: float or double
 *
 * count: elements per group. means, inverses: null, or per group the mean and 1 / (sqrt(variance + inner) + outer).
 * scale, bias: tensors that broadcast to x, at strides of their own; null where AFFINE does not ask for them.
 */
#define SOFTMAX 0
#define LOG_SOFTMAX 1
#define MEAN_VARIANCE 2
#define ROOT_MEAN_SQUARE 3
#define L1 4
#define L2 5

#define NONE 0
#define SCALE 1
#define SCALE_BIAS 2

#ifndef NORM
#define NORM SOFTMAX
#endif
#ifndef AFFINE
#define AFFINE NONE
#endif
#ifndef TYPE
#define TYPE float
#endif

#include "lib/types.h"
#include "lib/groups.h"

#define PLUS(a, b) ((a) + (b))
#define LARGER(a, b) PICK(((b) > (a)) | ((b) != (b)), b, a)
#define ITSELF(v) (v)
#define SQUARED(v) ((v) * (v))

/* centre: what is subtracted; factor: by what the difference is multiplied. */
#if NORM == SOFTMAX
#define RESULT(v) (exp((v) - centre) * factor)
#elif NORM == LOG_SOFTMAX
#define RESULT(v) ((v) - centre - factor)
#else
#define RESULT(v) (((v) - centre) * factor)
#endif

#if NORM == SOFTMAX || NORM == LOG_SOFTMAX
#define FIND_CENTRE FOLD(&nest, x, &block, centre, LARGER, ITSELF)
#define CENTRE_START LOWEST(TYPE)
#define TERM(v) exp((v) - centre)
#elif NORM == MEAN_VARIANCE
#define FIND_CENTRE FOLD(&nest, x, &block, centre, PLUS, ITSELF) centre /= C(count);
#define CENTRE_START 0
#define TERM(v) SQUARED((v) - centre)
#else
#define FIND_CENTRE
#define CENTRE_START 0
#if NORM == L1
#define TERM(v) fabs(v)
#else
#define TERM(v) SQUARED(v)
#endif
#endif

#if NORM == SOFTMAX
#define FACTOR(sum) (C(1) / (sum))
#elif NORM == LOG_SOFTMAX
#define FACTOR(sum) log(sum)
#elif NORM == MEAN_VARIANCE
#define FACTOR(sum) (C(1) / (sqrt((sum) / C(count) + C(inner)) + C(outer)))
#elif NORM == ROOT_MEAN_SQUARE
#define FACTOR(sum) (C(1) / sqrt((sum) / C(count) + C(inner)))
#elif NORM == L1
#define FACTOR(sum) PICK((sum) == C(0), C(0), C(1) / (sum))
#else
#define FACTOR(sum) PICK((sum) == C(0), C(0), C(1) / sqrt(sum))
#endif

__kernel void normalize_groups(__global const TYPE *restrict x, __global TYPE *restrict y, __global TYPE *restrict means,
                        __global TYPE *restrict inverses, __global const TYPE *restrict scale,
                        __global const TYPE *restrict bias, NEST_ARGUMENTS, int count, float inner, float outer,
                        int scale_k0, int scale_k1, int scale_k2, int scale_k3,
                        int scale_r0, int scale_r1, int scale_r2, int scale_r3,
                        int bias_k0, int bias_k1, int bias_k2, int bias_k3,
                        int bias_r0, int bias_r1, int bias_r2, int bias_r3)
{
#if AFFINE != NONE
    const Beside at_scale = {scale_k0, scale_k1, scale_k2, scale_k3, scale_r0, scale_r1, scale_r2, scale_r3};
    const Beside at_bias = {bias_k0, bias_k1, bias_k2, bias_k3, bias_r0, bias_r1, bias_r2, bias_r3};
#endif
    const Nest nest = NEST;
    EACH_BLOCK(&nest) {
        Block block;
        enter_block(&nest, row, group, &block);
        V centre = C(CENTRE_START);
        FIND_CENTRE
        V sum = C(0);
        FOLD(&nest, x, &block, sum, PLUS, TERM)
        const V factor = FACTOR(sum);
#if AFFINE != NONE
        Block of_scale, of_bias;
        enter_beside(&nest, &at_scale, &block, &of_scale);
        enter_beside(&nest, &at_bias, &block, &of_bias);
#endif
        EACH_VECTOR(&nest) {
            const V v = fetch(x, &block, o);
#if AFFINE == NONE
            put(RESULT(v), y, &block, o);
#elif AFFINE == SCALE
            put(RESULT(v) * FETCH_BESIDE(&nest, scale, &at_scale, &of_scale), y, &block, o);
#else
            const V factors = FETCH_BESIDE(&nest, scale, &at_scale, &of_scale);
            put(fma(RESULT(v), factors, FETCH_BESIDE(&nest, bias, &at_bias, &of_bias)), y, &block, o);
#endif
        }
        if (means)
            put_groups(centre, means, &block);
        if (inverses)
            put_groups(factor, inverses, &block);
    }
}
