/* DynOPool on a CPU, in float32: 16 planes at a time, side by side in one vector. Tables say which pixels make a query,
and which cells a pixel is in; they are the same for all planes. */

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#define LANES 16
#define BLOCK 64 /* cells or pixels: what is added up in float before it joins a sum in double */
#define MAX_AXES 3
#define MAX_THREADS 256

/* of 16 planes; aligned as a single value is */
typedef float Floats __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t Ints __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint8_t Bytes __attribute__((vector_size(LANES), aligned(1), may_alias));
typedef double Doubles __attribute__((vector_size(8 * LANES), aligned(8)));

/* What Python hands over, in this order. Maps are contiguous, or have channels last; y is dy in the backward pass. */
typedef struct {
    long planes, channels, pixels, cells, queries, mean, axes, channels_last, threads;
    const int32_t *start, *index, *query; /* forward: taps of query k begin at start[k]; backward: see there */
    const float *weight;
    const float *x; /* NULL in the backward pass: no derivatives are wanted */
    float *y, *dx;  /* dx NULL: not wanted */
    uint8_t *winner; /* NULL: not wanted, or there are none */
    double *slopes;  /* NULL: forward; else the sums for alpha, (groups of 16 planes, axes) */
} Job;

/* A cell is the mean of its queries, or the largest: the first of equals, the last NaN. */
static void forward(const Job *job, const float *x, long step, float *y, uint8_t *winner) {
    for (long cell = 0, row = 0; cell < job->cells; cell++) {
        Floats best = {0};
        Ints won = {0};
        for (int k = 0; k < job->queries; k++, row++) {
            Floats value = {0};
            for (long t = job->start[row]; t < job->start[row + 1]; t++)
                value += job->weight[t] * *(const Floats *)(x + job->index[t] * step);
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
        *(Floats *)(y + cell * step) = best;
        if (winner)
            *(Bytes *)(winner + cell * step) = __builtin_convertvector(won, Bytes);
    }
}

/* The gradient of the cell of tap t where the tap's query has won, and zero elsewhere. */
static inline Floats given(const Job *job, const Floats *dy, const Ints *winner, long t) {
    Floats all = dy[job->index[t]];
    return winner ? (Floats)((winner[job->index[t]] == job->query[t]) & (Ints)all) : all;
}

/* The taps of pixel p in its queries begin at start[2 p]; from start[2 p + 1] on they count for derivatives only. The
weights of a tap are one for dx and one for each axis: the pixel's in the query's derivative to its distance from the
centre of the cell. */
static inline __attribute__((always_inline)) void backward(
    const Job *job, const float *x, float *dx, long step, const Floats *dy, const Ints *winner, double *slopes, const int axes
) {
    const long columns = 1 + job->axes;
    Doubles total[MAX_AXES] = {0};
    for (long block = 0; block < job->pixels; block += BLOCK) {
        Floats sum[MAX_AXES] = {0};
        for (long p = block; p < block + BLOCK && p < job->pixels; p++) {
            Floats grad = {0}, slope[MAX_AXES] = {0};
            long t = job->start[2 * p];
            for (; t < job->start[2 * p + 1]; t++) {
                Floats value = given(job, dy, winner, t);
                grad += job->weight[columns * t] * value;
                for (int axis = 0; axis < axes; axis++)
                    slope[axis] += job->weight[columns * t + 1 + axis] * value;
            }
            if (dx)
                *(Floats *)(dx + p * step) = grad;
            if (axes == 0)
                continue;
            for (; t < job->start[2 * p + 2]; t++) {
                Floats value = given(job, dy, winner, t);
                for (int axis = 0; axis < axes; axis++)
                    slope[axis] += job->weight[columns * t + 1 + axis] * value;
            }
            for (int axis = 0; axis < axes; axis++)
                sum[axis] += slope[axis] * *(const Floats *)(x + p * step);
        }
        for (int axis = 0; axis < axes; axis++)
            total[axis] += __builtin_convertvector(sum[axis], Doubles);
    }
    for (int axis = 0; axis < axes; axis++)
        for (int lane = 0; lane < LANES; lane++)
            slopes[axis] += total[axis][lane];
}

/* Where a plane begins in a map of so many pixels. */
static long begin(const Job *job, long plane, long pixels) {
    if (!job->channels_last)
        return plane * pixels;
    return plane / job->channels * job->channels * pixels + plane % job->channels;
}

/* Whether 16 channels of a sample, from this plane on, lie side by side in memory. */
static int side_by_side(const Job *job, long first) {
    return job->channels_last && first % job->channels + LANES <= job->channels;
}

/* Planes side by side, (pixels, 16), from a map; zeros where there are fewer than 16, the other way nothing. */
#define PACKING(type, vector, pack, unpack)                                                                            \
    static void pack(const Job *job, const type *map, type *planes, long first, long pixels) {                         \
        const long step = job->channels_last ? job->channels : 1;                                                      \
        if (side_by_side(job, first)) {                                                                                \
            const type *source = map + begin(job, first, pixels);                                                      \
            for (long p = 0; p < pixels; p++)                                                                          \
                *(vector *)(planes + p * LANES) = *(const vector *)(source + p * step);                                \
            return;                                                                                                    \
        }                                                                                                              \
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
PACKING(float, Floats, pack, unpack)
PACKING(uint8_t, Bytes, pack_bytes, unpack_bytes)

typedef struct {
    const Job *job;
    long first, end, failed; /* groups of 16 planes */
} Share;

static void *work(void *argument) {
    Share *share = argument;
    const Job *job = share->job;
    float *memory = malloc(LANES * (4 * job->pixels * 2 + (4 + 4 + 1) * job->cells));
    if (!memory) {
        share->failed = 1;
        return NULL;
    }
    float *x_planes = memory, *dx_planes = x_planes + LANES * job->pixels, *y_planes = dx_planes + LANES * job->pixels;
    int32_t *query_planes = (int32_t *)(y_planes + LANES * job->cells);
    uint8_t *winner_planes = (uint8_t *)(query_planes + LANES * job->cells);
    for (long group = share->first; group < share->end; group++) {
        const long first = LANES * group;
        const int as_is = side_by_side(job, first);
        const long step = as_is ? job->channels : LANES, at = begin(job, first, job->pixels);
        const float *x = job->x && as_is ? job->x + at : job->x ? x_planes : NULL;
        if (x == x_planes)
            pack(job, job->x, x_planes, first, job->pixels);
        if (!job->slopes && as_is) {
            const long out = begin(job, first, job->cells);
            forward(job, x, step, job->y + out, job->winner ? job->winner + out : NULL);
        } else if (!job->slopes) {
            forward(job, x, step, y_planes, job->winner ? winner_planes : NULL);
            unpack(job, y_planes, job->y, first, job->cells);
            if (job->winner)
                unpack_bytes(job, winner_planes, job->winner, first, job->cells);
        } else {
            float *dx = job->dx && as_is ? job->dx + at : job->dx ? dx_planes : NULL;
            pack(job, job->y, y_planes, first, job->cells);
            if (job->winner)
                pack_bytes(job, job->winner, winner_planes, first, job->cells);
            for (long i = 0; job->winner && i < LANES * job->cells; i++)
                query_planes[i] = winner_planes[i];
            const Floats *dy = (const Floats *)y_planes;
            const Ints *winner = job->winner ? (const Ints *)query_planes : NULL;
            double *slopes = job->slopes + group * job->axes;
            if (!x)
                backward(job, x, dx, step, dy, winner, slopes, 0);
            else if (job->axes == 2)
                backward(job, x, dx, step, dy, winner, slopes, 2);
            else
                backward(job, x, dx, step, dy, winner, slopes, 3);
            if (dx == dx_planes && dx)
                unpack(job, dx_planes, job->dx, first, job->pixels);
        }
    }
    free(memory);
    return NULL;
}

/* The whole job; 0, or 1 where there was no memory. Each number is the same for any number of threads. */
int dynpool_run(const Job *job) {
    const long groups = (job->planes + LANES - 1) / LANES;
    long count = job->threads < groups ? job->threads : groups;
    count = count < MAX_THREADS ? count : MAX_THREADS;
    pthread_t threads[MAX_THREADS];
    Share shares[MAX_THREADS];
    int started[MAX_THREADS], failed = 0;
    for (long k = count - 1; k >= 0; k--) { /* the first share here */
        shares[k] = (Share){job, groups * k / count, groups * (k + 1) / count, 0};
        started[k] = k > 0 && pthread_create(&threads[k], NULL, work, &shares[k]) == 0;
        if (!started[k])
            work(&shares[k]);
    }
    for (long k = 0; k < count; k++) {
        if (started[k])
            pthread_join(threads[k], NULL);
        failed |= shares[k].failed;
    }
    return failed;
}
