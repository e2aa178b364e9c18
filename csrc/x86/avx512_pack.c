/* AVX-512: pack by multiply-add, unpack by multishift. */
#include "avx512.h"

#if defined(SPC_X86)

AVX512_INLINE void pack(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed) {
    const __m512i mask = _mm512_set1_epi8((char)((1 << bits) - 1));
    size_t done = 0;
    for (; done + 64 <= n; done += 64) {
        __m512i x = _mm512_and_si512(_mm512_loadu_si512(indices + done), mask);
        _mm512_mask_storeu_epi8(packed, first(8 * bits), pack64(x, bits));
        packed += 8 * bits;
    }
    if (done < n) {
        __m512i x = _mm512_maskz_loadu_epi8(first(n - done), indices + done);
        x = pack64(_mm512_and_si512(x, mask), bits);
        _mm512_mask_storeu_epi8(packed, first(spc_packed_size(n - done, bits)), x);
    }
}

AVX512 void spc_pack_avx512(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed){
    SPC_WITH_CONSTANT_BITS(bits, pack(indices, n, BITS, packed))}

/* 64 indices: the `bits` bytes of each eight into their lane, then index i to byte i of it. */
AVX512_INLINE __m512i unpack64(__m512i x, uint32_t bits) {
#define EACH_BYTE 0x0101010101010101
#define FROM(lane) (0x0706050403020100 + (lane) * (long long)bits * EACH_BYTE)
    const __m512i places =
        _mm512_setr_epi64(FROM(0), FROM(1), FROM(2), FROM(3), FROM(4), FROM(5), FROM(6), FROM(7));
#undef FROM
    const __m512i shifts = _mm512_set1_epi64((long long)bits * 0x0706050403020100);
    const __m512i mask = _mm512_set1_epi8((char)((1 << bits) - 1));
    if (bits == 8) {
        return x;
    }
    x = _mm512_multishift_epi64_epi8(shifts, _mm512_permutexvar_epi8(places, x));
    return _mm512_and_si512(x, mask);
}

AVX512_INLINE void unpack(const uint8_t *packed, size_t n, uint32_t bits, uint8_t *indices) {
    size_t done = 0;
    for (; done + 64 <= n; done += 64) {
        __m512i x = _mm512_maskz_loadu_epi8(first(8 * bits), packed);
        _mm512_storeu_si512(indices + done, unpack64(x, bits));
        packed += 8 * bits;
    }
    if (done < n) {
        __m512i x = _mm512_maskz_loadu_epi8(first(spc_packed_size(n - done, bits)), packed);
        _mm512_mask_storeu_epi8(indices + done, first(n - done), unpack64(x, bits));
    }
}

AVX512 void spc_unpack_avx512(const uint8_t *packed, size_t n, uint32_t bits, uint8_t *indices) {
    SPC_WITH_CONSTANT_BITS(bits, unpack(packed, n, BITS, indices))
}

#endif
