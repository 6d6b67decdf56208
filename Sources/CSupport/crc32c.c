// CRC32C three ways: by tables (slice by eight), and by the CRC instructions of x86-64 and ARMv8.
//
// A CRC instruction takes three cycles but one can start in each cycle, so long inputs are worked
// on in three lanes of equal length, whose results are then joined: the register of an earlier
// lane is moved over the length of the later one (multiplied by a power of x), which is a linear
// map of 32 bits and so a lookup of four tables.

#include "CSupport.h"

#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#define HARDWARE_TARGET __attribute__((target("sse4.2")))
#define HAS_HARDWARE_PATH 1
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#define HARDWARE_TARGET
#define HAS_HARDWARE_PATH 1
#else
#define HAS_HARDWARE_PATH 0
#endif

// Castagnoli's polynomial with its bits in reflected order.
static const uint32_t POLYNOMIAL = 0x82f63b78u;

static uint32_t slice_tables[8][256];

static void slice_tables_fill(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ ((crc & 1) ? POLYNOMIAL : 0);
        }
        slice_tables[0][byte] = crc;
    }
    for (int slice = 1; slice < 8; slice++) {
        for (uint32_t byte = 0; byte < 256; byte++) {
            const uint32_t before = slice_tables[slice - 1][byte];
            slice_tables[slice][byte] = (before >> 8) ^ slice_tables[0][before & 0xff];
        }
    }
}

static inline uint64_t load64(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

// `crc` is the bare register here and below: not inverted at either end.
static uint32_t update_by_tables(uint32_t crc, const uint8_t *at, size_t length) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    while (length >= 8) {
        const uint64_t word = load64(at) ^ crc;
        crc = slice_tables[7][word & 0xff] ^ slice_tables[6][(word >> 8) & 0xff]
            ^ slice_tables[5][(word >> 16) & 0xff] ^ slice_tables[4][(word >> 24) & 0xff]
            ^ slice_tables[3][(word >> 32) & 0xff] ^ slice_tables[2][(word >> 40) & 0xff]
            ^ slice_tables[1][(word >> 48) & 0xff] ^ slice_tables[0][word >> 56];
        at += 8;
        length -= 8;
    }
#endif
    while (length > 0) {
        crc = (crc >> 8) ^ slice_tables[0][(crc ^ *at) & 0xff];
        at += 1;
        length -= 1;
    }
    return crc;
}

#if HAS_HARDWARE_PATH

// Lane lengths in bytes: powers of two, multiples of 8.
enum { LONG_LANE_SHIFT = 12, SHORT_LANE_SHIFT = 8 };
enum { LONG_LANE = 1 << LONG_LANE_SHIFT, SHORT_LANE = 1 << SHORT_LANE_SHIFT };

typedef uint32_t lane_tables[4][256];

static lane_tables long_lane;
static lane_tables short_lane;

static uint32_t map_apply(const uint32_t map[32], uint32_t vector) {
    uint32_t sum = 0;
    for (int bit = 0; vector != 0; bit++, vector >>= 1) {
        if (vector & 1) sum ^= map[bit];
    }
    return sum;
}

// Fills `tables` for the map that moves a register over 2^shift zero bytes.
static void lane_tables_fill(lane_tables tables, int shift) {
    uint32_t map[32];
    for (int bit = 0; bit < 32; bit++) {
        const uint32_t vector = 1u << bit;
        map[bit] = (vector >> 8) ^ slice_tables[0][vector & 0xff];
    }
    for (int doubling = 0; doubling < shift; doubling++) {
        uint32_t squared[32];
        for (int bit = 0; bit < 32; bit++) squared[bit] = map_apply(map, map[bit]);
        memcpy(map, squared, sizeof map);
    }
    for (int slice = 0; slice < 4; slice++) {
        for (uint32_t byte = 0; byte < 256; byte++) {
            tables[slice][byte] = map_apply(map, byte << (8 * slice));
        }
    }
}

static inline uint32_t move_over_lane(lane_tables tables, uint32_t crc) {
    return tables[0][crc & 0xff] ^ tables[1][(crc >> 8) & 0xff] ^ tables[2][(crc >> 16) & 0xff]
        ^ tables[3][crc >> 24];
}

HARDWARE_TARGET static inline uint32_t step64(uint32_t crc, uint64_t word) {
#if defined(__x86_64__)
    return (uint32_t)_mm_crc32_u64(crc, word);
#else
    return __crc32cd(crc, word);
#endif
}

HARDWARE_TARGET static inline uint32_t step8(uint32_t crc, uint8_t byte) {
#if defined(__x86_64__)
    return _mm_crc32_u8(crc, byte);
#else
    return __crc32cb(crc, byte);
#endif
}

HARDWARE_TARGET static inline uint32_t three_lanes(
    uint32_t crc, const uint8_t *at, size_t lane, lane_tables tables
) {
    uint32_t second = 0;
    uint32_t third = 0;
    for (const uint8_t *end = at + lane; at < end; at += 8) {
        crc = step64(crc, load64(at));
        second = step64(second, load64(at + lane));
        third = step64(third, load64(at + 2 * lane));
    }
    crc = move_over_lane(tables, crc) ^ second;
    return move_over_lane(tables, crc) ^ third;
}

HARDWARE_TARGET static uint32_t update_by_hardware(
    uint32_t crc, const uint8_t *at, size_t length
) {
    while (length >= 3 * LONG_LANE) {
        crc = three_lanes(crc, at, LONG_LANE, long_lane);
        at += 3 * LONG_LANE;
        length -= 3 * LONG_LANE;
    }
    while (length >= 3 * SHORT_LANE) {
        crc = three_lanes(crc, at, SHORT_LANE, short_lane);
        at += 3 * SHORT_LANE;
        length -= 3 * SHORT_LANE;
    }
    while (length >= 8) {
        crc = step64(crc, load64(at));
        at += 8;
        length -= 8;
    }
    while (length > 0) {
        crc = step8(crc, *at);
        at += 1;
        length -= 1;
    }
    return crc;
}

static int has_hardware;

#endif

__attribute__((constructor)) static void crc32c_prepare(void) {
    slice_tables_fill();
#if HAS_HARDWARE_PATH
    lane_tables_fill(long_lane, LONG_LANE_SHIFT);
    lane_tables_fill(short_lane, SHORT_LANE_SHIFT);
#if defined(__x86_64__)
    __builtin_cpu_init();
    has_hardware = __builtin_cpu_supports("sse4.2");
#else
    has_hardware = 1;
#endif
#endif
}

uint32_t martlet_crc32c(uint32_t seed, const void *data, size_t length) {
#if HAS_HARDWARE_PATH
    if (has_hardware) return ~update_by_hardware(~seed, data, length);
#endif
    return ~update_by_tables(~seed, data, length);
}

uint32_t martlet_crc32c_portable(uint32_t seed, const void *data, size_t length) {
    return ~update_by_tables(~seed, data, length);
}
