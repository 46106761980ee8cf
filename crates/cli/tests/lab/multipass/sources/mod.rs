//! The part of a project that the guest sees.

use super::*;

mod inputs;
mod sent;

/// Says whether guest and host compute the same derivation for these words of `nixoci plan` and of `nix`. (The guest has Nix 2.26; what a
/// path is called by a newer one is the same.)
const COMPARE: &str = r#"git config --global user.email a@b; git config --global user.name a; git config --global protocol.file.allow always; conf=$PWD/nixoci.toml
compare() { # compare TITLE PLAN… -- NIX…
    title=$1; shift; words=(); while [ "$1" != -- ]; do words+=("$1"); shift; done; shift
    there=$(nixoci --config-file $conf plan --backend multipass --platform linux/arm64 --format json "${words[@]}" 2>$log | grep -o '/nix/store/[a-z0-9]*-x.drv' | head -n 1)
    host=$(nix --extra-experimental-features 'nix-command flakes' eval --raw "$@" 2>$log.nix)
    [ -n "$host" ] && [ "$there" = "$host" ] && echo "$title: same" || { echo "$title: there $there, here $host"; cat $log $log.nix; }
}
flake() { compare "$1" "$2#x" -- --no-write-lock-file "$2#packages.aarch64-linux.x.drvPath"; }
file() { compare "$1" -f "$2" -- --argstr system aarch64-linux -f "$2" drvPath; }
"#;

/// A project in which Git's files differ from those that lie there, with two commits and a branch.
const PROJECT: &str = r#"mkdir -p p/sub; cd p; git init -q -b main; printf '%s' 'FLAKE' > flake.nix; cp flake.nix sub
# Git's copy of this file differs from the one in the work tree.
printf '* text=auto\ncrlf eol=crlf\n' > .gitattributes; printf 'a\r\nb\r\n' > crlf; git add . 2>/dev/null; git commit -qm 0
echo ignored > .gitignore; echo x > ignored; ln -s flake.nix link; for i in 1 2 3; do echo $i > "f $i"; done
printf '#!/bin/sh\n' > run; chmod +x run; git add -A 2>/dev/null; git commit -qm a; echo more >> 'f 1'; git commit -qam b
# A commit whose files were seen here lying there is to Nix the same ever after, whatever Git has of them.
git branch side HEAD~1
"#;

fn compared(host: Host, script: &str, count: usize) {
    let project = PROJECT.replace("FLAKE", FLAKE);
    let script = format!("{COMPARE} provision >/dev/null 2>&1\n{project}{script}");
    let run = host.with(BOTH).sh(&alone("", &script)).code(0);
    assert_eq!(run.out.matches(": same\n").count(), count, "{run:#?}");
}

/// The flake with plain strings only.
fn flake_without_quotes() -> String {
    FLAKE.replace('\'', "")
}
