/* The LZMA encoder: liblzma must give back what went in, whatever the data, lengths and buffers. */
#include <lzma.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "lzma_encoder.h"
#include "lzma_format.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define LENGTH_MOST 5000
#define ROUNDS 20000

/* Far more than noise needs: that grows by a few percent. */
#define PAYLOAD_MOST(len) (2 * (len) + 16)

/* ------------------------------------------------------------------ data */

typedef void (*maker)(uint8_t *bytes, size_t len);

static void make_constant(uint8_t *bytes, size_t len) {
    memset(bytes, (int)check_below(256), len);
}

static void make_random(uint8_t *bytes, size_t len) {
    check_fill(bytes, len);
}

static void make_periodic(uint8_t *bytes, size_t len) {
    size_t period = 1 + check_below(check_below(2) ? 16 : 700);
    uint32_t noise = check_below(2) ? 0 : 1 + check_below(200);
    for (size_t i = 0; i < len; i++) {
        int fresh = i < period || (noise && check_below(noise) == 0);
        bytes[i] = fresh ? (uint8_t)check_random() : bytes[i - period];
    }
}

/* Ones, or zeros, are rare: probabilities at their ends, runs of 0xff, carries through them. */
static void make_skewed(uint8_t *bytes, size_t len) {
    uint32_t rarity = 2 + check_below(check_below(2) ? 8 : 300);
    uint8_t flip = check_below(2) ? 0xff : 0;
    for (size_t i = 0; i < len; i++) {
        uint32_t byte = 0;
        for (uint32_t bit = 0; bit < 8; bit++) {
            byte |= (uint32_t)(check_below(rarity) == 0) << bit;
        }
        bytes[i] = (uint8_t)(byte ^ flip);
    }
}

/* Packed 2-bit indices of a plane: mostly like the neighbour on the left or above. */
static void make_plane(uint8_t *bytes, size_t len) {
    size_t width = 4 + check_below(60);
    uint32_t noise = 2 + check_below(20);
    for (size_t i = 0; i < len; i++) {
        uint32_t byte = i >= width && check_below(3) ? bytes[i - width] : i > 0 ? bytes[i - 1] : 0;
        for (uint32_t index = 0; index < 4; index++) {
            if (check_below(noise) == 0) {
                byte ^= check_below(4) << (2 * index);
            }
        }
        bytes[i] = (uint8_t)byte;
    }
}

/* Pieces of what came before from all distances, often one that was just used. */
static void make_copies(uint8_t *bytes, size_t len) {
    size_t distances[4] = {1, 1, 1, 1};
    uint32_t longest = check_below(4) ? 24 : 600;
    for (size_t i = 0; i < len;) {
        size_t piece = 1 + check_below(longest), distance = distances[check_below(4)];
        int copied = check_below(4) > 0;
        if (check_below(3) == 0) {
            distance = 1 + check_below((uint32_t)(i >> check_below(14)) + 1);
            distances[check_below(4)] = distance;
        }
        for (; piece > 0 && i < len; piece--, i++) {
            bytes[i] = copied && distance <= i ? bytes[i - distance] : (uint8_t)check_random();
            piece = copied ? piece : piece > 4 ? 4 : piece;
        }
    }
}

static const struct {
    const char *name;
    maker make;
} kinds[] = {
    {"constant", make_constant}, {"random", make_random}, {"periodic", make_periodic},
    {"skewed", make_skewed},     {"plane", make_plane},   {"copies", make_copies},
};

static uint8_t *make(uint8_t *bytes, size_t len, size_t kind) {
    check_at.what = kinds[kind].name;
    check_at.n = len;
    kinds[kind].make(bytes, len);
    return bytes;
}

static void *get(size_t len) {
    void *memory = malloc(len);
    if (!memory) {
        abort();
    }
    return memory;
}

/* ------------------------------------------------------------------ decoding by liblzma */

static int decodes_to(const uint8_t *payload, size_t payload_len, const uint8_t *input,
                      size_t len) {
    lzma_stream stream = LZMA_STREAM_INIT;
    uint8_t *output = get(len + 1);
    int same = 0;
    if (lzma_microlzma_decoder(&stream, payload_len, len, 1, spc_lzma_dict_size(len)) == LZMA_OK) {
        stream.next_in = payload;
        stream.avail_in = payload_len;
        stream.next_out = output;
        stream.avail_out = len;
        same = lzma_code(&stream, LZMA_FINISH) == LZMA_STREAM_END && stream.avail_in == 0 &&
               stream.avail_out == 0 && memcmp(output, input, len) == 0;
    }
    lzma_end(&stream);
    free(output);
    return same;
}

/* ------------------------------------------------------------------ cases */

/* Work of exactly the size that was asked for, between inaccessible pages, with this content. */
static size_t encode(check_guard work, int content, const uint8_t *input, size_t len,
                     uint8_t *output, size_t cap) {
    size_t size = spc_lzma_encoder_work_size(len);
    uint8_t *at = check_rear(work, size, check_at.shift);
    size_t written;
    memset(at, content, size);
    written = spc_lzma_encode(input, len, output, cap, at, size);
    CHECK_MARKS(work, at, size);
    return written;
}

static void round_trip(size_t len, size_t kind) {
    static check_guard input_pages, output_pages, work_pages, exact_pages;
    uint8_t *input, *output, *exact;
    size_t written, cap = PAYLOAD_MOST(len);
    if (!input_pages.first) {
        input_pages = check_guard_new(LENGTH_MOST);
        output_pages = check_guard_new(PAYLOAD_MOST(LENGTH_MOST));
        exact_pages = check_guard_new(PAYLOAD_MOST(LENGTH_MOST));
        work_pages = check_guard_new(spc_lzma_encoder_work_size(LENGTH_MOST) + 8);
    }
    check_at.shift = check_below(2) ? 0 : check_below(8);
    input = make(check_rear(input_pages, len, 0), len, kind);
    output = check_rear(output_pages, cap, 0);
    written = encode(work_pages, 0, input, len, output, cap);
    CHECK(written >= 5 && written <= cap);
    CHECK(output[0] == SPC_LZMA_FIRST_BYTE);
    CHECK(decodes_to(output, written, input, len));

    exact = check_rear(exact_pages, written, 0);
    CHECK(encode(work_pages, 0xff, input, len, exact, written) == written);
    CHECK_BYTES(exact, output, written);
    exact = check_rear(exact_pages, written - 1, 0);
    CHECK(encode(work_pages, 0x5a, input, len, exact, written - 1) == 0);
    cap = check_below((uint32_t)written);
    exact = check_rear(exact_pages, cap, 0);
    CHECK(encode(work_pages, 0xa5, input, len, exact, cap) == 0);
    CHECK_MARKS(exact_pages, exact, cap);
}

static void random_lengths(void) {
    for (uint64_t round = 0; round < ROUNDS; round++) {
        check_seed(round);
        /* Short ones most often: that is where the ends are. */
        round_trip(1 + check_below(check_below(8) ? 300 : LENGTH_MOST), check_below(COUNT(kinds)));
    }
}

static void each_length(void) {
    for (size_t len = 1; len <= LENGTH_MOST; len += len < 600 ? 1 : 37) {
        for (size_t kind = 0; kind < COUNT(kinds); kind++) {
            check_seed(len * COUNT(kinds) + kind);
            round_trip(len, kind);
        }
    }
}

/* Beyond 16-bit positions, and beyond the largest dictionary. */
static void long_inputs(void) {
    static const size_t lengths[] = {65535, 65536, 65537, 131072, 200000, (1u << 20) + 70000};
    for (size_t i = 0; i < COUNT(lengths); i++) {
        for (size_t kind = 0; kind < COUNT(kinds); kind++) {
            size_t len = lengths[i], cap = PAYLOAD_MOST(len), written;
            size_t work_len = spc_lzma_encoder_work_size(len);
            uint8_t *input = get(len), *output = get(cap), *work = get(work_len);
            check_seed(i * COUNT(kinds) + kind);
            make(input, len, kind);
            memset(work, 0x5a, work_len);
            written = spc_lzma_encode(input, len, output, cap, work, work_len);
            CHECK(written > 0);
            CHECK(decodes_to(output, written, input, len));
            free(input);
            free(output);
            free(work);
        }
    }
}

static void too_little(void) {
    uint8_t input[100], output[200];
    size_t size = spc_lzma_encoder_work_size(sizeof input);
    uint8_t *work = get(size);
    check_seed(0);
    make_plane(input, sizeof input);
    CHECK(spc_lzma_encode(input, sizeof input, output, sizeof output, work, size) > 0);
    CHECK(spc_lzma_encode(input, sizeof input, output, sizeof output, work, size - 1) == 0);
    CHECK(spc_lzma_encode(input, sizeof input, output, sizeof output, work, 0) == 0);
    CHECK(spc_lzma_encode(input, sizeof input, output, sizeof output, NULL, 0) == 0);
    for (size_t cap = 0; cap < 6; cap++) {
        CHECK(spc_lzma_encode(input, sizeof input, output, cap, work, size) == 0);
    }
    free(work);
}

/* No byte is no symbol: what remains is the first byte and the range encoder's last four. */
static void nothing(void) {
    uint8_t input = 0, output[5];
    size_t size = spc_lzma_encoder_work_size(0);
    uint8_t *work = get(size);
    static const uint8_t want[5] = {SPC_LZMA_FIRST_BYTE, 0, 0, 0, 0};
    CHECK(spc_lzma_encode(&input, 0, output, sizeof output, work, size) == sizeof output);
    CHECK_BYTES(output, want, sizeof output);
    free(work);
}

/* Payload bytes of the encoder and of liblzma's thorough search, over many inputs of one kind. */
static void size_against_liblzma(void) {
    size_t ours = 0, theirs = 0;
    uint8_t input[3000], output[PAYLOAD_MOST(3000)];
    size_t work_len = spc_lzma_encoder_work_size(sizeof input);
    uint8_t *work = get(work_len);
    for (uint64_t round = 0; round < 200; round++) {
        size_t len = sizeof input;
        lzma_stream stream = LZMA_STREAM_INIT;
        lzma_options_lzma options;
        check_seed(round);
        make(input, len, 4);
        ours += spc_lzma_encode(input, len, output, sizeof output, work, work_len);
        memset(&options, 0, sizeof options);
        options.dict_size = spc_lzma_dict_size(len);
        options.mode = LZMA_MODE_NORMAL;
        options.mf = LZMA_MF_BT4;
        options.nice_len = 273;
        if (!CHECK(lzma_microlzma_encoder(&stream, &options) == LZMA_OK)) {
            break;
        }
        stream.next_in = input;
        stream.avail_in = len;
        stream.next_out = output;
        stream.avail_out = sizeof output;
        CHECK(lzma_code(&stream, LZMA_FINISH) == LZMA_STREAM_END);
        theirs += (size_t)stream.total_out;
        lzma_end(&stream);
    }
    CHECK(ours * 100 <= theirs * 103);
    free(work);
}

static const check_case cases[] = {
    {"random_lengths", random_lengths},
    {"each_length", each_length},
    {"long_inputs", long_inputs},
    {"too_little", too_little},
    {"nothing", nothing},
    {"size_against_liblzma", size_against_liblzma},
};

CHECK_MAIN(cases, NULL)
