// The limit to compare with: an AudioSocket server in C, one thread, one epoll, nothing allocated per frame.
//
//   echo PORT [speak]
//
// Every complete audio frame goes back, all frames of one read in one write. With `speak` it says numbered
// frames instead, one to every call at every tick of a timerfd of 20 ms; ticks it missed are made up for.
#define _GNU_SOURCE
#include "frames.h"
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define READ_MOST (1 << 18)
#define TICK_NS 20000000L

typedef struct connection {
    int fd;
    struct connection *next, *before;  // all that are open
    uint32_t spoken, held;
    uint8_t incomplete[HEADER + PAYLOAD_MOST];
} connection;

static connection everybody = {.next = &everybody, .before = &everybody};
static int events_fd;
static bool speaking;
static uint8_t incoming[READ_MOST + sizeof everybody.incomplete], outgoing[sizeof incoming];

static void watch(int fd, void *who) {
    struct epoll_event interest = {.events = EPOLLIN, .data.ptr = who};
    if (epoll_ctl(events_fd, EPOLL_CTL_ADD, fd, &interest)) { perror("epoll_ctl"); exit(1); }
}

static void welcome(int listening) {
    for (int fd, yes = 1; (fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        connection *c = malloc(sizeof *c);
        if (!c) { close(fd); return; }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        c->fd = fd;
        c->spoken = c->held = 0;
        c->next = everybody.next, c->before = &everybody;
        c->next->before = everybody.next = c;
        watch(fd, c);
    }
}

static void drop(connection *c) {
    c->before->next = c->next;
    c->next->before = c->before;
    close(c->fd);
    free(c);
}

static void speak(int timer) {
    uint64_t ticks;
    if (read(timer, &ticks, sizeof ticks) != sizeof ticks) return;
    for (; ticks; ticks--)
        for (connection *c = everybody.next; c != &everybody; c = c->next) {
            write_speech(outgoing, c->spoken);
            c->spoken = (c->spoken + 1) % SPEECH_FRAMES;
            (void)!send(c->fd, outgoing, FRAME, MSG_NOSIGNAL);  // who does not read misses it, and the count shows
        }
}

static void answer(connection *c) {
    memcpy(incoming, c->incomplete, c->held);
    ssize_t got = recv(c->fd, incoming + c->held, READ_MOST, 0);
    if (got <= 0) { drop(c); return; }
    size_t have = c->held + (size_t)got, at = 0, back = 0;
    while (have - at >= HEADER) {
        size_t length = (size_t)incoming[at + 1] << 8 | incoming[at + 2];
        if (length > PAYLOAD_MOST || incoming[at] == GOODBYE) { drop(c); return; }
        if (have - at < HEADER + length) break;
        if (incoming[at] == AUDIO) {
            memcpy(outgoing + back, incoming + at, HEADER + length);
            back += HEADER + length;
        }
        at += HEADER + length;
    }
    if (back && !speaking && send(c->fd, outgoing, back, MSG_NOSIGNAL) != (ssize_t)back) { drop(c); return; }
    c->held = (uint32_t)(have - at);
    memcpy(c->incomplete, incoming + at, c->held);
}

static int listen_on(uint16_t port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), yes = 1;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, (void *)&here, sizeof here) || listen(fd, 4096)) { perror("listen"); exit(1); }
    return fd;
}

int main(int argc, char **argv) {
    if (argc < 2) { fputs("usage: echo PORT [speak]\n", stderr); return 2; }
    speaking = argc > 2 && !strcmp(argv[2], "speak");
    signal(SIGPIPE, SIG_IGN);
    struct rlimit descriptors;
    getrlimit(RLIMIT_NOFILE, &descriptors);
    descriptors.rlim_cur = descriptors.rlim_max;
    setrlimit(RLIMIT_NOFILE, &descriptors);
    events_fd = epoll_create1(EPOLL_CLOEXEC);
    int listening = listen_on((uint16_t)atoi(argv[1])), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    watch(listening, &listening);
    if (speaking) {
        struct itimerspec pace = {{0, TICK_NS}, {0, TICK_NS}};
        timerfd_settime(timer, 0, &pace, NULL);
        watch(timer, &timer);
    }
    for (struct epoll_event ready[256];;) {
        int count = epoll_wait(events_fd, ready, 256, -1);
        for (int i = 0; i < count; i++) {
            void *who = ready[i].data.ptr;
            if (who == &listening) welcome(listening);
            else if (who == &timer) speak(timer);
            else answer(who);
        }
    }
}
