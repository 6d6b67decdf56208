// libFuzzer target for the decoding of messages. The first byte says which message type; the rest
// is what a peer sent. See `run`.

#include <stdlib.h>
#include <string.h>

#include "CProto.h"

#define REQUIRE(condition) \
  if (!(condition)) abort()

typedef struct encoding {
  uint8_t *bytes;
  size_t count;
} encoding;

static encoding pack(const ProtobufCMessage *message) {
  encoding result = {NULL, protobuf_c_message_get_packed_size(message)};
  result.bytes = malloc(result.count + 1);
  REQUIRE(protobuf_c_message_pack(message, result.bytes) == result.count);
  return result;
}

static int are_equal(encoding left, encoding right) {
  return left.count == right.count && memcmp(left.bytes, right.bytes, left.count) == 0;
}

// What is accepted must survive being encoded and decoded again.
static void check_round_trip(
  const martlet_message *type, const uint8_t *bytes, size_t count, martlet_arena *arena) {
  martlet_status status;
  ProtobufCMessage *message = martlet_decode(type, bytes, count, arena, &status);
  REQUIRE((message == NULL) == (status != MARTLET_OK));
  if (message == NULL) return;
  encoding first = pack(message);
  ProtobufCMessage *again = martlet_decode(type, first.bytes, first.count, arena, &status);
  // Unknown fields move to the end of their message, so only sizes may differ at first.
  REQUIRE(again != NULL);
  encoding second = pack(again);
  REQUIRE(are_equal(first, second));
  free(first.bytes);
  free(second.bytes);
}

// protobuf-c alone, for what reaches it unchanged, with memory of its own for each piece,
// so that the sanitizers see every slip.
static void check_bare(const martlet_message *type, const uint8_t *bytes, size_t count) {
  int needs_merge;
  if (martlet_check(type, bytes, count, &needs_merge) != MARTLET_OK || needs_merge) return;
  ProtobufCMessage *message = protobuf_c_message_unpack(type->descriptor, NULL, count, bytes);
  REQUIRE(message != NULL);
  free(pack(message).bytes);
  protobuf_c_message_free_unpacked(message, NULL);
}

// Memory that runs out anywhere is an error, never a crash.
static void check_shortage(
  const martlet_message *type, const uint8_t *bytes, size_t count, size_t bytes_max) {
  martlet_arena arena;
  martlet_status status;
  martlet_arena_init(&arena, bytes_max, 0);
  ProtobufCMessage *message = martlet_decode(type, bytes, count, &arena, &status);
  REQUIRE((message == NULL) == (status != MARTLET_OK));
  REQUIRE(arena.held_bytes <= bytes_max);
  martlet_arena_destroy(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static martlet_arena arena;
  if (arena.bytes_max == 0) martlet_arena_init(&arena, 64 << 20, 1 << 20);
  if (size < 1) return 0;
  const martlet_message *type = martlet_message_at(data[0] % martlet_message_count);
  martlet_arena_reset(&arena);
  check_round_trip(type, data + 1, size - 1, &arena);
  check_bare(type, data + 1, size - 1);
  check_shortage(type, data + 1, size - 1, size * 4 + data[0] * 16u);
  return 0;
}
