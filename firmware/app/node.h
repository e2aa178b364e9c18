/* What the nodes have in common: node.c receives, one of the others encodes. */
#ifndef SPLITCODEC_NODE_H
#define SPLITCODEC_NODE_H

#include "link.h"
#include "splitcodec_plan.h"

/* Room for a frame.  Less than the bound saves RAM where a feature never needs it, and is
 * SPC_ERROR_CAPACITY where it does. */
#ifndef NODE_FRAME_BYTES
#define NODE_FRAME_BYTES SPLITCODEC_PLAN_FRAME_BOUND
#endif

/* Types of requests, and of their answers. */
enum {
    NODE_INFO = 'i',
    NODE_FEATURE = 'f',
    NODE_CLUSTER = 'c',
    NODE_BEGIN = 'b',
    NODE_TILE = 't',
    NODE_END = 'e',
    NODE_QUIT = 'q'
};

#define NODE_VERSION 1

/* Where bodies are put, aligned as features are, and the longest of them without its checksum. */
extern uint8_t *const node_body;
extern const size_t node_body_cap;

/* Elements that a tile may have; 0: features come whole. */
extern const uint32_t node_tile_elements;

/* Answer a request.  0, or the code of an error to answer with. */
int node_answer(const link_packet *request);

/* The answer to a whole feature: the ticks that encoding took, and the frame. */
void node_send_frame(const link_packet *request, uint32_t ticks, const uint8_t *frame, size_t len);

#endif
