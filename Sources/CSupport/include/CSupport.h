/// C helpers that Swift cannot express as well: instructions chosen at run time.
#ifndef MARTLET_CSUPPORT_H
#define MARTLET_CSUPPORT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// The CRC32C (Castagnoli polynomial, reflected) of `length` bytes at `data`, continued from
/// `seed`: the checksum of what came before, or 0 at the start. So
/// `crc(crc(0, a), b) == crc(0, a + b)`, which is also the convention of Go's `crc32.Update`.
///
/// Uses the processor's CRC instructions where it has them, tables elsewhere. `data` may be NULL
/// when `length` is 0. Any thread may call it.
uint32_t martlet_crc32c(uint32_t seed, const void *data, size_t length);

/// The same function by tables alone, whatever the processor has: for tests and measurements.
uint32_t martlet_crc32c_portable(uint32_t seed, const void *data, size_t length);

/// The offset of the first 4-byte word in host order equal to `word` at a multiple of 8 from
/// `data`, or `length` if there is none.
size_t martlet_find_word(const void *data, size_t length, uint32_t word);

/// Has the system begin to write what is dirty of `length` bytes of a file from `offset` on, and
/// waits for nothing. Returns -1 and sets errno as sync_file_range(2) does.
int martlet_begin_writing(int descriptor, int64_t offset, int64_t length);

/// The same, and waits for the disk. It makes nothing durable by itself: only fdatasync(2) does, which
/// finds less to do then.
int martlet_await_writing(int descriptor, int64_t offset, int64_t length);

#ifdef __cplusplus
}
#endif

#endif
