//! Platforms other than the host's own.

use crate::{NEW, OLD};

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn arm64_without_an_emulator_says_why_and_what_to_do() {
    for host in [OLD, NEW] {
        host.sh("nixoci build --platform linux/arm64 ./examples/cowsay#container --no-link")
            .fails(20, "nixoci::backend::none")
            .err("no backend can build for linux/arm64")
            .err("this machine's Nix builds for x86_64-linux, not for aarch64-linux")
            .err("extra-platforms = aarch64-linux");
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn arm64_with_an_emulator_builds_and_runs() {
    for host in [OLD.with(&["--arm64"]), NEW.with(&["--arm64"])] {
        host.sh(
            "cd $(mktemp -d) && cp -r $OLDPWD/examples/cowsay . && nixoci build --platform linux/arm64 ./cowsay#container -t cow:arm64 --load -o archive:a.tar || exit
             nixoci inspect a.tar | grep -E '^(platform|starts|program)'; docker run --rm cow:arm64; docker rmi -f cow:arm64 >/dev/null",
        )
        .code(0)
        .out("linux/arm64")
        .out("aarch64")
        .out("< hello world >");
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_image_for_another_cpu_than_it_says_is_refused() {
    NEW.with(&["--arm64"])
        .sh(
            "cd $(mktemp -d); cat > default.nix <<'END'
{ system ? builtins.currentSystem }:
let native = import <nixpkgs> { system = \"x86_64-linux\"; }; arm = import <nixpkgs> { system = \"aarch64-linux\"; }; in
native.dockerTools.buildLayeredImage { name = \"liar\"; tag = \"1\"; config.Cmd = [ \"${arm.pkgsStatic.hello}/bin/hello\" ]; }
END
             nixoci build -f default.nix --no-link; echo code $?; nixoci build -f default.nix --no-link --allow-mismatch; echo code $?",
        )
        .code(0)
        .out("code 42")
        .out("code 0")
        .err("another CPU")
        .err("aarch64");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_attribute_pins_its_platform() {
    NEW.sh("nixoci build --platform linux/arm64 ./examples/cowsay#packages.x86_64-linux.container")
        .fails(2, "nixoci::usage")
        .err("the attribute is for linux/amd64");
    NEW.sh("nixoci build ./examples/cowsay#packages.aarch64-linux.container --no-link")
        .fails(20, "nixoci::backend::none");
}
