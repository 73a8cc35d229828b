/* A line buffer: the rows of a pass that lie under a window, as a ring of packets.
 *
 *      slot of the next packet
 *            v
 *   [ row h-2 | row h-1 | row h . . ]     `rows` rows of width x vectors packets
 *
 * Needs `packet`, WIDTH and STORE_PACKET (lib/transport.h), and LINE_PACKETS: packets of one on chip, or 0 for line
 * buffers in global memory.
 */
#ifndef CLNN_LINE_BUFFER_H
#define CLNN_LINE_BUFFER_H

#if LINE_PACKETS > 0
#define LINES __local
#define LINE_BUFFER(name, memory) __local float name[LINE_PACKETS * WIDTH]
#else
#define LINES __global
#define LINE_BUFFER(name, memory) __global float *restrict name = memory
#endif

#define WINDOW_ARGS                                                                                                 \
    const int height, const int width, const int out_height, const int out_width, const int kernel_h,               \
        const int kernel_w, const int stride_h, const int stride_w, const int dilation_h, const int dilation_w,     \
        const int pad_top, const int pad_left, const int rows, const int batch, const int vectors,                  \
        const int first_in, const int last_in, const int first_out, const int last_out

/* How many packets of its pass the pixel (oy, ox) needs. */
#define NEEDED(oy, ox)                                                                                              \
    ((clamp((oy) * stride_h - pad_top + (kernel_h - 1) * dilation_h, 0, height - 1) * width +                       \
      clamp((ox) * stride_w - pad_left + (kernel_w - 1) * dilation_w, 0, width - 1) + 1) * vectors)

/* The state of a window: `taken` packets have come, the next one goes to packet `slot` of the line buffer. */
#define WINDOW_START                                                                                                \
    const int in_pass = height * width * vectors, out_pass = out_height * out_width, ring = rows * width * vectors; \
    int taken = first_in, slot = first_in % in_pass % ring, left = in_pass - first_in % in_pass

/* Puts packet v into the line buffer; a pass begins at its start. */
#define TAKEN(v)                                                                                                    \
    STORE_PACKET(v, slot, lines);                                                                                   \
    ++taken;                                                                                                        \
    slot = slot + 1 == ring ? 0 : slot + 1;                                                                         \
    if (--left == 0) slot = 0, left = in_pass

#endif
