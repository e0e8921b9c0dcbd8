// Plays Asterisk's part for many calls at once, from one thread, and measures what the server gives back.
//
//   load MODE --ports P[,P…] [--calls N] [--seconds S] [--pid SERVER] [further options, see `options` below]
//
//   flood   `window` frames in flight per call, the next one leaves when one comes back: frames/s
//   echo    each call sends a frame every 20 ms, phases spread evenly: round trip, loss, server's processor time
//   listen  the server speaks: how even its frames come (--uplink 0 keeps the callers silent)
//   churn   connect, UUID, `frames` echoed, hangup, close, again: calls/s
//   quiet   `base` calls, then `calls`, which say one frame and nothing more: growth of the server's memory
//
// Prints one flat JSON object of numbers. Speaks to 127.0.0.1 only. Wire: kind (1 byte), length (2 bytes,
// big endian), payload. `frames.h` says what is in a payload, so that a frame that is lost, repeated, altered
// or somebody else's is counted as such; silence that a server fills in is none of these and counted apart.
#define _GNU_SOURCE
#include "frames.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000LL
#define SECOND (1000 * MS)
#define TURN (20 * MS)
#define PORTS_MOST 64
#define READ_MOST (1 << 18)
#define BATCH_MOST 256
#define DRAIN (500 * MS)  // a frame that has not come back this long after the window is lost

static int64_t clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * SECOND + now.tv_nsec;
}

// ---- options: all are numbers but the ports ---------------------------------

static double calls_wanted = 100, seconds = 5, warm_up = 1, ramp = 1000, window = 1, frames = 3;
static double server = 0, uplink = 1, base = 1000, settle = 2, coded = 0;
static uint16_t ports[PORTS_MOST];
static int port_count;
static const struct { const char *name; double *value, least, most; } options[] = {
    {"calls", &calls_wanted, 1, 20000},   // calls at the same time
    {"seconds", &seconds, 0.1, 120},      // length of what is measured
    {"warm-up", &warm_up, 0, 60},         // seconds between the last connection and the measurement
    {"ramp", &ramp, 1, 1e6},              // new connections per second
    {"window", &window, 1, BATCH_MOST},   // flood: frames in flight per call
    {"frames", &frames, 1, BATCH_MOST},   // churn: frames per call
    {"pid", &server, 0, 1e9},             // whose processor time and memory are read, with its children
    {"uplink", &uplink, 0, 1},            // listen: whether callers send, too
    {"coded", &coded, 0, 1},              // whether frames are such that G.711 does not alter them
    {"base", &base, 1, 20000},            // quiet: calls before memory is read first
    {"settle", &settle, 0, 60},           // quiet: seconds before memory is read
};

static void usage(const char *why, const char *what) {
    fprintf(stderr, "load: %s%s\nusage: load flood|echo|listen|churn|quiet --ports P[,P] [--option NUMBER]\n", why, what);
    exit(2);
}

static void read_options(int argc, char **argv) {
    for (int i = 2; i < argc; i += 2) {
        if (strncmp(argv[i], "--", 2) || i + 1 == argc) usage("not an option with a value: ", argv[i]);
        if (!strcmp(argv[i], "--ports")) {
            for (char *part = strtok(argv[i + 1], ","); part && port_count < PORTS_MOST; part = strtok(NULL, ","))
                ports[port_count++] = (uint16_t)atoi(part);
            continue;
        }
        size_t k = 0, known = sizeof options / sizeof *options;
        while (k < known && strcmp(argv[i] + 2, options[k].name)) k++;
        if (k == known) usage("unknown option: ", argv[i]);
        *options[k].value = atof(argv[i + 1]);
        if (*options[k].value < options[k].least || *options[k].value > options[k].most)
            usage("out of range: ", argv[i]);
    }
    if (!port_count) usage("--ports is missing", "");
}

// ---- histograms of microseconds, in buckets 0.8 % wide ------------------------

#define SUB 128
#define BUCKETS (32 * SUB)
typedef struct { uint64_t bucket[BUCKETS], n, greatest; } histogram;

static void add(histogram *h, int64_t ns) {
    uint64_t us = ns > 0 ? (uint64_t)ns / 1000 : 0;
    int shift = us < SUB ? -1 : 63 - __builtin_clzll(us) - 7;
    uint64_t slot = shift < 0 ? us : (uint64_t)(shift + 1) * SUB + (us >> shift) - SUB;
    h->bucket[slot < BUCKETS ? slot : BUCKETS - 1]++;
    h->n++;
    if (us > h->greatest) h->greatest = us;
}

static double quantile_ms(const histogram *h, double q) {
    uint64_t wanted = (uint64_t)ceil(q * (double)h->n), seen = 0;
    for (uint64_t slot = 0; slot < BUCKETS && h->n; slot++) {
        seen += h->bucket[slot];
        if (seen < wanted || !seen) continue;
        uint64_t shift = slot < SUB ? 0 : slot / SUB - 1;
        double us = slot < SUB ? (double)slot : (double)((slot % SUB + SUB) << shift) + (double)(1ULL << shift) / 2;
        return fmin(us, (double)h->greatest) / 1000;
    }
    return 0;
}

// ---- the server's processes -----------------------------------------------------

#define PROCESSES_MOST 256
static pid_t processes[PROCESSES_MOST];
static int process_count;

static pid_t parent_of(pid_t pid) {
    char path[64], line[512] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    if (!fgets(line, sizeof line, file)) line[0] = 0;
    fclose(file);
    char *end = strrchr(line, ')');
    int parent = 0;
    return end && sscanf(end + 1, " %*c %d", &parent) == 1 ? parent : 0;
}

// Children of children are not looked for: a supervisor and its workers are all there is.
static void find_processes(void) {
    if (!server) return;
    processes[process_count++] = (pid_t)server;
    DIR *directory = opendir("/proc");
    if (!directory) return;
    for (struct dirent *entry; (entry = readdir(directory));) {
        pid_t pid = atoi(entry->d_name);
        if (pid > 0 && process_count < PROCESSES_MOST && parent_of(pid) == (pid_t)server) processes[process_count++] = pid;
    }
    closedir(directory);
}

static double server_processor_seconds(void) {
    double total = 0;
    for (int i = 0; i < process_count; i++) {
        clockid_t id;
        struct timespec used;
        if (!clock_getcpuclockid(processes[i], &id) && !clock_gettime(id, &used))
            total += (double)used.tv_sec + (double)used.tv_nsec / 1e9;
    }
    return total;
}

static double server_memory_kb(void) {
    double total = 0;
    for (int i = 0; i < process_count; i++) {
        char path[64];
        long size = 0, resident = 0;
        snprintf(path, sizeof path, "/proc/%d/statm", processes[i]);
        FILE *file = fopen(path, "r");
        if (!file) continue;
        if (fscanf(file, "%ld %ld", &size, &resident) == 2) total += (double)resident * (double)sysconf(_SC_PAGESIZE) / 1024;
        fclose(file);
    }
    return total;
}

// All processors, everybody's work, and what the host took: ticks are coarse, so this only shows a busy machine.
static double machine_processor_seconds(void) {
    double field[8] = {0};  // user, nice, system, idle, iowait, irq, softirq, steal
    FILE *file = fopen("/proc/stat", "r");
    if (!file) return 0;
    int got = fscanf(file, "cpu %lf %lf %lf %lf %lf %lf %lf %lf", field, field + 1, field + 2, field + 3, field + 4,
                     field + 5, field + 6, field + 7);
    fclose(file);
    double busy = field[0] + field[1] + field[2] + field[5] + field[6] + field[7];
    return got == 8 ? busy / (double)sysconf(_SC_CLK_TCK) : 0;
}

static double own_processor_seconds(void) {
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

// ---- calls ------------------------------------------------------------------------

// A frame against an ideal grid of 20 ms: which one it was, and how much later it came than the grid, in ns.
typedef struct { int64_t number, lag; } instant;

typedef struct {
    int fd;
    enum { CLOSED, CONNECTING, UP } state;
    uint32_t next_out, next_back;    // our frames, by number
    uint32_t spoken;                 // the server's numbered speech: what comes next
    bool spoke;
    uint32_t echoed;                 // frames back in this connection
    int64_t dialled, previous;       // when; `previous` is the last frame in the window, 0 at first
    int64_t arrived;                 // frames in the window
    instant early, late;             // the most punctual frames of the window's first and last third
    uint32_t held;                   // bytes of a frame that is not complete
    uint8_t incomplete[HEADER + PAYLOAD_MOST];
} call;

static call *calls;
static int call_count, events_fd;
static uint8_t incoming[READ_MOST + sizeof ((call *)0)->incomplete], outgoing[UUID_FRAME + BATCH_MOST * FRAME];

static bool measuring;
static int64_t window_begin = INT64_MAX, window_end = INT64_MAX;
static histogram round_trip, between, send_lag, set_up;
// All audio that came and went; then what was sent in the window, and how much of that came back.
static uint64_t received, sent, sent_in_window, back_in_window;
static uint64_t filled_in, altered, missing, repeated, unknown, skipped;
static uint64_t late_20, late_40, late_100, completed, refused, died, blocked;

typedef struct {
    const char *name;
    bool paced, refills, redials;
    void (*is_up)(call *);
    void (*echo)(call *, int64_t now);
} mode;
static const mode *playing;

static uint32_t number_of(const call *c) { return (uint32_t)(c - calls); }

static void hang_up(call *c) {
    close(c->fd);  // and leaves the epoll by that
    c->state = CLOSED;
}

static void dial(call *c) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), yes = 1;
    if (fd < 0) { refused++; return; }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    // Each call from an address of its own: tens of thousands of short calls would use up one address's ports.
    uint32_t number = number_of(c);
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f010000 + (number & 0xff) + 1)};
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(ports[number % (uint32_t)port_count]),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    memset(c, 0, sizeof *c);
    c->fd = fd;
    c->dialled = clock_ns();
    if (bind(fd, (void *)&from, sizeof from) || (connect(fd, (void *)&to, sizeof to) && errno != EINPROGRESS)) {
        refused++;
        hang_up(c);
        return;
    }
    c->state = CONNECTING;
    struct epoll_event interest = {.events = EPOLLIN | EPOLLOUT, .data.u32 = number};
    epoll_ctl(events_fd, EPOLL_CTL_ADD, fd, &interest);
}

// A call whose peer does not read any more is broken: half a frame cannot be taken back.
static void put(call *c, size_t length) {
    ssize_t taken = send(c->fd, outgoing, length, MSG_NOSIGNAL);
    if (taken == (ssize_t)length) return;
    if (taken >= 0 || errno == EAGAIN) blocked++;
    died++;
    hang_up(c);
}

static size_t write_audio(call *c, size_t at, int count, int64_t now) {
    for (; count > 0; count--, at += FRAME) {
        write_frame(outgoing + at, number_of(c), c->next_out++, now);
        if (coded) expand(outgoing + at + HEADER);
    }
    return at;
}

static void send_audio(call *c, int count, int64_t now) {
    put(c, write_audio(c, 0, count, now));
    sent += (uint64_t)count;
}

static void connected(call *c) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) { refused++; hang_up(c); return; }
    struct epoll_event interest = {.events = EPOLLIN, .data.u32 = number_of(c)};
    epoll_ctl(events_fd, EPOLL_CTL_MOD, c->fd, &interest);
    c->state = UP;
    playing->is_up(c);
}

// Says the UUID, a new one every time, and `count` frames behind it in the same packet.
static void introduce(call *c, int count) {
    int64_t now = clock_ns();
    write_uuid(outgoing, number_of(c), now);
    put(c, write_audio(c, UUID_FRAME, count, now));
    sent += (uint64_t)count;
}

static void came_back(call *c, const uint8_t *payload, size_t length, int64_t now) {
    uint32_t number = frame_number(payload);
    if (!frame_intact(payload, length, number_of(c))) { altered++; return; }
    if ((int32_t)(number - c->next_back) < 0) { repeated++; return; }
    if (coded && !c->next_back) c->next_back = number;  // the bot was not there before
    missing += number - c->next_back;
    c->next_back = number + 1;
    int64_t left = frame_sent(payload);
    if (left >= window_begin && left < window_end) {
        int64_t took = now - left;
        add(&round_trip, took);
        back_in_window++;
        late_20 += took > 20 * MS;
        late_40 += took > 40 * MS;
        late_100 += took > 100 * MS;
    }
    playing->echo(c, now);
}

static void note_arrival(call *c, int64_t now) {
    if (c->previous) add(&between, now - c->previous);
    instant this = {c->arrived, now - window_begin - c->arrived * TURN};
    int64_t third = (window_end - window_begin) / 3;
    instant *best = now < window_begin + third ? &c->early : now > window_end - third ? &c->late : NULL;
    if (best && (!best->number || this.lag < best->lag)) *best = this;
    c->arrived++;
    c->previous = now;
}

static void heard(call *c, const uint8_t *payload, size_t length, int64_t now) {
    received++;
    if (measuring) note_arrival(c, now);
    uint8_t plain[CODED];
    if (coded && length == PAYLOAD && compress(plain, payload)) came_back(c, plain, CODED, now);
    else if (is_ours(payload, length)) came_back(c, payload, length, now);
    else if (is_speech(payload, length)) {
        uint32_t number = speech_number(payload);
        if (measuring && c->spoke && number != c->spoken) skipped++;
        c->spoke = true;
        c->spoken = (number + 1) % SPEECH_FRAMES;
    } else if (is_silence(payload, length)) filled_in++;
    else altered++;
}

static void readable(call *c) {
    memcpy(incoming, c->incomplete, c->held);
    ssize_t got = recv(c->fd, incoming + c->held, READ_MOST, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) { died++; hang_up(c); return; }
    int64_t now = clock_ns();
    size_t have = c->held + (size_t)got, at = 0;
    int fd = c->fd;
    while (c->state == UP && c->fd == fd && have - at >= HEADER) {
        size_t length = (size_t)incoming[at + 1] << 8 | incoming[at + 2];
        if (length > PAYLOAD_MOST) { unknown++; died++; hang_up(c); return; }
        if (have - at < HEADER + length) break;
        if (incoming[at] == AUDIO) heard(c, incoming + at + HEADER, length, now);
        else unknown++;
        at += HEADER + length;
    }
    if (c->state != UP || c->fd != fd) return;
    c->held = (uint32_t)(have - at);
    memcpy(c->incomplete, incoming + at, c->held);
    if (c->echoed && playing->refills) {  // flood: all that came back in one read goes out again in one write
        send_audio(c, (int)c->echoed, now);
        c->echoed = 0;
    }
}

// ---- modes ------------------------------------------------------------------------

static void say_uuid(call *c) { introduce(c, 0); }
static void say_window(call *c) { introduce(c, (int)window); }
static void say_frames(call *c) { introduce(c, (int)frames); }
static void say_one(call *c) { introduce(c, 1); }
static void count_only(call *c, int64_t now) { (void)c, (void)now; }
static void count_for_refill(call *c, int64_t now) { (void)now, c->echoed++; }

static void end_when_complete(call *c, int64_t now) {
    if (!c->echoed++ && measuring) add(&set_up, now - c->dialled);
    if (c->echoed < (uint32_t)frames) return;
    static const uint8_t goodbye[HEADER];
    if (send(c->fd, goodbye, sizeof goodbye, MSG_NOSIGNAL) != sizeof goodbye) died++;
    completed += measuring;
    hang_up(c);
    dial(c);
}

static const mode modes[] = {
    {"flood", .refills = true, .is_up = say_window, .echo = count_for_refill},
    {"echo", .paced = true, .is_up = say_uuid, .echo = count_only},
    {"listen", .paced = true, .is_up = say_uuid, .echo = count_only},
    {"churn", .redials = true, .is_up = say_frames, .echo = end_when_complete},
    {"quiet", .is_up = say_one, .echo = count_only},
};

// ---- time ---------------------------------------------------------------------------

static void handle_events(int64_t wait) {
    static struct epoll_event ready[256];
    struct timespec most = {wait / SECOND, wait % SECOND};
    int count = -1;
#ifdef SYS_epoll_pwait2
    count = (int)syscall(SYS_epoll_pwait2, events_fd, ready, 256, &most, NULL, 8);
    if (count < 0 && errno == ENOSYS)
#endif
        count = epoll_wait(events_fd, ready, 256, (int)(most.tv_sec * 1000 + (most.tv_nsec + MS - 1) / MS));
    for (int i = 0; i < count; i++) {
        call *c = &calls[ready[i].data.u32];
        if (c->state == CONNECTING) connected(c);
        else if (c->state == UP) readable(c);
    }
}

static int64_t grid_begin, grid_turn;

// Sends what is due and says how long nothing is. Calls take their turns in order, spread over 20 ms.
static int64_t send_due(int64_t now) {
    for (int burst = 0; burst < 256; burst++, grid_turn++) {
        int64_t due = grid_begin + grid_turn / call_count * TURN + grid_turn % call_count * TURN / call_count;
        if (due > now) return due - now;
        call *c = &calls[grid_turn % call_count];
        if (c->state != UP) continue;
        int64_t leaves = clock_ns();
        if (leaves >= window_begin && leaves < window_end) {
            sent_in_window++;
            add(&send_lag, leaves - due);
        }
        send_audio(c, 1, leaves);
    }
    return 0;
}

static int in_state(int state) {
    int found = 0;
    for (int i = 0; i < call_count; i++) found += (int)calls[i].state == state;
    return found;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static void pass_time(int64_t until, bool pacing) {
    for (int64_t now; (now = clock_ns()) < until;) {
        int64_t wait = least(pacing ? send_due(now) : MS, MS);
        handle_events(least(wait, until - now));
    }
}

static void revive(void) {  // churn: a place whose connection failed or broke is taken again, but not at once
    for (int i = 0; i < call_count; i++) if (calls[i].state == CLOSED) dial(&calls[i]);
}

static void dial_up_to(int goal, int *dialled, bool pacing) {
    int64_t begin = clock_ns(), give_up = begin + (int64_t)((goal - *dialled) / ramp * SECOND) + 10 * SECOND;
    int first = *dialled;
    while (clock_ns() < give_up) {
        while (*dialled < goal && first + (double)(clock_ns() - begin) / SECOND * ramp >= *dialled) dial(&calls[(*dialled)++]);
        pass_time(clock_ns() + MS, pacing);
        if (*dialled == goal && (playing->redials || !in_state(CONNECTING))) return;
    }
}

// ---- results ------------------------------------------------------------------------

static const char *separator = "{";

static void show(const char *name, double value) {
    printf("%s\"%s\": %.6g", separator, name, value);
    separator = ", ";
}

static void show_histogram(const char *name, const histogram *h) {
    static const struct { const char *name; double q; } shown[] = {{"p50", .5}, {"p99", .99}, {"p999", .999}};
    char key[64];
    if (!h->n) return;
    for (size_t i = 0; i < sizeof shown / sizeof *shown; i++) {
        snprintf(key, sizeof key, "%s_%s_ms", name, shown[i].name);
        show(key, quantile_ms(h, shown[i].q));
    }
    snprintf(key, sizeof key, "%s_max_ms", name);
    show(key, (double)h->greatest / 1000);
}

// A frame may come late but never early. So the pace is taken from the most punctual frame of the window's
// first third to that of its last third, and a stall at either end of the window does not look like drift.
static void show_pace(double elapsed) {
    double slowest = INFINITY, fastest = 0, turns = 0, arrivals = 0;
    int measured = 0;
    for (call *c = calls; c < calls + call_count; c++) {
        arrivals += (double)c->arrived;
        int64_t apart = c->late.number - c->early.number;
        if (!c->early.number || apart <= 0) continue;
        double turn = 20 + (double)(c->late.lag - c->early.lag) / (double)apart / MS;
        turns += turn;
        slowest = fmin(slowest, 1000 / turn);
        fastest = fmax(fastest, 1000 / turn);
        measured++;
    }
    show("speaking", measured);
    if (!measured) return;
    show("rate", 1000 * measured / turns);
    show("rate_slowest", slowest);
    show("rate_fastest", fastest);
    show("rate_counted", arrivals / call_count / elapsed);
    show("skipped", (double)skipped);
}

int main(int argc, char **argv) {
    if (argc < 2) usage("no mode", "");
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) if (!strcmp(argv[1], modes[i].name)) playing = &modes[i];
    if (!playing) usage("unknown mode: ", argv[1]);
    read_options(argc, argv);
    bool quiet = !strcmp(playing->name, "quiet"), listening = !strcmp(playing->name, "listen");
    bool pacing = playing->paced && (uplink || !listening);

    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    struct rlimit descriptors;
    getrlimit(RLIMIT_NOFILE, &descriptors);
    descriptors.rlim_cur = descriptors.rlim_max;
    setrlimit(RLIMIT_NOFILE, &descriptors);
    call_count = (int)calls_wanted;
    if (descriptors.rlim_cur < (rlim_t)call_count + 16) usage("the limit of open files is too low for --calls", "");
    calls = calloc((size_t)call_count, sizeof *calls);
    events_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!calls || events_fd < 0) { perror("load"); return 1; }
    fill_pattern();
    fill_decoded_samples();
    find_processes();

    int dialled = 0;
    double memory_before = server_memory_kb();
    grid_begin = clock_ns();
    if (quiet) {
        dial_up_to((int)fmin(base, call_count), &dialled, false);
        pass_time(clock_ns() + (int64_t)(settle * SECOND), false);
        memory_before = server_memory_kb();
    }
    int first = dialled;
    dial_up_to(call_count, &dialled, pacing);
    int up = in_state(UP);
    window_begin = clock_ns() + (int64_t)((quiet ? settle : warm_up) * SECOND);
    window_end = window_begin + (int64_t)(seconds * SECOND);
    pass_time(window_begin, pacing);

    measuring = true;
    uint64_t received_before = received;
    double server_before = server_processor_seconds(), own_before = own_processor_seconds();
    double machine_before = machine_processor_seconds();
    int64_t begin = clock_ns();
    while (clock_ns() < window_end) {
        pass_time(least(window_end, clock_ns() + SECOND / 2), pacing);
        if (playing->redials) revive();
    }
    double elapsed = (double)(clock_ns() - begin) / SECOND;
    double server_used = server_processor_seconds() - server_before, own_used = own_processor_seconds() - own_before;
    double machine_used = machine_processor_seconds() - machine_before;
    double arrived = (double)(received - received_before), memory = server_memory_kb();
    measuring = false;
    if (playing->paced) pass_time(window_end + DRAIN, pacing);

    show("calls", call_count);
    show("connected", playing->redials ? call_count : up);
    show("refused", (double)refused);
    show("died", (double)died);
    show("seconds", elapsed);
    show("frames_per_s", arrived / elapsed);
    show("filled_in", (double)filled_in);
    show("altered", (double)altered);
    show("missing", (double)missing);
    show("repeated", (double)repeated);
    show("unknown", (double)unknown);
    show("blocked", (double)blocked);
    if (playing->paced && !listening) {
        show("sent", (double)sent_in_window);
        show("lost", (double)(sent_in_window - back_in_window));
        show("late_20", (double)late_20);
        show("late_40", (double)late_40);
        show("late_100", (double)late_100);
    }
    if (listening) show_pace(elapsed);
    if (playing->redials) {
        show("calls_per_s", (double)completed / elapsed);
        if (completed) show("server_us_per_call", server_used * 1e6 / (double)completed);
    } else if (arrived > 0) show("server_us_per_frame", server_used * 1e6 / arrived);
    if (quiet && dialled > first) show("kb_per_call", (memory - memory_before) / (dialled - first));
    show_histogram("round_trip", &round_trip);
    if (listening) show_histogram("between", &between);
    show_histogram("send_lag", &send_lag);
    show_histogram("set_up", &set_up);
    show("server_percent", 100 * server_used / elapsed);
    show("generator_percent", 100 * own_used / elapsed);
    show("others_percent", 100 * fmax(0, machine_used - server_used - own_used) / elapsed);
    show("server_processes", process_count);
    show("memory_mb", memory / 1024);
    puts("}");
    return 0;
}
