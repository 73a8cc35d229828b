/* calibrate: how fast a device is at its best, in arithmetic and in moving data.
 *
 * peak    one work-item keeps CHAINS independent float16 accumulators in registers:
 *
 *             a0 [16]  a1 [16]  ...  a11 [16]      each step: a = fma(a, b, c) in all of them,
 *                                                  2 * 16 * CHAINS operations
 *
 *         More chains than the latency of a multiply-add keep every unit busy; at most 16 leave registers for b and c.
 *
 * triad   out[i] = fma(scale, right[i], left[i]) over float16 vectors; 12 bytes move per float.
 */
#ifndef CHAINS
#define CHAINS 12
#endif

__kernel void peak(__global float *restrict out, const float start, const int steps)
{
    float16 a[CHAINS];
    const float16 b = (float16)(1.0f - start);
    const float16 c = (float16)(start);
    __attribute__((opencl_unroll_hint))
    for (int k = 0; k < CHAINS; ++k)
        a[k] = (float16)(start * (float)(k + 1));
    for (int step = 0; step < steps; ++step) {
        __attribute__((opencl_unroll_hint))
        for (int k = 0; k < CHAINS; ++k)
            a[k] = fma(a[k], b, c);
    }
    float16 sum = (float16)(0.0f);
    for (int k = 0; k < CHAINS; ++k)
        sum += a[k];
    out[get_global_id(0)] = sum.s0 + sum.s5 + sum.sa + sum.sf;
}

__kernel void triad(__global float16 *restrict out, __global const float16 *restrict left,
                    __global const float16 *restrict right, const float scale, const int per_item)
{
    const size_t first = get_global_id(0) * (size_t)per_item;
    for (int k = 0; k < per_item; ++k)
        out[first + k] = fma((float16)(scale), right[first + k], left[first + k]);
}
