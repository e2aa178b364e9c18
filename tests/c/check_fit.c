/*
 * k-means against dynamic programming over whole numbers, whose squared errors are exact, and its
 * work buffer between guard pages.
 */
#include <stdio.h>
#include <string.h>

#include "check.h"

#define VALUES_MOST 60
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static size_t n;
static int64_t whole[VALUES_MOST];
static float values[VALUES_MOST];
static uint32_t weights[VALUES_MOST];

/* Ascending whole numbers, some of them neighbours, some with a large gap before. */
static void make_values(void) {
    int64_t next = -(int64_t)check_below(2000);
    n = 1 + check_below(VALUES_MOST);
    for (size_t i = 0; i < n; i++) {
        next += 1 + check_below(check_below(3) ? 3 : 200);
        whole[i] = next;
        values[i] = (float)next;
        weights[i] = 1 + check_below(check_below(2) ? 3 : 500);
    }
}

/* Squared error of values a .. b - 1 about their mean: exact but for one division. */
static double run_error(size_t a, size_t b) {
    int64_t mass = 0, sum = 0, square = 0;
    for (size_t i = a; i < b; i++) {
        mass += weights[i];
        sum += weights[i] * whole[i];
        square += weights[i] * whole[i] * whole[i];
    }
    return ((double)square - (double)sum * (double)sum / (double)mass);
}

static double least_error(uint32_t count) {
    static double runs[VALUES_MOST + 1][VALUES_MOST + 1], least[VALUES_MOST + 1];
    for (size_t a = 0; a < n; a++) {
        for (size_t b = a + 1; b <= n; b++) {
            runs[a][b] = run_error(a, b);
        }
        least[a + 1] = runs[0][a + 1];
    }
    for (uint32_t made = 2; made <= count; made++) {
        for (size_t b = n; b >= made; b--) {
            double best = runs[made - 1][b] + least[made - 1];
            for (size_t a = made; a < b; a++) {
                double error = least[a] + runs[a][b];
                best = error < best ? error : best;
            }
            least[b] = best;
        }
    }
    return least[n];
}

/* Error of the clusters that the centroids make, each about its own mean. */
static double found_error(const float *centroids, uint32_t count) {
    double error = 0;
    size_t a = 0;
    for (uint32_t i = 0; i < count; i++) {
        size_t b = a;
        while (b < n && (i + 1 == count || (double)values[b] - centroids[i] <=
                                               (double)centroids[i + 1] - values[b])) {
            b++;
        }
        if (!CHECK(b > a)) {
            return -1;
        }
        error += run_error(a, b);
        a = b;
    }
    return error;
}

static void check_optimum(uint32_t count, check_guard guard, size_t shift) {
    float centroids[VALUES_MOST];
    size_t room = spc_fit_kmeans_work_size(n, count);
    double least = least_error(count), found;
    uint8_t *work = check_rear(guard, room, shift);
    check_at.n = n;
    check_at.shift = shift;
    if (!CHECK(room <= guard.room) ||
        !CHECK_STATUS(spc_fit_kmeans(values, weights, n, count, centroids, work, room), SPC_OK)) {
        return;
    }
    CHECK_MARKS(guard, work, room);
    for (uint32_t i = 1; i < count; i++) {
        CHECK(centroids[i - 1] < centroids[i]);
    }
    found = found_error(centroids, count);
    if (!CHECK(found >= 0 && found <= least + 1e-6)) {
        fprintf(stderr, "  %u centroids: error %.17g, least %.17g\n", (unsigned)count, found,
                least);
    }
}

static void optimum(void) {
    check_guard guard = check_guard_new(spc_fit_kmeans_work_size(VALUES_MOST, VALUES_MOST) + 64);
    for (uint64_t round = 0; round < 400; round++) {
        check_seed(round);
        make_values();
        for (uint32_t count = 1; count <= n; count += 1 + check_below(4)) {
            check_optimum(count, guard, (size_t)(round % 9));
        }
    }
    check_guard_free(guard);
}

/* Enough values for the search to start on its grid, spread over half of all floats. */
static void large(void) {
    enum { MANY = 20000 };
    static const uint32_t counts[] = {1, 2, 3, 16, 70};
    static float many[MANY], centroids[70], again[70];
    static uint32_t ones[MANY];
    for (size_t c = 0; c < COUNT(counts); c++) {
        size_t room = spc_fit_kmeans_work_size(MANY, counts[c]);
        check_guard guard = check_guard_new(room);
        uint8_t *work = check_rear(guard, room, 0);
        check_seed(c);
        for (uint32_t i = 0; i < MANY; i++) {
            uint32_t step = 0x7f000000u / MANY;
            many[i] = check_float_of_bits(
                check_bits_of_key((int32_t)(i * step + check_below(step)) - 0x3f800000));
            ones[i] = 1 + check_below(9);
        }
        CHECK_STATUS(spc_fit_kmeans(many, ones, MANY, counts[c], centroids, work, room), SPC_OK);
        CHECK_MARKS(guard, work, room);
        for (uint32_t i = 1; i < counts[c]; i++) {
            CHECK(centroids[i - 1] < centroids[i]);
        }
        /* the other way round: the mirror image */
        for (uint32_t i = 0; i < MANY / 2; i++) {
            float value = -many[i];
            uint32_t weight = ones[i];
            many[i] = -many[MANY - 1 - i];
            many[MANY - 1 - i] = value;
            ones[i] = ones[MANY - 1 - i];
            ones[MANY - 1 - i] = weight;
        }
        work = check_front(guard, room, 0);
        CHECK_STATUS(spc_fit_kmeans(many, ones, MANY, counts[c], again, work, room), SPC_OK);
        CHECK_MARKS(guard, work, room);
        for (uint32_t i = 0; i < counts[c]; i++) {
            CHECK(again[i] == -centroids[counts[c] - 1 - i]);
        }
        check_guard_free(guard);
    }
}

/* The same bits on every machine, worked out once in rational arithmetic. */
static void known_bits(void) {
    static const float mixed[] = {-3e38f, -1.5f,         -1.25f, -1e-20f, 1e-45f, 1e-38f,
                                  0.1f,   0.100000009f,  0.3f,   0.5f,    1.0f,   3.0f,
                                  1e10f,  1.0000001e10f, 2e20f,  3.3e38f};
    static const uint32_t often[] = {1, 3, 1, 700000, 2, 9, 5, 50, 4, 1, 3, 2, 1, 6, 1, 2};
    static const uint32_t expected[] = {0xff61b1e6u, 0xbfb80000u, 0x37747132u, 0x40400000u,
                                        0x501502f9u, 0x501502fau, 0x612d78ecu, 0x7f7843b0u};
    uint64_t work[4096];
    float centroids[8];
    CHECK_STATUS(spc_fit_kmeans(mixed, often, COUNT(mixed), 8, centroids, work, sizeof work),
                 SPC_OK);
    for (size_t i = 0; i < 8; i++) {
        if (!CHECK(check_bits_of_float(centroids[i]) == expected[i])) {
            fprintf(stderr, "  centroid %u: 0x%08x\n", (unsigned)i,
                    check_bits_of_float(centroids[i]));
        }
    }
}

/* More of them, through the coarse grid, as one checksum. */
static void known_checksum(void) {
    enum { MANY = 5000, CENTROIDS = 16 };
    static float many[MANY], centroids[CENTROIDS];
    static uint32_t often[MANY];
    size_t room = spc_fit_kmeans_work_size(MANY, CENTROIDS);
    check_guard guard = check_guard_new(room);
    uint8_t *work = check_rear(guard, room, 0), bytes[4 * CENTROIDS];
    for (uint32_t i = 0; i < MANY; i++) {
        int32_t key = 0x3c000000 + (int32_t)(i * 20000 + i * i * 7919 % 10007);
        many[i] = check_float_of_bits(check_bits_of_key(key));
        often[i] = 1 + i * i % 31;
    }
    CHECK_STATUS(spc_fit_kmeans(many, often, MANY, CENTROIDS, centroids, work, room), SPC_OK);
    for (uint32_t i = 0; i < 4 * CENTROIDS; i++) {
        bytes[i] = (uint8_t)(check_bits_of_float(centroids[i / 4]) >> (i % 4 * 8));
    }
    if (!CHECK(spc_crc32c(0, bytes, sizeof bytes) == 0xf7906901u)) {
        fprintf(stderr, "  checksum 0x%08x\n", (unsigned)spc_crc32c(0, bytes, sizeof bytes));
    }
    check_guard_free(guard);
}

static void arguments(void) {
    static const float good[] = {0, 1, 2}, falling[] = {0, 2, 1}, same[] = {0, 1, 1};
    static const uint32_t ones[] = {1, 1, 1}, none[] = {1, 0, 1}, most[] = {SPC_MAX_ELEMENTS, 1, 1};
    float centroids[3], odd[3];
    uint64_t work[4096];
    size_t room = spc_fit_kmeans_work_size(3, 2);
    CHECK(room > 0 && room <= sizeof work);
    CHECK(spc_fit_kmeans_work_size(0, 1) == 0);
    CHECK(spc_fit_kmeans_work_size(2, 3) == 0);
    CHECK(spc_fit_kmeans_work_size(3, 0) == 0);
    CHECK(spc_fit_kmeans_work_size(300, SPC_MAX_CENTROIDS + 1) == 0);
    CHECK(spc_fit_kmeans_work_size(300, SPC_MAX_CENTROIDS) > 0);
    CHECK(spc_fit_kmeans_work_size((size_t)SPC_MAX_ELEMENTS + 1, 2) == 0);
    CHECK_STATUS(spc_fit_kmeans(good, ones, 3, 2, centroids, work, room), SPC_OK);
    CHECK_STATUS(spc_fit_kmeans(good, ones, 3, 2, centroids, work, room - 1), SPC_ERROR_WORK);
    CHECK_STATUS(spc_fit_kmeans(good, ones, 3, 2, centroids, work, 0), SPC_ERROR_WORK);
    CHECK_STATUS(spc_fit_kmeans(NULL, ones, 3, 2, centroids, work, room), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_fit_kmeans(good, NULL, 3, 2, centroids, work, room), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_fit_kmeans(good, ones, 3, 2, NULL, work, room), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_fit_kmeans(good, ones, 3, 2, centroids, NULL, room), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_fit_kmeans(good, ones, 3, 0, centroids, work, room), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_fit_kmeans(good, ones, 3, 4, centroids, work, room), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_fit_kmeans(good, ones, 0, 1, centroids, work, room), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_fit_kmeans(falling, ones, 3, 2, centroids, work, room), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_fit_kmeans(same, ones, 3, 2, centroids, work, room), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_fit_kmeans(good, none, 3, 2, centroids, work, room), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_fit_kmeans(good, most, 3, 2, centroids, work, room), SPC_ERROR_LIMIT);
    for (uint32_t at = 0; at < 3; at++) {
        static const uint32_t wrong[] = {0x7f800000u, 0xff800000u, 0x7fc00000u, 0xffc00000u};
        for (size_t i = 0; i < COUNT(wrong); i++) {
            memcpy(odd, good, sizeof odd);
            odd[at] = check_float_of_bits(wrong[i]);
            CHECK_STATUS(spc_fit_kmeans(odd, ones, 3, 2, centroids, work, room),
                         SPC_ERROR_ARGUMENT);
        }
    }
}

static const check_case cases[] = {{"optimum", optimum},
                                   {"large", large},
                                   {"known_bits", known_bits},
                                   {"known_checksum", known_checksum},
                                   {"arguments", arguments}};

CHECK_MAIN(cases, NULL)
