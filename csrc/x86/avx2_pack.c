/* AVX2: pack by multiply-add, unpack by shuffle and multiply. */
#include "avx2.h"

#if defined(SPC_X86)

AVX2_INLINE void pack(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed) {
    const __m256i mask = _mm256_set1_epi8((char)((1 << bits) - 1));
    size_t done = 0;
    for (; done + 32 <= n; done += 32) {
        __m256i x = load(indices + done);
        pack32(_mm256_and_si256(x, mask), bits, packed);
        packed += 4 * bits;
    }
    spc_pack_reference(indices + done, n - done, bits, packed);
}

/* Shuffle: the two bytes that hold index i of the group of 8 at byte `at` into 16-bit lane i. */
AVX2_INLINE __m128i byte_pairs(int bits, int at) {
#define PAIR(i) (short)((at + (i) * bits / 8) | (at + (i) * bits / 8 + 1) << 8)
    return _mm_setr_epi16(PAIR(0), PAIR(1), PAIR(2), PAIR(3), PAIR(4), PAIR(5), PAIR(6), PAIR(7));
#undef PAIR
}

/* Factors that shift index i up to the top of its 16-bit lane: AVX2 cannot shift 16-bit lanes by
 * different counts. */
AVX2_INLINE __m256i to_the_top(int bits) {
#define FACTOR(i) (short)(1 << (16 - bits - (i) * bits % 8))
    return _mm256_broadcastsi128_si256(_mm_setr_epi16(FACTOR(0), FACTOR(1), FACTOR(2), FACTOR(3),
                                                      FACTOR(4), FACTOR(5), FACTOR(6), FACTOR(7)));
#undef FACTOR
}

/* The 4 * bits bytes of 32 indices: groups 0 and 1 in the lower half, 2 and 3 in the upper, there
 * from byte 2 * bits on, or from 16 - 2 * bits where the groups exceed one half.  Reads no byte
 * beyond. */
AVX2_INLINE __m256i load_groups(const uint8_t *packed, uint32_t bits) {
    __m128i half;
    int32_t word;
    if (bits > 4) {
        return _mm256_set_m128i(
            _mm_loadu_si128((const __m128i *)(const void *)(packed + 4 * bits - 16)),
            _mm_loadu_si128((const __m128i *)(const void *)packed));
    }
    if (bits == 4) {
        half = _mm_loadu_si128((const __m128i *)(const void *)packed);
    } else if (bits == 1) {
        memcpy(&word, packed, sizeof word);
        half = _mm_cvtsi32_si128(word);
    } else {
        half = _mm_loadl_epi64((const __m128i *)(const void *)packed);
    }
    if (bits == 3) {
        memcpy(&word, packed + 8, sizeof word);
        half = _mm_insert_epi32(half, word, 2);
    }
    return _mm256_broadcastsi128_si256(half);
}

AVX2_INLINE void unpack(const uint8_t *packed, size_t n, uint32_t bits, uint8_t *indices) {
    const int b = (int)bits, upper = b <= 4 ? 2 * b : 16 - 2 * b;
    const __m256i even = _mm256_set_m128i(byte_pairs(b, upper), byte_pairs(b, 0));
    const __m256i odd = _mm256_set_m128i(byte_pairs(b, upper + b), byte_pairs(b, b));
    const __m256i factors = to_the_top(b);
    size_t done = 0;
    for (; done + 32 <= n; done += 32) {
        __m256i x = load_groups(packed, bits);
        __m256i y = _mm256_mullo_epi16(_mm256_shuffle_epi8(x, even), factors);
        __m256i z = _mm256_mullo_epi16(_mm256_shuffle_epi8(x, odd), factors);
        x = _mm256_packus_epi16(_mm256_srli_epi16(y, 16 - b), _mm256_srli_epi16(z, 16 - b));
        _mm256_storeu_si256((__m256i *)(void *)(indices + done), x);
        packed += 4 * bits;
    }
    spc_unpack_reference(packed, n - done, bits, indices + done);
}

AVX2 void spc_pack_avx2(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed){
    SPC_WITH_CONSTANT_BITS(bits, pack(indices, n, BITS, packed))}

AVX2_INLINE void unpack_any(const uint8_t *packed, size_t n, uint32_t bits, uint8_t *indices) {
    if (bits == 8) {
        memcpy(indices, packed, n);
    } else {
        unpack(packed, n, bits, indices);
    }
}

AVX2 void spc_unpack_avx2(const uint8_t *packed, size_t n, uint32_t bits, uint8_t *indices) {
    SPC_WITH_CONSTANT_BITS(bits, unpack_any(packed, n, BITS, indices))
}

#endif
