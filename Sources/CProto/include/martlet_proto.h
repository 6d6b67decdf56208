// What Swift needs around protobuf-c: memory, tables of the messages, and decoding of bytes
// that nobody vouches for.

#ifndef MARTLET_PROTO_H
#define MARTLET_PROTO_H

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

// Memory that is handed out piece by piece and taken back all at once.
// One owner at a time; a piece is valid until the next reset.
typedef struct martlet_arena {
  ProtobufCAllocator allocator;  // what protobuf-c is given
  uint8_t *at;                   // first free byte of the newest chunk
  uint8_t *end;
  struct martlet_chunk *newest;
  size_t held_bytes;       // sum of the chunks
  size_t next_chunk_bytes;
  size_t bytes_max;        // held_bytes never exceeds this
  size_t retained_bytes_max;  // what a reset keeps at most
} martlet_arena;

void martlet_arena_init(martlet_arena *arena, size_t bytes_max, size_t retained_bytes_max);
void martlet_arena_reset(martlet_arena *arena);
void martlet_arena_destroy(martlet_arena *arena);

// The slow path of martlet_arena_alloc.
void *martlet_arena_grow(martlet_arena *arena, size_t size);

// 8-byte aligned memory, not cleared; NULL when bytes_max would be exceeded.
static inline void *martlet_arena_alloc(martlet_arena *arena, size_t size) {
  size += size == 0;
  size_t rounded = (size + 7) & ~(size_t)7;
  if (rounded < size || (size_t)(arena->end - arena->at) < rounded) {
    return martlet_arena_grow(arena, size);
  }
  void *result = arena->at;
  arena->at += rounded;
  return result;
}

// The calling thread's own arena, for work that leaves nothing behind in it. Whoever takes it
// resets it first and is done with it before anything else on the thread may take it.
martlet_arena *martlet_scratch_arena(void);

typedef enum martlet_kind {
  MARTLET_INT32,
  MARTLET_INT64,
  MARTLET_UINT32,
  MARTLET_UINT64,
  MARTLET_BOOL,
  MARTLET_ENUM,
  MARTLET_STRING,
  MARTLET_BYTES,
  MARTLET_MESSAGE,
} martlet_kind;

typedef struct martlet_message martlet_message;

// One field; lies at the same position as in the descriptor of protobuf-c.
typedef struct martlet_field {
  uint32_t number;
  uint8_t kind;      // martlet_kind
  uint8_t repeated;  // 0 or 1
  uint8_t oneof;     // 0 for none, else 1 + position of the oneof in its message
  const martlet_message *message;  // of MARTLET_MESSAGE fields
  const char *json_name;
} martlet_field;

// One message. Fields are ordered by number. At most 64 fields and 8 oneofs.
struct martlet_message {
  const ProtobufCMessageDescriptor *descriptor;
  const martlet_field *fields;
  const uint8_t *lookup;  // field number -> 1 + position, 0 for unknown numbers
  uint16_t lookup_count;  // greater numbers are searched for
  uint16_t field_count;
};

// Every message of the project, ordered by full name.
extern const martlet_message martlet_messages[];
extern const unsigned martlet_message_count;

static inline const martlet_message *martlet_message_at(unsigned position) {
  return &martlet_messages[position];
}

// A zeroed message, ready to be filled and packed; NULL when the arena is full.
ProtobufCMessage *martlet_new(const martlet_message *message, martlet_arena *arena);

typedef enum martlet_status {
  MARTLET_OK,
  MARTLET_MALFORMED,    // not the wire format, or a field of another wire type than declared
  MARTLET_INVALID_UTF8,  // a string is not UTF-8
  MARTLET_TOO_DEEP,     // more than MARTLET_DEPTH_MAX messages within each other
  MARTLET_TOO_LARGE,    // the message does not fit the arena's bound
} martlet_status;

// Messages within each other, the outermost included.
#define MARTLET_DEPTH_MAX 300

// Checks the bytes against the message's fields without decoding them.
// `*needs_merge` is set when a message field that may occur once occurs more often.
martlet_status martlet_check(
  const martlet_message *message, const uint8_t *bytes, size_t count, int *needs_merge);

// Checks and decodes; the result lives in the arena and does not refer to `bytes`.
// On failure NULL is returned and `*status` says why.
ProtobufCMessage *martlet_decode(
  const martlet_message *message, const uint8_t *bytes, size_t count, martlet_arena *arena,
  martlet_status *status);

// A .proto file as server reflection hands it out: a serialized
// google.protobuf.FileDescriptorProto.
typedef struct martlet_file {
  const char *name;
  const uint8_t *bytes;
  size_t count;
  const uint16_t *dependencies;  // positions in martlet_files
  uint16_t dependency_count;
} martlet_file;

// A full name and the file that defines it, ordered by name as strcmp does.
typedef struct martlet_symbol {
  const char *name;
  uint16_t file;
} martlet_symbol;

extern const martlet_file martlet_files[];
extern const unsigned martlet_file_count;
extern const martlet_symbol martlet_symbols[];
extern const unsigned martlet_symbol_count;

static inline const martlet_file *martlet_file_at(unsigned position) {
  return &martlet_files[position];
}

// The file that defines the message, enum, enum value, field, service or method of that full
// name; NULL if none does.
const martlet_file *martlet_file_of_symbol(const char *name);

#endif
