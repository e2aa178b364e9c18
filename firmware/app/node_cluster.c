/*
 * A node that takes a feature whole and encodes it on the cores of a cluster.
 *
 * Each core has one part of the feature and goes through it tile by tile: into the cluster's
 * memory, quantised there, and what became of it back to its place.  Parts and tiles are whole
 * words of packed indices, so that no two cores write to the same one, and the bytes are the same
 * whatever the number of cores.  Coders other than `pack` look at neighbours: cores make indices
 * for them, which are then coded as in any node.
 */
#include "bytes.h"
#include "node.h"
#include "port.h"

/* The cluster's memory that each core has for a tile and what becomes of it. */
#ifndef NODE_CORE_BYTES
#define NODE_CORE_BYTES 7168
#endif
_Static_assert(SPLITCODEC_PLAN_ELEMENTS > 0, "features without elements have no tiles");
_Static_assert(NODE_CORE_BYTES >= 160, "the least tile is 32 elements of float32");

enum { PACKS = SPLITCODEC_PLAN_CODER == SPC_CODER_PACK };
enum { ELEMENT_BYTES = SPLITCODEC_PLAN_FEATURE_BYTES / SPLITCODEC_PLAN_ELEMENTS };
enum { STEP = 32 }; /* elements: whole words, of whatever bits */
enum { CHECKSUM = 4 };

/* How many cores are to encode it, and the feature. */
static uint32_t body[1 + (SPLITCODEC_PLAN_FEATURE_BYTES + LINK_CHECKSUM + 3) / 4];
static uint32_t frame_room[1 + (NODE_FRAME_BYTES + 3) / 4];
static uint32_t work_room[(SPLITCODEC_PLAN_WORK_BYTES + 3) / 4];
PORT_CLUSTER_DATA static uint32_t tiles[PORT_CORES][NODE_CORE_BYTES / 4];

uint8_t *const node_body = (uint8_t *)body;
const size_t node_body_cap = 4 + SPLITCODEC_PLAN_FEATURE_BYTES;
const uint32_t node_tile_elements = 0;

static const spc_codec *const codec = &splitcodec_plan;

typedef struct job {
    uint8_t *out; /* where indices go, packed or not */
    uint32_t header_crc;
    uint32_t crcs[PORT_CORES]; /* each core's share of the payload's */
    spc_status statuses[PORT_CORES];
} job;

/* Of an element, or of as many of them, in what is made of the feature. */
static size_t made_size(size_t n) {
    return PACKS ? spc_packed_size(n, codec->codebook.bits) : n;
}

static size_t part_start(uint32_t core, uint32_t cores) {
    const size_t steps = (codec->n + STEP - 1) / STEP, start = steps * core / cores * STEP;
    return start < codec->n ? start : codec->n;
}

/* ------------------------------------------------------------------ checksums of parts */

/* Polynomials modulo that of CRC-32C, x^0 in the highest bit. */
static uint32_t times(uint32_t a, uint32_t b) {
    uint32_t product = 0;
    for (; a != 0; a <<= 1) {
        product ^= a >> 31 ? b : 0;
        b = b >> 1 ^ (b & 1 ? 0x82f63b78u : 0);
    }
    return product;
}

/* x^(8 << i): of 1 << i bytes. */
static const uint32_t powers[24] = {
    0x00800000, 0x00008000, 0x82f63b78, 0x6ea2d55c, 0x18b8ea18, 0x510ac59a, 0xb82be955, 0xb8fdb1e7,
    0x88e56f72, 0x74c360a4, 0xe4172b16, 0x0d65762a, 0x35d73a62, 0x28461564, 0xbf455269, 0xe2ea32dc,
    0xfe7740e6, 0xf946610b, 0x3c204f8f, 0x538586e3, 0x59726915, 0x734d5309, 0xbc1ac763, 0x7d0722cc,
};
_Static_assert(SPLITCODEC_PLAN_FRAME_BOUND < 1 << 24, "powers are for frames of up to 16 MB");

/* A part's share, by exclusive or, of the CRC of the whole, where `len` bytes follow the part. */
static uint32_t crc_before(uint32_t crc, size_t len) {
    for (const uint32_t *power = powers; len != 0; len >>= 1, power++) {
        crc = len & 1 ? times(*power, crc) : crc;
    }
    return crc;
}

/* ------------------------------------------------------------------ on the cores */

static void make_part(uint32_t core, uint32_t cores, void *argument) {
    job *shared = argument;
    /* as many as fit with what becomes of them */
    const size_t made_bits = PACKS ? codec->codebook.bits : 8;
    const size_t most = 8 * sizeof tiles[core] / (8 * ELEMENT_BYTES + made_bits) / STEP * STEP;
    const size_t end = part_start(core + 1, cores);
    const uint8_t *feature = (const uint8_t *)(body + 1);
    uint8_t *values = (uint8_t *)tiles[core], *made = values + most * ELEMENT_BYTES;
    uint32_t crc = core == 0 ? shared->header_crc : 0;
    spc_status status = SPC_OK;
    size_t count;
    for (size_t at = part_start(core, cores); at < end && status == SPC_OK; at += count) {
        count = end - at < most ? end - at : most;
        port_copy_in(values, feature + at * ELEMENT_BYTES, count * ELEMENT_BYTES);
        if (PACKS) {
            status = spc_codec_quantize_pack_part(codec, at, values, count, made);
            crc = spc_crc32c(crc, made, made_size(count));
        } else {
            status = spc_codec_quantize_part(codec, at, values, count, made);
        }
        port_copy_out(shared->out + made_size(at), made, made_size(count));
    }
    shared->crcs[core] = PACKS ? crc_before(crc, made_size(codec->n) - made_size(end)) : 0;
    shared->statuses[core] = status;
}

/* A part, and then on one of the cores what takes all of them. */
static void make_frame(uint32_t core, uint32_t cores, void *argument) {
    const job *shared = argument;
    uint32_t crc = 0;
    make_part(core, cores, argument);
    port_barrier();
    if (core == 0) {
        for (uint32_t i = 0; i < cores; i++) {
            crc ^= shared->crcs[i];
        }
        spc_store_le32(shared->out + made_size(codec->n), crc);
    }
}

/* ------------------------------------------------------------------ on the fabric controller */

/* Static, for cores that see no other stack than theirs. */
static job all;

static spc_status fork_work(port_work *work, uint32_t cores) {
    spc_status status = SPC_OK;
    port_fork(work, cores, &all);
    for (uint32_t core = 0; core < cores && status == SPC_OK; core++) {
        status = all.statuses[core];
    }
    return status;
}

/* The payload begins with a word. */
static spc_status encode_packed(uint32_t cores, uint8_t **frame, size_t *len) {
    const size_t whole = spc_frame_bound(codec, SPC_FRAME_COMPACT);
    const size_t payload = made_size(codec->n), header = whole - payload - CHECKSUM;
    spc_status status;
    if (whole > NODE_FRAME_BYTES) {
        return SPC_ERROR_CAPACITY;
    }
    all.out = (uint8_t *)frame_room + (header + 3) / 4 * 4;
    *frame = all.out - header;
    status =
        spc_frame_start(codec, SPC_FRAME_COMPACT, SPC_CODER_PACK, payload, *frame, header, len);
    if (status != SPC_OK) {
        return status;
    }
    all.header_crc = spc_crc32c(0, *frame, header);
    *len = whole;
    return fork_work(make_frame, cores);
}

static spc_status encode_coded(uint32_t cores, uint8_t **frame, size_t *len) {
    uint8_t *work = (uint8_t *)work_room;
    spc_status status;
    all.out = work;
    *frame = (uint8_t *)frame_room;
    status = fork_work(make_part, cores);
    if (status != SPC_OK) {
        return status;
    }
    return spc_encode_indices(codec, SPLITCODEC_PLAN_CODER, SPC_FRAME_COMPACT, work, *frame,
                              NODE_FRAME_BYTES, len, work + codec->n,
                              SPLITCODEC_PLAN_WORK_BYTES - codec->n);
}

int node_answer(const link_packet *request) {
    const uint32_t start = port_cycles(), cores = spc_load_le32(node_body);
    uint8_t *frame;
    size_t len;
    spc_status status;
    if (request->type != NODE_CLUSTER) {
        return LINK_UNKNOWN;
    }
    if (request->len != node_body_cap) {
        return LINK_LENGTH;
    }
    if (cores < 1 || cores > PORT_CORES) {
        return SPC_ERROR_ARGUMENT;
    }
    status = PACKS ? encode_packed(cores, &frame, &len) : encode_coded(cores, &frame, &len);
    if (status != SPC_OK) {
        return (int)status;
    }
    node_send_frame(request, port_cycles() - start, frame, len);
    return 0;
}
