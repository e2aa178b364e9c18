/*
 * Range encoder and decoder of binary decisions, as in LZMA: 32 bits of range, bytes out as soon as
 * the range is below 2^24, carries written back into the output.  docs/format.md says what the
 * decoder does; the encoder mirrors it.
 */
#ifndef SPC_RANGE_CODER_H
#define SPC_RANGE_CODER_H

#include <stddef.h>
#include <stdint.h>

#include "cpu.h"

#define SPC_RANGE_LAST_BYTES 4

typedef struct spc_range_encoder {
    uint32_t low, range;
    uint32_t full;
    uint8_t *next;
    const uint8_t *end; /* of the output but for the last bytes */
} spc_range_encoder;

/* With room for the output and so many last bytes; 0 if there is none for those. */
static inline int spc_range_encoder_start_for(spc_range_encoder *rc, uint8_t *output, size_t cap,
                                              size_t last_bytes) {
    if (cap < last_bytes) {
        return 0;
    }
    rc->low = 0;
    rc->range = 0xffffffff;
    rc->full = 0;
    rc->next = output;
    rc->end = output + cap - last_bytes;
    return 1;
}

static inline int spc_range_encoder_start(spc_range_encoder *rc, uint8_t *output, size_t cap) {
    return spc_range_encoder_start_for(rc, output, cap, SPC_RANGE_LAST_BYTES);
}

/* What is done but once in many decisions. */
#if SPC_HOSTED
#define SPC_RANGE_RARE static inline
#else
#define SPC_RANGE_RARE static __attribute__((noinline, unused))
#endif

/* Add 1 to what is written.  Its first byte stands for the 0 before the point, which is never
 * reached: what the range encoder writes stays below 1, unless bytes are missing. */
SPC_RANGE_RARE void spc_range_carry(spc_range_encoder *rc) {
    uint8_t *at = rc->next;
    if (!rc->full) {
        do {
            at--;
            *at = (uint8_t)(*at + 1);
        } while (*at == 0);
    }
}

static inline void spc_range_add(spc_range_encoder *rc, uint32_t value) {
    rc->low += value;
    if (rc->low < value) {
        spc_range_carry(rc);
    }
}

SPC_RANGE_RARE void spc_range_shift(spc_range_encoder *rc) {
    if (rc->next == rc->end) {
        rc->full = 1;
    } else {
        *rc->next++ = (uint8_t)(rc->low >> 24);
    }
    rc->low <<= 8;
    rc->range <<= 8;
}

/* What is done for each decision is never called, by compilers that save bytes either: it is less
 * than a call. */

/* Twice after what is less likely than 1 in 256, never more often.  Not a loop: that is slower. */
static inline __attribute__((always_inline)) void spc_range_normalise(spc_range_encoder *rc) {
    if (rc->range < 1u << 24) {
        spc_range_shift(rc);
        if (rc->range < 1u << 24) {
            spc_range_shift(rc);
        }
    }
}

/* A decision: `bound` of the range, 1 .. range - 1, is for a 0.  Where it costs more to foresee a
 * branch wrongly than to do without, this does not branch on the bit, only on whether a byte is
 * full and on carries; written so that compilers cannot, and that the new range, which the next
 * decision waits for, is two steps behind `bound`. */
static inline __attribute__((always_inline)) void spc_range_put(spc_range_encoder *rc,
                                                                uint32_t bound, uint32_t bit) {
#if SPC_HOSTED
    const uint32_t one = 0u - bit;
    const uint32_t rest = (rc->range & one) - one;
    spc_range_add(rc, bound & one);
    rc->range = rest + (bound ^ one); /* range - bound, or bound */
#else
    if (bit) {
        spc_range_add(rc, bound);
        rc->range -= bound;
    } else {
        rc->range = bound;
    }
#endif
    spc_range_normalise(rc);
}

/* All four last bytes.  Returns where the output ends, or NULL if it was too small. */
static inline uint8_t *spc_range_finish(spc_range_encoder *rc) {
    if (rc->full) {
        return NULL;
    }
    for (uint32_t i = SPC_RANGE_LAST_BYTES; i-- > 0;) {
        *rc->next++ = (uint8_t)(rc->low >> (8 * i));
    }
    return rc->next;
}

/* ------------------------------------------------------------------ our own coders' */

/* Probabilities that a bit is 0 are in 1/32768, 1 to 32767. */
#define SPC_PROBABILITY_BITS 15

static inline __attribute__((always_inline)) void spc_range_put_bit(spc_range_encoder *rc,
                                                                    uint32_t zero, uint32_t bit) {
    spc_range_put(rc, (rc->range >> SPC_PROBABILITY_BITS) * zero, bit);
}

/* Before spc_range_finish_short, which writes no more than one byte. */
static inline int spc_range_encoder_start_short(spc_range_encoder *rc, uint8_t *output,
                                                size_t cap) {
    return spc_range_encoder_start_for(rc, output, cap, 1);
}

/*
 * The least number in the range whose last three bytes are 0, and zeros at its end left out: a
 * decoder reads zeros where a payload has ended.  Returns the bytes of the payload, at least one; 0
 * if the output was too small, which has to have room for the zeros but for the last three.
 */
static inline size_t spc_range_finish_short(spc_range_encoder *rc, const uint8_t *output) {
    size_t len;
    if (rc->full) {
        return 0;
    }
    spc_range_add(rc, 0xffffff); /* the range is 2^24 or more */
    *rc->next++ = (uint8_t)(rc->low >> 24);
    len = (size_t)(rc->next - output);
    while (len > 1 && output[len - 1] == 0) {
        len--;
    }
    return len;
}

typedef struct spc_range_decoder {
    uint32_t code, range; /* code stays below range, unless `outside` */
    int outside;          /* the payload is a number beyond the first range */
    size_t missing;       /* zeros read behind the end */
    const uint8_t *payload, *next, *end;
} spc_range_decoder;

static inline void spc_range_read(spc_range_decoder *rc) {
    uint32_t byte = 0;
    if (rc->next < rc->end) {
        byte = *rc->next++;
    } else {
        rc->missing++;
    }
    rc->code = rc->code << 8 | byte;
}

static inline void spc_range_decoder_start(spc_range_decoder *rc, const uint8_t *payload,
                                           size_t len) {
    rc->code = 0;
    rc->range = 0xffffffff;
    rc->missing = 0;
    rc->payload = rc->next = payload;
    rc->end = payload + len;
    for (int i = 0; i < SPC_RANGE_LAST_BYTES; i++) {
        spc_range_read(rc);
    }
    rc->outside = rc->code >= rc->range;
}

static inline uint32_t spc_range_get_bit(spc_range_decoder *rc, uint32_t zero) {
    const uint32_t bound = (rc->range >> SPC_PROBABILITY_BITS) * zero;
    const uint32_t bit = rc->code >= bound;
    rc->code -= bound & (0u - bit);
    rc->range = bit ? rc->range - bound : bound;
    if (rc->range < 1u << 24) {
        rc->range <<= 8;
        spc_range_read(rc);
        if (rc->range < 1u << 24) {
            rc->range <<= 8;
            spc_range_read(rc);
        }
    }
    return bit;
}

/* Whether the payload ended where and as spc_range_finish_short ends one: there is but one payload
 * for the same decisions. */
static inline int spc_range_decoder_ended(const spc_range_decoder *rc) {
    const size_t len = (size_t)(rc->end - rc->payload);
    return !rc->outside && rc->next == rc->end && rc->missing >= SPC_RANGE_LAST_BYTES - 1 &&
           rc->code < 1u << 24 && len > 0 && (len == 1 || rc->end[-1] != 0);
}

#endif
