/* What a convolution or matrix product does with a finished sum: residual, activation, store.
 *
 *   RESIDUAL    NONE | BEFORE | AFTER: a tensor added to the sum before the activation, or to its result
 *   ACTIVATION  see lib/activation.h
 */
#ifndef CLNN_EPILOGUE_H
#define CLNN_EPILOGUE_H

#include "lib/activation.h"
#include "lib/lanes.h"

#ifndef RESIDUAL
#define RESIDUAL NONE
#endif
#define RESIDUAL_NONE 0
#define RESIDUAL_BEFORE 1
#define RESIDUAL_AFTER 2
#define RESIDUAL_PLACE CLNN_PASTE(RESIDUAL_, RESIDUAL)

#define USES_SLOPE_PRELU 1
#if CLNN_PASTE(USES_SLOPE_, ACTIVATION)
#define LOAD_SLOPE(N, count, slope) load_lanes_##N(count, slope)
#else
#define LOAD_SLOPE(N, count, slope) 0.0f
#endif

/* `residual`, `slope` and `y` point at the first of `count` elements of one pixel; the first two are looked at only
 * where RESIDUAL or ACTIVATION has a use for them. */
#define DEFINE_FINISH(FLOATN, N)                                                                                     \
    static void finish_##N(FLOATN v, const int count, __global const float *residual, __global const float *slope,   \
                           const float alpha, const float beta, __global float *y) {                                 \
        if (RESIDUAL_PLACE == RESIDUAL_BEFORE) v += load_lanes_##N(count, residual);                                 \
        v = ACTIVATE_##N(v, (FLOATN)(LOAD_SLOPE(N, count, slope)), alpha, beta);                                      \
        if (RESIDUAL_PLACE == RESIDUAL_AFTER) v += load_lanes_##N(count, residual);                                  \
        store_lanes_##N(v, count, y);                                                                                \
    }

DEFINE_FINISH(float4, 4)
DEFINE_FINISH(float16, 16)

#endif
