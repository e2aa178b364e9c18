/* The kernels of microcontrollers against counting and packing bit by bit: an application for
 * firmware/.  Logs what differs, or the kernels' name.  Inputs end at MEMORY_END, so that reading
 * on is a fault where memory ends there. */
#include "kernels.h"
#include "key.h"
#include "port.h"

enum { LONGEST = 700, AROUND = 16, MARK = 0xa5 };

static uint64_t state = 0x9e3779b97f4a7c15u;

static uint32_t random_word(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 16);
}

static uint32_t below(uint32_t limit) {
    return random_word() % limit;
}

static int differences;

static void differ(const char *what, uint32_t bits, uint32_t n) {
    char text[] = "  bits,      elements:";
    text[0] = (char)('0' + bits);
    for (uint32_t at = 11; at > 7; at--, n /= 10) {
        text[at] = (char)('0' + n % 10);
    }
    port_log(text);
    port_log(what);
    differences++;
}

/* ------------------------------------------------------------------ what there is to quantise */

static const uint32_t awkward[] = {0,          1,          0x007fffff, 0x00800000,
                                   0x3f800000, 0x42fe0000, 0x437f0000, 0x7f7fffff,
                                   0x7f800000, 0x7f800001, 0x7fc00000, 0x7fffffff};

static uint32_t some_float(const int32_t *thresholds, uint32_t count) {
    switch (below(4)) {
    case 0:
        return awkward[below(sizeof awkward / sizeof awkward[0])] | below(2) << 31;
    case 1:
        return random_word();
    default: /* at, or next to, a threshold */
        return spc_bits_of_key((int32_t)((uint32_t)thresholds[below(count)] + below(3) - 1));
    }
}

/* Ascending keys: of small numbers, of all floats, few different ones, and the least and greatest.
 */
static void make_thresholds(int32_t *thresholds, uint32_t count, uint32_t style) {
    for (uint32_t i = 0; i < count; i++) {
        int32_t key = spc_key_of_int((int)below(300) - 150);
        uint32_t at = i;
        if (style == 1) {
            key = (int32_t)random_word();
        } else if (style == 2) {
            key = spc_key_of_int((int)below(3) * 20 - 10);
        } else if (style == 3) {
            key = below(2) ? INT32_MAX - (int32_t)below(3) : INT32_MIN + (int32_t)below(3);
        } else if (below(2)) {
            key += (int32_t)below(1 << 16); /* between integers */
        }
        for (; at > 0 && thresholds[at - 1] > key; at--) {
            thresholds[at] = thresholds[at - 1];
        }
        thresholds[at] = key;
    }
}

static uint8_t index_by_counting(const int32_t *thresholds, uint32_t count, int32_t key) {
    uint32_t index = 0;
    for (uint32_t i = 0; i < count; i++) {
        index += thresholds[i] < key;
    }
    return (uint8_t)index;
}

/* ------------------------------------------------------------------ what comes out */

static uint8_t room[4 * LONGEST + 2 * AROUND], expected[4 * LONGEST];

/* For an output that starts anywhere. */
static uint8_t *output(void) {
    for (size_t i = 0; i < sizeof room; i++) {
        room[i] = MARK;
    }
    return room + AROUND - below(AROUND);
}

static int is_expected(const uint8_t *from, size_t len) {
    for (const uint8_t *p = room; p < room + sizeof room; p++) {
        if (*p != (p >= from && p < from + len ? expected[p - from] : MARK)) {
            return 0;
        }
    }
    return 1;
}

static size_t pack_bit_by_bit(const uint8_t *indices, size_t n, uint32_t bits) {
    size_t len = (n * bits + 7) / 8;
    for (size_t i = 0; i < len; i++) {
        expected[i] = 0;
    }
    for (size_t i = 0; i < n * bits; i++) {
        expected[i / 8] |= (uint8_t)((indices[i / bits] >> i % bits & 1) << i % 8);
    }
    return len;
}

/* ------------------------------------------------------------------ checks */

static void check_quantize(const spc_codebook *codebook, spc_dtype dtype, uint32_t n) {
    static uint8_t indices[LONGEST];
    const uint32_t bits = codebook->bits, size = dtype == SPC_FLOAT32 ? 4 : 1;
    uint8_t *values = (uint8_t *)MEMORY_END - size * n, *out;
    for (uint32_t i = 0; i < n; i++) {
        int32_t key;
        if (dtype == SPC_FLOAT32) {
            uint32_t word = some_float(codebook->thresholds, (1u << bits) - 1);
            ((uint32_t *)(void *)values)[i] = word;
            key = spc_key_of_bits(word);
        } else {
            values[i] = (uint8_t)random_word();
            key = spc_key_of_int(dtype == SPC_INT8 ? (int8_t)values[i] : values[i]);
        }
        indices[i] = index_by_counting(codebook->thresholds, (1u << bits) - 1, key);
        expected[i] = indices[i];
    }
    out = output();
    if (spc_quantize(codebook, dtype, values, n, out) != SPC_OK || !is_expected(out, n)) {
        differ("quantize", bits, n);
    }
    out = output();
    if (spc_quantize_pack(codebook, dtype, values, n, out) != SPC_OK ||
        !is_expected(out, pack_bit_by_bit(indices, n, bits))) {
        differ("quantize and pack", bits, n);
    }
}

static void check_indices(uint32_t bits, uint32_t n) {
    static uint32_t table[256];
    const uint32_t mask = (1u << bits) - 1;
    uint8_t *indices = (uint8_t *)MEMORY_END - n, *out, *bytes = (uint8_t *)table;
    uint32_t seen = 0;
    const int strays = below(2) != 0;
    for (uint32_t i = 0; i < n; i++) {
        indices[i] = (uint8_t)(strays ? random_word() : random_word() & mask);
        seen |= indices[i];
    }
    for (uint32_t i = 0; i < 256; i++) {
        table[i] = random_word();
    }
    out = output();
    spc_kernels_get()->pack(indices, n, bits, out);
    if (!is_expected(out, pack_bit_by_bit(indices, n, bits))) {
        differ("pack", bits, n);
    }
    for (uint32_t i = 0; i < n; i++) {
        expected[i] = bytes[indices[i] & mask];
    }
    out = output();
    if (spc_kernels_get()->look_up_u8(bytes, bits, indices, n, out) != seen ||
        !is_expected(out, n)) {
        differ("look up bytes", bits, n);
    }
    for (uint32_t i = 0; i < 4 * n; i++) {
        expected[i] = bytes[(indices[i / 4] & mask) * 4 + i % 4];
    }
    out = output();
    out += -(uintptr_t)out & 3;
    if (spc_kernels_get()->look_up_f32((const float *)(const void *)table, bits, indices, n,
                                       (float *)(void *)out) != seen ||
        !is_expected(out, 4 * n)) {
        differ("look up floats", bits, n);
    }
}

int app_main(void) {
    static int32_t thresholds[255];
    static float centroids[256];
    for (uint32_t bits = 1; bits <= 8; bits++) {
        const spc_codebook codebook = {bits, 1, centroids, thresholds};
        for (uint32_t turn = 0; turn < 90 && !differences; turn++) {
            const uint32_t n = turn <= 70 ? turn : 71 + below(LONGEST - 70);
            make_thresholds(thresholds, (1u << bits) - 1, turn % 4);
            check_quantize(&codebook, SPC_FLOAT32, n);
            check_quantize(&codebook, SPC_INT8, n);
            check_quantize(&codebook, SPC_UINT8, n);
            if (n > 0) {
                check_indices(bits, n);
            }
        }
    }
    port_log(spc_kernels_get()->name);
    return differences > 0;
}
