/*
 * What the fuzz targets share: reading the input, buffers before a guard page, and giving up.
 *
 * A target is one LLVMFuzzerTestOneInput.  libFuzzer calls it, or replay.c for each file of a
 * corpus.  The same input must do the same in every build and on every machine.
 */
#ifndef SPC_FUZZ_H
#define SPC_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "splitcodec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ------------------------------------------------------------------ giving up */

_Noreturn void fuzz_fail(const char *text, const char *file, int line);
#define REQUIRE(condition) ((condition) ? (void)0 : fuzz_fail(#condition, __FILE__, __LINE__))

/* ------------------------------------------------------------------ input */

typedef struct fuzz_input {
    const uint8_t *at;
    size_t left;
} fuzz_input;

/* 0 where the input has ended. */
uint8_t fuzz_byte(fuzz_input *input);
uint32_t fuzz_u32(fuzz_input *input);

/* Rank 0 to 4 and at most FUZZ_MOST_ELEMENTS; returns how many elements. */
#define FUZZ_MOST_ELEMENTS 512
size_t fuzz_shape(fuzz_input *input, spc_shape *shape);

/* The lowest two bits choose: all kernels of this machine, none, or those without the newest. */
void fuzz_use_kernels(uint32_t choice);

/* ------------------------------------------------------------------ buffers */

/* Mapped at the first use and kept: mapping takes longer than most inputs. */
typedef struct fuzz_room {
    uint8_t *end; /* of the bytes before the inaccessible page */
    size_t used;
} fuzz_room;

/*
 * `len` bytes, of unknown content, that end where the inaccessible page begins.  Floats may lie in
 * it if `len` is a multiple of their size.  What the room held before is gone.
 */
void *fuzz_rear(fuzz_room *room, size_t len);

/* The same with a copy in it. */
void *fuzz_copy(fuzz_room *room, const void *from, size_t len);

/* Work for a decoder. */
void *fuzz_decode_work(fuzz_room *room, size_t len, spc_coder coder);

/* Nothing was written shortly before the buffer.  What is read there ASan tells. */
void fuzz_check_front(const fuzz_room *room);

/* ------------------------------------------------------------------ models */

/*
 * What spc_model_init says of a model with this body, header and checksum being right: SPC_OK or
 * SPC_ERROR_MODEL.  The model's bytes lie in the room.
 */
spc_status fuzz_wrap_model(fuzz_room *room, spc_coder coder, uint32_t bits, uint32_t channels,
                           const uint8_t *body, size_t len, spc_model *model);

/* Most channels of a model that is made. */
#define FUZZ_MOST_CHANNELS 16

/* A small model of the coder, another one for each seed.  0 if there is none: for too many
 * channels, and for coders whose models we cannot make. */
int fuzz_make_model(fuzz_room *room, spc_coder coder, uint32_t bits, uint32_t channels,
                    uint32_t seed, spc_model *model);

/* How many channels coders see in the indices of such a shape: docs/format.md, section 1.3. */
uint32_t fuzz_channels(const spc_shape *shape, uint32_t axis);

/* Whether the coder can do nothing without a model. */
int fuzz_needs_model(spc_coder coder);

/* Whether a payload that the coder was asked for may be one of `used`. */
int fuzz_may_use(spc_coder coder, spc_coder used);

#endif
