/* Kernels of cores without vectors: two steps in one, for widths of which whole indices fill a
 * byte. */
#include "kernels.h"
#include "key.h"

#define INLINE static inline __attribute__((always_inline))
#define STRAIGHT _Pragma("GCC unroll 8")

/* That whole indices fill, or none. */
static size_t whole_bytes(size_t n, uint32_t bits) {
    return bits < 3 || bits == 4 ? n / 8 * bits + n % 8 * bits / 8 : 0;
}

/* spc_index_of_key, in straight code: of thresholds in registers if they are few. */
INLINE uint32_t index_of(const int32_t *thresholds, const int32_t few[3], uint32_t bits,
                         int32_t key) {
    uint32_t index = 0;
    if (bits == 1) {
        return few[0] < key;
    }
    if (bits == 2) {
        return few[1] < key ? 2 + (few[2] < key) : few[0] < key;
    }
    STRAIGHT for (uint32_t step = 1u << (bits - 1); step != 0; step >>= 1) {
        index += thresholds[index + step - 1] < key ? step : 0;
    }
    return index;
}

INLINE void quantize_bytes(const int32_t *thresholds, uint32_t bits, const float *values,
                           size_t bytes, uint8_t *packed) {
    const int32_t few[3] = {thresholds[0], thresholds[bits > 1 ? 1 : 0],
                            thresholds[bits > 1 ? 2 : 0]};
    for (const uint8_t *end = packed + bytes; packed < end; packed++) {
        uint32_t byte = 0;
        STRAIGHT for (uint32_t at = 0; at < 8; at += bits) {
            byte |= index_of(thresholds, few, bits, spc_key(*values++)) << at;
        }
        *packed = (uint8_t)byte;
    }
}

INLINE void look_up_bytes(const uint8_t *table, uint32_t bits, const uint8_t *values, size_t bytes,
                          uint8_t *packed) {
    for (const uint8_t *end = packed + bytes; packed < end; packed++) {
        uint32_t byte = 0;
        STRAIGHT for (uint32_t at = 0; at < 8; at += bits) {
            byte |= (uint32_t)table[*values++] << at;
        }
        *packed = (uint8_t)byte;
    }
}

/* `call` with BITS as a constant. */
#define WITH_WIDTH(bits, call)                                                                     \
    switch (bits) {                                                                                \
        SPC_BITS_CASE(1, call)                                                                     \
        SPC_BITS_CASE(2, call)                                                                     \
        SPC_BITS_CASE(4, call)                                                                     \
    }

size_t spc_quantize_bytes_f32_small(const int32_t *thresholds, uint32_t bits, const float *values,
                                    size_t n, uint8_t *packed) {
    const size_t bytes = whole_bytes(n, bits);
    WITH_WIDTH(bits, quantize_bytes(thresholds, BITS, values, bytes, packed))
    return bytes * 8 / bits;
}

size_t spc_look_up_bytes_u8_small(const uint8_t *table, uint32_t bits, const uint8_t *values,
                                  size_t n, uint8_t *packed) {
    const size_t bytes = whole_bytes(n, bits);
    WITH_WIDTH(bits, look_up_bytes(table, BITS, values, bytes, packed))
    return bytes * 8 / bits;
}
