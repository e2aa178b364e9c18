/* What the core and the applications use of it, for compilers that come without a libc. */
#ifndef SPLITCODEC_STRING_H
#define SPLITCODEC_STRING_H

#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t len);
void *memmove(void *to, const void *from, size_t len);
void *memset(void *to, int value, size_t len);
int memcmp(const void *a, const void *b, size_t len);

#endif
