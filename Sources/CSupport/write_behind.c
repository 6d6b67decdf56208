#define _GNU_SOURCE

#include "CSupport.h"

#include <fcntl.h>

int martlet_begin_writing(int descriptor, int64_t offset, int64_t length) {
    return sync_file_range(descriptor, offset, length, SYNC_FILE_RANGE_WRITE);
}

int martlet_await_writing(int descriptor, int64_t offset, int64_t length) {
    return sync_file_range(
        descriptor, offset, length,
        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
}
