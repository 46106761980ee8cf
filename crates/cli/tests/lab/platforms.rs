//! Platforms other than the host's own.

use super::*;

each!(arm64_without_an_emulator_says_why_and_what_to_do: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn arm64_without_an_emulator_says_why_and_what_to_do(host: Host) {
    host.sh("nixoci build --platform linux/arm64 ./examples/cowsay#container --no-link")
        .fails(20, "nixoci::backend::none")
        .says("platforms_arm64_without_an_emulator");
}

each!(arm64_with_an_emulator_builds_and_runs: nix_2_26(NIX_2_26.with(&["--arm64"])), nix_2_34(NIX_2_34.with(&["--arm64"])));
fn arm64_with_an_emulator_builds_and_runs(host: Host) {
    host.sh(
        "cd $(mktemp -d) && cp -r $OLDPWD/examples/cowsay . && nixoci build --platform linux/arm64 ./cowsay#container -t $tag --load -o archive:a.tar || exit
         nixoci inspect a.tar | grep -E '^(platform|starts|program)'; docker run --rm $tag; docker rmi -f $tag >/dev/null",
    )
    .code(0)
    .out("linux/arm64")
    .out("aarch64")
    .out("< hello world >");
}

/// An image for amd64 whose program is arm64's.
const LIAR: &str = "cd $(mktemp -d); cat > default.nix <<'END'
{ system ? builtins.currentSystem }:
let native = import <nixpkgs> { system = \"x86_64-linux\"; }; arm = import <nixpkgs> { system = \"aarch64-linux\"; }; in
native.dockerTools.buildLayeredImage { name = \"liar\"; tag = \"1\"; config.Cmd = [ \"${arm.pkgsStatic.hello}/bin/hello\" ]; }
END
";

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_image_for_another_cpu_than_it_says_is_refused() {
    let script = format!("{LIAR} nixoci build -f default.nix --no-link");
    NIX_2_34.with(&["--arm64"]).sh(&script).code(42).says("platforms_another_cpu");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_image_for_another_cpu_than_it_says_is_built_when_that_is_allowed() {
    let script = format!("{LIAR} nixoci build -f default.nix --no-link --allow-mismatch");
    NIX_2_34.with(&["--arm64"]).sh(&script).code(0).warns("platforms_another_cpu_is_allowed");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_attribute_that_names_its_system_is_for_one_platform() {
    let build = "nixoci build ./examples/cowsay#packages.x86_64-linux.container --no-link --platform";
    NIX_2_34
        .sh(&format!("{build} linux/amd64,linux/arm64"))
        .fails(2, "nixoci::usage")
        .says("platforms_attribute_of_one_platform");
    // It may be crossed: then --platform says what the image has to be.
    NIX_2_34.sh(&format!("{build} linux/arm64")).fails(42, "nixoci::image::platform_mismatch");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_attribute_for_a_platform_that_is_not_built_here_is_refused() {
    NIX_2_34
        .sh("nixoci build ./examples/cowsay#packages.aarch64-linux.container --no-link")
        .fails(20, "nixoci::backend::none");
}

/// Makes `both.tar`, with this name, in a directory of its own.
fn both(name: &str) -> String {
    format!(
        "src=$PWD; cd $XDG_CACHE_HOME; cp -r $src/examples/cowsay .; run() {{ \"$@\" </dev/null | grep -o '< .* >'; }}
         nixoci build -q ./cowsay#container --platform linux/amd64,linux/arm64 -t {name} -o archive:both.tar >/dev/null || exit\n"
    )
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn two_platforms_in_one_archive_load_and_run_in_docker_s_classic_store() {
    // The classic store knows no lists of platforms: the other one has a name of its own.
    let classic = both("mp-classic:latest")
        + "docker load -i both.tar; run docker run --rm mp-classic:latest; run docker run --rm mp-classic:latest-arm64
           docker image inspect -f '{{.Architecture}}' mp-classic:latest mp-classic:latest-arm64; docker rmi -f mp-classic:latest mp-classic:latest-arm64 >/dev/null
           nixoci load both.tar && run docker run --rm mp-classic:latest-arm64";
    let host = NIX_2_34_DOCKER_20.with(&["--arm64"]);
    let run = host.sh(&classic).code(0).out("Loaded image: mp-classic:latest\n");
    let run = run
        .out("Loaded image: mp-classic:latest-arm64\n")
        .out("< hello world >\n< hello world >\namd64\narm64\n");
    run.out("mp-classic:latest\n< hello world >\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn two_platforms_in_one_archive_load_and_run_in_docker_s_containerd_store() {
    let containerd = both("mp-store:1")
        + "docker load -i both.tar; for arch in amd64 arm64; do run docker run --rm --platform linux/$arch mp-store:1; done
           docker image inspect -f '{{.Id}}' mp-store:1; nixoci inspect both.tar --format json | grep -o '\"digest\": .*' | head -1
           docker rmi -f mp-store:1 >/dev/null; nixoci load both.tar && run docker run --rm --platform linux/arm64 mp-store:1";
    let run = NIX_2_34.with(&["--arm64"]).sh(&containerd).code(0).out("Loaded image: mp-store:1\n");
    run.out("\n< hello world >\n< hello world >\n").out("mp-store:1\n< hello world >\n");
}

each!(two_platforms_in_one_archive_load_and_run_in_podman: nix_2_26(NIX_2_26.with(&["--arm64"])), nix_2_34(NIX_2_34.with(&["--arm64"])));
fn two_platforms_in_one_archive_load_and_run_in_podman(host: Host) {
    // `podman load` takes this machine's platform and offers no choice; `podman pull` from the file offers one.
    let name = "docker.io/library/mp-podman:1";
    let script = both("mp-podman:1")
        + "n=docker.io/library/mp-podman:1; podman load -q -i both.tar; run podman run --rm --pull=never $n
           podman pull -q --platform linux/arm64 oci-archive:both.tar >/dev/null || exit
           podman image inspect -f '{{.Architecture}}' $n; run podman run --rm --pull=never --platform linux/arm64 $n
           nixoci convert -q --platform linux/arm64 both.tar arm.tar -t mp-podman:arm >/dev/null && podman load -q -i arm.tar
           podman image inspect -f '{{.Architecture}}' docker.io/library/mp-podman:arm
           podman rmi -f $n docker.io/library/mp-podman:arm >/dev/null
           nixoci load both.tar --runtime podman; run podman run --rm --pull=never $n
           nixoci load both.tar --runtime podman --platform linux/arm64 -t mp-podman:2; run podman run --rm --pull=never mp-podman:2";
    let run = host
        .sh(&script)
        .code(0)
        .out(&format!("Loaded image: {name}\n< hello world >\narm64\n< hello world >\n"));
    let run = run.out("Loaded image: docker.io/library/mp-podman:arm\narm64\n");
    run.out(&format!("{name}\n< hello world >\n")).out("docker.io/library/mp-podman:2\n< hello world >\n");
}

each!(
    two_platforms_in_one_archive_load_and_run_in_containerd:
    containerd_1_6(NIX_2_34.with(&["--arm64", "--containerd", "1.6"])),
    containerd_2(NIX_2_34.with(&["--arm64", "--containerd", "2"])),
);
fn two_platforms_in_one_archive_load_and_run_in_containerd(host: Host) {
    // Daemons share what the kernel has by a container's name.
    let script = both("mp-ctr:1")
        + "n=docker.io/library/mp-ctr:1; export CONTAINERD_NAMESPACE=$tag-a; ctr images import --all-platforms both.tar >&2
           for arch in amd64 arm64; do run ctr_run --platform linux/$arch $n $tag-$arch; done
           export CONTAINERD_NAMESPACE=$tag-b; nixoci load both.tar --runtime containerd
           for arch in amd64 arm64; do run ctr_run --platform linux/$arch $n $tag-$arch; done";
    let twice = "< hello world >\n< hello world >\n";
    host.sh(&script).code(0).out(&format!("{twice}docker.io/library/mp-ctr:1\n{twice}"));
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn two_platforms_in_one_archive_are_loaded_by_apple_s_container() {
    let script = both("mp-apple:1")
        + "export LAB_APPLE_STORE=$XDG_CACHE_HOME/store; container image load -i both.tar && container image list -q";
    NIX_2_34.with(&["--arm64", "--with", "apple"]).sh(&script).code(0).out("mp-apple:1\n");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn two_platforms_in_one_archive_go_to_apple_s_container() {
    let script = both("mp-apple:1")
        + "export LAB_APPLE_STORE=$XDG_CACHE_HOME/store
           nixoci load both.tar --runtime apple; container image inspect mp-apple:1 | grep -o 'arm64\\|amd64' | sort -u";
    let run = NIX_2_34.with(&["--arm64", "--with", "apple"]).sh(&script).code(0);
    run.out("docker.io/library/mp-apple:1\n").out("amd64\narm64\n");
}

each!(
    two_platforms_in_one_archive_go_to_a_cluster:
    kind(&["--arm64", "--with", "kind"], KIND),
    k3d(&["--arm64", "--with", "k3d"], K3D),
    minikube_with_docker(MINIKUBE_WITH_DOCKER, MINIKUBE),
    minikube_with_containerd(MINIKUBE_WITH_CONTAINERD, MINIKUBE),
);
const KIND: &str = "trap 'kind-node delete mp-node >&2' EXIT; kind-node create mp-node >&2 || exit; export KIND_CLUSTER_NAME=mp-node
    nixoci load both.tar --runtime kind >&2; docker exec mp-node-control-plane ctr -n k8s.io images ls -q";
const K3D: &str = "nixoci load both.tar --runtime k3d >&2; ctr -n k8s.io images ls -q";
const MINIKUBE: &str = "nixoci load both.tar --runtime minikube >&2; minikube image ls";
const MINIKUBE_WITH_DOCKER: &[&str] = &["--arm64", "--with", "minikube"];
const MINIKUBE_WITH_CONTAINERD: &[&str] =
    &["--arm64", "--with", "minikube", "--env", "LAB_MINIKUBE_RUNTIME=containerd"];
fn two_platforms_in_one_archive_go_to_a_cluster(flags: &'static [&'static str], script: &str) {
    let name = crate::harness::unique("cluster");
    let run = NIX_2_34.with(flags).sh(&(both(&format!("{name}:1")) + script)).code(0);
    run.out(&format!("docker.io/library/{name}:1\n"));
}

each!(one_platform_is_a_manifest_and_two_are_an_index_whoever_puts_them_together: nix_2_26(NIX_2_26.with(&["--arm64"])), nix_2_34(NIX_2_34.with(&["--arm64"])));
fn one_platform_is_a_manifest_and_two_are_an_index_whoever_puts_them_together(host: Host) {
    let run = host.sh(
        "src=$PWD; cd $XDG_CACHE_HOME; cp -r $src/examples/cowsay .; b() { nixoci build -q ./cowsay#container -t mp-merge:1 \"$@\" >/dev/null || exit; }
         b --platform linux/amd64,linux/arm64 -o archive:both.tar --metadata-file meta --iidfile iid --digestfile digest
         b --platform linux/amd64 -o archive:amd.tar; b --platform linux/arm64 -o archive:arm.tar
         nixoci merge -q amd.tar arm.tar archive:m.tar; nixoci merge -q amd.tar arm.tar oci:m --compression none; cmp m.tar both.tar && echo equal
         cat iid; echo; cat digest; echo; grep -o '\"containerimage.digest\": .*' meta
         for file in amd.tar arm.tar both.tar m.tar; do tar -xOf $file index.json | grep -o 'application/vnd.oci.image.[a-z]*.v1+json\",\"digest' ; done
         nixoci merge amd.tar amd.tar again.tar",
    );
    let lines: Vec<&str> = run.out.lines().collect();
    let [merged, layout, "equal", iid, digest, meta, amd, arm, both, m] = lines[..] else {
        panic!("{run:#?}")
    };
    assert_eq!((iid, digest, layout), (merged, merged, merged), "{run:#?}");
    assert!(meta.contains(merged) && merged.starts_with("sha256:"), "{run:#?}");
    assert!(amd.contains("image.manifest.") && arm.contains("image.manifest."), "{run:#?}");
    assert!(both.contains("image.index.") && m.contains("image.index."), "{run:#?}");
    run.fails(2, "nixoci::image::cannot_merge");
}

each!(the_result_link_holds_both_platforms_and_run_runs_the_host_s: nix_2_26(NIX_2_26.with(&["--arm64"])), nix_2_34(NIX_2_34.with(&["--arm64"])));
fn the_result_link_holds_both_platforms_and_run_runs_the_host_s(host: Host) {
    host.sh(
        "src=$PWD; cd $XDG_CACHE_HOME; cp -r $src/examples/multi-arch .; cd multi-arch; docker rmi -f hello-multi-arch:latest >/dev/null 2>&1
         nixoci build >/dev/null && nixoci validate result && docker load -i result && docker run --rm hello-multi-arch:latest
         echo running; nixoci run; nixoci cache show",
    )
    .code(0)
    .out("linux/amd64")
    .out("linux/arm64")
    .out("Loaded image: hello-multi-arch:latest")
    .out("Hello, world!\n")
    .out("running\nHello, world!\n");
}
