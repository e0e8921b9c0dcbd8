// What the generator and the servers of the benchmark put into an AudioSocket frame of 20 ms at 8 kHz.
//
// A caller's frame carries who sent it, its number, when it left (ns) and a pattern that depends on the
// number; a speaking server's frame carries a number that grows by one and begins again after SPEECH_FRAMES.
#ifndef FRAMES_H
#define FRAMES_H
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define HEADER 3
#define PAYLOAD 320
#define FRAME (HEADER + PAYLOAD)
#define PAYLOAD_MOST 2000  // nothing longer is said here, and both programs keep room for one frame per call
#define UUID_FRAME (HEADER + 16)
#define GOODBYE 0x00
#define UUID 0x01
#define AUDIO 0x10
#define OURS 0x6c6c6143u    // "Call"
#define SPEECH 0x68637053u  // "Spch", see speech.py
#define SPEECH_FRAMES 500u

#define CODED (PAYLOAD / 4)  // bytes in a frame of `expand`

#define STAMP 20  // bytes before the pattern: magic, caller, number, time
#define PATTERNS 64u
static uint8_t pattern[PAYLOAD + PATTERNS];

static inline void fill_pattern(void) {
    uint32_t state = 1;
    for (size_t i = 0; i < sizeof pattern; i++) {
        state = state * 1664525u + 1013904223u;
        pattern[i] = (uint8_t)(state >> 24);
    }
}

static inline uint32_t word_at(const uint8_t *at) {
    uint32_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static inline void write_header(uint8_t *out, uint8_t kind, size_t length) {
    out[0] = kind;
    out[1] = (uint8_t)(length >> 8);
    out[2] = (uint8_t)length;
}

static inline void write_uuid(uint8_t *out, uint32_t caller, int64_t now) {
    write_header(out, UUID, 16);
    memset(out + HEADER, 0, 16);
    memcpy(out + HEADER, &now, sizeof now);
    out[HEADER + 6] = (uint8_t)(out[HEADER + 6] & 0x0f) | 0x40;  // as random ones are marked; no bit of use is lost
    out[HEADER + 8] = 0x80;
    memcpy(out + HEADER + 9, &caller, sizeof caller);
}

static inline void write_frame(uint8_t *out, uint32_t caller, uint32_t number, int64_t now) {
    const uint32_t magic = OURS;
    write_header(out, AUDIO, PAYLOAD);
    out += HEADER;
    memcpy(out, &magic, 4);
    memcpy(out + 4, &caller, 4);
    memcpy(out + 8, &number, 4);
    memcpy(out + 12, &now, 8);
    memcpy(out + STAMP, pattern + number % PATTERNS, PAYLOAD - STAMP);
}

static inline void write_speech(uint8_t *out, uint32_t number) {
    const uint32_t magic = SPEECH;
    write_header(out, AUDIO, PAYLOAD);
    memset(out + HEADER, 0, PAYLOAD);
    memcpy(out + HEADER, &magic, 4);
    memcpy(out + HEADER + 4, &number, 4);
}

// Frames that pass through G.711 u-law unaltered: each sample has four bits of information, as one of 16 values that
// u-law represents exactly. A frame then has 80 bytes, the first of what `write_frame` writes.
static inline int16_t coded_sample(unsigned bits) {
    int16_t magnitude = (int16_t)((((bits & 7) * 16 + 0x84) << 3) - 0x84);
    return bits & 8 ? (int16_t)-magnitude : magnitude;
}

static uint8_t decoded_sample[65536];

static inline void fill_decoded_samples(void) {
    memset(decoded_sample, 0xff, sizeof decoded_sample);
    for (unsigned bits = 0; bits < 16; bits++) decoded_sample[(uint16_t)coded_sample(bits)] = (uint8_t)bits;
}

static inline void expand(uint8_t *payload) {
    uint8_t plain[CODED];
    memcpy(plain, payload, CODED);
    for (size_t i = 0; i < 2 * CODED; i++) {
        int16_t sample = coded_sample((plain[i / 2] >> (i % 2 * 4)) & 15);
        memcpy(payload + 2 * i, &sample, 2);
    }
}

// False where a sample is none of the 16.
static inline bool compress(uint8_t *plain, const uint8_t *payload) {
    for (size_t i = 0; i < 2 * CODED; i++) {
        uint16_t sample;
        memcpy(&sample, payload + 2 * i, 2);
        uint8_t bits = decoded_sample[sample];
        if (bits > 15) return false;
        plain[i / 2] = i % 2 ? (uint8_t)(plain[i / 2] | bits << 4) : bits;
    }
    return true;
}

static inline bool is_ours(const uint8_t *payload, size_t length) { return length >= STAMP && word_at(payload) == OURS; }
static inline bool is_speech(const uint8_t *payload, size_t length) { return length >= 8 && word_at(payload) == SPEECH; }
static inline uint32_t speech_number(const uint8_t *payload) { return word_at(payload + 4); }
static inline uint32_t frame_number(const uint8_t *payload) { return word_at(payload + 8); }

static inline int64_t frame_sent(const uint8_t *payload) {
    int64_t when;
    memcpy(&when, payload + 12, sizeof when);
    return when;
}

static inline bool frame_intact(const uint8_t *payload, size_t length, uint32_t caller) {
    return (length == PAYLOAD || length == CODED) && word_at(payload + 4) == caller &&
           !memcmp(payload + STAMP, pattern + frame_number(payload) % PATTERNS, length - STAMP);
}

static inline bool is_silence(const uint8_t *payload, size_t length) {
    return !length || (!payload[0] && !memcmp(payload, payload + 1, length - 1));
}
#endif
