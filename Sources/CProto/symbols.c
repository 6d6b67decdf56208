#include <string.h>

#include "martlet_proto.h"

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
