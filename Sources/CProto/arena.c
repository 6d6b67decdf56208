#include "martlet_proto.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

// A chunk's memory follows its head.
typedef struct martlet_chunk {
  struct martlet_chunk *older;
  size_t bytes;  // head included
} martlet_chunk;

enum { FIRST_CHUNK_BYTES = 4096, SCRATCH_RETAINED_BYTES_MAX = 256 * 1024 };

static void *allocate(void *arena, size_t size) { return martlet_arena_alloc(arena, size); }

static void release(void *arena, void *pointer) {
  (void)arena;
  (void)pointer;
}

void martlet_arena_init(martlet_arena *arena, size_t bytes_max, size_t retained_bytes_max) {
  memset(arena, 0, sizeof *arena);
  arena->allocator.alloc = allocate;
  arena->allocator.free = release;
  arena->allocator.allocator_data = arena;
  arena->next_chunk_bytes = FIRST_CHUNK_BYTES;
  arena->bytes_max = bytes_max;
  arena->retained_bytes_max = retained_bytes_max;
}

void *martlet_arena_grow(martlet_arena *arena, size_t size) {
  const size_t head = (sizeof(martlet_chunk) + 7) & ~(size_t)7;
  size_t room = arena->bytes_max - arena->held_bytes;
  if (size > room || room - size < head + 8) return NULL;
  size_t needed = head + ((size + 7) & ~(size_t)7);
  size_t bytes = arena->next_chunk_bytes;
  if (bytes < needed) bytes = needed;
  if (bytes > room) bytes = room & ~(size_t)7;
  martlet_chunk *chunk = malloc(bytes);
  if (chunk == NULL) return NULL;
  chunk->older = arena->newest;
  chunk->bytes = bytes;
  arena->newest = chunk;
  arena->held_bytes += bytes;
  arena->next_chunk_bytes = bytes * 2;
  arena->at = (uint8_t *)chunk + needed;
  arena->end = (uint8_t *)chunk + bytes;
  return (uint8_t *)chunk + head;
}

static void free_chunks(martlet_arena *arena) {
  for (martlet_chunk *chunk = arena->newest; chunk != NULL;) {
    martlet_chunk *older = chunk->older;
    free(chunk);
    chunk = older;
  }
  arena->newest = NULL;
  arena->at = arena->end = NULL;
  arena->held_bytes = 0;
}

void martlet_arena_reset(martlet_arena *arena) {
  const size_t head = (sizeof(martlet_chunk) + 7) & ~(size_t)7;
  martlet_chunk *only = arena->newest;
  if (only == NULL) return;
  if (only->older == NULL && only->bytes <= arena->retained_bytes_max) {
    arena->at = (uint8_t *)only + head;
    return;
  }
  // Next time one chunk shall hold what took several.
  size_t wanted = arena->held_bytes;
  if (wanted > arena->retained_bytes_max) wanted = arena->retained_bytes_max;
  if (wanted < FIRST_CHUNK_BYTES) wanted = FIRST_CHUNK_BYTES;
  free_chunks(arena);
  arena->next_chunk_bytes = wanted;
}

void martlet_arena_destroy(martlet_arena *arena) { free_chunks(arena); }

static pthread_key_t scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;
static __thread martlet_arena *scratch;

static void destroy_scratch(void *arena) {
  martlet_arena_destroy(arena);
  free(arena);
  scratch = NULL;
}

static void make_scratch_key(void) {
  if (pthread_key_create(&scratch_key, destroy_scratch) != 0) abort();
}

martlet_arena *martlet_scratch_arena(void) {
  if (scratch == NULL) {
    pthread_once(&scratch_once, make_scratch_key);
    scratch = malloc(sizeof *scratch);
    if (scratch == NULL) abort();
    martlet_arena_init(scratch, SIZE_MAX, SCRATCH_RETAINED_BYTES_MAX);
    if (pthread_setspecific(scratch_key, scratch) != 0) abort();
  }
  return scratch;
}
