/* The inner loop of blocked products: a tile of accumulators grows by one run of k.
 *
 *   DEFINE_MULTIPLY(name, SPACE)   defines   void name(acc, a, b, run):   acc[i][j] += Σ_k a[i][k] · b[k][j]
 *
 * `a` holds one pointer per row, into address space SPACE; `b` holds run·16·TILE_N packed values, one row per k. Per
 * k there are TILE_N vector loads, TILE_M scalars broadcast and TILE_M·TILE_N fused multiply-adds. Always inlined:
 * only then do the accumulators live in registers.
 */
#ifndef CLNN_MULTIPLY_H
#define CLNN_MULTIPLY_H

/* Packed values are asked for 4 KB before they are needed: the processor's own prefetching stops at the border of a page,
 * and weights that no cache holds (ResNet-50 reads 150 MB of them) cost 2 to 3 % of a network's time there. */
#define AHEAD 1024
#if defined(__clang__) && (defined(__x86_64__) || defined(__aarch64__))
#define PREFETCH(p) __builtin_prefetch((const void *)(uintptr_t)(p))
#else /* not compiled for the processor itself, as by Intel's runtime, or not by clang */
#define PREFETCH(p)
#endif

#define MULTIPLY_STEP(k)                                                                                             \
    {                                                                                                                \
        _Pragma("unroll") for (int j = 0; j < TILE_N; ++j) PREFETCH(b + 16 * j + AHEAD);                             \
        float16 row[TILE_N];                                                                                         \
        _Pragma("unroll") for (int j = 0; j < TILE_N; ++j) row[j] = vload16(j, b);                                   \
        _Pragma("unroll") for (int i = 0; i < TILE_M; ++i) {                                                         \
            _Pragma("unroll") for (int j = 0; j < TILE_N; ++j) acc[i][j] = fma((float16)(a[i][k]), row[j], acc[i][j]); \
        }                                                                                                            \
        b += 16 * TILE_N;                                                                                            \
    }

#define DEFINE_MULTIPLY(name, SPACE)                                                                                 \
    __attribute__((always_inline)) static void name(float16 acc[TILE_M][TILE_N], SPACE const float *a[TILE_M],       \
                                                    __global const float *b, const int run) {                        \
        int k = 0;                                                                                                   \
        for (; k + 4 <= run; k += 4) {                                                                               \
            MULTIPLY_STEP(k)                                                                                         \
            MULTIPLY_STEP(k + 1)                                                                                     \
            MULTIPLY_STEP(k + 2)                                                                                     \
            MULTIPLY_STEP(k + 3)                                                                                     \
        }                                                                                                            \
        for (; k < run; ++k) MULTIPLY_STEP(k)                                                                        \
    }

#endif
