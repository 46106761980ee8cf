//! Runtimes other than Docker: real Podman, real containerd, real kind, and doubles of what cannot be here.

use super::*;
use crate::harness::shows;

const ALICE: &[&str] = &["--user", "alice"];

each!(podman_gets_the_image_under_all_its_names_and_runs_it: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn podman_gets_the_image_under_all_its_names_and_runs_it(host: Host) {
    host.sh("image=$(nixoci build ./examples/cowsay#container --load=podman -t $tag:1 -t ghcr.io/me/$tag:2) || exit
         test $image = docker.io/library/$tag:1; echo $?; podman run --rm --pull=never $image; podman run --rm --pull=never $tag:1
         podman run --rm --pull=never ghcr.io/me/$tag:2 cowsay moo")
        .code(0)
        .out("0\n")
        .out("< hello world >")
        .out("< moo >");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_ordinary_user_s_podman_takes_images() {
    NIX_2_34.with(ALICE)
        .sh("cd /tmp; nixoci build path:$OLDPWD/examples/cowsay#container --load=podman --no-link -t $tag:1 || exit
             podman image exists docker.io/library/$tag:1 && echo there")
        .code(0)
        .out("there");
}

each!(run_runs_where_the_flag_says: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn run_runs_where_the_flag_says(host: Host) {
    host.sh("env=$(mktemp); echo B=from-a-file > $env
         echo from-stdin | nixoci run -f examples/layered/default.nix --runtime podman -v /usr:/data:ro \\
             -e A=from-a-flag --env-file $env -i --entrypoint bash -- -c 'echo $A $B; ls -d /data/bin; test -e /run/.containerenv && echo podman; cat -; exit 7'")
        .code(7)
        .out("from-a-flag from-a-file")
        .out("/data/bin")
        .out("podman\n")
        .out("from-stdin");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn run_runs_where_the_configuration_says() {
    // Podman makes this file in its containers.
    NIX_2_34
        .sh("NIXOCI_LOAD=podman nixoci run -f examples/layered/default.nix --entrypoint bash -- -c 'test -e /run/.containerenv && echo podman'")
        .code(0)
        .out("podman\n");
}

each!(
    containerd_gets_the_image_under_all_its_names_and_runs_it:
    containerd_1_6(NIX_2_34.with(&["--containerd", "1.6", "--env", "CONTAINERD_NAMESPACE=rt-old"])),
    containerd_2(NIX_2_34.with(&["--containerd", "2", "--env", "CONTAINERD_NAMESPACE=rt-new"])),
    nix_2_26(NIX_2_26),
);
fn containerd_gets_the_image_under_all_its_names_and_runs_it(host: Host) {
    host.sh("image=$(nixoci build ./examples/cowsay#container --load=containerd -t $tag:1 -t ghcr.io/me/$tag:2) || exit
         test $image = docker.io/library/$tag:1; echo $?; ctr_run $image $tag-1; ctr_run ghcr.io/me/$tag:2 $tag-2 cowsay moo")
        .code(0)
        .out("0\n")
        .out("< hello world >")
        .out("< moo >");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn containerd_takes_another_platform_s_image_and_runs_it_by_emulation() {
    let run = NIX_2_34.with(&["--arm64"])
        .sh("image=$(nixoci build ./examples/cowsay#container --platform linux/arm64 --load=containerd -t $tag:1) || exit
             ctr_run --platform linux/arm64 $image $tag | tee /dev/stderr | grep -c '< hello world >'")
        .code(0);
    assert_eq!(run.out, "1\n", "{run:#?}");
    let line = run.err.lines().find(|line| line.contains("emulator")).unwrap_or_default();
    shows("runtime_needs_an_emulator", line);
}

each!(
    containerd_out_of_reach_says_how_to_reach_it:
    down_1_6(&["--containerd", "1.6", "--without", "containerd-daemon"], 60, "down"),
    down_2(&["--containerd", "2", "--without", "containerd-daemon"], 60, "down"),
    forbidden(ALICE, 22, "permission"),
    missing(&["--without", "containerd"], 21, "missing"),
);
fn containerd_out_of_reach_says_how_to_reach_it(flags: &'static [&'static str], exit: i32, code: &str) {
    NIX_2_34
        .with(flags)
        .sh("cd /tmp; nixoci build path:$OLDPWD/examples/cowsay#container --load=containerd")
        .fails(exit, &format!("nixoci::runtime::{code}"))
        .says(&format!("runtime_containerd_{code}"));
}

each!(
    what_cannot_be_run_is_refused_before_it_is_built:
    in_kind("kind"),
    // nerdctl is not in Debian.
    in_containerd("containerd"),
);
fn what_cannot_be_run_is_refused_before_it_is_built(runtime: &str) {
    let run = NIX_2_34
        .sh(&format!("nixoci run ./examples/hello#container --runtime {runtime}"))
        .fails(2, "nixoci::runtime::cannot_run");
    assert!(!run.err.contains("building hello"), "{run:#?}");
    run.says(&format!("runtime_cannot_run_{runtime}"));
}

const APPLE: &[&str] = &["--with", "apple"];

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn apple_s_container_takes_the_archive() {
    let run = NIX_2_34.with(APPLE)
        .sh("export LAB_APPLE_STORE=$(mktemp -d)
             nixoci build ./examples/cowsay#container --load=apple -t rt-apple:1 -t ghcr.io/me/rt-apple:2 || exit
             container image list -q | sort")
        .code(0);
    assert_eq!(run.out, "docker.io/library/rt-apple:1\nghcr.io/me/rt-apple:2\nrt-apple:1\n");
}

each!(apple_s_container_that_is_down_says_how_to_start_it: stopped("stopped"), unregistered("unregistered"));
fn apple_s_container_that_is_down_says_how_to_start_it(state: &str) {
    NIX_2_34
        .with(APPLE)
        .sh(&format!("LAB_APPLE={state} nixoci build ./examples/cowsay#container --load=apple"))
        .fails(60, "nixoci::runtime::down")
        .says(&format!("runtime_apple_{state}"));
}

/// Two clusters of kind, `$a` and `$b`; `load` loads into the one of this name.
const KIND: &str = "a=$tag-a b=$tag-b; trap 'kind-node delete $a >&2; kind-node delete $b >&2' EXIT
    kind-node create $a >&2 && kind-node create $b >&2 || exit 99
    load() { KIND_CLUSTER_NAME=$1 nixoci build ./examples/cowsay#container --load=kind -t $tag:1; }\n";

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn kind_s_nodes_get_the_image() {
    let script = format!(
        "{KIND} test $(load $b) = docker.io/library/$tag:1; echo $?
         for node in $a $b; do docker exec $node-control-plane ctr -n k8s.io images ls -q | grep -c $tag; done"
    );
    NIX_2_34.with(&["--with", "kind"]).sh(&script).out("0\n0\n1\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn one_of_several_clusters_of_kind_has_to_be_named() {
    let script = format!("{KIND} nixoci build ./examples/cowsay#container --load=kind");
    let run = NIX_2_34.with(&["--with", "kind"]).sh(&script).fails(10, "nixoci::runtime::cluster");
    // The list also has the clusters of other tests.
    run.err("export KIND_CLUSTER_NAME=");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_cluster_of_kind_that_is_stopped_is_told() {
    let script = format!("{KIND} docker stop -t 0 $b-control-plane >&2; load $b");
    NIX_2_34
        .with(&["--with", "kind"])
        .sh(&script)
        .fails(60, "nixoci::runtime::down")
        .says("runtime_kind_stopped");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_cluster_of_kind_that_is_not_there_is_told() {
    let script = format!("{KIND} load rt-x");
    NIX_2_34.with(&["--with", "kind"]).sh(&script).fails(10, "nixoci::runtime::cluster").err("rt-x");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn kind_without_docker_is_down() {
    NIX_2_34
        .with(&["--with", "kind", "--without", "docker-daemon"])
        .sh("nixoci build ./examples/cowsay#container --load=kind")
        .fails(60, "nixoci::runtime::down")
        .says("runtime_kind_down");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn k3d_s_nodes_get_the_image() {
    let script = "image=$(nixoci build ./examples/cowsay#container --load=k3d -t $tag:1) || exit
            ctr -n k8s.io images ls -q | grep -cx $image";
    NIX_2_34.with(&["--with", "k3d"]).sh(script).code(0).out("1\n");
}

each!(
    a_cluster_of_k3d_that_cannot_be_used_is_told:
    one_of_several("LAB_K3D=a=running,b=running", 10, "cluster", "runtime_k3d_several"),
    stopped("LAB_K3D=a=stopped", 60, "down", "runtime_k3d_stopped"),
    none("LAB_K3D=", 10, "cluster", "runtime_k3d_none"),
);
fn a_cluster_of_k3d_that_cannot_be_used_is_told(knob: &str, exit: i32, code: &str, message: &str) {
    NIX_2_34
        .with(&["--with", "k3d"])
        .sh(&format!("{knob} nixoci build ./examples/cowsay#container --load=k3d"))
        .fails(exit, &format!("nixoci::runtime::{code}"))
        .says(message);
}

each!(minikube_s_node_gets_the_image_whatever_runs_in_it: docker("docker"), containerd("containerd"));
fn minikube_s_node_gets_the_image_whatever_runs_in_it(runtime: &str) {
    let script = format!(
        "export LAB_MINIKUBE_RUNTIME={runtime}
         nixoci build ./examples/cowsay#container --load=minikube -t $tag:1 -t $tag:2 >&2 || exit
         for n in 1 2; do minikube image ls | grep -cx docker.io/library/$tag:$n; done"
    );
    NIX_2_34.with(&["--with", "minikube"]).sh(&script).code(0).out("1\n1\n");
}

each!(
    a_profile_of_minikube_that_cannot_be_used_is_told:
    stopped("LAB_MINIKUBE=m=Stopped", 60, "down", "runtime_minikube_stopped"),
    one_of_several("LAB_MINIKUBE=a=Running,b=Running", 10, "cluster", "runtime_minikube_several"),
);
fn a_profile_of_minikube_that_cannot_be_used_is_told(knob: &str, exit: i32, code: &str, message: &str) {
    NIX_2_34
        .with(&["--with", "minikube"])
        .sh(&format!("{knob} nixoci build ./examples/cowsay#container --load=minikube"))
        .fails(exit, &format!("nixoci::runtime::{code}"))
        .says(message);
}

const NO_DOCKER: &[&str] = &["--without", "docker"];
const NO_DOCKER_NO_PODMAN: &[&str] = &["--without", "docker-daemon", "--without", "podman"];
const ONLY_APPLE: &[&str] =
    &["--without", "docker", "--without", "podman", "--without", "containerd-daemon", "--with", "apple"];

each!(
    auto_takes_what_runs_and_says_what_it_passed_over:
    docker(&[], "docker"),
    podman(NO_DOCKER, "podman"),
    containerd(NO_DOCKER_NO_PODMAN, "containerd"),
    apple(ONLY_APPLE, "apple"),
);
fn auto_takes_what_runs_and_says_what_it_passed_over(flags: &'static [&'static str], runtime: &str) {
    let script = "export LAB_APPLE_STORE=$(mktemp -d); image=$(nixoci build ./examples/cowsay#container --load -t $tag:1 --metadata-file $XDG_CACHE_HOME/meta) || exit
        jq -r '.images[].outputs[].dest' $XDG_CACHE_HOME/meta";
    let run = NIX_2_34.with(flags).sh(script).code(0).out(&format!("{runtime}\n"));
    let lines: Vec<&str> = run.err.lines().filter(|line| line.contains(" takes the image")).collect();
    shows(&format!("runtime_auto_{runtime}"), &lines.join("\n"));
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn auto_runs_nothing_in_containerd_without_nerdctl() {
    NIX_2_34
        .with(&["--without", "docker", "--without", "podman"])
        .sh("nixoci run ./examples/cowsay#container")
        .fails(60, "nixoci::runtime::none")
        .says("runtime_auto_runs_nothing");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn where_nothing_runs_every_runtime_says_why() {
    let run = NIX_2_34
        .with(&["--without", "docker-daemon", "--without", "podman", "--without", "containerd-daemon"])
        .sh("nixoci build ./examples/hello#container --load");
    assert!(!run.err.contains("building hello"), "{run:#?}");
    // An installed runtime that is stopped is the most likely cause, and comes first.
    run.fails(60, "nixoci::runtime::none").says("runtime_none_runs");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn where_no_runtime_is_installed_one_is_named() {
    NIX_2_34
        .with(&["--without", "docker", "--without", "podman", "--without", "containerd"])
        .sh("nixoci build ./examples/hello#container --load")
        .fails(21, "nixoci::runtime::missing")
        .says("runtime_none_is_installed");
}

each!(load_takes_an_archive_into: podman("podman"), containerd("containerd"));
fn load_takes_an_archive_into(runtime: &str) {
    let script = format!(
        "cd $XDG_CACHE_HOME; nixoci build $OLDPWD/examples/cowsay#container -o archive:x.tar -t $tag:1 >&2 || exit
         nixoci load x.tar --runtime {runtime} --format json >report || exit; jq -r '[.. | .runtime? // empty][0]' report; grep -c docker.io/library/$tag:1 report"
    );
    let run = NIX_2_34.sh(&script).code(0);
    assert!(run.out.starts_with(&format!("{runtime}\n")) && !run.out.ends_with("\n0\n"), "{run:#?}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn doctor_knows_every_runtime() {
    let script = "nixoci doctor --format json | jq -r '.runtimes | to_entries[] | \"\\(.key) \\(.value[].verdict)\"' | sort";
    let run = NIX_2_34.with(&["--with", "minikube", "--without", "docker-daemon"]).sh(script).code(0);
    assert_eq!(run.out, "containerd good\ndocker warning\nminikube good\npodman good\n", "{run:#?}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn docker_s_socket_is_for_docker() {
    NIX_2_34
        .with(NO_DOCKER)
        .sh("nixoci build ./examples/cowsay#container --load=podman --docker-host unix:///x.sock")
        .fails(2, "nixoci::usage");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_image_that_a_runtime_refuses_is_kept_and_the_way_to_try_again_is_said() {
    // k3d exits well though its node refused. The command that is named is tried, with a runtime that takes images.
    let run = NIX_2_34.with(&["--with", "k3d"]).sh("real=$(command -v k3d); mkdir $XDG_CACHE_HOME/bin; PATH=$XDG_CACHE_HOME/bin:$PATH
         printf '#!/bin/sh\nLAB_K3D=dev=stopped; [ \"$1\" != cluster ] || LAB_K3D=dev=running; export LAB_K3D; exec %s \"$@\"' $real >$XDG_CACHE_HOME/bin/k3d
         chmod +x $XDG_CACHE_HOME/bin/k3d
         nixoci build ./examples/cowsay#container --load=k3d -t $tag:1 2>$XDG_CACHE_HOME/err; echo code $?; cat $XDG_CACHE_HOME/err >&2
         eval $(grep -o 'nixoci load .*' $XDG_CACHE_HOME/err | sed 's/k3d$/podman/') | grep -cx docker.io/library/$tag:1");
    run.code(0).out("code 60\n1\n").err("> ERRO[0000] failed to import images");
}
