/* A node that takes a feature whole, with any coder. */
#include "bytes.h"
#include "node.h"
#include "port.h"

/* Words, for the feature's alignment. */
static uint32_t body[(SPLITCODEC_PLAN_FEATURE_BYTES + LINK_CHECKSUM + 3) / 4];
static uint8_t frame[NODE_FRAME_BYTES], work[SPLITCODEC_PLAN_WORK_BYTES];

uint8_t *const node_body = (uint8_t *)body;
const size_t node_body_cap = SPLITCODEC_PLAN_FEATURE_BYTES;
const uint32_t node_tile_elements = 0;

/* Answers with the ticks that encoding took, and the frame. */
int node_answer(const link_packet *request) {
    uint8_t ticks[4];
    uint32_t start;
    size_t len;
    spc_status status;
    link_writer writer;
    if (request->type != NODE_FEATURE) {
        return LINK_UNKNOWN;
    }
    if (request->len != SPLITCODEC_PLAN_FEATURE_BYTES) {
        return LINK_LENGTH;
    }
    start = port_cycles();
    status = spc_encode(&splitcodec_plan, SPLITCODEC_PLAN_CODER, SPC_FRAME_COMPACT, body, frame,
                        sizeof frame, &len, work, sizeof work);
    spc_store_le32(ticks, port_cycles() - start);
    if (status != SPC_OK) {
        return (int)status;
    }
    link_begin(&writer, NODE_FEATURE, request->sequence);
    link_add(&writer, ticks, sizeof ticks);
    link_add(&writer, frame, len);
    link_end(&writer);
    return 0;
}
