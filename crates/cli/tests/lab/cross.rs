//! Images that a Mac cross compiles, with no Linux builder at all, from projects that know nothing of it.

use super::*;

/// A Mac with Nix and nobody to build for it.
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

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_unmodified_flake_in_c_is_crossed_and_prints_what_a_linux_machine_s_prints() {
    for host in [NIX_2_26, NIX_2_34] {
        let tag = format!("cross-c{}", host.nix.replace('.', ""));
        let script = copied(
            "examples/c-hello",
            &format!(
                "cross .#container --load=docker -t {tag}:1 && docker run --rm --platform linux/arm64 {tag}:1
                 nixoci inspect docker-archive:<(docker save {tag}:1) | grep ^crossed"
            ),
        );
        host.with(MAC).sh(&script).code(0).out("Hello from C!\n").out("for aarch64-unknown-linux-gnu: ");
    }
    // A Linux machine crosses as well.
    let script = copied(
        "examples/c-hello",
        "cross .#container --load=docker -t cross-linux:1 && docker run --rm --platform linux/arm64 cross-linux:1; \
         nixoci build --backend cross --platform linux/amd64 .#container",
    );
    NIX_2_34.sh(&script).fails(20, "nixoci::cross::native").out("Hello from C!\n");
    let script = copied(
        "examples/c-hello",
        "nixoci build --backend rosetta --platform linux/arm64 .#container --load=docker -t cross-native:1 && \
         docker run --rm --platform linux/arm64 cross-native:1",
    );
    NIX_2_34.with(ROSETTA).sh(&script).code(0).out("Hello from C!\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn what_it_costs_is_counted_beforehand_and_too_much_is_somebody_else_s() {
    let script = format!(
        r#"{UNBUILT}
        nixoci plan --backend cross,rosetta --platform linux/arm64 .#container
        printf '[profile.p]\nbackend = ["cross", "rosetta"]\n[backend.cross]\nmax-local-builds = 5\n' >nixoci.toml
        nixoci plan --profile p --platform linux/arm64 .#container
        nixoci build --profile p --platform linux/arm64 .#container --load=docker -t cross-cow:1 && docker run --rm --platform linux/arm64 cross-cow:1
        cross .#container"#
    );
    let run = NIX_2_34.with(ROSETTA).sh(&copied("examples/cowsay", &script));
    let run = run.fails(20, "nixoci::cross::too_much").err("rosetta takes over").out("< hello world >");
    let cost = run.out.lines().find(|line| line.starts_with("cost")).unwrap_or_default();
    for word in ["derivations to build on this machine", "2 x gcc", "glibc", "perl", "some hours"] {
        assert!(cost.contains(word), "{cost}");
    }
    // The plan has all of it: what the other would do, and that it takes over.
    let run = run.out("          rosetta: ").out("not cross: cross compilation would build ");
    run.err("and 5 are allowed").err("nixoci build --max-local-builds ");
    // A limit that is raised for once.
    let script = format!(
        "{UNBUILT}\nprintf '[backend.cross]\\nmax-local-builds = 5\\n' >nixoci.toml
         cross .#container --max-local-builds 100 && nixoci build --backend cross --platform linux/arm64 .#container"
    );
    let run = NIX_2_34.with(MAC).sh(&copied("examples/c-hello", &script)).code(0);
    assert_eq!(run.err.matches("cross compilation: ").count(), 1, "{run:#?}");
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
    assert!(
        costs[2].contains("fetched") && !costs[2].contains("gcc") && costs[2].ends_with("a minute or two"),
        "{run:#?}"
    );
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn flakes_of_every_style_are_crossed_or_refused_with_the_reason() {
    let styles = [
        "inline-import",
        "legacy-packages",
        "per-system",
        "each-system",
        "overlays",
        "two-nixpkgs",
        "follows",
        "in-circles",
        "other-name",
        "explicit",
    ];
    let script = format!(
        "for style in {}; do
           (cd $style; cross -q .#container --load=docker -t cross-$style:1 && docker run --rm --platform linux/arm64 cross-$style:1) || echo $style failed
         done",
        styles.join(" ")
    );
    for host in [NIX_2_26, NIX_2_34] {
        let run = host.with(MAC).sh(&copied("crates/cli/tests/fixtures/cross", &script)).code(0);
        assert_eq!(run.out.matches("Hello, world!").count(), styles.len(), "{run:#?}");
    }
    let refused = |style: &str| {
        NIX_2_34
            .with(MAC)
            .sh(&copied(&format!("crates/cli/tests/fixtures/cross/{style}"), "cross .#container"))
    };
    let instead = "nixoci build --backend multipass";
    refused("no-nixpkgs").fails(41, "nixoci::cross::no_nixpkgs").err(instead);
    refused("asserts").fails(41, "nixoci::cross::asserts").err("buildPlatform.isLinux").err(instead);
    refused("run-as-root").fails(41, "nixoci::cross::needs_linux").err("it uses `runAsRoot`").err(instead);
    let script = copied("crates/cli/tests/fixtures/cross/run-as-root", "cross .#chrooted");
    NIX_2_34.with(MAC).sh(&script).fails(41, "nixoci::cross::needs_linux").err("it uses `enableFakechroot`");
    refused("import-from-derivation").fails(41, "nixoci::cross::needs_linux").err(instead);
    // What is wrong with a project is told of the project.
    let nothing = "cross .#nothing; cross --file . nothing";
    let run = NIX_2_34.with(MAC).sh(&copied("crates/cli/tests/fixtures/cross/overlays", nothing));
    run.err("has no `nothing`").err("for aarch64-linux it has: container");
}

/// What goes wrong because a project is crossed, and what would go wrong anyway.
#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn who_builds_instead_is_said_of_what_fails_when_it_is_crossed() {
    let script = r#"flake() { printf '{ inputs.nixpkgs.url = "nixpkgs"; outputs = { self, nixpkgs }: let pkgs = nixpkgs.legacyPackages.aarch64-linux; in {\n  packages.aarch64-linux.container = %s;\n}; }\n' "$1" >flake.nix; git add -A; }
        try() { echo "== $1"; flake "$2"; cross .#container 2>&1; echo "code $?"; }
        try runs 'pkgs.runCommand "runs" { } "echo /nix/store/x/bin/y: cannot execute binary file: Exec format error >\&2; exit 126"'
        try fails 'pkgs.runCommand "fails" { } "echo hopeless; exit 3"'
        try unavailable 'if pkgs.stdenv.buildPlatform.isLinux then pkgs.runCommand "x" { } "" else throw "Package x is not available on the requested hostPlatform"'
        try missing 'import ./nope.nix'; echo '{ }' >untracked.nix; git rm -qf --cached untracked.nix 2>/dev/null
        echo "== untracked"; printf '{ outputs = { self }: { packages.aarch64-linux.container = import ./new.nix; }; }' >flake.nix; git add -A; echo 1 >new.nix; cross .#container 2>&1
        try throws 'throw "no luck"'
        printf '[backend.cross]\nattr = "packages.{host}.{name}-for-{arch}"\n' >nixoci.toml; try attr 'pkgs.runCommand "x" { } ""'"#;
    let run = NIX_2_34.with(MAC).sh(&copied("crates/cli/tests/fixtures/cross/overlays", script));
    let parts: std::collections::BTreeMap<&str, &str> =
        run.out.split("== ").skip(1).filter_map(|part| part.split_once('\n')).collect();
    for (part, code, word, instead) in [
        ("runs", "nixoci::cross::runs_it", "made to run a Linux program", true),
        ("fails", "nixoci::nix::build_failed", "it was cross compiled", true),
        ("unavailable", "nixoci::cross::asserts", "is not available on the requested", true),
        ("missing", "nixoci::nix::missing_source", "`nope.nix`, which does not exist", false),
        ("untracked", "nixoci::nix::untracked", "`new.nix`, because Git does not track it", false),
        ("throws", "nixoci::nix::evaluation", "no luck", false),
        ("attr", "nixoci::cross::attr", "it has no `packages.aarch64-darwin.container-for-arm64`", false),
    ] {
        let said = parts[part];
        assert!(said.contains(&format!("explain {code}\n")) && said.contains(word), "{part}: {said}");
        assert_eq!(said.contains("--backend rosetta"), instead, "{part}: {said}");
        assert!(!said.contains(".cache/nixoci"), "{part}: {said}");
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn files_are_crossed_with_whatever_nixpkgs_they_import() {
    let script = r#"cp $here/examples/layered/default.nix layered.nix
        cross -f layered.nix --load=docker -t cross-layered:1 -q && docker run --rm --platform linux/arm64 cross-layered:1
        image='pkgs.dockerTools.streamLayeredImage { name = "x"; tag = "1"; config.Cmd = [ "${pkgs.pkgsStatic.hello}/bin/hello" ]; }'
        echo "{ pkgs ? import <nixpkgs> { } }: { image = $image; }" >pkgs.nix
        echo "let sources.nixpkgs = /lab/nixpkgs; in import ./inner.nix { pkgs = import sources.nixpkgs { system = \"aarch64-linux\"; }; }" >pinned.nix
        echo "{ pkgs }: $image" >inner.nix
        cross -f pkgs.nix image --load=docker -t cross-x:1 -q && docker run --rm --platform linux/arm64 cross-x:1
        cross -f pinned.nix --load=docker -t cross-x:1 -q && docker run --rm --platform linux/arm64 cross-x:1
        printf '[backend.cross]\nlibc = "musl"\nstatic = true\n' >nixoci.toml
        cp $here/examples/c-hello/* .; git add -A; cross .#container --load=docker -t cross-musl:1 -q && docker run --rm --platform linux/arm64 cross-musl:1
        nixoci inspect docker-archive:<(docker save cross-musl:1) | grep -c glibc"#;
    let run = NIX_2_34.with(MAC).sh(&copied("crates/cli/tests/fixtures/cross/overlays", script));
    assert_eq!(run.out.matches("Hello, world!").count(), 3, "{run:#?}");
    run.out("Hello from C!\n0\n");
}
