/* Quantise with NEON: count thresholds below each value, all at once where they are few, group by
 * group where they are many. */
#ifndef SPC_ARM_NEON_QUANTIZE_H
#define SPC_ARM_NEON_QUANTIZE_H

#include <arm_neon.h>

#include "../kernels.h"
#include "neon_look_up.h"
#include "neon_pack.h"

/* ------------------------------------------------------------------ many thresholds
 *
 * From 5 bits on only `TOP_BITS` of the index come from comparing with thresholds in registers.
 * The other bits come three by three from nodes: eight neighbouring thresholds in memory, the last
 * of which is already known not to be below.  nodes[1] has every eighth one of nodes[0].
 */
#define TOP_BITS(bits) ((bits) <= 4 ? (bits) : (bits) == 8 ? 2 : (bits) - 3)
#define NODE_LEVELS(bits) (((bits) - TOP_BITS(bits)) / 3)
/* Four top bits are two and two more: see count_top. */
#define IN_REGISTERS(bits) (TOP_BITS(bits) == 4 ? 2 : TOP_BITS(bits))

INLINE uint8x16_t negated(uint8x16_t x) {
    return vreinterpretq_u8_s8(vnegq_s8(vreinterpretq_s8_u8(x)));
}

/* ------------------------------------------------------------------ float32 */

/* Which values a kernel compares: keys, or their raw bits as they are loaded.  Those are in order
 * as signed numbers against a threshold that is not negative, and backwards as unsigned numbers
 * against one that is; the first `negative` thresholds are then the raw bits too. */
typedef struct way {
    int raw;
    uint32_t negative;
} way;

typedef struct search32 {
    int32x4_t top[7];
    uint8x16_t between[3]; /* four top bits: the three thresholds between two of `top`, by place */
    int32_t nodes[2][SPC_MAX_CENTROIDS];
} search32;

INLINE void search32_init(search32 *s, const int32_t *thresholds, uint32_t bits, way w) {
    const uint32_t step = 1u << (bits - IN_REGISTERS(bits)), levels = NODE_LEVELS(bits);
    for (uint32_t i = 0; i + 1 < 1u << IN_REGISTERS(bits); i++) {
        int32_t key = thresholds[step * (i + 1) - 1];
        s->top[i] = vdupq_n_s32(i < w.negative ? key ^ INT32_MAX : key);
    }
    for (uint32_t k = 0; TOP_BITS(bits) == 4 && k < 3; k++) {
        const int32_t *from = thresholds + step / 4 * (k + 1) - 1;
        int32_t keys[4] = {from[0], from[step], from[2 * step], from[3 * step]};
        s->between[k] = vreinterpretq_u8_s32(vld1q_s32(keys));
    }
    if (levels > 0) {
        memcpy(s->nodes[0], thresholds, sizeof *thresholds * ((1u << bits) - 1));
        s->nodes[0][(1u << bits) - 1] = INT32_MAX;
    }
    for (uint32_t i = 0; levels > 1 && i < 1u << (bits - 3); i++) {
        s->nodes[1][i] = s->nodes[0][8 * i + 7];
    }
}

INLINE int32x4_t load_values(const float *values, way w) {
    int32x4_t raw = vreinterpretq_s32_f32(vld1q_f32(values));
    uint32x4_t flip = vandq_u32(vcltzq_s32(raw), vdupq_n_u32(INT32_MAX));
    return w.raw ? raw : veorq_s32(raw, vreinterpretq_s32_u32(flip));
}

INLINE uint8x16_t above(int32x4_t x, int32x4_t threshold, int negative) {
    return U8_OF_U32(negative
                         ? vcltq_u32(vreinterpretq_u32_s32(x), vreinterpretq_u32_s32(threshold))
                         : vcgtq_s32(x, threshold));
}

/* Minus the top bits of the indices, in all four bytes of each lane: a comparison that holds is all
 * ones, -1, so that adding them counts down. */
INLINE uint8x16_t count_top(const search32 *s, uint32_t bits, int32x4_t x, way w) {
    uint8x16_t sum = above(x, s->top[0], w.negative > 0);
    for (uint32_t i = 1; i + 1 < 1u << IN_REGISTERS(bits); i++) {
        sum = vaddq_u8(sum, above(x, s->top[i], i < w.negative));
    }
    if (TOP_BITS(bits) == 4) {
        const uint8x16_t lane = U8_OF_U32(vdupq_n_u32(0x03020100));
        uint8x16_t four = vshlq_n_u8(sum, 2), at = vsubq_u8(lane, four);
        sum = four;
        for (uint32_t k = 0; k < 3; k++) {
            int32x4_t threshold = vreinterpretq_s32_u8(vqtbl1q_u8(s->between[k], at));
            sum = vaddq_u8(sum, above(x, threshold, 0));
        }
    }
    return sum;
}

/* Minus how many of a node are below, spread over four lanes. */
INLINE int32x4_t count_node(const int32_t *node, int32x4_t x) {
    uint32x4_t a = vcgtq_s32(x, vld1q_s32(node)), b = vcgtq_s32(x, vld1q_s32(node + 4));
    return vreinterpretq_s32_u32(vaddq_u32(a, b));
}

/* Four values in the nodes that four bytes say. */
INLINE int32x4_t count_nodes4(const int32_t *nodes, uint32_t indices, int32x4_t x) {
    int32x4_t a = count_node(nodes + 8 * (indices & 0xff), vdupq_laneq_s32(x, 0));
    int32x4_t b = count_node(nodes + 8 * (indices >> 8 & 0xff), vdupq_laneq_s32(x, 1));
    int32x4_t c = count_node(nodes + 8 * (indices >> 16 & 0xff), vdupq_laneq_s32(x, 2));
    int32x4_t d = count_node(nodes + 8 * (indices >> 24), vdupq_laneq_s32(x, 3));
    return vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d));
}

INLINE uint8x16_t count_nodes(const int32_t *nodes, uint8x16_t indices, const int32x4_t *x) {
    uint64_t low = vgetq_lane_u64(U64_OF_U8(indices), 0);
    uint64_t high = vgetq_lane_u64(U64_OF_U8(indices), 1);
    uint8x16_t counts[4] = {
        vreinterpretq_u8_s32(count_nodes4(nodes, (uint32_t)low, x[0])),
        vreinterpretq_u8_s32(count_nodes4(nodes, (uint32_t)(low >> 32), x[1])),
        vreinterpretq_u8_s32(count_nodes4(nodes, (uint32_t)high, x[2])),
        vreinterpretq_u8_s32(count_nodes4(nodes, (uint32_t)(high >> 32), x[3])),
    };
    return vsubq_u8(vshlq_n_u8(indices, 3), in_order(merge4(counts)));
}

/* Minus the indices of 16 values, in the order of merge4. */
INLINE uint8x16_t minus_indices(const search32 *s, uint32_t bits, const float *values, way w) {
    uint8x16_t counts[4];
    for (uint32_t i = 0; i < 4; i++) {
        counts[i] = count_top(s, bits, load_values(values + 4 * i, w), w);
    }
    return merge4(counts);
}

INLINE uint8x16_t quantize16(const search32 *s, uint32_t bits, const float *values, way w) {
    uint8x16_t counts[4], indices;
    int32x4_t x[4];
    for (uint32_t i = 0; i < 4; i++) {
        x[i] = load_values(values + 4 * i, w);
        counts[i] = count_top(s, bits, x[i], w);
    }
    indices = in_order(negated(merge4(counts)));
    for (uint32_t level = NODE_LEVELS(bits); level-- > 0;) {
        indices = count_nodes(s->nodes[level], indices, x);
    }
    return indices;
}

INLINE void quantize_f32(const int32_t *thresholds, uint32_t bits, const float *values, size_t n,
                         uint8_t *indices) {
    const way keys = {0, 0};
    search32 s;
    size_t done = 0;
    search32_init(&s, thresholds, bits, keys);
    for (; done + 16 <= n; done += 16) {
        vst1q_u8(indices + done, quantize16(&s, bits, values + done, keys));
    }
    spc_quantize_f32_reference(thresholds, bits, values + done, n - done, indices + done);
}

static void quantize_f32_neon(const int32_t *thresholds, uint32_t bits, const float *values,
                              size_t n, uint8_t *indices){
    SPC_WITH_CONSTANT_BITS(bits, quantize_f32(thresholds, BITS, values, n, indices))}

/* ------------------------------------------------------------------ float32 to packed */

#define PACKED_AT_ONCE(bits) ((bits) == 1 ? 128u : (bits) == 2 ? 64u : 32u)

/* 32 values at 1 bit: each lane has its bit of every four. */
INLINE uint8x16_t bits_of_32(const search32 *s, const float *values, way w) {
    const uint8x16_t own =
        U8_OF_U32(vcombine_u32(vcreate_u32(0x2222222211111111), vcreate_u32(0x8888888844444444)));
    uint8x16_t low[4], high[4];
    for (uint32_t i = 0; i < 4; i++) {
        low[i] = count_top(s, 1, load_values(values + 8 * i, w), w);
        high[i] = count_top(s, 1, load_values(values + 8 * i + 4, w), w);
    }
    return vandq_u8(vsliq_n_u8(merge4(low), merge4(high), 4), own);
}

INLINE uint8x16_t add_pairs(uint8x16_t a, uint8x16_t b) {
    return U8_OF_U32(vpaddq_u32(U32_OF_U8(a), U32_OF_U8(b)));
}

INLINE void pack128_of_1(const search32 *s, const float *values, way w, uint8_t *packed) {
    uint8x16_t a = bits_of_32(s, values, w), b = bits_of_32(s, values + 32, w);
    uint8x16_t c = bits_of_32(s, values + 64, w), d = bits_of_32(s, values + 96, w);
    vst1q_u8(packed, add_pairs(add_pairs(a, b), add_pairs(c, d)));
}

/* Lanes 0 and 2 of both, and lanes 1 and 3 of both: neighbours face each other. */
INLINE uint32x4x2_t face(uint8x16_t a, uint8x16_t b) {
    uint32x4x2_t out = {
        {vtrn1q_u32(U32_OF_U8(a), U32_OF_U8(b)), vtrn2q_u32(U32_OF_U8(a), U32_OF_U8(b))}};
    return out;
}

INLINE uint64x2_t pairs_of_2(uint8x16_t a, uint8x16_t b) {
    uint32x4x2_t x = face(a, b);
    return U64_OF_U8(vsliq_n_u8(U8_OF_U32(x.val[0]), U8_OF_U32(x.val[1]), 2));
}

INLINE void pack64_of_2(const search32 *s, const float *values, way w, uint8_t *packed) {
    uint8x16_t a = minus_indices(s, 2, values, w), b = minus_indices(s, 2, values + 16, w);
    uint8x16_t c = minus_indices(s, 2, values + 32, w), d = minus_indices(s, 2, values + 48, w);
    uint64x2_t low = pairs_of_2(a, b), high = pairs_of_2(c, d);
    uint8x16_t x =
        vsliq_n_u8(U8_OF_U64(vtrn1q_u64(low, high)), U8_OF_U64(vtrn2q_u64(low, high)), 4);
    /* minus a two-bit number is the number, its upper bit flipped where the lower one is set */
    uint8x16_t odd = vandq_u8(x, vdupq_n_u8(0x55));
    vst1q_u8(packed, veorq_u8(x, vaddq_u8(odd, odd)));
}

/* 3 or 4 bits: pairs of neighbours in the bytes, in order. */
INLINE uint8x16_t pairs_of_32(const search32 *s, uint32_t bits, const float *values, way w) {
    static const uint8_t order[16] = {0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15};
    uint8x16_t a = negated(minus_indices(s, bits, values, w));
    uint8x16_t b = negated(minus_indices(s, bits, values + 16, w));
    uint32x4x2_t x = face(a, b);
    uint8x16_t even = U8_OF_U32(x.val[0]), odd = U8_OF_U32(x.val[1]);
    return vqtbl1q_u8(bits == 3 ? vsliq_n_u8(even, odd, 3) : vsliq_n_u8(even, odd, 4),
                      vld1q_u8(order));
}

INLINE void pack32_of_3(const search32 *s, const float *values, way w, uint8_t *packed) {
    static const uint8_t order[16] = {0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 255, 255, 255, 255};
    uint16x8_t four = U16_OF_U8(pairs_of_32(s, 3, values, w));
    uint32x4_t eight;
    uint8x16_t x;
    four = vsliq_n_u16(four, vshrq_n_u16(four, 8), 6);
    eight = vreinterpretq_u32_u16(four);
    x = U8_OF_U32(vsliq_n_u32(eight, vshrq_n_u32(eight, 16), 12));
    store_twelve(packed, vqtbl1q_u8(x, vld1q_u8(order)));
}

INLINE void pack_at_once(const search32 *s, uint32_t bits, const float *values, way w,
                         uint8_t *packed) {
    if (bits == 1) {
        pack128_of_1(s, values, w, packed);
    } else if (bits == 2) {
        pack64_of_2(s, values, w, packed);
    } else if (bits == 3) {
        pack32_of_3(s, values, w, packed);
    } else if (bits == 4) {
        vst1q_u8(packed, pairs_of_32(s, 4, values, w));
    } else {
        uint8x16_t low = quantize16(s, bits, values, w);
        uint8x16_t high = quantize16(s, bits, values + 16, w);
        if (bits == 8) {
            vst1q_u8(packed, low);
            vst1q_u8(packed + 16, high);
        } else {
            store_joined(packed, join(low, bits), join(high, bits), bits);
        }
    }
}

INLINE void quantize_pack_way(const int32_t *thresholds, uint32_t bits, const float *values,
                              size_t n, uint8_t *packed, way w) {
    uint8_t rest[128];
    search32 s;
    search32_init(&s, thresholds, bits, w);
    for (; n >= PACKED_AT_ONCE(bits); n -= PACKED_AT_ONCE(bits)) {
        pack_at_once(&s, bits, values, w, packed);
        values += PACKED_AT_ONCE(bits);
        packed += PACKED_AT_ONCE(bits) / 8 * bits;
    }
    if (n > 0) {
        quantize_f32_neon(thresholds, bits, values, n, rest);
        spc_pack_reference(rest, n, bits, packed);
    }
}

/* Raw bits where that takes few versions: any thresholds up to 2 bits, and none below zero, as for
 * the features behind a ReLU, up to 4. */
INLINE void quantize_pack(const int32_t *thresholds, uint32_t bits, const float *values, size_t n,
                          uint8_t *packed) {
    const way keys = {0, 0}, raw[4] = {{1, 0}, {1, 1}, {1, 2}, {1, 3}};
    uint32_t negative = 0;
    while (bits <= 2 && negative + 1 < 1u << bits && thresholds[negative] < 0) {
        negative++;
    }
    if (bits > 4 || (bits > 2 && thresholds[0] < 0)) {
        quantize_pack_way(thresholds, bits, values, n, packed, keys);
    } else if (negative == 0) {
        quantize_pack_way(thresholds, bits, values, n, packed, raw[0]);
    } else if (negative == 1) {
        quantize_pack_way(thresholds, bits, values, n, packed, raw[1]);
    } else if (negative == 2) {
        quantize_pack_way(thresholds, bits, values, n, packed, raw[2]);
    } else {
        quantize_pack_way(thresholds, bits, values, n, packed, raw[3]);
    }
}

static void quantize_pack_f32_neon(const int32_t *thresholds, uint32_t bits, const float *values,
                                   size_t n, uint8_t *packed){
    SPC_WITH_CONSTANT_BITS(bits, quantize_pack(thresholds, BITS, values, n, packed))}

/* ------------------------------------------------------------------ a codebook per channel */

/* Four neighbouring channels; threshold k of theirs is at thresholds + k * channels. */
INLINE void quantize_channels4(const int32_t *thresholds, uint32_t bits, size_t channels,
                               const float *values, uint8_t *indices) {
    const way keys = {0, 0};
    int32x4_t x = load_values(values, keys);
    uint8x16_t sum = above(x, vld1q_s32(thresholds), 0);
    uint16x4_t half;
    uint8x8_t out;
    for (uint32_t k = 1; k + 1 < 1u << bits; k++) {
        sum = vaddq_u8(sum, above(x, vld1q_s32(thresholds + k * channels), 0));
    }
    half = vmovn_u32(U32_OF_U8(negated(sum)));
    out = vmovn_u16(vcombine_u16(half, half));
    vst1_lane_u32((uint32_t *)(void *)indices, vreinterpret_u32_u8(out), 0);
}

/* Position by position; the last four channels of one may be done twice. */
INLINE void quantize_channels(const int32_t *thresholds, uint32_t bits, size_t channels,
                              size_t first, const float *values, size_t n, uint8_t *indices) {
    while (n > 0) {
        size_t count = channels - first < n ? channels - first : n, done = 0;
        for (; done + 4 <= count; done += 4) {
            quantize_channels4(thresholds + first + done, bits, channels, values + done,
                               indices + done);
        }
        if (done < count && count >= 4) {
            done = count - 4;
            quantize_channels4(thresholds + first + done, bits, channels, values + done,
                               indices + done);
            done = count;
        }
        spc_quantize_channels_f32_reference(thresholds, bits, channels, first + done, values + done,
                                            count - done, indices + done);
        values += count;
        indices += count;
        n -= count;
        first = 0;
    }
}

static void quantize_channels_f32_neon(const int32_t *thresholds, uint32_t bits, size_t channels,
                                       size_t first, const float *values, size_t n,
                                       uint8_t *indices) {
    if (bits <= 4 && channels >= 4) {
        SPC_WITH_CONSTANT_BITS(
            bits, quantize_channels(thresholds, BITS, channels, first, values, n, indices))
    } else {
        spc_quantize_channels_f32_reference(thresholds, bits, channels, first, values, n, indices);
    }
}

/* ------------------------------------------------------------------ 16-bit floats
 *
 * The same as for float32 with half of the lanes' width: a node is one vector.
 */
typedef struct search16 {
    int16x8_t top[7];
    uint8x16_t between[3];
    int16_t nodes[2][SPC_MAX_CENTROIDS];
} search16;

INLINE void search16_init(search16 *s, const int16_t *thresholds, uint32_t bits) {
    const uint32_t step = 1u << (bits - IN_REGISTERS(bits)), levels = NODE_LEVELS(bits);
    for (uint32_t i = 0; i + 1 < 1u << IN_REGISTERS(bits); i++) {
        s->top[i] = vdupq_n_s16(thresholds[step * (i + 1) - 1]);
    }
    for (uint32_t k = 0; TOP_BITS(bits) == 4 && k < 3; k++) {
        const int16_t *from = thresholds + step / 4 * (k + 1) - 1;
        int16_t keys[8] = {from[0], from[step], from[2 * step], from[3 * step]};
        s->between[k] = vreinterpretq_u8_s16(vld1q_s16(keys));
    }
    if (levels > 0) {
        memcpy(s->nodes[0], thresholds, sizeof *thresholds * ((1u << bits) - 1));
        s->nodes[0][(1u << bits) - 1] = INT16_MAX;
    }
    for (uint32_t i = 0; levels > 1 && i < 1u << (bits - 3); i++) {
        s->nodes[1][i] = s->nodes[0][8 * i + 7];
    }
}

INLINE int16x8_t load_keys16(const uint16_t *values) {
    int16x8_t raw = vreinterpretq_s16_u16(vld1q_u16(values));
    uint16x8_t flip = vandq_u16(vcltzq_s16(raw), vdupq_n_u16(INT16_MAX));
    return veorq_s16(raw, vreinterpretq_s16_u16(flip));
}

INLINE uint8x16_t above16(int16x8_t x, int16x8_t threshold) {
    return U8_OF_U16(vcgtq_s16(x, threshold));
}

INLINE uint8x16_t count_top16(const search16 *s, uint32_t bits, int16x8_t x) {
    uint8x16_t sum = above16(x, s->top[0]);
    for (uint32_t i = 1; i + 1 < 1u << IN_REGISTERS(bits); i++) {
        sum = vaddq_u8(sum, above16(x, s->top[i]));
    }
    if (TOP_BITS(bits) == 4) {
        const uint8x16_t lane = U8_OF_U16(vdupq_n_u16(0x0100));
        uint8x16_t four = vshlq_n_u8(sum, 2), at = vsubq_u8(lane, vshlq_n_u8(sum, 1));
        sum = four;
        for (uint32_t k = 0; k < 3; k++) {
            int16x8_t threshold = vreinterpretq_s16_u8(vqtbl1q_u8(s->between[k], at));
            sum = vaddq_u8(sum, above16(x, threshold));
        }
    }
    return sum;
}

/* Minus how many of the node of a value are below, over eight lanes. */
INLINE int16x8_t count_node16(const int16_t *nodes, uint64_t index, int16x8_t x) {
    return vreinterpretq_s16_u16(vcgtq_s16(x, vld1q_s16(nodes + 8 * (index & 0xff))));
}

INLINE int16x8_t count_nodes16(const int16_t *nodes, uint64_t indices, int16x8_t x) {
    int16x8_t a = count_node16(nodes, indices, vdupq_laneq_s16(x, 0));
    int16x8_t b = count_node16(nodes, indices >> 8, vdupq_laneq_s16(x, 1));
    int16x8_t c = count_node16(nodes, indices >> 16, vdupq_laneq_s16(x, 2));
    int16x8_t d = count_node16(nodes, indices >> 24, vdupq_laneq_s16(x, 3));
    int16x8_t e = count_node16(nodes, indices >> 32, vdupq_laneq_s16(x, 4));
    int16x8_t f = count_node16(nodes, indices >> 40, vdupq_laneq_s16(x, 5));
    int16x8_t g = count_node16(nodes, indices >> 48, vdupq_laneq_s16(x, 6));
    int16x8_t h = count_node16(nodes, indices >> 56, vdupq_laneq_s16(x, 7));
    return vpaddq_s16(vpaddq_s16(vpaddq_s16(a, b), vpaddq_s16(c, d)),
                      vpaddq_s16(vpaddq_s16(e, f), vpaddq_s16(g, h)));
}

INLINE void quantize_f16(const int16_t *thresholds, uint32_t bits, const uint16_t *values, size_t n,
                         uint8_t *indices) {
    search16 s;
    size_t done = 0;
    search16_init(&s, thresholds, bits);
    for (; done + 16 <= n; done += 16) {
        int16x8_t low = load_keys16(values + done), high = load_keys16(values + done + 8);
        uint8x16_t found =
            narrow2(U16_OF_U8(count_top16(&s, bits, low)), U16_OF_U8(count_top16(&s, bits, high)));
        found = negated(found);
        for (uint32_t level = NODE_LEVELS(bits); level-- > 0;) {
            const int16_t *nodes = s.nodes[level];
            uint64x2_t words = U64_OF_U8(found);
            int16x8_t a = count_nodes16(nodes, vgetq_lane_u64(words, 0), low);
            int16x8_t b = count_nodes16(nodes, vgetq_lane_u64(words, 1), high);
            uint8x16_t counts = narrow2(vreinterpretq_u16_s16(a), vreinterpretq_u16_s16(b));
            found = vsubq_u8(vshlq_n_u8(found, 3), counts);
        }
        vst1q_u8(indices + done, found);
    }
    spc_quantize_f16_reference(thresholds, bits, values + done, n - done, indices + done);
}

static void quantize_f16_neon(const int16_t *thresholds, uint32_t bits, const uint16_t *values,
                              size_t n, uint8_t *indices) {
    SPC_WITH_CONSTANT_BITS(bits, quantize_f16(thresholds, BITS, values, n, indices))
}

/* ------------------------------------------------------------------ 8-bit integers
 *
 * Thresholds in tables by place, two bits of the index at a time: 1, 1 or 4 registers for each of
 * the three between two.
 */
#define TOP_BITS8(bits) ((bits) <= 3 ? (bits) : (bits) % 2 ? 3 : 2)
#define STEPS8(bits) (((bits) - TOP_BITS8(bits)) / 2)

typedef struct search8 {
    int8x16_t top[7];
    uint8x16_t between[3][3][4];
} search8;

INLINE void search8_init(search8 *s, const int8_t *thresholds, uint32_t bits) {
    uint32_t step = 1u << (bits - TOP_BITS8(bits)), places = 1u << TOP_BITS8(bits);
    for (uint32_t i = 0; i + 1 < places; i++) {
        s->top[i] = vdupq_n_s8(thresholds[step * (i + 1) - 1]);
    }
    for (uint32_t level = 0; level < STEPS8(bits); level++) {
        for (uint32_t k = 0; k < 3; k++) {
            int8_t keys[64] = {0};
            for (uint32_t i = 0; i < places; i++) {
                keys[i] = thresholds[step * i + step / 4 * (k + 1) - 1];
            }
            for (uint32_t r = 0; 16 * r < places; r++) {
                s->between[level][k][r] = vreinterpretq_u8_s8(vld1q_s8(keys + 16 * r));
            }
        }
        step /= 4;
        places *= 4;
    }
}

INLINE uint8x16_t search8_bytes(const search8 *s, uint32_t bits, int8x16_t x) {
    uint32_t index_bits = TOP_BITS8(bits);
    uint8x16_t sum = vcgtq_s8(x, s->top[0]);
    for (uint32_t i = 1; i + 1 < 1u << TOP_BITS8(bits); i++) {
        sum = vaddq_u8(sum, vcgtq_s8(x, s->top[i]));
    }
    for (uint32_t level = 0; level < STEPS8(bits); level++) {
        uint8x16_t at = negated(sum);
        sum = vshlq_n_u8(sum, 2);
        for (uint32_t k = 0; k < 3; k++) {
            uint8x16_t threshold = find_bytes(s->between[level][k], index_bits, at);
            sum = vaddq_u8(sum, vcgtq_s8(x, vreinterpretq_s8_u8(threshold)));
        }
        index_bits += 2;
    }
    return negated(sum);
}

INLINE void quantize_i8(const int8_t *thresholds, uint32_t bits, uint8_t flip,
                        const uint8_t *values, size_t n, uint8_t *indices) {
    const uint8x16_t sign = vdupq_n_u8(flip);
    uint8_t last[16] = {0};
    search8 s;
    size_t done = 0;
    search8_init(&s, thresholds, bits);
    for (; done + 16 <= n; done += 16) {
        int8x16_t x = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(values + done), sign));
        vst1q_u8(indices + done, search8_bytes(&s, bits, x));
    }
    if (done < n) {
        memcpy(last, values + done, n - done);
        int8x16_t x = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(last), sign));
        vst1q_u8(last, search8_bytes(&s, bits, x));
        memcpy(indices + done, last, n - done);
    }
}

/* From 7 bits on a table of all 256 is faster, where there are enough values for the making of it.
 */
INLINE void quantize_i8_any(const int8_t *thresholds, uint32_t bits, uint8_t flip,
                            const uint8_t *values, size_t n, uint8_t *indices) {
    if (bits >= 7 && n >= 1024) {
        uint8_t all[256];
        for (uint32_t i = 0; i < 256; i++) {
            all[i] = (uint8_t)i;
        }
        quantize_i8(thresholds, bits, flip, all, 256, all);
        (void)look_up_u8_neon(all, 8, values, n, indices);
    } else {
        quantize_i8(thresholds, bits, flip, values, n, indices);
    }
}

static void quantize_i8_neon(const int8_t *thresholds, uint32_t bits, uint8_t flip,
                             const uint8_t *values, size_t n, uint8_t *indices) {
    SPC_WITH_CONSTANT_BITS(bits, quantize_i8_any(thresholds, BITS, flip, values, n, indices))
}

#endif
