//! What users do, on real Nix and real Docker: these tests run in the lab (`cargo xtask test` brings it up and runs
//! them; plain `cargo test` shows them as ignored).
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot start has failed")]

#[path = "../shared/conforms.rs"]
mod conforms;
mod cross;
mod doctor;
mod errors;
mod formats;
mod images;
mod init;
mod mac;
mod machine;
mod memory;
mod multipass;
mod platforms;
mod plugins;
mod provision;
mod remote;
mod rosetta;
mod runtimes;
mod schemas;
mod sparse;
mod stopping;
mod transfer;

use std::process::Command;

/// An emulated host.
#[derive(Clone, Copy)]
struct Host {
    nix: &'static str,
    docker: &'static str,
    options: &'static [&'static str],
}

const OLD: Host = Host { nix: "2.26", docker: "20.10", options: &[] };
const NEW: Host = Host { nix: "2.34", docker: "28", options: &[] };
/// Every Nix with every Docker.
const ALL: [Host; 4] = [OLD, NEW, Host { docker: "28", ..OLD }, Host { docker: "20.10", ..NEW }];

/// What a script came to.
#[derive(Debug)]
struct Run {
    code: i32,
    out: String,
    err: String,
}

impl Host {
    fn with(self, options: &'static [&'static str]) -> Host {
        Host { options, ..self }
    }

    /// Runs a script as a user would type it, in the checkout, with a cache of its own.
    fn sh(&self, script: &str) -> Run {
        let lab = std::env::var_os("NIXOCI_LAB")
            .expect("NIXOCI_LAB names the lab's program: run `cargo xtask test`");
        let script = format!(
            "set -u; export XDG_CACHE_HOME=$(mktemp -d); trap 'chmod -R u+w $XDG_CACHE_HOME; rm -rf $XDG_CACHE_HOME' EXIT\n{script}"
        );
        let output = Command::new(lab)
            .args(["lab", "exec", "--nix", self.nix, "--docker", self.docker])
            .args(self.options)
            .args(["--", "bash", "-c", &script])
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .stdin(std::process::Stdio::null())
            .output()
            .expect("the lab's program starts");
        Run {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    fn name(&self) -> String {
        format!("Nix {}, Docker {}", self.nix, self.docker)
    }
}

impl Run {
    /// The script ended with this exit code.
    #[track_caller]
    fn code(self, code: i32) -> Run {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    /// Standard output has this.
    #[track_caller]
    fn out(self, text: &str) -> Run {
        assert!(self.out.contains(text), "no `{text}` in {self:#?}");
        self
    }

    /// Standard error has this.
    #[track_caller]
    fn err(self, text: &str) -> Run {
        assert!(self.err.contains(text), "no `{text}` in {self:#?}");
        self
    }

    /// An error as every error should be: this exit code, this code, and no trace of Rust.
    #[track_caller]
    fn fails(self, exit: i32, code: &str) -> Run {
        let run = self.code(exit).err(&format!("nixoci explain {code}"));
        for trace in ["panicked", "RUST_BACKTRACE", "src/", "Error {"] {
            assert!(!run.err.contains(trace), "`{trace}` in {run:#?}");
        }
        run
    }
}
