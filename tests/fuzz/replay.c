/* Runs a target on every file of the folders given: what libFuzzer found stays found everywhere. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

#define MOST_BYTES 65536

/* The copy ends where its memory ends, for sanitizers and valgrind. */
static void replay_file(const char *path) {
    static uint8_t bytes[MOST_BYTES];
    uint8_t *copy;
    size_t size;
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        exit(2);
    }
    size = fread(bytes, 1, sizeof bytes, file);
    (void)fclose(file);
    copy = malloc(size > 0 ? size : 1);
    if (!copy) {
        perror("malloc");
        exit(2);
    }
    memcpy(copy, bytes, size);
    puts(path); /* the last line of a run that fails */
    (void)fflush(stdout);
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static size_t replay_folder(const char *folder) {
    size_t count = 0;
    struct dirent *entry;
    DIR *dir = opendir(folder);
    if (!dir) {
        perror(folder);
        exit(2);
    }
    while ((entry = readdir(dir)) != NULL) {
        char path[4096];
        int len = snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (entry->d_name[0] != '.' && len > 0 && (size_t)len < sizeof path) {
            replay_file(path);
            count++;
        }
    }
    (void)closedir(dir);
    return count;
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        size_t count = replay_folder(argv[i]);
        printf("%zu files of %s\n", count, argv[i]);
        if (count == 0) {
            return 1;
        }
    }
    return argc < 2 ? 2 : 0;
}
