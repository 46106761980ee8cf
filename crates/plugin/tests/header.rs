//! C's header is the ABI's, and a C compiler finds the same layout.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::Command;

/// Set by `cargo xtask codegen`: the header is written instead of compared.
const WRITE: &str = "NIXOCI_CODEGEN";

const PREAMBLE: &str = "\
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
 */";

fn header() -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/abi.rs");
    let mut config = cbindgen::Config {
        language: cbindgen::Language::C,
        cpp_compat: true,
        include_guard: Some("NIXOCI_BACKEND_H".to_owned()),
        header: Some(PREAMBLE.to_owned()),
        documentation_style: cbindgen::DocumentationStyle::C99,
        usize_is_size_t: true,
        ..cbindgen::Config::default()
    };
    config.export.include = ["HostV1", "PluginV1", "Entry"].map(str::to_owned).to_vec();
    config.export.prefix = Some("Nixoci".to_owned());
    let bindings = cbindgen::Builder::new().with_src(source).with_config(config).generate().unwrap();
    let mut text = Vec::new();
    bindings.write(&mut text);
    without_links(&String::from_utf8(text).unwrap()).replace("#define Nixoci", "#define NIXOCI_")
}

/// `[a report](nixoci_core::…)` is `a report` to a C programmer.
fn without_links(text: &str) -> String {
    let mut parts = text.split("](");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let begin = plain.rfind('[').unwrap();
        plain.remove(begin);
        plain.push_str(part.split_once(')').unwrap().1);
    }
    plain
}

#[test]
fn the_header_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/nixoci_backend.h");
    let wanted = header();
    if std::env::var_os(WRITE).is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &wanted).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == wanted, "include/nixoci_backend.h is not current: run: cargo xtask codegen");
}

/// What a C compiler makes of the header: sizes and places, as `abi.rs` has them.
#[test]
fn a_c_compiler_finds_the_same_layout() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("layout.c");
    std::fs::write(
        &source,
        r#"#include "nixoci_backend.h"
#include <stdio.h>
int main(void) {
  printf("%zu %zu %zu %zu %zu %zu\n", sizeof(NixociSlice), sizeof(NixociHostV1), offsetof(NixociHostV1, done),
         sizeof(NixociPluginV1), offsetof(NixociPluginV1, create), offsetof(NixociPluginV1, destroy));
  return 0;
}"#,
    )
    .unwrap();
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let program = dir.path().join("layout");
    let compiled = Command::new("cc")
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"])
        .args([&include, &source])
        .arg("-o")
        .arg(&program)
        .status()
        .unwrap();
    assert!(compiled.success());
    let printed = Command::new(program).output().unwrap().stdout;
    assert_eq!(String::from_utf8_lossy(&printed), "16 40 32 48 16 40\n");
}
