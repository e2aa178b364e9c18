/* The constants of the lzma payload, each with its reason.  docs/format.md is the specification. */
#ifndef SPC_LZMA_FORMAT_H
#define SPC_LZMA_FORMAT_H

#include "splitcodec.h"

/*
 * No literal context, literal position or position bits.  Packed low-bit indices have no byte
 * grammar for them to model, and each context must be learned again in every payload of a few
 * kilobytes: measured, 0/0/0 was the smallest of the whole grid on every feature set.  Fixed, so
 * that a decoder needs 3.5 kB of probabilities and no more.
 */
#define SPC_LZMA_LC 0
#define SPC_LZMA_LP 0
#define SPC_LZMA_PB 0

/* MicroLZMA: the complement of the .lzma properties byte ((pb * 5 + lp) * 9 + lc) stands where
 * the range coder's first byte, always 0, would. */
#define SPC_LZMA_FIRST_BYTE 0xff

/* Window = the packed indices, so that every earlier byte can be matched, within the least that
 * liblzma accepts and a bound on what a decoder has to hold. */
#define SPC_LZMA_DICT_MIN 4096u
#define SPC_LZMA_DICT_MAX (1u << 20)

/* Fewer packed bytes than this cannot shrink: range coder and first byte cost 6 bytes. */
#define SPC_LZMA_MIN_INPUT 8

static inline uint32_t spc_lzma_dict_size(size_t packed_len) {
    return packed_len < SPC_LZMA_DICT_MIN   ? SPC_LZMA_DICT_MIN
           : packed_len > SPC_LZMA_DICT_MAX ? SPC_LZMA_DICT_MAX
                                            : (uint32_t)packed_len;
}

#endif
