#include "check.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "timing.h"

check_place check_at;

static const char *running = "start";
static unsigned long long checked, failed;
static uint64_t run_seed = 1, state = 1;
static uint32_t all_features;

#define MOST_FAILURES 20

/* ------------------------------------------------------------------ results */

static void print_place(void) {
    fprintf(stderr, "  case %s, kernels %s, bits %u, n %zu, shift %zu, seed %" PRIu64 "%s%s\n",
            running, check_at.kernels ? check_at.kernels : "?", check_at.bits, check_at.n,
            check_at.shift, run_seed, check_at.what ? ", " : "",
            check_at.what ? check_at.what : "");
}

static void count_failure(void) {
    print_place();
    if (++failed >= MOST_FAILURES) {
        fprintf(stderr, "giving up after %d failures\n", MOST_FAILURES);
        exit(1);
    }
}

int check_that(int ok, const char *text, const char *file, int line) {
    checked++;
    if (!ok) {
        fprintf(stderr, "%s:%d: failed: %s\n", file, line, text);
        count_failure();
    }
    return ok;
}

int check_bytes(const void *got, const void *want, size_t len, const char *file, int line) {
    const uint8_t *a = got, *b = want;
    checked++;
    if (len == 0 || memcmp(got, want, len) == 0) {
        return 1;
    }
    for (size_t i = 0; i < len; i++) {
        if (a[i] != b[i]) {
            fprintf(stderr, "%s:%d: byte %zu of %zu is 0x%02x, should be 0x%02x\n", file, line, i,
                    len, a[i], b[i]);
            break;
        }
    }
    count_failure();
    return 0;
}

int check_status(spc_status got, spc_status want, const char *text, const char *file, int line) {
    checked++;
    if (got != want) {
        fprintf(stderr, "%s:%d: %s\n  gives %d (%s), should give %d (%s)\n", file, line, text,
                (int)got, spc_status_text(got), (int)want, spc_status_text(want));
        count_failure();
    }
    return got == want;
}

/* A kernel that strays hits a guard page: say where we were, then let the fault happen again. */
static struct sigaction before_us[2];

static void on_fault(int number) {
    static const char text[] = "access outside a buffer:\n";
    if (write(STDERR_FILENO, text, sizeof text - 1) > 0) {
        print_place();
    }
    sigaction(number, &before_us[number == SIGBUS], NULL);
}

static void catch_faults(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_fault;
    sigemptyset(&action.sa_mask);
    sigaction(SIGSEGV, &action, &before_us[0]);
    sigaction(SIGBUS, &action, &before_us[1]);
}

int check_main(int argc, char **argv, const check_case *cases, size_t count, void (*bench)(void)) {
    const char *only = NULL, *expected = NULL;
    int want_bench = 0;
    size_t done = 0;
    for (int i = 1; i < argc; i++) {
        int has_value = i + 1 < argc;
        if (strcmp(argv[i], "--bench") == 0) {
            want_bench = 1;
        } else if (has_value && strcmp(argv[i], "--seed") == 0) {
            run_seed = strtoull(argv[++i], NULL, 0);
        } else if (has_value && strcmp(argv[i], "--only") == 0) {
            only = argv[++i];
        } else if (has_value && strcmp(argv[i], "--expect-kernels") == 0) {
            expected = argv[++i];
        } else {
            fprintf(stderr,
                    "usage: %s [--seed N] [--only CASE] [--bench] [--expect-kernels NAME]\n",
                    argv[0]);
            return 2;
        }
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    all_features = spc_cpu_features();
    check_at.kernels = spc_kernels_name();
    printf("kernels %s\n", check_at.kernels);
    if (expected) {
        CHECK(strcmp(expected, check_at.kernels) == 0);
    }
    if (want_bench) {
        if (bench) {
            bench();
        }
        return failed != 0;
    }
    catch_faults();
    for (size_t i = 0; i < count; i++) {
        unsigned long long before = checked;
        double start = timing_now_ns();
        if (only && strcmp(only, cases[i].name) != 0) {
            continue;
        }
        memset(&check_at, 0, sizeof check_at);
        check_at.kernels = spc_kernels_name();
        running = cases[i].name;
        check_seed(0);
        cases[i].run();
        done++;
        printf("%-24s %10llu checks %8.2f s\n", cases[i].name, checked - before,
               (timing_now_ns() - start) / 1e9);
    }
    if (only && done == 0) {
        fprintf(stderr, "no case is called %s\n", only);
        return 2;
    }
    printf("%llu checks, %llu failed\n", checked, failed);
    return failed != 0;
}

/* ------------------------------------------------------------------ random numbers */

/* xorshift with a multiplier, as in Vigna's xorshift64*; good enough to pick test data. */
uint64_t check_random(void) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545f4914f6cdd1dull;
}

void check_seed(uint64_t number) {
    check_at.seed = number;
    state = (run_seed * 0x9e3779b97f4a7c15ull) ^ (number * 0xd1342543de82ef95ull) ^ 0x5bd1e995u;
    state += state == 0;
    for (int i = 0; i < 4; i++) {
        (void)check_random();
    }
}

uint32_t check_below(uint32_t limit) {
    return (uint32_t)(((check_random() >> 32) * limit) >> 32);
}

void check_fill(void *bytes, size_t len) {
    uint8_t *at = bytes;
    for (size_t i = 0; i < len; i++) {
        at[i] = (uint8_t)(check_random() >> 56);
    }
}

int32_t check_key_of_bits(uint32_t bits) {
    int32_t magnitude = (int32_t)(bits & 0x7fffffffu);
    return bits >> 31 ? -magnitude - 1 : magnitude;
}

uint32_t check_bits_of_key(int32_t key) {
    return key < 0 ? 0x80000000u | (uint32_t)(-(key + 1)) : (uint32_t)key;
}

uint32_t check_awkward_bits(void) {
    static const uint32_t special[] = {
        0x00000000, 0x00000001, 0x00000002, 0x007fffff, 0x00800000, 0x00800001, 0x3effffff,
        0x3f000000, 0x3f000001, 0x3f7fffff, 0x3f800000, 0x3f800001, 0x4b000000, 0x4b7fffff,
        0x7f7ffffe, 0x7f7fffff, 0x7f800000, 0x7f800001, 0x7fbfffff, 0x7fc00000, 0x7fffffff,
    };
    uint32_t sign = check_below(2) << 31;
    switch (check_below(4)) {
    case 0:
        return special[check_below(sizeof special / sizeof special[0])] | sign;
    case 1: /* about the size of an activation */
        return ((120 + check_below(12)) << 23 | (uint32_t)(check_random() >> 41)) | sign;
    default:
        return (uint32_t)(check_random() >> 32);
    }
}

uint32_t check_finite_bits(void) {
    uint32_t bits;
    do {
        bits = check_awkward_bits();
    } while ((bits & 0x7f800000u) == 0x7f800000u || bits == 0x80000000u);
    return bits;
}

static int compare_keys(const void *a, const void *b) {
    const int32_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static int32_t centroid_key(unsigned style) {
    if (style == 0) { /* anything */
        return check_key_of_bits(check_finite_bits());
    }
    /* like a feature */
    return check_key_of_bits(
        check_bits_of_float((float)(int32_t)(check_random() >> 40) / 65536.0f - 100.0f));
}

void check_centroids(float *centroids, uint32_t bits, unsigned style) {
    int32_t keys[SPC_MAX_CENTROIDS];
    uint32_t count = 1u << bits, start = 0, spacing = 1024 / count;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t same = 0;
        switch (style) {
        case 2: /* neighbouring floats: thresholds coincide with centroids */
            start = i == 0 ? (uint32_t)(check_random() >> 33) % 0x7f7fff00u : start;
            keys[i] = (int32_t)(start + i);
            break;
        case 3: /* denormals around zero, without -0.0 */
            keys[i] = (int32_t)(spacing * i + check_below(spacing)) - 512;
            keys[i] -= keys[i] == -1;
            break;
        default:
            do {
                keys[i] = centroid_key(style);
                for (same = 0; same < i && keys[same] != keys[i]; same++) {
                }
            } while (same < i);
        }
    }
    if (style == 2 && check_below(2)) {
        for (uint32_t i = 0; i < count; i++) {
            keys[i] = -2 - keys[i];
        }
    }
    qsort(keys, count, sizeof keys[0], compare_keys);
    for (uint32_t i = 0; i < count; i++) {
        centroids[i] = check_float_of_bits(check_bits_of_key(keys[i]));
    }
}

/* ------------------------------------------------------------------ buffers */

#define MARK 0xa5
#define MARKED 64 /* bytes on either side */

static size_t page_size(void) {
    return (size_t)sysconf(_SC_PAGESIZE);
}

check_guard check_guard_new(size_t room) {
    size_t page = page_size();
    check_guard guard;
    uint8_t *map;
    guard.room = (room + MARKED + page - 1) / page * page;
    map = mmap(NULL, guard.room + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || mprotect(map + page, guard.room, PROT_READ | PROT_WRITE) != 0) {
        perror("mmap");
        exit(2);
    }
    guard.first = map + page;
    return guard;
}

void check_guard_free(check_guard guard) {
    size_t page = page_size();
    munmap(guard.first - page, guard.room + 2 * page);
}

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

static uint8_t *mark_around(check_guard guard, uint8_t *buffer, size_t len) {
    size_t before = least(MARKED, (size_t)(buffer - guard.first));
    size_t behind = least(MARKED, guard.room - (size_t)(buffer - guard.first) - len);
    memset(buffer - before, MARK, before);
    memset(buffer + len, MARK, behind);
    return buffer;
}

uint8_t *check_rear(check_guard guard, size_t len, size_t shift) {
    return mark_around(guard, guard.first + guard.room - shift - len, len);
}

uint8_t *check_front(check_guard guard, size_t len, size_t shift) {
    return mark_around(guard, guard.first + shift, len);
}

int check_marks(check_guard guard, const uint8_t *buffer, size_t len, const char *file, int line) {
    size_t before = least(MARKED, (size_t)(buffer - guard.first));
    size_t behind = least(MARKED, guard.room - (size_t)(buffer - guard.first) - len);
    int ok = 1;
    for (size_t i = 1; i <= before; i++) {
        ok &= *(buffer - i) == MARK;
    }
    for (size_t i = 0; i < behind; i++) {
        ok &= buffer[len + i] == MARK;
    }
    return check_that(ok, "bytes around the buffer are untouched", file, line);
}

/* ------------------------------------------------------------------ CPU features */

int check_next_cpu(check_cpus *cpus) {
    if (cpus->started) {
        cpus->subset = (cpus->subset - all_features) & all_features;
        if (cpus->subset == 0) {
            spc_set_cpu_mask(all_features);
            check_at.kernels = spc_kernels_name();
            return 0;
        }
    }
    cpus->started = 1;
    spc_set_cpu_mask(cpus->subset);
    check_at.kernels = spc_kernels_name();
    return 1;
}
