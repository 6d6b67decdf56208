// Decoding. protobuf-c builds the message; what it gets wrong is set right before.

#include <stdbool.h>
#include <string.h>

#include "martlet_proto.h"
#include "wire.h"

// One field of bytes that have passed the check.
typedef struct occurrence {
  const martlet_field *field;  // NULL for unknown fields
  const uint8_t *start;        // of the tag
  const uint8_t *content;      // of length-delimited ones
  const uint8_t *end;
  uint32_t tag;
} occurrence;

static occurrence next_field(
  const martlet_message *message, const uint8_t *at, const uint8_t *end) {
  occurrence result = {.start = at, .tag = 0};
  at = read_varint32(at, end, &result.tag);
  result.content = at;
  result.end = skip_value(at, end, result.tag & 7, &result.content);
  result.field = find_field(message, result.tag >> 3);
  return result;
}

static uint8_t *write_varint32(uint8_t *at, uint32_t value) {
  while (value >= 0x80) {
    *at++ = (uint8_t)value | 0x80;
    value >>= 7;
  }
  *at++ = (uint8_t)value;
  return at;
}

enum { ONEOF_COUNT_MAX = 8 };

// Where in the bytes the winning member of each oneof begins: what came before it is void.
static void find_winners(
  const martlet_message *message, const uint8_t *bytes, const uint8_t *end,
  const uint8_t *winners[ONEOF_COUNT_MAX]) {
  const martlet_field *members[ONEOF_COUNT_MAX] = {NULL};
  for (const uint8_t *at = bytes; at < end;) {
    occurrence found = next_field(message, at, end);
    at = found.end;
    if (found.field == NULL || found.field->oneof == 0) continue;
    unsigned oneof = found.field->oneof - 1u;
    if (members[oneof] != found.field) {
      members[oneof] = found.field;
      winners[oneof] = found.start;
    }
  }
}

static bool is_void(occurrence found, const uint8_t *const winners[ONEOF_COUNT_MAX]) {
  return found.field != NULL && found.field->oneof != 0
    && found.start < winners[found.field->oneof - 1];
}

// The contents of all occurrences of `first.field` from `first` on, one after the other: by the
// wire format's rule that is the encoding of the merged message.
static const uint8_t *join(
  const martlet_message *message, occurrence first, const uint8_t *end, martlet_arena *arena,
  size_t *count) {
  size_t total = 0;
  unsigned occurrences = 0;
  for (const uint8_t *at = first.start; at < end;) {
    occurrence found = next_field(message, at, end);
    at = found.end;
    if (found.field != first.field) continue;
    total += (size_t)(found.end - found.content);
    occurrences++;
  }
  *count = total;
  if (occurrences == 1) return first.content;
  uint8_t *joined = martlet_arena_alloc(arena, total);
  if (joined == NULL) return NULL;
  uint8_t *target = joined;
  for (const uint8_t *at = first.start; at < end;) {
    occurrence found = next_field(message, at, end);
    at = found.end;
    if (found.field != first.field) continue;
    memcpy(target, found.content, (size_t)(found.end - found.content));
    target += found.end - found.content;
  }
  return joined;
}

// Bytes that mean the same and hold every singular message field once. Their count never grows:
// joining saves at least as many bytes of tags and lengths as the joint length needs.
static const uint8_t *merge(
  const martlet_message *message, const uint8_t *bytes, size_t *count, martlet_arena *arena) {
  const uint8_t *end = bytes + *count;
  const uint8_t *winners[ONEOF_COUNT_MAX] = {NULL};
  uint64_t done = 0;
  uint8_t *merged = martlet_arena_alloc(arena, *count);
  if (merged == NULL) return NULL;
  uint8_t *target = merged;
  find_winners(message, bytes, end, winners);
  for (const uint8_t *at = bytes; at < end;) {
    occurrence found = next_field(message, at, end);
    at = found.end;
    if (is_void(found, winners)) continue;
    if (found.field == NULL || found.field->kind != MARTLET_MESSAGE) {
      memcpy(target, found.start, (size_t)(found.end - found.start));
      target += found.end - found.start;
      continue;
    }
    const uint8_t *content = found.content;
    size_t length = (size_t)(found.end - found.content);
    if (!found.field->repeated) {
      uint64_t bit = (uint64_t)1 << (found.field - message->fields);
      if (done & bit) continue;
      done |= bit;
      content = join(message, found, end, arena, &length);
      if (content == NULL) return NULL;
    }
    content = merge(found.field->message, content, &length, arena);
    if (content == NULL) return NULL;
    target = write_varint32(target, found.tag);
    target = write_varint32(target, (uint32_t)length);
    memcpy(target, content, length);
    target += length;
  }
  *count = (size_t)(target - merged);
  return merged;
}

ProtobufCMessage *martlet_decode(
  const martlet_message *message, const uint8_t *bytes, size_t count, martlet_arena *arena,
  martlet_status *status) {
  int needs_merge;
  if (count > INT32_MAX) {
    *status = MARTLET_TOO_LARGE;
    return NULL;
  }
  *status = martlet_check(message, bytes, count, &needs_merge);
  if (*status != MARTLET_OK) return NULL;
  if (needs_merge) {
    bytes = merge(message, bytes, &count, arena);
    if (bytes == NULL) {
      *status = MARTLET_TOO_LARGE;
      return NULL;
    }
  }
  ProtobufCMessage *result =
    protobuf_c_message_unpack(message->descriptor, &arena->allocator, count, bytes);
  // The bytes are well-formed, so only memory can have been lacking.
  if (result == NULL) *status = MARTLET_TOO_LARGE;
  return result;
}

ProtobufCMessage *martlet_new(const martlet_message *message, martlet_arena *arena) {
  ProtobufCMessage *result = martlet_arena_alloc(arena, message->descriptor->sizeof_message);
  if (result == NULL) return NULL;
  memset(result, 0, message->descriptor->sizeof_message);
  result->descriptor = message->descriptor;
  return result;
}
