/* The public header compiles first, alone and twice, in C11. */
#include "splitcodec.h"

#include "splitcodec.h"

#if SPC_MAX_CENTROIDS != 256 || SPC_MAX_RANK != 8
#error "limits of format version 1"
#endif

_Static_assert(sizeof(((spc_shape *)0)->dims) == 4 * SPC_MAX_RANK, "a dim for every rank");
_Static_assert(SPC_OK == 0, "success is 0");

#include <string.h>

#include "check.h"

static void version(void) {
    CHECK(strcmp(spc_version(), SPC_VERSION) == 0);
}

static void status_texts(void) {
    const char *unknown = spc_status_text((spc_status)-1);
    CHECK(unknown && *unknown);
    CHECK(strcmp(spc_status_text((spc_status)1000), unknown) == 0);
    for (int status = SPC_OK; status <= SPC_ERROR_MODEL; status++) {
        const char *text = spc_status_text((spc_status)status);
        CHECK(text && strlen(text) > 3 && text[strlen(text) - 1] != '.');
        CHECK(strcmp(text, unknown) != 0);
        for (int other = SPC_OK; other < status; other++) {
            CHECK(strcmp(text, spc_status_text((spc_status)other)) != 0);
        }
    }
    CHECK(strcmp(spc_status_text((spc_status)(SPC_ERROR_MODEL + 1)), unknown) == 0);
}

/* A codebook can be a constant in flash. */
static const float levels[2] = {-1.0f, 1.0f};
static const int32_t between[1] = {0};
static const spc_codebook in_flash = {1, 1, levels, between};

static void constant_codebook(void) {
    const float values[4] = {-0.0f, 0.0f, -3.0f, 0.25f};
    const uint8_t expected[4] = {0, 0, 0, 1};
    uint8_t indices[4];
    CHECK_STATUS(spc_quantize(&in_flash, SPC_FLOAT32, values, 4, indices), SPC_OK);
    CHECK_BYTES(indices, expected, 4);
}

static const check_case cases[] = {
    {"version", version},
    {"status_texts", status_texts},
    {"constant_codebook", constant_codebook},
};
CHECK_MAIN(cases, NULL)
