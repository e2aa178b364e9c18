/* AVX-512: look up by permutations of a table in registers. */
#include "avx512.h"

#if defined(SPC_X86)

AVX512_INLINE uint32_t or_of_bytes(__m512i x) {
    return spc_or_of_word((uint64_t)_mm512_reduce_or_epi64(x));
}

/* Repeated, a table of less than one register is right for indices of any upper bits. */
AVX512_INLINE void repeat(const void *table, size_t size, void *rows, size_t rows_size) {
    for (size_t at = 0; at < rows_size; at += size) {
        memcpy((uint8_t *)rows + at, table, size);
    }
}

/* ------------------------------------------------------------------ bytes */

#define ROWS8(bits) ((bits) <= 6 ? 1u : 1u << ((bits) - 6))

AVX512_INLINE __m512i find8(const __m512i *rows, uint32_t bits, __m512i indices) {
    __m512i a;
    if (bits <= 6) {
        return _mm512_permutexvar_epi8(indices, rows[0]);
    }
    a = _mm512_permutex2var_epi8(rows[0], indices, rows[1]);
    return bits == 7 ? a
                     : _mm512_mask_blend_epi8(_mm512_movepi8_mask(indices), a,
                                              _mm512_permutex2var_epi8(rows[2], indices, rows[3]));
}

AVX512_INLINE uint32_t look_up8(const uint8_t *table, uint32_t bits, const uint8_t *indices,
                                size_t n, uint8_t *values) {
    __m512i rows[4], seen = _mm512_setzero_si512();
    size_t done = 0;
    repeat(table, (size_t)1 << bits, rows, 64 * ROWS8(bits));
    for (; done + 64 <= n; done += 64) {
        __m512i x = _mm512_loadu_si512(indices + done);
        seen = _mm512_or_si512(seen, x);
        _mm512_storeu_si512(values + done, find8(rows, bits, x));
    }
    if (done < n) {
        __m512i x = _mm512_maskz_loadu_epi8(first(n - done), indices + done);
        seen = _mm512_or_si512(seen, x);
        _mm512_mask_storeu_epi8(values + done, first(n - done), find8(rows, bits, x));
    }
    return or_of_bytes(seen);
}

AVX512 uint32_t spc_look_up_u8_avx512(const uint8_t *table, uint32_t bits, const uint8_t *indices,
                                      size_t n, uint8_t *values) {
    uint32_t seen = 0;
    SPC_WITH_CONSTANT_BITS(bits, seen = look_up8(table, BITS, indices, n, values))
    return seen;
}

/* ------------------------------------------------------------------ 16 bits */

#define ROWS16(bits) ((bits) <= 5 ? 1u : 1u << ((bits) - 5))

AVX512_INLINE __m512i find16(const __m512i *rows, uint32_t bits, __m512i indices) {
    __m512i a, b;
    if (bits <= 5) {
        return _mm512_permutexvar_epi16(indices, rows[0]);
    }
    a = _mm512_permutex2var_epi16(rows[0], indices, rows[1]);
    if (bits == 6) {
        return a;
    }
    b = _mm512_permutex2var_epi16(rows[2], indices, rows[3]);
    a = _mm512_mask_blend_epi16(_mm512_movepi16_mask(_mm512_slli_epi16(indices, 9)), a, b);
    if (bits == 7) {
        return a;
    }
    b = _mm512_mask_blend_epi16(_mm512_movepi16_mask(_mm512_slli_epi16(indices, 9)),
                                _mm512_permutex2var_epi16(rows[4], indices, rows[5]),
                                _mm512_permutex2var_epi16(rows[6], indices, rows[7]));
    return _mm512_mask_blend_epi16(_mm512_movepi16_mask(_mm512_slli_epi16(indices, 8)), a, b);
}

AVX512_INLINE uint32_t look_up16(const uint16_t *table, uint32_t bits, const uint8_t *indices,
                                 size_t n, uint16_t *values) {
    __m512i rows[8], seen = _mm512_setzero_si512();
    size_t done = 0;
    repeat(table, sizeof *table << bits, rows, 64 * ROWS16(bits));
    for (; done + 32 <= n; done += 32) {
        __m512i x = _mm512_cvtepu8_epi16(
            _mm256_loadu_si256((const __m256i *)(const void *)(indices + done)));
        seen = _mm512_or_si512(seen, x);
        _mm512_storeu_si512(values + done, find16(rows, bits, x));
    }
    if (done < n) {
        const __mmask32 lanes = (__mmask32)first(n - done);
        __m512i x = _mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8(lanes, indices + done));
        seen = _mm512_or_si512(seen, x);
        _mm512_mask_storeu_epi16(values + done, lanes, find16(rows, bits, x));
    }
    return or_of_bytes(seen);
}

AVX512 uint32_t spc_look_up_u16_avx512(const uint16_t *table, uint32_t bits, const uint8_t *indices,
                                       size_t n, uint16_t *values) {
    uint32_t seen = 0;
    SPC_WITH_CONSTANT_BITS(bits, seen = look_up16(table, BITS, indices, n, values))
    return seen;
}

/* ------------------------------------------------------------------ floats */

#define ROWS32(bits) ((bits) <= 4 ? 1u : 1u << ((bits) - 4))

/* Pairs of rows by the lowest 5 bits of the index, then half as many by each higher one. */
AVX512_INLINE __m512 find32(const __m512 *rows, uint32_t bits, __m512i indices) {
    __m512 found[8];
    if (bits <= 4) {
        return _mm512_permutexvar_ps(indices, rows[0]);
    }
    for (uint32_t r = 0; r < ROWS32(bits) / 2; r++) {
        found[r] = _mm512_permutex2var_ps(rows[2 * r], indices, rows[2 * r + 1]);
    }
    for (uint32_t bit = 5; bit < bits; bit++) {
        const __mmask16 upper = _mm512_test_epi32_mask(indices, _mm512_set1_epi32(1 << bit));
        for (uint32_t r = 0; r < ROWS32(bits) >> (bit - 3); r++) {
            found[r] = _mm512_mask_blend_ps(upper, found[2 * r], found[2 * r + 1]);
        }
    }
    return found[0];
}

AVX512_INLINE uint32_t look_up32(const float *table, uint32_t bits, const uint8_t *indices,
                                 size_t n, float *values) {
    __m512i seen = _mm512_setzero_si512();
    __m512 rows[16];
    size_t done = 0;
    repeat(table, sizeof *table << bits, rows, 64 * ROWS32(bits));
    for (; done + 16 <= n; done += 16) {
        __m512i x =
            _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(indices + done)));
        seen = _mm512_or_si512(seen, x);
        _mm512_storeu_ps(values + done, find32(rows, bits, x));
    }
    if (done < n) {
        const __mmask16 lanes = (__mmask16)first(n - done);
        __m512i x = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(lanes, indices + done));
        seen = _mm512_or_si512(seen, x);
        _mm512_mask_storeu_ps(values + done, lanes, find32(rows, bits, x));
    }
    return or_of_bytes(seen);
}

AVX512 uint32_t spc_look_up_f32_avx512(const float *table, uint32_t bits, const uint8_t *indices,
                                       size_t n, float *values) {
    uint32_t seen = 0;
    SPC_WITH_CONSTANT_BITS(bits, seen = look_up32(table, BITS, indices, n, values))
    return seen;
}

/* 64 values of 1 to 4 bits: 16 indices are at most the 64 bits that multishift sees at once.
 * Permutations look at the lowest 4 bits of a lane, and the table is repeated. */
AVX512_INLINE void find_packed64(__m512 row, uint32_t bits, const uint8_t *packed, float *values) {
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t start = 2 * bits * i, last = 8 * bits - 8;
        const uint32_t at = start < last ? start : last; /* no byte beyond */
#define SHIFT(lane) ((lane) * (int)bits + 8 * (int)(start - at))
        const __m512i shifts = _mm512_setr_epi32(
            SHIFT(0), SHIFT(1), SHIFT(2), SHIFT(3), SHIFT(4), SHIFT(5), SHIFT(6), SHIFT(7),
            SHIFT(8), SHIFT(9), SHIFT(10), SHIFT(11), SHIFT(12), SHIFT(13), SHIFT(14), SHIFT(15));
#undef SHIFT
        uint64_t word;
        __m512i x;
        memcpy(&word, packed + at, sizeof word);
        x = _mm512_multishift_epi64_epi8(shifts, _mm512_set1_epi64((long long)word));
        _mm512_storeu_ps(values + 16 * i, _mm512_permutexvar_ps(x, row));
    }
}

AVX512_INLINE void unpack_look_up(const float *table, uint32_t bits, const uint8_t *packed,
                                  size_t n, float *values) {
    uint8_t last[64];
    __m512 row;
    repeat(table, sizeof *table << bits, &row, sizeof row);
    for (; n >= 64; n -= 64) {
        find_packed64(row, bits, packed, values);
        packed += 8 * bits;
        values += 64;
    }
    spc_unpack_reference(packed, n, bits, last);
    (void)look_up32(table, bits, last, n, values);
}

AVX512 void spc_unpack_look_up_f32_avx512(const float *table, uint32_t bits, const uint8_t *packed,
                                          size_t n, float *values) {
    SPC_WITH_CONSTANT_BITS(
        bits,
        if (BITS <= SPC_UNPACK_LOOK_UP_BITS) { unpack_look_up(table, BITS, packed, n, values); })
}

#endif
