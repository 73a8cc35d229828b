/* Vectors of WIDTH lanes over any element type, so that a kernel is written once for all of them.
 *
 * Elements in memory have type T: float, double, half, char, uchar, short, ushort, int, uint, long, ulong (a bool is a
 * uchar that holds 0 or 1). Kernels compute with COMPUTE(T): float for half, else T itself.
 *
 *     VEC(T)              vector of WIDTH lanes                  VEC(float) is float16 for WIDTH 16
 *     LOAD(T, p)          WIDTH elements at p                    STORE(T, v, p) the inverse
 *     LOAD_ONE(T, p)      the element at p                       STORE_ONE(T, s, p)
 *     CONVERT(T, v)       v in lanes of type T; truncates towards zero, keeps the low bits of integers
 *     TRUTH(T, m)         mask of a comparison (-1 or 0 per lane) as lanes of 1 and 0 of type T
 *     LOWEST(T)           the smallest value of T, -infinity for floats          HIGHEST(T) the largest
 */
#ifndef WIDTH
#define WIDTH 16
#endif

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#if WIDTH == 1
#define VEC(T) T
#else
#define VEC(T) JOIN(T, WIDTH)
#endif

#define KIND_half HALF
#define KIND_float NUMBER
#define KIND_double NUMBER
#define KIND_char NUMBER
#define KIND_uchar NUMBER
#define KIND_short NUMBER
#define KIND_ushort NUMBER
#define KIND_int NUMBER
#define KIND_uint NUMBER
#define KIND_long NUMBER
#define KIND_ulong NUMBER
#define KIND(T) JOIN(KIND_, T)

#define LOWEST_float -INFINITY
#define HIGHEST_float INFINITY
#define LOWEST_double -INFINITY
#define HIGHEST_double INFINITY
#define LOWEST_char CHAR_MIN
#define HIGHEST_char CHAR_MAX
#define LOWEST_uchar 0
#define HIGHEST_uchar UCHAR_MAX
#define LOWEST_short SHRT_MIN
#define HIGHEST_short SHRT_MAX
#define LOWEST_ushort 0
#define HIGHEST_ushort USHRT_MAX
#define LOWEST_int INT_MIN
#define HIGHEST_int INT_MAX
#define LOWEST_uint 0
#define HIGHEST_uint UINT_MAX
#define LOWEST_long LONG_MIN
#define HIGHEST_long LONG_MAX
#define LOWEST_ulong 0
#define HIGHEST_ulong ULONG_MAX
/* Not by JOIN, so that they may stand in what JOIN gives. */
#define LIMIT_(which, T) which##T
#define LIMIT(which, T) LIMIT_(which, T)
#define LOWEST(T) LIMIT(LOWEST_, T)
#define HIGHEST(T) LIMIT(HIGHEST_, T)

#define COMPUTE_NUMBER(T) T
#define COMPUTE_HALF(T) float
#define COMPUTE(T) JOIN(COMPUTE_, KIND(T))(T)

#if WIDTH == 1
#define LOAD_NUMBER LOAD_ONE_NUMBER
#define LOAD_HALF LOAD_ONE_HALF
#else
#define LOAD_NUMBER(p) JOIN(vload, WIDTH)(0, p)
#define LOAD_HALF(p) JOIN(vload_half, WIDTH)(0, p)
#endif
#define LOAD(T, p) JOIN(LOAD_, KIND(T))(p)

#define LOAD_ONE_NUMBER(p) (*(p))
#define LOAD_ONE_HALF(p) vload_half(0, p)
#define LOAD_ONE(T, p) JOIN(LOAD_ONE_, KIND(T))(p)

#if WIDTH == 1
#define STORE_NUMBER STORE_ONE_NUMBER
#define STORE_HALF STORE_ONE_HALF
#else
#define STORE_NUMBER(v, p) JOIN(vstore, WIDTH)(v, 0, p)
#define STORE_HALF(v, p) JOIN(JOIN(vstore_half, WIDTH), _rte)(v, 0, p)
#endif
#define STORE(T, v, p) JOIN(STORE_, KIND(T))(v, p)

#define STORE_ONE_NUMBER(s, p) (*(p) = (s))
#define STORE_ONE_HALF(s, p) vstore_half_rte(s, 0, p)
#define STORE_ONE(T, s, p) JOIN(STORE_ONE_, KIND(T))(s, p)

#define CONVERT(T, v) JOIN(convert_, VEC(T))(v)
#define TRUTH(T, m) (CONVERT(T, m) & (VEC(T))(1))
