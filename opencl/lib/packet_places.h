/* Where the packets of a tensor's stream lie in memory: passes x rows x columns x vectors of WIDTH channels.
 *
 *   group   ┌ picture ┌ row ┌ column ┌ vector
 *   the outermost ··················· the innermost, which changes from packet to packet
 *
 * Needs WIDTH (lib/transport.h). The memory of a tensor is told in opencl/stages.cl.
 */
#ifndef CLNN_PACKET_PLACES_H
#define CLNN_PACKET_PLACES_H

/* Where the packet `index` of a tensor's stream lies in memory. */
typedef struct {
    int vector, column, row, picture, group;
} Place;

static Place place_of(int index, const int vectors, const int width, const int height, const int batch) {
    Place at;
    at.vector = index % vectors;
    index /= vectors;
    at.column = index % width;
    index /= width;
    at.row = index % height;
    index /= height;
    at.picture = index % batch;
    at.group = index / batch;
    return at;
}

static Place following(Place at, const int vectors, const int width, const int height, const int batch) {
    if (++at.vector < vectors) return at;
    at.vector = 0;
    if (++at.column < width) return at;
    at.column = 0;
    if (++at.row < height) return at;
    at.row = 0;
    if (++at.picture < batch) return at;
    at.picture = 0;
    ++at.group;
    return at;
}

#define TENSOR_ARGS                                                                                                 \
    const int offset, const int stride_n, const int stride_c, const int stride_h, const int stride_w,               \
        const int batch, const int height, const int width, const int vectors, const int span, const int outer,     \
        const int inner, const int depth

/* The first element of a packet, and how many of its channels exist. */
#define LOCATE(at)                                                                                                  \
    const int within = (at).group % span * inner + (at).vector * WIDTH;                                             \
    const int channel = (at).group / span * outer + within;                                                         \
    const int element = offset + (at).picture * stride_n + channel * stride_c + (at).row * stride_h +               \
                        (at).column * stride_w;                                                                     \
    const int count = min(WIDTH, depth - within)

#endif
