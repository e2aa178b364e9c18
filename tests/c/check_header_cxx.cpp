// The public header compiles alone as C++17, and its functions link with C names.
#include "splitcodec.h"

static_assert(SPC_MAX_CENTROIDS == 256, "limit of format version 1");

int main() {
    const float centroids[2] = {0.0f, 1.0f};
    int32_t thresholds[1];
    spc_codebook codebook{};
    spc_codec codec{};
    spc_shape shape{};
    if (spc_codebook_init(&codebook, centroids, 1, thresholds) != SPC_OK) {
        return 1;
    }
    shape.rank = 1;
    shape.dims[0] = 3;
    if (spc_codec_init(&codec, &codebook, SPC_FLOAT32, &shape) != SPC_OK) {
        return 2;
    }
    const float feature[3] = {0.0f, 0.75f, -2.0f};
    float restored[3];
    uint8_t frame[64];
    size_t frame_len = 0;
    if (spc_frame_bound(&codec, SPC_FRAME_COMPACT) > sizeof frame ||
        spc_encode(&codec, SPC_CODER_PACK, SPC_FRAME_COMPACT, feature, frame, sizeof frame,
                   &frame_len, nullptr, 0) != SPC_OK ||
        spc_decode(&codec, frame, frame_len, restored, sizeof restored, nullptr, 0) != SPC_OK) {
        return 3;
    }
    return restored[0] == 0.0f && restored[1] == 1.0f && restored[2] == 0.0f ? 0 : 4;
}
