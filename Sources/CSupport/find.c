#include "CSupport.h"

#include <string.h>

size_t martlet_find_word(const void *data, size_t length, uint32_t word) {
    const uint8_t *bytes = data;
    for (size_t at = 0; at + sizeof word <= length; at += 8) {
        uint32_t found;
        memcpy(&found, bytes + at, sizeof found);
        if (found == word) return at;
    }
    return length;
}
