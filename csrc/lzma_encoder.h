/*
 * LZMA encoder for payloads of a few kilobytes: small, quick, without allocation, and with the
 * same bytes on every machine.  It writes what lzma_format.h and docs/format.md describe.
 */
#ifndef SPC_LZMA_ENCODER_H
#define SPC_LZMA_ENCODER_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of work for an input of this length.  They may lie at any address. */
size_t spc_lzma_encoder_work_size(size_t input_len);

/*
 * Returns the bytes written, or 0 if `output_cap` or `work_len` does not suffice, or the input
 * has 2^31 bytes or more.  Input, output and work must not overlap; work need not be initialised.
 */
size_t spc_lzma_encode(const uint8_t *input, size_t input_len, uint8_t *output, size_t output_cap,
                       void *work, size_t work_len);

#endif
