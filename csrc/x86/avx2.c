/* AVX2: quantise by a binary search whose upper levels sit in registers, pack by multiply-add. */
#include "../kernels.h"

#if defined(SPC_X86)
#include <immintrin.h>
#include <string.h>

#include "../key.h"
#include "x86.h"

#define AVX2 __attribute__((target("avx2")))
#define AVX2_INLINE __attribute__((target("avx2"), always_inline)) static inline

/* Levels of the search whose thresholds fit one register: 1, 2, 4 and 8 of them. */
#define REGISTER_LEVELS 4

AVX2_INLINE __m256i load_keys(const float *values) {
    __m256i raw = _mm256_loadu_si256((const __m256i *)(const void *)values);
    return _mm256_xor_si256(raw, _mm256_srli_epi32(_mm256_srai_epi32(raw, 31), 1));
}

/*
 * Indices of 8 values.  At each level the threshold to compare with is picked by the index so far:
 * from a register while the level has at most 8, else by a gather from the table.
 */
AVX2_INLINE __m256i search(const __m256i levels[REGISTER_LEVELS], const int32_t *thresholds,
                           uint32_t bits, __m256i keys) {
    __m256i index = _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_cmpgt_epi32(keys, levels[0]));
    for (uint32_t level = 1; level < bits; level++) {
        __m256i threshold;
        if (level < REGISTER_LEVELS) {
            threshold = _mm256_permutevar8x32_epi32(levels[level], index);
        } else {
            __m128i shift = _mm_cvtsi32_si128((int)(bits - 1 - level));
            __m256i odd = _mm256_add_epi32(_mm256_add_epi32(index, index), _mm256_set1_epi32(1));
            __m256i at = _mm256_sub_epi32(_mm256_sll_epi32(odd, shift), _mm256_set1_epi32(1));
            threshold = _mm256_i32gather_epi32((const int *)thresholds, at, 4);
        }
        index =
            _mm256_sub_epi32(_mm256_add_epi32(index, index), _mm256_cmpgt_epi32(keys, threshold));
    }
    return index;
}

/* Inlined once per bit width, so that the loop over levels unrolls. */
AVX2_INLINE void quantize(const int32_t *thresholds, uint32_t bits, const float *values, size_t n,
                          uint8_t *indices) {
    const __m256i in_order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i levels[REGISTER_LEVELS];
    size_t done = 0;
    for (uint32_t level = 0; level < REGISTER_LEVELS; level++) {
        int32_t row[8] = {0};
        for (uint32_t i = 0; level < bits && i < 1u << level; i++) {
            row[i] = thresholds[((2 * i + 1) << (bits - 1 - level)) - 1];
        }
        levels[level] = level == 0 ? _mm256_set1_epi32(row[0])
                                   : _mm256_loadu_si256((const __m256i *)(const void *)row);
    }
    for (; done + 32 <= n; done += 32) {
        __m256i a = search(levels, thresholds, bits, load_keys(values + done));
        __m256i b = search(levels, thresholds, bits, load_keys(values + done + 8));
        __m256i c = search(levels, thresholds, bits, load_keys(values + done + 16));
        __m256i d = search(levels, thresholds, bits, load_keys(values + done + 24));
        __m256i bytes = _mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
        bytes = _mm256_permutevar8x32_epi32(bytes, in_order);
        _mm256_storeu_si256((__m256i *)(void *)(indices + done), bytes);
    }
    spc_quantize_f32_reference(thresholds, bits, values + done, n - done, indices + done);
}

AVX2 static void quantize_f32_avx2(const int32_t *thresholds, uint32_t bits, const float *values,
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
        quantize(thresholds, bits, values, n, indices);
    }
}

/*
 * 32 indices at a time: neighbours are joined into 2, 4 and then 8 indices per lane by a
 * multiply-add with 1 and 2^(bits of the lower neighbour), after which the low `bits` bytes of
 * each 64-bit lane are the packed group.
 */
AVX2_INLINE void pack(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed) {
    const __m256i mask = _mm256_set1_epi8((char)((1 << bits) - 1));
    const __m256i join2 = _mm256_set1_epi16((short)(1 | 1 << (bits + 8)));
    const __m256i join4 = _mm256_set1_epi32(1 | 1 << (2 * bits + 16));
    const uint64_t group = ((uint64_t)1 << (8 * bits)) - 1;
    size_t done = 0;
    for (; done + 32 <= n; done += 32) {
        __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(indices + done));
        uint64_t lanes[4];
        x = _mm256_maddubs_epi16(_mm256_and_si256(x, mask), join2);
        x = _mm256_madd_epi16(x, join4);
        x = _mm256_or_si256(x, _mm256_srli_epi64(x, (int)(32 - 4 * bits)));
        _mm256_storeu_si256((__m256i *)(void *)lanes, x);
        for (size_t i = 0; i < 4; i++) {
            uint64_t lane = lanes[i] & group;
            memcpy(packed, &lane, bits);
            packed += bits;
        }
    }
    spc_pack_reference(indices + done, n - done, bits, packed);
}

AVX2 static void pack_avx2(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed) {
    switch (bits) {
    case 1:
        pack(indices, n, 1, packed);
        break;
    case 2:
        pack(indices, n, 2, packed);
        break;
    case 3:
        pack(indices, n, 3, packed);
        break;
    case 4:
        pack(indices, n, 4, packed);
        break;
    case 8:
        memcpy(packed, indices, n);
        break;
    default:
        spc_pack_reference(indices, n, bits, packed);
    }
}

const spc_kernels spc_kernels_avx2 = {
    .name = "avx2",
    .features = SPC_CPU_AVX2 | SPC_CPU_SSE42,
    .quantize_f32 = quantize_f32_avx2,
    .pack = pack_avx2,
    .unpack = spc_unpack_reference,
    .crc32c = spc_crc32c_sse42,
};

#endif
