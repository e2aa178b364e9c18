/* ARMv8-A NEON: quantise by counting thresholds, pack by shift and pairwise add. */
#include "../kernels.h"

#if defined(SPC_ARM64)
#include <arm_neon.h>
#include <string.h>

#define INLINE __attribute__((always_inline)) static inline

INLINE int32x4_t load_keys(const float *values) {
    int32x4_t raw = vreinterpretq_s32_f32(vld1q_f32(values));
    uint32x4_t flip = vshrq_n_u32(vreinterpretq_u32_s32(vshrq_n_s32(raw, 31)), 1);
    return veorq_s32(raw, vreinterpretq_s32_u32(flip));
}

/* A comparison is all ones, -1, where it holds: subtracting counts. */
INLINE uint32x4_t count_below(const int32x4_t *splat, uint32_t count, int32x4_t keys) {
    uint32x4_t sum = vdupq_n_u32(0);
    for (uint32_t i = 0; i < count; i++) {
        sum = vsubq_u32(sum, vcgtq_s32(keys, splat[i]));
    }
    return sum;
}

INLINE void quantize(const int32_t *thresholds, uint32_t bits, const float *values, size_t n,
                     uint8_t *indices) {
    const uint32_t count = (1u << bits) - 1;
    int32x4_t splat[15];
    size_t done = 0;
    for (uint32_t i = 0; i < count; i++) {
        splat[i] = vdupq_n_s32(thresholds[i]);
    }
    for (; done + 16 <= n; done += 16) {
        const float *at = values + done;
        uint16x8_t a = vreinterpretq_u16_u32(count_below(splat, count, load_keys(at)));
        uint16x8_t b = vreinterpretq_u16_u32(count_below(splat, count, load_keys(at + 4)));
        uint16x8_t c = vreinterpretq_u16_u32(count_below(splat, count, load_keys(at + 8)));
        uint16x8_t d = vreinterpretq_u16_u32(count_below(splat, count, load_keys(at + 12)));
        uint8x16_t low = vreinterpretq_u8_u16(vuzp1q_u16(a, b));
        uint8x16_t high = vreinterpretq_u8_u16(vuzp1q_u16(c, d));
        vst1q_u8(indices + done, vuzp1q_u8(low, high));
    }
    spc_quantize_f32_reference(thresholds, bits, values + done, n - done, indices + done);
}

static void quantize_f32_neon(const int32_t *thresholds, uint32_t bits, const float *values,
                              size_t n, uint8_t *indices) {
    switch (bits) {
    case 1:
        quantize(thresholds, 1, values, n, indices);
        break;
    case 2:
        quantize(thresholds, 2, values, n, indices);
        break;
    case 3:
        quantize(thresholds, 3, values, n, indices);
        break;
    case 4:
        quantize(thresholds, 4, values, n, indices);
        break;
    default:
        spc_quantize_f32_reference(thresholds, bits, values, n, indices);
    }
}

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

/* 3 bits: join 2, 4, then 8 neighbours in ever wider lanes; 3 bytes of each 64-bit lane remain. */
INLINE uint64x2_t join3(uint8x16_t x) {
    uint16x8_t two = vreinterpretq_u16_u8(x);
    uint32x4_t four =
        vreinterpretq_u32_u16(vandq_u16(vorrq_u16(two, vshrq_n_u16(two, 5)), vdupq_n_u16(0x3f)));
    uint64x2_t eight = vreinterpretq_u64_u32(
        vandq_u32(vorrq_u32(four, vshrq_n_u32(four, 10)), vdupq_n_u32(0xfff)));
    return vorrq_u64(eight, vshrq_n_u64(eight, 20));
}

static void pack3(const uint8_t *indices, size_t n, uint8_t *packed) {
    static const uint8_t take[16] = {0, 1, 2, 8, 9, 10, 16, 17, 18, 24, 25, 26, 255, 255, 255, 255};
    const uint8x16_t mask = vdupq_n_u8(7);
    const uint8x16_t order = vld1q_u8(take);
    size_t done = 0;
    for (; done + 32 <= n; done += 32) {
        uint8x16x2_t pair;
        uint8_t out[16];
        pair.val[0] = vreinterpretq_u8_u64(join3(vandq_u8(vld1q_u8(indices + done), mask)));
        pair.val[1] = vreinterpretq_u8_u64(join3(vandq_u8(vld1q_u8(indices + done + 16), mask)));
        vst1q_u8(out, vqtbl2q_u8(pair, order));
        memcpy(packed, out, 12);
        packed += 12;
    }
    spc_pack_reference(indices + done, n - done, 3, packed);
}

static void pack_neon(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed) {
    switch (bits) {
    case 1:
        pack_whole(indices, n, 1, packed);
        break;
    case 2:
        pack_whole(indices, n, 2, packed);
        break;
    case 3:
        pack3(indices, n, packed);
        break;
    case 4:
        pack_whole(indices, n, 4, packed);
        break;
    case 8:
        memcpy(packed, indices, n);
        break;
    default:
        spc_pack_reference(indices, n, bits, packed);
    }
}

#if defined(__clang__)
#define CRC __attribute__((target("crc")))
#else
#define CRC __attribute__((target("+crc")))
#endif

CRC static uint32_t crc32c_arm(uint32_t state, const uint8_t *bytes, size_t len) {
    for (; len >= 8; bytes += 8, len -= 8) {
        uint64_t word;
        memcpy(&word, bytes, sizeof word);
        state = __builtin_aarch64_crc32cx(state, word);
    }
    for (; len > 0; bytes++, len--) {
        state = __builtin_aarch64_crc32cb(state, *bytes);
    }
    return state;
}

const spc_kernels spc_kernels_neon = {
    .name = "neon",
    .features = SPC_CPU_NEON,
    .quantize_f32 = quantize_f32_neon,
    .pack = pack_neon,
    .unpack = spc_unpack_reference,
    .crc32c = spc_crc32c_reference,
};

const spc_kernels spc_kernels_neon_crc = {
    .name = "neon+crc",
    .features = SPC_CPU_NEON | SPC_CPU_ARM_CRC,
    .quantize_f32 = quantize_f32_neon,
    .pack = pack_neon,
    .unpack = spc_unpack_reference,
    .crc32c = crc32c_arm,
};

#endif
