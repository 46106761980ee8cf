//! A virtual machine of Multipass's, on a Mac without Nix: from nothing to a container, and what goes wrong on the way.

use super::*;

/// Macs with nothing but Multipass.
const RELEASE: &[&str] = &["--as", "mac", "--without", "nix", "--user", "alice", "--with", "multipass"];
const NEXT: &[&str] = &["--as", "mac", "--without", "nix", "--user", "alice", "--with", "multipass-1.17"];
/// A Mac that has Nix, too, to compare with.
const BOTH: &[&str] = &["--as", "mac", "--user", "alice", "--with", "multipass"];

/// A script in an empty directory, with a virtual machine `$vm` of its own, that goes at the end. `build` builds there.
fn alone(settings: &str, script: &str) -> String {
    format!(
        r#"here=$PWD log=$(mktemp); cd $(mktemp -d); export XDG_STATE_HOME=$(mktemp -d) vm=t$$-$RANDOM
trap 'multipass delete -p $vm >/dev/null 2>&1; rm -rf $XDG_STATE_HOME; chmod -R u+w $XDG_CACHE_HOME; rm -rf $XDG_CACHE_HOME' EXIT
printf '%s' "[backend.multipass]
instance = '$vm'
memory = '2G'
disk = '10G'
{settings}" > nixoci.toml
build() {{ nixoci build --backend multipass -y "$@"; }}
provision() {{ nixoci provision --backend multipass -y "$@"; }}
guest() {{ multipass exec -n $vm -- sh -c "$1"; }}
tiny() {{ build -q --no-link -f t.nix --argstr n "$RANDOM$RANDOM" "$@"; }}
printf '%s' '{EXPRESSION}' > t.nix
{script}"#
    )
}

/// A derivation of its own for every run, so that nobody has built it before.
const EXPRESSION: &str = r#"{ system, n, cmd ? "echo hi > $out" }: derivation {
  name = "t-${n}"; inherit system; builder = "/bin/sh"; args = [ "-c" cmd ];
}"#;

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn from_nothing_to_a_container_and_then_nothing_is_moved() {
    let script = alone(
        "",
        r#"cp $here/examples/layered/default.nix .
        nixoci plan --backend multipass -f default.nix
        build -f default.nix --load=docker 2>$log || { cat $log; exit 1; }
        grep -c 'to do$' $log
        nixoci plan --backend multipass -f default.nix
        build -f default.nix --load=docker --format json 2>$log >$log.json || { cat $log; exit 1; }
        grep -E '^(launch|start|sett|sent|build|copy)' $log
        grep -o '"fetchedBytes": *[0-9]*' $log.json; docker run --rm $(grep -o '"reference": *"[^"]*' $log.json | head -n1 | cut -d'"' -f4)
        provision --stop; multipass list | grep $vm
        build -q -f default.nix --no-link && guest 'echo awake again'
        provision --remove; multipass list | grep $vm || echo removed"#,
    );
    for options in [RELEASE, NEXT] {
        let run = NEW.with(options).sh(&script).code(0);
        assert!(run.out.contains("to do\n") && run.out.contains(": done\n"), "{run:#?}");
        let run = run.out("Hello, world!").out("Stopped").out("awake again").out("removed\n").err("is gone");
        // Two steps were to do the first time, and nothing the second time.
        assert!(run.out.contains("\n2\n") && run.out.contains("\"fetchedBytes\": 0"), "{run:#?}");
        assert!(
            !["sent 1", "launching", "setting", "building"].iter().any(|word| run.out.contains(word)),
            "{run:#?}"
        );
    }
}

/// A flake whose derivation names everything that a flake knows of its source.
const FLAKE: &str = r#"{ outputs = { self }: { packages.aarch64-linux.x = builtins.derivation {
  name = "x"; system = "aarch64-linux"; builder = "/bin/sh";
  args = [ "${self}" (self.rev or "no") (self.dirtyRev or "no") (toString (self.revCount or 0)) (toString self.lastModified) ]; }; }; }"#;

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn the_guest_computes_the_derivation_that_the_host_would() {
    let script = alone(
        "",
        &r#"git config --global user.email a@b; git config --global user.name a; settings=$PWD/nixoci.toml
        mkdir -p p/sub; cd p; git init -q -b main; printf '%s' 'FLAKE' > flake.nix; cp flake.nix sub
        # What a checkout would change is the blob's in a clean tree, and the file's in one that is not.
        printf 'a\r\nb\r\n' > crlf; git add crlf; git commit -qm 0; echo '* text=auto' > .gitattributes
        echo ignored > .gitignore; echo x > ignored; ln -s flake.nix link; for i in 1 2 3; do echo $i > "f $i"; done
        printf '#!/bin/sh\n' > run; chmod +x run; git add -A 2>/dev/null; git commit -qm a; echo more >> 'f 1'; git commit -qam b
        nixoci --config-file $settings provision --backend multipass -y >/dev/null 2>&1
        same() {
            there=$(nixoci --config-file $settings plan --backend multipass "$1#x" --platform linux/arm64 --format json 2>$log | grep -o '/nix/store/[a-z0-9]*-x.drv' | head -n 1)
            host=$(nix --extra-experimental-features 'nix-command flakes' eval --no-write-lock-file --raw "$1#packages.aarch64-linux.x.drvPath" 2>/dev/null)
            [ -n "$host" ] && [ "$there" = "$host" ] && echo "$2 $1: same" || { echo "$2 $1: there $there, here $host"; cat $log; }
        }
        for r in . ./sub '.?dir=sub' path:. "git+file://$PWD?ref=main" "git+file://$PWD?rev=$(git rev-parse HEAD~1)"; do same "$r" clean; done
        echo dirt >> 'f 2'; echo new > f4; git add -N f4; rm 'f 3'; echo staged > f5; git add f5; git mv run run2; echo untracked > u
        for r in . ./sub '.?dir=sub' path:.; do same "$r" dirty; done
        echo more >> 'f 2'; same . dirtier
        git add -A; git commit -qm c; same . committed; git checkout -q HEAD~1; same . older
        rm -rf .git; same . plain; git init -q -b main; git add .; same . unborn"#
            .replace("FLAKE", FLAKE),
    );
    for host in [OLD, NEW] {
        // The guest has Nix 2.26; what a path is called by a newer one is the same.
        let run = host.with(BOTH).sh(&script).code(0);
        assert_eq!(run.out.matches(": same").count(), 15, "{run:#?}");
    }
}
