/* ARMv8-A NEON: quantise by counting thresholds, pack by shift and insert, look up bytes of tables
 * in registers. */
#include "neon.h"

#if defined(SPC_ARM64)
#include <arm_neon.h>
#include <string.h>

#include "neon_look_up.h"
#include "neon_pack.h"
#include "neon_quantize.h"

/* ------------------------------------------------------------------ pack, unpack */

/* Sixteen indices, each moved to its place in the byte that it will share with its neighbours. */
INLINE uint8x16_t placed(const uint8_t *indices, uint8x16_t mask, int8x16_t places) {
    return vshlq_u8(vandq_u8(vld1q_u8(indices), mask), places);
}

/* bits 1, 2 or 4: 8 / bits neighbours share a byte; pairwise adds bring them together. */
INLINE void pack_whole(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed) {
    static const int8_t all_places[3][16] = {
        {0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7},
        {0, 2, 4, 6, 0, 2, 4, 6, 0, 2, 4, 6, 0, 2, 4, 6},
        {0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 0, 4, 0, 4},
    };
    const int8x16_t places = vld1q_s8(all_places[bits / 2]);
    const uint8x16_t mask = vdupq_n_u8((uint8_t)((1u << bits) - 1));
    const size_t vectors = 8 / bits; /* of 16 indices, for 16 packed bytes */
    size_t done = 0;
    for (; done + 16 * vectors <= n; done += 16 * vectors) {
        uint8x16_t x[8];
        for (size_t i = 0; i < vectors; i++) {
            x[i] = placed(indices + done + 16 * i, mask, places);
        }
        for (size_t left = vectors; left > 1; left /= 2) {
            for (size_t i = 0; i < left / 2; i++) {
                x[i] = vpaddq_u8(x[2 * i], x[2 * i + 1]);
            }
        }
        vst1q_u8(packed, x[0]);
        packed += 16;
    }
    spc_pack_reference(indices + done, n - done, bits, packed);
}

/* bits 3, 5, 6 or 7. */
INLINE void pack_joined(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed) {
    size_t done = 0;
    for (; done + 32 <= n; done += 32) {
        uint8x16_t low = join(vld1q_u8(indices + done), bits);
        uint8x16_t high = join(vld1q_u8(indices + done + 16), bits);
        if (bits == 3) {
            store_threes(packed, low, high);
        } else {
            store_joined(packed, low, high, bits);
        }
        packed += 4 * bits;
    }
    spc_pack_reference(indices + done, n - done, bits, packed);
}

INLINE void unpack(const uint8_t *packed, size_t n, uint32_t bits, uint8_t *indices) {
    const uint8x16_t mask = vdupq_n_u8((uint8_t)((1u << bits) - 1));
    const uint8_t *end = packed + spc_packed_size(n, bits);
    for (; n >= 16 && (size_t)(end - packed) >= UNPACK_READS(bits); n -= 16) {
        vst1q_u8(indices, vandq_u8(unpack16(packed, bits), mask));
        packed += 2 * bits;
        indices += 16;
    }
    spc_unpack_reference(packed, n, bits, indices);
}

INLINE void pack_any(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed) {
    if (bits == 8) {
        memcpy(packed, indices, n);
    } else if (8 % bits == 0) {
        pack_whole(indices, n, bits, packed);
    } else {
        pack_joined(indices, n, bits, packed);
    }
}

static void pack_neon(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed){
    SPC_WITH_CONSTANT_BITS(bits, pack_any(indices, n, BITS, packed))}

INLINE void unpack_any(const uint8_t *packed, size_t n, uint32_t bits, uint8_t *indices) {
    if (bits == 8) {
        memcpy(indices, packed, n);
    } else {
        unpack(packed, n, bits, indices);
    }
}

static void unpack_neon(const uint8_t *packed, size_t n, uint32_t bits, uint8_t *indices){
    SPC_WITH_CONSTANT_BITS(bits, unpack_any(packed, n, BITS, indices))}

/* ------------------------------------------------------------------ checksum */

#if defined(__clang__)
#define CRC __attribute__((target("crc")))
#define CRC32C_WORD __builtin_arm_crc32cd
#define CRC32C_BYTE __builtin_arm_crc32cb
#else
#define CRC __attribute__((target("+crc")))
#define CRC32C_WORD __builtin_aarch64_crc32cx
#define CRC32C_BYTE __builtin_aarch64_crc32cb
#endif

CRC static uint32_t crc32c_arm(uint32_t state, const uint8_t *bytes, size_t len) {
    for (; len >= 8; bytes += 8, len -= 8) {
        uint64_t word;
        memcpy(&word, bytes, sizeof word);
        state = CRC32C_WORD(state, word);
    }
    for (; len > 0; bytes++, len--) {
        state = CRC32C_BYTE(state, *bytes);
    }
    return state;
}

const spc_kernels spc_kernels_neon = {
    .name = "neon",
    .features = SPC_CPU_NEON,
    .quantize_f32 = quantize_f32_neon,
    .quantize_f16 = quantize_f16_neon,
    .quantize_i8 = quantize_i8_neon,
    .quantize_channels_f32 = quantize_channels_f32_neon,
    .pack = pack_neon,
    .unpack = unpack_neon,
    .look_up_f32 = look_up_f32_neon,
    .look_up_u16 = look_up_u16_neon,
    .look_up_u8 = look_up_u8_neon,
    .quantize_pack_f32 = quantize_pack_f32_neon,
    .unpack_look_up_f32 = unpack_look_up_f32_neon,
    SPC_CONTEXT_KERNELS(neon),
    .crc32c = spc_crc32c_reference,
};

const spc_kernels spc_kernels_neon_crc = {
    .name = "neon+crc",
    .features = SPC_CPU_NEON | SPC_CPU_ARM_CRC,
    .quantize_f32 = quantize_f32_neon,
    .quantize_f16 = quantize_f16_neon,
    .quantize_i8 = quantize_i8_neon,
    .quantize_channels_f32 = quantize_channels_f32_neon,
    .pack = pack_neon,
    .unpack = unpack_neon,
    .look_up_f32 = look_up_f32_neon,
    .look_up_u16 = look_up_u16_neon,
    .look_up_u8 = look_up_u8_neon,
    .quantize_pack_f32 = quantize_pack_f32_neon,
    .unpack_look_up_f32 = unpack_look_up_f32_neon,
    SPC_CONTEXT_KERNELS(neon),
    .crc32c = crc32c_arm,
};

#endif
