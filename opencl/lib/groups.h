/* Walking over groups: the elements of a tensor that share a result, as in a sum or a softmax along some axes.
 *
 * The dimensions of a tensor x are split into the kept ones, which number the groups, and the reduced ones, which
 * number the elements of a group; the host merges each kind to at most four:
 *
 *     group   g = (k0, k1, k2, k3), k3 fastest        element   e = (r0, r1, r2, r3), r3 fastest
 *
 * A work-item takes blocks of groups, and goes through a block in vectors. ACCESS says what their lanes are:
 *
 *     ALONG   r3 ─▶  WIDTH elements of the one group of the block     reduced_3 = 1, r3 >= WIDTH
 *     ACROSS  k3 ─▶  one element of each of WIDTH groups              kept_3 = 1, k3 >= WIDTH: groups side by side
 *     GATHER         one element of each of WIDTH groups              any strides; lanes are loaded one by one
 *
 *     ALONG   ┌─ v0 ─┬─ v1 ─┬ v2 ─┐  a group            ACROSS  g0 g1 g2 ...
 *             └──────┴──────┴─────┘                              ├ v0 ──────┤  element 0 of 16 groups
 *                    the last vector overlaps                    ├ v1 ──────┤  element 1
 *
 * Where WIDTH does not divide a length the last vector overlaps its neighbour. No element is counted twice; a result
 * may be stored twice, by the same work-item, so results must not overwrite x.
 */
#define ALONG 0
#define ACROSS 1
#define GATHER 2
#ifndef ACCESS
#define ACCESS ALONG
#endif

#define V VEC(TYPE)
#define C(number) ((V)(number))
#define PICK(condition, yes, no) select(no, yes, condition)

/* Sizes and strides in elements. Sizes k0 and r0 are the outermost. With ACROSS a row is the groups along k3 and a
 * work-item takes groups_per_item of them in each of rows_per_item rows; else all groups form one row. */
typedef struct {
    int rows, groups, rows_per_item, groups_per_item;
    int k1, k2, k3, kept_0, kept_1, kept_2, kept_3;
    int r0, r1, r2, r3, reduced_0, reduced_1, reduced_2, reduced_3;
} Nest;

/* The kernel arguments that make a Nest, and the Nest made of them. */
#define NEST_ARGUMENTS                                                                                       \
    int rows, int groups, int rows_per_item, int groups_per_item, int k1, int k2, int k3,                    \
    int kept_0, int kept_1, int kept_2, int kept_3, int r0, int r1, int r2, int r3,                          \
    int reduced_0, int reduced_1, int reduced_2, int reduced_3
#define NEST                                                                                                 \
    {rows, groups, rows_per_item, groups_per_item, k1, k2, k3, kept_0, kept_1, kept_2, kept_3,               \
     r0, r1, r2, r3, reduced_0, reduced_1, reduced_2, reduced_3}

/* A block of groups: its first group, how many there are, and where they begin in x. */
typedef struct {
    int first, count;
#if ACCESS == GATHER
    int start[WIDTH];
#else
    int start;
#endif
} Block;

/* Where a group begins in a tensor of the given strides. */
inline int group_offset(const Nest *n, int group, int kept_0, int kept_1, int kept_2, int kept_3)
{
    const int i3 = group % n->k3, rest3 = group / n->k3;
    const int i2 = rest3 % n->k2, rest2 = rest3 / n->k2;
    return rest2 / n->k1 * kept_0 + rest2 % n->k1 * kept_1 + i2 * kept_2 + i3 * kept_3;
}

inline int group_start(const Nest *n, int group)
{
    return group_offset(n, group, n->kept_0, n->kept_1, n->kept_2, n->kept_3);
}

inline int first_group(const Nest *n)
{
    return get_global_id(0) * n->groups_per_item;
}

inline int end_group(const Nest *n)
{
    /* the last item takes what is left */
    const int end = first_group(n) + n->groups_per_item;
    return end + n->groups_per_item > n->groups ? n->groups : end;
}

inline int first_row(const Nest *n)
{
    return get_global_id(1) * n->rows_per_item;
}

/* By pointer: what inlining makes of a returned struct is unknown to Oclgrind. */
inline void enter_block(const Nest *n, int row, int group, Block *block)
{
#if ACCESS == ALONG
    block->first = group;
    block->count = 1;
    block->start = group_start(n, group);
#elif ACCESS == ACROSS
    block->first = row * n->groups + min(group, end_group(n) - WIDTH);
    block->count = WIDTH;
    block->start = group_start(n, block->first);
#else
    const int start = group_start(n, group), run = n->k3 - group % n->k3;
    block->first = group;
    block->count = min(WIDTH, end_group(n) - group);
    for (int lane = 0; lane < WIDTH; ++lane) {
        const int step = min(lane, block->count - 1);
        /* divisions are dear, and few groups lie across the end of a run along k3 */
        block->start[lane] = step < run ? start + step * n->kept_3 : group_start(n, group + step);
    }
#endif
}

/* Loops over the blocks of the work-item; the body begins with enter_block(n, row, group, &block). */
#define EACH_BLOCK(n)                                                                                        \
    for (int row = first_row(n); row < min(first_row(n) + (n)->rows_per_item, (n)->rows); ++row)             \
        for (int group = first_group(n); group < end_group(n); group += ACCESS == ALONG ? 1 : WIDTH)

/* Loops over the vectors of a block: each lies at `o` from the start of its groups, and its first `old` lanes were in
 * the vector before. */
#define EACH_VECTOR(n)                                                                                       \
    for (int i0 = 0, o0 = 0; i0 < (n)->r0; ++i0, o0 += (n)->reduced_0)                                       \
        for (int i1 = 0, o1 = o0; i1 < (n)->r1; ++i1, o1 += (n)->reduced_1)                                  \
            for (int i2 = 0, o2 = o1; i2 < (n)->r2; ++i2, o2 += (n)->reduced_2)                              \
                EACH_IN_ROW(n)
#if ACCESS == ALONG
#define EACH_IN_ROW(n)                                                                                       \
    for (int i3 = 0, o = o2, old = 0; i3 < (n)->r3;                                                          \
         i3 += WIDTH, o = o2 + min(i3, (n)->r3 - WIDTH), old = o2 + i3 - o)
#else
#define EACH_IN_ROW(n) for (int i3 = 0, o = o2, old = 0; i3 < (n)->r3; ++i3, o += (n)->reduced_3)
#endif

inline V fetch(__global const TYPE *x, const Block *block, int o)
{
#if ACCESS == GATHER
    TYPE lanes[WIDTH];
    for (int lane = 0; lane < WIDTH; ++lane)
        lanes[lane] = x[block->start[lane] + o];
    return JOIN(vload, WIDTH)(0, lanes);
#else
    return JOIN(vload, WIDTH)(0, x + block->start + o);
#endif
}

/* The inverse of fetch, for a tensor y with the strides of x. */
inline void put(V v, __global TYPE *y, const Block *block, int o)
{
#if ACCESS == GATHER
    TYPE lanes[WIDTH];
    JOIN(vstore, WIDTH)(v, 0, lanes);
    for (int lane = 0; lane < block->count; ++lane)
        y[block->start[lane] + o] = lanes[lane];
#else
    JOIN(vstore, WIDTH)(v, 0, y + block->start + o);
#endif
}

/* Stores one lane per group of the block; y is numbered by groups. */
inline void put_groups(V v, __global TYPE *y, const Block *block)
{
#if ACCESS == ACROSS
    JOIN(vstore, WIDTH)(v, 0, y + block->first);
#else
    TYPE lanes[WIDTH];
    JOIN(vstore, WIDTH)(v, 0, lanes);
    for (int lane = 0; lane < block->count; ++lane)
        y[block->first + lane] = lanes[lane];
#endif
}

inline V lane_numbers(void)
{
    TYPE numbers[WIDTH];
    for (int lane = 0; lane < WIDTH; ++lane)
        numbers[lane] = lane;
    return JOIN(vload, WIDTH)(0, numbers);
}

/* Every lane becomes the fold of all lanes: first with the lane half a vector away, then a quarter, ... */
#if WIDTH == 16
#define JOIN_LANES(v, STEP)                                                                                  \
    v = STEP(v, v.s89abcdef01234567);                                                                        \
    v = STEP(v, v.s45670123cdef89ab);                                                                        \
    v = STEP(v, v.s23016745ab89efcd);                                                                        \
    v = STEP(v, v.s1032547698badcfe);
#else
#define JOIN_LANES(v, STEP)                                                                                  \
    v = STEP(v, v.s2301);                                                                                    \
    v = STEP(v, v.s1032);
#endif

/* total = STEP(total, TERM(v)) over all elements of each group; every lane ends with the total of its group. */
#define FOLD(n, x, block, total, STEP, TERM)                                                                 \
    EACH_VECTOR(n) {                                                                                         \
        const V v = fetch(x, block, o);                                                                      \
        const V next = STEP(total, TERM(v));                                                                 \
        total = old ? PICK(lane_numbers() < C(old), total, next) : next;                                     \
    }                                                                                                        \
    if (ACCESS == ALONG) {                                                                                   \
        JOIN_LANES(total, STEP)                                                                              \
    }

/* A tensor that broadcasts to x: its strides along the groups and along the elements of one, 0 where it repeats. */
typedef struct {
    int kept_0, kept_1, kept_2, kept_3, reduced_0, reduced_1, reduced_2, reduced_3;
} Beside;

/* The block of such a tensor that belongs to a block of x. */
inline void enter_beside(const Nest *n, const Beside *at, const Block *of, Block *block)
{
    block->first = of->first;
    block->count = of->count;
#if ACCESS == GATHER
    for (int lane = 0; lane < WIDTH; ++lane)
        block->start[lane] = group_offset(n, of->first + min(lane, of->count - 1),
                                          at->kept_0, at->kept_1, at->kept_2, at->kept_3);
#else
    block->start = group_offset(n, of->first, at->kept_0, at->kept_1, at->kept_2, at->kept_3);
#endif
}

/* What belongs to a vector of x: `o` elements from the start of its groups, neighbouring lanes `step` apart. */
inline V fetch_beside(__global const TYPE *p, const Block *block, int o, int step)
{
    TYPE lanes[WIDTH];
#if ACCESS == GATHER
    for (int lane = 0; lane < WIDTH; ++lane)
        lanes[lane] = p[block->start[lane] + o];
#else
    p += block->start + o;
    if (step == 0)
        return C(p[0]);
    if (step == 1)
        return JOIN(vload, WIDTH)(0, p);
    for (int lane = 0; lane < WIDTH; ++lane)
        lanes[lane] = p[lane * step];
#endif
    return JOIN(vload, WIDTH)(0, lanes);
}

/* Within EACH_VECTOR: the elements of a tensor beside x that belong to the vector. */
#define FETCH_BESIDE(n, p, at, block)                                                                        \
    fetch_beside(p, block,                                                                                   \
                 i0 * (at)->reduced_0 + i1 * (at)->reduced_1 + i2 * (at)->reduced_2                          \
                     + (ACCESS == ALONG ? min(i3, (n)->r3 - WIDTH) : i3) * (at)->reduced_3,                  \
                 ACCESS == ALONG ? (at)->reduced_3 : (at)->kept_3)
