/* FIFOs of packets between stage kernels, over one of three transports:
 *
 *   TRANSPORT  BUFFER   a ring in global memory; the static schedule of the host says in which slot a launch begins, and
 *                       launches a stage only when its packets are there and there is room for what it writes
 *              PIPE     a pipe of OpenCL 2.0
 *              CHANNEL  a channel of an FPGA compiler (cl_intel_channels), declared at file scope. With CHANNEL_SHIM
 *                       1 the functions of that extension are mapped to pipes: so this form was compiled and run without
 *                       such a compiler; it was not tried with one.
 *   WIDTH      floats in a packet: 4, 8 or 16
 *   DEPTH      packets that a channel holds
 *
 *     FIFO_IN(f) FIFO_OUT(f)    parameters of a kernel, before all others and without commas: in a channel's case none
 *     FIFO_START(f)             at the beginning of the kernel
 *     FIFO_READ(f, v)           takes a packet into v
 *     FIFO_WRITE(f, v)          appends packet v
 *     FIFO_DECLARE(f)           at file scope
 *
 * Nothing here waits in a loop. On devices that do not run kernels at once a FIFO is never empty when it is read, nor
 * full when it is written; where they do, pipes and channels block.
 */
#ifndef CLNN_TRANSPORT_H
#define CLNN_TRANSPORT_H

#include "lib/paste.h"

#define BUFFER 0
#define PIPE 1
#define CHANNEL 2
#ifndef TRANSPORT
#define TRANSPORT BUFFER
#endif
#ifndef WIDTH
#define WIDTH 16
#endif
#ifndef DEPTH
#define DEPTH 512
#endif
#ifndef CHANNEL_SHIM
#define CHANNEL_SHIM 0
#endif

typedef CLNN_PASTE(float, WIDTH) packet;
typedef CLNN_PASTE(int, WIDTH) packet_mask;
#define LOAD_PACKET(i, p) CLNN_PASTE(vload, WIDTH)(i, p)
#define STORE_PACKET(v, i, p) CLNN_PASTE(vstore, WIDTH)(v, i, p)

#define FIFO_DECLARE(f)
#define FIFO_START(f)

#if TRANSPORT == BUFFER

#define FIFO_IN(f) __global const float *restrict f, const int f##_depth, const int f##_first,
#define FIFO_OUT(f) __global float *restrict f, const int f##_depth, const int f##_first,
#undef FIFO_START
#define FIFO_START(f) int f##_slot = f##_first;
#define FIFO_NEXT(f) f##_slot = f##_slot + 1 == f##_depth ? 0 : f##_slot + 1
#define FIFO_READ(f, v)               \
    do {                              \
        v = LOAD_PACKET(f##_slot, f); \
        FIFO_NEXT(f);                 \
    } while (0)
#define FIFO_WRITE(f, v)               \
    do {                               \
        STORE_PACKET(v, f##_slot, f);  \
        FIFO_NEXT(f);                  \
    } while (0)

#elif TRANSPORT == PIPE || CHANNEL_SHIM

#define FIFO_IN(f) __read_only pipe packet f,
#define FIFO_OUT(f) __write_only pipe packet f,

#if TRANSPORT == CHANNEL
static packet shim_read(__read_only pipe packet f) {
    packet v = (packet)(0.0f);
    read_pipe(f, &v);
    return v;
}
#define read_channel_intel(f) shim_read(f)
#define write_channel_intel(f, v) write_pipe(f, &v)
#define FIFO_READ(f, v) v = read_channel_intel(f)
#define FIFO_WRITE(f, v) write_channel_intel(f, v)
#else
#define FIFO_READ(f, v) read_pipe(f, &v)
#define FIFO_WRITE(f, v) write_pipe(f, &v)
#endif

#else

#pragma OPENCL EXTENSION cl_intel_channels : enable
#undef FIFO_DECLARE
#define FIFO_DECLARE(f) channel packet f __attribute__((depth(DEPTH)));
#define FIFO_IN(f)
#define FIFO_OUT(f)
#define FIFO_READ(f, v) v = read_channel_intel(f)
#define FIFO_WRITE(f, v) write_channel_intel(f, v)

#endif
#endif
