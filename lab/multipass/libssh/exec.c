/* The streams of the double's `multipass exec`, by libssh's connectors, as in the real client: exec HOST USER KEY CODE COMMAND.
 *
 * The exit code is the remote command's, or 255 if a signal ended the command or the connection was lost. Without a connection the program
 * says why on standard error and exits with CODE.
 *
 * It works around none of the connectors' faults. They take a window of zero bytes for the end of input, and libssh 0.11.0 to 0.11.3 forgets
 * output that is buffered when the reader pauses. Tests of nixoci rely on both.
 */
#include <libssh/callbacks.h>
#include <libssh/libssh.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LOST = 255, TIMEOUT_SECONDS = 20 };

static int failed(const char *what, ssh_session session, const char *code) {
    fprintf(stderr, "exec failed: %s: '%s'\n", what, ssh_get_error(session));
    return atoi(code);
}

static int set_options(ssh_session session, const char *host, const char *user) {
    const int port = 22, no = 0;
    const long timeout = TIMEOUT_SECONDS;
    /* Nothing of this user's own settings for ssh counts. */
    return ssh_options_set(session, SSH_OPTIONS_HOST, host) | ssh_options_set(session, SSH_OPTIONS_USER, user) |
           ssh_options_set(session, SSH_OPTIONS_PORT, &port) | ssh_options_set(session, SSH_OPTIONS_TIMEOUT, &timeout) |
           ssh_options_set(session, SSH_OPTIONS_PROCESS_CONFIG, &no);
}

static int authenticate(ssh_session session, const char *file) {
    ssh_key key = NULL;
    int done = SSH_AUTH_ERROR;
    if (ssh_pki_import_privkey_file(file, NULL, NULL, NULL, &key) == SSH_OK)
        done = ssh_userauth_publickey(session, NULL, key);
    ssh_key_free(key);
    return done;
}

/* Descriptor 0 to the channel. */
static ssh_connector input(ssh_session session, ssh_channel channel) {
    ssh_connector connector = ssh_connector_new(session);
    if (connector == NULL)
        return NULL;
    ssh_connector_set_in_fd(connector, STDIN_FILENO);
    ssh_connector_set_out_channel(connector, channel, SSH_CONNECTOR_STDINOUT);
    return connector;
}

/* One of the channel's two streams to a descriptor. */
static ssh_connector output(ssh_session session, ssh_channel channel, enum ssh_connector_flags_e stream, int to) {
    ssh_connector connector = ssh_connector_new(session);
    if (connector == NULL)
        return NULL;
    ssh_connector_set_in_channel(connector, channel, stream);
    ssh_connector_set_out_fd(connector, to);
    return connector;
}

/* Passes the three streams on until the channel is closed, or nothing more comes. */
static void stream(ssh_session session, ssh_channel channel) {
    ssh_event event = ssh_event_new();
    ssh_connector connectors[] = {
        input(session, channel),
        output(session, channel, SSH_CONNECTOR_STDOUT, STDOUT_FILENO),
        output(session, channel, SSH_CONNECTOR_STDERR, STDERR_FILENO),
    };
    const size_t count = sizeof connectors / sizeof *connectors;
    int ready = event != NULL;
    for (size_t n = 0; n < count; n++)
        ready = ready && connectors[n] != NULL && ssh_event_add_connector(event, connectors[n]) == SSH_OK;
    while (ready && ssh_channel_is_open(channel) && !ssh_channel_is_eof(channel))
        ready = ssh_event_dopoll(event, -1) != SSH_ERROR;
    for (size_t n = 0; n < count; n++) {
        if (connectors[n] != NULL) {
            ssh_event_remove_connector(event, connectors[n]);
            ssh_connector_free(connectors[n]);
        }
    }
    ssh_event_free(event);
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fputs("usage: exec HOST USER KEY CODE COMMAND\n", stderr);
        return LOST;
    }
    ssh_session session = ssh_new();
    if (session == NULL || set_options(session, argv[1], argv[2]) != SSH_OK)
        return LOST;
    if (ssh_connect(session) != SSH_OK)
        return failed("ssh connection failed", session, argv[4]);
    if (authenticate(session, argv[3]) != SSH_AUTH_SUCCESS)
        return failed("ssh failed to authenticate", session, argv[4]);
    ssh_channel channel = ssh_channel_new(session);
    if (channel == NULL || ssh_channel_open_session(channel) != SSH_OK)
        return failed("[ssh client] channel creation failed", session, argv[4]);
    if (ssh_channel_request_exec(channel, argv[5]) != SSH_OK)
        return failed("[ssh client] exec request failed", session, argv[4]);
    stream(session, channel);
    uint32_t code = LOST;
    char *signal = NULL;
    int exited = ssh_channel_get_exit_state(channel, &code, &signal, NULL);
    /* Nothing is freed: to disconnect would wait for a guest that may be gone. */
    return exited == SSH_OK && signal == NULL ? (int)code : LOST;
}
