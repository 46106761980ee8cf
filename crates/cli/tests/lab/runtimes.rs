//! Runtimes other than Docker: real Podman, real containerd, real kind, and doubles of what cannot be here.

use super::*;

each!(podman_gets_the_image_under_all_its_names_and_runs_it: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn podman_gets_the_image_under_all_its_names_and_runs_it(host: Host) {
    host.sh("image=$(nixoci build ./examples/cowsay#container --load=podman -t rt-podman:1 -t ghcr.io/me/rt-podman:2) || exit
         echo $image; podman run --rm --pull=never $image; podman run --rm --pull=never rt-podman:1
         podman run --rm --pull=never ghcr.io/me/rt-podman:2 cowsay moo")
        .code(0)
        .out("docker.io/library/rt-podman:1\n")
        .out("< hello world >")
        .out("< moo >")
        .err("loading into podman");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_ordinary_user_s_podman_takes_images() {
    NIX_2_34.with(&["--user", "alice"])
        .sh("cd /tmp; nixoci build path:$OLDPWD/examples/cowsay#container --load=podman --no-link -t rt-alice:1 || exit
             podman image exists docker.io/library/rt-alice:1 && echo there")
        .code(0)
        .out("there");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn run_runs_where_it_is_told_to() {
    for host in [NIX_2_26, NIX_2_34] {
        host.sh("env=$(mktemp); echo B=from-a-file > $env
             echo from-stdin | nixoci run -f examples/layered/default.nix --runtime podman -v /usr:/data:ro \\
                 -e A=from-a-flag --env-file $env -i --entrypoint bash -- -c 'echo $A $B; ls -d /data/bin; cat -; exit 7'")
            .code(7)
            .out("from-a-flag from-a-file")
            .out("/data/bin")
            .out("from-stdin");
    }
    // As the configuration says, too.
    NIX_2_34
        .sh("NIXOCI_LOAD=podman nixoci run ./examples/cowsay#container -- cowsay moo")
        .code(0)
        .out("< moo >")
        .err("loading into podman");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn containerd_gets_the_image_under_all_its_names_and_runs_it() {
    for host in [
        NIX_2_34.with(&["--containerd", "1.6", "--env", "CONTAINERD_NAMESPACE=rt-old"]),
        NIX_2_34.with(&["--containerd", "2", "--env", "CONTAINERD_NAMESPACE=rt-new"]),
        NIX_2_26,
    ] {
        host.sh("image=$(nixoci build ./examples/cowsay#container --load=containerd -t rt-ctr:1 -t ghcr.io/me/rt-ctr:2) || exit
             echo $image; ctr run --rm $image rt-ctr-$$; ctr run --rm ghcr.io/me/rt-ctr:2 rt-ctr2-$$ cowsay moo")
            .code(0)
            .out("docker.io/library/rt-ctr:1\n")
            .out("< hello world >")
            .out("< moo >");
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn containerd_takes_another_platform_s_image_and_runs_it_by_emulation() {
    NIX_2_34.with(&["--arm64"])
        .sh("image=$(nixoci build ./examples/cowsay#container --platform linux/arm64 --load=containerd -t rt-arm:1) || exit
             ctr run --rm --platform linux/arm64 $image rt-arm-$$")
        .code(0)
        .out("< hello world >")
        .err("needs an emulator");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn containerd_out_of_reach_says_how_to_reach_it() {
    let build = "cd /tmp; nixoci build path:$OLDPWD/examples/cowsay#container --load=containerd";
    for containerd in ["1.6", "2"] {
        let daemon: &[&str] = match containerd {
            "2" => &["--containerd", "2", "--without", "containerd-daemon"],
            _ => &["--containerd", "1.6", "--without", "containerd-daemon"],
        };
        NIX_2_34
            .with(daemon)
            .sh(build)
            .fails(60, "nixoci::runtime::down")
            .err("containerd does not answer")
            .err("sudo systemctl start containerd");
    }
    NIX_2_34
        .with(&["--user", "alice"])
        .sh(build)
        .fails(22, "nixoci::runtime::permission")
        .err("sudo ctr images import")
        .err("containerd-rootless-setuptool.sh nsenter");
    NIX_2_34
        .with(&["--without", "containerd"])
        .sh(build)
        .fails(21, "nixoci::runtime::missing")
        .err("the ctr command was not found");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn what_cannot_be_run_is_refused_before_it_is_built() {
    let kind = NIX_2_34
        .sh("nixoci run ./examples/hello#container --runtime kind")
        .fails(2, "nixoci::runtime::cannot_run");
    assert!(!kind.err.contains("building hello"), "{kind:#?}");
    kind.err("kubectl run");
    // nerdctl is not in Debian.
    NIX_2_34
        .sh("nixoci run ./examples/hello#container --runtime containerd")
        .fails(2, "nixoci::runtime::cannot_run")
        .err("ctr --namespace default run");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn apple_s_container_takes_the_archive() {
    let apple = NIX_2_34.with(&["--with", "apple"]);
    apple
        .sh("export LAB_APPLE_STORE=$(mktemp -d)
             image=$(nixoci build ./examples/cowsay#container --load=apple -t rt-apple:1 -t ghcr.io/me/rt-apple:2) || exit
             echo $image; container image list -q")
        .code(0)
        .out("docker.io/library/rt-apple:1\n")
        .out("\nrt-apple:1\n")
        .out("ghcr.io/me/rt-apple:2\n");
    for state in ["stopped", "unregistered"] {
        apple
            .sh(&format!("LAB_APPLE={state} nixoci build ./examples/cowsay#container --load=apple"))
            .fails(60, "nixoci::runtime::down")
            .err("container system start");
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn kind_s_nodes_get_the_image() {
    let run =
        NIX_2_34.with(&["--with", "kind"]).sh("trap 'kind-node delete rt-a; kind-node delete rt-b' EXIT
         kind-node create rt-a && kind-node create rt-b || exit
         KIND_CLUSTER_NAME=rt-b nixoci build ./examples/cowsay#container --load=kind -t rt-kind:1 || exit
         docker exec rt-b-control-plane ctr -n k8s.io images ls -q
         nixoci build ./examples/cowsay#container --load=kind; echo several $?
         docker stop -t 0 rt-b-control-plane
         KIND_CLUSTER_NAME=rt-b nixoci build ./examples/cowsay#container --load=kind; echo stopped $?
         KIND_CLUSTER_NAME=rt-x nixoci build ./examples/cowsay#container --load=kind; echo unknown $?");
    let run = run.code(0).out("docker.io/library/rt-kind:1").err("loading into kind in cluster rt-b");
    let run = run.out("several 10").err("kind has several clusters").err("export KIND_CLUSTER_NAME=");
    let run = run.out("stopped 60").err("is not running");
    run.out("unknown 10").err("kind has no cluster `rt-x`");
    NIX_2_34
        .with(&["--with", "kind", "--without", "docker-daemon"])
        .sh("nixoci build ./examples/cowsay#container --load=kind")
        .fails(60, "nixoci::runtime::down")
        .err("systemctl start docker");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn k3d_s_nodes_get_the_image() {
    let k3d = NIX_2_34.with(&["--with", "k3d"]);
    k3d.sh("nixoci build ./examples/cowsay#container --load=k3d -t rt-k3d:1 || exit
            ctr -n k8s.io images ls -q | grep rt-k3d")
        .code(0)
        .out("docker.io/library/rt-k3d:1\n")
        .err("loading into k3d in cluster k3s-default");
    let build = "nixoci build ./examples/cowsay#container --load=k3d";
    k3d.sh(&format!("LAB_K3D=a=running,b=running {build}")).fails(10, "nixoci::runtime::cluster").err("a, b");
    k3d.sh(&format!("LAB_K3D=a=stopped {build}"))
        .fails(60, "nixoci::runtime::down")
        .err("k3d cluster start a");
    k3d.sh(&format!("LAB_K3D= {build}")).fails(10, "nixoci::runtime::cluster").err("k3d cluster create");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn minikube_s_node_gets_the_image_whatever_runs_in_it() {
    let minikube = NIX_2_34.with(&["--with", "minikube"]);
    for runtime in ["docker", "containerd"] {
        minikube
            .sh(&format!(
                "export LAB_MINIKUBE_RUNTIME={runtime}
                 nixoci build ./examples/cowsay#container --load=minikube -t rt-mini-{runtime}:1 -t rt-mini-{runtime}:2 || exit
                 minikube image ls | grep rt-mini-{runtime}"
            ))
            .code(0)
            .out(&format!("docker.io/library/rt-mini-{runtime}:1\n"))
            .out(&format!("docker.io/library/rt-mini-{runtime}:2\n"));
    }
    let build = "nixoci build ./examples/cowsay#container --load=minikube";
    minikube
        .sh(&format!("LAB_MINIKUBE=m=Stopped {build}"))
        .fails(60, "nixoci::runtime::down")
        .err("minikube start -p m");
    minikube
        .sh(&format!("LAB_MINIKUBE=a=Running,b=Running {build}"))
        .fails(10, "nixoci::runtime::cluster")
        .err("export MINIKUBE_PROFILE=a");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn auto_takes_what_runs_and_says_what_it_passed_over() {
    let build = "nixoci build ./examples/cowsay#container --load -t rt-auto:1";
    NIX_2_34.sh(build).code(0).out("rt-auto:1\n").err("loading into docker");
    NIX_2_34
        .with(&["--without", "docker"])
        .sh(build)
        .code(0)
        .err("podman takes the image: docker is not installed")
        .err("loading into podman");
    NIX_2_34
        .with(&["--without", "docker-daemon", "--without", "podman"])
        .sh(build)
        .code(0)
        .err("containerd takes the image: the Docker engine does not answer, Podman is not installed")
        .err("loading into containerd");
    NIX_2_34
        .with(&[
            "--without",
            "docker",
            "--without",
            "podman",
            "--without",
            "containerd-daemon",
            "--with",
            "apple",
        ])
        .sh(&format!("export LAB_APPLE_STORE=$(mktemp -d); {build}"))
        .code(0)
        .err("loading into apple");
    // To run, containerd would need nerdctl.
    NIX_2_34
        .with(&["--without", "docker", "--without", "podman"])
        .sh("nixoci run ./examples/cowsay#container")
        .fails(60, "nixoci::runtime::none")
        .err("containerd takes the image, but nixoci cannot run it there");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn where_nothing_runs_every_runtime_says_why() {
    let stopped = ["--without", "docker-daemon", "--without", "podman", "--without", "containerd-daemon"];
    let stopped: &'static [&'static str] = Box::leak(Box::new(stopped));
    let run = NIX_2_34.with(stopped).sh("nixoci build ./examples/hello#container --load");
    assert!(!run.err.contains("building hello"), "{run:#?}");
    let run = run.fails(60, "nixoci::runtime::none");
    let run = run.err("because: docker: the Docker engine does not answer");
    let run = run.err("because: containerd: containerd does not answer");
    let run = run.err("because: podman: Podman is not installed").err("because: apple: ");
    // What is installed and stopped is the likeliest.
    let place = |text: &str| run.err.find(text).unwrap_or_else(|| panic!("no `{text}` in {run:#?}"));
    assert!(place("sudo systemctl start docker") < place("sudo systemctl start containerd"));
    assert!(!run.err.contains("apt-get install"), "{run:#?}");

    NIX_2_34
        .with(&["--without", "docker", "--without", "podman", "--without", "containerd"])
        .sh("nixoci build ./examples/hello#container --load")
        .fails(21, "nixoci::runtime::missing")
        .err("no container runtime is installed")
        .err("sudo apt-get install docker.io");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn load_and_doctor_know_them_too() {
    NIX_2_34
        .sh("nixoci build ./examples/cowsay#container -o archive:$XDG_CACHE_HOME/x.tar -t rt-load:1 || exit
            nixoci load $XDG_CACHE_HOME/x.tar --runtime podman --format json
            nixoci load $XDG_CACHE_HOME/x.tar --runtime containerd")
        .code(0)
        .out("\"runtime\": \"podman\"")
        .out("docker.io/library/rt-load:1\n");
    let doctor = NIX_2_34.with(&["--with", "minikube", "--without", "docker-daemon"]).sh("nixoci doctor");
    let doctor = doctor.code(0).out("ok    podman: ").out("ok    containerd: ").out("ok    minikube: ");
    assert!(doctor.out("warn  docker: ").out.contains("runtime minikube (for --load)"));
    NIX_2_34
        .with(&["--without", "docker"])
        .sh("nixoci build ./examples/cowsay#container --load=podman --docker-host unix:///x.sock")
        .fails(2, "nixoci::usage");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_image_that_a_runtime_refuses_is_kept_and_the_way_to_try_again_is_said() {
    // k3d exits well though its node refused.
    let run = NIX_2_34.with(&["--with", "k3d"]).sh("real=$(command -v k3d); mkdir $XDG_CACHE_HOME/bin; PATH=$XDG_CACHE_HOME/bin:$PATH
         printf '#!/bin/sh\nLAB_K3D=dev=stopped; [ \"$1\" != cluster ] || LAB_K3D=dev=running; export LAB_K3D; exec %s \"$@\"' $real >$XDG_CACHE_HOME/bin/k3d
         chmod +x $XDG_CACHE_HOME/bin/k3d
         nixoci build ./examples/cowsay#container --load=k3d -t rt-kept:1 2>$XDG_CACHE_HOME/err; echo code $?; cat $XDG_CACHE_HOME/err >&2
         eval $(grep -o 'nixoci load .*' $XDG_CACHE_HOME/err | sed 's/k3d$/podman/')");
    run.code(0)
        .out("code 60\n")
        .out("docker.io/library/rt-kept:1\n")
        .err("the image is kept: load it again")
        .err("> ERRO[0000] failed to import images");
}
