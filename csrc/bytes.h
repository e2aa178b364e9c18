/* Loads and stores at any alignment. */
#ifndef SPC_BYTES_H
#define SPC_BYTES_H

#include <stdint.h>

static inline __attribute__((always_inline)) uint32_t spc_load_le32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline void spc_store_le32(uint8_t *p, uint32_t value) {
    p[0] = (uint8_t)value;
    p[1] = (uint8_t)(value >> 8);
    p[2] = (uint8_t)(value >> 16);
    p[3] = (uint8_t)(value >> 24);
}

/* Four bytes in whatever order the machine has them. */
typedef struct spc_four_bytes {
    uint32_t word;
} __attribute__((packed, may_alias)) spc_four_bytes;

static inline uint32_t spc_load_word(const uint8_t *p) {
    return ((const spc_four_bytes *)(const void *)p)->word;
}

static inline void spc_store_word(uint8_t *p, uint32_t word) {
    ((spc_four_bytes *)(void *)p)->word = word;
}

#endif
