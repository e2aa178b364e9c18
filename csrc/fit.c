/*
 * Exact k-means in one dimension.
 *
 * Clusters of sorted values are intervals, so a codebook is a path from cut to cut, from before the
 * first value to behind the last, and the best one with `count` edges is wanted.  At a price per
 * edge in place of a fixed count, one pass over the cuts finds the best path, because the squared
 * error obeys the quadrangle inequality: of two cuts to come from, the later one, once better,
 * stays better (Galil and Giancarlo's queue).  The least error is convex in the number of edges, so
 * a search over the price arrives at `count` (Aggarwal, Schieber and Tokuyama).  Time is that of a
 * few passes and memory is O(n), whatever `count` is.
 *
 * Precision.  Prefix sums are pairs of doubles, about 106 bits, and run from zero outwards, so that
 * no value is added to a sum of larger ones: what is lost belongs to the magnitude of the values
 * themselves.  Distinct floats of one magnitude differ by 2^-24 of it at least, so even the
 * variance of neighbouring floats, 2^-48 of their squares, is left with many good bits.
 */
#include <float.h>
#include <string.h>

#include "splitcodec.h"

#if FLT_EVAL_METHOD == 2 || FLT_EVAL_METHOD < 0
#error "fit.c needs doubles that are rounded as doubles: compile it with -msse2 -mfpmath=sse"
#endif

/* Cells per cluster of the coarse grid that the price is first searched on. */
enum { GRID_PER_CLUSTER = 64 };
/* Prices to try by the law of thumb before the bracket alone decides. */
enum { GUESSES = 6 };

/* A place between two values: sums over all values before it, and the best path to it. */
typedef struct cut {
    double sum, sum_low;       /* of weight * value */
    double square, square_low; /* of weight * value^2 */
    uint32_t values, weight;   /* how many, and how often they occur */
    uint32_t clusters, previous;
    double error;
} cut;

/* `from` is the best cut to come from, for all cuts from `start` on. */
typedef struct cut_choice {
    uint32_t from, start;
} cut_choice;

/* All the cuts that paths may use, 0 .. last, and room for best_path. */
typedef struct axis {
    cut *cuts;
    uint32_t last;
    cut_choice *queue;
} axis;

/* The last cuts of a path, at most SPC_MAX_CENTROIDS edges of it, in ascending order. */
typedef struct path {
    uint32_t clusters;
    double error;
    uint32_t cuts[SPC_MAX_CENTROIDS + 1];
} path;

/* ------------------------------------------------------------------ sums */

/* a + b = sum + *low exactly (Knuth). */
static inline double two_sum(double a, double b, double *low) {
    double sum = a + b;
    double b_part = sum - a;
    *low = (a - (sum - b_part)) + (b - b_part);
    return sum;
}

/* x = high + *low, of 24 and 29 bits (Dekker): times a float or a weight, both are exact. */
static inline double split_double(double x, double *low) {
    double scaled = 536870913.0 * x; /* 2^29 + 1 */
    double high = scaled - (scaled - x);
    *low = x - high;
    return high;
}

static void add(double *sum, double *sum_low, double term) {
    double low, total = two_sum(*sum, term, &low);
    *sum = two_sum(total, low + *sum_low, sum_low);
}

/* Sums of `to` = sums of `from` + sign * those of one value.  All products are exact: a value has
 * 24 bits, a weight 29. */
static void step(cut *to, const cut *from, double sign, double value, double weight) {
    double low, high = split_double(value * value, &low);
    to->sum = from->sum;
    to->sum_low = from->sum_low;
    to->square = from->square;
    to->square_low = from->square_low;
    add(&to->sum, &to->sum_low, sign * weight * value);
    add(&to->square, &to->square_low, sign * weight * high);
    add(&to->square, &to->square_low, sign * weight * low);
}

/* Fill in the sums of all cuts.  SPC_ERROR_ARGUMENT unless the values are finite and ascending and
 * the weights positive; SPC_ERROR_LIMIT if those add up to too much. */
static spc_status sum_up(cut *cuts, const float *values, const uint32_t *weights, size_t n) {
    size_t zero = 0;
    uint32_t weight = 0;
    for (size_t i = 0; i < n; i++) {
        if (!(values[i] >= -FLT_MAX && values[i] <= FLT_MAX) || weights[i] == 0 ||
            (i > 0 && values[i - 1] >= values[i])) {
            return SPC_ERROR_ARGUMENT;
        }
        if (weights[i] > SPC_MAX_ELEMENTS - weight) {
            return SPC_ERROR_LIMIT;
        }
        cuts[i].values = (uint32_t)i;
        cuts[i].weight = weight;
        weight += weights[i];
        zero += values[i] < 0;
    }
    cuts[n].values = (uint32_t)n;
    cuts[n].weight = weight;
    cuts[zero].sum = cuts[zero].sum_low = 0;
    cuts[zero].square = cuts[zero].square_low = 0;
    for (size_t i = zero; i < n; i++) {
        step(&cuts[i + 1], &cuts[i], 1, values[i], weights[i]);
    }
    for (size_t i = zero; i > 0; i--) {
        step(&cuts[i - 1], &cuts[i], -1, values[i - 1], weights[i - 1]);
    }
    return SPC_OK;
}

/*
 * Squared error of the values between two cuts about their mean, sum(w (x - m)^2).
 *
 * It is taken about r, the float next to the mean: e = Q - r (2 S - r W), less (S - r W)^2 / W for
 * the shift.  No value lies nearer to the mean than r does, values being floats, so the shift is
 * half of e at most and costs no precision; and e itself is a difference of exact products.
 */
static inline double cluster_error(const cut *a, const cut *b) {
    double weight = b->weight - a->weight, inverse = 1.0 / weight;
    double sum_low, square_low, twice_low, part_low, rest;
    double sum = two_sum(b->sum, -a->sum, &sum_low);
    double square = two_sum(b->square, -a->square, &square_low);
    double r, moved, twice, part, shift, error;
    sum_low += b->sum_low - a->sum_low;
    square_low += b->square_low - a->square_low;
    r = (float)((sum + sum_low) * inverse);
    moved = r * weight;
    twice = two_sum(2 * sum, -moved, &twice_low);
    part = split_double(twice, &part_low);
    rest = square_low - r * (twice_low + 2 * sum_low);
    shift = (sum - moved) + sum_low;
    error = ((square - r * part) - r * part_low) + rest - shift * shift * inverse;
    /* a single value has none, whatever the difference of the sums has left over */
    return b->values - a->values > 1 && error > 0 ? error : 0;
}

/* ------------------------------------------------------------------ the best path at a price */

/* The later cut is the better one to come from, on the way to `to`. */
static inline int overtakes(const cut *later, const cut *earlier, const cut *to, double price) {
    double a = later->error + cluster_error(later, to) + price * later->clusters;
    double b = earlier->error + cluster_error(earlier, to) + price * earlier->clusters;
    return a < b;
}

/*
 * First cut for which `later` overtakes: it does so for `high`, not for `low`.  That is mostly near
 * to where it was for the cut before, so steps grow from that side, `down` from high or up from
 * low, until they are beyond it; then the rest is halved.
 */
static uint32_t crossing(const axis *line, const cut *later, const cut *earlier, uint32_t low,
                         uint32_t high, int down, double price) {
    uint32_t width = 1;
    while (high - low > 1) {
        uint32_t gap = high - low;
        uint32_t probe = width >= gap ? low + gap / 2 : down ? high - width : low + width;
        int better = overtakes(later, earlier, &line->cuts[probe], price);
        if (better) {
            high = probe;
        } else {
            low = probe;
        }
        width = width < gap && better == down ? 2 * width : gap;
    }
    return high;
}

/* Fill in error, clusters and previous of every cut; report the path to the last one. */
static void best_path(const axis *line, double price, uint32_t count, path *best) {
    cut *cuts = line->cuts;
    cut_choice *queue = line->queue;
    uint32_t last = line->last, head = 0, tail = 1, kept;
    cuts[0].error = 0;
    cuts[0].clusters = 0;
    queue[0].from = 0;
    for (uint32_t i = 1; i <= last; i++) {
        uint32_t from, start = last;
        int popped = 0;
        while (head + 1 < tail && queue[head + 1].start <= i) {
            head++;
        }
        from = queue[head].from;
        cuts[i].error = cuts[from].error + cluster_error(&cuts[from], &cuts[i]);
        cuts[i].clusters = cuts[from].clusters + 1;
        cuts[i].previous = from;
        /* Cut i as the one to come from: never, or from some cut on to the last. */
        queue[head].start = i + 1;
        if (i == last || !overtakes(&cuts[i], &cuts[queue[tail - 1].from], &cuts[last], price)) {
            continue;
        }
        while (tail > head) {
            const cut_choice *rival = &queue[tail - 1];
            const cut *earlier = &cuts[rival->from];
            if (!overtakes(&cuts[i], earlier, &cuts[rival->start], price)) {
                start = crossing(line, &cuts[i], earlier, rival->start, start, popped, price);
                break;
            }
            start = rival->start;
            popped = 1;
            tail--;
        }
        queue[tail].from = i;
        queue[tail].start = start;
        tail++;
    }
    best->clusters = cuts[last].clusters;
    best->error = cuts[last].error;
    kept = best->clusters < count ? best->clusters : count;
    best->cuts[kept] = last;
    for (; kept > 0; kept--) {
        best->cuts[kept - 1] = cuts[best->cuts[kept]].previous;
    }
}

/* ------------------------------------------------------------------ the best path of that many */

/* The paths of fewest and of most edges. */
static void extremes(const axis *line, uint32_t count, path *few, path *many) {
    few->clusters = 1;
    few->error = cluster_error(&line->cuts[0], &line->cuts[line->last]);
    few->cuts[0] = 0;
    few->cuts[1] = line->last;
    many->clusters = line->last;
    many->error = 0;
    for (uint32_t i = 0; i < line->last; i++) {
        many->error += cluster_error(&line->cuts[i], &line->cuts[i + 1]);
    }
    for (uint32_t i = 0; i <= count; i++) {
        many->cuts[i] = line->last - count + i;
    }
}

/*
 * Both paths are best at one price, but have too few and too many edges: start on `few`, end on
 * `many`.  With the cuts of `few` counted from the front and those of `many` from the back, so that
 * `count` edges would make them meet, some edge of `many` lies within the edge of `few` that has
 * its number.  To change over there costs nothing, by the quadrangle inequality.
 */
static void splice(const path *few, path *many, uint32_t count) {
    uint32_t i = 0;
    while (few->cuts[i + 1] <= many->cuts[i + 1]) {
        i++;
    }
    memcpy(many->cuts, few->cuts, (i + 1) * sizeof few->cuts[0]);
    many->clusters = count;
}

/*
 * The best path of `count` edges, 1 <= count <= line->last, and a price that gives it.
 *
 * At one price, the best paths known of too few and of too many edges cost the same.  The path that
 * is best there is either another, and replaces one of them, or they are best themselves.  From a
 * price that is nearly right, the law of thumb arrives sooner: the error falls with the square of
 * the number of edges, the price with the cube.
 */
static void search(const axis *line, uint32_t count, double *price, path *best) {
    path few;
    int guesses = *price > 0 ? GUESSES : 0;
    extremes(line, count, &few, best);
    if (count == 1) {
        *best = few;
    }
    for (path many = *best; best->clusters != count;) {
        if (guesses == 0 || (few.clusters > 1 && many.clusters < line->last)) {
            guesses = 0;
            *price = (few.error - many.error) / (many.clusters - few.clusters);
        }
        best_path(line, *price, count, best);
        if (best->clusters > few.clusters && best->clusters < count) {
            few = *best;
        } else if (best->clusters < many.clusters && best->clusters > count) {
            many = *best;
        } else if (best->clusters != count && guesses == 0) {
            splice(&few, &many, count);
            *best = many;
        }
        if (guesses > 0) {
            double ratio = (double)best->clusters / count;
            *price *= ratio * ratio * ratio;
            guesses--;
        }
    }
}

/* Much above the error itself, a price would drown it in rounding.  Twice the error is never less
 * than what one edge more could save, so it gives the same number of edges. */
static void sharpen(const axis *line, uint32_t count, double price, path *best) {
    while (best->error > 0 && price > 2 * best->error) {
        path again;
        price = 2 * best->error;
        best_path(line, price, count, &again);
        if (again.clusters != count || again.error >= best->error) {
            return;
        }
        *best = again;
    }
}

/* ------------------------------------------------------------------ a first price */

/* The cube root of a positive normal double, to a twentieth. */
static double rough_cube_root(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    /* a third of the exponent, and of the mantissa as if it were more of the same */
    bits = (uint64_t)((uint32_t)(bits >> 32) / 3 + 0x2a9f7893u) << 32;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The part of the grid that one gap between values deserves: the best density of cuts goes with the
 * cube root of the density of values (Panter and Dite). */
static double share(const float *values, const uint32_t *weights, size_t i) {
    double gap = (double)values[i + 1] - values[i];
    return rough_cube_root(weights[i] * gap * gap);
}

/* Copy about `cells` of the n + 1 cuts to `grid`, which gets its last. */
static void coarsen(const cut *cuts, const float *values, const uint32_t *weights, size_t n,
                    uint32_t cells, axis *grid) {
    double most = 0, filled;
    /* no gap takes more than one cell, however far an outlier is */
    for (int round = 0; round < 4; round++) {
        double sum = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            double part = share(values, weights, i);
            sum += round == 0 || part < most ? part : most;
        }
        most = sum / cells;
    }
    grid->cuts[0] = cuts[0];
    grid->last = 0;
    filled = 0;
    for (size_t i = 0; i + 1 < n && grid->last + 1 < cells; i++) {
        double part = share(values, weights, i);
        filled += part < most ? part : most;
        if (filled >= most) {
            grid->cuts[++grid->last] = cuts[i + 1];
            filled = 0;
        }
    }
    grid->cuts[++grid->last] = cuts[n];
}

/* ------------------------------------------------------------------ public */

size_t spc_fit_kmeans_work_size(size_t n, uint32_t count) {
    size_t cells = (size_t)GRID_PER_CLUSTER * count;
    size_t fixed = (cells + 2) * sizeof(cut) + _Alignof(cut) - 1;
    if (count < 1 || count > SPC_MAX_CENTROIDS || n < count || n > SPC_MAX_ELEMENTS ||
        n > (SIZE_MAX - fixed) / (sizeof(cut) + sizeof(cut_choice))) {
        return 0;
    }
    return fixed + n * (sizeof(cut) + sizeof(cut_choice));
}

spc_status spc_fit_kmeans(const float *values, const uint32_t *weights, size_t n, uint32_t count,
                          float *centroids, void *work, size_t work_len) {
    uint32_t cells = GRID_PER_CLUSTER * count;
    size_t need = spc_fit_kmeans_work_size(n, count);
    uintptr_t misaligned = (uintptr_t)work % _Alignof(cut);
    double price = 0;
    axis line, grid;
    path best;
    spc_status status;
    if (!values || !weights || !centroids || !work || need == 0) {
        return SPC_ERROR_ARGUMENT;
    }
    if (work_len < need) {
        return SPC_ERROR_WORK;
    }
    line.cuts = (cut *)(void *)((uint8_t *)work + (misaligned ? _Alignof(cut) - misaligned : 0));
    line.last = (uint32_t)n;
    grid.cuts = line.cuts + n + 1;
    grid.queue = line.queue = (cut_choice *)(void *)(grid.cuts + cells + 1);
    status = sum_up(line.cuts, values, weights, n);
    if (status != SPC_OK) {
        return status;
    }
    if (n / 4 > cells) {
        coarsen(line.cuts, values, weights, n, cells, &grid);
        if (grid.last > count) {
            search(&grid, count, &price, &best);
        }
    }
    search(&line, count, &price, &best);
    sharpen(&line, count, price, &best);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t first = best.cuts[i], behind = best.cuts[i + 1];
        const cut *a = &line.cuts[first], *b = &line.cuts[behind];
        double sum_low, sum = two_sum(b->sum, -a->sum, &sum_low);
        float mean =
            (float)((sum + (sum_low + (b->sum_low - a->sum_low))) / (b->weight - a->weight));
        /* Within its cluster it differs from all other means, whatever the rounding. */
        mean = mean < values[first] ? values[first] : mean;
        mean = mean > values[behind - 1] ? values[behind - 1] : mean;
        centroids[i] = mean == 0 ? 0 : mean; /* not -0.0 */
    }
    return SPC_OK;
}
