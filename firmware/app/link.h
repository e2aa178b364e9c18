/*
 * Packets over a byte stream that may lose and damage bytes: docs/firmware.md has the protocol.
 *
 *     COBS(type | sequence | body | CRC-32C of all before it, little endian) 00
 *
 * Whatever is wrong with a packet, the next one begins after the next zero.
 */
#ifndef SPLITCODEC_LINK_H
#define SPLITCODEC_LINK_H

#include <stddef.h>
#include <stdint.h>

#define LINK_CHECKSUM 4 /* bytes of room that a body's buffer has beyond the longest body */

/* Codes of error packets: the link's own follow those of spc_status. */
enum {
    LINK_DAMAGED = 64,  /* not COBS, or another checksum */
    LINK_TOO_LONG = 65, /* a body longer than its buffer */
    LINK_UNKNOWN = 66,  /* a type that this application does not know */
    LINK_LENGTH = 67,   /* a body of another length than its type has */
    LINK_ORDER = 68 /* out of turn: a tile before the begin, more elements than the feature has */
};

#define LINK_ERROR '!' /* type of an error packet; body: its code */

typedef struct link_packet {
    uint8_t type, sequence;
    size_t len; /* of the body */
} link_packet;

/* Wait for a packet.  0, or the code of what was wrong; then type and sequence are 0. */
int link_receive(link_packet *packet, uint8_t *body, size_t cap);

/* A packet is begun, its body added in pieces, and ended. */
typedef struct link_writer {
    uint32_t crc;
    uint32_t len;
    uint8_t block[255]; /* of COBS: its length first */
} link_writer;

void link_begin(link_writer *writer, uint8_t type, uint8_t sequence);
void link_add(link_writer *writer, const uint8_t *bytes, size_t len);
void link_end(link_writer *writer);

/* In one call. */
void link_send(uint8_t type, uint8_t sequence, const uint8_t *body, size_t len);
void link_send_error(uint8_t sequence, int code);

#endif
