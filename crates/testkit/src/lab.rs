//! Tests that run themselves again on a host of the lab.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::process::Command;

/// Set where the test runs on an emulated host. (Variables of nixoci's own are those that go along.)
const INSIDE: &str = "NIXOCI_CONFORMANCE_INSIDE";

/// Takes this program from standard input, wherever cargo has put it out here, and becomes it.
const ENTER: &str = r#"set -eu
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
cat > "$dir/conformance"; chmod +x "$dir/conformance"
TMPDIR=$dir "$dir/conformance" --include-ignored --exact "$0" </dev/null"#;

/// Whether this is the run on the emulated host.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs the test of this name of this program on an emulated host, described by flags of `lab exec`. `lab` is the lab's
/// program, which NIXOCI_LAB names.
///
/// # Errors
/// What both printed, if the test did not pass there.
pub fn run_inside(lab: &OsStr, flags: &[&str], test: &str) -> Result<(), String> {
    let run = || -> io::Result<_> {
        Command::new(lab)
            .args(["lab", "exec", "--env", &format!("{INSIDE}=1")])
            .args(flags)
            .args(["--", "bash", "-c", ENTER, test])
            .stdin(File::open(std::env::current_exe()?)?)
            .output()
    };
    let output = run().map_err(|error| format!("the lab's program does not run: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && said.contains("test result: ok. 1 passed") {
        return Ok(());
    }
    Err(format!("{flags:?}:\n{said}\n{}", String::from_utf8_lossy(&output.stderr)))
}
