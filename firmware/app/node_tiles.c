/*
 * A node that takes a feature tile by tile and never holds it: the bytes of a whole one's frame,
 * piece by piece.
 *
 * `pack` needs no more than a tile and sends what becomes of it at once.  Other coders look at
 * neighbours, and are free to give up at the end: they keep the index of each element, one byte.
 */
#include "bytes.h"
#include "node.h"
#include "port.h"

#ifndef NODE_TILE_ELEMENTS
#define NODE_TILE_ELEMENTS 256
#endif
_Static_assert(SPLITCODEC_PLAN_ELEMENTS > 0, "features without elements have no tiles");
_Static_assert(NODE_TILE_ELEMENTS % 8 == 0, "tiles are whole bytes of packed indices");

enum { PACKS = SPLITCODEC_PLAN_CODER == SPC_CODER_PACK };
enum { ELEMENT_BYTES = SPLITCODEC_PLAN_FEATURE_BYTES / SPLITCODEC_PLAN_ELEMENTS };
enum { TILE_BYTES = NODE_TILE_ELEMENTS * ELEMENT_BYTES };

static uint32_t body[(TILE_BYTES + LINK_CHECKSUM + 3) / 4];
/* The pieces' room: of a tile's bits, or of the whole frame. */
static uint8_t piece[PACKS ? NODE_TILE_ELEMENTS + 16 : NODE_FRAME_BYTES];
/* The indices and, behind them, what else the coder needs. */
static uint8_t work[SPLITCODEC_PLAN_WORK_BYTES];

uint8_t *const node_body = (uint8_t *)body;
const size_t node_body_cap = TILE_BYTES;
const uint32_t node_tile_elements = NODE_TILE_ELEMENTS;

static const spc_codec *const codec = &splitcodec_plan;
static size_t done; /* elements so far */
static int begun;
static uint32_t crc; /* of the pieces so far */

static void send_piece(const link_packet *request, size_t len) {
    crc = spc_crc32c(crc, piece, len);
    link_send(request->type, request->sequence, piece, len);
}

static spc_status begin(size_t *len) {
    begun = 1;
    done = 0;
    crc = 0;
    return PACKS ? spc_frame_start(codec, SPC_FRAME_COMPACT, SPC_CODER_PACK,
                                   spc_packed_size(codec->n, codec->codebook.bits), piece,
                                   sizeof piece, len)
                 : SPC_OK;
}

static spc_status add(size_t n, size_t *len) {
    spc_status status;
    if (PACKS) {
        status = spc_codec_quantize_pack_part(codec, done, body, n, piece);
        *len = spc_packed_size(n, codec->codebook.bits);
    } else {
        status = spc_codec_quantize_part(codec, done, body, n, work + done);
    }
    done += n;
    return status;
}

/* What is left of the frame: the checksum, or all of it. */
static spc_status end(size_t *len) {
    begun = 0;
    if (PACKS) {
        spc_store_le32(piece, crc);
        *len = 4;
        return SPC_OK;
    }
    return spc_encode_indices(codec, SPLITCODEC_PLAN_CODER, SPC_FRAME_COMPACT, work, piece,
                              sizeof piece, len, work + codec->n, sizeof work - codec->n);
}

/* A tile out of turn, too many elements or too few end the feature. */
int node_answer(const link_packet *request) {
    const size_t n = request->len / ELEMENT_BYTES;
    size_t len = 0;
    spc_status status;
    if (request->type == NODE_BEGIN) {
        status = begin(&len);
    } else if (request->type != NODE_TILE && request->type != NODE_END) {
        return LINK_UNKNOWN;
    } else if (!begun || (request->type == NODE_TILE ? n > codec->n - done : done < codec->n)) {
        begun = 0;
        return LINK_ORDER;
    } else if (request->len % ELEMENT_BYTES != 0) {
        begun = 0;
        return LINK_LENGTH;
    } else {
        status = request->type == NODE_TILE ? add(n, &len) : end(&len);
    }
    if (status != SPC_OK) {
        begun = 0;
        return (int)status;
    }
    send_piece(request, len);
    return 0;
}
