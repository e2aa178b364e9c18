/* Codecs whose shape has channels, with one codebook for all or for each group of them: every
 * layout, dtype and coder, by definition. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "half.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const spc_dtype dtypes[] = {SPC_FLOAT32, SPC_FLOAT16, SPC_BFLOAT16, SPC_INT8, SPC_UINT8};

/* Channels first and last, in the middle, outermost in a batch of one; runs of one, of a few, of
 * whole bytes and of odd lengths, and longer than a block. */
static const struct {
    spc_shape shape;
    uint32_t axis, groups;
} layouts[] = {
    {{3, {4, 8, 8}}, 0, 4}, {{3, {4, 8, 8}}, 0, 2},      {{3, {8, 8, 4}}, 2, 4},
    {{3, {8, 8, 4}}, 2, 2}, {{3, {3, 7, 7}}, 0, 3},      {{3, {7, 7, 3}}, 2, 3},
    {{3, {5, 6, 5}}, 1, 6}, {{4, {1, 2, 50, 51}}, 1, 2}, {{2, {60, 64}}, 1, 64},
    {{2, {60, 70}}, 1, 70}, {{1, {300}}, 0, 300},        {{1, {300}}, 0, 3},
    {{3, {0, 5, 5}}, 1, 5}, {{2, {3, 4100}}, 0, 3},      {{3, {2, 3, 17}}, 1, 3},
    {{3, {4, 8, 8}}, 0, 1}, {{3, {7, 7, 3}}, 2, 1},      {{1, {300}}, 0, 1},
};

typedef struct setup {
    spc_codec codec;
    spc_codebook codebook;
    float *centroids;
    int32_t *thresholds;
    uint8_t *feature, *restored, *indices, *want, *frame, *work;
    size_t work_len;
} setup;

static size_t size_of(spc_dtype dtype) {
    return dtype == SPC_FLOAT32 ? 4 : dtype == SPC_FLOAT16 || dtype == SPC_BFLOAT16 ? 2 : 1;
}

static uint32_t float_bits(spc_dtype dtype, const uint8_t *at) {
    uint32_t bits;
    uint16_t half;
    memcpy(&half, at, size_of(dtype) == 1 ? 1 : 2);
    switch (dtype) {
    case SPC_FLOAT32:
        memcpy(&bits, at, 4);
        return bits;
    case SPC_FLOAT16:
        return spc_widen_float16(half);
    case SPC_BFLOAT16:
        return spc_widen_bfloat16(half);
    case SPC_INT8:
        return check_bits_of_float((float)(int8_t)*at);
    default:
        return check_bits_of_float((float)*at);
    }
}

static size_t group_of(const spc_codec *codec, size_t at) {
    size_t inner = 1, channels = codec->shape.dims[codec->axis];
    for (uint32_t i = codec->axis + 1; i < codec->shape.rank; i++) {
        inner *= codec->shape.dims[i];
    }
    return at / inner % channels / (channels / codec->codebook.groups);
}

static void make(setup *s, size_t k, uint32_t bits, spc_dtype dtype) {
    const uint32_t groups = layouts[k].groups;
    const spc_codec *codec = &s->codec;
    size_t count = (size_t)groups << bits;
    s->centroids = malloc(count * sizeof *s->centroids);
    s->thresholds = malloc(count * sizeof *s->thresholds);
    for (uint32_t g = 0; g < groups; g++) {
        for (uint32_t i = 0; i < 1u << bits; i++) {
            s->centroids[g << bits | i] =
                (float)check_below(64) +
                300.0f * ((float)i - (float)(1u << bits) / 2) / (float)(1u << bits);
            s->centroids[g << bits | i] += 100.0f * (float)i;
        }
    }
    check_at.bits = bits;
    CHECK_STATUS(spc_codebook_init_groups(&s->codebook, s->centroids, bits, groups, s->thresholds),
                 SPC_OK);
    CHECK_STATUS(
        spc_codec_init_channels(&s->codec, &s->codebook, layouts[k].axis, dtype, &layouts[k].shape),
        SPC_OK);
    check_at.n = codec->n;
    s->feature = malloc(codec->n * 4 + 1);
    s->restored = malloc(codec->n * 4 + 1);
    s->indices = malloc(codec->n + 1);
    s->want = malloc(codec->n + 1);
    s->frame = malloc(spc_frame_bound(codec, SPC_FRAME_SELF_DESCRIBING));
    s->work_len = spc_encode_work_size(codec, SPC_CODER_LZMA);
    if (s->work_len < spc_decode_work_size(codec, SPC_CODER_LZMA)) {
        s->work_len = spc_decode_work_size(codec, SPC_CODER_LZMA);
    }
    s->work = malloc(s->work_len + 1);
    check_fill(s->feature, codec->n * 4);
    for (size_t i = 0; i < codec->n; i++) {
        size_t g = group_of(codec, i);
        int32_t key = check_key_of_bits(float_bits(dtype, s->feature + i * size_of(dtype)));
        uint32_t below = 0;
        if (dtype == SPC_FLOAT32 && check_below(2)) { /* at a threshold, or beside it */
            uint32_t t = check_below((1u << bits) - 1);
            key = s->thresholds[t * groups + g] + (int32_t)check_below(3) - 1;
            uint32_t raw = check_bits_of_key(key);
            memcpy(s->feature + 4 * i, &raw, 4);
        }
        for (uint32_t t = 0; t + 1 < 1u << bits; t++) {
            below += s->thresholds[t * groups + g] < key;
        }
        s->want[i] = (uint8_t)below;
    }
}

static void drop(setup *s) {
    free(s->centroids);
    free(s->thresholds);
    free(s->feature);
    free(s->restored);
    free(s->indices);
    free(s->want);
    free(s->frame);
    free(s->work);
}

/* What each index gives back, by a codebook of that one group. */
static void check_restored(const setup *s) {
    const spc_codec *codec = &s->codec;
    const uint32_t bits = codec->codebook.bits, groups = codec->codebook.groups;
    size_t size = size_of(codec->dtype);
    uint8_t every[SPC_MAX_CENTROIDS], *want = malloc(((size_t)groups << bits) * size);
    for (uint32_t i = 0; i < SPC_MAX_CENTROIDS; i++) {
        every[i] = (uint8_t)i;
    }
    for (uint32_t g = 0; g < groups; g++) {
        int32_t thresholds[SPC_MAX_CENTROIDS];
        spc_codebook one;
        spc_codebook_init(&one, s->centroids + (g << bits), bits, thresholds);
        (void)spc_dequantize(&one, codec->dtype, every, 1u << bits, want + (g << bits) * size);
    }
    for (size_t i = 0; i < codec->n; i++) {
        size_t at = group_of(codec, i) << bits | s->want[i];
        if (!CHECK_BYTES(s->restored + size * i, want + size * at, size)) {
            break;
        }
    }
    free(want);
}

static void round_trips(void) {
    for (size_t k = 0; k < COUNT(layouts) * COUNT(dtypes); k++) {
        for (uint32_t bits = 1; bits <= 8; bits++) {
            check_cpus cpus = {0};
            setup s;
            check_seed(8 * k + bits);
            make(&s, k / COUNT(dtypes), bits, dtypes[k % COUNT(dtypes)]);
            while (check_next_cpu(&cpus)) {
                size_t n = s.codec.n, bytes = n * size_of(s.codec.dtype);
                memset(s.indices, 0xee, n + 1);
                CHECK_STATUS(spc_codec_quantize(&s.codec, s.feature, s.indices), SPC_OK);
                CHECK_BYTES(s.indices, s.want, n);
                CHECK(s.indices[n] == 0xee);
                memset(s.restored, 0xee, bytes + 1);
                CHECK_STATUS(spc_codec_dequantize(&s.codec, s.indices, s.restored), SPC_OK);
                CHECK(s.restored[bytes] == 0xee);
                check_restored(&s);
                for (int how = 0; how < 4; how++) {
                    spc_coder coder = how & 1 ? SPC_CODER_LZMA : SPC_CODER_PACK;
                    spc_frame_kind kind = how & 2 ? SPC_FRAME_SELF_DESCRIBING : SPC_FRAME_COMPACT;
                    size_t len;
                    if (!spc_coder_available(coder)) {
                        continue;
                    }
                    CHECK_STATUS(spc_encode(&s.codec, coder, kind, s.feature, s.frame,
                                            spc_frame_bound(&s.codec, kind), &len, s.work,
                                            s.work_len),
                                 SPC_OK);
                    memset(s.restored, 0xee, bytes);
                    CHECK_STATUS(
                        spc_decode(&s.codec, s.frame, len, s.restored, bytes, s.work, s.work_len),
                        SPC_OK);
                    check_restored(&s);
                }
            }
            drop(&s);
        }
    }
}

static void from_frames(void) {
    for (size_t k = 0; k < COUNT(layouts); k++) {
        size_t len, count, n;
        uint32_t bits = 1 + (uint32_t)k % 8;
        spc_codec codec;
        spc_frame_info info;
        setup s;
        check_seed(k);
        make(&s, k, bits, dtypes[k % COUNT(dtypes)]);
        n = s.codec.n;
        count = (size_t)layouts[k].groups << bits;
        CHECK_STATUS(spc_encode(&s.codec, SPC_CODER_PACK, SPC_FRAME_SELF_DESCRIBING, s.feature,
                                s.frame, spc_frame_bound(&s.codec, SPC_FRAME_SELF_DESCRIBING), &len,
                                NULL, 0),
                     SPC_OK);
        CHECK_STATUS(spc_frame_parse(s.frame, len, &info), SPC_OK);
        CHECK(info.groups == layouts[k].groups && info.axis == layouts[k].axis);
        CHECK(info.codec_id == s.codec.id && info.n == n && info.bits == bits);
        float *centroids = malloc(count * sizeof *centroids);
        int32_t *thresholds = malloc(count * sizeof *thresholds);
        CHECK_STATUS(
            spc_codec_from_frame(&codec, s.frame, len, n, centroids, thresholds, count - 1),
            SPC_ERROR_CAPACITY);
        CHECK_STATUS(spc_codec_from_frame(&codec, s.frame, len, n, centroids, thresholds, count),
                     SPC_OK);
        CHECK(codec.id == s.codec.id && codec.axis == layouts[k].axis);
        CHECK_BYTES(centroids, s.centroids, count * sizeof *centroids);
        CHECK_STATUS(spc_decode(&codec, s.frame, len, s.restored, n * 4, NULL, 0), SPC_OK);
        check_restored(&s);
        for (size_t cut = 0; cut < len; cut++) {
            CHECK_STATUS(spc_frame_parse(s.frame, cut, &info), SPC_ERROR_TRUNCATED);
        }
        free(centroids);
        free(thresholds);
        drop(&s);
    }
}

/* The groups in a description that says something impossible, checksum put right. */
static void bad_descriptions(void) {
    static const struct {
        size_t at;
        uint8_t value;
    } changes[] = {
        {3, 4},  /* channels along a dimension that is not there */
        {3, 2},  /* along one that the groups do not divide */
        {16, 0}, /* no groups */
        {16, 1}, /* one, and three behind it that would be the payload */
        {16, 3}, /* do not divide the channels */
        {16, 8}, /* more than the channels, and than there are centroids */
        {18, 2}, /* more than there may be */
        {4, 0},  /* no channels */
    };
    for (size_t k = 0; k < COUNT(changes); k++) {
        size_t len;
        spc_frame_info info;
        setup s;
        make(&s, 0, 2, SPC_FLOAT32); /* 4 x 8 x 8, axis 0, 4 groups */
        CHECK_STATUS(spc_encode(&s.codec, SPC_CODER_PACK, SPC_FRAME_SELF_DESCRIBING, s.feature,
                                s.frame, spc_frame_bound(&s.codec, SPC_FRAME_SELF_DESCRIBING), &len,
                                NULL, 0),
                     SPC_OK);
        s.frame[8 + changes[k].at] = changes[k].value;
        uint32_t crc = spc_crc32c(0, s.frame, len - 4);
        for (int i = 0; i < 4; i++) {
            s.frame[len - 4 + (size_t)i] = (uint8_t)(crc >> 8 * i);
        }
        check_at.shift = k;
        if (k != 1 && k != 3) { /* other codecs, but right ones */
            CHECK_STATUS(spc_frame_parse(s.frame, len, &info), SPC_ERROR_CORRUPT);
        } else {
            CHECK_STATUS(spc_decode(&s.codec, s.frame, len, s.restored, 4 * s.codec.n, NULL, 0),
                         SPC_ERROR_MISMATCH);
        }
        drop(&s);
    }
}

/* The axis of one codebook changes what the codec is, not what it gives. */
static void one_codebook(void) {
    static const uint32_t axes[] = {SPC_NO_AXIS, 0, 1, 2};
    const spc_shape shape = {3, {4, 8, 8}};
    float centroids[4] = {-1, 0, 1, 2}, feature[256];
    int32_t thresholds[3];
    uint8_t frames[COUNT(axes)][200], indices[2][256];
    size_t len[COUNT(axes)];
    spc_codebook codebook;
    spc_codec codec[COUNT(axes)];
    CHECK_STATUS(spc_codebook_init(&codebook, centroids, 2, thresholds), SPC_OK);
    for (size_t i = 0; i < 256; i++) {
        feature[i] = (float)check_below(40) / 10 - 1;
    }
    for (size_t k = 0; k < COUNT(axes); k++) {
        check_at.shift = k;
        CHECK_STATUS(spc_codec_init_channels(&codec[k], &codebook, axes[k], SPC_FLOAT32, &shape),
                     SPC_OK);
        CHECK(codec[k].axis == axes[k]);
        CHECK(spc_frame_bound(&codec[k], SPC_FRAME_SELF_DESCRIBING) ==
              17 + 4 * 3 + 4 * 4 + 64 + (k > 0 ? 4 : 0));
        CHECK_STATUS(spc_codec_quantize(&codec[k], feature, indices[k > 0]), SPC_OK);
        CHECK_BYTES(indices[k > 0], indices[0], 256);
        CHECK_STATUS(spc_encode(&codec[k], SPC_CODER_PACK, SPC_FRAME_COMPACT, feature, frames[k],
                                sizeof frames[k], &len[k], NULL, 0),
                     SPC_OK);
        CHECK(len[k] == len[0]);
        CHECK_BYTES(frames[k] + 6, frames[0] + 6, len[0] - 10);
        for (size_t other = 0; other < k; other++) {
            CHECK(codec[k].id != codec[other].id);
            CHECK_STATUS(
                spc_decode(&codec[k], frames[other], len[other], feature, sizeof feature, NULL, 0),
                SPC_ERROR_MISMATCH);
        }
    }
    CHECK_STATUS(spc_codec_init(&codec[1], &codebook, SPC_FLOAT32, &shape), SPC_OK);
    CHECK(codec[1].id == codec[0].id && codec[1].axis == SPC_NO_AXIS);
}

static void arguments(void) {
    spc_shape shape = {3, {4, 8, 8}}, empty = {2, {0, 4}};
    float centroids[8] = {0, 1, 2, 3, 0, 2, 4, 8};
    int32_t thresholds[8], other_thresholds[3];
    uint8_t indices[256], feature[1024];
    spc_codebook one, two;
    spc_codec codec;
    CHECK_STATUS(spc_codebook_init_groups(&two, centroids, 2, 2, thresholds), SPC_OK);
    CHECK_STATUS(spc_codebook_init_groups(&two, centroids, 2, 0, thresholds), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_codebook_init_groups(&two, centroids, 2, SPC_MAX_GROUPS + 1, thresholds),
                 SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_codebook_init_groups(&two, NULL, 2, 2, thresholds), SPC_ERROR_ARGUMENT);
    centroids[5] = 0;
    CHECK_STATUS(spc_codebook_init_groups(&two, centroids, 2, 2, thresholds), SPC_ERROR_CODEBOOK);
    centroids[5] = 2;
    CHECK_STATUS(spc_codec_init(&codec, &two, SPC_FLOAT32, &shape), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_codec_init_channels(&codec, &two, 3, SPC_FLOAT32, &shape), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_codec_init_channels(&codec, &two, 0, SPC_FLOAT32, &empty), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_codec_init_channels(&codec, &two, SPC_NO_AXIS, SPC_FLOAT32, &shape),
                 SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_codebook_init(&one, centroids, 2, other_thresholds), SPC_OK);
    CHECK_STATUS(spc_codec_init_channels(&codec, &one, 3, SPC_FLOAT32, &shape), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_codec_init_channels(&codec, &one, 0, SPC_FLOAT32, &empty), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_codec_init_channels(&codec, &one, 1, SPC_FLOAT32, &empty), SPC_OK);
    CHECK_STATUS(spc_quantize(&two, SPC_FLOAT32, feature, 4, indices), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_dequantize(&two, SPC_FLOAT32, indices, 4, feature), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_codec_init_channels(&codec, &two, 0, SPC_FLOAT32, &shape), SPC_OK);
    CHECK_STATUS(spc_codec_quantize(&codec, NULL, indices), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_codec_quantize(&codec, feature, NULL), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_codec_quantize(NULL, feature, indices), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_codec_dequantize(&codec, NULL, feature), SPC_ERROR_ARGUMENT);
    memset(indices, 0, sizeof indices);
    CHECK_STATUS(spc_codec_dequantize(&codec, indices, feature), SPC_OK);
    indices[255] = 4;
    CHECK_STATUS(spc_codec_dequantize(&codec, indices, feature), SPC_ERROR_ARGUMENT);
}

static const check_case cases[] = {
    {"round_trips", round_trips},
    {"from_frames", from_frames},
    {"bad_descriptions", bad_descriptions},
    {"one_codebook", one_codebook},
    {"arguments", arguments},
};
CHECK_MAIN(cases, NULL)
