/*
 * A feature through quantiser, coder and frame and back, against quantise and dequantise alone.
 *
 *     byte 0    bits - 1 in bits 0 to 2; kind of frame in bit 3; kernels to encode with in bits 4
 *               and 5, to decode with in bits 6 and 7
 *     byte 1    dtype in bits 0 to 2, coder in bits 3 to 5; bit 6: the rest are indices; bit 7:
 *               before each call one with too little room, which takes its time
 *     shape     as fuzz_shape reads it
 *     byte      1 + axis, or 0 for none, in bits 0 to 2; channel groups wanted, less 1, above
 *     byte      0, or what makes the model: of the coder, or of coder 4 if that takes none
 *     u32, u32  where the codebooks begin and how wide they are
 *     rest      the feature's bytes, or with bit 6 the indices of its elements; then zeros
 */
#include <string.h>

#include "fuzz.h"

#define MOST_ENTRIES 256 /* of all codebooks: more take their time and show nothing new */

static fuzz_room centroid_room, threshold_room, feature_room, index_room, expected_room;
static fuzz_room model_room, frame_room, received_room, back_room, work_room;

/* ------------------------------------------------------------------ the codec */

#define KEY_MOST 0x7f7fffff /* spc_float_key of the largest float */

/* The float whose key this is; -0.0, which is no centroid, is left out. */
static float float_of_key(int64_t key) {
    uint32_t bits = key < 0 ? 0x80000000u | (uint32_t)-key : (uint32_t)key;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Ascending, at least one float apart, and otherwise of any magnitudes. */
static void fill_centroids(float *centroids, uint32_t count, uint32_t groups, int64_t start,
                           int64_t step) {
    int64_t room = KEY_MOST - step * count;
    uint32_t mix = 1;
    for (uint32_t g = 0; g < groups; g++) {
        int64_t from = (start + 3 * step * g) % room;
        for (uint32_t i = 0; i < count; i++) {
            mix = mix * 1664525u + 1013904223u;
            *centroids++ = float_of_key(from + step * i + mix % step);
        }
    }
}

static uint32_t divisor_near(uint32_t dim, uint32_t wanted) {
    uint32_t groups = wanted < dim ? wanted : dim;
    while (groups > 1 && dim % groups != 0) {
        groups--;
    }
    return groups == 0 ? 1 : groups;
}

/* A model that gets lost on the way would show in the id. */
static void give_model(spc_codec *codec, spc_coder coder, uint32_t seed) {
    const uint32_t id = codec->id, channels = fuzz_channels(&codec->shape, codec->axis);
    spc_model model;
    coder = coder < SPC_CODER_RANGE || coder > SPC_CODER_CONTEXT ? SPC_CODER_CONTEXT : coder;
    if (!fuzz_make_model(&model_room, coder, codec->codebook.bits, channels > 0 ? channels : 1,
                         seed, &model)) {
        return;
    }
    if (codec->n == 0) {
        REQUIRE(spc_codec_set_model(codec, &model) == SPC_ERROR_MODEL);
        return;
    }
    REQUIRE(spc_codec_set_model(codec, &model) == SPC_OK && codec->id != id);
}

static void make_codec(fuzz_input *in, uint32_t bits, spc_dtype dtype, spc_coder coder,
                       spc_codec *codec) {
    spc_shape shape;
    spc_codebook codebook;
    float *centroids;
    int32_t *thresholds;
    uint32_t layout, seed, axis = SPC_NO_AXIS, groups = 1, count = 1u << bits;
    int64_t start, step;
    (void)fuzz_shape(in, &shape);
    layout = fuzz_byte(in);
    seed = fuzz_byte(in);
    if (shape.rank > 0 && (layout & 7) > 0 && shape.dims[((layout & 7) - 1) % shape.rank] > 0) {
        uint32_t most = MOST_ENTRIES >> bits, wanted = 1 + (layout >> 3);
        axis = ((layout & 7) - 1) % shape.rank;
        groups = divisor_near(shape.dims[axis], wanted < most ? wanted : most);
    }
    start = (int32_t)fuzz_u32(in);
    step = 1 + fuzz_u32(in) % (KEY_MOST / count);
    centroids = fuzz_rear(&centroid_room, sizeof *centroids * groups * count);
    thresholds = fuzz_rear(&threshold_room, sizeof *thresholds * groups * (count - 1));
    fill_centroids(centroids, count, groups, start, step);
    REQUIRE(spc_codebook_init_groups(&codebook, centroids, bits, groups, thresholds) == SPC_OK);
    fuzz_check_front(&threshold_room);
    REQUIRE(spc_codec_init_channels(codec, &codebook, axis, dtype, &shape) == SPC_OK);
    if (seed > 0) {
        give_model(codec, coder, seed);
    }
}

static void *make_feature(fuzz_input *in, const spc_codec *codec, int from_indices) {
    size_t size = spc_feature_size(codec), len = size < in->left ? size : in->left;
    uint8_t *feature = fuzz_rear(&feature_room, size);
    if (!from_indices) {
        memset(feature, 0, size);
        if (len > 0) {
            memcpy(feature, in->at, len);
        }
    } else {
        uint8_t *indices = fuzz_rear(&index_room, codec->n);
        for (size_t i = 0; i < codec->n; i++) {
            indices[i] = (uint8_t)(fuzz_byte(in) & ((1u << codec->codebook.bits) - 1));
        }
        REQUIRE(spc_codec_dequantize(codec, indices, feature) == SPC_OK);
        fuzz_check_front(&feature_room);
    }
    return feature;
}

/* ------------------------------------------------------------------ there and back */

static const void *expect(const spc_codec *codec, const void *feature) {
    uint8_t *indices = fuzz_rear(&index_room, codec->n);
    void *expected = fuzz_rear(&expected_room, spc_feature_size(codec));
    REQUIRE(spc_codec_quantize(codec, feature, indices) == SPC_OK);
    fuzz_check_front(&index_room);
    for (size_t i = 0; i < codec->n; i++) {
        REQUIRE(indices[i] >> codec->codebook.bits == 0);
    }
    REQUIRE(spc_codec_dequantize(codec, indices, expected) == SPC_OK);
    fuzz_check_front(&expected_room);
    return expected;
}

/* One byte less than the bound, and than the work. */
static void check_encode_refuses(const spc_codec *codec, spc_coder coder, spc_frame_kind kind,
                                 const void *feature) {
    size_t bound = spc_frame_bound(codec, kind), len = 0;
    size_t work_len = spc_encode_work_size(codec, coder);
    uint8_t *frame = fuzz_rear(&frame_room, bound - 1);
    REQUIRE(spc_encode(codec, coder, kind, feature, frame, bound - 1, &len,
                       fuzz_rear(&work_room, work_len), work_len) == SPC_ERROR_CAPACITY);
    if (work_len > 0) {
        frame = fuzz_rear(&frame_room, bound);
        REQUIRE(spc_encode(codec, coder, kind, feature, frame, bound, &len,
                           fuzz_rear(&work_room, work_len - 1), work_len - 1) == SPC_ERROR_WORK);
    }
}

/* Leaves the frame alone in received_room. */
static size_t check_encode(const spc_codec *codec, spc_coder coder, spc_frame_kind kind,
                           const void *feature) {
    size_t bound = spc_frame_bound(codec, kind), len = 0;
    size_t work_len = spc_encode_work_size(codec, coder);
    uint8_t *frame = fuzz_rear(&frame_room, bound);
    void *work = fuzz_rear(&work_room, work_len);
    REQUIRE(spc_encode(codec, coder, kind, feature, frame, bound, &len, work, work_len) == SPC_OK);
    fuzz_check_front(&frame_room);
    fuzz_check_front(&work_room);
    REQUIRE(len <= bound);
    (void)fuzz_copy(&received_room, frame, len);
    return len;
}

static spc_frame_info check_parse(const spc_codec *codec, spc_coder coder, spc_frame_kind kind,
                                  const uint8_t *frame, size_t len) {
    size_t packed_len = spc_packed_size(codec->n, codec->codebook.bits), said = 0;
    spc_frame_info info;
    REQUIRE(spc_frame_parse(frame, len, &info) == SPC_OK);
    REQUIRE(info.kind == kind && info.codec_id == codec->id);
    REQUIRE(fuzz_may_use(coder, info.coder));
    REQUIRE(info.payload_len == packed_len ||
            (info.coder != SPC_CODER_PACK && info.payload_len < packed_len));
    if (kind == SPC_FRAME_SELF_DESCRIBING) {
        REQUIRE(info.bits == codec->codebook.bits && info.groups == codec->codebook.groups);
        REQUIRE(info.dtype == codec->dtype && info.axis == codec->axis && info.n == codec->n);
        REQUIRE(memcmp(&info.shape, &codec->shape, sizeof info.shape) == 0);
        REQUIRE(info.model_len == codec->model.len);
        REQUIRE(spc_frame_length(frame, len, &said) == SPC_OK && said == len);
    }
    return info;
}

static void check_decode_refuses(const spc_codec *codec, spc_coder coder, const uint8_t *frame,
                                 size_t len) {
    size_t size = spc_feature_size(codec), work_len = spc_decode_work_size(codec, coder);
    void *back = fuzz_rear(&back_room, size), *work;
    if (work_len > 0) {
        work = fuzz_decode_work(&work_room, work_len - 1, coder);
        REQUIRE(spc_decode(codec, frame, len, back, size, work, work_len - 1) == SPC_ERROR_WORK);
    }
    if (size > 0) {
        work = fuzz_decode_work(&work_room, work_len, coder);
        REQUIRE(spc_decode(codec, frame, len, back, size - 1, work, work_len) ==
                SPC_ERROR_CAPACITY);
    }
}

static void check_decode(const spc_codec *codec, spc_coder coder, const uint8_t *frame, size_t len,
                         const void *expected) {
    size_t size = spc_feature_size(codec), work_len = spc_decode_work_size(codec, coder);
    void *back = fuzz_rear(&back_room, size);
    void *work = fuzz_decode_work(&work_room, work_len, coder);
    REQUIRE(spc_decode(codec, frame, len, back, size, work, work_len) == SPC_OK);
    fuzz_check_front(&back_room);
    fuzz_check_front(&work_room);
    REQUIRE(size == 0 || memcmp(back, expected, size) == 0);
}

/* The codec that the frame carries is the one that made it. */
static void check_carried(const spc_codec *codec, const uint8_t *frame, size_t len) {
    size_t count = (size_t)codec->codebook.groups << codec->codebook.bits;
    float *centroids = fuzz_rear(&back_room, count * sizeof *centroids);
    int32_t *thresholds = fuzz_rear(&work_room, count * sizeof *thresholds);
    spc_codec carried;
    REQUIRE(spc_codec_from_frame(&carried, frame, len, codec->n, centroids, thresholds, count) ==
            SPC_OK);
    REQUIRE(carried.id == codec->id && carried.n == codec->n && carried.axis == codec->axis);
    REQUIRE(memcmp(centroids, codec->codebook.centroids, count * sizeof *centroids) == 0);
    REQUIRE(carried.model.len == codec->model.len);
    REQUIRE(carried.model.len == 0 ||
            memcmp(carried.model.bytes, codec->model.bytes, carried.model.len) == 0);
}

/* A coder that needs a model says so where there is none. */
static void check_lacks_model(const spc_codec *codec, spc_coder coder, spc_frame_kind kind,
                              const void *feature) {
    size_t bound = spc_frame_bound(codec, kind), len;
    size_t work_len = spc_encode_work_size(codec, coder);
    uint8_t *frame = fuzz_rear(&frame_room, bound);
    REQUIRE(spc_encode(codec, coder, kind, feature, frame, bound, &len,
                       fuzz_rear(&work_room, work_len), work_len) == SPC_ERROR_MODEL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input in = {data, size};
    uint32_t head = fuzz_byte(&in), choice = fuzz_byte(&in);
    spc_frame_kind kind = head & 8 ? SPC_FRAME_SELF_DESCRIBING : SPC_FRAME_COMPACT;
    spc_coder coder = (spc_coder)(choice >> 3 & 7);
    spc_codec codec;
    spc_frame_info info;
    const void *feature, *expected;
    const uint8_t *frame;
    size_t len;
    make_codec(&in, 1 + (head & 7), (spc_dtype)((choice & 7) % 5), coder, &codec);
    if (!spc_coder_available(coder)) {
        coder = SPC_CODER_PACK;
    }
    fuzz_use_kernels(head >> 4);
    feature = make_feature(&in, &codec, choice & 64);
    expected = expect(&codec, feature);
    if (codec.n > 0 && fuzz_needs_model(coder) &&
        !(codec.model.len > 0 && codec.model.coder == coder)) {
        check_lacks_model(&codec, coder, kind, feature);
        coder = SPC_CODER_PACK;
    }
    if (choice & 128) {
        check_encode_refuses(&codec, coder, kind, feature);
    }
    len = check_encode(&codec, coder, kind, feature);
    frame = received_room.end - len;
    fuzz_use_kernels(head >> 6);
    info = check_parse(&codec, coder, kind, frame, len);
    if (choice & 128) {
        check_decode_refuses(&codec, info.coder, frame, len);
    }
    check_decode(&codec, info.coder, frame, len, expected);
    if (kind == SPC_FRAME_SELF_DESCRIBING) {
        check_carried(&codec, frame, len);
    }
    return 0;
}
