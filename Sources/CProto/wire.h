// Reading of the wire format's atoms. Every function returns the position after what it read, or
// NULL when the bytes up to `end` do not hold it.

#ifndef MARTLET_WIRE_H
#define MARTLET_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "martlet_proto.h"

enum { WIRE_VARINT = 0, WIRE_64BIT = 1, WIRE_LENGTH = 2, WIRE_32BIT = 5 };

// A varint of at most 10 bytes that fits 64 bits; its value is not needed here.
static inline const uint8_t *skip_varint(const uint8_t *at, const uint8_t *end) {
  size_t left = (size_t)(end - at);
  if (left > 10) left = 10;
  for (size_t i = 0; i < left; i++) {
    if (at[i] < 0x80) return i == 9 && at[9] > 1 ? NULL : at + i + 1;
  }
  return NULL;
}

// A varint that fits 32 bits, of at most 5 bytes: tags and lengths.
static inline const uint8_t *read_varint32(
  const uint8_t *at, const uint8_t *end, uint32_t *value) {
  if (at == end) return NULL;
  uint32_t result = *at++;
  if (result >= 0x80) {
    result &= 0x7f;
    for (unsigned shift = 7;; shift += 7) {
      if (at == end) return NULL;
      uint32_t byte = *at++;
      if (shift == 28 && byte > 0x0f) return NULL;
      result |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
  }
  *value = result;
  return at;
}

// A length and that many bytes, which `*content` is set to.
static inline const uint8_t *read_content(
  const uint8_t *at, const uint8_t *end, const uint8_t **content) {
  uint32_t length;
  at = read_varint32(at, end, &length);
  if (at == NULL || length > (size_t)(end - at)) return NULL;
  *content = at;
  return at + length;
}

// The message's field of that number, NULL if it has none.
static inline const martlet_field *find_field(const martlet_message *message, uint32_t number) {
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

// What follows a tag. `*content` is set for length-delimited values only.
static inline const uint8_t *skip_value(
  const uint8_t *at, const uint8_t *end, unsigned wire_type, const uint8_t **content) {
  switch (wire_type) {
    case WIRE_VARINT: return skip_varint(at, end);
    case WIRE_64BIT: return end - at < 8 ? NULL : at + 8;
    case WIRE_LENGTH: return read_content(at, end, content);
    case WIRE_32BIT: return end - at < 4 ? NULL : at + 4;
    default: return NULL;
  }
}

#endif
