/* Quantise with NEON: count thresholds below each value, all at once where they are few, group by
 * group where they are many. */
#ifndef SPC_ARM_NEON_QUANTIZE_H
#define SPC_ARM_NEON_QUANTIZE_H

#include <arm_neon.h>

#include "../kernels.h"
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
INLINE uint32x4_t count_node(const int32_t *nodes, uint32_t index, int32x4_t x) {
    int32x4x2_t node = vld1q_s32_x2(nodes + 8 * index);
    return vaddq_u32(vcgtq_s32(x, node.val[0]), vcgtq_s32(x, node.val[1]));
}

/* Four values in the nodes that four bytes say. */
INLINE uint8x16_t count_nodes4(const int32_t *nodes, uint32_t indices, int32x4_t x) {
    uint32x4_t a, b, c, d;
    IN_TURN;
    a = count_node(nodes, indices & 0xff, vdupq_laneq_s32(x, 0));
    b = count_node(nodes, indices >> 8 & 0xff, vdupq_laneq_s32(x, 1));
    c = count_node(nodes, indices >> 16 & 0xff, vdupq_laneq_s32(x, 2));
    d = count_node(nodes, indices >> 24, vdupq_laneq_s32(x, 3));
    return U8_OF_U32(vpaddq_u32(vpaddq_u32(a, b), vpaddq_u32(c, d)));
}

INLINE uint8x16_t count_nodes(const int32_t *nodes, uint8x16_t indices, const int32x4_t *x) {
    uint64_t low = vgetq_lane_u64(U64_OF_U8(indices), 0);
    uint64_t high = vgetq_lane_u64(U64_OF_U8(indices), 1);
    uint8x16_t counts[4] = {
        count_nodes4(nodes, (uint32_t)low, x[0]),
        count_nodes4(nodes, (uint32_t)(low >> 32), x[1]),
        count_nodes4(nodes, (uint32_t)high, x[2]),
        count_nodes4(nodes, (uint32_t)(high >> 32), x[3]),
    };
    return vsubq_u8(vshlq_n_u8(indices, 3), in_order(merge4(counts)));
}

/* Minus the indices of 16 values, in the order of merge4. */
INLINE uint8x16_t minus_indices(const search32 *s, uint32_t bits, const float *values, way w) {
    uint8x16_t counts[4];
    IN_TURN;
    for (uint32_t i = 0; i < 4; i++) {
        counts[i] = count_top(s, bits, load_values(values + 4 * i, w), w);
    }
    return merge4(counts);
}

INLINE uint8x16_t quantize16(const search32 *s, uint32_t bits, const float *values, way w) {
    uint8x16_t counts[4], indices;
    int32x4_t x[4];
    IN_TURN;
    for (uint32_t i = 0; i < 4; i++) {
        x[i] = load_values(values + 4 * i, w);
        counts[i] = count_top(s, bits, x[i], w);
    }
    indices = in_order(negated(merge4(counts)));
    if (NODE_LEVELS(bits) > 1) {
        indices = count_nodes(s->nodes[1], indices, x);
    }
    return NODE_LEVELS(bits) > 0 ? count_nodes(s->nodes[0], indices, x) : indices;
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
    IN_TURN;
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
    uint32_t word;
    for (uint32_t k = 1; k + 1 < 1u << bits; k++) {
        sum = vaddq_u8(sum, above(x, vld1q_s32(thresholds + k * channels), 0));
    }
    half = vmovn_u32(U32_OF_U8(negated(sum)));
    out = vmovn_u16(vcombine_u16(half, half));
    word = vget_lane_u32(vreinterpret_u32_u8(out), 0);
    memcpy(indices, &word, sizeof word);
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
        if (count < 4) {
            spc_quantize_channels_f32_reference(thresholds, bits, channels, first, values, count,
                                                indices);
        } else if (done < count) {
            done = count - 4;
            quantize_channels4(thresholds + first + done, bits, channels, values + done,
                               indices + done);
        }
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
INLINE uint16x8_t count_node16(const int16_t *nodes, uint64_t index, int16x8_t x) {
    return vcgtq_s16(x, vld1q_s16(nodes + 8 * (index & 0xff)));
}

INLINE uint16x8_t count_nodes8(const int16_t *nodes, uint64_t indices, int16x8_t x) {
    uint16x8_t a, b, c, d, e, f, g, h;
    IN_TURN;
    a = count_node16(nodes, indices, vdupq_laneq_s16(x, 0));
    b = count_node16(nodes, indices >> 8, vdupq_laneq_s16(x, 1));
    c = count_node16(nodes, indices >> 16, vdupq_laneq_s16(x, 2));
    d = count_node16(nodes, indices >> 24, vdupq_laneq_s16(x, 3));
    e = count_node16(nodes, indices >> 32, vdupq_laneq_s16(x, 4));
    f = count_node16(nodes, indices >> 40, vdupq_laneq_s16(x, 5));
    g = count_node16(nodes, indices >> 48, vdupq_laneq_s16(x, 6));
    h = count_node16(nodes, indices >> 56, vdupq_laneq_s16(x, 7));
    return vpaddq_u16(vpaddq_u16(vpaddq_u16(a, b), vpaddq_u16(c, d)),
                      vpaddq_u16(vpaddq_u16(e, f), vpaddq_u16(g, h)));
}

INLINE uint8x16_t count_nodes16(const int16_t *nodes, uint8x16_t indices, int16x8_t low,
                                int16x8_t high) {
    uint64x2_t words = U64_OF_U8(indices);
    uint16x8_t a = count_nodes8(nodes, vgetq_lane_u64(words, 0), low);
    uint16x8_t b = count_nodes8(nodes, vgetq_lane_u64(words, 1), high);
    return vsubq_u8(vshlq_n_u8(indices, 3), narrow2(a, b));
}

INLINE void quantize_f16(const int16_t *thresholds, uint32_t bits, const uint16_t *values, size_t n,
                         uint8_t *indices) {
    search16 s;
    size_t done = 0;
    search16_init(&s, thresholds, bits);
    for (; done + 16 <= n; done += 16) {
        int16x8_t low = load_keys16(values + done), high = load_keys16(values + done + 8);
        uint8x16_t found = negated(
            narrow2(U16_OF_U8(count_top16(&s, bits, low)), U16_OF_U8(count_top16(&s, bits, high))));
        if (NODE_LEVELS(bits) > 1) {
            found = count_nodes16(s.nodes[1], found, low, high);
        }
        if (NODE_LEVELS(bits) > 0) {
            found = count_nodes16(s.nodes[0], found, low, high);
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
 * 4 and 5 bits: 2 or 3 from thresholds in registers, then 2 from the three between two of those.
 */
#define TOP_BITS8(bits) ((bits) <= 3 ? (bits) : (bits) - 2)

typedef struct search8 {
    int8x16_t top[7];
    uint8x16_t between[3];
} search8;

INLINE void search8_init(search8 *s, const int8_t *thresholds, uint32_t bits) {
    const uint32_t step = 1u << (bits - TOP_BITS8(bits)), places = 1u << TOP_BITS8(bits);
    for (uint32_t i = 0; i + 1 < places; i++) {
        s->top[i] = vdupq_n_s8(thresholds[step * (i + 1) - 1]);
    }
    for (uint32_t k = 0; step > 1 && k < 3; k++) {
        int8_t keys[16] = {0};
        for (uint32_t i = 0; i < places; i++) {
            keys[i] = thresholds[step * i + k];
        }
        s->between[k] = vreinterpretq_u8_s8(vld1q_s8(keys));
    }
}

INLINE uint8x16_t search8_bytes(const search8 *s, uint32_t bits, int8x16_t x) {
    uint8x16_t sum = vcgtq_s8(x, s->top[0]);
    for (uint32_t i = 1; i + 1 < 1u << TOP_BITS8(bits); i++) {
        sum = vaddq_u8(sum, vcgtq_s8(x, s->top[i]));
    }
    if (TOP_BITS8(bits) < bits) {
        uint8x16_t at = negated(sum);
        sum = vshlq_n_u8(sum, 2);
        for (uint32_t k = 0; k < 3; k++) {
            int8x16_t threshold = vreinterpretq_s8_u8(vqtbl1q_u8(s->between[k], at));
            sum = vaddq_u8(sum, vcgtq_s8(x, threshold));
        }
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

static void quantize_i8_neon(const int8_t *thresholds, uint32_t bits, uint8_t flip,
                             const uint8_t *values, size_t n, uint8_t *indices) {
    SPC_WITH_CONSTANT_BITS(
        bits, if (BITS <= SPC_QUANTIZE_I8_BITS) {
            quantize_i8(thresholds, BITS, flip, values, n, indices);
        })
}

#endif
