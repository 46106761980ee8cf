//! Images that a Mac cross compiles, with no Linux builder at all, from projects that know nothing of it.

use super::*;
use crate::harness::shows;

/// A Mac with Nix and no builder that its Nix knows.
const MAC: &[&str] = &["--as", "mac", "--user", "alice"];
const ROOT: &[&str] = &["--as", "mac"];
const ROSETTA: &[&str] = &["--as", "mac", "--user", "alice", "--with", "rosetta-builder"];

/// A copy of a directory of the repository, in a repository of its own.
fn copied(of: &str, script: &str) -> String {
    format!(
        "here=$PWD; cd $(mktemp -d); cp -r $here/{of}/. .; chmod -R u+w .; git init -q .; git add -A\n\
         cross() {{ nixoci build --backend cross --platform linux/arm64 \"$@\"; }}\n{script}"
    )
}

/// A compiler, and all that is compiled by it, that nobody has built before.
const UNBUILT: &str = r#"nonce=$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')
sed -i "s/nixpkgs.legacyPackages.\${system}/import nixpkgs { inherit system; config.labNonce = \"$nonce\"; }/" flake.nix"#;

each!(
    an_unmodified_flake_in_c_is_crossed: on_nix_2_26(NIX_2_26.with(MAC)), on_nix_2_34(NIX_2_34.with(MAC)));
fn an_unmodified_flake_in_c_is_crossed(host: Host) {
    let script = copied(
        "examples/c-hello",
        "cross .#container --load=docker -t $tag >&2 && docker run --rm --platform linux/arm64 $tag
         nixoci inspect docker-archive:<(docker save $tag) | grep -c '^crossed.* for aarch64-unknown-linux-gnu: '; docker rmi $tag >&2",
    );
    let run = host.sh(&script).code(0);
    assert_eq!(run.out, "Hello from C!\n1\n", "{run:#?}");
}

each!(
    it_prints_what_the_same_flake_prints:
    crossed_on_linux(NIX_2_34, "cross"),
    built_by_an_arm64_builder(NIX_2_34.with(ROSETTA), "rosetta"),
);
fn it_prints_what_the_same_flake_prints(host: Host, backend: &str) {
    let script = copied(
        "examples/c-hello",
        &format!(
            "nixoci build --backend {backend} --platform linux/arm64 .#container --load=docker -t $tag >&2 && \
             docker run --rm --platform linux/arm64 $tag; docker rmi $tag >&2"
        ),
    );
    assert_eq!(host.sh(&script).code(0).out, "Hello from C!\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn what_is_native_is_not_crossed() {
    let script =
        copied("examples/c-hello", "nixoci build --backend cross --platform linux/amd64 .#container");
    NIX_2_34.sh(&script).fails(20, "nixoci::cross::native");
}

/// A limit of five derivations, in a profile where rosetta may take over.
const LIMIT: &str = r#"printf '[profile.p]\nbackend = ["cross", "rosetta"]\n[backend.cross]\nmax-local-builds = 5\n' >nixoci.toml"#;

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn what_it_costs_is_counted_beforehand() {
    let script = format!("{UNBUILT}\nnixoci plan --backend cross --platform linux/arm64 .#container");
    let run = NIX_2_34.with(MAC).sh(&copied("examples/cowsay", &script)).code(0);
    let cost = run.out.lines().find(|line| line.starts_with("cost")).unwrap_or_default();
    for word in ["2 x gcc", "glibc", "perl"] {
        assert!(cost.contains(word), "{cost}");
    }
    shows("cross_cost", &counted(cost));
}

/// How many derivations there are is the stand-in's affair.
fn counted(text: &str) -> String {
    let mut digits = false;
    let sign = |c: char| match std::mem::replace(&mut digits, c.is_ascii_digit()) {
        before if c.is_ascii_digit() => (!before).then_some('N'),
        _ => Some(c),
    };
    text.chars().filter_map(sign).collect()
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_plan_says_who_takes_over_when_it_is_too_much() {
    let script = format!(
        "{UNBUILT}\n{LIMIT}\nnixoci plan --profile p --platform linux/arm64 .#container --format json | jq -c '.platforms[] | [.backend, [.rejected[]?.backend]]'
         nixoci plan --profile p --platform linux/arm64 .#container | grep 'not cross' >&2"
    );
    let run = NIX_2_34.with(ROSETTA).sh(&copied("examples/cowsay", &script)).code(0);
    assert_eq!(run.out, "[\"rosetta\",[\"cross\"]]\n", "{run:#?}");
    shows("cross_too_much", &counted(run.err.lines().last().unwrap_or_default()));
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn too_much_is_built_by_another_backend() {
    let script = format!(
        "{UNBUILT}\n{LIMIT}\nnixoci build --profile p --platform linux/arm64 .#container --load=docker -t $tag --format json \
         | jq -r '.images[].platforms[].backend'; docker run --rm --platform linux/arm64 $tag; docker rmi $tag >&2"
    );
    NIX_2_34
        .with(ROSETTA)
        .sh(&copied("examples/cowsay", &script))
        .code(0)
        .out("rosetta\n")
        .out("< hello world >");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn too_much_is_refused_where_no_other_backend_is_wanted() {
    let script = format!("{UNBUILT}\n{LIMIT}\ncross .#container");
    let run = NIX_2_34.with(MAC).sh(&copied("examples/cowsay", &script));
    run.fails(20, "nixoci::cross::too_much").err("nixoci build --max-local-builds ");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_limit_is_raised_for_once() {
    // A finished build is not repeated: the second run has no cost to report.
    let script = format!(
        "{UNBUILT}\n{LIMIT}
         plan() {{ nixoci plan --backend cross --platform linux/arm64 .#container --format json | jq '.platforms[].forecast.willBuild | length'; }}
         cross .#container --max-local-builds 100 >&2 && plan && nixoci build --backend cross --platform linux/arm64 .#container >&2"
    );
    let run = NIX_2_34.with(MAC).sh(&copied("examples/c-hello", &script)).code(0);
    assert_eq!(run.out, "0\n", "{run:#?}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn planning_is_one_evaluation_of_the_flake_wherever_it_is() {
    let script = r#"mkdir sub bin; git mv flake.nix flake.lock hello.c sub 2>/dev/null || git mv flake.nix hello.c sub; real=$(command -v nix)
        printf '#!/bin/sh\necho "$*" >>%s/log\nexec %s "$@"\n' $PWD $real >bin/nix; chmod +x bin/nix
        PATH=$PWD/bin:$PATH nixoci plan --backend cross --platform linux/arm64 "git+file://$PWD?dir=sub#container" --override-input nixpkgs path:/lab/nixpkgs | grep ^cost
        grep -v -e '^--version' -e '^config show' log | cut -d' ' -f1 | sort | uniq -c | sed 's/^ *//'"#;
    let run = NIX_2_34.with(MAC).sh(&copied("examples/c-hello", script)).code(0);
    assert!(run.out.starts_with("cost ") && run.out.ends_with("\n1 build\n"), "{run:#?}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_binary_cache_with_the_compiler_makes_it_cheap() {
    let script = format!(
        r#"{UNBUILT}
        plan() {{ nixoci plan --backend cross --platform linux/arm64 .#container "$@" | grep ^cost; }}
        plan; cross -q .#container --no-link || exit 1
        cross="localSystem = \"aarch64-darwin\"; crossSystem = \"aarch64-linux\"; config.labNonce = \"$nonce\";"
        compiler=$(nix-instantiate --eval -E "(import <nixpkgs> {{ $cross }}).labCompiler.outPath" | tr -d '"')
        features='nix-command flakes'
        nix --extra-experimental-features "$features" copy --no-check-sigs --to "file://$PWD/cache?compression=none" $compiler
        rm -rf ~/.cache/nix; mine=$(nix-store -qR $compiler | grep -e gcc-14 -e stage-static -e binutils -e '-dev$' -e headers)
        nix-store --delete --ignore-liveness $(nix-store -q --referrers-closure $mine) >/dev/null 2>&1
        echo '/* again */' >>hello.c; plan; plan --option substituters file://$PWD/cache --option require-sigs false"#
    );
    let run = NIX_2_34.with(ROOT).sh(&copied("examples/c-hello", &script)).code(0);
    let costs: Vec<&str> = run.out.lines().filter(|line| line.starts_with("cost")).collect();
    assert_eq!(costs.len(), 3, "{run:#?}");
    assert!(costs[0].contains("gcc") && costs[1].contains("gcc"), "{run:#?}");
    assert!(!costs[2].contains("gcc"), "{run:#?}");
}

each!(
    a_flake_of_this_style_is_crossed:
    inline_import_on_nix_2_26(NIX_2_26, "inline-import"),
    inline_import_on_nix_2_34(NIX_2_34, "inline-import"),
    legacy_packages_on_nix_2_26(NIX_2_26, "legacy-packages"),
    legacy_packages_on_nix_2_34(NIX_2_34, "legacy-packages"),
    per_system_on_nix_2_26(NIX_2_26, "per-system"),
    per_system_on_nix_2_34(NIX_2_34, "per-system"),
    each_system_on_nix_2_26(NIX_2_26, "each-system"),
    each_system_on_nix_2_34(NIX_2_34, "each-system"),
    overlays_on_nix_2_26(NIX_2_26, "overlays"),
    overlays_on_nix_2_34(NIX_2_34, "overlays"),
    two_nixpkgs_on_nix_2_26(NIX_2_26, "two-nixpkgs"),
    two_nixpkgs_on_nix_2_34(NIX_2_34, "two-nixpkgs"),
    follows_on_nix_2_26(NIX_2_26, "follows"),
    follows_on_nix_2_34(NIX_2_34, "follows"),
    in_circles_on_nix_2_26(NIX_2_26, "in-circles"),
    in_circles_on_nix_2_34(NIX_2_34, "in-circles"),
    other_name_on_nix_2_26(NIX_2_26, "other-name"),
    other_name_on_nix_2_34(NIX_2_34, "other-name"),
    explicit_on_nix_2_26(NIX_2_26, "explicit"),
    explicit_on_nix_2_34(NIX_2_34, "explicit"),
);
fn a_flake_of_this_style_is_crossed(host: Host, style: &str) {
    let script = copied(
        &format!("crates/cli/tests/fixtures/cross/{style}"),
        "cross -q .#container --load=docker -t $tag >&2 && docker run --rm --platform linux/arm64 $tag; code=$?; docker rmi $tag >&2; exit $code",
    );
    host.with(MAC).sh(&script).code(0).out("Hello, world!");
}

each!(
    a_flake_that_cannot_be_crossed_is_refused_with_the_reason:
    no_nixpkgs("no-nixpkgs", ".#container", "no_nixpkgs", "cross_no_nixpkgs"),
    asserts("asserts", ".#container", "asserts", "cross_asserts"),
    run_as_root("run-as-root", ".#container", "needs_linux", "cross_run_as_root"),
    fakechroot("run-as-root", ".#chrooted", "needs_linux", "cross_fakechroot"),
    import_from_derivation("import-from-derivation", ".#container", "needs_linux", "cross_import_from_derivation"),
);
fn a_flake_that_cannot_be_crossed_is_refused_with_the_reason(
    style: &str,
    what: &str,
    code: &str,
    message: &str,
) {
    NIX_2_34
        .with(MAC)
        .sh(&copied(&format!("crates/cli/tests/fixtures/cross/{style}"), &format!("cross {what}")))
        .fails(41, &format!("nixoci::cross::{code}"))
        .says(message);
}

// An error in the project is reported as one, not as a failure of cross compilation.
each!(
    an_attribute_that_is_not_there_is_told_of_the_project:
    of_a_flake(".#nothing", "cross_nothing_in_a_flake"),
    of_a_file("--file . nothing", "cross_nothing_in_a_file"),
);
fn an_attribute_that_is_not_there_is_told_of_the_project(what: &str, message: &str) {
    NIX_2_34
        .with(MAC)
        .sh(&copied("crates/cli/tests/fixtures/cross/overlays", &format!("cross {what}")))
        .code(41)
        .says(message);
}

const RUNS: &str = r#"try 'pkgs.runCommand "runs" { } "echo /nix/store/x/bin/y: cannot execute binary file: Exec format error >\&2; exit 126"'"#;
const FAILS: &str = r#"try 'pkgs.runCommand "fails" { } "echo hopeless; exit 3"'"#;
const UNAVAILABLE: &str = r#"try 'if pkgs.stdenv.buildPlatform.isLinux then pkgs.runCommand "x" { } "" else throw "Package x is not available on the requested hostPlatform"'"#;
const PATH: &str =
    r#"try 'builtins.seq (builtins.readFile "${nixpkgs}/lib.nix") (pkgs.runCommand "x" { } "")'"#;
const IMPORT: &str = r#"try 'builtins.seq (import (nixpkgs + "/lib.nix")) (pkgs.runCommand "x" { } "")'"#;
const WITH_DB: &str =
    r#"try '(pkgs.dockerTools.override { }).buildImage { name = "x"; runAsRoot = "true"; }'"#;
const MISSING: &str = "try 'import ./nope.nix'";
const UNTRACKED: &str = "printf '{ outputs = { self }: { packages.aarch64-linux.container = import ./new.nix; }; }' >flake.nix; git add -A; echo 1 >new.nix; cross .#container";
const THROWS: &str = r#"try 'throw "no luck"'"#;
const ATTRIBUTE: &str = r#"printf '[backend.cross]\nattr = "packages.{host}.{name}-for-{arch}"\n' >nixoci.toml; try 'pkgs.runCommand "x" { } ""'"#;

/// Nix 2.25 and later tell the two sides of such an assertion.
#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_assertion_that_two_systems_are_equal_is_a_refusal() {
    let image = "assert pkgs.stdenv.buildPlatform.system == pkgs.stdenv.hostPlatform.system; pkgs.runCommand \"x\" { } \"\"";
    let script = format!(
        "printf '%s' '{{ inputs.nixpkgs.url = \"nixpkgs\"; outputs = {{ self, nixpkgs }}: let pkgs = nixpkgs.legacyPackages.aarch64-linux; in {{
            packages.aarch64-linux.container = {image}; }}; }}' >flake.nix; git add -A; cross .#container"
    );
    let run = NIX_2_34.with(MAC).sh(&copied("crates/cli/tests/fixtures/cross/overlays", &script));
    run.fails(41, "nixoci::cross::asserts").says("cross_asserts_equal");
}

// An error that cross compilation causes names another backend; any other error does not.
each!(
    what_fails_when_it_is_crossed:
    a_program_that_is_run(RUNS, "cross::runs_it", true),
    a_build(FAILS, "nix::build_failed", true),
    an_unavailable_package(UNAVAILABLE, "cross::asserts", true),
    a_file_of_nixpkgs(PATH, "cross::nixpkgs_path", true),
    an_import_of_nixpkgs_by_its_path(IMPORT, "cross::nixpkgs_path", true),
    dockertools_of_its_own(WITH_DB, "cross::needs_linux", true),
    a_missing_file(MISSING, "nix::missing_source", false),
    an_untracked_file(UNTRACKED, "nix::untracked", false),
    a_throw(THROWS, "nix::evaluation", false),
    a_missing_attribute(ATTRIBUTE, "cross::attr", false),
);
fn what_fails_when_it_is_crossed(script: &str, code: &str, instead: bool) {
    let script = format!(
        r#"try() {{ printf '{{ inputs.nixpkgs.url = "nixpkgs"; outputs = {{ self, nixpkgs }}: let pkgs = nixpkgs.legacyPackages.aarch64-linux; in {{\n  packages.aarch64-linux.container = %s;\n}}; }}\n' "$1" >flake.nix
           git add -A; cross .#container; }}
        {script}"#
    );
    let run = NIX_2_34.with(MAC).sh(&copied("crates/cli/tests/fixtures/cross/overlays", &script));
    let exit = run.code;
    let run = run.fails(exit, &format!("nixoci::{code}"));
    assert_ne!(exit, 0);
    assert_eq!(run.err.contains("--backend rosetta"), instead, "{run:#?}");
    assert!(!run.err.contains(".cache/nixoci"), "{run:#?}");
    run.says(&format!("cross_fails_{}", code.replace("::", "_")));
}

const LAYERED: &str = "cp $here/examples/layered/default.nix layered.nix; crossed -f layered.nix";
const IMAGE: &str = r#"image='pkgs.dockerTools.streamLayeredImage { name = "x"; tag = "1"; config.Cmd = [ "${pkgs.pkgsStatic.hello}/bin/hello" ]; }'"#;
const FOUND: &str =
    "echo \"{ pkgs ? import <nixpkgs> { } }: { image = $image; }\" >pkgs.nix; crossed -f pkgs.nix image";
const PINNED: &str = r#"echo "let sources.nixpkgs = /lab/nixpkgs; in import ./inner.nix { pkgs = import sources.nixpkgs { system = \"aarch64-linux\"; }; }" >pinned.nix
    echo "{ pkgs }: $image" >inner.nix; crossed -f pinned.nix"#;

each!(
    a_file_is_crossed_with_whatever_nixpkgs_it_imports:
    with_a_system(LAYERED),
    found_by_nix_path(FOUND),
    pinned(PINNED),
);
fn a_file_is_crossed_with_whatever_nixpkgs_it_imports(script: &str) {
    let script = format!(
        "crossed() {{ cross \"$@\" --load=docker -t $tag -q >&2 && docker run --rm --platform linux/arm64 $tag; docker rmi $tag >&2; }}\n{IMAGE}\n{script}"
    );
    let run = NIX_2_34.with(MAC).sh(&copied("crates/cli/tests/fixtures/cross/overlays", &script));
    run.code(0).out("Hello, world!");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn musl_is_linked_statically_when_the_settings_say_so() {
    let script = r#"printf '[backend.cross]\nlibc = "musl"\nstatic = true\n' >nixoci.toml
        cross .#container --load=docker -t $tag -q >&2 && docker run --rm --platform linux/arm64 $tag
        nixoci inspect docker-archive:<(docker save $tag) | grep -c glibc; docker rmi $tag >&2"#;
    let run = NIX_2_34.with(MAC).sh(&copied("examples/c-hello", script));
    assert_eq!(run.out, "Hello from C!\n0\n", "{run:#?}");
}
