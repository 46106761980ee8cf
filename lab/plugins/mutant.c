/* A backend that works, until it is told what to do wrong: `[backend.mutant] fault = "…"`, when `at` is asked for.
 *
 * It is examples/plugin-c with something between it and nixoci. `-D` makes one that is wrong before it can be told anything:
 * what it is for is in xtask/src/lab/plugins.rs.
 */

#define nixoci_backend_v1 honest_v1
#include "../../examples/plugin-c/c_example.c"
#undef nixoci_backend_v1

static char fault[64], at_method[64];
static const NixociHostV1 *the_host;

static void copy_word(char *to, const char *from, const char *otherwise) {
  snprintf(to, sizeof fault, "%s", from ? from : otherwise);
}

static void *create(const NixociHostV1 *host, NixociSlice hello, void *out, NixociEmit emit) {
  Json world = {0};
  char *text = strndup((const char *)hello.ptr, hello.len);
  read_json(text, &world, 0);
  const Json *settings = get(&world, "settings");
  copy_word(fault, string(get(settings, "fault")), "none");
  copy_word(at_method, string(get(settings, "at")), "build");
  forget(&world), free(text);
  the_host = host;
  if (!strcmp(fault, "refuses")) {
    emit(out, slice("{\"kind\":\"permission\",\"code\":\"mutant::refused\",\"message\":\"the mutant does not want to\","
                    "\"remedies\":[{\"text\":\"be nice to it\"}]}"));
    return NULL;
  }
  if (!strcmp(fault, "refuses-silently")) return NULL;
  if (!strcmp(fault, "create-hangs")) sleep(1000);
  return create_backend(host, hello, out, emit);
}

static void say_event(uint64_t call, const char *event) { the_host->event(the_host->ctx, call, slice(event)); }
static void say_done(uint64_t call, uint32_t status, const char *answer) {
  the_host->done(the_host->ctx, call, status, slice(answer));
}

/* Says to the reader of this named pipe that the moment has come, and waits for one. */
static void say_that_it_is_reached(void) {
  const char *path = getenv("NIXOCI_MUTANT_REACHED");
  FILE *pipe = path ? fopen(path, "w") : NULL;
  if (pipe) fputs("reached\n", pipe), fclose(pipe);
}

typedef struct {
  uint64_t call;
  char fault[64];
} Late;

static void *later(void *arg) {
  Late *late = arg;
  if (!strcmp(late->fault, "flood-log")) {
    char line[4097];
    memset(line, 'x', sizeof line - 1);
    line[sizeof line - 1] = 0;
    for (int n = 0; n < 1 << 18; n++) the_host->log(the_host->ctx, NIXOCI_LEVEL_INFO, slice(line));
    say_done(late->call, NIXOCI_STATUS_FAILED, "{\"kind\":\"build\",\"code\":\"mutant::flood\",\"message\":\"that was 1 GiB\"}");
  } else if (!strcmp(late->fault, "flood-stdout")) {
    char line[4097];
    memset(line, 'y', sizeof line - 1);
    line[sizeof line - 1] = '\n';
    for (int n = 0; n < 1 << 16; n++)
      if (write(1, line, sizeof line) < 0) break;
    say_done(late->call, NIXOCI_STATUS_FAILED, "{\"kind\":\"build\",\"code\":\"mutant::print\",\"message\":\"that was much\"}");
  } else if (!strcmp(late->fault, "flood-events")) {
    /* Tasks that never end, and remarks of which none is made twice, for as long as somebody listens. */
    for (long n = 0;; n++) {
      char event[256];
      snprintf(event, sizeof event, "{\"type\":\"started\",\"task\":%ld,\"kind\":\"build\",\"title\":\"%ld\"}", n, n);
      say_event(late->call, event);
      snprintf(event, sizeof event, "{\"type\":\"message\",\"level\":\"warning\",\"text\":\"remark %0100ld\",\"remedies\":[]}", n);
      say_event(late->call, event);
    }
  } else if (!strcmp(late->fault, "spins")) {
    for (volatile int n = 0;;) n++;
  }
  free(late);
  return NULL;
}

/* Does the wrong thing, or says that nothing is wrong. */
static int strike(uint64_t call) {
  if (!strcmp(fault, "segv")) raise(SIGSEGV);
  if (!strcmp(fault, "null")) *(volatile int *)NULL = 7;
  if (!strcmp(fault, "abort")) abort();
  if (!strcmp(fault, "exit")) exit(0);
  if (!strcmp(fault, "loops-in-start")) for (volatile int n = 0;;) n++;
  /* The second one answers when it is told to stop, as if nothing were. */
  if (!strcmp(fault, "silent") || !strcmp(fault, "after-cancel")) return 1;
  if (!strcmp(fault, "does-not-begin")) return 2;
  if (!strcmp(fault, "twice")) {
    say_done(call, NIXOCI_STATUS_FAILED, "{\"kind\":\"build\",\"code\":\"mutant::once\",\"message\":\"once\"}");
    say_done(call, NIXOCI_STATUS_FAILED, "{\"kind\":\"build\",\"code\":\"mutant::twice\",\"message\":\"twice\"}");
    return 1;
  }
  if (!strcmp(fault, "garbage")) return say_done(call, NIXOCI_STATUS_OK, "{not json"), 1;
  if (!strcmp(fault, "other-type")) return say_done(call, NIXOCI_STATUS_OK, "{\"path\":7}"), 1;
  if (!strcmp(fault, "other-status")) return say_done(call, 77, "null"), 1;
  if (!strcmp(fault, "cancelled")) return say_done(call, NIXOCI_STATUS_CANCELLED, "null"), 1;
  if (!strcmp(fault, "poses")) {
    const char *stopped = "{\"kind\":\"interrupted\",\"code\":\"nixoci::cancelled\",\"message\":\"stopped\"}";
    return say_done(call, NIXOCI_STATUS_FAILED, stopped), 1;
  }
  if (!strcmp(fault, "escapes")) {
    const char *plan = "{\"plan\":{\"steps\":[{\"id\":\"a\",\"title\":\"harm\\u001b[8mless\",\"why\":\"it \\u009b2J is\","
                       "\"state\":{\"state\":\"pending\"},\"effects\":[\"none\\u001b[1A\"],\"needsRoot\":false,"
                       "\"commands\":[\"rm -rf /\\u001b[2K\\rtrue\"]},"
                       "{\"id\":\"b\",\"title\":\"later\",\"why\":\"w\",\"needsRoot\":false,\"state\":{\"state\":\"dreaming\"}}]}}";
    return say_done(call, NIXOCI_STATUS_OK, plan), 1;
  }
  if (!strcmp(fault, "long-event")) {
    size_t size = 1 << 20;
    char *text = malloc(size + 1);
    memset(text, ' ', size);
    memcpy(text, "{\"type\":\"new\"", 13);
    text[size - 1] = '}', text[size] = 0;
    return say_event(call, text), free(text), 1;
  }
  if (!strcmp(fault, "garbage-event")) return say_event(call, "\xff\xfe"), 0;
  if (!strcmp(fault, "new-event")) {
    say_event(call, "{\"type\":\"something-new\",\"x\":1}");
    say_event(call, "{\"type\":\"started\",\"task\":77,\"kind\":\"something-new\",\"title\":\"never\\u001b[31m ends\"}");
    return 0;
  }
  if (!strcmp(fault, "no-bytes")) return the_host->done(the_host->ctx, call, 0, (NixociSlice){NULL, 7}), 1;
  if (!strcmp(fault, "fake-frames")) {
    const char *frame = "{\"done\":{\"call\":1,\"status\":0,\"answer\":null}}\n";
    for (int fd = 0; fd < 64; fd++)
      if (write(fd, frame, strlen(frame)) < 0) continue;
    return 0;
  }
  if (!strcmp(fault, "closes-all")) {
    for (int fd = 0; fd < 64; fd++) close(fd);
    return 0;
  }
  if (!strcmp(fault, "leaks-a-child")) {
    if (!fork()) {
      sleep(1000);
      _exit(0);
    }
    exit(3);
  }
  if (!strcmp(fault, "huge")) {
    size_t size = 80 << 20;
    char *text = malloc(size + 1);
    memset(text, 'z', size);
    text[0] = text[size - 1] = '"';
    text[size] = 0;
    return say_done(call, NIXOCI_STATUS_OK, text), free(text), 1;
  }
  if (!strcmp(fault, "short-nar")) return say_done(call, NIXOCI_STATUS_OK, "1000"), 1;
  Late *late = calloc(1, sizeof *late);
  late->call = call;
  memcpy(late->fault, fault, sizeof fault);
  pthread_t thread;
  pthread_create(&thread, NULL, later, late);
  return 1;
}

static uint32_t start(void *instance, uint64_t call, NixociSlice request) {
  Json json = {0};
  char *text = strndup((const char *)request.ptr, request.len);
  read_json(text, &json, 0);
  const char *method = string(get(&json, "method"));
  int now = strcmp(fault, "none") && method && !strcmp(method, at_method);
  forget(&json), free(text);
  if (now) say_that_it_is_reached();
  int done = now ? strike(call) : 0;
  return done == 2 ? 1 : done ? 0 : start_call(instance, call, request);
}

#ifndef NO_CANCEL
static void cancel(void *instance, uint64_t call) {
  if (!strcmp(fault, "after-cancel")) say_done(call, NIXOCI_STATUS_OK, "null");
  else cancel_call(instance, call);
}
#endif

#ifndef NAME
#define NAME "mutant"
#endif

static uint32_t mutant_describe(void *out, NixociEmit emit) {
#if defined NO_JSON
  emit(out, slice("I am a mutant"));
#elif defined SAYS_NOTHING
  (void)out, (void)emit;
#elif defined OPEN_SCHEMA
  emit(out, slice("{\"descriptor\":{\"name\":\"" NAME "\",\"summary\":\"s\",\"concurrentBuilds\":true,\"automatic\":false},"
                  "\"schema\":{\"type\":\"object\"}}"));
#else
  emit(out, slice("{\"descriptor\":{\"name\":\"" NAME "\",\"summary\":\"does something wrong\",\"concurrentBuilds\":true,"
                  "\"automatic\":false},\"version\":\"0.1.0\",\"somethingNew\":7,"
                  "\"schema\":{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{"
                  "\"fault\":{\"type\":\"string\",\"description\":\"what goes wrong\"},"
                  "\"at\":{\"type\":\"string\",\"description\":\"in which method\"}}}}"));
#endif
  return 0;
}

#ifndef SIZE
#define SIZE sizeof(NixociPluginV1)
#endif
#ifndef MINOR_NEEDED
#define MINOR_NEEDED 0
#endif
#ifndef ENTRY
#define ENTRY nixoci_backend_v1
#endif

static const NixociPluginV1 MUTANT = {
    .size = SIZE,
    .minor = MINOR_NEEDED,
    .describe = mutant_describe,
    .create = create,
    .start = start,
#ifndef NO_CANCEL
    .cancel = cancel,
#endif
    .destroy = destroy_backend,
};

#ifdef UNRESOLVED
extern int nobody_has_this(void);
__attribute__((constructor)) static void early(void) { /* It must not get this far. */
  int file = open("/tmp/nixoci-mutant-ran", O_CREAT | O_WRONLY, 0600);
  if (file >= 0) close(file);
  nobody_has_this();
}
#endif

const NixociPluginV1 *ENTRY(void);
const NixociPluginV1 *ENTRY(void) {
#ifdef NO_TABLE
  (void)MUTANT;
  (void)honest_v1;
  return NULL;
#else
  (void)honest_v1;
  return &MUTANT;
#endif
}
