/* The stage kernels of a chain on FPGA-style devices: layers hand packets to each other through FIFOs.
 *
 * After Nurvitadhi et al., "Can FPGAs Beat GPUs in Accelerating Next-Generation Deep Neural Networks?", FPGA 2017, and
 * PipeCNN (Wang, An and Xu, arXiv:1611.02450):
 *
 *   memory ─▶ read ──data──▶ gemm ──sums──▶ misc ──results──▶ write ─▶ memory
 *   memory ─▶ read_residual ──residual────▶ misc
 *
 *   read, read_residual   a tensor from memory, packet by packet
 *   gemm                  convolutions and fully connected layers: sums of products of LANES output channels at once
 *   misc                  the miscellaneous layers: bias, residual, activation, then a pooling or depthwise window
 *   write                 a tensor to memory
 *
 * All are single-work-item kernels. A FIFO carries passes x rows x columns x vectors of WIDTH channels. A pass is one
 * picture, for gemm once per group of LANES output channels, elsewhere LANES channels of it. gemm and misc keep the
 * rows under their window in a ring of `rows` rows, their line buffer:
 *
 *          packets of a pass, row by row          line buffer                        outputs
 *   data ─▶ . . . . . . . . . . . . . .  ─▶  [ row h-2 | row h-1 | row h . . ]  ─▶  one pixel as soon as the last
 *                                                 +------------+                    packet under its window has come
 *                                                 |   window   |
 *                                                 +------------+
 *
 * A launch takes packets first_in to last_in and gives pixels first_out to last_out, both counted over all passes. On a
 * board each kernel is launched once, for all; else the static schedule of clnn/kernels/dataflow.py cuts the work, and
 * the line buffer, in global memory, outlives a launch.
 *
 * Memory
 *   x, y       element (n, c, h, w) at offset + n·stride_n + c·stride_c + h·stride_h + w·stride_w
 *   weights    gemm: [group][tap][vector][WIDTH][LANES]; misc, of a depthwise window: [group][tap][vector][WIDTH]
 *   bias, slope   [group][vector][WIDTH], or null
 *   lines      ROWS of a pass: rows·width·vectors packets
 *   groups: channels of pass p begin at q / span · outer + q % span · inner for q = p / batch; of the `depth` channels
 *   from q / span · outer on, those that exist are read and written, others are zeros.
 *
 * Parameters: TRANSPORT, WIDTH (lib/transport.h), LANES; EXPONENTIALS 0 leaves out sigmoid, SiLU and tanh;
 * LINE_PACKETS and WEIGHT_STEPS, where not 0, are the sizes of on-chip stores: line buffers of as many packets, and
 * weights of as many packets of input, which gemm then loads once per group. Only for launches of a whole stage.
 */
#ifndef LANES
#define LANES 64
#endif
#ifndef EXPONENTIALS
#define EXPONENTIALS 1
#endif
#ifndef LINE_PACKETS
#define LINE_PACKETS 0
#endif
#ifndef WEIGHT_STEPS
#define WEIGHT_STEPS 0
#endif

#include "lib/transport.h"
#include "lib/activation.h"
#include "lib/packet_places.h"
#include "lib/line_buffer.h"

#if WIDTH == 8
DEFINE_ACTIVATIONS(float8, int8, 8)
#endif

FIFO_DECLARE(data)
FIFO_DECLARE(sums)
FIFO_DECLARE(residual)
FIFO_DECLARE(results)

#define STAGE __attribute__((reqd_work_group_size(1, 1, 1)))

#define DEFINE_READ(name, f)                                                                                        \
    STAGE __kernel void name(FIFO_OUT(f) __global const float *restrict x, TENSOR_ARGS, const int first_out,         \
                             const int last_out) {                                                                  \
        FIFO_START(f)                                                                                               \
        Place at = place_of(first_out, vectors, width, height, batch);                                              \
        for (int i = first_out; i < last_out; ++i) {                                                                \
            LOCATE(at);                                                                                             \
            packet v = (packet)(0.0f);                                                                              \
            if (stride_c == 1 && count == WIDTH) {                                                                  \
                v = LOAD_PACKET(0, x + element);                                                                    \
            } else {                                                                                                \
                float lane[WIDTH];                                                                                  \
                _Pragma("unroll") for (int k = 0; k < WIDTH; ++k)                                                   \
                    lane[k] = k < count ? x[element + k * stride_c] : 0.0f;                                         \
                v = LOAD_PACKET(0, lane);                                                                           \
            }                                                                                                       \
            FIFO_WRITE(f, v);                                                                                       \
            at = following(at, vectors, width, height, batch);                                                      \
        }                                                                                                           \
    }

DEFINE_READ(read, data)
DEFINE_READ(read_residual, residual)

STAGE __kernel void write(FIFO_IN(results) __global float *restrict y, TENSOR_ARGS, const int first_in,
                          const int last_in) {
    FIFO_START(results)
    Place at = place_of(first_in, vectors, width, height, batch);
    for (int i = first_in; i < last_in; ++i) {
        LOCATE(at);
        packet v;
        FIFO_READ(results, v);
        if (stride_c == 1 && count == WIDTH) {
            STORE_PACKET(v, 0, y + element);
        } else {
            float lane[WIDTH];
            STORE_PACKET(v, 0, lane);
#pragma unroll
            for (int k = 0; k < WIDTH; ++k)
                if (k < count) y[element + k * stride_c] = lane[k];
        }
        at = following(at, vectors, width, height, batch);
    }
}

STAGE __kernel void gemm(FIFO_IN(data) FIFO_OUT(sums) __global const float *restrict weights,
                         __global float *restrict memory, const int given, WINDOW_ARGS) {
    FIFO_START(data)
    FIFO_START(sums)
    if (!weights) { /* a chain without a product: packets go through */
        for (int i = first_in; i < last_in; ++i) {
            packet v;
            FIFO_READ(data, v);
            FIFO_WRITE(sums, v);
        }
        return;
    }
    LINE_BUFFER(lines, memory);
    const int taps = kernel_h * kernel_w;
    const int group_floats = taps * vectors * WIDTH * LANES;
#if WEIGHT_STEPS > 0
    __local float16 store[WEIGHT_STEPS * WIDTH * LANES / 16];
    const int stored = taps * vectors <= WEIGHT_STEPS;
    int held = -1;
#endif
    WINDOW_START;
    for (int o = first_out; o < last_out; ++o) {
        const int pass = o / out_pass, oy = o % out_pass / out_width, ox = o % out_width;
        const int group = pass / batch;
        const int needed = pass * in_pass + NEEDED(oy, ox);
        while (taken < needed) {
            packet v;
            FIFO_READ(data, v);
            TAKEN(v);
        }
        /* What the next pixel of the row needs comes in while this one is computed. */
        const int next_in_row = ox + 1 < out_width ? pass * in_pass + NEEDED(oy, ox + 1) : taken;
        const int ahead = min(last_in, next_in_row);
        __global const float *own = weights + group * group_floats;
#if WEIGHT_STEPS > 0
        if (stored && held != group) {
            held = group;
            for (int i = 0; i < group_floats / 16; ++i) store[i] = vload16(i, own);
        }
#endif
        float16 acc[LANES / 16];
#pragma unroll
        for (int j = 0; j < LANES / 16; ++j) acc[j] = (float16)(0.0f);
        for (int kh = 0; kh < kernel_h; ++kh) {
            const int h = oy * stride_h - pad_top + kh * dilation_h;
            if (h < 0 || h >= height) continue;
            for (int kw = 0; kw < kernel_w; ++kw) {
                const int w = ox * stride_w - pad_left + kw * dilation_w;
                if (w < 0 || w >= width) continue;
                const int pixel = (h % rows * width + w) * vectors;
                const int step = (kh * kernel_w + kw) * vectors;
                for (int k = 0; k < vectors; ++k) {
                    if (taken < ahead) {
                        packet v;
                        FIFO_READ(data, v);
                        TAKEN(v);
                    }
                    LINES const float *a = lines + (pixel + k) * WIDTH;
                    const int first = (step + k) * WIDTH * (LANES / 16);
                    /* Summed up before it is added: a loop that carries one addition can take a packet per clock. */
                    float16 dot[LANES / 16];
#pragma unroll
                    for (int i = 0; i < WIDTH; ++i) {
#pragma unroll
                        for (int j = 0; j < LANES / 16; ++j) {
                            const int at = first + i * (LANES / 16) + j;
#if WEIGHT_STEPS > 0
                            const float16 b = stored ? store[at] : vload16(at, own);
#else
                            const float16 b = vload16(at, own);
#endif
                            dot[j] = i == 0 ? (float16)(a[i]) * b : fma((float16)(a[i]), b, dot[j]);
                        }
                    }
#pragma unroll
                    for (int j = 0; j < LANES / 16; ++j) acc[j] += dot[j];
                }
            }
        }
        float sum[LANES];
#pragma unroll
        for (int j = 0; j < LANES / 16; ++j) vstore16(acc[j], j, sum);
        for (int j = 0; j < given; ++j) {
            const packet v = LOAD_PACKET(j, sum);
            FIFO_WRITE(sums, v);
        }
    }
    while (taken < last_in) {
        packet v;
        FIFO_READ(data, v);
        TAKEN(v);
    }
}

/* The numbers of the activations: their places in ACTIVATIONS in clnn/kernels/activation.py. */
static packet activate(const int kind, const packet x, const packet slope, const float alpha, const float beta) {
    switch (kind) {
        case 1: return CLNN_PASTE(relu_, WIDTH)(x, slope, alpha, beta);
        case 2: return CLNN_PASTE(leaky_relu_, WIDTH)(x, slope, alpha, beta);
        case 3: return CLNN_PASTE(prelu_, WIDTH)(x, slope, alpha, beta);
        case 4: return CLNN_PASTE(clip_, WIDTH)(x, slope, alpha, beta);
        case 5: return CLNN_PASTE(hard_sigmoid_, WIDTH)(x, slope, alpha, beta);
        case 6: return CLNN_PASTE(hard_swish_, WIDTH)(x, slope, alpha, beta);
#if EXPONENTIALS
        case 7: return CLNN_PASTE(sigmoid_, WIDTH)(x, slope, alpha, beta);
        case 8: return CLNN_PASTE(silu_, WIDTH)(x, slope, alpha, beta);
        case 9: return CLNN_PASTE(tanh_, WIDTH)(x, slope, alpha, beta);
#endif
        default: return x;
    }
}

#define BEFORE 1
#define AFTER 2

static packet finish(packet v, const packet added, const int residual_place, __global const float *bias,
                     __global const float *slope, const int index, const int activation, const float alpha,
                     const float beta) {
    if (bias) v += LOAD_PACKET(index, bias);
    if (residual_place == BEFORE) v += added;
    v = activate(activation, v, slope ? LOAD_PACKET(index, slope) : (packet)(0.0f), alpha, beta);
    return residual_place == AFTER ? v + added : v;
}

/* What becomes of a window. */
#define COPY 0
#define MAX 1
#define AVERAGE 2
#define DEPTHWISE 3

/* When bias, residual and activation are applied: as packets come, or to the results of a depthwise window. */
#define ON_ARRIVAL 0
#define ON_RESULT 1

STAGE __kernel void misc(FIFO_IN(sums) FIFO_IN(residual) FIFO_OUT(results) __global const float *restrict weights,
                         __global const float *restrict bias, __global const float *restrict slope,
                         __global float *restrict memory, const float alpha, const float beta, const int operation,
                         const int when, const int residual_place, const int activation, const int pad_bottom,
                         const int pad_right, const int count_padding, WINDOW_ARGS) {
    FIFO_START(sums)
    FIFO_START(residual)
    FIFO_START(results)
    if (operation == COPY) { /* without a window: packets go through */
        for (int i = first_in; i < last_in; ++i) {
            const int index = i / (height * width * vectors) / batch * vectors + i % vectors;
            packet v, added = (packet)(0.0f);
            FIFO_READ(sums, v);
            if (residual_place) FIFO_READ(residual, added);
            v = finish(v, added, residual_place, bias, slope, index, activation, alpha, beta);
            FIFO_WRITE(results, v);
        }
        return;
    }
    LINE_BUFFER(lines, memory);
    WINDOW_START;
    for (int o = first_out; o <= last_out; ++o) {
        const int pass = o / out_pass, oy = o % out_pass / out_width, ox = o % out_width;
        /* After the last pixel of this launch, what is left of its packets. */
        const int needed = o == last_out ? last_in : pass * in_pass + NEEDED(oy, ox);
        while (taken < needed) {
            const int index = taken / in_pass / batch * vectors + taken % vectors;
            packet v, added = (packet)(0.0f);
            FIFO_READ(sums, v);
            if (residual_place) FIFO_READ(residual, added);
            if (when == ON_ARRIVAL) v = finish(v, added, residual_place, bias, slope, index, activation, alpha, beta);
            TAKEN(v);
        }
        if (o == last_out) break;
        const int top = oy * stride_h - pad_top, leftmost = ox * stride_w - pad_left;
        const int group = pass / batch;
        for (int k = 0; k < vectors; ++k) {
            packet v = (packet)(operation == MAX ? -INFINITY : 0.0f);
            int count = 0;
            for (int kh = 0; kh < kernel_h; ++kh) {
                const int h = top + kh * dilation_h;
                for (int kw = 0; kw < kernel_w; ++kw) {
                    const int w = leftmost + kw * dilation_w;
                    if (h < 0 || h >= height || w < 0 || w >= width) {
                        count += count_padding && h < height + pad_bottom && w < width + pad_right;
                        continue;
                    }
                    const packet a = LOAD_PACKET((h % rows * width + w) * vectors + k, lines);
                    ++count;
                    if (operation == DEPTHWISE)
                        v = fma(a, LOAD_PACKET((group * kernel_h * kernel_w + kh * kernel_w + kw) * vectors + k, weights), v);
                    else if (operation == MAX)
                        v = v < a || a != a ? a : v;
                    else
                        v += a;
                }
            }
            if (operation == AVERAGE) v /= (packet)(count);
            if (when == ON_RESULT)
                v = finish(v, (packet)(0.0f), 0, bias, slope, group * vectors + k, activation, alpha, beta);
            FIFO_WRITE(results, v);
        }
    }
}
