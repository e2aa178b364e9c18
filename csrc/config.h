/*
 * What of the core is built.  A firmware leaves out what it never uses: these are for what linkers
 * cannot tell, because a value at run time decides on it.  Coders that are left out give
 * SPC_ERROR_CODER, everything else SPC_ERROR_ARGUMENT.
 */
#ifndef SPC_CONFIG_H
#define SPC_CONFIG_H

/* Hosted: there are threads, an environment and a libc beside the core. */
#ifndef SPC_HOSTED
#define SPC_HOSTED __STDC_HOSTED__
#endif

/* 1 << SPC_CODER_... of each; `pack` is always there. */
#ifndef SPC_CODERS
#define SPC_CODERS 0x1f
#endif
#define SPC_HAS_CODER(coder) (((SPC_CODERS) >> (coder) & 1) != 0)
#define SPC_CODES ((SPC_CODERS) > 1) /* there is more than packing */

/* 1 << SPC_FLOAT32 and so on. */
#ifndef SPC_DTYPES
#define SPC_DTYPES 0x1f
#endif
#define SPC_HAS_DTYPE(dtype) (((SPC_DTYPES) >> (dtype) & 1) != 0)

/* 1 << bits of the widths that indices may have.  Where it is one, code is made for that alone. */
#ifndef SPC_BITS
#define SPC_BITS 0x1fe
#endif
#if (SPC_BITS) == 0 || ((SPC_BITS) & ~0x1fe) != 0
#error "SPC_BITS is 1 << bits of each width, 1 to 8: at least one of them"
#endif
#define SPC_HAS_BITS(bits) (((SPC_BITS) >> (bits) & 1) != 0)
#define SPC_BITS_OF(bits)                                                                          \
    (((SPC_BITS) & ((SPC_BITS) - 1)) == 0 ? (uint32_t)__builtin_ctz(SPC_BITS) : (bits))

/* Whether a codec may have several codebooks, for groups of channels. */
#ifndef SPC_GROUPS
#define SPC_GROUPS 1
#endif

/* Whether frames may carry their codec, beside those that name it. */
#ifndef SPC_SELF_DESCRIBING
#define SPC_SELF_DESCRIBING 1
#endif

/* Without liblzma the coder `lzma` only encodes. */
#ifndef SPC_WITH_LIBLZMA
#define SPC_WITH_LIBLZMA 0
#endif

#endif
