/* The most multiply-adds that a C compiler gets out of this processor: prints 10^9 operations per second, all threads
 * together. Twelve independent AVX-512 accumulators per thread, the best of several rounds. */
#include <immintrin.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define STEPS 4000000L
#define ROUNDS 20
#define MAX_THREADS 256

static pthread_barrier_t barrier;
static volatile float sink;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static void *work(void *best)
{
    const __m512 b = _mm512_set1_ps(0.999999f), c = _mm512_set1_ps(1e-6f);
    __m512 a[12];
    for (int round = 0; round < ROUNDS; round++) {
        for (int k = 0; k < 12; k++)
            a[k] = _mm512_set1_ps(k);
        pthread_barrier_wait(&barrier);
        const double start = now();
        for (long step = 0; step < STEPS; step++) {
#define FMA(k) a[k] = _mm512_fmadd_ps(a[k], b, c);
            FMA(0) FMA(1) FMA(2) FMA(3) FMA(4) FMA(5) FMA(6) FMA(7) FMA(8) FMA(9) FMA(10) FMA(11)
        }
        pthread_barrier_wait(&barrier);
        const double taken = now() - start;
        if (best && taken < *(double *)best)
            *(double *)best = taken;
        for (int k = 0; k < 12; k++)
            sink += a[k][0];
    }
    return 0;
}

int main(int argc, char **argv)
{
    const int threads = argc > 1 ? atoi(argv[1]) : 1;
    pthread_t others[MAX_THREADS];
    double best = 1e30;
    if (threads < 1 || threads > MAX_THREADS)
        return 1;
    pthread_barrier_init(&barrier, 0, threads);
    for (int i = 1; i < threads; i++)
        pthread_create(&others[i], 0, work, 0);
    work(&best);
    for (int i = 1; i < threads; i++)
        pthread_join(others[i], 0);
    printf("%.1f\n", 2.0 * 16 * 12 * STEPS * threads / best / 1e9);
    return 0;
}
