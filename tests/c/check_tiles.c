/* Features that come in tiles, indices made elsewhere, and headers by themselves: the bytes of
 * spc_encode, whatever the tiles are. */
#include <stdlib.h>
#include <string.h>

#include "check.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { checksum = 4, most_elements = 1200 };

static const spc_dtype dtypes[] = {SPC_FLOAT32, SPC_FLOAT16, SPC_BFLOAT16, SPC_INT8, SPC_UINT8};
static const spc_coder coders[] = {SPC_CODER_PACK, SPC_CODER_LZMA, SPC_CODER_RANGE};
static const spc_frame_kind kinds[] = {SPC_FRAME_COMPACT, SPC_FRAME_SELF_DESCRIBING};

/* Runs of one element, of a few, of whole bytes and not; of one codebook; nothing at all. */
static const struct {
    spc_shape shape;
    uint32_t axis, groups;
} layouts[] = {
    {{3, {4, 16, 16}}, 0, 4},      {{3, {6, 13, 11}}, 0, 2}, {{3, {9, 9, 12}}, 2, 12},
    {{3, {10, 10, 6}}, 2, 3},      {{3, {3, 4, 37}}, 1, 4},  {{2, {4, 300}}, 0, 1},
    {{1, {1021}}, SPC_NO_AXIS, 1}, {{1, {5}}, 0, 5},         {{2, {0, 3}}, 1, 3},
};

typedef struct setup {
    spc_codec codec;
    spc_codebook codebook;
    spc_model model;
    float *centroids;
    int32_t *thresholds;
    uint8_t *model_bytes, *feature, *frame, *work;
    size_t size, work_len; /* `size` of an element */
} setup;

/* One of range without questions, and so many counters to each channel. */
static void make_model(setup *s, uint32_t bits, uint32_t channels) {
    const size_t counters = (1u << bits) - 1, len = 9 + channels * (1 + counters);
    uint8_t *at = s->model_bytes = malloc(len + checksum);
    uint32_t crc;
    memcpy(at, "SPM\1", 4);
    at[4] = SPC_CODER_RANGE;
    at[5] = (uint8_t)bits;
    at[6] = (uint8_t)channels;
    at[7] = 0;
    at[8] = 5;
    check_fill(at + 9, len - 9);
    for (uint32_t i = 0; i < channels; i++) {
        at[9 + i * (1 + counters)] = 0;
    }
    crc = spc_crc32c(0, at, len);
    for (size_t i = 0; i < checksum; i++) {
        at[len + i] = (uint8_t)(crc >> 8 * i);
    }
    CHECK_STATUS(spc_model_init(&s->model, at, len + checksum), SPC_OK);
    CHECK_STATUS(spc_codec_set_model(&s->codec, &s->model), SPC_OK);
}

static void make(setup *s, size_t k, uint32_t bits, spc_dtype dtype) {
    const uint32_t groups = layouts[k].groups, axis = layouts[k].axis;
    const size_t count = (size_t)groups << bits;
    size_t n;
    check_at.bits = bits;
    s->centroids = malloc(count * sizeof *s->centroids);
    s->thresholds = malloc(count * sizeof *s->thresholds);
    for (size_t i = 0; i < count; i++) {
        const float at = (float)(i & ((1u << bits) - 1)) / (float)(1u << bits);
        s->centroids[i] = 300.0f * at - 100.0f + (float)check_below(16) / 16.0f;
    }
    CHECK_STATUS(spc_codebook_init_groups(&s->codebook, s->centroids, bits, groups, s->thresholds),
                 SPC_OK);
    CHECK_STATUS(spc_codec_init_channels(&s->codec, &s->codebook, axis, dtype, &layouts[k].shape),
                 SPC_OK);
    n = check_at.n = s->codec.n;
    s->model_bytes = NULL;
    if (axis != SPC_NO_AXIS && check_below(2)) {
        CHECK_STATUS(spc_codec_set_slice(&s->codec, 3, layouts[k].shape.dims[axis] + 5), SPC_OK);
    }
    if (axis == 0 && n > 0 && check_below(2)) {
        make_model(s, bits, layouts[k].shape.dims[0]);
    }
    s->size = n > 0 ? spc_feature_size(&s->codec) / n : 1;
    s->feature = malloc(n * s->size + 1);
    s->frame = malloc(spc_frame_bound(&s->codec, SPC_FRAME_SELF_DESCRIBING));
    s->work_len = spc_encode_work_size(&s->codec, SPC_CODER_LZMA);
    if (s->work_len < spc_encode_work_size(&s->codec, SPC_CODER_RANGE)) {
        s->work_len = spc_encode_work_size(&s->codec, SPC_CODER_RANGE);
    }
    s->work = malloc(s->work_len + 1);
    check_fill(s->feature, n * s->size);
    for (size_t i = 0; i < n && dtype == SPC_FLOAT32; i++) {
        const float value = (float)check_below(4000) / 10.0f - 150.0f;
        if (check_below(8)) {
            memcpy(s->feature + 4 * i, &value, 4);
        }
    }
}

static void drop(setup *s) {
    free(s->centroids);
    free(s->thresholds);
    free(s->model_bytes);
    free(s->feature);
    free(s->frame);
    free(s->work);
}

static size_t encode(setup *s, spc_coder coder, spc_frame_kind kind) {
    size_t len = 0;
    CHECK_STATUS(spc_encode(&s->codec, coder, kind, s->feature, s->frame,
                            spc_frame_bound(&s->codec, kind), &len, s->work, s->work_len),
                 SPC_OK);
    return len;
}

/* ------------------------------------------------------------------ tiles */

/* Elements of the next tile: `step` of them, or any number where that is 0. */
static size_t tile_of(size_t left, size_t step, size_t unit) {
    const size_t count = step > 0 ? step : unit * (1 + check_below(40));
    return count < left ? count : left;
}

/* Each tile in memory of its own, which is no larger. */
static void quantize_tiles(const setup *s, size_t step, uint8_t *indices) {
    for (size_t first = 0, count; first < s->codec.n; first += count) {
        count = tile_of(s->codec.n - first, step, 1);
        uint8_t *tile = malloc(count * s->size), *found = malloc(count);
        memcpy(tile, s->feature + first * s->size, count * s->size);
        CHECK_STATUS(spc_codec_quantize_part(&s->codec, first, tile, count, found), SPC_OK);
        memcpy(indices + first, found, count);
        free(tile);
        free(found);
    }
}

static size_t pack_tiles(const setup *s, size_t step, uint8_t *packed) {
    const uint32_t bits = s->codebook.bits;
    size_t size = 0;
    for (size_t first = 0, count; first < s->codec.n; first += count) {
        count = tile_of(s->codec.n - first, step, 8);
        const size_t len = spc_packed_size(count, bits);
        uint8_t *tile = malloc(count * s->size), *found = malloc(len);
        memcpy(tile, s->feature + first * s->size, count * s->size);
        CHECK_STATUS(spc_codec_quantize_pack_part(&s->codec, first, tile, count, found), SPC_OK);
        memcpy(packed + size, found, len);
        size += len;
        free(tile);
        free(found);
    }
    return size;
}

/* As a node sends it that never holds the frame. */
static void check_streamed(setup *s, spc_frame_kind kind, size_t step) {
    const size_t len = encode(s, SPC_CODER_PACK, kind);
    const size_t packed_len = spc_packed_size(s->codec.n, s->codebook.bits);
    const size_t want = spc_frame_bound(&s->codec, kind) - packed_len - checksum;
    size_t header = 0, packed;
    uint32_t crc;
    uint8_t *sent = malloc(len), *start = malloc(want);
    CHECK_STATUS(spc_frame_start(&s->codec, kind, SPC_CODER_PACK, packed_len, start, want, &header),
                 SPC_OK);
    CHECK(header == want);
    memcpy(sent, start, want);
    packed = pack_tiles(s, step, sent + header);
    CHECK(packed == packed_len && header + packed + checksum == len);
    crc = spc_crc32c(spc_crc32c(0, sent, header), sent + header, packed);
    for (size_t i = 0; i < checksum; i++) {
        sent[len - checksum + i] = (uint8_t)(crc >> 8 * i);
    }
    CHECK_BYTES(sent, s->frame, len);
    free(sent);
    free(start);
}

static void tiles(void) {
    static const size_t steps[] = {0, 0, 1, 7, 8, 64, 136, most_elements};
    for (size_t k = 0; k < COUNT(layouts) * COUNT(dtypes); k++) {
        for (uint32_t bits = 1; bits <= 8; bits++) {
            check_cpus cpus = {0};
            setup s;
            check_seed(8 * k + bits);
            make(&s, k / COUNT(dtypes), bits, dtypes[k % COUNT(dtypes)]);
            while (check_next_cpu(&cpus)) {
                uint8_t whole[most_elements], found[most_elements];
                CHECK_STATUS(spc_codec_quantize(&s.codec, s.feature, whole), SPC_OK);
                for (size_t i = 0; i < COUNT(steps); i++) {
                    check_at.shift = steps[i];
                    memset(found, 0xee, sizeof found);
                    quantize_tiles(&s, steps[i], found);
                    CHECK_BYTES(found, whole, s.codec.n);
                    if (steps[i] % 8 == 0) {
                        check_streamed(&s, kinds[i & 1], steps[i]);
                        check_streamed(&s, kinds[~i & 1], steps[i]);
                    }
                }
            }
            drop(&s);
        }
    }
}

/* ------------------------------------------------------------------ indices, headers */

static void from_indices(void) {
    for (size_t k = 0; k < COUNT(layouts) * COUNT(coders); k++) {
        const spc_coder coder = coders[k % COUNT(coders)];
        for (uint32_t bits = 1; bits <= 8; bits++) {
            setup s;
            check_seed(8 * k + bits);
            if (!spc_coder_available(coder)) {
                continue;
            }
            check_at.what = spc_coder_name(coder);
            make(&s, k / COUNT(coders), bits, dtypes[(k + bits) % COUNT(dtypes)]);
            for (size_t f = 0; f < COUNT(kinds); f++) {
                const size_t n = s.codec.n, bound = spc_frame_bound(&s.codec, kinds[f]);
                const size_t need = spc_encode_indices_work_size(&s.codec, coder);
                const size_t len = encode(&s, coder, kinds[f]);
                uint8_t *indices = malloc(n + 1), *frame = malloc(bound);
                uint8_t *work = malloc(need + 1), *start = malloc(bound);
                size_t found = 0, header = 0;
                spc_frame_info info;
                CHECK(need == (coder == SPC_CODER_PACK || n == 0
                                   ? 0
                                   : spc_encode_work_size(&s.codec, coder) - n));
                CHECK_STATUS(spc_codec_quantize(&s.codec, s.feature, indices), SPC_OK);
                CHECK_STATUS(spc_encode_indices(&s.codec, coder, kinds[f], indices, frame, bound,
                                                &found, work, need),
                             SPC_OK);
                CHECK(found == len);
                CHECK_BYTES(frame, s.frame, len);
                CHECK_STATUS(spc_frame_parse(frame, len, &info), SPC_OK);
                CHECK_STATUS(spc_frame_start(&s.codec, kinds[f], info.coder, info.payload_len,
                                             start, info.payload_offset, &header),
                             SPC_OK);
                CHECK(header == info.payload_offset);
                CHECK_BYTES(start, frame, header);
                CHECK_STATUS(spc_encode_indices(&s.codec, coder, kinds[f], indices, frame,
                                                bound - 1, &found, work, need),
                             SPC_ERROR_CAPACITY);
                if (need > 0) {
                    CHECK_STATUS(spc_encode_indices(&s.codec, coder, kinds[f], indices, frame,
                                                    bound, &found, work, need - 1),
                                 SPC_ERROR_WORK);
                }
                if (n > 0 && bits < 8) {
                    indices[n - 1] = (uint8_t)(1u << bits);
                    CHECK_STATUS(spc_encode_indices(&s.codec, coder, kinds[f], indices, frame,
                                                    bound, &found, work, need),
                                 SPC_ERROR_ARGUMENT);
                }
                free(indices);
                free(frame);
                free(work);
                free(start);
            }
            drop(&s);
        }
    }
}

/* ------------------------------------------------------------------ wrong arguments */

static void arguments(void) {
    static const size_t beyond[][2] = {{SIZE_MAX, 1}, {1, SIZE_MAX}, {SIZE_MAX, SIZE_MAX},
                                       {1022, 0},     {1022, 1},     {1021, 1},
                                       {0, 1022},     {8, 1014},     {SIZE_MAX - 7, 8}};
    const spc_coder no_coder = (spc_coder)77;
    const spc_frame_kind no_kind = (spc_frame_kind)2;
    uint8_t out[1100], indices[most_elements] = {0};
    size_t len = 0, header = 0;
    spc_codec wrong;
    setup s;
    make(&s, 6, 3, SPC_INT8); /* 1,021 elements */
    CHECK_STATUS(spc_codec_quantize_part(&s.codec, 1021, NULL, 0, NULL), SPC_OK);
    CHECK_STATUS(spc_codec_quantize_part(&s.codec, 1020, s.feature, 1, out), SPC_OK);
    CHECK_STATUS(spc_codec_quantize_pack_part(&s.codec, 1016, s.feature, 5, out), SPC_OK);
    CHECK_STATUS(spc_codec_quantize_pack_part(&s.codec, 1016, NULL, 0, NULL), SPC_OK);
    for (size_t i = 0; i < COUNT(beyond); i++) {
        check_at.shift = i;
        CHECK_STATUS(spc_codec_quantize_part(&s.codec, beyond[i][0], s.feature, beyond[i][1], out),
                     SPC_ERROR_ARGUMENT);
        CHECK_STATUS(
            spc_codec_quantize_pack_part(&s.codec, beyond[i][0], s.feature, beyond[i][1], out),
            SPC_ERROR_ARGUMENT);
    }
    CHECK_STATUS(spc_codec_quantize_part(NULL, 0, s.feature, 1, out), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_codec_quantize_part(&s.codec, 0, NULL, 1, out), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_codec_quantize_part(&s.codec, 0, s.feature, 1, NULL), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_codec_quantize_pack_part(NULL, 0, s.feature, 8, out), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_codec_quantize_pack_part(&s.codec, 0, NULL, 8, out), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_codec_quantize_pack_part(&s.codec, 0, s.feature, 8, NULL), SPC_ERROR_ARGUMENT);
    for (size_t i = 1; i < 8; i++) { /* neither a byte's start nor its end */
        CHECK_STATUS(spc_codec_quantize_pack_part(&s.codec, i, s.feature, 8, out),
                     SPC_ERROR_ARGUMENT);
        CHECK_STATUS(spc_codec_quantize_pack_part(&s.codec, 8, s.feature, i, out),
                     SPC_ERROR_ARGUMENT);
    }
    wrong = s.codec;
    wrong.dtype = (spc_dtype)9;
    CHECK_STATUS(spc_codec_quantize_part(&wrong, 0, s.feature, 8, out), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_codec_quantize_pack_part(&wrong, 0, s.feature, 8, out), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_frame_start(&wrong, SPC_FRAME_COMPACT, SPC_CODER_PACK, 1, out, 6, &header),
                 SPC_ERROR_ARGUMENT);

    CHECK_STATUS(spc_frame_start(NULL, SPC_FRAME_COMPACT, SPC_CODER_PACK, 1, out, 6, &header),
                 SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_frame_start(&s.codec, no_kind, SPC_CODER_PACK, 1, out, 6, &header),
                 SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_frame_start(&s.codec, SPC_FRAME_COMPACT, no_coder, 1, out, 6, &header),
                 SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_frame_start(&s.codec, SPC_FRAME_COMPACT, SPC_CODER_PACK, 1, NULL, 6, &header),
                 SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_frame_start(&s.codec, SPC_FRAME_COMPACT, SPC_CODER_PACK, 1, out, 6, NULL),
                 SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_frame_start(&s.codec, SPC_FRAME_COMPACT, SPC_CODER_PACK,
                                 spc_packed_size(1021, 3) + 1, out, 6, &header),
                 SPC_ERROR_ARGUMENT);
    for (size_t i = 0; i < COUNT(kinds); i++) {
        size_t least = spc_frame_bound(&s.codec, kinds[i]) - spc_packed_size(1021, 3) - checksum;
        CHECK_STATUS(
            spc_frame_start(&s.codec, kinds[i], SPC_CODER_PACK, 1, out, least - 1, &header),
            SPC_ERROR_CAPACITY);
    }
    CHECK(header == 0);

    CHECK_STATUS(spc_encode_indices(NULL, SPC_CODER_PACK, SPC_FRAME_COMPACT, indices, out,
                                    sizeof out, &len, NULL, 0),
                 SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_encode_indices(&s.codec, no_coder, SPC_FRAME_COMPACT, indices, out, sizeof out,
                                    &len, NULL, 0),
                 SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_encode_indices(&s.codec, SPC_CODER_PACK, no_kind, indices, out, sizeof out,
                                    &len, NULL, 0),
                 SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_encode_indices(&s.codec, SPC_CODER_PACK, SPC_FRAME_COMPACT, NULL, out,
                                    sizeof out, &len, NULL, 0),
                 SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_encode_indices(&s.codec, SPC_CODER_PACK, SPC_FRAME_COMPACT, indices, NULL,
                                    sizeof out, &len, NULL, 0),
                 SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_encode_indices(&s.codec, SPC_CODER_PACK, SPC_FRAME_COMPACT, indices, out,
                                    sizeof out, NULL, NULL, 0),
                 SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_encode_indices(&s.codec, SPC_CODER_CONTEXT, SPC_FRAME_COMPACT, indices, out,
                                    sizeof out, &len, NULL, 0),
                 SPC_ERROR_MODEL);
    CHECK(len == 0);
    CHECK(spc_encode_indices_work_size(NULL, SPC_CODER_LZMA) == 0);
    drop(&s);
}

static const check_case cases[] = {
    {"tiles", tiles},
    {"from_indices", from_indices},
    {"arguments", arguments},
};
CHECK_MAIN(cases, NULL)
