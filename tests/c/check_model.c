/* Coders' models as far as all coders share them: the header, codecs that have one, frames. */
#include <stdlib.h>
#include <string.h>

#include "check.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* "SPM", version, coder, bits, channels, body, checksum. */
enum { header = 8, checksum = 4, longest = 300 };

static size_t model_bytes(uint8_t *out, uint8_t coder, uint8_t bits, uint32_t channels,
                          size_t body) {
    const size_t end = header + body;
    uint32_t crc;
    memcpy(out, "SPM\1", 4);
    out[4] = coder;
    out[5] = bits;
    out[6] = (uint8_t)channels;
    out[7] = (uint8_t)(channels >> 8);
    check_fill(out + header, body);
    crc = spc_crc32c(0, out, end);
    for (size_t i = 0; i < checksum; i++) {
        out[end + i] = (uint8_t)(crc >> 8 * i);
    }
    return end + checksum;
}

/* What a header that is right gives: the body is the coder's own affair. */
static int says_of_body(spc_status status, spc_coder coder) {
    return spc_coder_available(coder) ? status == SPC_OK || status == SPC_ERROR_MODEL
                                      : status == SPC_ERROR_CODER;
}

static void refusals(void) {
    static const uint8_t bits[] = {0, 9, 255}, unknown[] = {5, 6, 127, 128, 255};
    uint8_t bytes[longest];
    spc_model model;
    size_t len;
    check_seed(1);
    len = model_bytes(bytes, SPC_CODER_CONTEXT, 2, 3, 40);
    CHECK_STATUS(spc_model_init(NULL, bytes, len), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_model_init(&model, NULL, len), SPC_ERROR_ARGUMENT);
    CHECK(says_of_body(spc_model_init(&model, bytes, len), SPC_CODER_CONTEXT));
    for (size_t bit = 0; bit < 8 * len; bit++) {
        check_at.shift = bit;
        bytes[bit / 8] = (uint8_t)(bytes[bit / 8] ^ 1u << bit % 8);
        CHECK_STATUS(spc_model_init(&model, bytes, len), SPC_ERROR_MODEL);
        bytes[bit / 8] = (uint8_t)(bytes[bit / 8] ^ 1u << bit % 8);
    }
    for (size_t cut = 0; cut < len; cut++) {
        check_guard guard = check_guard_new(len);
        uint8_t *at = check_rear(guard, cut, 0);
        memcpy(at, bytes, cut);
        check_at.n = cut;
        CHECK_STATUS(spc_model_init(&model, at, cut), SPC_ERROR_MODEL);
        check_guard_free(guard);
    }
    for (size_t i = 0; i < 4; i++) { /* another magic or version, checksum right */
        uint8_t changed[longest];
        uint32_t crc;
        memcpy(changed, bytes, len);
        changed[i] ^= 0x20;
        crc = spc_crc32c(0, changed, len - checksum);
        for (size_t k = 0; k < checksum; k++) {
            changed[len - checksum + k] = (uint8_t)(crc >> 8 * k);
        }
        CHECK_STATUS(spc_model_init(&model, changed, len), SPC_ERROR_MODEL);
    }
    for (size_t i = 0; i < COUNT(bits); i++) {
        len = model_bytes(bytes, SPC_CODER_CONTEXT, bits[i], 3, 40);
        CHECK_STATUS(spc_model_init(&model, bytes, len), SPC_ERROR_MODEL);
    }
    len = model_bytes(bytes, SPC_CODER_CONTEXT, 2, 0, 40);
    CHECK_STATUS(spc_model_init(&model, bytes, len), SPC_ERROR_MODEL);
    for (size_t i = 0; i < COUNT(unknown); i++) {
        len = model_bytes(bytes, unknown[i], 2, 3, 40);
        CHECK_STATUS(spc_model_init(&model, bytes, len), SPC_ERROR_MODEL);
    }
}

static void coders(void) {
    uint8_t bytes[longest];
    spc_model model;
    size_t len;
    check_seed(2);
    len = model_bytes(bytes, SPC_CODER_PACK, 2, 3, 40);
    CHECK_STATUS(spc_model_init(&model, bytes, len), SPC_ERROR_MODEL); /* it takes none */
    len = model_bytes(bytes, SPC_CODER_LZMA, 2, 3, 40);
    CHECK_STATUS(spc_model_init(&model, bytes, len),
                 spc_coder_available(SPC_CODER_LZMA) ? SPC_ERROR_MODEL : SPC_ERROR_CODER);
    for (uint8_t coder = SPC_CODER_RANGE; coder <= SPC_CODER_CONTEXT; coder++) {
        check_at.what = spc_coder_name((spc_coder)coder);
        for (size_t body = 0; body <= longest - header - checksum; body++) {
            len = model_bytes(bytes, coder, 1 + (uint8_t)check_below(8), 1 + check_below(65535),
                              body);
            check_at.n = body;
            CHECK(says_of_body(spc_model_init(&model, bytes, len), (spc_coder)coder));
        }
    }
    check_at.what = NULL;
}

/* ------------------------------------------------------------------ codecs */

static const float centroids[4] = {0.0f, 1.0f, 2.0f, 3.0f};

typedef struct setup {
    int32_t thresholds[3];
    spc_codebook codebook;
    spc_codec codec;
    uint8_t bytes[longest];
    spc_model model;
} setup;

/* A codec of 2 bits and, apart from it, a model as one that has passed. */
static void make(setup *s, spc_shape shape, uint32_t axis, uint32_t channels) {
    CHECK_STATUS(spc_codebook_init(&s->codebook, centroids, 2, s->thresholds), SPC_OK);
    CHECK_STATUS(spc_codec_init_channels(&s->codec, &s->codebook, axis, SPC_FLOAT32, &shape),
                 SPC_OK);
    s->model.bytes = s->bytes;
    s->model.len = model_bytes(s->bytes, SPC_CODER_CONTEXT, 2, channels, 30);
    s->model.coder = SPC_CODER_CONTEXT;
    s->model.bits = 2;
    s->model.channels = channels;
}

static void arguments(void) {
    setup s;
    spc_model model;
    spc_codec codec;
    make(&s, (spc_shape){2, {3, 4}}, 0, 3);
    CHECK_STATUS(spc_codec_set_model(NULL, &s.model), SPC_ERROR_ARGUMENT);
    CHECK_STATUS(spc_codec_set_model(&s.codec, NULL), SPC_ERROR_ARGUMENT);
    model = s.model;
    model.bytes = NULL;
    CHECK_STATUS(spc_codec_set_model(&s.codec, &model), SPC_ERROR_ARGUMENT);
    codec = s.codec;
    codec.codebook.centroids = NULL;
    CHECK_STATUS(spc_codec_set_model(&codec, &s.model), SPC_ERROR_ARGUMENT);
    codec = s.codec;
    codec.dtype = (spc_dtype)9;
    CHECK_STATUS(spc_codec_set_model(&codec, &s.model), SPC_ERROR_ARGUMENT);
    model = s.model;
    model.bits = 3;
    CHECK_STATUS(spc_codec_set_model(&s.codec, &model), SPC_ERROR_MODEL);
    model = s.model;
    model.channels = 4;
    codec = s.codec;
    CHECK_STATUS(spc_codec_set_model(&s.codec, &model), SPC_ERROR_MODEL);
    CHECK(s.codec.id == codec.id && s.codec.model.len == 0);
    CHECK_STATUS(spc_codec_set_model(&s.codec, &s.model), SPC_OK);
    CHECK(s.codec.id != codec.id && s.codec.model.bytes == s.bytes);
}

/* Channels as coders see them. */
static void channels(void) {
    static const struct {
        spc_shape shape;
        uint32_t axis, channels; /* 0: no model fits */
    } views[] = {
        {{0, {0}}, SPC_NO_AXIS, 1},
        {{1, {5}}, SPC_NO_AXIS, 1},
        {{1, {5}}, 0, 5},
        {{2, {5, 6}}, SPC_NO_AXIS, 1},
        {{2, {5, 6}}, 0, 5},
        {{2, {5, 6}}, 1, 6},
        {{3, {5, 6, 7}}, SPC_NO_AXIS, 5},
        {{3, {5, 6, 7}}, 1, 6},
        {{3, {5, 6, 7}}, 2, 7},
        {{8, {1, 2, 1, 2, 1, 3, 1, 2}}, SPC_NO_AXIS, 1},
        {{8, {1, 2, 1, 2, 1, 3, 1, 2}}, 5, 3},
        {{3, {5, 0, 7}}, SPC_NO_AXIS, 0},
        {{3, {5, 0, 7}}, 0, 0},
    };
    for (size_t i = 0; i < COUNT(views); i++) {
        check_seed(i);
        for (uint32_t count = 1; count <= 8; count++) {
            setup s;
            make(&s, views[i].shape, views[i].axis, count);
            check_at.n = s.codec.n;
            check_at.shift = count;
            CHECK_STATUS(spc_codec_set_model(&s.codec, &s.model),
                         count == views[i].channels ? SPC_OK : SPC_ERROR_MODEL);
        }
    }
}

/* Coders that a model is not for do without it. */
static void other_coders(void) {
    const spc_coder others[] = {SPC_CODER_PACK, SPC_CODER_LZMA};
    spc_symbols symbols = {{3, {2, 8, 8}}, SPC_NO_AXIS, 2, NULL};
    uint8_t indices[128] = {0}, back[128], with[32], without[32];
    setup s;
    check_seed(3);
    make(&s, symbols.shape, SPC_NO_AXIS, 2);
    s.model.bits = 7; /* nor do they look at it */
    for (size_t i = 0; i < COUNT(others); i++) {
        size_t len, other_len, need, room;
        spc_coder used;
        uint8_t *work;
        if (!spc_coder_available(others[i])) {
            continue;
        }
        symbols.model = NULL;
        need = spc_coder_encode_work_size(others[i], &symbols);
        room = spc_coder_decode_work_size(others[i], &symbols);
        work = malloc(need + room + 1);
        CHECK_STATUS(spc_coder_encode(others[i], &symbols, indices, without, sizeof without,
                                      &other_len, &used, work, need),
                     SPC_OK);
        symbols.model = &s.model;
        CHECK(spc_coder_encode_work_size(others[i], &symbols) == need);
        CHECK(spc_coder_decode_work_size(others[i], &symbols) == room);
        CHECK_STATUS(spc_coder_encode(others[i], &symbols, indices, with, sizeof with, &len, &used,
                                      work, need),
                     SPC_OK);
        CHECK(used == others[i] && len == other_len);
        CHECK_BYTES(with, without, len);
        CHECK_STATUS(spc_coder_decode(used, &symbols, with, len, back, work, room), SPC_OK);
        CHECK_BYTES(back, indices, sizeof back);
        free(work);
    }
    symbols.axis = 3;
    CHECK(spc_coder_bound(SPC_CODER_PACK, &symbols) == 0);
    CHECK_STATUS(spc_coder_decode(SPC_CODER_PACK, &symbols, with, 32, back, NULL, 0),
                 SPC_ERROR_ARGUMENT);
}

/* ------------------------------------------------------------------ frames */

static void frames(void) {
    static const uint32_t axes[] = {SPC_NO_AXIS, 0, 1};
    for (size_t k = 0; k < COUNT(axes); k++) {
        const int has_axis = axes[k] != SPC_NO_AXIS;
        const size_t model_at = (has_axis ? 24 : 20) + 16 + 4;
        const float feature[6] = {0, 1, 2, 3, 2, 1};
        float restored[6], found[4];
        int32_t thresholds[3];
        uint8_t frame[longest + 100];
        spc_frame_info info;
        spc_codec plain, read;
        spc_status status;
        size_t len, bound;
        uint32_t crc;
        setup s;
        check_seed(k);
        check_at.shift = k;
        make(&s, (spc_shape){2, {2, 3}}, axes[k], has_axis ? 2 + (uint32_t)axes[k] : 1);
        plain = s.codec;
        CHECK_STATUS(spc_codec_set_model(&s.codec, &s.model), SPC_OK);
        bound = spc_frame_bound(&s.codec, SPC_FRAME_SELF_DESCRIBING);
        CHECK(bound == spc_frame_bound(&plain, SPC_FRAME_SELF_DESCRIBING) + 4 + s.model.len);
        CHECK(spc_frame_bound(&s.codec, SPC_FRAME_COMPACT) ==
              spc_frame_bound(&plain, SPC_FRAME_COMPACT));
        CHECK_STATUS(spc_encode(&s.codec, SPC_CODER_PACK, SPC_FRAME_SELF_DESCRIBING, feature, frame,
                                bound, &len, NULL, 0),
                     SPC_OK);
        CHECK(len == bound);
        CHECK(frame[8 + 3] == (0x80u | (has_axis ? axes[k] + 1 : 0)));
        CHECK(frame[model_at - 4] == s.model.len && frame[model_at - 3] == 0);
        CHECK_BYTES(frame + model_at, s.bytes, s.model.len);
        CHECK_STATUS(spc_frame_parse(frame, len, &info), SPC_OK);
        CHECK(info.model_len == s.model.len && info.codec_id == s.codec.id);
        CHECK(info.axis == axes[k] && info.groups == 1 && info.payload_len == 2);
        CHECK_STATUS(spc_decode(&s.codec, frame, len, restored, sizeof restored, NULL, 0), SPC_OK);
        CHECK_BYTES(restored, feature, sizeof feature);
        CHECK_STATUS(spc_decode(&plain, frame, len, restored, sizeof restored, NULL, 0),
                     SPC_ERROR_MISMATCH);
        status = spc_codec_from_frame(&read, frame, len, 6, found, thresholds, 4);
        CHECK(says_of_body(status == SPC_ERROR_CORRUPT ? SPC_ERROR_MODEL : status,
                           SPC_CODER_CONTEXT));
        CHECK(status != SPC_OK || read.id == s.codec.id);
        frame[model_at] ^= 1;
        crc = spc_crc32c(0, frame, len - 4);
        for (size_t i = 0; i < 4; i++) {
            frame[len - 4 + i] = (uint8_t)(crc >> 8 * i);
        }
        CHECK_STATUS(spc_frame_parse(frame, len, &info), SPC_OK);
        CHECK_STATUS(spc_codec_from_frame(&read, frame, len, 5, found, thresholds, 4),
                     SPC_ERROR_LIMIT);
        CHECK_STATUS(spc_codec_from_frame(&read, frame, len, 6, found, thresholds, 4),
                     SPC_ERROR_CORRUPT);
        CHECK_STATUS(spc_encode(&s.codec, SPC_CODER_PACK, SPC_FRAME_COMPACT, feature, frame, 12,
                                &len, NULL, 0),
                     SPC_OK);
        CHECK_STATUS(spc_frame_parse(frame, len, &info), SPC_OK);
        CHECK(info.model_len == 0 && info.codec_id == s.codec.id);
    }
}

static const check_case cases[] = {
    {"refusals", refusals},         {"coders", coders},
    {"arguments", arguments},       {"channels", channels},
    {"other_coders", other_coders}, {"frames", frames},
};
CHECK_MAIN(cases, NULL)
