/* Activations that a kernel applies to its result before storing it.
 *
 *   ACTIVATE_1(x, slope, alpha, beta)    on a float
 *   ACTIVATE_4(x, slope, alpha, beta)    on a float4
 *   ACTIVATE_16(x, slope, alpha, beta)   on a float16
 *
 * apply the one named by -D ACTIVATION=<a key of ACTIVATIONS in clnn/kernels/activation.py>. Each is also a
 * function of its own: relu_1, silu_16, ... `slope` has the type of x and counts for PRELU only, `alpha` and
 * `beta` are the float constants of the activation. NaN stays NaN everywhere: a comparison with NaN is false,
 * and each function is written so that then the value itself is kept.
 *
 * The exponential is Cephes' expf (S. Moshier): x = n·ln 2 + r with n rounded by adding and subtracting 1.5·2^23,
 * ln 2 in two parts, a degree-5 polynomial in r, then scaling by 2^n. Its relative error is below 2e-7 for
 * -87.3 <= x <= 88.3; above it gives infinity, below 1.2e-38: sigmoid and tanh reach their limits all the same.
 * SiLU, which follows most convolutions of some networks, has a shorter one of its own: its relative error is below
 * 3e-7 for |x| <= 5 and 5e-7 for |x| <= 20.
 */
#ifndef CLNN_ACTIVATION_H
#define CLNN_ACTIVATION_H

#ifndef ACTIVATION
#define ACTIVATION NONE
#endif

#include "lib/paste.h"

/* FLOATN and INTN: the vector types; N: the suffix of the functions' names. */
#define DEFINE_ACTIVATIONS(FLOATN, INTN, N)                                                                          \
    static FLOATN clamp_##N(FLOATN x, const float low, const float high) {                                           \
        x = x < (FLOATN)(low) ? (FLOATN)(low) : x;                                                                   \
        return x > (FLOATN)(high) ? (FLOATN)(high) : x;                                                              \
    }                                                                                                                \
    static FLOATN exp_##N(const FLOATN x) {                                                                          \
        const FLOATN limited = clamp_##N(x, -87.3f, 89.0f);                                                          \
        const FLOATN shifted = fma(limited, (FLOATN)(1.44269504f), (FLOATN)(12582912.0f));                           \
        const FLOATN n = shifted - (FLOATN)(12582912.0f);                                                            \
        FLOATN r = fma(n, (FLOATN)(-0.693359375f), limited);                                                         \
        r = fma(n, (FLOATN)(2.12194440e-4f), r);                                                                     \
        FLOATN p = (FLOATN)(1.9875691500e-4f);                                                                       \
        p = fma(p, r, (FLOATN)(1.3981999507e-3f));                                                                   \
        p = fma(p, r, (FLOATN)(8.3334519073e-3f));                                                                   \
        p = fma(p, r, (FLOATN)(4.1665795894e-2f));                                                                   \
        p = fma(p, r, (FLOATN)(1.6666665459e-1f));                                                                   \
        p = fma(p, r, (FLOATN)(5.0000001201e-1f));                                                                   \
        p = fma(p * r, r, r) + (FLOATN)(1.0f);                                                                       \
        /* the low bits of `shifted` are n: moved into the exponent they make 2^n */                                 \
        return p * CLNN_PASTE(as_, FLOATN)((CLNN_PASTE(as_, INTN)(shifted) + (INTN)(127)) << (INTN)(23));            \
    }                                                                                                                \
    static FLOATN none_##N(FLOATN x, FLOATN slope, float alpha, float beta) { return x; }                            \
    static FLOATN relu_##N(FLOATN x, FLOATN slope, float alpha, float beta) {                                        \
        return x < (FLOATN)(0.0f) ? (FLOATN)(0.0f) : x;                                                              \
    }                                                                                                                \
    static FLOATN leaky_relu_##N(FLOATN x, FLOATN slope, float alpha, float beta) {                                  \
        return x < (FLOATN)(0.0f) ? x * (FLOATN)(alpha) : x;                                                         \
    }                                                                                                                \
    static FLOATN prelu_##N(FLOATN x, FLOATN slope, float alpha, float beta) {                                       \
        return x < (FLOATN)(0.0f) ? x * slope : x;                                                                   \
    }                                                                                                                \
    static FLOATN clip_##N(FLOATN x, FLOATN slope, float alpha, float beta) { return clamp_##N(x, alpha, beta); }    \
    static FLOATN hard_sigmoid_##N(FLOATN x, FLOATN slope, float alpha, float beta) {                                \
        return clamp_##N(fma(x, (FLOATN)(alpha), (FLOATN)(beta)), 0.0f, 1.0f);                                       \
    }                                                                                                                \
    static FLOATN hard_swish_##N(FLOATN x, FLOATN slope, float alpha, float beta) {                                  \
        return x * (FLOATN)(alpha) * clamp_##N(x + (FLOATN)(3.0f), 0.0f, 6.0f);                                      \
    }                                                                                                                \
    static FLOATN sigmoid_##N(FLOATN x, FLOATN slope, float alpha, float beta) {                                     \
        return (FLOATN)(1.0f) / ((FLOATN)(1.0f) + exp_##N(-x));                                                      \
    }                                                                                                                \
    static FLOATN silu_##N(FLOATN x, FLOATN slope, float alpha, float beta) {                                        \
        /* e^-x as 2^n·2^f, n = round(-x·log2 e): the polynomial of degree 5 errs by 7.5e-8 for |f| <= 1/2 */        \
        const FLOATN limited = clamp_##N(x, -87.0f, 87.0f);                                                          \
        const FLOATN shifted = fma(limited, (FLOATN)(-1.44269504f), (FLOATN)(12582912.0f));                          \
        const FLOATN f = fma(limited, (FLOATN)(-1.44269504f), (FLOATN)(12582912.0f) - shifted);                      \
        FLOATN p = fma((FLOATN)(1.3276470e-3f), f, (FLOATN)(9.6755410e-3f));                                         \
        p = fma(p, f, (FLOATN)(5.5507135e-2f));                                                                      \
        p = fma(p, f, (FLOATN)(2.4022120e-1f));                                                                      \
        p = fma(p, f, (FLOATN)(6.9314694e-1f));                                                                      \
        p = fma(p, f, (FLOATN)(1.0000001f));                                                                         \
        /* n is added to the exponent; where that goes wrong, at NaN, x is NaN too */                                \
        const INTN scaled = CLNN_PASTE(as_, INTN)(p) + (CLNN_PASTE(as_, INTN)(shifted) << (INTN)(23));               \
        return x / ((FLOATN)(1.0f) + CLNN_PASTE(as_, FLOATN)(scaled));                                               \
    }                                                                                                                \
    static FLOATN tanh_##N(FLOATN x, FLOATN slope, float alpha, float beta) {                                        \
        /* near zero 1 - 2/(e^2x + 1) would cancel: the odd polynomial of Cephes' tanhf takes over */                \
        const FLOATN s = x * x;                                                                                      \
        FLOATN p = fma((FLOATN)(-5.70498872745e-3f), s, (FLOATN)(2.06390887954e-2f));                                \
        p = fma(p, s, (FLOATN)(-5.37397155531e-2f));                                                                 \
        p = fma(p, s, (FLOATN)(1.33314422036e-1f));                                                                  \
        p = fma(p, s, (FLOATN)(-3.33332819422e-1f));                                                                 \
        const FLOATN near_zero = fma(p * s, x, x);                                                                   \
        const FLOATN far = (FLOATN)(1.0f) - (FLOATN)(2.0f) / (exp_##N(x + x) + (FLOATN)(1.0f));                      \
        return s < (FLOATN)(0.390625f) ? near_zero : far;                                                            \
    }

DEFINE_ACTIVATIONS(float, int, 1)
DEFINE_ACTIVATIONS(float4, int4, 4)
DEFINE_ACTIVATIONS(float16, int16, 16)

#define ACTIVATION_NONE(N) none_##N
#define ACTIVATION_RELU(N) relu_##N
#define ACTIVATION_LEAKY_RELU(N) leaky_relu_##N
#define ACTIVATION_PRELU(N) prelu_##N
#define ACTIVATION_CLIP(N) clip_##N
#define ACTIVATION_HARD_SIGMOID(N) hard_sigmoid_##N
#define ACTIVATION_HARD_SWISH(N) hard_swish_##N
#define ACTIVATION_SIGMOID(N) sigmoid_##N
#define ACTIVATION_SILU(N) silu_##N
#define ACTIVATION_TANH(N) tanh_##N

#define ACTIVATE_1 CLNN_PASTE(ACTIVATION_, ACTIVATION)(1)
#define ACTIVATE_4 CLNN_PASTE(ACTIVATION_, ACTIVATION)(4)
#define ACTIVATE_16 CLNN_PASTE(ACTIVATION_, ACTIVATION)(16)

#endif
