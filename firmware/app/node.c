/*
 * Encodes what the host sends with the plan that is compiled in, and sends it back.  Whatever goes
 * wrong is answered with an error packet, and the next request is a new one.  docs/firmware.md has
 * the packets.
 */
#include "node.h"

#include "bytes.h"
#include "port.h"

static void say_info(uint8_t sequence) {
    uint8_t body[20] = {NODE_VERSION, SPLITCODEC_PLAN_CODER, (uint8_t)splitcodec_plan.dtype,
                        (uint8_t)splitcodec_plan.codebook.bits};
    spc_store_le32(body + 4, splitcodec_plan.id);
    spc_store_le32(body + 8, SPLITCODEC_PLAN_ELEMENTS);
    spc_store_le32(body + 12, NODE_FRAME_BYTES);
    spc_store_le32(body + 16, node_tile_elements);
    link_send(NODE_INFO, sequence, body, sizeof body);
}

void node_send_frame(const link_packet *request, uint32_t ticks, const uint8_t *frame, size_t len) {
    uint8_t number[4];
    link_writer writer;
    spc_store_le32(number, ticks);
    link_begin(&writer, request->type, request->sequence);
    link_add(&writer, number, sizeof number);
    link_add(&writer, frame, len);
    link_end(&writer);
}

int app_main(void) {
    link_packet request;
    for (;;) {
        int wrong = link_receive(&request, node_body, node_body_cap);
        if (!wrong && request.type == NODE_QUIT) {
            link_send(NODE_QUIT, request.sequence, node_body, 0);
            return 0;
        }
        if (!wrong && request.type == NODE_INFO) {
            say_info(request.sequence);
        } else if (!wrong) {
            wrong = node_answer(&request);
        }
        if (wrong) {
            link_send_error(request.sequence, wrong);
        }
    }
}
