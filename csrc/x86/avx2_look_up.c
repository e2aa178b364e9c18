/* AVX2: look up by shuffles of a table in registers. */
#include "avx2.h"

#if defined(SPC_X86)

AVX2_INLINE uint32_t or_of_bytes(__m256i x) {
    uint64_t lanes[4];
    _mm256_storeu_si256((__m256i *)(void *)lanes, x);
    return spc_or_of_word(lanes[0] | lanes[1] | lanes[2] | lanes[3]);
}

/* A table of bytes, 16 to a row, in both halves of it; a shorter one is repeated. */
#define BYTE_ROWS(bits) ((bits) <= 4 ? 1u : 1u << ((bits) - 4))

AVX2_INLINE void load_byte_rows(const uint8_t *table, uint32_t bits, __m256i *rows) {
    uint8_t repeated[16];
    if (bits < 4) {
        for (uint32_t i = 0; i < 16; i++) {
            repeated[i] = table[i % (1u << bits)];
        }
        table = repeated;
    }
    for (uint32_t r = 0; r < BYTE_ROWS(bits); r++) {
        rows[r] = _mm256_broadcastsi128_si256(
            _mm_loadu_si128((const __m128i *)(const void *)(table + 16 * r)));
    }
}

/* Bits 0 to 3 find a byte in every row, each higher bit halves the rows.  Other bits do not matter.
 */
AVX2_INLINE __m256i find_bytes(const __m256i *rows, uint32_t bits, __m256i indices) {
    const __m256i low = _mm256_and_si256(indices, _mm256_set1_epi8(15));
    __m256i found[16];
    for (uint32_t r = 0; r < BYTE_ROWS(bits); r++) {
        found[r] = _mm256_shuffle_epi8(rows[r], low);
    }
    for (uint32_t bit = 4; bit < bits; bit++) {
        __m256i upper = _mm256_slli_epi16(indices, (int)(7 - bit));
        for (uint32_t r = 0; r < BYTE_ROWS(bits) >> (bit - 3); r++) {
            found[r] = _mm256_blendv_epi8(found[2 * r], found[2 * r + 1], upper);
        }
    }
    return found[0];
}

AVX2_INLINE uint32_t look_up_u8(const uint8_t *table, uint32_t bits, const uint8_t *indices,
                                size_t n, uint8_t *values) {
    __m256i rows[BYTE_ROWS(8)], seen = _mm256_setzero_si256();
    size_t done = 0;
    load_byte_rows(table, bits, rows);
    for (; done + 32 <= n; done += 32) {
        __m256i x = load(indices + done);
        seen = _mm256_or_si256(seen, x);
        _mm256_storeu_si256((__m256i *)(void *)(values + done), find_bytes(rows, bits, x));
    }
    return or_of_bytes(seen) |
           spc_look_up_u8_reference(table, bits, indices + done, n - done, values + done);
}

AVX2 uint32_t spc_look_up_u8_avx2(const uint8_t *table, uint32_t bits, const uint8_t *indices,
                                  size_t n, uint8_t *values) {
    uint32_t seen = 0;
    SPC_WITH_CONSTANT_BITS(bits, seen = look_up_u8(table, BITS, indices, n, values))
    return seen;
}

/* 1 to 3 bits: the table is one register. */
AVX2_INLINE uint32_t look_up_one_row(const float *table, uint32_t bits, const uint8_t *indices,
                                     size_t n, float *values) {
    __m256i seen = _mm256_setzero_si256();
    float repeated[8];
    __m256 row;
    size_t done = 0;
    for (uint32_t i = 0; i < 8; i++) {
        repeated[i] = table[i % (1u << bits)];
    }
    row = _mm256_loadu_ps(repeated);
    for (; done + 32 <= n; done += 32) {
        const uint8_t *at = indices + done;
        seen = _mm256_or_si256(seen, load(at));
        for (size_t i = 0; i < 32; i += 8) {
            __m128i x = _mm_loadl_epi64((const __m128i *)(const void *)(at + i));
            __m256 found = _mm256_permutevar8x32_ps(row, _mm256_cvtepu8_epi32(x));
            _mm256_storeu_ps(values + done + i, found);
        }
    }
    return or_of_bytes(seen) |
           spc_look_up_f32_reference(table, bits, indices + done, n - done, values + done);
}

/* Four planes: byte p of every float in the table. */
AVX2_INLINE void load_planes(const float *table, uint32_t bits, __m256i planes[4][4]) {
    const __m128i by_plane = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    for (uint32_t r = 0; r < BYTE_ROWS(bits); r++) {
        __m128i x[4], low[2], high[2];
        for (uint32_t i = 0; i < 4; i++) {
            x[i] = _mm_loadu_si128((const __m128i *)(const void *)(table + 16 * r + 4 * i));
            x[i] = _mm_shuffle_epi8(x[i], by_plane);
        }
        for (uint32_t i = 0; i < 2; i++) {
            low[i] = _mm_unpacklo_epi32(x[2 * i], x[2 * i + 1]);
            high[i] = _mm_unpackhi_epi32(x[2 * i], x[2 * i + 1]);
        }
        planes[0][r] = _mm256_broadcastsi128_si256(_mm_unpacklo_epi64(low[0], low[1]));
        planes[1][r] = _mm256_broadcastsi128_si256(_mm_unpackhi_epi64(low[0], low[1]));
        planes[2][r] = _mm256_broadcastsi128_si256(_mm_unpacklo_epi64(high[0], high[1]));
        planes[3][r] = _mm256_broadcastsi128_si256(_mm_unpackhi_epi64(high[0], high[1]));
    }
}

/* 4 to 6 bits: the four bytes of each float are looked up one by one, then interleaved. */
AVX2_INLINE uint32_t look_up_planes(const float *table, uint32_t bits, const uint8_t *indices,
                                    size_t n, float *values) {
    /* interleaving works in each half: fours of indices go there alternately */
    const __m256i alternate = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
    __m256i planes[4][4], seen = _mm256_setzero_si256();
    size_t done = 0;
    load_planes(table, bits, planes);
    for (; done + 32 <= n; done += 32) {
        __m256i x = load(indices + done);
        __m256i *out = (__m256i *)(void *)(values + done);
        __m256i a, b, c, d, ab, cd;
        seen = _mm256_or_si256(seen, x);
        x = _mm256_permutevar8x32_epi32(x, alternate);
        a = find_bytes(planes[0], bits, x);
        b = find_bytes(planes[1], bits, x);
        c = find_bytes(planes[2], bits, x);
        d = find_bytes(planes[3], bits, x);
        ab = _mm256_unpacklo_epi8(a, b);
        cd = _mm256_unpacklo_epi8(c, d);
        _mm256_storeu_si256(out, _mm256_unpacklo_epi16(ab, cd));
        _mm256_storeu_si256(out + 1, _mm256_unpackhi_epi16(ab, cd));
        ab = _mm256_unpackhi_epi8(a, b);
        cd = _mm256_unpackhi_epi8(c, d);
        _mm256_storeu_si256(out + 2, _mm256_unpacklo_epi16(ab, cd));
        _mm256_storeu_si256(out + 3, _mm256_unpackhi_epi16(ab, cd));
    }
    return or_of_bytes(seen) |
           spc_look_up_f32_reference(table, bits, indices + done, n - done, values + done);
}

AVX2_INLINE __m128 load_four(const float *table, uint32_t bits, uint32_t indices) {
    const uint32_t mask = (1u << bits) - 1;
    return _mm_setr_ps(table[indices & mask], table[indices >> 8 & mask],
                       table[indices >> 16 & mask], table[indices >> 24 & mask]);
}

/* 7 and 8 bits: the table does not fit the registers.  A gather takes longer than these loads. */
AVX2_INLINE uint32_t look_up_loads(const float *table, uint32_t bits, const uint8_t *indices,
                                   size_t n, float *values) {
    uint64_t seen = 0;
    size_t done = 0;
    for (; done + 8 <= n; done += 8) {
        uint64_t word;
        memcpy(&word, indices + done, sizeof word);
        seen |= word;
        _mm_storeu_ps(values + done, load_four(table, bits, (uint32_t)word));
        _mm_storeu_ps(values + done + 4, load_four(table, bits, (uint32_t)(word >> 32)));
    }
    return spc_or_of_word(seen) |
           spc_look_up_f32_reference(table, bits, indices + done, n - done, values + done);
}

AVX2_INLINE uint32_t look_up_f32(const float *table, uint32_t bits, const uint8_t *indices,
                                 size_t n, float *values) {
    if (bits <= 3) {
        return look_up_one_row(table, bits, indices, n, values);
    }
    if (bits <= 6) {
        return look_up_planes(table, bits, indices, n, values);
    }
    return look_up_loads(table, bits, indices, n, values);
}

AVX2 uint32_t spc_look_up_f32_avx2(const float *table, uint32_t bits, const uint8_t *indices,
                                   size_t n, float *values) {
    uint32_t seen = 0;
    SPC_WITH_CONSTANT_BITS(bits, seen = look_up_f32(table, BITS, indices, n, values))
    return seen;
}

/* Both bytes of each value are looked up one by one, then interleaved.  Beyond, loads take less. */
#define LOOK_UP_U16_BITS 6
AVX2_INLINE uint32_t look_up_u16(const uint16_t *table, uint32_t bits, const uint8_t *indices,
                                 size_t n, uint16_t *values) {
    __m256i low[BYTE_ROWS(LOOK_UP_U16_BITS)], high[BYTE_ROWS(LOOK_UP_U16_BITS)],
        seen = _mm256_setzero_si256();
    uint8_t bytes[2][1 << LOOK_UP_U16_BITS];
    size_t done = 0;
    for (uint32_t i = 0; i < 1u << bits; i++) {
        bytes[0][i] = (uint8_t)table[i];
        bytes[1][i] = (uint8_t)(table[i] >> 8);
    }
    load_byte_rows(bytes[0], bits, low);
    load_byte_rows(bytes[1], bits, high);
    for (; done + 32 <= n; done += 32) {
        __m256i x = load(indices + done), a, b;
        seen = _mm256_or_si256(seen, x);
        x = _mm256_permute4x64_epi64(x, 0xd8); /* interleaving works in each half */
        a = find_bytes(low, bits, x);
        b = find_bytes(high, bits, x);
        _mm256_storeu_si256((__m256i *)(void *)(values + done), _mm256_unpacklo_epi8(a, b));
        _mm256_storeu_si256((__m256i *)(void *)(values + done + 16), _mm256_unpackhi_epi8(a, b));
    }
    return or_of_bytes(seen) |
           spc_look_up_u16_reference(table, bits, indices + done, n - done, values + done);
}

AVX2 uint32_t spc_look_up_u16_avx2(const uint16_t *table, uint32_t bits, const uint8_t *indices,
                                   size_t n, uint16_t *values) {
    uint32_t seen = 0;
    if (bits > LOOK_UP_U16_BITS) {
        return spc_look_up_u16_reference(table, bits, indices, n, values);
    }
    SPC_WITH_CONSTANT_BITS(
        bits,
        if (BITS <= LOOK_UP_U16_BITS) { seen = look_up_u16(table, BITS, indices, n, values); })
    return seen;
}

/* 32 values of 1 to 4 bits: 8 indices are at most 32 bits, and each lane shifts its own down.
 * Permutations look at the lowest 3 bits of a lane, and the table is repeated. */
AVX2_INLINE void find_packed32(const __m256 rows[2], uint32_t bits, const uint8_t *packed,
                               float *values) {
    for (uint32_t i = 0; i < 4; i++) {
        const uint32_t start = bits * i, last = 4 * bits - 4;
        const uint32_t at = start < last ? start : last; /* no byte beyond */
        const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        const __m256i shifts =
            _mm256_add_epi32(_mm256_mullo_epi32(lanes, _mm256_set1_epi32((int)bits)),
                             _mm256_set1_epi32(8 * (int)(start - at)));
        int32_t word;
        __m256i x;
        __m256 found;
        memcpy(&word, packed + at, sizeof word);
        x = _mm256_srlv_epi32(_mm256_set1_epi32(word), shifts);
        found = _mm256_permutevar8x32_ps(rows[0], x);
        if (bits == 4) {
            found = _mm256_blendv_ps(found, _mm256_permutevar8x32_ps(rows[1], x),
                                     _mm256_castsi256_ps(_mm256_slli_epi32(x, 28)));
        }
        _mm256_storeu_ps(values + 8 * i, found);
    }
}

AVX2_INLINE void unpack_look_up(const float *table, uint32_t bits, const uint8_t *packed, size_t n,
                                float *values) {
    uint8_t last[32];
    float repeated[16];
    __m256 rows[2];
    for (uint32_t i = 0; i < 16; i++) {
        repeated[i] = table[i % (1u << bits)];
    }
    rows[0] = _mm256_loadu_ps(repeated);
    rows[1] = _mm256_loadu_ps(repeated + 8);
    for (; n >= 32; n -= 32) {
        find_packed32(rows, bits, packed, values);
        packed += 4 * bits;
        values += 32;
    }
    spc_unpack_reference(packed, n, bits, last);
    (void)spc_look_up_f32_reference(table, bits, last, n, values);
}

AVX2 void spc_unpack_look_up_f32_avx2(const float *table, uint32_t bits, const uint8_t *packed,
                                      size_t n, float *values) {
    SPC_WITH_CONSTANT_BITS(
        bits,
        if (BITS <= SPC_UNPACK_LOOK_UP_BITS) { unpack_look_up(table, BITS, packed, n, values); })
}

#endif
