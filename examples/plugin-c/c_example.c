/* c-example: a whole backend of nixoci in one C file, with nothing but a C compiler and POSIX.
 *
 * It builds with this machine's Nix, wherever that has it built. It provisions nothing, and proves nothing by itself: nixoci builds something tiny through
 * it instead.
 *
 *     cc -std=c11 -O2 -fPIC -shared -pthread -I ../../crates/plugin/include c_example.c -o libnixoci_backend_c_example.so
 *
 * The parts, from top to bottom: text that grows, JSON that is read, processes, the methods, the table.
 */

#define _POSIX_C_SOURCE 200809L
#define _DEFAULT_SOURCE
#define _DARWIN_C_SOURCE /* macOS's name for the same */

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nixoci_backend.h"

#ifndef MSG_NOSIGNAL /* On macOS a socket is told once: SO_NOSIGPIPE. */
#define MSG_NOSIGNAL 0
#endif

/* ---- text that grows ------------------------------------------------------------------------------------------- */

typedef struct {
  char *at;
  size_t len, room;
} Text;

static void add(Text *text, const char *bytes, size_t len) {
  if (text->len + len + 1 > text->room) {
    text->room = (text->len + len + 1) * 2;
    char *more = realloc(text->at, text->room);
    if (!more) abort(); /* It ends this process alone: nixoci says that it has. */
    text->at = more;
  }
  memcpy(text->at + text->len, bytes, len);
  text->len += len;
  text->at[text->len] = 0;
}

static void say(Text *text, const char *words) { add(text, words, strlen(words)); }

/* How many bytes the character there has in UTF-8; 0 if it is none. */
static int character(const unsigned char *at) {
  if (*at < 0x80) return 1;
  int len = *at >= 0xc2 && *at <= 0xdf ? 2 : (*at & 0xf0) == 0xe0 ? 3 : *at >= 0xf0 && *at <= 0xf4 ? 4 : 0;
  for (int n = 1; n < len; n++) {
    if ((at[n] & 0xc0) != 0x80) return 0; /* also the end */
  }
  /* What has a shorter form, halves of UTF-16, and what is beyond the last one. */
  if ((*at == 0xe0 && at[1] < 0xa0) || (*at == 0xed && at[1] > 0x9f)) return 0;
  if ((*at == 0xf0 && at[1] < 0x90) || (*at == 0xf4 && at[1] > 0x8f)) return 0;
  return len;
}

/* A string, as JSON writes it. Bytes that are no text are left out: a build may print anything. */
static void quote(Text *text, const char *bytes) {
  say(text, "\"");
  for (const unsigned char *at = (const unsigned char *)bytes; *at;) {
    int len = character(at);
    if (*at == '"' || *at == '\\') say(text, "\\");
    if (*at >= 0x20) add(text, (const char *)at, (size_t)len);
    at += len ? len : 1;
  }
  say(text, "\"");
}

static NixociSlice slice(const char *text) {
  return (NixociSlice){(const uint8_t *)text, text ? strlen(text) : 0};
}

/* ---- JSON that is read: nixoci's, so it is well-formed ---------------------------------------------------------- */

typedef struct Json {
  enum { NOTHING, WORD, STRING, ARRAY, OBJECT } kind;
  char *text;        /* the word or the string; of a member its key is in `key` */
  char *key;         /* the name of a member */
  struct Json *down; /* the first inside */
  struct Json *next; /* the one after */
} Json;

static const char *skip(const char *at) {
  while (isspace((unsigned char)*at)) at++;
  return at;
}

static const char *read_string(const char *at, char **out) {
  Text text = {0};
  say(&text, "");
  for (at++; *at && *at != '"'; at++) {
    if (*at != '\\') {
      add(&text, at, 1);
      continue;
    }
    unsigned code = 0;
    switch (*++at) {
      case 'n': say(&text, "\n"); break;
      case 't': say(&text, "\t"); break;
      case 'r': say(&text, "\r"); break;
      case 'b': case 'f': break;
      case 'u': /* nixoci escapes control characters so, and nothing else */
        if (sscanf(at + 1, "%4x", &code) == 1 && code && code < 0x80) add(&text, (char[]){(char)code}, 1);
        for (int n = 0; n < 4 && at[1]; n++) at++;
        break;
      default: add(&text, at, 1);
    }
  }
  *out = text.at;
  return *at ? at + 1 : at;
}

static const char *read_json(const char *at, Json *json, int depth) {
  at = skip(at);
  if (*at == '"') {
    json->kind = STRING;
    return read_string(at, &json->text);
  }
  if ((*at == '{' || *at == '[') && depth < 64) {
    char end = *at == '{' ? '}' : ']';
    json->kind = *at == '{' ? OBJECT : ARRAY;
    Json **last = &json->down;
    at = skip(at + 1);
    while (*at && *at != end) {
      Json *inside = calloc(1, sizeof *inside);
      if (!inside) abort();
      if (json->kind == OBJECT) {
        at = skip(read_string(at, &inside->key));
        if (*at == ':') at++;
      }
      const char *before = at;
      at = skip(read_json(at, inside, depth + 1));
      *last = inside;
      last = &inside->next;
      if (*at == ',') at = skip(at + 1);
      if (at == before) break;
    }
    return *at ? at + 1 : at;
  }
  size_t len = strcspn(at, ",]} \n\t\r");
  json->kind = WORD;
  json->text = strndup(at, len);
  return at + len;
}

static void forget(Json *json) {
  for (Json *inside = json->down, *next; inside; inside = next) {
    next = inside->next;
    forget(inside);
    free(inside->key);
    free(inside);
  }
  free(json->text);
}

static const Json EMPTY = {0};

/* The member of that name, or one that is nothing. */
static const Json *get(const Json *json, const char *key) {
  if (json->kind == OBJECT)
    for (const Json *inside = json->down; inside; inside = inside->next)
      if (!strcmp(inside->key, key)) return inside;
  return &EMPTY;
}

static const char *string(const Json *json) { return json->kind == STRING ? json->text : NULL; }
static int truth(const Json *json) { return json->kind == WORD && !strcmp(json->text, "true"); }

/* ---- a backend and its calls ------------------------------------------------------------------------------------ */

typedef struct Call {
  struct Backend *backend;
  uint64_t id;
  Json request;
  pid_t child; /* the process that works for it; 0 if there is none */
  int cancelled;
  struct Call *next;
} Call;

typedef struct Backend {
  const NixociHostV1 *host;
  char *system; /* this machine's, as a Linux system */
  char *roots;  /* the directory of our garbage collector roots */
  pthread_mutex_t lock;
  pthread_cond_t fewer;
  Call *calls;
  unsigned next_root;
} Backend;

static void done(Call *call, uint32_t status, const char *answer) {
  call->backend->host->done(call->backend->host->ctx, call->id, status, slice(answer));
}

/* Ends the call with an error. `tail` is the end of a log, a line a line. */
static void fail(Call *call, const char *kind, const char *code, const char *message, const char *tail) {
  Text error = {0};
  say(&error, "{\"kind\":");
  quote(&error, kind);
  say(&error, ",\"code\":");
  quote(&error, code);
  say(&error, ",\"message\":");
  quote(&error, message);
  say(&error, ",\"logTail\":[");
  const char *begin = tail ? tail : "";
  int lines = 0;
  for (const char *at = begin; *at; at++) lines += *at == '\n';
  for (const char *end; (end = strchr(begin, '\n')); begin = end + 1) {
    if (lines-- > 20) continue;
    char *line = strndup(begin, (size_t)(end - begin));
    if (error.at[error.len - 1] != '[') say(&error, ",");
    quote(&error, line);
    free(line);
  }
  say(&error, "]}");
  done(call, NIXOCI_STATUS_FAILED, error.at);
  free(error.at);
}

static int is_cancelled(Call *call) {
  pthread_mutex_lock(&call->backend->lock);
  int cancelled = call->cancelled;
  pthread_mutex_unlock(&call->backend->lock);
  return cancelled;
}

/* ---- processes -------------------------------------------------------------------------------------------------- */

#define WORDS 256
typedef struct {
  const char *at[WORDS];
  int count;
} Argv;

static void arg(Argv *argv, const char *word) {
  if (argv->count < WORDS - 1) argv->at[argv->count++] = word;
}

static void nix(Argv *argv, const char *command) {
  arg(argv, "nix");
  arg(argv, command);
  arg(argv, "--extra-experimental-features");
  arg(argv, "nix-command flakes");
}

/* A pipe that other processes do not inherit: none is started before it says so. */
static int make_pipe(Backend *backend, int ends[2]) {
  pthread_mutex_lock(&backend->lock);
  int failed = pipe(ends);
  if (!failed) {
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
  }
  pthread_mutex_unlock(&backend->lock);
  return failed;
}

static int make_socket(Backend *backend) {
  pthread_mutex_lock(&backend->lock);
  int made = socket(AF_UNIX, SOCK_STREAM, 0);
  if (made >= 0) fcntl(made, F_SETFD, FD_CLOEXEC);
#ifdef SO_NOSIGPIPE
  if (made >= 0) setsockopt(made, SOL_SOCKET, SO_NOSIGPIPE, &(int){1}, sizeof(int));
#endif
  pthread_mutex_unlock(&backend->lock);
  return made;
}

/* Starts a process for the call; 0 if that failed or the call is cancelled. It stays in the group of this process, which nixoci ends as a whole
   should this process die. */
static pid_t start_process(Call *call, Argv *argv, int out, int err) {
  argv->at[argv->count] = NULL;
  pthread_mutex_lock(&call->backend->lock);
  pid_t child = call->cancelled ? -1 : fork();
  if (child == 0) {
    int null = open("/dev/null", O_RDWR);
    dup2(null, 0);
    dup2(out < 0 ? null : out, 1);
    dup2(err < 0 ? null : err, 2);
    execvp(argv->at[0], (char *const *)argv->at);
    dprintf(2, "%s: %s\n", argv->at[0], strerror(errno));
    _exit(127);
  }
  call->child = child > 0 ? child : 0;
  pthread_mutex_unlock(&call->backend->lock);
  return call->child;
}

static int end_process(Call *call) {
  int status = 0;
  siginfo_t ended;
  while (waitid(P_PID, (id_t)call->child, &ended, WEXITED | WNOWAIT) < 0 && errno == EINTR) {
  }
  /* Until here its number is its own, and `stop` may use it. */
  pthread_mutex_lock(&call->backend->lock);
  waitpid(call->child, &status, 0);
  call->child = 0;
  pthread_mutex_unlock(&call->backend->lock);
  return status;
}

static void event_log(Call *call, const char *line) {
  Text event = {0};
  say(&event, "{\"type\":\"log\",\"task\":1,\"line\":");
  quote(&event, line);
  say(&event, "}");
  call->backend->host->event(call->backend->host->ctx, call->id, slice(event.at));
  free(event.at);
}

typedef struct {
  Call *call;
  int from;
  Text log;
  int events; /* whether its lines are told as they come */
} Reader;

/* Reads what a process says on its standard error. What is kept is bounded. */
static void *read_log(void *arg) {
  Reader *reader = arg;
  FILE *file = fdopen(reader->from, "r");
  char *line = NULL;
  size_t room = 0;
  for (ssize_t len; file && (len = getline(&line, &room, file)) > 0;) {
    if (reader->log.len > 1 << 16) {
      memmove(reader->log.at, reader->log.at + reader->log.len / 2, reader->log.len - reader->log.len / 2);
      reader->log.len -= reader->log.len / 2;
    }
    add(&reader->log, line, (size_t)len);
    if (line[len - 1] != '\n') say(&reader->log, "\n");
    line[strcspn(line, "\n")] = 0;
    if (reader->events) event_log(reader->call, line);
  }
  free(line);
  if (file) fclose(file);
  return NULL;
}

/* Copies what a process writes to `to`, or into `text` if that is not negative. Whether all of it got there. */
static int copy_out(int from, int to, Text *text, uint64_t *count) {
  static const size_t PIECE = 1 << 18;
  char *piece = malloc(PIECE);
  int whole = piece != NULL;
  for (ssize_t len; whole && (len = read(from, piece, PIECE)) != 0;) {
    if (len < 0) {
      whole = errno == EINTR;
      continue;
    }
    if (to < 0) add(text, piece, (size_t)len);
    for (ssize_t at = 0, part; to >= 0 && whole && at < len; at += part) {
      part = send(to, piece + at, (size_t)(len - at), MSG_NOSIGNAL);
      whole = part > 0;
    }
    *count += (uint64_t)len;
  }
  free(piece);
  return whole;
}

/* Runs a process to its end: its output goes to `to` or into `out`, what it says into `log`. Whether it went well. */
static int run(Call *call, Argv *argv, int to, Text *out, uint64_t *count, Text *log, int events) {
  int output[2], errors[2];
  if (make_pipe(call->backend, output)) return 0;
  if (make_pipe(call->backend, errors)) {
    close(output[0]), close(output[1]);
    return 0;
  }
  pid_t child = start_process(call, argv, output[1], errors[1]);
  close(output[1]), close(errors[1]);
  Reader reader = {call, errors[0], {0}, events};
  pthread_t thread;
  int reads = !pthread_create(&thread, NULL, read_log, &reader);
  if (!reads) close(errors[0]);
  uint64_t ignored = 0;
  int whole = copy_out(output[0], to, out, count ? count : &ignored);
  close(output[0]); /* A process that writes on hears that nobody reads. */
  int status = child ? end_process(call) : 1;
  if (reads) pthread_join(thread, NULL);
  *log = reader.log;
  return child && whole && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* ---- methods ---------------------------------------------------------------------------------------------------- */

static void offers(Call *call) {
  Text answer = {0};
  say(&answer, "[{\"system\":");
  quote(&answer, call->backend->system);
  say(&answer, ",\"how\":\"native\",\"readiness\":{\"state\":\"ready\"},\"builder\":\"c-example\"}]");
  done(call, NIXOCI_STATUS_OK, answer.at);
  free(answer.at);
}

static void probe(Call *call) {
  Argv argv = {{0}, 0};
  arg(&argv, "nix");
  arg(&argv, "--version");
  Text version = {0}, log = {0}, answer = {0};
  say(&version, "");
  int fine = run(call, &argv, -1, &version, NULL, &log, 0);
  version.at[strcspn(version.at, "\n")] = 0;
  say(&answer, "[{\"title\":\"Nix\",\"detail\":");
  quote(&answer, fine ? version.at : "it does not run");
  say(&answer, fine ? ",\"verdict\":\"good\"}]" : ",\"verdict\":\"bad\"}]");
  done(call, NIXOCI_STATUS_OK, answer.at);
  free(version.at), free(log.at), free(answer.at);
}

/* What nix is told to build. Words that had to be made are kept in `made`. */
static void installable(const Json *request, Argv *argv, Text *made) {
  const Json *what = get(request, "installable"), *flags = get(request, "flags");
  const char *system = string(get(request, "system")), *kind = string(get(what, "kind"));
  if (truth(get(flags, "impure"))) arg(argv, "--impure");
  if (truth(get(flags, "refresh"))) arg(argv, "--refresh");
  if (truth(get(flags, "showTrace"))) arg(argv, "--show-trace");
  if (truth(get(flags, "keepGoing"))) arg(argv, "--keep-going");
  if (truth(get(flags, "acceptFlakeConfig"))) arg(argv, "--accept-flake-config");
  for (const Json *pair = get(flags, "overrideInputs")->down; pair; pair = pair->next) {
    if (!pair->down || !pair->down->next) continue;
    arg(argv, "--override-input");
    arg(argv, string(pair->down));
    arg(argv, string(pair->down->next));
  }
  for (const Json *pair = get(flags, "options")->down; pair; pair = pair->next) {
    if (!pair->down || !pair->down->next) continue;
    arg(argv, "--option");
    arg(argv, string(pair->down));
    arg(argv, string(pair->down->next));
  }
  if (kind && !strcmp(kind, "file")) {
    arg(argv, "--file");
    arg(argv, string(get(what, "path")));
    arg(argv, "--argstr");
    arg(argv, "system");
    arg(argv, system);
    for (const Json *value = get(what, "args")->down; value; value = value->next) {
      const char *text = string(get(value, "str"));
      arg(argv, text ? "--argstr" : "--arg");
      arg(argv, value->key);
      arg(argv, text ? text : string(get(value, "expr")));
    }
    const char *attribute = string(get(what, "attribute"));
    if (attribute) arg(argv, attribute);
  } else if (kind && !strcmp(kind, "flake")) {
    const Json *attribute = get(what, "attribute");
    const char *name = string(get(attribute, "name")), *full = string(get(attribute, "full"));
    arg(argv, "--no-write-lock-file");
    say(made, string(get(what, "reference")));
    say(made, "#");
    if (name) say(made, "packages."), say(made, system), say(made, "."), say(made, name);
    if (full) say(made, "."), say(made, full);
    arg(argv, made->at);
  } else {
    arg(argv, string(get(what, "path")));
  }
}

/* The store paths of a dry run's list whose heading has these words, as JSON strings. Nix tells a dry run on its standard error. */
static void listed(Text *answer, const char *log, const char *words) {
  int inside = 0, first = 1;
  for (const char *line = log; line && *line; line = strchr(line, '\n'), line += line != NULL) {
    size_t len = strcspn(line, "\n");
    char *text = strndup(line, len);
    if (text && strncmp(text, "  /", 3)) inside = strstr(text, words) != NULL;
    else if (text && inside) {
      if (!first) say(answer, ",");
      quote(answer, text + 2);
      first = 0;
    }
    free(text);
  }
}

/* What Nix would do, if that is asked: `nixoci plan` wants to know, a build finds out anyway. */
static void forecast(Call *call) {
  const Json *params = get(&call->request, "params");
  const char *depth = string(get(params, "depth"));
  if (!depth || strcmp(depth, "full")) {
    done(call, NIXOCI_STATUS_OK, "{\"forecast\":{\"willBuild\":[],\"willFetch\":[],\"verdict\":{\"verdict\":\"unknown\"}}}");
    return;
  }
  Argv argv = {{0}, 0};
  Text made = {0}, said = {0}, log = {0}, answer = {0};
  nix(&argv, "build");
  arg(&argv, "--dry-run");
  arg(&argv, "--json");
  arg(&argv, "--no-link");
  installable(get(params, "request"), &argv, &made);
  say(&said, "");
  if (run(call, &argv, -1, &said, NULL, &log, 0)) {
    Json built = {0};
    read_json(said.at, &built, 0);
    const char *drv = built.down ? string(get(built.down, "drvPath")) : NULL;
    say(&answer, "{\"forecast\":{\"drv\":");
    if (drv) quote(&answer, drv);
    else say(&answer, "null");
    say(&answer, ",\"willBuild\":[");
    listed(&answer, log.at, " be built");
    say(&answer, "],\"willFetch\":[");
    listed(&answer, log.at, " be fetched");
    say(&answer, "],\"verdict\":{\"verdict\":\"go\"}}}");
    done(call, NIXOCI_STATUS_OK, answer.at);
    forget(&built);
  } else if (is_cancelled(call)) {
    done(call, NIXOCI_STATUS_CANCELLED, NULL);
  } else {
    fail(call, "evaluation", "c-example::evaluation", "the expression could not be evaluated", log.at);
  }
  free(made.at), free(said.at), free(log.at), free(answer.at);
}

static void build(Call *call) {
  Backend *backend = call->backend;
  const Json *request = get(get(&call->request, "params"), "request");
  const char *started = "{\"type\":\"started\",\"task\":1,\"kind\":\"build\",\"title\":\"the image, by a backend in C\"}";
  backend->host->event(backend->host->ctx, call->id, slice(started));

  char root[4096];
  pthread_mutex_lock(&backend->lock);
  snprintf(root, sizeof root, "%s/%d-%u", backend->roots, (int)getpid(), backend->next_root++);
  pthread_mutex_unlock(&backend->lock);
  Argv argv = {{0}, 0};
  Text made = {0}, out = {0}, log = {0}, answer = {0};
  nix(&argv, "build");
  arg(&argv, "--print-out-paths");
  arg(&argv, "--print-build-logs");
  arg(&argv, "--out-link");
  arg(&argv, root);
  installable(request, &argv, &made);
  int fine = run(call, &argv, -1, &out, NULL, &log, 1) && out.len;

  const char *ended = fine ? "{\"type\":\"finished\",\"task\":1,\"ok\":true}" : "{\"type\":\"finished\",\"task\":1,\"ok\":false}";
  backend->host->event(backend->host->ctx, call->id, slice(ended));
  if (fine) {
    out.at[strcspn(out.at, "\n")] = 0;
    say(&answer, "{\"path\":");
    quote(&answer, out.at);
    say(&answer, ",\"role\":\"output\",\"system\":");
    quote(&answer, string(get(request, "system")));
    say(&answer, ",\"id\":");
    quote(&answer, root);
    say(&answer, "}");
    done(call, NIXOCI_STATUS_OK, answer.at);
  } else if (is_cancelled(call)) {
    unlink(root);
    done(call, NIXOCI_STATUS_CANCELLED, NULL);
  } else {
    fail(call, "build", "c-example::build", "nix did not build it", log.at);
  }
  free(made.at), free(out.at), free(log.at), free(answer.at);
}

/* Asks nix-store one thing about some paths; the answer has to be freed. NULL if it failed. */
static char *ask_store(Call *call, const char *what, const Json *paths, const char *path, Text *log) {
  Argv argv = {{0}, 0};
  arg(&argv, "nix-store");
  arg(&argv, "--query");
  arg(&argv, what);
  if (path) arg(&argv, path);
  for (const Json *each = paths ? paths->down : NULL; each; each = each->next) arg(&argv, string(each));
  Text out = {0};
  say(&out, "");
  if (run(call, &argv, -1, &out, NULL, log, 0)) return out.at;
  free(out.at);
  return NULL;
}

static void no_such_path(Call *call, Text *log) {
  if (is_cancelled(call)) done(call, NIXOCI_STATUS_CANCELLED, NULL);
  else fail(call, "transfer", "c-example::gone", "the Nix store does not have it", log->at);
}

static void query(Call *call) {
  const Json *params = get(&call->request, "params");
  Text answer = {0}, log = {0};
  char *all;
  if (truth(get(params, "closure"))) {
    all = ask_store(call, "--requisites", get(params, "roots"), NULL, &log);
  } else {
    Text roots = {0};
    say(&roots, "");
    for (const Json *each = get(params, "roots")->down; each; each = each->next) say(&roots, string(each)), say(&roots, "\n");
    all = roots.at;
  }
  say(&answer, "[");
  char *rest = NULL;
  for (char *path = all ? strtok_r(all, "\n", &rest) : NULL; path; path = strtok_r(NULL, "\n", &rest)) {
    free(log.at);
    log = (Text){0};
    char *hash = ask_store(call, "--hash", NULL, path, &log);
    free(log.at), log = (Text){0};
    char *size = hash ? ask_store(call, "--size", NULL, path, &log) : NULL;
    free(log.at), log = (Text){0};
    char *references = size ? ask_store(call, "--references", NULL, path, &log) : NULL;
    if (references) {
      hash[strcspn(hash, "\n")] = size[strcspn(size, "\n")] = 0;
      say(&answer, answer.len > 1 ? ",{\"path\":" : "{\"path\":");
      quote(&answer, path);
      say(&answer, ",\"narHash\":");
      quote(&answer, hash);
      say(&answer, ",\"narSize\":");
      say(&answer, size);
      say(&answer, ",\"references\":[");
      char *more = NULL, *first = strtok_r(references, "\n", &more);
      for (char *each = first; each; each = strtok_r(NULL, "\n", &more)) {
        if (each != first) say(&answer, ",");
        quote(&answer, each);
      }
      say(&answer, "]}");
    }
    int fine = references != NULL;
    free(hash), free(size), free(references);
    if (!fine) {
      no_such_path(call, &log);
      goto end;
    }
  }
  say(&answer, "]");
  if (all) done(call, NIXOCI_STATUS_OK, answer.at);
  else no_such_path(call, &log);
end:
  free(all), free(answer.at), free(log.at);
}

static void fetch(Call *call) {
  const Json *params = get(&call->request, "params");
  const char *path = string(get(params, "socket"));
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  int out = make_socket(call->backend);
  snprintf(address.sun_path, sizeof address.sun_path, "%s", path ? path : "");
  if (out < 0 || connect(out, (struct sockaddr *)&address, sizeof address)) {
    fail(call, "transfer", "c-example::socket", "nixoci's socket does not answer", NULL);
    if (out >= 0) close(out);
    return;
  }
  uint64_t count = 0;
  for (const Json *each = get(params, "paths")->down; each; each = each->next) {
    Argv argv = {{0}, 0};
    arg(&argv, "nix-store");
    arg(&argv, "--dump");
    arg(&argv, string(each));
    Text log = {0};
    int fine = run(call, &argv, out, NULL, &count, &log, 0);
    if (!fine) {
      if (is_cancelled(call)) done(call, NIXOCI_STATUS_CANCELLED, NULL);
      else fail(call, "transfer", "c-example::transfer", "a store path could not be read", log.at);
    }
    free(log.at);
    if (!fine) {
      close(out);
      return;
    }
  }
  close(out);
  char answer[32];
  snprintf(answer, sizeof answer, "%llu", (unsigned long long)count);
  done(call, NIXOCI_STATUS_OK, answer);
}

static void release(Call *call) {
  const Json *how = get(get(&call->request, "params"), "how");
  const char *root = string(get(how, "id")), *roots = call->backend->roots;
  /* Only what is ours goes: a link in the directory of our roots. */
  size_t len = strlen(roots);
  if (root && !strncmp(root, roots, len) && root[len] == '/' && !strchr(root + len + 1, '/')) unlink(root);
  done(call, NIXOCI_STATUS_OK, "null");
}

static void shell(Call *call) {
  const Json *command = get(get(&call->request, "params"), "command");
  Text answer = {0};
  const char *login = getenv("SHELL");
  say(&answer, "{\"program\":");
  quote(&answer, command->down ? string(command->down) : login ? login : "sh");
  say(&answer, ",\"args\":[");
  for (const Json *each = command->down ? command->down->next : NULL; each; each = each->next) {
    quote(&answer, string(each));
    if (each->next) say(&answer, ",");
  }
  say(&answer, "]}");
  done(call, NIXOCI_STATUS_OK, answer.at);
  free(answer.at);
}

static void plan(Call *call) { done(call, NIXOCI_STATUS_OK, "{\"plan\":{\"steps\":[]}}"); }
static void nothing(Call *call) { done(call, NIXOCI_STATUS_OK, "null"); }
static void nothing_to_remove(Call *call) { done(call, NIXOCI_STATUS_OK, "[]"); }

static const struct {
  const char *name;
  void (*run)(Call *);
} METHODS[] = {
    {"offers", offers}, {"probe", probe},     {"plan", plan},   {"provision", nothing}, {"removable", nothing_to_remove},
    {"build", build},   {"forecast", forecast}, {"query", query}, {"fetch", fetch},       {"release", release},
    {"shell", shell},
};

/* ---- the table -------------------------------------------------------------------------------------------------- */

static void *work(void *arg) {
  Call *call = arg;
  Backend *backend = call->backend;
  const char *method = string(get(&call->request, "method"));
  size_t at = 0, count = sizeof METHODS / sizeof *METHODS;
  while (at < count && method && strcmp(METHODS[at].name, method)) at++;
  if (is_cancelled(call)) done(call, NIXOCI_STATUS_CANCELLED, NULL);
  else if (method && at < count) METHODS[at].run(call);
  else done(call, NIXOCI_STATUS_UNSUPPORTED, NULL);

  pthread_mutex_lock(&backend->lock);
  Call **link = &backend->calls;
  while (*link != call) link = &(*link)->next;
  *link = call->next;
  pthread_cond_broadcast(&backend->fewer);
  pthread_mutex_unlock(&backend->lock);
  forget(&call->request);
  free(call);
  return NULL;
}

static uint32_t start_call(void *instance, uint64_t id, NixociSlice request) {
  Backend *backend = instance;
  char *text = strndup((const char *)request.ptr, request.len);
  Call *call = calloc(1, sizeof *call);
  if (!text || !call) return 1;
  call->backend = backend;
  call->id = id;
  read_json(text, &call->request, 0);
  free(text);
  pthread_mutex_lock(&backend->lock);
  call->next = backend->calls;
  backend->calls = call;
  pthread_mutex_unlock(&backend->lock);
  pthread_t thread;
  pthread_attr_t detached;
  pthread_attr_init(&detached);
  pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
  if (pthread_create(&thread, &detached, work, call)) work(call);
  pthread_attr_destroy(&detached);
  return 0;
}

/* The lock is held. */
static void stop(Call *call) {
  call->cancelled = 1;
  if (call->child) kill(call->child, SIGINT);
}

static void cancel_call(void *instance, uint64_t id) {
  Backend *backend = instance;
  pthread_mutex_lock(&backend->lock);
  for (Call *call = backend->calls; call; call = call->next)
    if (call->id == id) stop(call);
  pthread_mutex_unlock(&backend->lock);
}

static void destroy_backend(void *instance) {
  Backend *backend = instance;
  pthread_mutex_lock(&backend->lock);
  for (Call *call = backend->calls; call; call = call->next) stop(call);
  while (backend->calls) pthread_cond_wait(&backend->fewer, &backend->lock);
  pthread_mutex_unlock(&backend->lock);
  free(backend->system), free(backend->roots), free(backend);
}

static void *create_backend(const NixociHostV1 *host, NixociSlice hello, void *out, NixociEmit emit) {
  if (host->size < sizeof *host) return NULL;
  Json world = {0};
  char *text = strndup((const char *)hello.ptr, hello.len);
  if (text) read_json(text, &world, 0);
  const char *system = string(get(get(&world, "host"), "system")), *cache = string(get(get(&world, "dirs"), "cache"));
  Backend *backend = calloc(1, sizeof *backend);
  if (!backend || !system || !cache) {
    emit(out, slice("{\"kind\":\"plugin\",\"code\":\"c-example::greeting\",\"message\":\"nixoci does not say where it is\"}"));
    forget(&world), free(text), free(backend);
    return NULL;
  }
  Text own = {0}, roots = {0};
  add(&own, system, strcspn(system, "-"));
  say(&own, "-linux");
  say(&roots, cache);
  mkdir(roots.at, 0700); /* Whatever goes wrong, Nix will say. */
  say(&roots, "/c-example");
  mkdir(roots.at, 0700);
  backend->host = host;
  backend->system = own.at;
  backend->roots = roots.at;
  pthread_mutex_init(&backend->lock, NULL);
  pthread_cond_init(&backend->fewer, NULL);
  forget(&world), free(text);
  return backend;
}

static uint32_t describe_backend(void *out, NixociEmit emit) {
  emit(out, slice("{\"descriptor\":{\"name\":\"c-example\",\"summary\":\"this machine's Nix, by a backend in C\","
                  "\"concurrentBuilds\":true,\"automatic\":false},"
                  "\"version\":\"0.1.0\",\"sdk\":\"plain C\","
                  "\"schema\":{\"type\":\"object\",\"properties\":{},\"additionalProperties\":false},"
                  "\"codes\":[{\"id\":\"c-example::build\",\"kind\":\"build\",\"title\":\"nix did not build it\","
                  "\"help\":\"The end of Nix's log says why.\"}]}"));
  return 0;
}

static const NixociPluginV1 TABLE = {
    .size = sizeof TABLE,
    .minor = 0,
    .describe = describe_backend,
    .create = create_backend,
    .start = start_call,
    .cancel = cancel_call,
    .destroy = destroy_backend,
};

const NixociPluginV1 *nixoci_backend_v1(void);
const NixociPluginV1 *nixoci_backend_v1(void) { return &TABLE; }
