/*
 * The table of kernels, one set per instruction set, and the rung chosen for this CPU.
 *
 * A set is a whole table: what an instruction set does not speed up is the reference kernel again.
 * Reference kernels are the definition; every other one must match them byte for byte.  Kernels
 * write nothing beyond their output and read nothing beyond their input, and n is never 0.
 */
#ifndef SPC_KERNELS_H
#define SPC_KERNELS_H

#include "context.h"
#include "cpu.h"
#include "splitcodec.h"

/* With more, a table of all integers takes less. */
#define SPC_QUANTIZE_I8_BITS (SPC_HELIUM ? 2 : 5)
#define SPC_UNPACK_LOOK_UP_BITS 4

typedef struct spc_kernels {
    const char *name;
    uint32_t features; /* spc_cpu bits that must all be present */

    /* thresholds: 2^bits - 1 ascending keys, possibly coinciding */
    void (*quantize_f32)(const int32_t *thresholds, uint32_t bits, const float *values, size_t n,
                         uint8_t *indices);
    /* the same for the bits of float16 or bfloat16: see half.h */
    void (*quantize_f16)(const int16_t *thresholds, uint32_t bits, const uint16_t *values, size_t n,
                         uint8_t *indices);
    /* the same for (int8_t)(values[i] ^ flip); flip is 0, or 0x80 for unsigned values; at most
     * SPC_QUANTIZE_I8_BITS.  NULL: look_up_u8 in a table of all 256 is as fast, as beyond them */
    void (*quantize_i8)(const int8_t *thresholds, uint32_t bits, uint8_t flip,
                        const uint8_t *values, size_t n, uint8_t *indices);
    /* values[i] belongs to channel (first + i) % channels, first < channels; threshold k of channel
     * c is thresholds[k * channels + c] */
    void (*quantize_channels_f32)(const int32_t *thresholds, uint32_t bits, size_t channels,
                                  size_t first, const float *values, size_t n, uint8_t *indices);
    void (*pack)(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed);
    void (*unpack)(const uint8_t *packed, size_t n, uint32_t bits, uint8_t *indices);
    /* table[index & (2^bits - 1)] for each index, from a table of 2^bits; all return the OR of the
     * indices, stray bits included.  The values of look_up_u8 may take the place of its indices. */
    uint32_t (*look_up_f32)(const float *table, uint32_t bits, const uint8_t *indices, size_t n,
                            float *values);
    uint32_t (*look_up_u16)(const uint16_t *table, uint32_t bits, const uint8_t *indices, size_t n,
                            uint16_t *values);
    uint32_t (*look_up_u8)(const uint8_t *table, uint32_t bits, const uint8_t *indices, size_t n,
                           uint8_t *values);

    /* Two steps in one, NULL where going block by block through both is as fast; as it is for more
     * bits than SPC_UNPACK_LOOK_UP_BITS. */
    void (*quantize_pack_f32)(const int32_t *thresholds, uint32_t bits, const float *values,
                              size_t n, uint8_t *packed);
    void (*unpack_look_up_f32)(const float *table, uint32_t bits, const uint8_t *packed, size_t n,
                               float *values);

    /* Quantise by a table of all 256 integers and pack. */
    void (*look_up_pack_u8)(const uint8_t *table, uint32_t bits, const uint8_t *values, size_t n,
                            uint8_t *packed);

    /* Quantise and pack as many as are done best in one step, of whole bytes; returns how many,
     * which may be none.  NULL: none. */
    size_t (*quantize_bytes_f32)(const int32_t *thresholds, uint32_t bits, const float *values,
                                 size_t n, uint8_t *packed);
    size_t (*quantize_bytes_i8)(const int8_t *thresholds, uint32_t bits, uint8_t flip,
                                const uint8_t *values, size_t n, uint8_t *packed);

    /* see context.h */
    size_t (*context_encode)(spc_context_state *state, const uint8_t *symbols, uint8_t *payload,
                             size_t cap);
    int (*context_decode)(spc_context_state *state, const uint8_t *payload, size_t len,
                          uint8_t *symbols);

    /* CRC-32C without the inversion before and after */
    uint32_t (*crc32c)(uint32_t state, const uint8_t *bytes, size_t len);
} spc_kernels;

/* Reference kernels, also what other sets use for the ends of a buffer. */
void spc_quantize_f32_reference(const int32_t *thresholds, uint32_t bits, const float *values,
                                size_t n, uint8_t *indices);
void spc_quantize_f16_reference(const int16_t *thresholds, uint32_t bits, const uint16_t *values,
                                size_t n, uint8_t *indices);
void spc_quantize_channels_f32_reference(const int32_t *thresholds, uint32_t bits, size_t channels,
                                         size_t first, const float *values, size_t n,
                                         uint8_t *indices);
void spc_pack_reference(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed);
void spc_unpack_reference(const uint8_t *packed, size_t n, uint32_t bits, uint8_t *indices);
uint32_t spc_look_up_f32_reference(const float *table, uint32_t bits, const uint8_t *indices,
                                   size_t n, float *values);
uint32_t spc_look_up_u16_reference(const uint16_t *table, uint32_t bits, const uint8_t *indices,
                                   size_t n, uint16_t *values);
uint32_t spc_look_up_u8_reference(const uint8_t *table, uint32_t bits, const uint8_t *indices,
                                  size_t n, uint8_t *values);
uint32_t spc_crc32c_reference(uint32_t state, const uint8_t *bytes, size_t len);

/* The OR of all bytes of a word, as look_up_* return it. */
static inline uint32_t spc_or_of_word(uint64_t word) {
    word |= word >> 32;
    word |= word >> 16;
    return (uint32_t)(word | word >> 8) & 0xff;
}

/* What both tables without vectors have. */
#define SPC_REFERENCE_STEPS                                                                        \
    .features = 0, .quantize_f32 = spc_quantize_f32_reference,                                     \
    .quantize_f16 = spc_quantize_f16_reference,                                                    \
    .quantize_channels_f32 = spc_quantize_channels_f32_reference, .pack = spc_pack_reference,      \
    .unpack = spc_unpack_reference, .look_up_f32 = spc_look_up_f32_reference,                      \
    .look_up_u16 = spc_look_up_u16_reference, .look_up_u8 = spc_look_up_u8_reference,              \
    SPC_CONTEXT_KERNELS(reference), .crc32c = spc_crc32c_reference

extern const spc_kernels spc_kernels_reference;
#if defined(SPC_X86)
extern const spc_kernels spc_kernels_sse42;
extern const spc_kernels spc_kernels_avx2;
extern const spc_kernels spc_kernels_avx512;
#elif defined(SPC_ARM64)
extern const spc_kernels spc_kernels_neon;
extern const spc_kernels spc_kernels_neon_crc;
#endif

/* Makes `call` with BITS a constant equal to `bits`, so that what is inlined there unrolls. */
#define SPC_WITH_CONSTANT_BITS(bits, call)                                                         \
    switch (bits) {                                                                                \
        SPC_BITS_CASE(1, call)                                                                     \
        SPC_BITS_CASE(2, call)                                                                     \
        SPC_BITS_CASE(3, call)                                                                     \
        SPC_BITS_CASE(4, call)                                                                     \
        SPC_BITS_CASE(5, call)                                                                     \
        SPC_BITS_CASE(6, call)                                                                     \
        SPC_BITS_CASE(7, call)                                                                     \
        SPC_BITS_CASE(8, call)                                                                     \
    }
/* Small builds leave out widths that are not built; others look integers up with 8 bits. */
#define SPC_BITS_CASE(width, call)                                                                 \
    case width: {                                                                                  \
        enum { BITS = width };                                                                     \
        if (SPC_HAS_BITS(width) || !SPC_ONE_SET) {                                                 \
            call;                                                                                  \
        }                                                                                          \
        break;                                                                                     \
    }

/* The kernels of coder 4 in a set; those with vectors lay out the model first, which takes work. */
#if SPC_HOSTED
#define SPC_CONTEXT_KERNELS(set)                                                                   \
    .context_encode = spc_context_encode_##set, .context_decode = spc_context_decode_##set
#else
#define SPC_CONTEXT_KERNELS(set)                                                                   \
    .context_encode = spc_context_encode_reference, .context_decode = spc_context_decode_reference
#endif

/* The fastest set that this CPU and the mask allow. */
#if SPC_ONE_SET
void spc_quantize_pack_f32_small(const int32_t *thresholds, uint32_t bits, const float *values,
                                 size_t n, uint8_t *packed);
void spc_look_up_pack_u8_small(const uint8_t *table, uint32_t bits, const uint8_t *values, size_t n,
                               uint8_t *packed);

void spc_quantize_f32_helium(const int32_t *thresholds, uint32_t bits, const float *values,
                             size_t n, uint8_t *indices);
void spc_quantize_i8_helium(const int8_t *thresholds, uint32_t bits, uint8_t flip,
                            const uint8_t *values, size_t n, uint8_t *indices);
size_t spc_quantize_bytes_f32_helium(const int32_t *thresholds, uint32_t bits, const float *values,
                                     size_t n, uint8_t *packed);
size_t spc_quantize_bytes_i8_helium(const int8_t *thresholds, uint32_t bits, uint8_t flip,
                                    const uint8_t *values, size_t n, uint8_t *packed);
void spc_pack_helium(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed);
uint32_t spc_look_up_f32_helium(const float *table, uint32_t bits, const uint8_t *indices, size_t n,
                                float *values);
uint32_t spc_look_up_u8_helium(const uint8_t *table, uint32_t bits, const uint8_t *indices,
                               size_t n, uint8_t *values);

static inline const spc_kernels *spc_kernels_get(void) {
#if SPC_HELIUM
    static const spc_kernels kernels = {
        .name = "helium",
        .quantize_f32 = spc_quantize_f32_helium,
        .quantize_f16 = spc_quantize_f16_reference,
        .quantize_i8 = spc_quantize_i8_helium,
        .quantize_channels_f32 = spc_quantize_channels_f32_reference,
        .pack = spc_pack_helium,
        .unpack = spc_unpack_reference,
        .look_up_f32 = spc_look_up_f32_helium,
        .look_up_u16 = spc_look_up_u16_reference,
        .look_up_u8 = spc_look_up_u8_helium,
        .quantize_bytes_f32 = spc_quantize_bytes_f32_helium,
        .quantize_bytes_i8 = spc_quantize_bytes_i8_helium,
        SPC_CONTEXT_KERNELS(reference),
        .crc32c = spc_crc32c_reference,
    };
#else
    static const spc_kernels kernels = {
        .name = "small",
        SPC_REFERENCE_STEPS,
        .quantize_pack_f32 = spc_quantize_pack_f32_small,
        .look_up_pack_u8 = spc_look_up_pack_u8_small,
    };
#endif
    return &kernels;
}
#else
const spc_kernels *spc_kernels_get(void);
#endif

#endif
