/* DynOPool on a CPU, in float32: 16 planes at a time, side by side in one vector. Tables say which pixels make a query,
and which cells a pixel is in; they are the same for all planes. Each result is gathered, so that threads can share them
out as they like. */

#include <stdint.h>
#include <stdlib.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif

#define LANES 16
#define BLOCK 64 /* cells or pixels, as in launch.py */
#define MAX_AXES 3

/* of 16 planes; aligned as a single value is */
typedef float Floats __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t Ints __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint8_t Bytes __attribute__((vector_size(LANES), aligned(1), may_alias));
typedef double Doubles __attribute__((vector_size(8 * LANES), aligned(8)));

/* What Python hands over, in this order. Maps are contiguous, or have channels last; y is dy in the backward pass.

An item is what a thread takes at a time: 64 cells or pixels of a sample where at least 16 channels lie side by side
(as_is), and else 16 planes, which are set side by side. */
typedef struct {
    long planes, channels, pixels, cells, queries, mean, axes, channels_last, as_is, items, threads;
    const int32_t *start, *index, *query; /* forward: taps of query k begin at start[k]; else see backward() */
    const float *weight;
    const float *x; /* NULL in the backward pass: no derivatives are wanted */
    float *y, *dx;  /* dx NULL: not wanted */
    uint8_t *winner; /* NULL: not wanted, or there are none */
    double *slopes;  /* NULL: forward; else the sums for alpha, (items, axes) */
    /* runs a function in so many threads, as GOMP_parallel does */
    void (*parallel)(void (*function)(void *), void *argument, unsigned threads, unsigned flags);
} Job;

/* The channels of a pixel in memory: a row of so many. The last vector may begin within the one before. */
static inline long vectors(long row) { return (row + LANES - 1) / LANES; }
static inline long channel(long row, long vector) {
    return LANES * vector + LANES <= row ? LANES * vector : row - LANES;
}

/* Cells from first to end: the mean of a cell's queries, or the largest, the first of equals or the last NaN. */
static void forward(const Job *job, const float *x, long row, float *y, uint8_t *winner, long first, long end) {
    for (long cell = first; cell < end; cell++)
        for (long v = 0; v < vectors(row); v++) {
            const long c = channel(row, v);
            Floats best = {0};
            Ints won = {0};
            for (int k = 0; k < job->queries; k++) {
                const long query = cell * job->queries + k;
                if (cell + 1 < job->cells) /* the next cell's, from memory */
                    __builtin_prefetch(x + job->index[job->start[query + job->queries]] * row + c);
                Floats value = {0};
                for (long t = job->start[query]; t < job->start[query + 1]; t++)
                    value += job->weight[t] * *(const Floats *)(x + job->index[t] * row + c);
                if (job->mean) {
                    best += value;
                    continue;
                }
                Ints better = (value > best) | (value != value) | (k == 0 ? -1 : 0);
                best = (Floats)((better & (Ints)value) | (~better & (Ints)best));
                won = (better & k) | (~better & won);
            }
            if (job->mean)
                best /= (float)job->queries;
            *(Floats *)(y + cell * row + c) = best;
            if (winner)
                *(Bytes *)(winner + cell * row + c) = __builtin_convertvector(won, Bytes);
        }
}

static inline Ints widened(const uint8_t *bytes) {
#if defined(__AVX512F__)
    return (Ints)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)bytes));
#elif defined(__AVX2__) /* compilers find these two by themselves in newer versions only */
    Ints all;
    ((__m256i_u *)&all)[0] = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)bytes));
    ((__m256i_u *)&all)[1] = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(bytes + 8)));
    return all;
#else
    return __builtin_convertvector(*(const Bytes *)bytes, Ints);
#endif
}

/* The gradient of tap t's cell where its query has won, and zero elsewhere. */
static inline Floats given(const Job *job, const float *dy, const uint8_t *winner, long row, long c, long t) {
    const long at = job->index[t] * row + c;
    Floats all = *(const Floats *)(dy + at);
    return winner ? (Floats)((widened(winner + at) == job->query[t]) & (Ints)all) : all;
}

/* Pixels from first to end. The taps of pixel p in its queries begin at start[2 p]; from start[2 p + 1] on they count for
derivatives only. The weights of a tap are one for dx and one for each axis: the pixel's in the query's derivative to its
distance from the centre of the cell. */
static inline __attribute__((always_inline)) void backward(
    const Job *job, const float *x, float *dx, long row, const float *dy, const uint8_t *winner, long first, long end,
    double *slopes, const int axes
) {
    const long columns = 1 + job->axes, count = vectors(row), added = count < BLOCK ? BLOCK / count : 1;
    Ints new = {0}; /* channels of the last vector that are not in the one before */
    for (int lane = 0; lane < LANES; lane++)
        new[lane] = lane >= LANES * count - row ? -1 : 0;
    Doubles total[MAX_AXES] = {0};
    for (long block = first; block < end; block += added) { /* what is added up in float before it joins doubles */
        Floats sum[MAX_AXES] = {0};
        for (long p = block; p < block + added && p < end; p++)
            for (long v = 0; v < count; v++) {
                const long c = channel(row, v);
                Floats grad = {0}, slope[MAX_AXES] = {0};
                long t = job->start[2 * p];
                for (; t < job->start[2 * p + 1]; t++) {
                    Floats value = given(job, dy, winner, row, c, t);
                    grad += job->weight[columns * t] * value;
                    for (int axis = 0; axis < axes; axis++)
                        slope[axis] += job->weight[columns * t + 1 + axis] * value;
                }
                if (dx)
                    *(Floats *)(dx + p * row + c) = grad;
                if (axes == 0)
                    continue;
                for (; t < job->start[2 * p + 2]; t++) {
                    Floats value = given(job, dy, winner, row, c, t);
                    for (int axis = 0; axis < axes; axis++)
                        slope[axis] += job->weight[columns * t + 1 + axis] * value;
                }
                Floats pixel = *(const Floats *)(x + p * row + c);
                if (v == count - 1)
                    pixel = (Floats)((Ints)pixel & new);
                for (int axis = 0; axis < axes; axis++)
                    sum[axis] += slope[axis] * pixel;
            }
        for (int axis = 0; axis < axes; axis++)
            total[axis] += __builtin_convertvector(sum[axis], Doubles);
    }
    for (int axis = 0; axis < axes; axis++)
        for (int lane = 0; lane < LANES; lane++)
            slopes[axis] += total[axis][lane];
}

static void backward_of(
    const Job *job, const float *x, float *dx, long row, const float *dy, const uint8_t *winner, long first, long end,
    double *slopes
) {
    if (!x)
        backward(job, x, dx, row, dy, winner, first, end, slopes, 0);
    else if (job->axes == 2)
        backward(job, x, dx, row, dy, winner, first, end, slopes, 2);
    else
        backward(job, x, dx, row, dy, winner, first, end, slopes, 3);
}

/* Where a plane begins in a map of so many pixels. */
static long begin(const Job *job, long plane, long pixels) {
    if (!job->channels_last)
        return plane * pixels;
    return plane / job->channels * job->channels * pixels + plane % job->channels;
}

/* Planes side by side, (pixels, 16), from a map; zeros where there are fewer than 16, the other way nothing. */
#define PACKING(type, pack, unpack)                                                                                    \
    static void pack(const Job *job, const type *map, type *planes, long first, long pixels) {                         \
        const long step = job->channels_last ? job->channels : 1;                                                      \
        for (long block = 0; block < pixels; block += BLOCK)                                                           \
            for (long lane = 0; lane < LANES; lane++) {                                                                \
                const int there = first + lane < job->planes;                                                          \
                const type *plane = map + begin(job, there ? first + lane : first, pixels);                            \
                for (long p = block; p < block + BLOCK && p < pixels; p++)                                             \
                    planes[p * LANES + lane] = there ? plane[p * step] : 0;                                            \
            }                                                                                                          \
    }                                                                                                                  \
    static void unpack(const Job *job, const type *planes, type *map, long first, long pixels) {                       \
        const long step = job->channels_last ? job->channels : 1;                                                      \
        for (long block = 0; block < pixels; block += BLOCK)                                                           \
            for (long lane = 0; lane < LANES && first + lane < job->planes; lane++) {                                  \
                type *plane = map + begin(job, first + lane, pixels);                                                  \
                for (long p = block; p < block + BLOCK && p < pixels; p++)                                             \
                    plane[p * step] = planes[p * LANES + lane];                                                        \
            }                                                                                                          \
    }
PACKING(float, pack, unpack)
PACKING(uint8_t, pack_bytes, unpack_bytes)

static void run_as_is(const Job *job, long item) {
    const long size = job->slopes ? job->pixels : job->cells, blocks = (size + BLOCK - 1) / BLOCK;
    const long sample = item / blocks * job->channels, first = item % blocks * BLOCK;
    const long end = first + BLOCK < size ? first + BLOCK : size, at = sample * job->pixels, out = sample * job->cells;
    const float *x = job->x ? job->x + at : NULL;
    uint8_t *winner = job->winner ? job->winner + out : NULL;
    if (!job->slopes)
        forward(job, x, job->channels, job->y + out, winner, first, end);
    else
        backward_of(
            job, x, job->dx ? job->dx + at : NULL, job->channels, job->y + out, winner, first, end,
            job->slopes + item * job->axes
        );
}

static void run_packed(const Job *job, long item, float *memory) {
    float *dx = memory + LANES * job->pixels, *y = dx + LANES * job->pixels;
    uint8_t *winner = job->winner ? (uint8_t *)(y + LANES * job->cells) : NULL;
    const float *x = job->x ? memory : NULL;
    const long first = item * LANES;
    if (x)
        pack(job, job->x, memory, first, job->pixels);
    if (!job->slopes) {
        forward(job, x, LANES, y, winner, 0, job->cells);
        unpack(job, y, job->y, first, job->cells);
        if (winner)
            unpack_bytes(job, winner, job->winner, first, job->cells);
        return;
    }
    pack(job, job->y, y, first, job->cells);
    if (winner)
        pack_bytes(job, job->winner, winner, first, job->cells);
    backward_of(job, x, dx, LANES, y, winner, 0, job->pixels, job->slopes + item * job->axes);
    if (job->dx)
        unpack(job, dx, job->dx, first, job->pixels);
}

typedef struct {
    const Job *job;
    long next; /* item that no thread has taken yet */
    int failed;
} Work;

/* What each thread does: take some items after the others, until none is left. */
static void work(void *argument) {
    Work *shared = argument;
    const Job *job = shared->job;
    const long some = 1 + job->items / (16 * job->threads);
    float *memory = NULL;
    if (!job->as_is && !(memory = malloc(LANES * (4 * (2 * job->pixels + job->cells) + job->cells)))) {
        __atomic_store_n(&shared->failed, 1, __ATOMIC_RELAXED);
        return;
    }
    for (;;) {
        const long first = __atomic_fetch_add(&shared->next, some, __ATOMIC_RELAXED);
        if (first >= job->items)
            break;
        for (long item = first; item < first + some && item < job->items; item++) {
            if (job->as_is)
                run_as_is(job, item);
            else
                run_packed(job, item, memory);
        }
    }
    free(memory);
}

/* The whole job; 0, or 1 where there was no memory. Each number is the same for any number of threads. */
int dynpool_run(const Job *job) {
    Work shared = {job, 0, 0};
    if (job->threads > 1)
        job->parallel(work, &shared, job->threads, 0);
    else
        work(&shared);
    return shared.failed;
}
