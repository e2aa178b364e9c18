#include "kernels.h"

/*
 * CRC-32C (Castagnoli), reflected polynomial 0x82f63b78, four bits at a time: a 64-byte table is
 * what a microcontroller can spare, and machines with a CRC instruction use that instead.
 */
static const uint32_t nibble_table[16] = {
    0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
    0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};

uint32_t spc_crc32c_reference(uint32_t state, const uint8_t *bytes, size_t len) {
    for (size_t i = 0; i < len; i++) {
        state ^= bytes[i];
        state = (state >> 4) ^ nibble_table[state & 15];
        state = (state >> 4) ^ nibble_table[state & 15];
    }
    return state;
}

uint32_t spc_crc32c(uint32_t crc, const void *bytes, size_t len) {
    if (len == 0 || !bytes) {
        return crc;
    }
    return ~spc_kernels_get()->crc32c(~crc, bytes, len);
}
