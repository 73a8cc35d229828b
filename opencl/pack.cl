/* Pack matrices into panels, the order in which conv_gemm.cl and gemm_local.cl read their weights.
 *
 * Memory
 *   src  element (z, tap, k, column) at z·stride_z + tap·stride_tap + k·stride_k + column·stride_column
 *   dst  [z][panel][tap][k][lane], column = panel·lanes + lane; lanes beyond the last column are 0
 *
 *   src of one z and tap            dst: panels of `lanes` columns, one after the other
 *
 *        column 0 ... columns-1          panel 0       panel 1       panel 2
 *   k=0  [ aaaaaaaabbbbbbbbccc ]         [ aaaaaaaa ]  [ bbbbbbbb ]  [ ccc00000 ]
 *   k=1  [ ddddddddeeeeeeeefff ]         [ dddddddd ]  [ eeeeeeee ]  [ fff00000 ]
 *
 * With one panel as wide as the matrix it is a transposing, broadcasting copy (strides may be 0), which Gemm uses
 * for transposed and for scaled operands. Every element is multiplied by `scale`.
 *
 * Index space: (tap·depth + k, panels, z). No compile-time parameters.
 */
__kernel void pack(__global const float *restrict src, __global float *restrict dst, const float scale,
                   const int depth, const int columns, const int lanes, const int stride_z, const int stride_tap,
                   const int stride_k, const int stride_column) {
    const int row = get_global_id(0), panel = get_global_id(1), z = get_global_id(2);
    const int rows = get_global_size(0), panels = get_global_size(1);
    const int column = panel * lanes;
    src += z * stride_z + row / depth * stride_tap + row % depth * stride_k + column * stride_column;
    dst += ((z * panels + panel) * rows + row) * lanes;
    const int used = min(lanes, columns - column);
    for (int lane = 0; lane < used; ++lane) dst[lane] = src[lane * stride_column] * scale;
    for (int lane = used; lane < lanes; ++lane) dst[lane] = 0.0f;
}
