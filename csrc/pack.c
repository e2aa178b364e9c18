#include "bytes.h"
#include "internal.h"
#include "kernels.h"

/* Eight indices are always `bits` whole bytes, so everything works in groups of eight. */

/* Four in the bytes of a word, then pairs of them, then all side by side. */
static uint64_t pack_four(const uint8_t *indices, uint32_t bits) {
    uint32_t four = spc_load_le32(indices) & ((1u << bits) - 1) * 0x01010101u;
    four = (four & 0x00ff00ff) | (four & 0xff00ff00) >> (8 - bits);
    return (four & 0xffff) | four >> 16 << 2 * bits;
}

static uint64_t pack_group(const uint8_t *indices, size_t count, uint32_t bits) {
    uint64_t group = 0;
    uint32_t mask = (1u << bits) - 1;
    if (count == 8) {
        return pack_four(indices, bits) | pack_four(indices + 4, bits) << 4 * bits;
    }
    for (size_t i = 0; i < count; i++) {
        group |= (uint64_t)(indices[i] & mask) << (i * bits);
    }
    return group;
}

void spc_pack_reference(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed) {
    while (n > 0) {
        size_t count = n < 8 ? n : 8;
        size_t bytes = spc_packed_size(count, bits);
        uint64_t group = pack_group(indices, count, bits);
        for (size_t i = 0; i < bytes; i++) {
            packed[i] = (uint8_t)(group >> (8 * i));
        }
        indices += count;
        packed += bytes;
        n -= count;
    }
}

void spc_unpack_reference(const uint8_t *packed, size_t n, uint32_t bits, uint8_t *indices) {
    uint32_t mask = (1u << bits) - 1;
    while (n > 0) {
        size_t count = n < 8 ? n : 8;
        size_t bytes = spc_packed_size(count, bits);
        uint64_t group = 0;
        for (size_t i = 0; i < bytes; i++) {
            group |= (uint64_t)packed[i] << (8 * i);
        }
        for (size_t i = 0; i < count; i++) {
            indices[i] = (uint8_t)((group >> (i * bits)) & mask);
        }
        indices += count;
        packed += bytes;
        n -= count;
    }
}

/* Split so that n * bits cannot overflow a 32-bit size_t. */
size_t spc_packed_size(size_t n, uint32_t bits) {
    return n / 8 * bits + (n % 8 * bits + 7) / 8;
}

spc_status spc_pack(const uint8_t *indices, size_t n, uint32_t bits, uint8_t *packed) {
    if (!spc_bits_usable(bits) || (n > 0 && (!indices || !packed))) {
        return SPC_ERROR_ARGUMENT;
    }
    if (n > 0) {
        spc_kernels_get()->pack(indices, n, bits, packed);
    }
    return SPC_OK;
}

spc_status spc_packed_check(const uint8_t *packed, size_t n, uint32_t bits) {
    size_t used = n % 8 * bits % 8;
    if (used != 0 && packed[spc_packed_size(n, bits) - 1] >> used != 0) {
        return SPC_ERROR_CORRUPT;
    }
    return SPC_OK;
}

spc_status spc_unpack(const uint8_t *packed, size_t n, uint32_t bits, uint8_t *indices) {
    spc_status status;
    if (!spc_bits_usable(bits) || (n > 0 && (!indices || !packed))) {
        return SPC_ERROR_ARGUMENT;
    }
    status = spc_packed_check(packed, n, bits);
    if (status == SPC_OK && n > 0) {
        spc_kernels_get()->unpack(packed, n, bits, indices);
    }
    return status;
}
