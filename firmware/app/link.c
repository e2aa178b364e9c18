#include "link.h"

#include "bytes.h"
#include "port.h"
#include "splitcodec.h"

#define HEADER 2 /* type and sequence */

static uint8_t next_byte(void) {
    uint8_t byte = 0;
    (void)port_receive(&byte, 1);
    return byte;
}

int link_receive(link_packet *packet, uint8_t *body, size_t cap) {
    const size_t most = HEADER + cap + LINK_CHECKSUM;
    uint8_t header[HEADER] = {0, 0}, byte;
    uint32_t code = 0xff, left = 0, crc;
    size_t len = 0;
    packet->type = packet->sequence = 0;
    packet->len = 0;
    for (;;) {
        byte = next_byte();
        if (byte == 0) {
            if (len == 0 && code == 0xff && left == 0) {
                continue; /* nothing between two zeros */
            }
            break;
        }
        if (left > 0) {
            left--;
        } else {
            const uint32_t before = code;
            code = byte;
            left = byte - 1u;
            if (before == 0xff) {
                continue;
            }
            byte = 0;
        }
        if (len < HEADER) {
            header[len] = byte;
        } else if (len < most) {
            body[len - HEADER] = byte;
        }
        len += len <= most;
    }
    if (len > most) {
        return LINK_TOO_LONG;
    }
    if (left > 0 || len < HEADER + LINK_CHECKSUM) {
        return LINK_DAMAGED;
    }
    len -= HEADER + LINK_CHECKSUM;
    crc = spc_crc32c(spc_crc32c(0, header, HEADER), body, len);
    if (crc != spc_load_le32(body + len)) {
        return LINK_DAMAGED;
    }
    packet->type = header[0];
    packet->sequence = header[1];
    packet->len = len;
    return 0;
}

/* ------------------------------------------------------------------ sending */

static void put_block(link_writer *writer) {
    writer->block[0] = (uint8_t)(writer->len + 1);
    port_send(writer->block, writer->len + 1);
    writer->len = 0;
}

static void put(link_writer *writer, const uint8_t *bytes, size_t len) {
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] != 0) {
            writer->block[++writer->len] = bytes[i];
        }
        if (bytes[i] == 0 || writer->len == 254) {
            put_block(writer);
        }
    }
}

void link_add(link_writer *writer, const uint8_t *bytes, size_t len) {
    writer->crc = spc_crc32c(writer->crc, bytes, len);
    put(writer, bytes, len);
}

void link_begin(link_writer *writer, uint8_t type, uint8_t sequence) {
    const uint8_t header[HEADER] = {type, sequence};
    writer->crc = 0;
    writer->len = 0;
    link_add(writer, header, HEADER);
}

void link_end(link_writer *writer) {
    static const uint8_t delimiter = 0;
    uint8_t crc[LINK_CHECKSUM];
    spc_store_le32(crc, writer->crc);
    put(writer, crc, LINK_CHECKSUM);
    put_block(writer);
    port_send(&delimiter, 1);
}

void link_send(uint8_t type, uint8_t sequence, const uint8_t *body, size_t len) {
    link_writer writer;
    link_begin(&writer, type, sequence);
    link_add(&writer, body, len);
    link_end(&writer);
}

void link_send_error(uint8_t sequence, int code) {
    const uint8_t body = (uint8_t)code;
    link_send(LINK_ERROR, sequence, &body, 1);
}
