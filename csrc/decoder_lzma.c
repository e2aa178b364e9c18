/*
 * Coder 1 back: liblzma reads the stream.  It is the one part of the core that asks for memory, and
 * gets it from the caller's work buffer.
 */
#include <lzma.h>
#include <string.h>

#include "coder.h"
#include "lzma_format.h"

/* liblzma's own estimate leaves out its stream objects and our alignment. */
#define STREAM_OBJECTS 16384
#define ALIGNMENT 64

typedef struct arena {
    uint8_t *next;
    size_t left;
} arena;

static void *arena_alloc(void *opaque, size_t count, size_t size) {
    arena *from = opaque;
    size_t bytes = (count * size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    uint8_t *block = from->next;
    if (size != 0 && count > SIZE_MAX / 2 / size) {
        return NULL;
    }
    if (bytes > from->left) {
        return NULL;
    }
    from->next += bytes;
    from->left -= bytes;
    return block;
}

static void arena_free(void *opaque, void *block) {
    (void)opaque;
    (void)block;
}

/* The first `packed_cap` bytes of work hold the packed indices, liblzma gets the rest. */
static arena arena_behind(void *work, size_t work_len, size_t packed_cap) {
    uintptr_t start = (uintptr_t)work + packed_cap;
    size_t skip = packed_cap + (size_t)(-start & (ALIGNMENT - 1));
    arena rest = {NULL, 0};
    if (skip <= work_len) {
        rest.next = (uint8_t *)work + skip;
        rest.left = work_len - skip;
    }
    return rest;
}

static size_t lzma_decode_work_size(const spc_planes *planes) {
    size_t packed_len = spc_packed_size(planes->n, planes->bits);
    lzma_options_lzma options = {.dict_size = spc_lzma_dict_size(packed_len)};
    const lzma_filter filters[] = {{LZMA_FILTER_LZMA1, &options}, {LZMA_VLI_UNKNOWN, NULL}};
    return packed_len + ALIGNMENT + STREAM_OBJECTS + (size_t)lzma_raw_decoder_memusage(filters);
}

static spc_status decode_lzma(const spc_planes *planes, const uint8_t *payload, size_t payload_len,
                              uint8_t *indices, void *work, size_t work_len) {
    size_t packed_len = spc_packed_size(planes->n, planes->bits);
    arena memory = arena_behind(work, work_len, packed_len);
    lzma_allocator allocator = {arena_alloc, arena_free, &memory};
    lzma_stream stream = LZMA_STREAM_INIT;
    lzma_ret result;
    if (payload_len == 0 || payload_len >= packed_len || payload[0] != SPC_LZMA_FIRST_BYTE) {
        return SPC_ERROR_CORRUPT;
    }
    if (!memory.next) {
        return SPC_ERROR_WORK;
    }
    stream.allocator = &allocator;
    result =
        lzma_microlzma_decoder(&stream, payload_len, packed_len, 1, spc_lzma_dict_size(packed_len));
    if (result != LZMA_OK) {
        return SPC_ERROR_WORK;
    }
    stream.next_in = payload;
    stream.avail_in = payload_len;
    stream.next_out = work;
    stream.avail_out = packed_len;
    result = lzma_code(&stream, LZMA_FINISH);
    lzma_end(&stream);
    if (result == LZMA_MEM_ERROR) {
        return SPC_ERROR_WORK;
    }
    if (result != LZMA_STREAM_END || stream.avail_in != 0 || stream.avail_out != 0) {
        return SPC_ERROR_CORRUPT;
    }
    return spc_unpack(work, planes->n, planes->bits, indices);
}

const spc_decoder_ops spc_decoder_lzma_ops = {
    .work_size = lzma_decode_work_size,
    .decode = decode_lzma,
};
