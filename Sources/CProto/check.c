// protobuf-c trusts its input in places: it recurses without bound, takes any bytes for a string,
// and merges repeated occurrences of a message field wrongly. So nothing reaches it that has
// not passed here.

#include "martlet_proto.h"

#include <stdbool.h>
#include <string.h>

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

static const martlet_field *find_field(const martlet_message *message, uint32_t number) {
  if (number < message->lookup_count) {
    unsigned position = message->lookup[number];
    return position == 0 ? NULL : &message->fields[position - 1];
  }
  unsigned low = 0, high = message->field_count;
  while (low < high) {
    unsigned middle = (low + high) / 2;
    if (message->fields[middle].number < number) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == message->field_count || message->fields[low].number != number) return NULL;
  return &message->fields[low];
}

static const uint8_t *skip_value(
  const uint8_t *at, const uint8_t *end, unsigned wire_type, const uint8_t **content) {
  switch (wire_type) {
    case WIRE_VARINT: return skip_varint(at, end);
    case WIRE_64BIT: return end - at < 8 ? NULL : at + 8;
    case WIRE_LENGTH: return read_content(at, end, content);
    case WIRE_32BIT: return end - at < 4 ? NULL : at + 4;
    default: return NULL;
  }
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

const martlet_file *martlet_file_of_symbol(const char *name) {
  unsigned low = 0, high = martlet_symbol_count;
  while (low < high) {
    unsigned middle = (low + high) / 2;
    int order = strcmp(martlet_symbols[middle].name, name);
    if (order == 0) return &martlet_files[martlet_symbols[middle].file];
    if (order < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return NULL;
}
