/* The public codec: round trips, sizes that are one too small, bad arguments, damaged frames. */
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

/* Indices of a feature without more ado; good until the next call in this thread. */
static const spc_symbols *of(const spc_shape *shape, uint32_t bits) {
    static _Thread_local spc_symbols symbols;
    if (!shape) {
        return NULL;
    }
    symbols.shape = *shape;
    symbols.axis = SPC_NO_AXIS;
    symbols.bits = bits;
    symbols.model = NULL;
    return &symbols;
}

#define COMPACT_HEADER 6
#define CHECKSUM 4

static const spc_dtype dtypes[] = {SPC_FLOAT32, SPC_INT8, SPC_UINT8};
static const spc_coder coders[] = {SPC_CODER_PACK, SPC_CODER_LZMA};
static const spc_frame_kind kinds[] = {SPC_FRAME_COMPACT, SPC_FRAME_SELF_DESCRIBING};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ------------------------------------------------------------------ a codec and its data */

typedef struct setup {
    spc_codec codec;
    spc_codebook codebook;
    float centroids[SPC_MAX_CENTROIDS];
    int32_t thresholds[SPC_MAX_CENTROIDS];
} setup;

static const spc_shape shapes[] = {
    {0, {0}},           {1, {0}},          {1, {1}},
    {1, {7}},           {2, {3, 5}},       {3, {4, 0, 9}},
    {3, {4, 8, 8}},     {1, {257}},        {8, {1, 2, 1, 2, 3, 1, 2, 11}},
    {4, {1, 8, 9, 10}}, {3, {16, 12, 12}},
};

static void make_codec(setup *s, uint32_t bits, spc_dtype dtype, const spc_shape *shape) {
    for (uint32_t i = 0; i < 1u << bits; i++) {
        float step = dtype == SPC_FLOAT32 ? 0.75f : 400.0f / (float)(1u << bits);
        float first = dtype == SPC_UINT8 ? -20.0f : -0.5f * step * (float)(1u << bits);
        s->centroids[i] = first + step * (float)i + 0.25f;
    }
    CHECK_STATUS(spc_codebook_init(&s->codebook, s->centroids, bits, s->thresholds), SPC_OK);
    CHECK_STATUS(spc_codec_init(&s->codec, &s->codebook, dtype, shape), SPC_OK);
    check_at.bits = bits;
    check_at.n = s->codec.n;
}

/* Runs and noise, so that a coder has something to find but not everything. */
static void make_feature(const setup *s, uint8_t *feature, int noisy) {
    float level = 0;
    for (size_t i = 0; i < s->codec.n; i++) {
        if (noisy || check_below(12) == 0) {
            level = s->centroids[check_below(1u << s->codebook.bits)];
            level += noisy ? 0.1f * (float)check_below(5) : 0.0f;
        }
        if (s->codec.dtype == SPC_FLOAT32) {
            memcpy(feature + 4 * i, &level, 4);
        } else {
            feature[i] = (uint8_t)(int)fminf(fmaxf(level, -128.0f), 127.0f);
        }
    }
}

/* What decoding has to give, from nothing but comparisons with the exact midpoints in double:
 * the centroids above are such that midpoints are exact. */
static void make_expected(const setup *s, const uint8_t *feature, uint8_t *expected) {
    for (size_t i = 0; i < s->codec.n; i++) {
        double value;
        uint32_t index = 0;
        if (s->codec.dtype == SPC_FLOAT32) {
            float x;
            memcpy(&x, feature + 4 * i, 4);
            value = (double)x;
        } else if (s->codec.dtype == SPC_INT8) {
            value = feature[i] > 127 ? feature[i] - 256 : feature[i];
        } else {
            value = feature[i];
        }
        while (index + 1 < 1u << s->codebook.bits &&
               value > ((double)s->centroids[index] + (double)s->centroids[index + 1]) / 2) {
            index++;
        }
        if (s->codec.dtype == SPC_FLOAT32) {
            memcpy(expected + 4 * i, &s->centroids[index], 4);
        } else {
            double low = s->codec.dtype == SPC_INT8 ? -128 : 0;
            double rounded = floor((double)s->centroids[index] + 0.5);
            rounded = fmin(fmax(rounded, low), low + 255);
            expected[i] = (uint8_t)(int)rounded;
        }
    }
}

typedef struct room {
    check_guard feature, frame, work;
} room;

static room room_new(size_t elements) {
    room r;
    r.feature = check_guard_new(4 * elements + 64);
    r.frame = check_guard_new(elements + 8192);
    r.work = check_guard_new(6u << 20);
    return r;
}

static void room_free(room r) {
    check_guard_free(r.feature);
    check_guard_free(r.frame);
    check_guard_free(r.work);
}

/* ------------------------------------------------------------------ round trips */

static void check_info(const setup *s, spc_coder coder, spc_frame_kind kind, const uint8_t *frame,
                       size_t len) {
    spc_frame_info info;
    size_t told = 0;
    CHECK_STATUS(spc_frame_parse(frame, len, &info), SPC_OK);
    CHECK(info.kind == kind && info.codec_id == s->codec.id);
    CHECK(info.coder == coder || info.coder == SPC_CODER_PACK);
    CHECK(info.payload_offset + info.payload_len + CHECKSUM == len);
    CHECK(info.payload_len <= spc_packed_size(s->codec.n, s->codebook.bits));
    if (kind == SPC_FRAME_COMPACT) {
        CHECK(info.payload_offset == COMPACT_HEADER);
        CHECK(info.bits == 0 && info.dtype == 0 && info.n == 0 && info.shape.rank == 0);
        CHECK_STATUS(spc_frame_length(frame, len, &told), SPC_ERROR_ARGUMENT);
    } else {
        setup other;
        CHECK(info.bits == s->codebook.bits && info.dtype == s->codec.dtype);
        CHECK(info.n == s->codec.n);
        CHECK(memcmp(&info.shape, &s->codec.shape, sizeof info.shape) == 0);
        CHECK_STATUS(spc_frame_length(frame, 8, &told), SPC_OK);
        CHECK(told == len);
        CHECK_STATUS(spc_codec_from_frame(&other.codec, frame, len, s->codec.n, other.centroids,
                                          other.thresholds, SPC_MAX_CENTROIDS),
                     SPC_OK);
        CHECK(other.codec.id == s->codec.id && other.codec.n == s->codec.n);
        CHECK_BYTES(other.centroids, s->centroids, sizeof(float) << s->codebook.bits);
        CHECK_BYTES(other.thresholds, s->thresholds,
                    sizeof(int32_t) * ((1u << s->codebook.bits) - 1));
        if (s->codec.n > 0) {
            CHECK_STATUS(spc_codec_from_frame(&other.codec, frame, len, s->codec.n - 1,
                                              other.centroids, other.thresholds, SPC_MAX_CENTROIDS),
                         SPC_ERROR_LIMIT);
        }
    }
}

static void round_trip(const room *r, const setup *s, spc_coder coder, spc_frame_kind kind) {
    static uint8_t first[8192], expected[16384];
    size_t first_len = 0, size = spc_feature_size(&s->codec), bound;
    uint8_t *feature = check_rear(r->feature, size, 0);
    check_cpus cpus = {0};
    make_feature(s, feature, check_below(4) == 0);
    make_expected(s, feature, expected);
    bound = spc_frame_bound(&s->codec, kind);
    CHECK(bound <= sizeof first && size <= sizeof expected);
    while (check_next_cpu(&cpus)) {
        size_t need = spc_encode_work_size(&s->codec, coder), len = 0;
        uint8_t *work = check_rear(r->work, need, 0), *frame = check_rear(r->frame, bound, 0);
        uint8_t *back;
        CHECK_STATUS(spc_encode(&s->codec, coder, kind, feature, frame, bound, &len, work, need),
                     SPC_OK);
        CHECK(len <= bound);
        CHECK_MARKS(r->frame, frame, bound);
        CHECK_MARKS(r->work, work, need);
        if (first_len == 0) {
            first_len = len;
            memcpy(first, frame, len);
            check_info(s, coder, kind, first, len);
            /* more work than asked for must not change the bytes: less would have been too little
             */
            work = check_rear(r->work, 5u << 20, 1);
            CHECK_STATUS(
                spc_encode(&s->codec, coder, kind, feature, frame, bound, &len, work, 5u << 20),
                SPC_OK);
        }
        CHECK(len == first_len);
        CHECK_BYTES(frame, first, first_len);

        frame = check_rear(r->frame, first_len, 0);
        memcpy(frame, first, first_len);
        need = spc_decode_work_size(&s->codec, coder);
        work = check_rear(r->work, need, 0);
        back = malloc(size + 1);
        back[size] = 0x77;
        CHECK_STATUS(spc_decode(&s->codec, frame, first_len, back, size, work, need), SPC_OK);
        CHECK_MARKS(r->work, work, need);
        CHECK(back[size] == 0x77);
        CHECK_BYTES(back, expected, size);
        free(back);
    }
}

static void round_trips(void) {
    room r = room_new(4096);
    for (uint32_t bits = 1; bits <= 8; bits++) {
        for (size_t k = 0; k < COUNT(shapes); k++) {
            for (size_t d = 0; d < COUNT(dtypes); d++) {
                for (size_t c = 0; c < COUNT(coders); c++) {
                    for (size_t f = 0; f < COUNT(kinds); f++) {
                        setup s;
                        if (!spc_coder_available(coders[c])) {
                            continue;
                        }
                        check_at.what = spc_coder_name(coders[c]);
                        check_seed(bits + 10 * k + 200 * d + 1000 * c + 10000 * f);
                        make_codec(&s, bits, dtypes[d], &shapes[k]);
                        round_trip(&r, &s, coders[c], kinds[f]);
                    }
                }
            }
        }
    }
    room_free(r);
}

/* Packed indices beyond the largest LZMA window, and beyond what one block of the stream holds. */
static void large(void) {
    static const uint32_t sizes[] = {300000, 2300000};
    for (size_t k = 0; k < COUNT(sizes); k++) {
        for (size_t c = 0; c < COUNT(coders); c++) {
            spc_shape shape = {1, {sizes[k]}};
            setup s;
            size_t bound, need, len = 0, size;
            uint8_t *feature, *frame, *work, *back, *expected;
            if (!spc_coder_available(coders[c])) {
                continue;
            }
            check_seed(k);
            make_codec(&s, 6, SPC_INT8, &shape);
            size = spc_feature_size(&s.codec);
            bound = spc_frame_bound(&s.codec, SPC_FRAME_COMPACT);
            need = spc_encode_work_size(&s.codec, coders[c]);
            feature = malloc(size), back = malloc(size), expected = malloc(size);
            frame = malloc(bound), work = malloc(need + 1);
            make_feature(&s, feature, 0);
            make_expected(&s, feature, expected);
            CHECK_STATUS(spc_encode(&s.codec, coders[c], SPC_FRAME_COMPACT, feature, frame, bound,
                                    &len, work, need),
                         SPC_OK);
            CHECK(coders[c] == SPC_CODER_PACK ? len == bound : len < bound / 2);
            free(work);
            need = spc_decode_work_size(&s.codec, coders[c]);
            work = malloc(need + 1);
            CHECK_STATUS(spc_decode(&s.codec, frame, len, back, size, work, need), SPC_OK);
            CHECK_BYTES(back, expected, size);
            free(feature), free(back), free(expected), free(frame), free(work);
        }
    }
}

/* ------------------------------------------------------------------ one byte too few */

static void capacities(void) {
    room r = room_new(4096);
    for (uint32_t bits = 1; bits <= 8; bits++) {
        for (size_t k = 0; k < COUNT(shapes); k++) {
            for (size_t c = 0; c < COUNT(coders); c++) {
                for (size_t f = 0; f < COUNT(kinds); f++) {
                    setup s;
                    size_t bound, need, len = 0, size;
                    uint8_t *frame, *work, *feature, *back;
                    if (!spc_coder_available(coders[c])) {
                        continue;
                    }
                    check_at.what = spc_coder_name(coders[c]);
                    check_seed(bits + 10 * k);
                    make_codec(&s, bits, dtypes[k % 3], &shapes[k]);
                    size = spc_feature_size(&s.codec);
                    feature = malloc(size + 1), back = malloc(size + 1);
                    make_feature(&s, feature, 0);
                    bound = spc_frame_bound(&s.codec, kinds[f]);
                    need = spc_encode_work_size(&s.codec, coders[c]);
                    work = check_rear(r.work, need, 0);

                    /* frame: bound - 1 and less against the guard page */
                    for (size_t cap = bound; cap-- > 0;) {
                        frame = check_rear(r.frame, cap, 0);
                        CHECK_STATUS(spc_encode(&s.codec, coders[c], kinds[f], feature, frame, cap,
                                                &len, work, need),
                                     SPC_ERROR_CAPACITY);
                        CHECK_MARKS(r.frame, frame, cap);
                        if (cap < bound - 3 && cap > 16) {
                            cap = 16;
                        }
                    }

                    /* work: need - 1, none, and NULL with a length */
                    frame = check_rear(r.frame, bound, 0);
                    if (need > 0) {
                        work = check_rear(r.work, need - 1, 0);
                        CHECK_STATUS(spc_encode(&s.codec, coders[c], kinds[f], feature, frame,
                                                bound, &len, work, need - 1),
                                     SPC_ERROR_WORK);
                        CHECK_MARKS(r.work, work, need - 1);
                        CHECK_STATUS(spc_encode(&s.codec, coders[c], kinds[f], feature, frame,
                                                bound, &len, work, s.codec.n),
                                     SPC_ERROR_WORK);
                        CHECK_STATUS(spc_encode(&s.codec, coders[c], kinds[f], feature, frame,
                                                bound, &len, work, 0),
                                     SPC_ERROR_WORK);
                        CHECK_STATUS(spc_encode(&s.codec, coders[c], kinds[f], feature, frame,
                                                bound, &len, NULL, need),
                                     SPC_ERROR_WORK);
                    }
                    work = check_rear(r.work, need, 0);
                    CHECK_STATUS(spc_encode(&s.codec, coders[c], kinds[f], feature, frame, bound,
                                            &len, work, need),
                                 SPC_OK);

                    need = spc_decode_work_size(&s.codec, coders[c]);
                    if (size > 0) {
                        work = check_rear(r.work, need, 0);
                        CHECK_STATUS(spc_decode(&s.codec, frame, len, back, size - 1, work, need),
                                     SPC_ERROR_CAPACITY);
                    }
                    if (need > 0) {
                        spc_frame_info info;
                        CHECK_STATUS(spc_frame_parse(frame, len, &info), SPC_OK);
                        if (info.coder != SPC_CODER_PACK) {
                            work = check_rear(r.work, need - 1, 0);
                            CHECK_STATUS(
                                spc_decode(&s.codec, frame, len, back, size, work, need - 1),
                                SPC_ERROR_WORK);
                            CHECK_STATUS(spc_decode(&s.codec, frame, len, back, size, NULL, need),
                                         SPC_ERROR_WORK);
                        }
                    }
                    free(feature), free(back);
                }
            }
        }
    }
    room_free(r);
}

/* spc_coder_encode and spc_coder_decode by themselves. */
static void coder_functions(void) {
    room r = room_new(4096);
    for (uint32_t bits = 1; bits <= 8; bits++) {
        for (size_t k = 0; k < COUNT(shapes); k++) {
            for (size_t c = 0; c < COUNT(coders); c++) {
                const spc_shape *shape = &shapes[k];
                spc_coder used = (spc_coder)77;
                size_t n = 0, bound, need, len = 77;
                uint8_t *indices, *payload, *longer, *work, *back;
                if (!spc_coder_available(coders[c])) {
                    CHECK(spc_coder_name(coders[c]) != NULL);
                    CHECK(spc_coder_bound(coders[c], of(shape, bits)) == 0);
                    CHECK_STATUS(spc_coder_encode(coders[c], of(shape, bits), NULL, NULL, 0, &len,
                                                  &used, NULL, 0),
                                 SPC_ERROR_CODER);
                    CHECK_STATUS(
                        spc_coder_decode(coders[c], of(shape, bits), NULL, 0, NULL, NULL, 0),
                        SPC_ERROR_CODER);
                    continue;
                }
                check_at.what = spc_coder_name(coders[c]);
                check_at.bits = bits;
                check_seed(bits + 10 * k);
                CHECK_STATUS(spc_shape_elements(shape, &n), SPC_OK);
                check_at.n = n;
                bound = spc_coder_bound(coders[c], of(shape, bits));
                CHECK(bound == spc_packed_size(n, bits));
                need = spc_coder_encode_work_size(coders[c], of(shape, bits));
                indices = malloc(n + 1), back = malloc(n + 1);
                for (size_t i = 0; i < n; i++) {
                    indices[i] = (uint8_t)(check_below(9) ? 1 : check_below(1u << bits));
                }
                payload = check_rear(r.frame, bound, 0);
                for (check_at.shift = 0; check_at.shift < 64; check_at.shift += 7) {
                    work = check_rear(r.work, need, check_at.shift);
                    CHECK_STATUS(spc_coder_encode(coders[c], of(shape, bits), indices, payload,
                                                  bound, &len, &used, work, need),
                                 SPC_OK);
                    CHECK(used == coders[c] || used == SPC_CODER_PACK);
                    CHECK(used == SPC_CODER_PACK ? len == bound : len < bound);
                    CHECK_MARKS(r.frame, payload, bound);
                    CHECK_MARKS(r.work, work, need);
                }
                check_at.shift = 0;
                if (coders[c] == SPC_CODER_LZMA && n > 500) {
                    CHECK(used == SPC_CODER_LZMA);
                }
                need = spc_coder_decode_work_size(used, of(shape, bits));
                work = check_rear(r.work, need, 3);
                back[n] = 0x77;
                CHECK_STATUS(
                    spc_coder_decode(used, of(shape, bits), payload, len, back, work, need),
                    SPC_OK);
                CHECK_BYTES(back, indices, n);
                CHECK(back[n] == 0x77);
                CHECK_MARKS(r.work, work, need);
                /* any other length is corrupt */
                if (n > 0) {
                    CHECK_STATUS(
                        spc_coder_decode(used, of(shape, bits), payload, len - 1, back, work, need),
                        SPC_ERROR_CORRUPT);
                }
                work = check_rear(r.work, need, 0);
                longer = check_rear(r.feature, len + 1, 0);
                memcpy(longer, payload, len);
                longer[len] = 0;
                CHECK_STATUS(
                    spc_coder_decode(used, of(shape, bits), longer, len + 1, back, work, need),
                    SPC_ERROR_CORRUPT);
                if (n > 0 && bits < 8) {
                    indices[n / 2] = (uint8_t)(1u << bits);
                    work = check_rear(r.work, 5u << 20, 0);
                    CHECK_STATUS(spc_coder_encode(coders[c], of(shape, bits), indices, payload,
                                                  bound, &len, &used, work, 5u << 20),
                                 SPC_ERROR_ARGUMENT);
                }
                if (bound > 0) {
                    payload = check_rear(r.frame, bound - 1, 0);
                    work = check_rear(r.work, 5u << 20, 0);
                    CHECK_STATUS(spc_coder_encode(coders[c], of(shape, bits), indices, payload,
                                                  bound - 1, &len, &used, work, 5u << 20),
                                 SPC_ERROR_CAPACITY);
                    CHECK_MARKS(r.frame, payload, bound - 1);
                }
                free(indices), free(back);
            }
        }
    }
    room_free(r);
}

/* ------------------------------------------------------------------ arguments */

static void arguments(void) {
    static const uint32_t bad_bits[] = {0, 9, 255, UINT32_MAX};
    static const int bad_numbers[] = {-1, 5, 7, 255, 256, 1 << 30};
    spc_shape shape = {2, {4, 8}}, bad_shape;
    setup s;
    spc_codec codec;
    spc_codebook broken;
    spc_frame_info info;
    size_t n = 0, len = 0, bound, size;
    spc_coder used;
    uint8_t frame[512], indices[32] = {0}, payload[64];
    float feature[32] = {0};
    make_codec(&s, 2, SPC_FLOAT32, &shape);
    bound = spc_frame_bound(&s.codec, SPC_FRAME_COMPACT);
    size = spc_feature_size(&s.codec);
    CHECK(size == sizeof feature && bound == COMPACT_HEADER + 8 + CHECKSUM);

    /* shapes */
    CHECK_STATUS(spc_shape_elements(NULL, &n), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_shape_elements(&shape, NULL), SPC_ERROR_ARGUMENT);
    bad_shape = shape;
    bad_shape.rank = SPC_MAX_RANK + 1;
    CHECK_STATUS(spc_shape_elements(&bad_shape, &n), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_codec_init(&codec, &s.codebook, SPC_FLOAT32, &bad_shape), SPC_ERROR_ARGUMENT);
    CHECK(spc_coder_bound(SPC_CODER_PACK, of(&bad_shape, 2)) == 0);
    bad_shape = shape;
    bad_shape.dims[7] = 1;
    CHECK_STATUS(spc_shape_elements(&bad_shape, &n), SPC_ERROR_ARGUMENT);
    bad_shape = (spc_shape){1, {SPC_MAX_ELEMENTS}};
    CHECK_STATUS(spc_shape_elements(&bad_shape, &n), SPC_OK);
    CHECK(n == SPC_MAX_ELEMENTS);
    bad_shape = (spc_shape){1, {SPC_MAX_ELEMENTS + 1}};
    CHECK_STATUS(spc_shape_elements(&bad_shape, &n), SPC_ERROR_LIMIT);
    bad_shape = (spc_shape){2, {65536, 65536}};
    CHECK_STATUS(spc_shape_elements(&bad_shape, &n), SPC_ERROR_LIMIT);
    bad_shape = (spc_shape){8,
                            {UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX,
                             UINT32_MAX, UINT32_MAX}};
    CHECK_STATUS(spc_shape_elements(&bad_shape, &n), SPC_ERROR_LIMIT);
    CHECK_STATUS(spc_codec_init(&codec, &s.codebook, SPC_FLOAT32, &bad_shape), SPC_ERROR_LIMIT);
    bad_shape = (spc_shape){3, {0, 65536, 65536}};
    CHECK_STATUS(spc_shape_elements(&bad_shape, &n), SPC_ERROR_LIMIT);
    bad_shape = (spc_shape){3, {65536, 0, 8}};
    CHECK_STATUS(spc_shape_elements(&bad_shape, &n), SPC_OK);
    CHECK(n == 0);

    /* codec */
    CHECK_STATUS(spc_codec_init(NULL, &s.codebook, SPC_FLOAT32, &shape), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_codec_init(&codec, NULL, SPC_FLOAT32, &shape), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_codec_init(&codec, &s.codebook, SPC_FLOAT32, NULL), SPC_ERROR_ARGUMENT);
    for (size_t i = 0; i < COUNT(bad_numbers); i++) {
        CHECK_STATUS(spc_codec_init(&codec, &s.codebook, (spc_dtype)bad_numbers[i], &shape),
                     SPC_ERROR_ARGUMENT);
        CHECK_STATUS(spc_quantize(&s.codebook, (spc_dtype)bad_numbers[i], feature, 32, indices),
                     SPC_ERROR_ARGUMENT);
        CHECK_STATUS(spc_dequantize(&s.codebook, (spc_dtype)bad_numbers[i], indices, 32, feature),
                     SPC_ERROR_ARGUMENT);
        CHECK_STATUS(
            spc_quantize_pack(&s.codebook, (spc_dtype)bad_numbers[i], feature, 32, payload),
            SPC_ERROR_ARGUMENT);
        CHECK_STATUS(
            spc_unpack_dequantize(&s.codebook, (spc_dtype)bad_numbers[i], payload, 32, feature),
            SPC_ERROR_ARGUMENT);
        if (bad_numbers[i] != SPC_CODER_LZMA) {
            spc_coder coder = (spc_coder)bad_numbers[i];
            CHECK(spc_coder_name(coder) == NULL && !spc_coder_available(coder));
            CHECK(spc_coder_bound(coder, of(&shape, 2)) == 0);
            CHECK(spc_coder_encode_work_size(coder, of(&shape, 2)) == 0);
            CHECK(spc_coder_decode_work_size(coder, of(&shape, 2)) == 0);
            CHECK_STATUS(spc_coder_encode(coder, of(&shape, 2), indices, payload, sizeof payload,
                                          &len, &used, NULL, 0),
                         SPC_ERROR_ARGUMENT);
            CHECK_STATUS(spc_coder_decode(coder, of(&shape, 2), payload, 8, indices, NULL, 0),
                         SPC_ERROR_ARGUMENT);
            CHECK_STATUS(spc_encode(&s.codec, coder, SPC_FRAME_COMPACT, feature, frame,
                                    sizeof frame, &len, NULL, 0),
                         SPC_ERROR_ARGUMENT);
        }
        if (bad_numbers[i] != SPC_FRAME_SELF_DESCRIBING) {
            CHECK_STATUS(spc_encode(&s.codec, SPC_CODER_PACK, (spc_frame_kind)bad_numbers[i],
                                    feature, frame, sizeof frame, &len, NULL, 0),
                         SPC_ERROR_ARGUMENT);
        }
    }

    /* codebooks that were not made by spc_codebook_init */
    for (size_t i = 0; i < COUNT(bad_bits) + 2; i++) {
        broken = s.codebook;
        if (i < COUNT(bad_bits)) {
            broken.bits = bad_bits[i];
            CHECK(spc_coder_bound(SPC_CODER_PACK, of(&shape, bad_bits[i])) == 0);
            CHECK(spc_coder_encode_work_size(SPC_CODER_LZMA, of(&shape, bad_bits[i])) == 0);
            CHECK(spc_coder_decode_work_size(SPC_CODER_LZMA, of(&shape, bad_bits[i])) == 0);
            CHECK_STATUS(spc_coder_encode(SPC_CODER_PACK, of(&shape, bad_bits[i]), indices, payload,
                                          sizeof payload, &len, &used, NULL, 0),
                         SPC_ERROR_ARGUMENT);
            CHECK_STATUS(spc_coder_decode(SPC_CODER_PACK, of(&shape, bad_bits[i]), payload, 8,
                                          indices, NULL, 0),
                         SPC_ERROR_ARGUMENT);
        } else if (i == COUNT(bad_bits)) {
            broken.centroids = NULL;
        } else {
            broken.thresholds = NULL;
        }
        codec = s.codec;
        codec.codebook = broken;
        CHECK_STATUS(spc_codec_init(&codec, &broken, SPC_FLOAT32, &shape), SPC_ERROR_ARGUMENT);
        CHECK_STATUS(spc_quantize(&broken, SPC_FLOAT32, feature, 32, indices), SPC_ERROR_ARGUMENT);
        CHECK_STATUS(spc_dequantize(&broken, SPC_FLOAT32, indices, 32, feature),
                     SPC_ERROR_ARGUMENT);
        CHECK_STATUS(spc_quantize_pack(&broken, SPC_FLOAT32, feature, 32, payload),
                     SPC_ERROR_ARGUMENT);
        CHECK_STATUS(spc_unpack_dequantize(&broken, SPC_FLOAT32, payload, 32, feature),
                     SPC_ERROR_ARGUMENT);
        CHECK_STATUS(spc_encode(&codec, SPC_CODER_PACK, SPC_FRAME_COMPACT, feature, frame,
                                sizeof frame, &len, NULL, 0),
                     SPC_ERROR_ARGUMENT);
        CHECK_STATUS(spc_decode(&codec, frame, 18, feature, size, NULL, 0), SPC_ERROR_ARGUMENT);
        CHECK(spc_frame_bound(&codec, SPC_FRAME_COMPACT) == 0);
    }

    /* NULLs */
    CHECK_STATUS(spc_quantize(NULL, SPC_FLOAT32, feature, 32, indices), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_quantize(&s.codebook, SPC_FLOAT32, NULL, 32, indices), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_quantize(&s.codebook, SPC_FLOAT32, feature, 32, NULL), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_quantize(&s.codebook, SPC_FLOAT32, NULL, 0, NULL), SPC_OK);
    CHECK_STATUS(spc_dequantize(NULL, SPC_FLOAT32, indices, 32, feature), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_dequantize(&s.codebook, SPC_FLOAT32, NULL, 32, feature), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_dequantize(&s.codebook, SPC_FLOAT32, indices, 32, NULL), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_dequantize(&s.codebook, SPC_FLOAT32, NULL, 0, NULL), SPC_OK);
    CHECK_STATUS(spc_quantize_pack(NULL, SPC_FLOAT32, feature, 32, payload), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_quantize_pack(&s.codebook, SPC_FLOAT32, NULL, 32, payload),
                 SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_quantize_pack(&s.codebook, SPC_FLOAT32, feature, 32, NULL),
                 SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_quantize_pack(&s.codebook, SPC_FLOAT32, NULL, 0, NULL), SPC_OK);
    CHECK_STATUS(spc_unpack_dequantize(NULL, SPC_FLOAT32, payload, 32, feature),
                 SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_unpack_dequantize(&s.codebook, SPC_FLOAT32, NULL, 32, feature),
                 SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_unpack_dequantize(&s.codebook, SPC_FLOAT32, payload, 32, NULL),
                 SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_unpack_dequantize(&s.codebook, SPC_FLOAT32, NULL, 0, NULL), SPC_OK);
    indices[31] = 4;
    CHECK_STATUS(spc_dequantize(&s.codebook, SPC_FLOAT32, indices, 32, feature),
                 SPC_ERROR_ARGUMENT);
    indices[31] = 0;

    CHECK_STATUS(
        spc_coder_encode(SPC_CODER_PACK, of(NULL, 2), indices, payload, 8, &len, &used, NULL, 0),
        SPC_ERROR_ARGUMENT);
    CHECK_STATUS(
        spc_coder_encode(SPC_CODER_PACK, of(&shape, 2), NULL, payload, 8, &len, &used, NULL, 0),
        SPC_ERROR_ARGUMENT);
    CHECK_STATUS(
        spc_coder_encode(SPC_CODER_PACK, of(&shape, 2), indices, NULL, 8, &len, &used, NULL, 0),
        SPC_ERROR_ARGUMENT);
    CHECK_STATUS(
        spc_coder_encode(SPC_CODER_PACK, of(&shape, 2), indices, payload, 8, NULL, &used, NULL, 0),
        SPC_ERROR_ARGUMENT);
    CHECK_STATUS(
        spc_coder_encode(SPC_CODER_PACK, of(&shape, 2), indices, payload, 8, &len, NULL, NULL, 0),
        SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_coder_decode(SPC_CODER_PACK, of(NULL, 2), payload, 8, indices, NULL, 0),
                 SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_coder_decode(SPC_CODER_PACK, of(&shape, 2), NULL, 8, indices, NULL, 0),
                 SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_coder_decode(SPC_CODER_PACK, of(&shape, 2), payload, 8, NULL, NULL, 0),
                 SPC_ERROR_ARGUMENT);
    CHECK(spc_coder_bound(SPC_CODER_PACK, of(NULL, 2)) == 0);
    CHECK(spc_coder_encode_work_size(SPC_CODER_LZMA, of(NULL, 2)) == 0);
    CHECK(spc_coder_decode_work_size(SPC_CODER_LZMA, of(NULL, 2)) == 0);

    CHECK(spc_feature_size(NULL) == 0);
    CHECK(spc_frame_bound(NULL, SPC_FRAME_COMPACT) == 0);
    CHECK(spc_encode_work_size(NULL, SPC_CODER_LZMA) == 0);
    CHECK(spc_decode_work_size(NULL, SPC_CODER_LZMA) == 0);
    CHECK_STATUS(
        spc_encode(NULL, SPC_CODER_PACK, SPC_FRAME_COMPACT, feature, frame, bound, &len, NULL, 0),
        SPC_ERROR_ARGUMENT);
    CHECK_STATUS(
        spc_encode(&s.codec, SPC_CODER_PACK, SPC_FRAME_COMPACT, NULL, frame, bound, &len, NULL, 0),
        SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_encode(&s.codec, SPC_CODER_PACK, SPC_FRAME_COMPACT, feature, NULL, bound, &len,
                            NULL, 0),
                 SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_encode(&s.codec, SPC_CODER_PACK, SPC_FRAME_COMPACT, feature, frame, bound,
                            NULL, NULL, 0),
                 SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_encode(&s.codec, SPC_CODER_PACK, SPC_FRAME_COMPACT, feature, frame, bound,
                            &len, NULL, 0),
                 SPC_OK);
    CHECK_STATUS(spc_decode(NULL, frame, len, feature, size, NULL, 0), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_decode(&s.codec, NULL, len, feature, size, NULL, 0), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_decode(&s.codec, frame, len, NULL, size, NULL, 0), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_frame_parse(NULL, len, &info), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_frame_parse(frame, len, NULL), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_frame_length(NULL, len, &n), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_frame_length(frame, len, NULL), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(
        spc_codec_from_frame(&codec, frame, len, 32, s.centroids, s.thresholds, SPC_MAX_CENTROIDS),
        SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_encode(&s.codec, SPC_CODER_PACK, SPC_FRAME_SELF_DESCRIBING, feature, frame,
                            sizeof frame, &len, NULL, 0),
                 SPC_OK);
    CHECK_STATUS(
        spc_codec_from_frame(NULL, frame, len, 32, s.centroids, s.thresholds, SPC_MAX_CENTROIDS),
        SPC_ERROR_ARGUMENT);
    CHECK_STATUS(
        spc_codec_from_frame(&codec, NULL, len, 32, s.centroids, s.thresholds, SPC_MAX_CENTROIDS),
        SPC_ERROR_ARGUMENT);
    CHECK_STATUS(
        spc_codec_from_frame(&codec, frame, len, 32, NULL, s.thresholds, SPC_MAX_CENTROIDS),
        SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_codec_from_frame(&codec, frame, len, 32, s.centroids, NULL, SPC_MAX_CENTROIDS),
                 SPC_ERROR_ARGUMENT);
    for (size_t at = 0; at < 8; at++) {
        CHECK_STATUS(spc_frame_length(frame, at, &n), SPC_ERROR_TRUNCATED);
    }
    frame[3] = 2;
    CHECK_STATUS(spc_frame_length(frame, 8, &n), SPC_ERROR_VERSION);
    CHECK_STATUS(spc_frame_parse(frame, len, &info), SPC_ERROR_VERSION);
    frame[0] = 'Z';
    CHECK_STATUS(spc_frame_length(frame, 8, &n), SPC_ERROR_NOT_FRAME);
    CHECK_STATUS(spc_frame_parse(frame, len, &info), SPC_ERROR_NOT_FRAME);
    frame[0] = 0xc2;
    CHECK_STATUS(spc_frame_parse(frame, len, &info), SPC_ERROR_VERSION);
}

/* A frame of one codec is refused by all others. */
static void mismatches(void) {
    setup made[6];
    static const spc_shape shape = {2, {4, 8}}, turned = {2, {8, 4}}, flat = {1, {32}};
    uint8_t frame[2048], back[128];
    float feature[32] = {0};
    make_codec(&made[0], 2, SPC_FLOAT32, &shape);
    make_codec(&made[1], 2, SPC_FLOAT32, &turned);
    make_codec(&made[2], 2, SPC_FLOAT32, &flat);
    make_codec(&made[3], 3, SPC_FLOAT32, &shape);
    make_codec(&made[4], 2, SPC_INT8, &shape);
    make_codec(&made[5], 2, SPC_UINT8, &shape);
    for (size_t i = 0; i < COUNT(made); i++) {
        for (size_t k = 0; k < COUNT(made); k++) {
            for (size_t f = 0; f < COUNT(kinds); f++) {
                size_t len = 0;
                CHECK_STATUS(spc_encode(&made[i].codec, SPC_CODER_PACK, kinds[f], feature, frame,
                                        sizeof frame, &len, NULL, 0),
                             SPC_OK);
                CHECK_STATUS(spc_decode(&made[k].codec, frame, len, back, sizeof back, NULL, 0),
                             i == k ? SPC_OK : SPC_ERROR_MISMATCH);
            }
        }
    }
}

/* ------------------------------------------------------------------ damage */

static void damaged(void) {
    static const size_t some[] = {2, 3, 6, 10};
    room r = room_new(4096);
    for (size_t k = 0; k < COUNT(some); k++) {
        for (size_t c = 0; c < COUNT(coders); c++) {
            for (size_t f = 0; f < COUNT(kinds); f++) {
                setup s;
                static uint8_t feature[16384], back[16384], whole[8192];
                uint8_t *work = check_rear(r.work, 5u << 20, 0), *frame;
                size_t len = 0, size;
                spc_frame_info info;
                if (!spc_coder_available(coders[c])) {
                    continue;
                }
                check_at.what = spc_coder_name(coders[c]);
                check_seed(k);
                make_codec(&s, 1 + (uint32_t)k, dtypes[k % 3], &shapes[some[k]]);
                make_feature(&s, feature, 0);
                size = spc_feature_size(&s.codec);
                CHECK_STATUS(spc_encode(&s.codec, coders[c], kinds[f], feature, whole, sizeof whole,
                                        &len, work, 5u << 20),
                             SPC_OK);
                for (size_t cut = 0; cut < len; cut++) {
                    spc_status status;
                    check_at.shift = cut;
                    frame = check_rear(r.frame, cut, 0);
                    memcpy(frame, whole, cut);
                    status = spc_decode(&s.codec, frame, cut, back, size, work, 5u << 20);
                    CHECK(status == SPC_ERROR_TRUNCATED || status == SPC_ERROR_CHECKSUM);
                    CHECK(spc_frame_parse(frame, cut, &info) == status);
                    if (kinds[f] == SPC_FRAME_SELF_DESCRIBING) {
                        setup other;
                        size_t told = 0;
                        CHECK(status == SPC_ERROR_TRUNCATED);
                        CHECK_STATUS(spc_codec_from_frame(&other.codec, frame, cut, 1u << 20,
                                                          other.centroids, other.thresholds,
                                                          SPC_MAX_CENTROIDS),
                                     SPC_ERROR_TRUNCATED);
                        CHECK_STATUS(spc_frame_length(frame, cut, &told),
                                     cut < 8 ? SPC_ERROR_TRUNCATED : SPC_OK);
                    }
                }
                frame = check_rear(r.frame, len + 1, 0);
                memcpy(frame, whole, len);
                frame[len] = 0;
                CHECK(spc_decode(&s.codec, frame, len + 1, back, size, work, 5u << 20) != SPC_OK);
                frame = check_rear(r.frame, len, 0);
                memcpy(frame, whole, len);
                for (size_t bit = 0; bit < 8 * len; bit++) {
                    spc_status status;
                    check_at.shift = bit;
                    frame[bit / 8] = (uint8_t)(frame[bit / 8] ^ 1u << bit % 8);
                    status = spc_decode(&s.codec, frame, len, back, size, work, 5u << 20);
                    CHECK(status == SPC_ERROR_CHECKSUM || status == SPC_ERROR_TRUNCATED ||
                          status == SPC_ERROR_VERSION || status == SPC_ERROR_NOT_FRAME);
                    frame[bit / 8] = (uint8_t)(frame[bit / 8] ^ 1u << bit % 8);
                }
                CHECK_STATUS(spc_decode(&s.codec, frame, len, back, size, work, 5u << 20), SPC_OK);
                check_at.shift = 0;
            }
        }
    }
    room_free(r);
}

static void store_checksum(uint8_t *frame, size_t len) {
    uint32_t crc = spc_crc32c(0, frame, len - CHECKSUM);
    for (size_t i = 0; i < CHECKSUM; i++) {
        frame[len - CHECKSUM + i] = (uint8_t)(crc >> (8 * i));
    }
}

/* Payloads that no encoder made under a checksum that is right. */
static void garbage_payloads(void) {
    room r = room_new(4096);
    for (uint32_t round = 0; round < 6000; round++) {
        setup s;
        static uint8_t feature[16384], valid[8192];
        spc_coder coder = coders[round % 2];
        uint8_t *work, *frame, *back;
        size_t len = 0, size, need, packed_len;
        spc_status status;
        check_seed(round);
        make_codec(&s, 1 + check_below(8), dtypes[check_below(3)],
                   &shapes[check_below(COUNT(shapes))]);
        check_at.what = spc_coder_name(coder);
        packed_len = spc_packed_size(s.codec.n, s.codebook.bits);
        size = spc_feature_size(&s.codec);
        need = spc_coder_available(coder) ? spc_decode_work_size(&s.codec, coder) : 0;
        if (check_below(2) && spc_coder_available(coder)) { /* a valid frame with a few changes */
            work = check_rear(r.work, 5u << 20, 0);
            make_feature(&s, feature, 0);
            CHECK_STATUS(spc_encode(&s.codec, coder, SPC_FRAME_COMPACT, feature, valid,
                                    sizeof valid, &len, work, 5u << 20),
                         SPC_OK);
            for (uint32_t change = 1 + check_below(3); change > 0; change--) {
                size_t at = COMPACT_HEADER + check_below((uint32_t)(len - COMPACT_HEADER));
                valid[at] = (uint8_t)check_random();
            }
            if (check_below(4) == 0 && len > COMPACT_HEADER + CHECKSUM) {
                len -= check_below((uint32_t)(len - COMPACT_HEADER - CHECKSUM));
            }
        } else {
            len = COMPACT_HEADER + CHECKSUM + check_below((uint32_t)packed_len + 3);
            if (check_below(2)) {
                len = COMPACT_HEADER + CHECKSUM + packed_len;
            }
            check_fill(valid, len);
            valid[0] = 0xc1;
            valid[1] = (uint8_t)coder;
            for (int i = 0; i < 4; i++) {
                valid[2 + i] = (uint8_t)(s.codec.id >> (8 * i));
            }
            if (coder == SPC_CODER_LZMA && len > COMPACT_HEADER + CHECKSUM && check_below(8)) {
                valid[COMPACT_HEADER] = 0xff;
            }
        }
        frame = check_rear(r.frame, len, 0);
        memcpy(frame, valid, len);
        store_checksum(frame, len);
        work = check_rear(r.work, need, check_below(64));
        back = check_rear(r.feature, size, 0);
        status = spc_decode(&s.codec, frame, len, back, size, work, need);
        if (!spc_coder_available((spc_coder)frame[1])) {
            CHECK(status == SPC_ERROR_CODER);
        } else {
            CHECK(status == SPC_OK || status == SPC_ERROR_CORRUPT);
        }
        CHECK_MARKS(r.work, work, need);
        CHECK_MARKS(r.feature, back, size);
    }
    room_free(r);
}

/*
 * What is no lzma payload of this format although liblzma would read it: other properties than the
 * fixed ones, or no fewer bytes than the packed indices.  After the first byte, a payload of zeros
 * decodes to zeros at the one length that the range coder then needs, whatever the properties.
 */
static void other_lzma(void) {
    if (!spc_coder_available(SPC_CODER_LZMA)) {
        return;
    }
    for (uint32_t n = 1; n <= 600; n += 1 + n / 20) {
        spc_shape shape = {1, {n}};
        static uint8_t payload[640], back[640];
        size_t need = spc_coder_decode_work_size(SPC_CODER_LZMA, of(&shape, 8));
        uint8_t *work = malloc(need);
        unsigned good = 0;
        check_at.bits = 8;
        check_at.n = n;
        for (size_t len = 0; len <= n + 16; len++) {
            spc_status status;
            payload[0] = 0xff;
            check_at.shift = len;
            status =
                spc_coder_decode(SPC_CODER_LZMA, of(&shape, 8), payload, len, back, work, need);
            CHECK(status == SPC_OK || status == SPC_ERROR_CORRUPT);
            CHECK(status == SPC_ERROR_CORRUPT || (len > 0 && len < n));
            if (status != SPC_OK) {
                continue;
            }
            good++;
            for (uint32_t first = 0; first < 255; first++) {
                payload[0] = (uint8_t)first;
                CHECK_STATUS(
                    spc_coder_decode(SPC_CODER_LZMA, of(&shape, 8), payload, len, back, work, need),
                    SPC_ERROR_CORRUPT);
            }
        }
        CHECK(good <= 1 && (good == 1 || n < 32));
        free(work);
    }
    check_at.shift = 0;
}

/* Every unknown coder, and random descriptions, under a checksum that is right. */
static void garbage_headers(void) {
    room r = room_new(4096);
    setup s, other;
    spc_shape shape = {1, {32}};
    uint8_t feature[128] = {0};
    size_t len = 0;
    uint8_t *frame;
    unsigned parsed = 0;
    make_codec(&s, 2, SPC_FLOAT32, &shape);
    for (uint32_t coder = 0; coder < 256; coder++) {
        frame = check_rear(r.frame, 18, 0);
        CHECK_STATUS(spc_encode(&s.codec, SPC_CODER_PACK, SPC_FRAME_COMPACT, feature, frame, 18,
                                &len, NULL, 0),
                     SPC_OK);
        frame[1] = (uint8_t)coder;
        store_checksum(frame, len);
        if (!spc_coder_available((spc_coder)coder)) {
            CHECK_STATUS(spc_decode(&s.codec, frame, len, feature, sizeof feature, NULL, 0),
                         SPC_ERROR_CODER);
        }
    }
    for (uint32_t round = 0; round < 100000; round++) {
        spc_frame_info info;
        spc_status status;
        check_seed(round);
        len = 16 + check_below(96);
        if (round % 2) { /* a description that is right but for a byte or two */
            uint8_t whole[2048];
            CHECK_STATUS(spc_encode(&s.codec, SPC_CODER_PACK, SPC_FRAME_SELF_DESCRIBING, feature,
                                    whole, sizeof whole, &len, NULL, 0),
                         SPC_OK);
            frame = check_rear(r.frame, len, 0);
            memcpy(frame, whole, len);
            for (uint32_t change = 1 + check_below(2); change > 0; change--) {
                frame[8 + check_below((uint32_t)len - 12)] = (uint8_t)check_below(12);
            }
        } else {
            frame = check_rear(r.frame, len, 0);
            check_fill(frame, len);
            memcpy(frame, "SPC\1", 4);
            for (size_t i = 0; i < 4; i++) {
                frame[4 + i] = (uint8_t)(len >> (8 * i));
                frame[8 + i] = (uint8_t)check_below(4);
            }
            frame[11] = (uint8_t)(check_below(4) == 0);
        }
        store_checksum(frame, len);
        status = spc_frame_parse(frame, len, &info);
        CHECK(status == SPC_OK || status == SPC_ERROR_CORRUPT);
        if (status == SPC_OK) {
            parsed++;
            CHECK(info.payload_offset + info.payload_len + CHECKSUM == len);
            CHECK(info.bits >= 1 && info.bits <= 8 && info.n <= SPC_MAX_ELEMENTS);
            status = spc_codec_from_frame(&other.codec, frame, len, 4096, other.centroids,
                                          other.thresholds, SPC_MAX_CENTROIDS);
            CHECK(status == SPC_OK || status == SPC_ERROR_CORRUPT || status == SPC_ERROR_LIMIT);
            if (status == SPC_OK) {
                uint8_t *back = check_rear(r.feature, spc_feature_size(&other.codec), 0);
                uint8_t *work = check_rear(r.work, 5u << 20, 0);
                CHECK(other.codec.id == info.codec_id);
                status = spc_decode(&other.codec, frame, len, back, spc_feature_size(&other.codec),
                                    work, 5u << 20);
                CHECK(status == SPC_OK || status == SPC_ERROR_CORRUPT || status == SPC_ERROR_CODER);
                CHECK_MARKS(r.feature, back, spc_feature_size(&other.codec));
            }
        }
    }
    CHECK(parsed > 100);
    room_free(r);
}

/* ------------------------------------------------------------------ integer dtypes */

static void integer_rounding(void) {
    static const struct {
        float centroid;
        int int8, uint8;
    } expected[] = {
        {-3.0e38f, -128, 0},    {-129.0f, -128, 0},     {-128.5f, -128, 0},  {-127.50001f, -128, 0},
        {-127.5f, -127, 0},     {-2.5f, -2, 0},         {-1.5f, -1, 0},      {-0.50000006f, -1, 0},
        {-0.5f, 0, 0},          {-1.0e-45f, 0, 0},      {0.0f, 0, 0},        {1.0e-45f, 0, 0},
        {0.49999997f, 0, 0},    {0.5f, 1, 1},           {0.75f, 1, 1},       {1.5f, 2, 2},
        {126.49999f, 126, 126}, {126.5f, 127, 127},     {127.0f, 127, 127},  {127.5f, 127, 128},
        {128.5f, 127, 129},     {254.49998f, 127, 254}, {254.5f, 127, 255},  {255.0f, 127, 255},
        {255.5f, 127, 255},     {1024.0f, 127, 255},    {3.0e38f, 127, 255},
    };
    for (size_t i = 0; i + 1 < COUNT(expected); i++) {
        float pair[2] = {expected[i].centroid, expected[i + 1].centroid};
        int32_t threshold;
        const uint8_t indices[2] = {0, 1};
        uint8_t packed = 2, values[2], again[2];
        spc_codebook codebook;
        check_at.n = i;
        CHECK_STATUS(spc_codebook_init(&codebook, pair, 1, &threshold), SPC_OK);
        CHECK_STATUS(spc_dequantize(&codebook, SPC_INT8, indices, 2, values), SPC_OK);
        CHECK(values[0] == (uint8_t)expected[i].int8 && values[1] == (uint8_t)expected[i + 1].int8);
        CHECK_STATUS(spc_unpack_dequantize(&codebook, SPC_INT8, &packed, 2, again), SPC_OK);
        CHECK_BYTES(again, values, 2);
        CHECK_STATUS(spc_dequantize(&codebook, SPC_UINT8, indices, 2, values), SPC_OK);
        CHECK(values[0] == (uint8_t)expected[i].uint8 &&
              values[1] == (uint8_t)expected[i + 1].uint8);
        CHECK_STATUS(spc_unpack_dequantize(&codebook, SPC_UINT8, &packed, 2, again), SPC_OK);
        CHECK_BYTES(again, values, 2);
    }
    /* 256 levels at the integers themselves lose nothing */
    for (size_t d = 1; d < COUNT(dtypes); d++) {
        setup s;
        uint8_t all[256], indices[256], back[256];
        for (int i = 0; i < 256; i++) {
            s.centroids[i] = (float)(dtypes[d] == SPC_INT8 ? i - 128 : i);
            all[i] = (uint8_t)i;
        }
        CHECK_STATUS(spc_codebook_init(&s.codebook, s.centroids, 8, s.thresholds), SPC_OK);
        CHECK_STATUS(spc_quantize(&s.codebook, dtypes[d], all, 256, indices), SPC_OK);
        CHECK_STATUS(spc_dequantize(&s.codebook, dtypes[d], indices, 256, back), SPC_OK);
        CHECK_BYTES(back, all, 256);
        for (int i = 0; i < 256; i++) {
            CHECK(indices[i] == (dtypes[d] == SPC_INT8 ? (i + 128) % 256 : i));
        }
    }
}

/* ------------------------------------------------------------------ threads */

enum { workers = 8, rounds = 60 };

typedef struct worker {
    pthread_t thread;
    setup s;
    spc_coder coder;
    uint8_t *feature, *frame, *work;
    size_t frame_len, work_len;
    unsigned failures;
} worker;

static atomic_int stop_flipping;

static void *encode_and_decode(void *opaque) {
    worker *w = opaque;
    size_t bound = spc_frame_bound(&w->s.codec, SPC_FRAME_SELF_DESCRIBING);
    size_t size = spc_feature_size(&w->s.codec);
    uint8_t *frame = malloc(bound), *back = malloc(size), *again = malloc(bound);
    for (int round = 0; round < rounds; round++) {
        size_t len = 0;
        spc_status status = spc_encode(&w->s.codec, w->coder, SPC_FRAME_SELF_DESCRIBING, w->feature,
                                       frame, bound, &len, w->work, w->work_len);
        w->failures +=
            status != SPC_OK || len != w->frame_len || memcmp(frame, w->frame, w->frame_len) != 0;
        status = spc_decode(&w->s.codec, frame, len, back, size, w->work, w->work_len);
        w->failures += status != SPC_OK;
        /* quantising the centroids gives the same indices, so the same frame */
        status = spc_encode(&w->s.codec, w->coder, SPC_FRAME_SELF_DESCRIBING, back, again, bound,
                            &len, w->work, w->work_len);
        w->failures += status != SPC_OK || len != w->frame_len || memcmp(again, w->frame, len) != 0;
    }
    free(frame), free(back), free(again);
    return NULL;
}

static void *flip_cpu_mask(void *opaque) {
    const uint32_t *all = opaque;
    uint32_t subset = 0;
    while (!atomic_load(&stop_flipping)) {
        spc_set_cpu_mask(subset & *all);
        subset++;
        sched_yield();
    }
    return NULL;
}

static void threads(void) {
    static worker pool[workers];
    static const spc_shape shape = {3, {16, 20, 24}};
    uint32_t all = spc_cpu_features();
    pthread_t flipper;
    for (size_t i = 0; i < workers; i++) {
        worker *w = &pool[i];
        size_t bound;
        check_seed(i);
        make_codec(&w->s, 1 + (uint32_t)i, SPC_FLOAT32, &shape);
        w->coder = spc_coder_available(coders[i % 2]) ? coders[i % 2] : SPC_CODER_PACK;
        w->work_len = spc_encode_work_size(&w->s.codec, w->coder);
        if (w->work_len < spc_decode_work_size(&w->s.codec, w->coder)) {
            w->work_len = spc_decode_work_size(&w->s.codec, w->coder);
        }
        bound = spc_frame_bound(&w->s.codec, SPC_FRAME_SELF_DESCRIBING);
        w->feature = malloc(spc_feature_size(&w->s.codec));
        w->frame = malloc(bound);
        w->work = malloc(w->work_len + 1);
        make_feature(&w->s, w->feature, 0);
        CHECK_STATUS(spc_encode(&w->s.codec, w->coder, SPC_FRAME_SELF_DESCRIBING, w->feature,
                                w->frame, bound, &w->frame_len, w->work, w->work_len),
                     SPC_OK);
    }
    CHECK(pthread_create(&flipper, NULL, flip_cpu_mask, &all) == 0);
    for (size_t i = 0; i < workers; i++) {
        CHECK(pthread_create(&pool[i].thread, NULL, encode_and_decode, &pool[i]) == 0);
    }
    for (size_t i = 0; i < workers; i++) {
        check_at.bits = 1 + (unsigned)i;
        CHECK(pthread_join(pool[i].thread, NULL) == 0);
        CHECK(pool[i].failures == 0);
        free(pool[i].feature), free(pool[i].frame), free(pool[i].work);
    }
    atomic_store(&stop_flipping, 1);
    CHECK(pthread_join(flipper, NULL) == 0);
    spc_set_cpu_mask(all);
}

static const check_case cases[] = {
    {"round_trips", round_trips},
    {"large", large},
    {"capacities", capacities},
    {"coder_functions", coder_functions},
    {"arguments", arguments},
    {"mismatches", mismatches},
    {"damaged", damaged},
    {"garbage_payloads", garbage_payloads},
    {"other_lzma", other_lzma},
    {"garbage_headers", garbage_headers},
    {"integer_rounding", integer_rounding},
    {"threads", threads},
};
CHECK_MAIN(cases, NULL)
