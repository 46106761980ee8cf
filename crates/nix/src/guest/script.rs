//! The shell script that a command in a guest is started by.

use std::ffi::OsString;

use nixoci_core::runner::Command;

/// Runs the rest of the arguments in the directory `$1` (unless it is empty), as a group of its own. `$2` says whether the
/// command reads: then its input is ours, and its end is the command's own affair. Otherwise a first line may be a secret, and the end of our input ends the group:
/// SIGTERM first, by which Nix ends its builds in order (a shell has its background ignore SIGINT), then SIGKILL.
///
/// 255 is how ssh reports a lost connection, so a command's own 255 becomes 254.
///
/// Descriptor 3 is our input: in a list that runs in the background a shell replaces standard input by /dev/null.
const SCRIPT: &str = r#"d=$1 reads=$2; shift 2
if [ -n "$d" ]; then cd "$d" || exit 126; fi
if [ "$reads" = yes ]; then
  "$@"; r=$?
else
  if [ "$reads" = line ]; then IFS= read -r NIXOCI_SECRETS; export NIXOCI_SECRETS; fi
  exec 3<&0
  setsid "$@" </dev/null 3<&- & p=$!
  { cat <&3 >/dev/null; kill -TERM -$p; sleep 2; kill -KILL -$p; } >/dev/null 2>&1 & w=$!
  exec 3<&-
  wait $p; r=$?
  kill $w 2>/dev/null
fi
[ $r -ne 255 ] || r=254
exit $r"#;

/// The arguments for a [`GuestTransport`](super::GuestTransport).
pub(super) fn argv(command: &Command, told: bool) -> Vec<OsString> {
    let mut argv: Vec<OsString> = Vec::new();
    argv.extend(["sh", "-c", SCRIPT, "nixoci"].map(OsString::from));
    argv.push(command.cwd.clone().unwrap_or_default().into_os_string());
    let reads = match (command.stdin, told) {
        (true, _) => "yes",
        (false, true) => "line",
        (false, false) => "no",
    };
    argv.push(reads.into());
    argv.extend(environment(command));
    argv.push(command.program.clone());
    argv.extend(command.args.iter().cloned());
    argv
}

/// No variable crosses by itself.
pub(super) fn environment(command: &Command) -> Vec<OsString> {
    if command.env.is_empty() {
        return Vec::new();
    }
    let mut words = vec![OsString::from("env")];
    for (name, _) in command.env.iter().filter(|(_, value)| value.is_none()) {
        words.extend(["-u".into(), name.clone()]);
    }
    for (name, value) in &command.env {
        if let Some(value) = value {
            let mut word = name.clone();
            word.push("=");
            word.push(value);
            words.push(word);
        }
    }
    words
}
