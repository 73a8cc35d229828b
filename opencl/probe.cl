/* probe: the smallest kernel that uses what all others use; a driver that cannot run it is not used.
 *
 * in, out: n float, n a multiple of 16. Work-groups of 16 items; each item owns one float, shared through local memory:
 *
 *     in  [ 0 .. 15 | 16 .. 31 | ... ]        group g reads its 16 floats,
 *     out [ r(0..15) | r(16..31) | ... ]      out[i] = sum over k < 16 of fma(in[16 g + k], WEIGHT, i)
 */
#ifndef WEIGHT
#define WEIGHT 0.5f
#endif

__kernel __attribute__((reqd_work_group_size(16, 1, 1)))
void probe(__global const float *restrict in, __global float *restrict out, const int n)
{
    __local float shared[16];
    const int item = get_local_id(0);
    const int i = get_global_id(0);
    shared[item] = i < n ? in[i] : 0.0f;
    barrier(CLK_LOCAL_MEM_FENCE);
    const float16 row = fma(vload16(0, shared), (float16)(WEIGHT), (float16)((float)i));
    const float8 a = row.lo + row.hi;
    const float4 b = a.lo + a.hi;
    const float2 c = b.lo + b.hi;
    if (i < n)
        out[i] = c.x + c.y;
}
