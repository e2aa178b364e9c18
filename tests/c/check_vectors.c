/*
 * The golden vectors, on whatever machine this runs: check_vectors FIXTURE
 *
 * tests/c/builds.py writes the fixture from tests/vectors/: one vector per line, words
 * separated by one space, an empty word written as "-".  Floats, indices and bytes are hexadecimal;
 * floats are the digits of their 32 or 16 bits, most significant first.
 *
 *     codebook NAME BITS CENTROIDS THRESHOLDS FLOAT16 BFLOAT16 INT8 UINT8
 *     quantize CODEBOOK DTYPE VALUES INDICES
 *     frame NAME CODEBOOKS DTYPE SHAPE MODEL CODER FEATURE INDICES FRAME
 *     bad NAME CODEBOOKS DTYPE SHAPE MODEL FRAME STATUS STATUS-WITH-CODEC MAX-ELEMENTS
 *
 * CODEBOOKS is one name, or AXIS:NAME,NAME,... where an axis counts the channels, or for a slice
 * AXIS@FIRST/WHOLE:NAME,NAME,...  CODER is the frame's; with a MODEL, the model's coder was asked
 * for.  The two statuses are what decoding must give without and with the codec; -1 is "do not
 * try".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

typedef struct book {
    char name[64];
    uint32_t bits;
    float centroids[SPC_MAX_CENTROIDS];
    int32_t thresholds[SPC_MAX_CENTROIDS - 1];
    uint8_t outputs[5][4 * SPC_MAX_CENTROIDS]; /* what the indices give, for each spc_dtype */
    spc_codebook codebook;
} book;

enum { most_books = 64, most_groups = 64, words_per_line = 10 };

static const char *fixture;
static book books[most_books];
static size_t book_count, frames_seen, frames_encoded;
static unsigned line_number;

/* ------------------------------------------------------------------ reading */

static void give_up(const char *why) {
    fprintf(stderr, "%s:%u: %s\n", fixture, line_number, why);
    exit(2);
}

typedef struct bytes {
    uint8_t *at;
    size_t len;
} bytes;

static int digit(char c) {
    static const char digits[] = "0123456789abcdef";
    const char *found = c ? strchr(digits, c) : NULL;
    if (!found) {
        give_up("not a hexadecimal digit");
    }
    return (int)(found - digits);
}

static bytes from_hex(const char *word) {
    bytes out;
    if (strcmp(word, "-") == 0) {
        word = "";
    }
    out.len = strlen(word) / 2;
    out.at = malloc(out.len + 1);
    for (size_t i = 0; i < out.len; i++) {
        out.at[i] = (uint8_t)(digit(word[2 * i]) << 4 | digit(word[2 * i + 1]));
    }
    return out;
}

static const char *const dtype_names[] = {"float32", "float16", "bfloat16", "int8", "uint8"};
static const size_t dtype_sizes[] = {4, 2, 2, 1, 1};

static spc_dtype dtype_of(const char *word) {
    int dtype = 0;
    while (strcmp(word, dtype_names[dtype]) != 0) {
        if (++dtype == 5) {
            give_up("unknown dtype");
        }
    }
    return (spc_dtype)dtype;
}

/* The digits of each element, most significant first, become an element of this machine. */
static bytes elements_from_hex(const char *word, spc_dtype dtype) {
    bytes out = from_hex(word);
    const size_t size = dtype_sizes[dtype];
    for (uint8_t *at = out.at; size > 1 && at + size <= out.at + out.len; at += size) {
        uint16_t high = (uint16_t)(at[0] << 8 | at[1]);
        if (size == 2) {
            memcpy(at, &high, 2);
        } else {
            uint32_t value = (uint32_t)high << 16 | (uint32_t)at[2] << 8 | (uint32_t)at[3];
            memcpy(at, &value, 4);
        }
    }
    return out;
}

static spc_shape shape_of(char *word) {
    spc_shape shape = {0, {0}};
    char *rest = strcmp(word, "-") == 0 ? NULL : word;
    while (rest && shape.rank < SPC_MAX_RANK) {
        shape.dims[shape.rank++] = (uint32_t)strtoul(rest, &rest, 10);
        rest = *rest == ',' ? rest + 1 : NULL;
    }
    return shape;
}

static const book *book_of(const char *name) {
    for (size_t i = 0; i < book_count; i++) {
        if (strcmp(books[i].name, name) == 0) {
            return &books[i];
        }
    }
    give_up("unknown codebook");
    return NULL;
}

/* ------------------------------------------------------------------ codecs */

/* The codebooks of a codec, also as one. */
typedef struct several {
    const book *of[most_groups];
    uint32_t groups, axis, slice_first, slice_whole;
    float *centroids;
    int32_t *thresholds;
    spc_codebook codebook;
} several;

static several several_of(char *word) {
    several found = {{0}, 0, SPC_NO_AXIS, 0, 0, NULL, NULL, {0}};
    char *names = strchr(word, ':'), *rest = NULL;
    size_t count, each;
    if (names) {
        found.axis = (uint32_t)strtoul(word, &rest, 10);
        if (*rest == '@') {
            found.slice_first = (uint32_t)strtoul(rest + 1, &rest, 10);
            found.slice_whole = (uint32_t)strtoul(rest + 1, NULL, 10);
        }
    }
    for (char *name = strtok_r(names ? names + 1 : word, ",", &rest); name;
         name = strtok_r(NULL, ",", &rest)) {
        if (found.groups == most_groups) {
            give_up("too many codebooks");
        }
        found.of[found.groups++] = book_of(name);
    }
    each = (size_t)1 << found.of[0]->bits;
    count = each * found.groups;
    found.centroids = malloc(count * sizeof *found.centroids);
    found.thresholds = malloc(count * sizeof *found.thresholds);
    for (uint32_t g = 0; g < found.groups; g++) {
        memcpy(found.centroids + g * each, found.of[g]->centroids, each * sizeof(float));
    }
    CHECK_STATUS(spc_codebook_init_groups(&found.codebook, found.centroids, found.of[0]->bits,
                                          found.groups, found.thresholds),
                 SPC_OK);
    return found;
}

static void several_free(several s) {
    free(s.centroids);
    free(s.thresholds);
}

/* model: bytes that outlive the codec; none of them for a codec without one */
static spc_codec codec_of(const several *s, spc_dtype dtype, const spc_shape *shape,
                          const bytes *model) {
    spc_codec codec;
    CHECK_STATUS(s->axis == SPC_NO_AXIS
                     ? spc_codec_init(&codec, &s->of[0]->codebook, dtype, shape)
                     : spc_codec_init_channels(&codec, &s->codebook, s->axis, dtype, shape),
                 SPC_OK);
    if (s->slice_whole > 0) {
        CHECK_STATUS(spc_codec_set_slice(&codec, s->slice_first, s->slice_whole), SPC_OK);
    }
    if (model->len > 0) {
        spc_model own;
        CHECK_STATUS(spc_model_init(&own, model->at, model->len), SPC_OK);
        CHECK_STATUS(spc_codec_set_model(&codec, &own), SPC_OK);
    }
    check_at.bits = s->of[0]->bits;
    check_at.n = codec.n;
    return codec;
}

/* The codebook of an element, by its place along the axis. */
static const book *book_at(const several *s, const spc_shape *shape, size_t element) {
    size_t inside = 1;
    if (s->groups == 1) {
        return s->of[0];
    }
    for (uint32_t i = s->axis + 1; i < shape->rank; i++) {
        inside *= shape->dims[i];
    }
    element = element / inside % shape->dims[s->axis];
    return s->of[element / (shape->dims[s->axis] / s->groups)];
}

/* ------------------------------------------------------------------ vectors */

static void codebook_line(char **word) {
    book *b = &books[book_count++];
    bytes thresholds = elements_from_hex(word[3], SPC_FLOAT32);
    uint32_t bits = (uint32_t)strtoul(word[1], NULL, 10), count = 1u << bits;
    uint8_t indices[SPC_MAX_CENTROIDS], *got = malloc(4 * (size_t)SPC_MAX_CENTROIDS);
    if (book_count >= most_books || bits > 8 || thresholds.len != 4 * (size_t)(count - 1) ||
        strlen(word[0]) >= sizeof b->name) {
        give_up("impossible codebook");
    }
    strcpy(b->name, word[0]);
    b->bits = check_at.bits = bits;
    for (int dtype = 0; dtype < 5; dtype++) {
        bytes output = elements_from_hex(word[dtype == 0 ? 2 : 3 + dtype], (spc_dtype)dtype);
        if (output.len != dtype_sizes[dtype] * count) {
            give_up("impossible codebook");
        }
        memcpy(b->outputs[dtype], output.at, output.len);
        free(output.at);
    }
    memcpy(b->centroids, b->outputs[SPC_FLOAT32], 4 * (size_t)count);
    CHECK_STATUS(spc_codebook_init(&b->codebook, b->centroids, bits, b->thresholds), SPC_OK);
    for (uint32_t i = 0; i + 1 < count; i++) {
        uint32_t raw;
        memcpy(&raw, thresholds.at + 4 * (size_t)i, 4);
        CHECK(b->thresholds[i] == check_key_of_bits(raw));
    }
    for (uint32_t i = 0; i < count; i++) {
        indices[i] = (uint8_t)i;
    }
    for (int dtype = 0; dtype < 5; dtype++) {
        CHECK_STATUS(spc_dequantize(&b->codebook, (spc_dtype)dtype, indices, count, got), SPC_OK);
        CHECK_BYTES(got, b->outputs[dtype], dtype_sizes[dtype] * count);
    }
    free(thresholds.at);
    free(got);
}

static void quantize_line(char **word) {
    const book *b = book_of(word[0]);
    spc_dtype dtype = dtype_of(word[1]);
    bytes values = elements_from_hex(word[2], dtype), indices = from_hex(word[3]);
    uint8_t *got = malloc(indices.len + 1);
    check_cpus cpus = {0};
    while (check_next_cpu(&cpus)) {
        CHECK_STATUS(spc_quantize(&b->codebook, dtype, values.at, indices.len, got), SPC_OK);
        CHECK_BYTES(got, indices.at, indices.len);
    }
    free(values.at);
    free(indices.at);
    free(got);
}

static uint8_t *restore(const several *s, spc_dtype dtype, const spc_shape *shape, bytes indices) {
    const size_t size = dtype_sizes[dtype];
    uint8_t *out = malloc(size * indices.len + 1);
    for (size_t i = 0; i < indices.len; i++) {
        const book *b = book_at(s, shape, i);
        memcpy(out + size * i, b->outputs[dtype] + size * indices.at[i], size);
    }
    return out;
}

/* Without a frame. */
static void check_indices(const spc_codec *codec, bytes feature, bytes indices,
                          const uint8_t *expected) {
    size_t size = spc_feature_size(codec);
    uint8_t *got = malloc(codec->n + 1), *back = malloc(size + 1);
    CHECK_STATUS(spc_codec_quantize(codec, feature.at, got), SPC_OK);
    CHECK_BYTES(got, indices.at, codec->n);
    CHECK_STATUS(spc_codec_dequantize(codec, indices.at, back), SPC_OK);
    CHECK_BYTES(back, expected, size);
    free(got);
    free(back);
}

/* What a frame says of its codec. */
static void check_description(const spc_codec *codec, bytes frame, const spc_frame_info *info) {
    float centroids[4 * SPC_MAX_CENTROIDS];
    int32_t thresholds[4 * SPC_MAX_CENTROIDS];
    spc_codec own;
    CHECK(info->groups == codec->codebook.groups && info->axis == codec->axis);
    CHECK(info->dtype == codec->dtype && info->bits == codec->codebook.bits);
    CHECK(info->slice_first == codec->slice_first && info->slice_whole == codec->slice_whole);
    CHECK_STATUS(spc_codec_from_frame(&own, frame.at, frame.len, codec->n, centroids, thresholds,
                                      4 * SPC_MAX_CENTROIDS),
                 SPC_OK);
    CHECK(own.id == codec->id && own.n == codec->n && own.slice_whole == codec->slice_whole);
    CHECK(own.model.len == codec->model.len);
}

static void check_frame(const spc_codec *codec, spc_coder coder, bytes feature, bytes frame,
                        const uint8_t *expected) {
    check_guard guard = check_guard_new(frame.len);
    size_t size = spc_feature_size(codec), len = 0;
    spc_frame_info info;
    uint8_t *at = check_rear(guard, frame.len, 0), *back = malloc(size + 1);
    size_t need;
    uint8_t *work;
    memcpy(at, frame.at, frame.len);
    if (!CHECK_STATUS(spc_frame_parse(at, frame.len, &info), SPC_OK)) {
        exit(1);
    }
    CHECK(info.coder == coder && info.codec_id == codec->id);
    if (info.kind == SPC_FRAME_SELF_DESCRIBING) {
        check_description(codec, frame, &info);
    }
    need = spc_decode_work_size(codec, coder);
    work = malloc(need + 1);
    if (spc_coder_available(coder)) {
        CHECK_STATUS(spc_decode(codec, at, frame.len, back, size, work, need), SPC_OK);
        CHECK_BYTES(back, expected, size);
        frames_seen++;
    } else {
        CHECK_STATUS(spc_decode(codec, at, frame.len, back, size, work, need), SPC_ERROR_CODER);
    }
    free(work);
    check_guard_free(guard);
    if (codec->model.len > 0) {
        coder = codec->model.coder;
    }
    if (coder != SPC_CODER_LZMA && spc_coder_available(coder)) {
        size_t bound = spc_frame_bound(codec, info.kind);
        CHECK(info.coder == SPC_CODER_PACK ? bound == frame.len : bound > frame.len);
        guard = check_guard_new(bound);
        at = check_rear(guard, bound, 0);
        need = spc_encode_work_size(codec, coder);
        work = malloc(need + 1);
        CHECK_STATUS(spc_encode(codec, coder, info.kind, feature.at, at, bound, &len, work, need),
                     SPC_OK);
        CHECK(len == frame.len);
        CHECK_BYTES(at, frame.at, frame.len);
        free(work);
        check_guard_free(guard);
        frames_encoded++;
    }
    free(back);
}

static spc_coder coder_of(const char *word) {
    spc_coder coder = SPC_CODER_PACK;
    while (spc_coder_name(coder) && strcmp(word, spc_coder_name(coder)) != 0) {
        coder = (spc_coder)(coder + 1);
    }
    return coder;
}

static void frame_line(char **word) {
    several own = several_of(word[1]);
    spc_dtype dtype = dtype_of(word[2]);
    spc_shape shape = shape_of(word[3]);
    bytes model = from_hex(word[4]);
    spc_codec codec = codec_of(&own, dtype, &shape, &model);
    spc_coder coder = coder_of(word[5]);
    bytes feature = elements_from_hex(word[6], dtype), indices = from_hex(word[7]);
    bytes frame = from_hex(word[8]);
    uint8_t *expected = restore(&own, dtype, &shape, indices);
    check_cpus cpus = {0};
    CHECK(feature.len == spc_feature_size(&codec));
    if (!CHECK(indices.len == codec.n)) {
        exit(1);
    }
    while (check_next_cpu(&cpus)) {
        check_indices(&codec, feature, indices, expected);
        check_frame(&codec, coder, feature, frame, expected);
    }
    free(model.at);
    free(feature.at);
    free(indices.at);
    free(frame.at);
    free(expected);
    several_free(own);
}

static int lacks(spc_coder coder) {
    return spc_coder_name(coder) != NULL && !spc_coder_available(coder);
}

/* A build without a coder cannot say more of its frames, and of its models, than that. */
static int as_expected(spc_status got, long want, const uint8_t *frame, size_t len) {
    spc_frame_info info;
    if ((long)got == want) {
        return 1;
    }
    if (got != SPC_ERROR_CODER || spc_frame_parse(frame, len, &info) != SPC_OK) {
        return 0;
    }
    if (info.model_len > 0) { /* before the coder and the payload; its fifth byte is its coder */
        const uint8_t *model = frame + info.payload_offset - 1 - info.model_len;
        return info.model_len > 4 && lacks((spc_coder)model[4]);
    }
    return lacks(info.coder);
}

static spc_status decode_with(const spc_codec *codec, const uint8_t *frame, size_t len) {
    const size_t size = spc_feature_size(codec);
    const size_t need = spc_decode_work_size(codec, SPC_CODER_LZMA);
    const size_t other = spc_decode_work_size(codec, SPC_CODER_CONTEXT);
    uint8_t *back = malloc(size + 1), *work = malloc(need + other + 1);
    spc_status status = spc_decode(codec, frame, len, back, size, work, need + other);
    free(back);
    free(work);
    return status;
}

static void bad_line(char **word) {
    several own = several_of(word[1]);
    spc_shape shape = shape_of(word[3]);
    bytes model = from_hex(word[4]), frame = from_hex(word[5]);
    spc_codec codec = codec_of(&own, dtype_of(word[2]), &shape, &model);
    long without = strtol(word[6], NULL, 10), with = strtol(word[7], NULL, 10);
    size_t max_elements = (size_t)strtoull(word[8], NULL, 10);
    check_guard guard = check_guard_new(frame.len);
    uint8_t *at = check_rear(guard, frame.len, 0);
    memcpy(at, frame.at, frame.len);
    if (with >= 0 && !CHECK(as_expected(decode_with(&codec, at, frame.len), with, at, frame.len))) {
        fprintf(stderr, "  with its codec: %d, should be %ld\n",
                (int)decode_with(&codec, at, frame.len), with);
    }
    if (without >= 0) {
        enum { cap = 4 * SPC_MAX_CENTROIDS };
        float centroids[cap];
        int32_t thresholds[cap];
        spc_status status =
            spc_codec_from_frame(&codec, at, frame.len, max_elements, centroids, thresholds, cap);
        if (status == SPC_OK) {
            status = decode_with(&codec, at, frame.len);
        }
        if (!CHECK(as_expected(status, without, at, frame.len))) {
            fprintf(stderr, "  without a codec: %d, should be %ld\n", (int)status, without);
        }
    }
    check_guard_free(guard);
    free(model.at);
    free(frame.at);
    several_free(own);
}

/* ------------------------------------------------------------------ the file */

static void vectors(void) {
    static const struct {
        const char *kind;
        size_t words;
        void (*check)(char **word);
    } kinds[] = {
        {"codebook", 8, codebook_line},
        {"quantize", 4, quantize_line},
        {"frame", 9, frame_line},
        {"bad", 9, bad_line},
    };
    char *line = NULL;
    size_t room = 0;
    FILE *file = fopen(fixture, "r");
    if (!file) {
        perror(fixture);
        exit(2);
    }
    while (getline(&line, &room, file) > 0) {
        char *word[words_per_line] = {0}, *rest = NULL;
        size_t count = 0, k = 0;
        line_number++;
        for (char *at = strtok_r(line, " \n", &rest); at; at = strtok_r(NULL, " \n", &rest)) {
            if (count == words_per_line) {
                give_up("too many words");
            }
            word[count++] = at;
        }
        while (k < sizeof kinds / sizeof kinds[0] && count > 0 &&
               strcmp(kinds[k].kind, word[0]) != 0) {
            k++;
        }
        if (count == 0 || k == sizeof kinds / sizeof kinds[0] || count != kinds[k].words + 1) {
            give_up("not a vector");
        }
        check_at.what = word[1];
        kinds[k].check(word + 1);
        check_at.what = NULL;
    }
    free(line);
    fclose(file);
    printf("%u lines, %zu frames decoded, %zu encoded\n", line_number, frames_seen, frames_encoded);
    CHECK(book_count > 0 && frames_encoded > 0);
}

static const check_case cases[] = {{"vectors", vectors}};

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: %s FIXTURE [options]\n", argv[0]);
        return 2;
    }
    fixture = argv[1];
    return check_main(argc - 1, argv + 1, cases, 1, NULL);
}
