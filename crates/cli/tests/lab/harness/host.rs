//! Emulated hosts, and what a script on one came to.

use std::process::Command;

use super::events::EVENTS;

/// An emulated host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Host {
    pub(crate) nix: &'static str,
    pub(crate) docker: &'static str,
    options: &'static [&'static str],
}

/// The older supported Nix, with Docker's classic image store.
pub(crate) const NIX_2_26: Host = Host { nix: "2.26", docker: "20.10", options: &[] };
/// Today's Nix, with Docker's containerd store.
pub(crate) const NIX_2_34: Host = Host { nix: "2.34", docker: "28", options: &[] };
pub(crate) const NIX_2_26_DOCKER_28: Host = Host { docker: "28", ..NIX_2_26 };
pub(crate) const NIX_2_34_DOCKER_20: Host = Host { docker: "20.10", ..NIX_2_34 };

/// The result of a script.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Host {
    /// The same with these flags of `lab exec`, in place of others.
    pub(crate) fn with(self, options: &'static [&'static str]) -> Host {
        Host { options, ..self }
    }

    /// A script on this host, as a user would type it: in the checkout, with a cache of its own, `$tag`, which no other script has for
    /// its images (they run at the same time, and share runtimes), and the functions of [`EVENTS`].
    pub(crate) fn command(&self, script: &str) -> Command {
        let lab = std::env::var_os("NIXOCI_LAB")
            .expect("NIXOCI_LAB names the lab's program: run `cargo xtask test`");
        let script = format!(
            "set -u; export XDG_CACHE_HOME=$(mktemp -d) NIXOCI_TRUST_PROJECT=true tag=t$$-$RANDOM; trap 'chmod -R u+w $XDG_CACHE_HOME; rm -rf $XDG_CACHE_HOME' EXIT\n\
             {EVENTS}{script}"
        );
        let mut command = Command::new(lab);
        command
            .args(["lab", "exec", "--nix", self.nix, "--docker", self.docker])
            .args(self.options)
            .args(["--", "bash", "-c", &script])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .stdin(std::process::Stdio::null());
        command
    }

    pub(crate) fn name(&self) -> String {
        format!("Nix {}, Docker {}", self.nix, self.docker)
    }

    /// Runs a script to its end.
    pub(crate) fn sh(&self, script: &str) -> Run {
        let output = self.command(script).output().expect("the lab's program starts");
        Run {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Run {
    /// The script ended with this exit code.
    #[track_caller]
    pub(crate) fn code(self, code: i32) -> Run {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Standard output has this: what a program printed, a name, a code. For nixoci's own words there are snapshots.
    #[track_caller]
    pub(crate) fn out(self, text: &str) -> Run {
        assert!(self.out.contains(text), "no `{text}` in {self:#?}");
        self
    }

    /// Standard error has this.
    #[track_caller]
    pub(crate) fn err(self, text: &str) -> Run {
        assert!(self.err.contains(text), "no `{text}` in {self:#?}");
        self
    }

    /// An error as every error should be: this exit code, this code, and no trace of Rust.
    #[track_caller]
    pub(crate) fn fails(self, exit: i32, code: &str) -> Run {
        let run = self.code(exit).err(&format!("nixoci explain {code}\n"));
        for trace in ["panicked", "RUST_BACKTRACE", "src/", "Error {"] {
            assert!(!run.err.contains(trace), "`{trace}` in {run:#?}");
        }
        run
    }
}
