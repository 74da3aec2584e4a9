/* Open-loop load: requests are sent when they are due, however late earlier answers are, and a
   latency counts from the moment the request was due (no coordinated omission). Arrivals are Poisson.
   Usage: open_loop PORT CONNECTIONS RATE SECONDS < BODY, prints one JSON line. */
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MOST 1024
static char request[1 << 20], answers[MOST][1 << 16];
static int sockets[MOST], idle[MOST], idle_count, filled[MOST];
static double due_of[MOST];

static double now(void) {
    struct timespec moment;
    clock_gettime(CLOCK_MONOTONIC, &moment);
    return moment.tv_sec + moment.tv_nsec / 1e9;
}

static int by_size(const void *a, const void *b) {
    double difference = *(const double *)a - *(const double *)b;
    return (difference > 0) - (difference < 0);
}

/* Bytes of the whole answer in the buffer, or 0 while it is incomplete. */
static int complete(const char *buffer, int size) {
    const char *end = memmem(buffer, size, "\r\n\r\n", 4);
    if (!end) return 0;
    const char *length = memmem(buffer, end - buffer, "content-length: ", 16);
    int whole = (int)(end - buffer) + 4 + (length ? atoi(length + 16) : 0);
    return size >= whole ? whole : 0;
}

int main(int count, char **given) {
    if (count != 5) return 2;
    int port = atoi(given[1]), connections = atoi(given[2]), size;
    double rate = atof(given[3]), seconds = atof(given[4]);
    char body[1 << 19];
    size = (int)fread(body, 1, sizeof body, stdin);
    int length = snprintf(request, sizeof request,
        "POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", size);
    memcpy(request + length, body, size);
    length += size;
    int poll = epoll_create1(0), on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < connections; i++) {
        sockets[i] = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(sockets[i], (struct sockaddr *)&address, sizeof address)) { perror("connect"); return 1; }
        setsockopt(sockets[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        epoll_ctl(poll, EPOLL_CTL_ADD, sockets[i], &event);
        idle[idle_count++] = i;
    }
    long most = (long)(rate * seconds * 2) + 1000, done = 0, refused = 0, sent = 0;
    double *latencies = malloc(most * sizeof *latencies), start = now(), due = start, end = start + seconds;
    srand48(13);
    while (done < most) {
        double moment = now();
        if (moment > end + 5 || (due >= end && idle_count == connections)) break;
        while (due <= moment && due < end && idle_count) {
            int i = idle[--idle_count];
            due_of[i] = due;
            filled[i] = 0;
            if (write(sockets[i], request, length) != length) { perror("write"); return 1; }
            sent++;
            due += -log(1 - drand48()) / rate;
        }
        struct epoll_event events[64];
        double wait = due < end && idle_count ? due - now() : 0.01;
        struct timespec timeout = {0, wait > 0 ? (long)(wait * 1e9) : 0};
        int ready = epoll_pwait2(poll, events, 64, &timeout, NULL);
        for (int e = 0; e < ready; e++) {
            int i = events[e].data.u32;
            int got = (int)read(sockets[i], answers[i] + filled[i], sizeof answers[i] - filled[i]);
            if (got <= 0) { fprintf(stderr, "the server closed a connection\n"); return 1; }
            filled[i] += got;
            if (!complete(answers[i], filled[i])) continue;
            if (memcmp(answers[i] + 9, "200", 3)) refused++;
            latencies[done++] = now() - due_of[i];
            idle[idle_count++] = i;
        }
    }
    double took = now() - start;
    qsort(latencies, done, sizeof *latencies, by_size);
    printf("{\"requests\": %ld, \"refused\": %ld, \"rate\": %.1f, \"p50_ms\": %.3f, \"p99_ms\": %.3f}\n", done, refused,
           done / took, done ? latencies[done / 2] * 1e3 : 0, done ? latencies[done * 99 / 100] * 1e3 : 0);
    return 0;
}
