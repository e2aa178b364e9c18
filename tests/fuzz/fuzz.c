#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#if __has_feature(memory_sanitizer)
#define WITH_MSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) /* as gcc says it */
#define WITH_ASAN 1
#endif

#if defined(WITH_ASAN)
#include <sanitizer/asan_interface.h>
#endif
#if defined(WITH_MSAN)
#include <sanitizer/msan_interface.h>
#endif

void fuzz_fail(const char *text, const char *file, int line) {
    fprintf(stderr, "%s:%d: failed: %s\n", file, line, text);
    abort();
}

/* ------------------------------------------------------------------ input */

uint8_t fuzz_byte(fuzz_input *input) {
    if (input->left == 0) {
        return 0;
    }
    input->left--;
    return *input->at++;
}

uint32_t fuzz_u32(fuzz_input *input) {
    uint32_t value = 0;
    for (uint32_t i = 0; i < 4; i++) {
        value |= (uint32_t)fuzz_byte(input) << (8 * i);
    }
    return value;
}

size_t fuzz_shape(fuzz_input *input, spc_shape *shape) {
    uint32_t product = 1;
    size_t n = 0;
    memset(shape, 0, sizeof *shape);
    shape->rank = fuzz_byte(input) % 5;
    for (uint32_t i = 0; i < shape->rank; i++) {
        uint32_t byte = fuzz_byte(input), dim = byte < 128 ? byte : 4 * (byte - 127);
        dim = dim * product > FUZZ_MOST_ELEMENTS ? FUZZ_MOST_ELEMENTS / product : dim;
        product *= dim == 0 ? 1 : dim;
        shape->dims[i] = dim;
    }
    REQUIRE(spc_shape_elements(shape, &n) == SPC_OK && n <= FUZZ_MOST_ELEMENTS);
    return n;
}

void fuzz_use_kernels(uint32_t choice) {
    static const uint32_t masks[] = {~0u, 0, ~(uint32_t)SPC_CPU_AVX512,
                                     ~(uint32_t)(SPC_CPU_AVX512 | SPC_CPU_AVX2)};
    static uint32_t in_use = ~0u;
    if (masks[choice & 3] != in_use) {
        in_use = masks[choice & 3];
        spc_set_cpu_mask(in_use);
    }
}

/* ------------------------------------------------------------------ buffers */

#define ROOM ((size_t)1 << 20)
#define MARK 0xa5
#define MARKED 32 /* bytes before a buffer */

static void map(fuzz_room *room) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *first =
        mmap(NULL, ROOM + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (first == MAP_FAILED || mprotect(first + ROOM, page, PROT_NONE) != 0) {
        perror("mmap");
        exit(2);
    }
    room->end = first + ROOM;
}

/* Before the buffer: ASan is told of it, other builds look at it afterwards. */
static void mark_front(const fuzz_room *room) {
    uint8_t *front = room->end - room->used - MARKED;
#if defined(WITH_ASAN)
    __asan_poison_memory_region(front, MARKED);
#else
    memset(front, MARK, MARKED);
#endif
}

void fuzz_check_front(const fuzz_room *room) {
#if defined(WITH_ASAN)
    (void)room;
#else
    const uint8_t *front = room->end - room->used - MARKED;
    for (size_t i = 0; i < MARKED; i++) {
        REQUIRE(front[i] == MARK);
    }
#endif
}

void *fuzz_rear(fuzz_room *room, size_t len) {
    REQUIRE(len <= ROOM - MARKED);
    if (!room->end) {
        map(room);
    }
#if defined(WITH_ASAN)
    __asan_unpoison_memory_region(room->end - room->used - MARKED, MARKED + room->used);
#endif
    room->used = len;
    mark_front(room);
#if defined(WITH_MSAN)
    __msan_poison(room->end - len, len);
#endif
    return room->end - len;
}

void *fuzz_copy(fuzz_room *room, const void *from, size_t len) {
    void *at = fuzz_rear(room, len);
    if (len > 0) {
        memcpy(at, from, len);
    }
    return at;
}

void *fuzz_decode_work(fuzz_room *room, size_t len, spc_coder coder) {
    void *work = fuzz_rear(room, len);
#if defined(WITH_MSAN)
    /* liblzma, which is not instrumented, writes there what the core then reads: MSan would not
     * know.  The rest of its decoder is worth the check: indices, payload and our own encoder. */
    if (coder == SPC_CODER_LZMA) {
        __msan_unpoison(work, len);
    }
#else
    (void)coder;
#endif
    return work;
}
