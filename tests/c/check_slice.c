/* Slices: codecs of some channels of a larger feature, and what their frames say of it. */
#include <string.h>

#include "check.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const float centroids[4] = {0.0f, 1.0f, 2.0f, 3.0f};
static int32_t thresholds[3];

static spc_codec make(spc_shape shape, uint32_t axis) {
    static spc_codebook codebook;
    spc_codec codec;
    CHECK_STATUS(spc_codebook_init(&codebook, centroids, 2, thresholds), SPC_OK);
    CHECK_STATUS(spc_codec_init_channels(&codec, &codebook, axis, SPC_FLOAT32, &shape), SPC_OK);
    return codec;
}

static void arguments(void) {
    const spc_codec plain = make((spc_shape){2, {2, 3}}, 0);
    const spc_codec no_axis = make((spc_shape){2, {2, 3}}, SPC_NO_AXIS);
    static const uint32_t wrong[][2] = {
        {0, 0},
        {0, 1},
        {0, 2},
        {1, 2},
        {5, 6},
        {6, 6},
        {0xffffffff, 6},
        {0xfffffffe, 6},
        {0xffffffff, 1},
        {0xfffffffe, 10},
        {0xffffffff, 0xffffffff},
    };
    spc_codec codec = no_axis;
    CHECK_STATUS(spc_codec_set_slice(NULL, 0, 3), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_codec_set_slice(&codec, 0, 3), SPC_ERROR_ARGUMENT);
    CHECK(codec.id == no_axis.id);
    codec = plain;
    CHECK(codec.slice_first == 0 && codec.slice_whole == 0);
    codec.codebook.centroids = NULL;
    CHECK_STATUS(spc_codec_set_slice(&codec, 0, 3), SPC_ERROR_ARGUMENT);
    codec = plain;
    codec.dtype = (spc_dtype)9;
    CHECK_STATUS(spc_codec_set_slice(&codec, 0, 3), SPC_ERROR_ARGUMENT);
    for (size_t i = 0; i < COUNT(wrong); i++) {
        codec = plain;
        check_at.shift = i;
        CHECK_STATUS(spc_codec_set_slice(&codec, wrong[i][0], wrong[i][1]), SPC_ERROR_ARGUMENT);
        CHECK(codec.id == plain.id && codec.slice_whole == 0);
    }
    /* the whole is a feature too: 3 elements to a channel */
    codec = plain;
    CHECK_STATUS(spc_codec_set_slice(&codec, 0, SPC_MAX_ELEMENTS / 3), SPC_OK);
    CHECK_STATUS(spc_codec_set_slice(&codec, 0, SPC_MAX_ELEMENTS / 3 + 1), SPC_ERROR_LIMIT);
    CHECK_STATUS(spc_codec_set_slice(&codec, 0, 0xffffffff), SPC_ERROR_LIMIT);
    codec = make((spc_shape){2, {2, 0}}, 0);
    CHECK_STATUS(spc_codec_set_slice(&codec, 2, 4), SPC_OK);
    CHECK_STATUS(spc_codec_set_slice(&codec, 2, SPC_MAX_ELEMENTS + 1), SPC_ERROR_LIMIT);
}

/* Every place of every small feature has its own id, and the frame of no slice keeps its own. */
static void ids(void) {
    enum { most = 9 };
    uint32_t seen[most * most];
    size_t count = 0;
    const spc_codec plain = make((spc_shape){2, {2, 3}}, 0);
    seen[count++] = plain.id;
    for (uint32_t whole = 3; whole <= most; whole++) {
        for (uint32_t first = 0; first + 2 <= whole; first++) {
            spc_codec codec = plain;
            CHECK_STATUS(spc_codec_set_slice(&codec, first, whole), SPC_OK);
            CHECK(codec.slice_first == first && codec.slice_whole == whole);
            for (size_t i = 0; i < count; i++) {
                CHECK(seen[i] != codec.id);
            }
            seen[count++] = codec.id;
        }
    }
}

static void frames(void) {
    for (uint32_t axis = 0; axis < 2; axis++) {
        const spc_codec plain = make((spc_shape){2, {2, 3}}, axis);
        const float feature[6] = {0, 1, 2, 3, 2, 1};
        float restored[6], found[4];
        int32_t between[3];
        uint8_t frame[100], other[100];
        spc_codec codec = plain, read;
        spc_frame_info info;
        size_t len, other_len, bound;
        check_at.shift = axis;
        CHECK_STATUS(spc_codec_set_slice(&codec, 300, 70000), SPC_OK);
        bound = spc_frame_bound(&codec, SPC_FRAME_SELF_DESCRIBING);
        CHECK(bound == spc_frame_bound(&plain, SPC_FRAME_SELF_DESCRIBING) + 8);
        CHECK_STATUS(spc_encode(&codec, SPC_CODER_PACK, SPC_FRAME_SELF_DESCRIBING, feature, frame,
                                bound, &len, NULL, 0),
                     SPC_OK);
        CHECK(len == bound && frame[8 + 3] == (0x40u | (axis + 1)));
        CHECK_BYTES(frame + 24, ((const uint8_t[8]){0x2c, 1, 0, 0, 0x70, 0x11, 1, 0}), 8);
        CHECK_STATUS(spc_encode(&plain, SPC_CODER_PACK, SPC_FRAME_SELF_DESCRIBING, feature, other,
                                sizeof other, &other_len, NULL, 0),
                     SPC_OK);
        CHECK_BYTES(frame + len - 4 - 3, other + other_len - 4 - 3, 3); /* coder and payload */
        CHECK_STATUS(spc_frame_parse(frame, len, &info), SPC_OK);
        CHECK(info.slice_first == 300 && info.slice_whole == 70000 && info.axis == axis);
        CHECK(info.codec_id == codec.id && info.n == 6);
        CHECK_STATUS(spc_codec_from_frame(&read, frame, len, 6, found, between, 4), SPC_OK);
        CHECK(read.id == codec.id && read.slice_first == 300 && read.slice_whole == 70000);
        CHECK_STATUS(spc_decode(&read, frame, len, restored, sizeof restored, NULL, 0), SPC_OK);
        CHECK_BYTES(restored, feature, sizeof feature);
        CHECK_STATUS(spc_decode(&plain, frame, len, restored, sizeof restored, NULL, 0),
                     SPC_ERROR_MISMATCH);
        CHECK_STATUS(spc_decode(&codec, other, other_len, restored, sizeof restored, NULL, 0),
                     SPC_ERROR_MISMATCH);
        CHECK_STATUS(spc_frame_parse(other, other_len, &info), SPC_OK);
        CHECK(info.slice_first == 0 && info.slice_whole == 0);
        CHECK_STATUS(spc_encode(&codec, SPC_CODER_PACK, SPC_FRAME_COMPACT, feature, frame,
                                sizeof frame, &len, NULL, 0),
                     SPC_OK);
        CHECK(len == 12);
        CHECK_STATUS(spc_frame_parse(frame, len, &info), SPC_OK);
        CHECK(info.slice_whole == 0 && info.codec_id == codec.id);
        CHECK_STATUS(spc_decode(&codec, frame, len, restored, sizeof restored, NULL, 0), SPC_OK);
        CHECK_BYTES(restored, feature, sizeof feature);
    }
}

/* Cut anywhere, with length and checksum put right: nothing beyond the frame is read. */
static void cuts(void) {
    const float feature[6] = {0, 1, 2, 3, 2, 1};
    uint8_t frame[100];
    spc_codec codec = make((spc_shape){2, {2, 3}}, 0);
    spc_frame_info info;
    size_t len;
    CHECK_STATUS(spc_codec_set_slice(&codec, 1, 4), SPC_OK);
    CHECK_STATUS(spc_encode(&codec, SPC_CODER_PACK, SPC_FRAME_SELF_DESCRIBING, feature, frame,
                            sizeof frame, &len, NULL, 0),
                 SPC_OK);
    for (size_t cut = 16; cut < len; cut++) {
        check_guard guard = check_guard_new(cut);
        uint8_t *at = check_rear(guard, cut, 0);
        uint32_t crc;
        memcpy(at, frame, cut);
        at[4] = (uint8_t)cut;
        crc = spc_crc32c(0, at, cut - 4);
        for (size_t i = 0; i < 4; i++) {
            at[cut - 4 + i] = (uint8_t)(crc >> 8 * i);
        }
        check_at.n = cut;
        /* coder and payload are 3 bytes: less payload is the decoder's affair */
        CHECK_STATUS(spc_frame_parse(at, cut, &info), cut + 2 < len ? SPC_ERROR_CORRUPT : SPC_OK);
        check_guard_free(guard);
    }
}

static const check_case cases[] = {
    {"arguments", arguments}, {"ids", ids}, {"frames", frames}, {"cuts", cuts}};
CHECK_MAIN(cases, NULL)
