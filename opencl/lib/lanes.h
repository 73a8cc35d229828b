/* Loads and stores of the first `count` lanes of a vector: the tail of a dimension that the vector width does not
 * divide. Nothing beyond the last lane is touched; lanes that are not loaded are 0. `count` may exceed the width.
 */
#ifndef CLNN_LANES_H
#define CLNN_LANES_H

static float4 load_lanes_4(const int count, __global const float *p) {
    if (count >= 4) return vload4(0, p);
    float4 v = 0.0f;
    if (count > 0) v.s0 = p[0];
    if (count > 1) v.s1 = p[1];
    if (count > 2) v.s2 = p[2];
    return v;
}

static void store_lanes_4(const float4 v, const int count, __global float *p) {
    if (count >= 4) {
        vstore4(v, 0, p);
        return;
    }
    if (count > 0) p[0] = v.s0;
    if (count > 1) p[1] = v.s1;
    if (count > 2) p[2] = v.s2;
}

static float16 load_lanes_16(const int count, __global const float *p) {
    if (count >= 16) return vload16(0, p);
    return (float16)(load_lanes_4(count, p), load_lanes_4(count - 4, p + 4), load_lanes_4(count - 8, p + 8),
                     load_lanes_4(count - 12, p + 12));
}

static void store_lanes_16(const float16 v, const int count, __global float *p) {
    if (count >= 16) {
        vstore16(v, 0, p);
        return;
    }
    store_lanes_4(v.s0123, count, p);
    store_lanes_4(v.s4567, count - 4, p + 4);
    store_lanes_4(v.s89ab, count - 8, p + 8);
    store_lanes_4(v.scdef, count - 12, p + 12);
}

#endif
