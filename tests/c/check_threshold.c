/*
 * Thresholds against exact arithmetic.
 *
 * Every finite float is an integer times 2^-149, so "2 * threshold <= low +
 * high" is a comparison of integers of at most 279 bits; the largest key for
 * which it holds is found by bisection.
 */
#include <stdio.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "check.h"

#define WORDS                                                                                      \
    10 /* 320 bits, two's complement, least significant word first                                 \
        */

typedef struct wide {
    uint32_t word[WORDS];
} wide;

static wide wide_add(wide a, wide b) {
    uint64_t carry = 0;
    for (int i = 0; i < WORDS; i++) {
        carry += (uint64_t)a.word[i] + b.word[i];
        a.word[i] = (uint32_t)carry;
        carry >>= 32;
    }
    return a;
}

static wide wide_negate(wide a) {
    wide one = {{1}};
    for (int i = 0; i < WORDS; i++) {
        a.word[i] = ~a.word[i];
    }
    return wide_add(a, one);
}

/* The float times 2^149. */
static wide wide_of_bits(uint32_t bits) {
    uint32_t exponent = bits >> 23 & 0xff, mantissa = bits & 0x7fffffu;
    uint32_t shift = exponent > 0 ? exponent - 1 : 0;
    uint64_t shifted;
    wide out = {{0}};
    mantissa |= exponent > 0 ? 0x800000u : 0;
    shifted = (uint64_t)mantissa << (shift % 32);
    out.word[shift / 32] = (uint32_t)shifted;
    out.word[shift / 32 + 1] = (uint32_t)(shifted >> 32);
    return bits >> 31 ? wide_negate(out) : out;
}

static int twice_not_above(uint32_t bits, wide sum) {
    wide value = wide_of_bits(bits);
    wide left = wide_add(sum, wide_negate(wide_add(value, value)));
    return left.word[WORDS - 1] >> 31 == 0;
}

static int32_t exact_threshold(float low, float high) {
    uint32_t a = check_bits_of_float(low), b = check_bits_of_float(high);
    wide sum = wide_add(wide_of_bits(a), wide_of_bits(b));
    int64_t yes = check_key_of_bits(a), no = (int64_t)check_key_of_bits(b) + 1;
    while (no - yes > 1) {
        int64_t middle = yes + (no - yes) / 2;
        if (twice_not_above(check_bits_of_key((int32_t)middle), sum)) {
            yes = middle;
        } else {
            no = middle;
        }
    }
    return (int32_t)yes;
}

static void check_pair(float a, float b) {
    float pair[2];
    int32_t threshold, expected;
    spc_codebook codebook;
    int swap = spc_float_key(a) > spc_float_key(b);
    pair[0] = swap ? b : a;
    pair[1] = swap ? a : b;
    if (check_bits_of_float(a) == check_bits_of_float(b)) {
        return;
    }
    if (!CHECK_STATUS(spc_codebook_init(&codebook, pair, 1, &threshold), SPC_OK)) {
        return;
    }
    expected = exact_threshold(pair[0], pair[1]);
    if (!CHECK(threshold == expected)) {
        fprintf(stderr, "  low 0x%08x high 0x%08x: key %d, should be %d\n",
                check_bits_of_float(pair[0]), check_bits_of_float(pair[1]), threshold, expected);
    }
}

static void random_patterns(void) {
    for (int i = 0; i < 100000; i++) {
        check_pair(check_float_of_bits(check_finite_bits()),
                   check_float_of_bits(check_finite_bits()));
    }
}

/* Neighbours, and floats a few steps apart: the midpoint is a float or half-way
 * between two. */
static void close_together(void) {
    for (int i = 0; i < 50000; i++) {
        int32_t key = check_key_of_bits(check_finite_bits());
        uint32_t other =
            check_bits_of_key(key + (key < 0 ? 1 : -1) * (int32_t)(1 + check_below(6)));
        if (other != 0x80000000u && (other & 0x7f800000u) != 0x7f800000u) {
            check_pair(check_float_of_bits(check_bits_of_key(key)), check_float_of_bits(other));
        }
    }
}

/* Opposite signs that nearly cancel, and magnitudes too far apart for a
 * double's 53 bits. */
static void mixed_magnitudes(void) {
    for (int i = 0; i < 50000; i++) {
        uint32_t a = check_finite_bits(), b;
        b = (a ^ 0x80000000u) + check_below(5) - 2;
        if ((b & 0x7f800000u) != 0x7f800000u && b != 0x80000000u && b != 0) {
            check_pair(check_float_of_bits(a), check_float_of_bits(b));
        }
        b = check_finite_bits();
        a = (a & 0x807fffffu) | (200 + check_below(55)) << 23;
        b = (b & 0x807fffffu) | check_below(120) << 23;
        if (b != 0x80000000u) {
            check_pair(check_float_of_bits(a), check_float_of_bits(b));
        }
        /* half of the larger is a float exactly: the smaller alone decides */
        check_pair(check_float_of_bits(a & 0xff800000u), check_float_of_bits(b | 1));
    }
}

static void tiny(void) {
    for (int32_t a = -40; a < 40; a++) {
        for (int32_t b = -40; b < 40; b++) {
            if (a != -1 && b != -1) { /* the key of -0.0 */
                check_pair(check_float_of_bits(check_bits_of_key(a)),
                           check_float_of_bits(check_bits_of_key(b)));
            }
        }
    }
    for (int i = 0; i < 50000; i++) {
        uint32_t a = (uint32_t)(check_random() >> 32) & 0x81ffffffu;
        uint32_t b = (uint32_t)(check_random() >> 32) & 0x80ffffffu;
        if (a != 0x80000000u && b != 0x80000000u) {
            check_pair(check_float_of_bits(a), check_float_of_bits(b));
        }
    }
}

static void huge(void) {
    check_pair(check_float_of_bits(0x7f7fffff), check_float_of_bits(0x7f7ffffe));
    check_pair(check_float_of_bits(0xff7fffff), check_float_of_bits(0xff7ffffe));
    check_pair(check_float_of_bits(0x7f7fffff), check_float_of_bits(0xff7fffff));
    check_pair(check_float_of_bits(0x7f7fffff), check_float_of_bits(0x80000001));
    check_pair(check_float_of_bits(0x7f7fffff), check_float_of_bits(0xff7ffffe));
    for (int i = 0; i < 20000; i++) {
        uint32_t a = ((uint32_t)(check_random() >> 32) & 0x80ffffffu) | 0x7e000000u;
        uint32_t b = ((uint32_t)(check_random() >> 32) & 0x80ffffffu) | 0x7e000000u;
        if ((a & 0x7f800000u) != 0x7f800000u && (b & 0x7f800000u) != 0x7f800000u) {
            check_pair(check_float_of_bits(a), check_float_of_bits(b));
        }
    }
}

/* Whole codebooks: each threshold lies where its two centroids say, and they
 * ascend. */
static void codebooks(void) {
    for (uint32_t round = 0; round < 40; round++) {
        for (uint32_t bits = 1; bits <= 8; bits++) {
            float centroids[SPC_MAX_CENTROIDS];
            int32_t thresholds[SPC_MAX_CENTROIDS];
            spc_codebook codebook;
            uint32_t count = 1u << bits;
            check_at.bits = bits;
            check_seed(round);
            check_centroids(centroids, bits, round % check_centroid_styles);
            thresholds[count - 1] = 0x5a5a5a5a;
            CHECK_STATUS(spc_codebook_init(&codebook, centroids, bits, thresholds), SPC_OK);
            CHECK(codebook.bits == bits && codebook.centroids == centroids &&
                  codebook.thresholds == thresholds);
            CHECK(thresholds[count - 1] == 0x5a5a5a5a);
            for (uint32_t i = 0; i + 1 < count; i++) {
                CHECK(thresholds[i] == exact_threshold(centroids[i], centroids[i + 1]));
                CHECK(i == 0 || thresholds[i - 1] <= thresholds[i]);
                CHECK(thresholds[i] != -1);
            }
            /* every centroid is its own nearest */
            for (uint32_t i = 0; i < count; i++) {
                uint8_t index;
                CHECK_STATUS(spc_quantize(&codebook, SPC_FLOAT32, &centroids[i], 1, &index),
                             SPC_OK);
                CHECK(index == i);
            }
        }
    }
}

static void refused(void) {
    static const uint32_t bad[] = {0x7f800000, 0xff800000, 0x7fc00000, 0xffc00000,
                                   0x7f800001, 0xffffffff, 0x80000000};
    float centroids[SPC_MAX_CENTROIDS];
    int32_t thresholds[SPC_MAX_CENTROIDS];
    spc_codebook codebook;
    for (uint32_t bits = 1; bits <= 8; bits++) {
        uint32_t count = 1u << bits;
        check_at.bits = bits;
        for (uint32_t i = 0; i < count; i++) {
            for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
                check_centroids(centroids, bits, 1);
                centroids[i] = check_float_of_bits(bad[k]);
                CHECK_STATUS(spc_codebook_init(&codebook, centroids, bits, thresholds),
                             SPC_ERROR_CODEBOOK);
            }
            if (i > 0) {
                check_centroids(centroids, bits, 1);
                centroids[i] = centroids[i - 1];
                CHECK_STATUS(spc_codebook_init(&codebook, centroids, bits, thresholds),
                             SPC_ERROR_CODEBOOK);
                check_centroids(centroids, bits, 1);
                centroids[i - 1] = centroids[i] + 1.0f;
                CHECK_STATUS(spc_codebook_init(&codebook, centroids, bits, thresholds),
                             SPC_ERROR_CODEBOOK);
            }
        }
        check_centroids(centroids, bits, 0);
        CHECK_STATUS(spc_codebook_init(NULL, centroids, bits, thresholds), SPC_ERROR_ARGUMENT);
        CHECK_STATUS(spc_codebook_init(&codebook, NULL, bits, thresholds), SPC_ERROR_ARGUMENT);
        CHECK_STATUS(spc_codebook_init(&codebook, centroids, bits, NULL), SPC_ERROR_ARGUMENT);
    }
    CHECK_STATUS(spc_codebook_init(&codebook, centroids, 0, thresholds), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_codebook_init(&codebook, centroids, 9, thresholds), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_codebook_init(&codebook, centroids, UINT32_MAX, thresholds),
                 SPC_ERROR_ARGUMENT);
}

/* spc_float_key on every pattern of the upper 20 bits, and its order. */
static void keys(void) {
    int32_t before = INT32_MIN;
    for (uint32_t i = 0; i < 1u << 20; i++) {
        uint32_t bits = i << 12 | (uint32_t)(check_random() >> 52);
        float value = check_float_of_bits(bits);
        int32_t key;
        if (check_bits_of_float(value) != bits) {
            continue; /* passing a signalling NaN by value may make it quiet */
        }
        key = spc_float_key(value);
        if ((bits & 0x7fc00000u) != 0x7f800000u) {
            CHECK(key == check_key_of_bits(bits));
        }
    }
    for (int64_t key = -0x7f800001ll; key <= 0x7f800000ll; key += 4099) {
        int32_t got = spc_float_key(check_float_of_bits(check_bits_of_key((int32_t)key)));
        CHECK(got == (int32_t)key && got > before);
        before = got;
    }
    CHECK(spc_float_key(-0.0f) == -1);
    CHECK(spc_float_key(0.0f) == 0);
}

/* A program may have told its threads to treat denormals as zeros; torch offers
 * a switch. */
static void flush_to_zero(void) {
#if defined(__SSE2__)
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040u);
    tiny();
    mixed_magnitudes();
    codebooks();
    _mm_setcsr(before);
#elif defined(__aarch64__)
    uint64_t before;
    __asm volatile("mrs %0, fpcr" : "=r"(before));
    __asm volatile("msr fpcr, %0" ::"r"(before | (uint64_t)1 << 24));
    tiny();
    mixed_magnitudes();
    codebooks();
    __asm volatile("msr fpcr, %0" ::"r"(before));
#endif
}

static const check_case cases[] = {
    {"keys", keys},
    {"random_patterns", random_patterns},
    {"close_together", close_together},
    {"mixed_magnitudes", mixed_magnitudes},
    {"tiny", tiny},
    {"huge", huge},
    {"codebooks", codebooks},
    {"refused", refused},
    {"flush_to_zero", flush_to_zero},
};
CHECK_MAIN(cases, NULL)
