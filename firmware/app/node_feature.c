/* A node that takes a feature whole, with any coder. */
#include "node.h"
#include "port.h"

/* Words, for the feature's alignment. */
static uint32_t body[(SPLITCODEC_PLAN_FEATURE_BYTES + LINK_CHECKSUM + 3) / 4];
static uint8_t frame[NODE_FRAME_BYTES], work[SPLITCODEC_PLAN_WORK_BYTES];

uint8_t *const node_body = (uint8_t *)body;
const size_t node_body_cap = SPLITCODEC_PLAN_FEATURE_BYTES;
const uint32_t node_tile_elements = 0;

int node_answer(const link_packet *request) {
    uint32_t start;
    size_t len;
    spc_status status;
    if (request->type != NODE_FEATURE) {
        return LINK_UNKNOWN;
    }
    if (request->len != SPLITCODEC_PLAN_FEATURE_BYTES) {
        return LINK_LENGTH;
    }
    start = port_cycles();
    status = spc_encode(&splitcodec_plan, SPLITCODEC_PLAN_CODER, SPC_FRAME_COMPACT, body, frame,
                        sizeof frame, &len, work, sizeof work);
    if (status != SPC_OK) {
        return (int)status;
    }
    node_send_frame(request, port_cycles() - start, frame, len);
    return 0;
}
