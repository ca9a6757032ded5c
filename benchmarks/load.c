/*
 * The load: a server of event streams, a client that checks every byte of them, and a checker of recordings.
 *
 *   load source PORT                         serves for ever; what a stream is like is in the target that is asked for:
 *                                            /any/path?events=N&rate=R&size=B (R events a second; 0: as fast as they are taken)
 *   load sink PORT STREAMS EVENTS RATE SIZE [ramp=PER_S] [first=NO] [skip=EVENTS] [limit=S]
 *            [trace=FILE] [arrivals=FILE]
 *                                            opens the streams /v1/sessions/bench-NO/stream?…, prints one JSON object
 *   load check EVENTS SIZE                   the body of such a stream on stdin: one JSON object
 *
 * An event is SIZE bytes, and known but for one field: `at`, the nanosecond of CLOCK_MONOTONIC at which it was made. So whoever
 * reads it can compare all the rest with what it has to be, and has a latency (not counted for the first `skip` of a stream). What was read is summed up in a hash, which says
 * whether two bodies are equal, their times included. `trace`: for each stream, how much of its body was there when (for what a
 * recorder that was killed must have kept). `arrivals`: when each event of each stream came, as 64-bit nanoseconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef uint64_t u64;

static void fail(const char *what) { perror(what); exit(3); }
static void *room(void *old, size_t n) { void *p = realloc(old, n); if (!p) fail("memory"); return p; }
static u64 now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return (u64)t.tv_sec * 1000000000u + (u64)t.tv_nsec; }

/* ---- an event ---- */

#define FIRST_NO 1000000000u /* so that all numbers are as wide */
static const char NAME[] = "event: response.output_text.delta\n";
static const char HEAD[] = "data: {\"type\":\"response.output_text.delta\",\"sequence_number\":";
static const char AT[] = ",\"at\":\"", TEXT[] = "\",\"delta\":\"", TAIL[] = "\"}\n\n";
static const char DONE[] = "data: [DONE]\n\n";
static const char PROSE[] =
    "A tide comes in twice a day, or nearly so, and whoever keeps the log of a harbour writes down the hour, the height and "
    "the wind. Nobody reads most of it. But when a ship lies wrong one morning, the log is what is asked for first: what was "
    "seen, when, and in which order; not what somebody thinks he remembers. 1.2 m at 04:17, 5.9 m at 10:31 (spring), then fog. ";
enum { NO_WIDE = 10, AT_WIDE = 16, PROSE_LEN = sizeof PROSE - 1, LEAST = 109, NAMED = 150 };

struct shape { size_t size, no, at, text, fill; char *head; };

static struct shape shape_of(size_t size) {
  struct shape s = {.size = size < LEAST ? LEAST : size};
  s.head = room(NULL, 256);
  s.no = (size_t)sprintf(s.head, "%s%s", s.size < NAMED ? "" : NAME, HEAD);
  s.at = s.no + NO_WIDE + sizeof AT - 1;
  s.text = s.at + AT_WIDE + sizeof TEXT - 1;
  s.fill = s.size - s.text - (sizeof TAIL - 1);
  memset(s.head + s.no, '0', NO_WIDE);
  memcpy(s.head + s.no + NO_WIDE, AT, sizeof AT - 1);
  memset(s.head + s.at, '0', AT_WIDE);
  memcpy(s.head + s.at + AT_WIDE, TEXT, sizeof TEXT - 1);
  return s;
}

static void put_no(char *to, u64 no) { for (int i = NO_WIDE; i--; no /= 10) to[i] = (char)('0' + no % 10); }
static void put_at(char *to, u64 at) { for (int i = AT_WIDE; i--; at >>= 4) to[i] = "0123456789abcdef"[at & 15]; }

static void make_event(char *to, const struct shape *s, u64 k, u64 at) {
  memcpy(to, s->head, s->text);
  put_no(to + s->no, FIRST_NO + k);
  put_at(to + s->at, at);
  char *p = to + s->text;
  for (size_t left = s->fill, from = k * 31 % PROSE_LEN, n; left; left -= n, p += n, from = 0) {
    n = PROSE_LEN - from < left ? PROSE_LEN - from : left;
    memcpy(p, PROSE + from, n);
  }
  memcpy(p, TAIL, sizeof TAIL - 1);
}

/* Whether these bytes are event k; its time then. */
static int is_event(const char *p, const struct shape *s, u64 k, u64 *at) {
  char no[NO_WIDE];
  put_no(no, FIRST_NO + k);
  if (memcmp(p, s->head, s->no) || memcmp(p + s->no, no, NO_WIDE)) return 0;
  if (memcmp(p + s->no + NO_WIDE, AT, sizeof AT - 1) || memcmp(p + s->at + AT_WIDE, TEXT, sizeof TEXT - 1)) return 0;
  *at = 0;
  for (int i = 0; i < AT_WIDE; i++) {
    char c = p[s->at + (size_t)i];
    if (c >= '0' && c <= '9') *at = *at << 4 | (u64)(c - '0');
    else if (c >= 'a' && c <= 'f') *at = *at << 4 | (u64)(c - 'a' + 10);
    else return 0;
  }
  const char *q = p + s->text;
  for (size_t left = s->fill, from = k * 31 % PROSE_LEN, n; left; left -= n, q += n, from = 0) {
    n = PROSE_LEN - from < left ? PROSE_LEN - from : left;
    if (memcmp(q, PROSE + from, n)) return 0;
  }
  return !memcmp(q, TAIL, sizeof TAIL - 1);
}

/* ---- a body, checked as it comes ---- */

struct body { u64 k, events, last_at, bytes, hash; int over, wrong; char *kept; size_t len, cap; };

/* All but the time is known to be right: so the times are what is left to sum up. */
static u64 mixed(u64 hash, u64 at) { hash = (hash ^ at) * 0x9e3779b97f4a7c15u; return hash ^ hash >> 29; }

typedef void (*on_event)(void *who, u64 at);

/* How many bytes of p are used up. */
static size_t take(struct body *b, const struct shape *s, const char *p, size_t n, on_event tell, void *who) {
  size_t used = 0;
  while (!b->wrong) {
    u64 at;
    if (b->k < b->events) {
      if (n - used < s->size) break;
      if (!is_event(p + used, s, b->k, &at) || at < b->last_at) { b->wrong = 1; break; }
      b->last_at = at;
      b->hash = mixed(b->hash, at);
      b->k++;
      used += s->size;
      if (tell) tell(who, at);
    } else {
      size_t want = sizeof DONE - 1;
      if (n == used) break;
      if (b->over) { b->wrong = 1; break; }
      if (n - used < want) break;
      if (memcmp(p + used, DONE, want)) { b->wrong = 1; break; }
      b->over = 1;
      used += want;
    }
  }
  return b->wrong ? n : used;
}

static void feed(struct body *b, const struct shape *s, const char *p, size_t n, on_event tell, void *who) {
  b->bytes += n;
  if (b->len) { /* the rest of what was not whole, as far as that is one event */
    size_t want = b->k < b->events ? s->size : sizeof DONE - 1, more = want > b->len ? want - b->len : 0;
    if (more > n) more = n;
    if (b->len + more > b->cap) b->kept = room(b->kept, b->cap = want + 64);
    memcpy(b->kept + b->len, p, more);
    b->len += more;
    p += more;
    n -= more;
    if (b->len < want) return;
    b->len -= take(b, s, b->kept, b->len, tell, who);
  }
  size_t used = take(b, s, p, n, tell, who);
  if (used < n && !b->wrong) {
    if (n - used > b->cap) b->kept = room(b->kept, b->cap = (n - used < s->size ? s->size : n - used) + 64);
    memcpy(b->kept, p + used, b->len = n - used);
  }
}

/* ---- the source ---- */

struct from { int fd, asks_out, streaming; char in[8192]; size_t in_len; char *out; size_t out_len, out_at, out_cap;
              u64 k, events, due; double every, begun; struct shape shape; };

static int poll_fd;
static struct from **conns;
static size_t conns_len, conns_cap;
static u64 opened;

static void watch(int how, int fd, uint32_t events, void *who) {
  struct epoll_event e = {.events = events, .data.ptr = who};
  if (epoll_ctl(poll_fd, how, fd, &e) < 0) fail("epoll_ctl");
}

static void put(struct from *c, const char *p, size_t n) {
  if (c->out_len + n > c->out_cap) c->out = room(c->out, c->out_cap = (c->out_len + n) * 2);
  memcpy(c->out + c->out_len, p, n);
  c->out_len += n;
}

/* One event in a chunk of its own, as servers of such streams send them. */
static void put_event(struct from *c, u64 at) {
  char head[24];
  put(c, head, (size_t)sprintf(head, "%zx\r\n", c->shape.size));
  if (c->out_len + c->shape.size + 2 > c->out_cap) c->out = room(c->out, c->out_cap = (c->out_len + c->shape.size + 2) * 2);
  make_event(c->out + c->out_len, &c->shape, c->k++, at);
  c->out_len += c->shape.size;
  put(c, "\r\n", 2);
  if (c->k < c->events) return;
  char end[64];
  put(c, end, (size_t)sprintf(end, "%zx\r\n%s\r\n0\r\n\r\n", sizeof DONE - 1, DONE));
  c->streaming = 0;
}

static int drop(struct from *c) {
  for (size_t i = 0; i < conns_len; i++)
    if (conns[i] == c) { conns[i] = conns[--conns_len]; break; }
  close(c->fd);
  free(c->out);
  free(c->shape.head);
  free(c);
  return -1;
}

static int flush(struct from *c) {
  for (;;) {
    while (c->out_at < c->out_len) {
      ssize_t n = write(c->fd, c->out + c->out_at, c->out_len - c->out_at);
      if (n < 0 && errno == EAGAIN) {
        if (!c->asks_out) watch(EPOLL_CTL_MOD, c->fd, EPOLLIN | EPOLLOUT, c);
        c->asks_out = 1;
        return 0;
      }
      if (n < 0) return drop(c);
      c->out_at += (size_t)n;
    }
    c->out_at = c->out_len = 0;
    if (!c->streaming || c->every > 0) break;
    for (u64 at = now(); c->streaming && c->out_len < 65536;) put_event(c, at);
  }
  if (c->asks_out) watch(EPOLL_CTL_MOD, c->fd, EPOLLIN, c);
  c->asks_out = 0;
  return 0;
}

static double asked(const char *target, const char *name, double otherwise) {
  const char *p = strstr(target, name);
  return p ? atof(p + strlen(name)) : otherwise;
}

static int request(struct from *c) {
  char *end;
  while (!c->streaming && (end = memmem(c->in, c->in_len, "\r\n\r\n", 4))) {
    size_t used = (size_t)(end + 4 - c->in);
    *end = 0;
    *strchrnul(c->in, '\r') = 0;
    free(c->shape.head);
    c->shape = shape_of((size_t)asked(c->in, "size=", 150));
    c->k = 0;
    c->events = (u64)asked(c->in, "events=", 1);
    double rate = asked(c->in, "rate=", 0);
    c->every = rate > 0 ? 1e9 / rate : 0;
    double turn = (double)opened++ * 0.6180339887; /* streams spread over the interval, each at its own phase */
    c->begun = (double)now() + c->every * (turn - (double)(u64)turn);
    c->due = (u64)c->begun;
    c->streaming = 1;
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
                               "Transfer-Encoding: chunked\r\n\r\n";
    put(c, head, sizeof head - 1);
    memmove(c->in, c->in + used, c->in_len -= used);
    if (flush(c) < 0) return -1;
  }
  return 0;
}

static void accept_all(int server) {
  for (int fd, on = 1; (fd = accept4(server, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct from *c = calloc(1, sizeof *c);
    c->fd = fd;
    if (conns_len == conns_cap) conns = room(conns, (conns_cap = conns_cap * 2 + 64) * sizeof *conns);
    conns[conns_len++] = c;
    watch(EPOLL_CTL_ADD, fd, EPOLLIN, c);
  }
}

static void come_in(struct from *c, uint32_t events) {
  if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
    ssize_t n = read(c->fd, c->in + c->in_len, sizeof c->in - c->in_len);
    if (n == 0 || (n < 0 && errno != EAGAIN)) { drop(c); return; }
    if (n > 0) c->in_len += (size_t)n;
    if (request(c) < 0) return;
  }
  if (events & EPOLLOUT && flush(c) == 0) request(c);
}

/* Send what is due; return when the next is, 0: never. */
static u64 send_due(void) {
  u64 next = 0, t = now();
  for (size_t i = conns_len; i--;) {
    struct from *c = conns[i];
    if (!c->streaming || c->every <= 0) continue;
    if (c->due <= t) {
      do put_event(c, now());
      while (c->streaming && (c->due = (u64)(c->begun + (double)c->k * c->every)) <= t);
      if (flush(c) < 0 || request(c) < 0 || !c->streaming) continue;
    }
    if (!next || c->due < next) next = c->due;
  }
  return next;
}

static void source(int port) {
  int server = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
  setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(server, (struct sockaddr *)&to, sizeof to) < 0 || listen(server, 4096) < 0) fail("listen");
  poll_fd = epoll_create1(0);
  watch(EPOLL_CTL_ADD, server, EPOLLIN, NULL);
  for (struct epoll_event found[256];;) {
    u64 next = send_due(), t = now(), wait = next > t ? next - t : 0;
    struct timespec for_ = {(time_t)(wait / 1000000000u), (long)(wait % 1000000000u)};
    int n = epoll_pwait2(poll_fd, found, 256, next ? &for_ : NULL, NULL);
    for (int i = 0; i < n; i++) {
      if (found[i].data.ptr) come_in(found[i].data.ptr, found[i].events);
      else accept_all(server);
    }
  }
}

/* ---- the sink ---- */

struct to { int fd, no, place, connected, over, status; enum { HEADERS, SIZE, DATA, AFTER, CLOSE } where; u64 left, first, t;
            char head[8192]; size_t head_len; struct body body; u64 *trace; size_t trace_len, trace_cap; };

static struct { u64 events, exact, first_t, last_t, first_event, most, waits[64 * 64], *arrivals; u64 first_wait_most;
                char why[256]; } sum;
static struct shape shape;
static int tracing, over, port;
static u64 skip;
static double rate;

/* Latencies in 64 parts of each power of two: exact to 1.6 %. */
static size_t slot(u64 ns) { int high = ns < 64 ? 0 : 58 - __builtin_clzll(ns); return (size_t)high * 64 + (size_t)(ns >> high); }
static double slot_us(size_t i) { u64 high = i < 128 ? 0 : i / 64 - 1; return (double)((i - high * 64) << high) / 1e3; }

static double quantile(double q) {
  u64 all = 0, seen = 0;
  for (size_t i = 0; i < sizeof sum.waits / sizeof *sum.waits; i++) all += sum.waits[i];
  for (size_t i = 0; i < sizeof sum.waits / sizeof *sum.waits; i++)
    if (all && (seen += sum.waits[i]) >= q * (double)all) return slot_us(i);
  return 0;
}

static void arrived(void *who, u64 at) {
  struct to *c = who;
  u64 wait = c->t > at ? c->t - at : 0;
  if (c->body.k > skip) {
    sum.waits[slot(wait)]++;
    if (wait > sum.most) sum.most = wait;
  }
  if (c->body.k == 1) {
    if (!sum.first_event) sum.first_event = c->t;
    if (c->t - c->first > sum.first_wait_most) sum.first_wait_most = c->t - c->first;
  }
  if (sum.arrivals) sum.arrivals[(size_t)c->place * c->body.events + c->body.k - 1] = c->t;
  sum.events++;
  sum.last_t = c->t;
}

static void finish(struct to *c, const char *why) {
  if (c->over) return;
  c->over = 1;
  over++;
  if (c->fd >= 0) close(c->fd);
  if (!why && c->body.wrong) why = "other bytes than were sent";
  if (!why && !c->body.over) why = "ended early";
  if (!why) sum.exact++;
  else if (!*sum.why) snprintf(sum.why, sizeof sum.why, "stream %d, event %" PRIu64 ": %s", c->no, c->body.k, why);
  free(c->body.kept);
}

static void note(struct to *c) {
  if (!tracing || (c->trace_len && c->t - c->trace[c->trace_len - 2] < 2000000)) return;
  if (c->trace_len + 2 > c->trace_cap) c->trace = room(c->trace, (c->trace_cap = c->trace_cap * 2 + 256) * sizeof *c->trace);
  c->trace[c->trace_len++] = c->t;
  c->trace[c->trace_len++] = c->body.bytes;
}

/* The lines of the response's head and of chunk sizes: at the end of one, 1. */
static int line(struct to *c, char byte) {
  if (c->head_len < sizeof c->head - 1) c->head[c->head_len++] = byte;
  c->head[c->head_len] = 0;
  if (c->where != HEADERS) return byte == '\n';
  return c->head_len >= 4 && !memcmp(c->head + c->head_len - 4, "\r\n\r\n", 4);
}

static void read_in(struct to *c, const char *p, size_t n) {
  while (n && !c->over) {
    if (c->where == DATA || c->where == CLOSE) {
      size_t m = c->where == DATA && c->left < n ? (size_t)c->left : n;
      feed(&c->body, &shape, p, m, arrived, c);
      note(c);
      p += m;
      n -= m;
      if (c->where == DATA && !(c->left -= m)) { c->where = AFTER; c->head_len = 0; }
      continue;
    }
    n--;
    if (!line(c, *p++)) continue;
    if (c->where == HEADERS) {
      c->status = atoi(c->head + 9);
      if (c->status != 200) { char why[64]; snprintf(why, sizeof why, "status %d", c->status); finish(c, why); return; }
      c->where = strcasestr(c->head, "transfer-encoding: chunked") ? SIZE : CLOSE;
    } else if (c->where == AFTER) c->where = SIZE;
    else if ((c->left = strtoull(c->head, NULL, 16))) c->where = DATA;
    else finish(c, NULL);
    c->head_len = 0;
  }
}

static void begin(struct to *c) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int on = 1;
  c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  c->first = now();
  if (!sum.first_t) sum.first_t = c->first;
  if (connect(c->fd, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS) { finish(c, "cannot connect"); return; }
  watch(EPOLL_CTL_ADD, c->fd, EPOLLOUT, c);
}

static void ask(struct to *c) {
  char text[512];
  int n = snprintf(text, sizeof text,
                   "GET /v1/sessions/bench-%d/stream?events=%" PRIu64 "&rate=%g&size=%zu HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
                   "User-Agent: load\r\nAccept: text/event-stream\r\n\r\n", c->no, c->body.events, rate, shape.size, port);
  c->connected = 1;
  if (write(c->fd, text, (size_t)n) != n) { finish(c, "cannot ask"); return; }
  watch(EPOLL_CTL_MOD, c->fd, EPOLLIN, c);
}

static void ready(struct to *c) {
  static char bytes[262144];
  if (c->over) return;
  if (!c->connected) { ask(c); return; }
  ssize_t n = read(c->fd, bytes, sizeof bytes);
  c->t = now();
  if (n > 0) read_in(c, bytes, (size_t)n);
  else if (n == 0 || errno != EAGAIN) finish(c, n == 0 && c->where == CLOSE ? NULL : "cut off");
}

static void print(struct to *all, int streams, FILE *trace) {
  u64 bytes = 0;
  for (int i = 0; i < streams; i++) bytes += all[i].body.bytes;
  for (int i = 0; i < streams && trace; i++)
    for (size_t j = 0; j < all[i].trace_len; j += 2) fprintf(trace, "%d %" PRIu64 " %" PRIu64 "\n", i, all[i].trace[j], all[i].trace[j + 1]);
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  printf("{\"exact\": %" PRIu64 ", \"events\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"seconds\": %.6f, \"streaming_s\": %.6f, ",
         sum.exact, sum.events, bytes, (double)(sum.last_t - sum.first_t) / 1e9, (double)(sum.last_t - sum.first_event) / 1e9);
  printf("\"p50_us\": %.2f, \"p99_us\": %.2f, \"max_us\": %.2f, \"first_event_max_ms\": %.3f, \"cpu_s\": %.3f, \"ended_ns\": %" PRIu64 ", ",
         quantile(0.5), quantile(0.99), (double)sum.most / 1e3, (double)sum.first_wait_most / 1e6,
         (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6, sum.last_t);
  printf("\"why\": \"%s\", \"hashes\": [", sum.why);
  for (int i = 0; i < streams; i++) printf("%s\"%016" PRIx64 "\"", i ? ", " : "", all[i].body.hash);
  printf("]}\n");
}

static double named(int count, char **args, const char *name, double otherwise) {
  for (int i = 0; i < count; i++)
    if (!strncmp(args[i], name, strlen(name))) return atof(args[i] + strlen(name));
  return otherwise;
}

static FILE *file(int count, char **args, const char *name) {
  for (int i = 0; i < count; i++)
    if (!strncmp(args[i], name, strlen(name))) return fopen(args[i] + strlen(name), "wb");
  return NULL;
}

static int sink(int count, char **args) {
  port = atoi(args[0]);
  int streams = atoi(args[1]), begun = 0, first = (int)named(count, args, "first=", 0);
  u64 events = strtoull(args[2], NULL, 10), t0 = now(), until = t0 + (u64)(named(count, args, "limit=", 120) * 1e9);
  rate = atof(args[3]);
  shape = shape_of(strtoull(args[4], NULL, 10));
  skip = (u64)named(count, args, "skip=", 0);
  double ramp = named(count, args, "ramp=", 0);
  FILE *trace = file(count, args, "trace="), *arrivals = file(count, args, "arrivals=");
  tracing = !!trace;
  if (arrivals) sum.arrivals = calloc(events * (u64)streams, sizeof *sum.arrivals);
  struct to *all = calloc((size_t)streams, sizeof *all);
  poll_fd = epoll_create1(0);
  for (struct epoll_event found[256]; over < streams;) {
    u64 t = now();
    if (t > until) break;
    for (; begun < streams && (ramp <= 0 || t >= t0 + (u64)(begun / ramp * 1e9)); begun++) {
      all[begun].no = first + (all[begun].place = begun);
      all[begun].body.events = events;
      begin(&all[begun]);
    }
    int n = epoll_wait(poll_fd, found, 256, begun < streams ? 1 : 200);
    for (int i = 0; i < n; i++) ready(found[i].data.ptr);
  }
  for (int i = 0; i < begun; i++) finish(&all[i], "not over in time");
  print(all, streams, trace);
  if (arrivals) fwrite(sum.arrivals, sizeof *sum.arrivals, events * (u64)streams, arrivals), fclose(arrivals);
  if (trace) fclose(trace);
  return sum.exact == (u64)streams ? 0 : 1;
}

/* ---- the checker ---- */

static int check(u64 events, size_t size) {
  static char bytes[1 << 20];
  struct body body = {.events = events};
  shape = shape_of(size);
  for (ssize_t n; (n = read(0, bytes, sizeof bytes)) > 0;) feed(&body, &shape, bytes, (size_t)n, NULL, NULL);
  /* a cut body: what is there of an event that is not whole is not compared, only counted */
  printf("{\"exact\": %s, \"wrong\": %s, \"events\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"hash\": \"%016" PRIx64 "\"}\n",
         body.over && !body.wrong && !body.len ? "true" : "false", body.wrong ? "true" : "false", body.k, body.bytes, body.hash);
  return 0;
}

int main(int count, char **args) {
  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  signal(SIGPIPE, SIG_IGN);
  prctl(PR_SET_TIMERSLACK, 1);
  if (count == 3 && !strcmp(args[1], "source")) source(atoi(args[2]));
  if (count >= 7 && !strcmp(args[1], "sink")) return sink(count - 2, args + 2);
  if (count == 4 && !strcmp(args[1], "check")) return check(strtoull(args[2], NULL, 10), (size_t)strtoull(args[3], NULL, 10));
  fprintf(stderr, "usage: load source|sink|check …: see the top of load.c\n");
  return 2;
}
