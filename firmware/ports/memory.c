/* The four functions that compilers call in freestanding programs, small. */
#include <stdint.h>
#include <string.h>

typedef struct word {
    uint32_t value;
} __attribute__((may_alias)) word;

static int aligned(const void *a, const void *b) {
    return (((uintptr_t)a | (uintptr_t)b) & 3) == 0;
}

void *memcpy(void *restrict to, const void *restrict from, size_t len) {
    uint8_t *out = to;
    const uint8_t *in = from;
    if (aligned(to, from)) {
        for (; len >= 4; len -= 4, out += 4, in += 4) {
            ((word *)(void *)out)->value = ((const word *)(const void *)in)->value;
        }
    }
    while (len-- > 0) {
        *out++ = *in++;
    }
    return to;
}

void *memmove(void *to, const void *from, size_t len) {
    uint8_t *out = to;
    const uint8_t *in = from;
    if (out <= in) {
        return memcpy(to, from, len); /* which goes upwards */
    }
    while (len-- > 0) {
        out[len] = in[len];
    }
    return to;
}

void *memset(void *to, int value, size_t len) {
    uint8_t *out = to;
    while (len-- > 0) {
        *out++ = (uint8_t)value;
    }
    return to;
}

int memcmp(const void *a, const void *b, size_t len) {
    const uint8_t *x = a, *y = b;
    for (; len > 0; len--, x++, y++) {
        if (*x != *y) {
            return *x - *y;
        }
    }
    return 0;
}
