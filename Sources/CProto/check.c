// protobuf-c trusts its input in places: it recurses without bound, takes any bytes for a string,
// and merges repeated occurrences of a message field wrongly. So nothing reaches it that has
// not passed here.

#include <stdbool.h>
#include <string.h>

#include "martlet_proto.h"
#include "wire.h"

static bool is_utf8(const uint8_t *at, const uint8_t *end) {
  while (at < end) {
    if (*at < 0x80) {
      uint64_t word;
      if (end - at >= 8) {
        memcpy(&word, at, 8);
        if ((word & 0x8080808080808080u) == 0) {
          at += 8;
          continue;
        }
      }
      at++;
      continue;
    }
    // Table 3-7 of the Unicode standard: the second byte's range depends on the first byte.
    uint8_t first = *at, low = 0x80, high = 0xbf;
    ptrdiff_t length;
    if (first >= 0xc2 && first <= 0xdf) {
      length = 2;
    } else if (first >= 0xe0 && first <= 0xef) {
      length = 3;
      if (first == 0xe0) low = 0xa0;
      if (first == 0xed) high = 0x9f;
    } else if (first >= 0xf0 && first <= 0xf4) {
      length = 4;
      if (first == 0xf0) low = 0x90;
      if (first == 0xf4) high = 0x8f;
    } else {
      return false;
    }
    if (end - at < length || at[1] < low || at[1] > high) return false;
    for (ptrdiff_t i = 2; i < length; i++) {
      if ((at[i] & 0xc0) != 0x80) return false;
    }
    at += length;
  }
  return true;
}

// Whether a known field's value is what its declaration promises. Messages are looked into by
// the caller.
static martlet_status check_value(
  const martlet_field *field, unsigned wire_type, const uint8_t *content, const uint8_t *end) {
  switch (field->kind) {
    case MARTLET_STRING:
      if (wire_type != WIRE_LENGTH) return MARTLET_MALFORMED;
      return is_utf8(content, end) ? MARTLET_OK : MARTLET_INVALID_UTF8;
    case MARTLET_BYTES:
    case MARTLET_MESSAGE:
      return wire_type == WIRE_LENGTH ? MARTLET_OK : MARTLET_MALFORMED;
    default:
      if (wire_type == WIRE_VARINT) return MARTLET_OK;
      if (wire_type != WIRE_LENGTH || !field->repeated) return MARTLET_MALFORMED;
      while (content < end) {
        content = skip_varint(content, end);
        if (content == NULL) return MARTLET_MALFORMED;
      }
      return MARTLET_OK;
  }
}

typedef struct frame {
  const martlet_message *message;
  const uint8_t *end;
  uint64_t seen;
} frame;

martlet_status martlet_check(
  const martlet_message *message, const uint8_t *bytes, size_t count, int *needs_merge) {
  frame outer[MARTLET_DEPTH_MAX - 1];
  unsigned depth = 0;
  const uint8_t *at = bytes;
  // `seen` has a bit for each message field of the present message that has occurred.
  frame now = {message, bytes + count, 0};
  *needs_merge = 0;
  for (;;) {
    while (at == now.end) {
      if (depth == 0) return MARTLET_OK;
      now = outer[--depth];
    }
    uint32_t tag;
    at = read_varint32(at, now.end, &tag);
    if (at == NULL || tag < 8) return MARTLET_MALFORMED;
    const uint8_t *content = at;
    at = skip_value(at, now.end, tag & 7, &content);
    if (at == NULL) return MARTLET_MALFORMED;
    const martlet_field *field = find_field(now.message, tag >> 3);
    if (field == NULL) continue;
    martlet_status status = check_value(field, tag & 7, content, at);
    if (status != MARTLET_OK) return status;
    if (field->kind != MARTLET_MESSAGE) continue;
    if (!field->repeated) {
      uint64_t bit = (uint64_t)1 << (field - now.message->fields);
      if (now.seen & bit) *needs_merge = 1;
      now.seen |= bit;
    }
    if (depth == MARTLET_DEPTH_MAX - 1) return MARTLET_TOO_DEEP;
    outer[depth++] = now;
    now = (frame){field->message, at, 0};
    at = content;
  }
}
