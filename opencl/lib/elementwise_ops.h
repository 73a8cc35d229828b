/* The operations of elementwise.cl: OP_<name>(x, y, z) on vectors of type VEC(TYPE).
 *
 * Each follows NumPy's behaviour at NaN and infinity. ALPHA and BETA are the kernel's two constants as vectors; an
 * operation ignores what it does not need. Truth values are what the kernel's FLAGS(mask) makes of the mask of a
 * comparison, all else is of type VEC(TYPE).
 * The built-in functions are within the 16 ulp that OpenCL demands; PoCL's vectors of 16 were measured to be within
 * 1.5 ulp (exp 1.0, log 0.6, tanh 1.0, erf 0.8, sin 1.4), and 4 ulp for pow.
 */
/* An operation rounds the same whatever stands before or after it in a chain. */
#pragma OPENCL FP_CONTRACT OFF

#define V VEC(TYPE)
#define C(number) ((V)(number))
#define ALPHA C(alpha)
#define BETA C(beta)
#define PICK(condition, yes, no) select(no, yes, condition)
/* Unlike clamp(), lets NaN through. */
#define BOUNDED(x, low, high) PICK((x) < (low), low, PICK((x) > (high), high, x))

/* one operand, any type */
#define OP_COPY(x, y, z) (x)
#define OP_NEG(x, y, z) (-(x))
#define OP_ABS(x, y, z) PICK((x) <= C(0), C(0) - (x), x)
#define OP_SIGN(x, y, z) PICK((x) > C(0), C(1), PICK((x) < C(0), C(0) - C(1), x))
#define OP_RELU(x, y, z) PICK((x) < C(0), C(0), x)
#define OP_SQUARE(x, y, z) ((x) * (x))
#define OP_NOT(x, y, z) FLAGS((x) == C(0))
#define OP_NONZERO(x, y, z) FLAGS((x) != C(0))
#define OP_BIT_NOT(x, y, z) (~(x))

/* one operand, float or double */
#define OP_IS_NAN(x, y, z) FLAGS((x) != (x))
#define OP_IS_EITHER(x, y, z) FLAGS(((x) == ALPHA) | ((x) == BETA))
#define OP_EXP(x, y, z) exp(x)
#define OP_LOG(x, y, z) log(x)
#define OP_SQRT(x, y, z) sqrt(x)
#define OP_RECIPROCAL(x, y, z) (C(1) / (x))
#define OP_FLOOR(x, y, z) floor(x)
#define OP_CEIL(x, y, z) ceil(x)
#define OP_ROUND(x, y, z) rint(x)
#define OP_ERF(x, y, z) erf(x)
/* PoCL 3.1's vectors are wrong by 1e-2 at small lanes beside one of 1e6 or more: the two kinds never share a vector. */
#define HUGE(x) (fabs(x) > C(3e4f))
#define CIRCULAR(f, x) \
    (any(HUGE(x)) ? PICK(HUGE(x), f(PICK(HUGE(x), x, C(1e6f))), f(PICK(HUGE(x), C(0), x))) : f(x))
#define OP_SIN(x, y, z) CIRCULAR(sin, x)
#define OP_COS(x, y, z) CIRCULAR(cos, x)
#define OP_TAN(x, y, z) CIRCULAR(tan, x)
#define OP_ASIN(x, y, z) asin(x)
#define OP_ACOS(x, y, z) acos(x)
#define OP_ATAN(x, y, z) atan(x)
#define OP_SINH(x, y, z) sinh(x)
#define OP_COSH(x, y, z) cosh(x)
#define OP_TANH(x, y, z) tanh(x)
#define OP_ASINH(x, y, z) asinh(x)
#define OP_ACOSH(x, y, z) acosh(x)
#define OP_ATANH(x, y, z) atanh(x)
#define OP_SIGMOID(x, y, z) (C(1) / (C(1) + exp(-(x))))
#define OP_SWISH(x, y, z) ((x) / (C(1) + exp(-ALPHA * (x))))
#define OP_HARD_SIGMOID(x, y, z) BOUNDED(fma(ALPHA, x, BETA), C(0), C(1))
#define OP_HARD_SWISH(x, y, z) ((x) * ALPHA * BOUNDED((x) + C(3), C(0), C(6)))
#define OP_LEAKY_RELU(x, y, z) PICK((x) < C(0), ALPHA * (x), x)
#define OP_THRESHOLDED_RELU(x, y, z) PICK((x) > ALPHA, x, C(0))
#define OP_SHRINK(x, y, z) PICK((x) < -ALPHA, (x) + BETA, PICK((x) > ALPHA, (x) - BETA, C(0)))
#define OP_ELU(x, y, z) PICK((x) < C(0), ALPHA * expm1(x), x)
#define OP_SELU(x, y, z) (BETA * PICK((x) <= C(0), ALPHA * expm1(x), x))
#define OP_CELU(x, y, z) PICK((x) < C(0), ALPHA * expm1((x) / ALPHA), x)
#define SOFTPLUS(x) (OP_RELU(x, 0, 0) + log1p(exp(-fabs(x))))
#define OP_SOFTPLUS(x, y, z) SOFTPLUS(x)
#define OP_SOFTSIGN(x, y, z) ((x) / (C(1) + fabs(x)))
#define OP_MISH(x, y, z) ((x) * tanh(SOFTPLUS(x)))
#define OP_GELU(x, y, z) (C(0.5f) * (x) * (C(1) + erf((x) * C(0.70710678118654752f))))
#define OP_GELU_TANH(x, y, z) \
    (C(0.5f) * (x) * (C(1) + tanh(C(0.79788456080286536f) * fma(C(0.044715f) * (x) * (x), x, x))))

/* two operands, any type; a minimum or maximum with NaN is NaN */
#define OP_ADD(x, y, z) ((x) + (y))
#define OP_SUB(x, y, z) ((x) - (y))
#define OP_MUL(x, y, z) ((x) * (y))
#define OP_DIV(x, y, z) ((x) / (y))
#define OP_MIN(x, y, z) PICK(((x) < (y)) | ((x) != (x)), x, y)
#define OP_MAX(x, y, z) PICK(((x) > (y)) | ((x) != (x)), x, y)
#define OP_EQUAL(x, y, z) FLAGS((x) == (y))
#define OP_LESS(x, y, z) FLAGS((x) < (y))
#define OP_LESS_OR_EQUAL(x, y, z) FLAGS((x) <= (y))
#define OP_GREATER(x, y, z) FLAGS((x) > (y))
#define OP_GREATER_OR_EQUAL(x, y, z) FLAGS((x) >= (y))
#define OP_PRELU(x, y, z) PICK((x) < C(0), (x) * (y), x)

/* two operands, float or double */
#define OP_POW(x, y, z) pow(x, y)
#define OP_FMOD(x, y, z) fmod(x, y)
#define OP_MOD(x, y, z) MODULO(fmod(x, y), y)
#define MODULO(r, y) PICK(((r) != C(0)) & (((r) < C(0)) != ((y) < C(0))), (r) + (y), r)

/* two operands, integers and truth values */
#define OP_BIT_AND(x, y, z) ((x) & (y))
#define OP_BIT_OR(x, y, z) ((x) | (y))
#define OP_BIT_XOR(x, y, z) ((x) ^ (y))
#define BITS ((int)sizeof(TYPE) * 8)
#define BEYOND(y) (((y) < C(0)) | ((y) >= C(BITS)))
#define OP_SHIFT_LEFT(x, y, z) PICK(BEYOND(y), C(0), (x) << (y))
#define OP_SHIFT_RIGHT(x, y, z) PICK(BEYOND(y), (x) >> C(BITS - 1) >> C(1), (x) >> (y))
/* x86 traps when it divides by zero, or the lowest number by -1: neither may reach the division. */
#define MINUS_ONE(y) (((y) == ~C(0)) & (~C(0) < C(0)))
#define DIVISOR(y) PICK(((y) == C(0)) | MINUS_ONE(y), C(1), y)
#define OP_INT_DIV(x, y, z) PICK((y) == C(0), C(0), PICK(MINUS_ONE(y), C(0) - (x), (x) / DIVISOR(y)))
#define OP_INT_FMOD(x, y, z) ((x) % DIVISOR(y))
#define OP_INT_MOD(x, y, z) MODULO((x) % DIVISOR(y), y)
#define OP_INT_POW(x, y, z) int_pow(x, y)

#define NEEDS_INT_POW_INT_POW 1
#if JOIN(NEEDS_INT_POW_, OP)
/* By squaring; a negative exponent leaves 1 and -1 as they should be and all else 0. */
inline V int_pow(V base, V exponent)
{
    V power = PICK((exponent < C(0)) & (base != C(1)) & (base != ~C(0)), C(0), C(1));
    for (int bit = 0; bit < BITS; ++bit) {
        power = PICK((exponent & C(1)) != C(0), power * base, power);
        base *= base;
        exponent >>= C(1);
    }
    return power;
}
#endif

/* three operands, any type */
#define OP_WHERE(x, y, z) PICK((x) != C(0), y, z)
#define OP_CLIP(x, y, z) OP_MIN(OP_MAX(x, y, 0), z, 0)

/* normalisation and quantisation, float; ALPHA is an epsilon, or with BETA the range of the quantised type */
#define OP_FMA(x, y, z) fma(x, y, z)
#define OP_EXP_BELOW(x, y, z) exp((x) - PICK(isinf(y), C(0), y))
#define OP_SUB_PRODUCT(x, y, z) fma(-(x), y, z)
#define OP_BY_DEVIATION(x, y, z) ((x) / sqrt((y) + ALPHA))
/* To an integer below 2^22, halves to even; of larger numbers little is lost. A library's rint takes longer. */
#define ROUNDED(x) (((x) + C(12582912.0f)) - C(12582912.0f))
#define OP_QUANTIZE(x, y, z) clamp(ROUNDED((x) / (y)) + (z), ALPHA, BETA)
#define OP_DEQUANTIZE(x, y, z) (((x) - (z)) * (y))
#define OP_RANGE_SCALE(x, y, z) RANGE_SCALE(fmax(y, C(0)) - fmin(x, C(0)))
#define RANGE_SCALE(range) (PICK((range) == C(0), C(1), range) / C(255))
#define OP_RANGE_ZERO(x, y, z) rint(clamp(-fmin(x, C(0)) / (y), C(0), C(255)))
