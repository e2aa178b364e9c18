#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#if __has_feature(memory_sanitizer)
#define WITH_MSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) /* as gcc says it */
#define WITH_ASAN 1
#endif

#if defined(WITH_ASAN)
#include <sanitizer/asan_interface.h>
#endif
#if defined(WITH_MSAN)
#include <sanitizer/msan_interface.h>
#endif

void fuzz_fail(const char *text, const char *file, int line) {
    fprintf(stderr, "%s:%d: failed: %s\n", file, line, text);
    abort();
}

/* ------------------------------------------------------------------ input */

uint8_t fuzz_byte(fuzz_input *input) {
    if (input->left == 0) {
        return 0;
    }
    input->left--;
    return *input->at++;
}

uint32_t fuzz_u32(fuzz_input *input) {
    uint32_t value = 0;
    for (uint32_t i = 0; i < 4; i++) {
        value |= (uint32_t)fuzz_byte(input) << (8 * i);
    }
    return value;
}

size_t fuzz_shape(fuzz_input *input, spc_shape *shape) {
    uint32_t product = 1;
    size_t n = 0;
    memset(shape, 0, sizeof *shape);
    shape->rank = fuzz_byte(input) % 5;
    for (uint32_t i = 0; i < shape->rank; i++) {
        uint32_t byte = fuzz_byte(input), dim = byte < 128 ? byte : 4 * (byte - 127);
        dim = dim * product > FUZZ_MOST_ELEMENTS ? FUZZ_MOST_ELEMENTS / product : dim;
        product *= dim == 0 ? 1 : dim;
        shape->dims[i] = dim;
    }
    REQUIRE(spc_shape_elements(shape, &n) == SPC_OK && n <= FUZZ_MOST_ELEMENTS);
    return n;
}

void fuzz_use_kernels(uint32_t choice) {
    static const uint32_t masks[] = {~0u, 0, ~(uint32_t)SPC_CPU_AVX512,
                                     ~(uint32_t)(SPC_CPU_AVX512 | SPC_CPU_AVX2)};
    static uint32_t in_use = ~0u;
    if (masks[choice & 3] != in_use) {
        in_use = masks[choice & 3];
        spc_set_cpu_mask(in_use);
    }
}

/* ------------------------------------------------------------------ buffers */

#define ROOM ((size_t)1 << 20)
#define MARK 0xa5
#define MARKED 32 /* bytes before a buffer */

static void map(fuzz_room *room) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *first =
        mmap(NULL, ROOM + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (first == MAP_FAILED || mprotect(first + ROOM, page, PROT_NONE) != 0) {
        perror("mmap");
        exit(2);
    }
    room->end = first + ROOM;
}

/* Before the buffer: ASan is told of it, other builds look at it afterwards. */
static void mark_front(const fuzz_room *room) {
    uint8_t *front = room->end - room->used - MARKED;
#if defined(WITH_ASAN)
    __asan_poison_memory_region(front, MARKED);
#else
    memset(front, MARK, MARKED);
#endif
}

void fuzz_check_front(const fuzz_room *room) {
#if defined(WITH_ASAN)
    (void)room;
#else
    const uint8_t *front = room->end - room->used - MARKED;
    for (size_t i = 0; i < MARKED; i++) {
        REQUIRE(front[i] == MARK);
    }
#endif
}

void *fuzz_rear(fuzz_room *room, size_t len) {
    REQUIRE(len <= ROOM - MARKED);
    if (!room->end) {
        map(room);
    }
#if defined(WITH_ASAN)
    __asan_unpoison_memory_region(room->end - room->used - MARKED, MARKED + room->used);
#endif
    room->used = len;
    mark_front(room);
#if defined(WITH_MSAN)
    __msan_poison(room->end - len, len);
#endif
    return room->end - len;
}

void *fuzz_copy(fuzz_room *room, const void *from, size_t len) {
    void *at = fuzz_rear(room, len);
    if (len > 0) {
        memcpy(at, from, len);
    }
    return at;
}

void *fuzz_decode_work(fuzz_room *room, size_t len, spc_coder coder) {
    void *work = fuzz_rear(room, len);
#if defined(WITH_MSAN)
    /* liblzma, which is not instrumented, writes there what the core then reads: MSan would not
     * know.  The rest of its decoder is worth the check: indices, payload and our own encoder. */
    if (coder == SPC_CODER_LZMA) {
        __msan_unpoison(work, len);
    }
#else
    (void)coder;
#endif
    return work;
}

/* ------------------------------------------------------------------ models */

spc_status fuzz_wrap_model(fuzz_room *room, spc_coder coder, uint32_t bits, uint32_t channels,
                           const uint8_t *body, size_t len, spc_model *model) {
    const size_t whole = 8 + len + 4;
    uint8_t *bytes = fuzz_rear(room, whole);
    spc_status status;
    uint32_t crc;
    memcpy(bytes, "SPM\1", 4);
    bytes[4] = (uint8_t)coder;
    bytes[5] = (uint8_t)bits;
    bytes[6] = (uint8_t)channels;
    bytes[7] = (uint8_t)(channels >> 8);
    if (len > 0) {
        memcpy(bytes + 8, body, len);
    }
    crc = spc_crc32c(0, bytes, 8 + len);
    for (size_t i = 0; i < 4; i++) {
        bytes[8 + len + i] = (uint8_t)(crc >> (8 * i));
    }
    status = spc_model_init(model, bytes, whole);
    REQUIRE(status == SPC_OK || status == SPC_ERROR_MODEL);
    REQUIRE(status != SPC_OK ||
            (model->bytes == bytes && model->len == whole && model->coder == coder &&
             model->bits == bits && model->channels == channels));
    return status;
}

static uint32_t mix(uint32_t *seed, uint32_t below) {
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 16) % below;
}

static uint8_t *put_i16(uint8_t *at, uint32_t *seed, int32_t most) {
    const int32_t value = (int32_t)mix(seed, 2 * (uint32_t)most + 1) - most;
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
    return at + 2;
}

#define MOST_TAPS 5
#define MOST_UNITS 3
#define MOST_CHANNEL 520 /* bytes; with 8 bits in coder 2 */

/* One channel of coder 4, of a few taps and units.  Sums stay as small as a model's must. */
static uint8_t *make_context_channel(uint8_t *at, uint32_t bits, uint32_t channel, uint32_t *seed) {
    const uint32_t nodes = (1u << (bits < 4 ? bits : 4)) - 1, lefts = bits < 2 ? 4 : 16;
    const uint32_t taps = mix(seed, MOST_TAPS + 1), units = 1 + mix(seed, MOST_UNITS);
    *at++ = (uint8_t)taps;
    *at++ = (uint8_t)units;
    *at++ = (uint8_t)mix(seed, units + 1);
    *at++ = (uint8_t)(1 + mix(seed, 16));
    for (uint32_t i = 0; i < taps; i++) {
        const uint32_t back = mix(seed, (channel < 255 ? channel : 255) + 1);
        *at++ = (uint8_t)back;
        /* in the channel itself only the two rows above */
        *at++ = (uint8_t)(mix(seed, back > 0 ? 25 : 10) | mix(seed, 2) << 7);
    }
    for (uint32_t i = 0; i < taps * units; i++) {
        *at++ = (uint8_t)mix(seed, 256);
    }
    for (uint32_t i = 0; i < units; i++) {
        at = put_i16(at, seed, 2000);
    }
    for (uint32_t i = 0; i < nodes * units; i++) {
        at = put_i16(at, seed, 20000);
    }
    for (uint32_t i = 0; i < nodes * lefts; i++) {
        *at++ = (uint8_t)mix(seed, 256);
    }
    return at;
}

/* One channel of coder 3. */
static uint8_t *make_rans_channel(uint8_t *at, uint32_t bits, uint32_t *seed) {
    const uint32_t classes = bits > 4 ? 32 : bits == 3 ? 64 : 16, width = bits > 5 ? bits - 5 : 0;
    uint32_t slots = 4096;
    for (uint32_t left = classes; left-- > 0; at += 2) {
        const uint32_t spare = slots - left - 1,
                       f = left > 0 ? 1 + mix(seed, spare / 2 + 1) : slots;
        slots -= f;
        at[0] = (uint8_t)f;
        at[1] = (uint8_t)(f >> 8 | width << 4);
    }
    return at;
}

/* One channel of coder 2, of one question or none. */
static uint8_t *make_range_channel(uint8_t *at, uint32_t bits, uint32_t channel, uint32_t *seed) {
    const uint32_t questions = mix(seed, 2), table = ((1u << bits) - 1) << questions;
    *at++ = (uint8_t)questions;
    if (questions > 0) {
        *at++ = (uint8_t)mix(seed, channel + 1);
        *at++ = 0xff; /* the row above */
        *at++ = (uint8_t)(mix(seed, 3) - 1);
        *at++ = (uint8_t)(1 + mix(seed, (1u << bits) - 1));
    }
    for (uint32_t i = 0; i < table; i++) {
        *at++ = (uint8_t)mix(seed, 256);
    }
    return at;
}

static uint8_t *make_channel(spc_coder coder, uint8_t *at, uint32_t bits, uint32_t channel,
                             uint32_t *seed) {
    switch (coder) {
    case SPC_CODER_RANGE:
        return make_range_channel(at, bits, channel, seed);
    case SPC_CODER_RANS:
        return make_rans_channel(at, bits, seed);
    default:
        return make_context_channel(at, bits, channel, seed);
    }
}

int fuzz_make_model(fuzz_room *room, spc_coder coder, uint32_t bits, uint32_t channels,
                    uint32_t seed, spc_model *model) {
    uint8_t body[1 + FUZZ_MOST_CHANNELS * MOST_CHANNEL], *end = body;
    if (!spc_coder_available(coder) || coder < SPC_CODER_RANGE || coder > SPC_CODER_CONTEXT ||
        channels > FUZZ_MOST_CHANNELS) {
        return 0;
    }
    if (coder == SPC_CODER_RANGE) {
        *end++ = (uint8_t)(1 + mix(&seed, 15));
    }
    for (uint32_t c = 0; c < channels; c++) {
        end = make_channel(coder, end, bits, c, &seed);
    }
    REQUIRE(fuzz_wrap_model(room, coder, bits, channels, body, (size_t)(end - body), model) ==
            SPC_OK);
    return 1;
}

uint32_t fuzz_channels(const spc_shape *shape, uint32_t axis) {
    if (axis != SPC_NO_AXIS) {
        return shape->dims[axis];
    }
    return shape->rank >= 3 ? shape->dims[0] : 1;
}

int fuzz_needs_model(spc_coder coder) {
    return coder == SPC_CODER_RANS || coder == SPC_CODER_CONTEXT;
}

int fuzz_may_use(spc_coder coder, spc_coder used) {
    return used == coder || used == SPC_CODER_PACK ||
           (coder == SPC_CODER_CONTEXT && used == SPC_CODER_RANGE);
}
