/*
 * Whole frames, from bytes that claim to be one.
 *
 *     byte 0    0x01: put the length right, 0x02: the checksum, 0x04: a compact frame's codec id;
 *               0x08: the checksum of a model in the frame; kernels in bits 4 and 5; the codec of
 *               compact frames in bits 6 and 7
 *     rest      the frame
 *
 * Without its help a fuzzer would not get beyond the checksum.
 */
#include <string.h>

#include "fuzz.h"

#define PUT_LENGTH 1u
#define PUT_CHECKSUM 2u
#define PUT_CODEC_ID 4u
#define PUT_MODEL 8u

#define MOST_BYTES 4096
#define MOST_ELEMENTS 1024

static fuzz_room frame_room, feature_room, work_room;
static fuzz_room centroid_room, threshold_room, other_frame, other_feature;

static void store(uint8_t *at, uint32_t value) {
    for (uint32_t i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> (8 * i));
    }
}

/* ------------------------------------------------------------------ the codecs of compact frames
 */

typedef struct known_codec {
    spc_codec codec;
    float centroids[16];
    int32_t thresholds[16];
} known_codec;

static void make(known_codec *made, uint32_t bits, uint32_t groups, uint32_t axis, spc_dtype dtype,
                 const spc_shape *shape) {
    spc_codebook codebook;
    for (uint32_t i = 0; i < groups << bits; i++) {
        made->centroids[i] = (float)i;
    }
    REQUIRE(spc_codebook_init_groups(&codebook, made->centroids, bits, groups, made->thresholds) ==
            SPC_OK);
    REQUIRE(spc_codec_init_channels(&made->codec, &codebook, axis, dtype, shape) == SPC_OK);
}

static void give_model(known_codec *made, fuzz_room *room, spc_coder coder) {
    const spc_codec *codec = &made->codec;
    spc_model model;
    REQUIRE(fuzz_make_model(room, coder, codec->codebook.bits,
                            fuzz_channels(&codec->shape, codec->axis), 1, &model));
    REQUIRE(spc_codec_set_model(&made->codec, &model) == SPC_OK);
}

static const spc_codec *known(uint32_t which) {
    static known_codec codecs[4];
    static fuzz_room models[3];
    static int made;
    if (!made) {
        make(&codecs[0], 1, 1, SPC_NO_AXIS, SPC_FLOAT32, &(spc_shape){2, {16, 16}});
        give_model(&codecs[0], &models[0], SPC_CODER_CONTEXT);
        make(&codecs[1], 2, 4, 2, SPC_UINT8, &(spc_shape){3, {5, 5, 4}});
        give_model(&codecs[1], &models[1], SPC_CODER_CONTEXT);
        make(&codecs[2], 3, 1, 0, SPC_BFLOAT16, &(spc_shape){1, {301}});
        make(&codecs[3], 4, 1, SPC_NO_AXIS, SPC_FLOAT32, &(spc_shape){2, {2, 12}});
        give_model(&codecs[3], &models[2], SPC_CODER_RANS);
        made = 1;
    }
    return &codecs[which & 3].codec;
}

/* ------------------------------------------------------------------ decoding */

/* Float features hold the centroids themselves, so they give the same indices again. */
static void check_again(const spc_codec *codec, const spc_frame_info *info, const uint8_t *frame,
                        size_t frame_len, const void *feature) {
    size_t bound = spc_frame_bound(codec, info->kind), len = 0, size = spc_feature_size(codec);
    size_t work_len = spc_encode_work_size(codec, info->coder);
    uint8_t *again = fuzz_rear(&other_frame, bound);
    void *back = fuzz_rear(&other_feature, size);
    spc_frame_info made;
    REQUIRE(spc_encode(codec, info->coder, info->kind, feature, again, bound, &len,
                       fuzz_rear(&work_room, work_len), work_len) == SPC_OK);
    REQUIRE(len <= bound);
    if (info->coder == SPC_CODER_PACK) {
        REQUIRE(len == frame_len && memcmp(again, frame, len) == 0);
    }
    REQUIRE(spc_frame_parse(again, len, &made) == SPC_OK);
    REQUIRE(fuzz_may_use(info->coder, made.coder));
    work_len = spc_decode_work_size(codec, made.coder);
    REQUIRE(spc_decode(codec, again, len, back, size,
                       fuzz_decode_work(&work_room, work_len, made.coder), work_len) == SPC_OK);
    REQUIRE(size == 0 || memcmp(back, feature, size) == 0);
}

static void check_decode(const spc_codec *codec, const spc_frame_info *info, const uint8_t *frame,
                         size_t frame_len) {
    size_t size = spc_feature_size(codec), work_len = spc_decode_work_size(codec, info->coder);
    void *feature = fuzz_rear(&feature_room, size);
    void *work = fuzz_decode_work(&work_room, work_len, info->coder);
    spc_status status = spc_decode(codec, frame, frame_len, feature, size, work, work_len);
    fuzz_check_front(&feature_room);
    fuzz_check_front(&work_room);
    if (info->codec_id != codec->id) {
        REQUIRE(status == SPC_ERROR_MISMATCH);
    } else if (!spc_coder_available(info->coder)) {
        REQUIRE(status == SPC_ERROR_CODER);
    } else {
        REQUIRE(status == SPC_OK || status == SPC_ERROR_CORRUPT);
        REQUIRE(size == 0 || spc_decode(codec, frame, frame_len, feature, size - 1, work,
                                        work_len) == SPC_ERROR_CAPACITY);
    }
    if (status == SPC_OK && codec->dtype == SPC_FLOAT32) {
        check_again(codec, info, frame, frame_len, feature);
    }
}

static void check_self_describing(const spc_frame_info *info, const uint8_t *frame,
                                  size_t frame_len) {
    size_t count = (size_t)info->groups << info->bits;
    float *centroids;
    int32_t *thresholds;
    spc_codec codec;
    spc_status status;
    REQUIRE(info->groups >= 1 && info->bits >= 1 && info->bits <= 8 && count <= frame_len / 4);
    REQUIRE(info->axis == SPC_NO_AXIS ? info->groups == 1 : info->axis < info->shape.rank);
    REQUIRE(info->model_len < frame_len);
    centroids = fuzz_rear(&centroid_room, count * sizeof *centroids);
    thresholds = fuzz_rear(&threshold_room, count * sizeof *thresholds);
    status = spc_codec_from_frame(&codec, frame, frame_len, MOST_ELEMENTS, centroids, thresholds,
                                  count - 1);
    REQUIRE(status == (info->n > MOST_ELEMENTS ? SPC_ERROR_LIMIT : SPC_ERROR_CAPACITY));
    status =
        spc_codec_from_frame(&codec, frame, frame_len, MOST_ELEMENTS, centroids, thresholds, count);
    fuzz_check_front(&centroid_room);
    fuzz_check_front(&threshold_room);
    if (info->n > MOST_ELEMENTS) {
        REQUIRE(status == SPC_ERROR_LIMIT);
        return;
    }
    REQUIRE(status == SPC_OK || status == SPC_ERROR_CORRUPT ||
            (status == SPC_ERROR_CODER && info->model_len > 0));
    if (status == SPC_OK) {
        REQUIRE(codec.id == info->codec_id && codec.n == info->n && codec.axis == info->axis);
        REQUIRE(codec.model.len == info->model_len);
        check_decode(&codec, info, frame, frame_len);
    }
}

static void put_checksum(uint8_t *bytes, size_t len) {
    if (len >= 4) {
        store(bytes + len - 4, spc_crc32c(0, bytes, len - 4));
    }
}

/* The model ends where the coder is named, a byte before the payload. */
static void put_model_checksum(uint8_t *frame, size_t len) {
    spc_frame_info info;
    if (spc_frame_parse(frame, len, &info) == SPC_OK && info.model_len > 0) {
        put_checksum(frame + info.payload_offset - 1 - info.model_len, info.model_len);
        put_checksum(frame, len);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input in = {data, size};
    uint32_t head = fuzz_byte(&in);
    const spc_codec *codec = known(head >> 6);
    size_t len = in.left < MOST_BYTES ? in.left : MOST_BYTES, said = 0;
    uint8_t *frame = fuzz_copy(&frame_room, in.at, len);
    spc_frame_info info;
    spc_status status;
    fuzz_use_kernels(head >> 4);
    if ((head & PUT_LENGTH) && len >= 8 && frame[0] == 'S') {
        store(frame + 4, (uint32_t)len);
    }
    if ((head & PUT_CODEC_ID) && len >= 6 && frame[0] != 'S') {
        store(frame + 2, codec->id);
    }
    if (head & PUT_CHECKSUM) {
        put_checksum(frame, len);
    }
    if (head & PUT_MODEL) {
        put_model_checksum(frame, len);
    }
    status = spc_frame_length(frame, len, &said);
    REQUIRE(status != SPC_OK || len >= 8);
    if (spc_frame_parse(frame, len, &info) != SPC_OK) {
        REQUIRE(spc_decode(codec, frame, len, fuzz_rear(&feature_room, spc_feature_size(codec)),
                           spc_feature_size(codec), NULL, 0) != SPC_OK);
        return 0;
    }
    REQUIRE(info.payload_offset + info.payload_len + 4 == len);
    if (info.kind == SPC_FRAME_SELF_DESCRIBING) {
        REQUIRE(status == SPC_OK && said == len);
        check_self_describing(&info, frame, len);
    } else {
        REQUIRE(status == SPC_ERROR_ARGUMENT && info.n == 0);
    }
    check_decode(codec, &info, frame, len);
    return 0;
}
