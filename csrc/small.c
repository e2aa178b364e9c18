/* Kernels of cores without vectors: quantise and pack in one step. */
#include "kernels.h"
#include "key.h"

#define INLINE static inline __attribute__((always_inline))
#define STRAIGHT _Pragma("GCC unroll 8")

/* spc_index_of_key in straight code, entered where the width says. */
INLINE uint32_t index_in(const int32_t *thresholds, uint32_t bits, int32_t key) {
    const int32_t *rest = thresholds;
#define STEP(bit)                                                                                  \
    case bit:                                                                                      \
        if (rest[(1 << (bit - 1)) - 1] < key) {                                                    \
            rest += 1 << (bit - 1);                                                                \
        }                                                                                          \
        __attribute__((fallthrough));
    switch (bits) {
        STEP(8)
        STEP(7)
        STEP(6)
        STEP(5)
        STEP(4)
        STEP(3)
        STEP(2)
        STEP(1)
    default:
        return (uint32_t)(rest - thresholds);
    }
#undef STEP
}

typedef struct bit_stream {
    uint8_t *packed;
    uint32_t pending, count; /* fewer than eight bits */
} bit_stream;

INLINE void put_index(bit_stream *stream, uint32_t index, uint32_t bits) {
    stream->pending |= index << stream->count;
    stream->count += bits;
    if (stream->count >= 8) {
        *stream->packed++ = (uint8_t)stream->pending;
        stream->pending >>= 8;
        stream->count -= 8;
    }
}

INLINE void end_stream(const bit_stream *stream) {
    if (stream->count > 0) {
        *stream->packed = (uint8_t)stream->pending;
    }
}

/* `call` with BITS as a constant, for widths of which whole indices fill a byte.  The calls go on
 * from where two pointers point, in straight code for each byte, and return how many are left. */
#define OF_WHOLE_BYTES(bits, call)                                                                 \
    switch (bits) {                                                                                \
        SPC_BITS_CASE(1, call)                                                                     \
        SPC_BITS_CASE(2, call)                                                                     \
        SPC_BITS_CASE(4, call)                                                                     \
    }

/* ------------------------------------------------------------------ float32 */

/* Thresholds are in registers if they are few. */
INLINE uint32_t index_of(const int32_t *thresholds, const int32_t few[3], uint32_t bits,
                         int32_t key) {
    if (bits == 1) {
        return few[0] < key;
    }
    if (bits == 2) {
        return few[1] < key ? 2 + (few[2] < key) : few[0] < key;
    }
    return index_in(thresholds, bits, key);
}

INLINE size_t quantize_bytes(const int32_t *thresholds, uint32_t bits, const float **values,
                             size_t n, uint8_t **packed) {
    const int32_t few[3] = {thresholds[0], thresholds[bits > 1 ? 1 : 0],
                            thresholds[bits > 1 ? 2 : 0]};
    for (; n >= 8 / bits; n -= 8 / bits) {
        uint32_t byte = 0;
        STRAIGHT for (uint32_t at = 0; at < 8; at += bits) {
            byte |= index_of(thresholds, few, bits, spc_key(*(*values)++)) << at;
        }
        *(*packed)++ = (uint8_t)byte;
    }
    return n;
}

void spc_quantize_pack_f32_small(const int32_t *thresholds, uint32_t bits, const float *values,
                                 size_t n, uint8_t *packed) {
    bits = SPC_BITS_OF(bits);
    OF_WHOLE_BYTES(bits, n = quantize_bytes(thresholds, BITS, &values, n, &packed))
    bit_stream stream = {packed, 0, 0};
    for (; n > 0; n--) {
        put_index(&stream, index_in(thresholds, bits, spc_key(*values++)), bits);
    }
    end_stream(&stream);
}

/* ------------------------------------------------------------------ integers */

INLINE size_t look_up_bytes(const uint8_t *table, uint32_t bits, const uint8_t **values, size_t n,
                            uint8_t **packed) {
    for (; n >= 8 / bits; n -= 8 / bits) {
        uint32_t byte = 0;
        STRAIGHT for (uint32_t at = 0; at < 8; at += bits) {
            byte |= (uint32_t)table[*(*values)++] << at;
        }
        *(*packed)++ = (uint8_t)byte;
    }
    return n;
}

void spc_look_up_pack_u8_small(const uint8_t *table, uint32_t bits, const uint8_t *values, size_t n,
                               uint8_t *packed) {
    bits = SPC_BITS_OF(bits);
    OF_WHOLE_BYTES(bits, n = look_up_bytes(table, BITS, &values, n, &packed))
    bit_stream stream = {packed, 0, 0};
    for (; n > 0; n--) {
        put_index(&stream, table[*values++], bits);
    }
    end_stream(&stream);
}
