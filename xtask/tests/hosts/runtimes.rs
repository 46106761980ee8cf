//! Container runtimes, and the tools that make images for them.

use super::*;

/// A directory of the caller's own with `hello.tar` and `arm64.tar`, images for either CPU.
fn hellos() -> String {
    let image = |system: &str, file: &str| {
        format!(
            "{BUILD} --out-link r {}/examples/hello#packages.{system}.container 2>/dev/null; gzip -dc r > {file}; rm r; ",
            checkout().display()
        )
    };
    format!("cd $(mktemp -d); {}{}", image("x86_64-linux", "hello.tar"), image("aarch64-linux", "arm64.tar"))
}

each!(podman_loads_and_runs_as_people_type_it: nix_2_26("2.26"), nix_2_34("2.34"));
fn podman_loads_and_runs_as_people_type_it(nix: &str) {
    let script = format!(
        "{}podman load -q -i hello.tar; podman run --rm localhost/hello:latest; podman load -q -i arm64.tar; \
         podman run --rm --arch arm64 localhost/hello:latest",
        hellos()
    );
    let said = out(&["--nix", nix, "--arm64"], &script);
    assert_eq!(said.matches("Hello, world!\n").count(), 2, "{said}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn an_ordinary_user_s_podman_loads() {
    let alice = out(&["--user", "alice", "--arm64"], &format!("{}podman load -i hello.tar", hellos()));
    assert!(alice.contains("localhost/hello:latest"), "{alice}");
}

each!(
    containerd_imports_and_runs:
    containerd_1_6_with_nix_2_26("1.6", "2.26"),
    containerd_1_6_with_nix_2_34("1.6", "2.34"),
    containerd_2_with_nix_2_26("2", "2.26"),
    containerd_2_with_nix_2_34("2", "2.34"),
);
fn containerd_imports_and_runs(containerd: &str, nix: &str) {
    // A namespace of its own: daemons belong to every host.
    let script = format!(
        "{}n=hello$$; export CONTAINERD_NAMESPACE=$n-{nix}; ctr images import hello.tar >&2; \
         ctr run --rm docker.io/library/hello:latest $n < /dev/null; \
         ctr images import --platform linux/arm64 arm64.tar >&2; \
         ctr run --rm --platform linux/arm64 docker.io/library/hello:latest $n < /dev/null; \
         ctr version | grep Version",
        hellos()
    );
    let said = out(&["--nix", nix, "--containerd", containerd, "--arm64"], &script);
    assert_eq!(said.matches("Hello, world!\n").count(), 2, "{said}");
    let versions: Vec<&str> = said.lines().filter_map(|line| line.trim().strip_prefix("Version:")).collect();
    let right = versions.iter().filter(|text| text.trim().starts_with(&format!("{containerd}.")));
    assert_eq!(right.count(), 2, "client and server: {said}");
}

/// Commands that turn `hello.tar` into `oci.tar`, an OCI archive with a name, and that into `torn.tar`, without a blob.
const OCI: &str = "skopeo copy -q docker-archive:hello.tar oci:layout:hello >/dev/null; \
    jq -c '.manifests[0].annotations[\"io.containerd.image.name\"] = \"docker.io/library/hello:latest\"' \
    layout/index.json > index && mv index layout/index.json; tar -C layout -cf oci.tar .; \
    rm layout/blobs/sha256/$(jq -r '.manifests[0].digest[7:]' layout/index.json); tar -C layout -cf torn.tar .; ";

/// A script over `hello.tar`, `oci.tar` and `torn.tar`, with a store of Apple's own.
fn with_images(body: &str) -> String {
    format!("{}{OCI}export LAB_APPLE_STORE=$PWD/store; {body}", hellos())
}

const APPLE: [&str; 3] = ["--with", "apple", "--arm64"];

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn apples_double_takes_what_the_importer_takes() {
    let said = out(
        &APPLE,
        &with_images(
            "container system status | grep -c running; container image load --input oci.tar; container image list -q; \
             container image inspect hello | jq -r '.[0].variants[0].platform.architecture'; container image load < oci.tar",
        ),
    );
    let name = "docker.io/library/hello:latest";
    assert_eq!(said, format!("1\nLoaded images:\n{name}\nhello:latest\namd64\nLoaded images:\n{name}\n"));
}

each!(
    apples_double_refuses_what_the_importer_refuses:
    a_docker_archive("hello.tar", "oci-layout"),
    an_archive_without_a_blob("torn.tar", "not found"),
    no_archive("/dev/null", "unable to open"),
);
fn apples_double_refuses_what_the_importer_refuses(archive: &str, why: &str) {
    let said = refusal(&APPLE, &with_images(&format!("container image load -i {archive}")));
    assert!(said.contains(why), "{said}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn apples_double_can_be_stopped_and_unregistered() {
    let stopped = refusal(&["--with", "apple", "--env", "LAB_APPLE=stopped"], "container image list");
    assert!(stopped.contains("container system start"), "{stopped}");
    refusal(&["--with", "apple", "--env", "LAB_APPLE=unregistered"], "container system status");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn kind_is_real_and_its_node_is_containerd() {
    let script = format!(
        "{}{OCI}n=lab$$; trap 'kind-node delete $n >/dev/null' EXIT; kind-node create $n >&2; \
         kind get clusters | grep -c \"^$n$\"; kind load image-archive hello.tar --name $n; \
         docker exec $n-control-plane ctr -n k8s.io images ls -q; ! kind load image-archive torn.tar --name $n",
        hellos()
    );
    let said = out(&["--with", "kind", "--arm64"], &script);
    assert!(said.starts_with("1\n") && said.contains("docker.io/library/hello:latest"), "{said}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn kind_needs_docker() {
    refusal(&["--with", "kind", "--without", "docker-daemon"], "kind get clusters");
}

const K3D: [&str; 3] = ["--with", "k3d", "--arm64"];

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn k3d_loads_as_in_life() {
    let said = out(
        &K3D,
        &with_images(
            "k3d cluster list -o json | jq -r '.[].name'; k3d image import hello.tar -c k3s-default 2>&1",
        ),
    );
    assert!(said.starts_with("k3s-default\n") && !said.contains("ERRO"), "{said}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn k3d_exits_well_though_its_node_refused() {
    let torn = out(&K3D, &with_images("k3d image import torn.tar 2>&1"));
    // The real one colours what it says, whether it is a terminal that reads it or not.
    assert!(torn.contains("ERRO") && torn.contains("failed to import images in node"), "{torn}");
    refusal(&K3D, &with_images("k3d image import -m direct torn.tar"));
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn k3d_can_have_no_cluster() {
    assert_eq!(out(&["--with", "k3d", "--env", "LAB_K3D="], "k3d cluster list --no-headers"), "");
}

each!(
    minikube_loads_as_in_life:
    with_docker("LAB_MINIKUBE_RUNTIME=docker"),
    with_containerd("LAB_MINIKUBE_RUNTIME=containerd"),
);
fn minikube_loads_as_in_life(knob: &str) {
    let said = out(
        &["--with", "minikube", "--arm64", "--env", knob],
        &with_images("minikube image load hello.tar; minikube image ls; minikube image load torn.tar"),
    );
    assert!(said.contains("docker.io/library/hello:latest"), "{said}");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn minikube_can_be_stopped_and_have_no_profile() {
    let stopped = ["--with", "minikube", "--env", "LAB_MINIKUBE=minikube=Stopped"];
    assert_eq!(sh(&stopped, "minikube status -o json").status.code(), Some(7));
    let none = ["--with", "minikube", "--env", "LAB_MINIKUBE="];
    assert_eq!(sh(&none, "minikube status").status.code(), Some(85));
    assert_eq!(out(&none, "minikube profile list -o json").trim(), "{\"invalid\":[],\"valid\":[]}");
}

/// The rows of what `lab produce` made: file, producer, shape, images, platforms.
fn produced() -> (PathBuf, Vec<[String; 5]>) {
    let dir = PathBuf::from(
        std::env::var_os("NIXOCI_LAB_PRODUCED").expect("NIXOCI_LAB_PRODUCED is set by `cargo xtask test`"),
    );
    let text = std::fs::read_to_string(dir.join("manifest.tsv")).expect("a manifest");
    let rows = text.lines().skip(1).map(|line| {
        let fields: Vec<String> = line.split('\t').map(str::to_owned).collect();
        fields.try_into().expect("five fields")
    });
    (dir, rows.collect())
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn every_producers_image_is_what_the_manifest_says() {
    let (dir, rows) = produced();
    let mut script = format!("cd {}\n", dir.display());
    let mut images = 0;
    for [file, _, shape, _, platforms] in &rows {
        assert!(dir.join(file).exists(), "{file}");
        let transport = match shape.as_str() {
            "oci-archive" => "oci-archive",
            "oci-dir" => "oci",
            "dir" => "dir",
            shape if shape.starts_with("docker-archive") || shape == "hybrid" => "docker-archive",
            _ => continue,
        };
        images += 1;
        // Of those that hold several, the first one.
        let which = if matches!(transport, "oci" | "docker-archive") { ":@0" } else { "" };
        let arch = if platforms.starts_with("linux/amd64") { "amd64" } else { "arm64" };
        script.push_str(&format!(
            "skopeo --override-arch {arch} inspect --config {transport}:{file}{which} | jq -r '\"{file} \\(.architecture)\"'\n"
        ));
    }
    let said = out(&[], &script);
    assert_eq!(said.lines().count(), images, "{said}");
    assert!(images > 40, "{images}");
    for [file, _, _, _, platforms] in rows.iter().filter(|row| !row[4].is_empty()) {
        if let Some(line) = said.lines().find(|line| line.starts_with(&format!("{file} "))) {
            let arch = line.rsplit(' ').next().unwrap_or_default();
            assert!(platforms.starts_with(&format!("linux/{arch}")), "{line}");
        }
    }
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn image_tools_are_at_hand() {
    out(&[], "for tool in skopeo umoci crane; do command -v $tool > /dev/null; done; umoci --version");
}
