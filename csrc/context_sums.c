#include "context.h"

#include <string.h>

static void add_tap(const spc_context_job *job, const spc_context_tap *tap, const uint8_t *weights,
                    int16_t *sums) {
    const uint32_t units = job->channel->units;
    const size_t stride = SPC_CONTEXT_STRIDE(units), behind = job->columns - job->column;
    const size_t back = tap->back * job->rows * job->columns;
    const uint8_t *at = job->at - back + tap->row * (ptrdiff_t)job->columns + tap->column;
    size_t first = 0, end = job->count;
    if (tap->column < 0 && job->column < (size_t)-tap->column) {
        first = (size_t)-tap->column - job->column;
    }
    if (tap->column > 0 && end + (size_t)tap->column > behind) {
        end = behind > (size_t)tap->column ? behind - (size_t)tap->column : 0;
    }
    for (size_t i = first; i < end; i++) {
        uint32_t level = (uint32_t)at[i] >> job->lowest;
        level = level < tap->most ? level : tap->most;
        for (uint32_t j = 0; j < units; j++) {
            int16_t *sum = &sums[i * stride + j];
            *sum = (int16_t)(*sum + (int8_t)weights[j] * (int)level);
        }
    }
}

void spc_context_sums_reference(const spc_context_job *job, int16_t *sums) {
    const spc_context_channel *channel = job->channel;
    const uint32_t units = channel->units;
    for (size_t i = 0; i < job->count; i++) {
        for (uint32_t j = 0; j < units; j++) {
            const uint8_t *bias = channel->biases + 2 * (size_t)j;
            sums[i * SPC_CONTEXT_STRIDE(units) + j] = (int16_t)(bias[0] | bias[1] << 8);
        }
        for (uint32_t j = units; j < SPC_CONTEXT_STRIDE(units); j++) {
            sums[i * SPC_CONTEXT_STRIDE(units) + j] = 0;
        }
    }
    for (uint32_t i = 0; i < job->taps; i++) {
        const spc_context_tap tap = spc_context_tap_at(channel->places + 2 * (size_t)i);
        if (tap.row < 0 ? job->row >= (size_t)-tap.row : job->row + (size_t)tap.row < job->rows) {
            add_tap(job, &tap, channel->weights + (size_t)i * units, sums);
        }
    }
}
