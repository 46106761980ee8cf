/* nixoci_backend.h: the interface between nixoci and a backend in a dynamic library, version 1.
 *
 * Generated from crates/plugin/src/abi.rs by `cargo xtask codegen`: do not edit.
 *
 * A library exports
 *
 *     const PluginV1 *nixoci_backend_v1(void);
 *
 * What the functions are told and what they answer is JSON; docs/plugins/abi.md says which, and examples/plugin-c is a whole
 * backend.
 */

#ifndef NIXOCI_BACKEND_H
#define NIXOCI_BACKEND_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

// The minor version that this crate implements: which optional abilities there are.
#define NIXOCI_MINOR 0

// A call ended well: the answer is that of its method.
#define NIXOCI_STATUS_OK 0

// A call ended with an error: the answer is a report.
#define NIXOCI_STATUS_FAILED 1

// A call was asked to end, and did. There is no answer.
#define NIXOCI_STATUS_CANCELLED 2

// A panic was caught: the answer is its text, as a JSON string. Nothing else is asked of this instance.
#define NIXOCI_STATUS_PANICKED 3

// The plugin does not know the method. nixoci does without, where it can. There is no answer.
#define NIXOCI_STATUS_UNSUPPORTED 4

// A line of a log: something failed.
#define NIXOCI_LEVEL_ERROR 1

// A line of a log: worth a look.
#define NIXOCI_LEVEL_WARN 2

// A line of a log: good to know.
#define NIXOCI_LEVEL_INFO 3

// A line of a log: detail.
#define NIXOCI_LEVEL_DEBUG 4

// A line of a log: more detail.
#define NIXOCI_LEVEL_TRACE 5

// Bytes of somebody else's, until the call returns. Text is UTF-8.
typedef struct NixociSlice {
  // Where they begin. May be null if `len` is 0.
  const uint8_t *ptr;
  // How many there are.
  size_t len;
} NixociSlice;

// What nixoci offers a plugin. The pointer is valid, and its functions may be called from any thread, until `destroy` returns.
typedef struct NixociHostV1 {
  // The size of this table, in bytes.
  uint32_t size;
  // The minor version of this nixoci.
  uint32_t minor;
  // Belongs to every function below, as its first argument.
  void *ctx;
  // A line for people who want details. The level is one of `LEVEL_…`.
  void (*log)(void *ctx, uint32_t level, struct NixociSlice text);
  // Something happened in a call: an event, as JSON.
  void (*event)(void *ctx, uint64_t call, struct NixociSlice event);
  // A call has ended. Exactly once a call; the status is one of `STATUS_…`.
  void (*done)(void *ctx, uint64_t call, uint32_t status, struct NixociSlice answer);
} NixociHostV1;

// Takes an answer. Called at most once, before the function it was handed to returns.
typedef void (*NixociEmit)(void *out, struct NixociSlice answer);

// What a plugin offers nixoci.
typedef struct NixociPluginV1 {
  // The size of this table, in bytes.
  uint32_t size;
  // The minor version that nixoci must have at least. Not the one that the plugin was built with.
  uint32_t minor;
  // Says what the plugin is: a description, through `emit`. Returns 0. Looks at nothing and
  // starts nothing.
  uint32_t (*describe)(void *out, NixociEmit emit);
  // Makes a backend, told by a hello. Null if it refuses: then an
  // error went through `emit`. Starts nothing.
  void *(*create)(const struct NixociHostV1 *host,
                  struct NixociSlice hello,
                  void *out,
                  NixociEmit emit);
  // Begins a call, told by a request. Returns 0 at once; what is to be done is done elsewhere, and ends
  // with `done`. Any other number: the call has not begun, and `done` does not come.
  uint32_t (*start)(void *instance, uint64_t call, struct NixociSlice request);
  // Asks a call to end soon. Returns at once. `done` still comes, unless it has come already.
  void (*cancel)(void *instance, uint64_t call);
  // Ends every call, and then the backend. No function of the host is called after it has returned.
  void (*destroy)(void *instance);
} NixociPluginV1;

// The function that a library exports. It returns the same pointer every time, never null.
typedef const struct NixociPluginV1 *(*NixociEntry)(void);

#endif  /* NIXOCI_BACKEND_H */
