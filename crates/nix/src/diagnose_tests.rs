use super::*;
use crate::log::Log;
use nixoci_core::event::Silent;
use std::collections::BTreeMap;

fn host() -> Host {
    Host {
        system: "x86_64-linux".parse().unwrap(),
        home: None,
        uid: 1000,
        env: BTreeMap::from([("USER".into(), "ann".into())]),
        cpus: 1,
    }
}

/// What becomes of a recorded standard error, for a flake that is not on this machine unless `reference` is.
fn outcome(log: &str, reference: &str) -> Error {
    let mut reader = Log::new(&Silent, Record::default());
    log.lines().for_each(|line| reader.hear(line.as_bytes()));
    let record = reader.finish(false);
    let request = BuildRequest {
        installable: Installable::parse(&format!("{reference}#image")).unwrap(),
        system: "x86_64-linux".parse().unwrap(),
        prefer: Vec::new(),
        flags: Default::default(),
    };
    let target =
        Target::Flake { reference: reference.to_owned(), attribute: "packages.x86_64-linux.image".into() };
    diagnose(&record, &Subject::build(&host(), &request, &target))
}

macro_rules! recorded {
    ($name:literal) => {
        [
            ("2.26", include_str!(concat!("../tests/fixtures/2.26/", $name, ".log"))),
            ("2.34", include_str!(concat!("../tests/fixtures/2.34/", $name, ".log"))),
        ]
    };
}

/// Both versions' recorded texts give this code and this message.
macro_rules! says {
    ($name:literal, $code:ident, $message:literal) => {
        for (version, log) in recorded!($name) {
            let error = outcome(log, "github:o/r");
            assert!(error.is(&codes::$code), "{version} {}: {error:?}", $name);
            assert_eq!(error.to_string(), $message, "{version}");
        }
    };
}

#[test]
fn builds_that_fail() {
    says!("fail", BUILD_FAILED, "building t failed with exit code 3");
    says!("dep", BUILD_FAILED, "building t failed with exit code 4");
    says!("noout", NO_OUTPUT, "t was built without an error, but left no output");
    says!("fod", HASH_MISMATCH, "t is not what the expression expects");
    says!("ifd", IFD, "evaluation needs t, and building it failed");
    says!("timeout", BUILD_TIMEOUT, "the build ran into Nix's own time limit of 1 seconds");
    for (version, log) in recorded!("fail") {
        assert_eq!(outcome(log, "github:o/r").report().log_tail, ["line1", "oops"], "{version}");
    }
    for (_, log) in recorded!("dep") {
        assert_eq!(outcome(log, "github:o/r").report().log_tail, ["indep"]);
    }
    for (_, log) in recorded!("fod") {
        let hash = "sha256-c8s4WKaHqElMozIwUwFigvPa051Cz2LKTnndoqrH2aw=";
        assert_eq!(outcome(log, "github:o/r").report().remedies[0].command.as_deref(), Some(hash));
    }
}
