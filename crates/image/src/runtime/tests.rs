use std::ffi::OsString;

use nixoci_core::{Code, ErrorKind};
use serde_json::json;

use super::fake::Fake;
use super::*;

const LINUX: &str = "x86_64-linux";
const MAC: &str = "aarch64-darwin";
const CONFIG: &str = "sha256:5d10bfbb4d0e5c5aed8afbd3aca10cd803182b87e082ceadebe0a0bbab408c8b";
const MANIFEST: &str = "sha256:3a3178bd9dd01ecc76b60a25f545b2b4fa762fdb9db2016067baa509606bbb31";
const OTHER: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

fn image(names: &[&str]) -> CachedImage {
    let summary = json!({
        "platform": "linux/amd64", "imageId": CONFIG, "sourceConfigDigest": CONFIG, "manifestDigest": MANIFEST,
        "manifestSize": 1464, "names": names, "layers": [], "size": 0, "verdict": { "verdict": "runs" },
    });
    let image = json!({ "digest": MANIFEST, "mediaType": "", "platforms": [summary] });
    CachedImage::imagined("/c/image.tar", vec![serde_json::from_value(image).unwrap()]).unwrap()
}

async fn ask_on(fake: &Fake, system: &str, runtime: Runtime) -> Result<Ready> {
    fake.on(system, async |cx| ask(cx, runtime, None).await).await
}

/// Asks, then loads.
async fn load(fake: &Fake, runtime: Runtime, names: &[&str]) -> Result<Loaded> {
    let ready = ask_on(fake, LINUX, runtime).await?;
    fake.on(LINUX, async |cx| ready.load(cx, &image(names)).await).await
}

#[track_caller]
fn fails<T: std::fmt::Debug>(result: Result<T>, code: &Code, command: &str) {
    let error = result.unwrap_err();
    assert!(error.is(code), "{error:?}");
    let commands = error.report().remedies.iter().filter_map(|remedy| remedy.command.as_deref());
    assert!(commands.clone().any(|known| known.contains(command)), "{:?}", commands.collect::<Vec<_>>());
}

const PODMAN_HERE: &str = r#"{"Client":{"Version":"5.8.6","OsArch":"linux/amd64","Os":"linux"}}"#;
const PODMAN_MACHINE: &str = r#"{"Client":{"Version":"5.8.6","OsArch":"darwin/arm64"},"Server":{"Version":"5.4.2","OsArch":"linux/arm64"}}"#;

fn podman_inspect(config: &str) -> String {
    json!({ "Id": config.trim_start_matches("sha256:"), "Os": "linux", "Architecture": "amd64" }).to_string()
}

/// The names of everything that was loaded.
fn references(loaded: &Loaded) -> Vec<String> {
    loaded.images.iter().flat_map(|image| image.references.clone()).collect()
}

#[tokio::test]
async fn podman_is_asked_where_it_runs() {
    for (said, version, place, platform) in [
        (PODMAN_HERE, "5.8.6", "on this machine", "linux/amd64"),
        (PODMAN_MACHINE, "5.4.2", "in its machine", "linux/arm64"),
    ] {
        let fake = Fake::new(&[("podman version", 0, said, "")]);
        let about = ask_on(&fake, MAC, Runtime::Podman).await.unwrap().about();
        assert_eq!((about.version.as_str(), about.place.as_str()), (version, place));
        assert_eq!(about.platform.unwrap().to_string(), platform);
    }
}

#[tokio::test]
async fn podman_gets_the_names_that_the_archive_does_not_carry() {
    let inspect = podman_inspect(CONFIG);
    let fake = Fake::new(&[
        ("podman version", 0, PODMAN_HERE, ""),
        ("podman load", 0, "Loaded image: docker.io/library/a:1\n", ""),
        ("podman image inspect", 0, &inspect, ""),
        ("podman tag", 0, "", ""),
    ]);
    let loaded = load(&fake, Runtime::Podman, &["a:1", "ghcr.io/me/b:2"]).await.unwrap();
    assert_eq!(references(&loaded), ["docker.io/library/a:1", "ghcr.io/me/b:2"]);
    assert_eq!(loaded.images[0].id.to_string(), CONFIG);
    assert!(fake.asked().contains(&"podman tag docker.io/library/a:1 ghcr.io/me/b:2".to_owned()));
}

#[tokio::test]
async fn podman_finds_an_image_without_a_name_by_its_id() {
    let inspect = podman_inspect(CONFIG);
    let said = format!("Loaded image: {CONFIG}\n");
    let fake = Fake::new(&[
        ("podman version", 0, PODMAN_HERE, ""),
        ("podman load", 0, &said, ""),
        ("podman image inspect", 0, &inspect, ""),
    ]);
    assert_eq!(load(&fake, Runtime::Podman, &[]).await.unwrap().images[0].references, [CONFIG]);
}

#[tokio::test]
async fn podman_that_has_something_else_is_not_believed() {
    let inspect = podman_inspect(OTHER);
    let fake = Fake::new(&[
        ("podman version", 0, PODMAN_HERE, ""),
        ("podman load", 0, "Loaded image: docker.io/library/a:1\n", ""),
        ("podman image inspect", 0, &inspect, ""),
    ]);
    let error = load(&fake, Runtime::Podman, &["a:1"]).await.unwrap_err();
    assert!(error.is(&codes::RUNTIME_MISMATCH), "{error:?}");
}

#[tokio::test]
async fn podman_without_its_machine_says_how_to_start_it() {
    let said = "Cannot connect to Podman. Please verify your connection to the Linux system using `podman system \
                connection list`, or try `podman machine init` and `podman machine start` to manage a new Linux VM\n\
                Error: unable to connect to Podman socket: dial unix /x.sock: connect: no such file or directory";
    let fake = Fake::new(&[("podman version", 125, "", said)]);
    fails(ask_on(&fake, MAC, Runtime::Podman).await, &codes::RUNTIME_DOWN, "podman machine start");
    fails(
        ask_on(&Fake::default(), MAC, Runtime::Podman).await,
        &codes::RUNTIME_MISSING,
        "brew install podman",
    );
}

const CTR_VERSION: &str =
    "Client:\n  Version:  2.1.9+unknown\n  Revision: \n\nServer:\n  Version:  2.1.9+unknown\n";

fn ctr_table(name: &str, digest: &str) -> String {
    format!(
        "REF TYPE DIGEST SIZE PLATFORMS LABELS \n{name} application/vnd.oci.image.manifest.v1+json {digest} 15.7 MiB linux/amd64 -\n"
    )
}

#[tokio::test]
async fn containerd_takes_the_image_into_the_namespace_that_is_set() {
    let (first, second) =
        (ctr_table("docker.io/library/a:1", MANIFEST), ctr_table("ghcr.io/me/b:2", MANIFEST));
    let fake = Fake {
        env: vec![("CONTAINERD_NAMESPACE", "k8s.io")],
        ..Fake::new(&[
            ("version", 0, CTR_VERSION, ""),
            ("ls name==docker", 0, &first, ""),
            ("ls name==ghcr", 0, &second, ""),
            ("ctr --namespace k8s.io images", 0, "", ""),
        ])
    };
    let loaded = load(&fake, Runtime::Containerd, &["a:1", "ghcr.io/me/b:2"]).await.unwrap();
    assert_eq!(references(&loaded), ["docker.io/library/a:1", "ghcr.io/me/b:2"]);
    assert_eq!(loaded.images[0].id.to_string(), MANIFEST);
    assert_eq!(fake.asked()[1], "ctr --namespace k8s.io images import --platform linux/amd64 /c/image.tar");
    assert_eq!(
        fake.asked()[3],
        "ctr --namespace k8s.io images tag --force docker.io/library/a:1 ghcr.io/me/b:2"
    );
}

#[tokio::test]
async fn containerd_that_lost_the_image_is_not_believed() {
    for table in [ctr_table("docker.io/library/a:1", OTHER), "REF TYPE DIGEST\n".to_owned()] {
        let fake =
            Fake::new(&[("version", 0, CTR_VERSION, ""), ("images ls", 0, &table, ""), ("ctr", 0, "", "")]);
        let error = load(&fake, Runtime::Containerd, &["a:1"]).await.unwrap_err();
        assert!(error.is(&codes::RUNTIME_MISMATCH), "{error:?}");
    }
}

#[tokio::test]
async fn containerd_s_failures_say_what_to_do() {
    // As containerd 2 and 1.6 say it.
    for (said, code, command) in [
        (
            "ctr: cannot access socket /run/containerd/containerd.sock: stat /run/containerd/containerd.sock: no such file or directory",
            &codes::RUNTIME_DOWN,
            "systemctl start containerd",
        ),
        (
            r#"ctr: failed to dial "/run/containerd/containerd.sock": context deadline exceeded: connection error"#,
            &codes::RUNTIME_DOWN,
            "systemctl start containerd",
        ),
        (
            r#"ctr: failed to dial "/run/containerd/containerd.sock": dial unix /run/containerd/containerd.sock: connect: permission denied"#,
            &codes::RUNTIME_PERMISSION,
            "sudo ctr images import",
        ),
    ] {
        let fake = Fake::new(&[("ctr", 1, "Client:\n  Version:  2.1.9\n", said)]);
        fails(ask_on(&fake, LINUX, Runtime::Containerd).await, code, command);
    }
}

#[tokio::test]
async fn what_finds_images_by_name_refuses_one_without() {
    let fake = Fake::new(&[("version", 0, CTR_VERSION, "")]);
    fails(load(&fake, Runtime::Containerd, &[]).await, &codes::RUNTIME_NAMELESS, "-t app:dev");
    assert_eq!(fake.asked().len(), 1, "nothing was imported");
}

const APPLE_VERSION: &str = "container CLI version 1.0.0 (build: release, commit: 0000000)\n";

#[tokio::test]
async fn apple_s_container_takes_the_archive_and_is_asked_what_it_has() {
    let inspect = format!(r#"[{{"name":"docker.io/library/a:1","index":{{"digest":"{MANIFEST}"}}}}]"#);
    let fake = Fake::new(&[
        ("container --version", 0, APPLE_VERSION, ""),
        ("image inspect", 0, &inspect, ""),
        ("container", 0, "", ""),
    ]);
    let loaded = load(&fake, Runtime::Apple, &["a:1", "b:2"]).await.unwrap();
    assert_eq!(references(&loaded), ["docker.io/library/a:1", "docker.io/library/b:2"]);
    assert!(fake.asked().contains(&"container image load --input /c/image.tar".to_owned()));
    assert!(
        fake.asked().contains(&"container image tag docker.io/library/a:1 docker.io/library/b:2".to_owned())
    );
}

#[tokio::test]
async fn apple_s_container_that_is_stopped_says_how_to_start_it() {
    for said in ["apiserver is not running and not registered with launchd", ""] {
        let fake = Fake::new(&[("--version", 0, APPLE_VERSION, ""), ("system status", 1, said, "")]);
        fails(ask_on(&fake, MAC, Runtime::Apple).await, &codes::RUNTIME_DOWN, "container system start");
    }
}

#[tokio::test]
async fn kind_s_cluster_is_the_only_one_or_the_one_that_is_named() {
    let with = |clusters: &str, named: Option<&'static str>| Fake {
        env: named.map(|name| ("KIND_CLUSTER_NAME", name)).into_iter().collect(),
        ..Fake::new(&[
            ("get clusters", 0, clusters, ""),
            ("kind", 0, "kind v0.33.0 go1.27.2 linux/amd64\n", ""),
        ])
    };
    let one = with("dev\n", None);
    let loaded = load(&one, Runtime::Kind, &["a:1", "b:2"]).await.unwrap();
    // kind gives no second name, and says so in a warning.
    assert_eq!(references(&loaded), ["docker.io/library/a:1"]);
    assert_eq!(one.asked()[2], "kind load image-archive --name dev /c/image.tar");
    let named = with("dev\nprod\n", Some("prod"));
    assert_eq!(ask_on(&named, LINUX, Runtime::Kind).await.unwrap().about().place, "in cluster prod");
    let cluster = &codes::RUNTIME_CLUSTER;
    fails(
        ask_on(&with("dev\nprod\n", None), LINUX, Runtime::Kind).await,
        cluster,
        "export KIND_CLUSTER_NAME=dev",
    );
    fails(ask_on(&with("", None), LINUX, Runtime::Kind).await, cluster, "kind create cluster");
    fails(
        ask_on(&with("dev\n", Some("x")), LINUX, Runtime::Kind).await,
        cluster,
        "kind create cluster --name x",
    );
}

#[tokio::test]
async fn kind_without_docker_says_so() {
    let said = "ERROR: failed to list clusters: command \"docker ps\" failed with error: exit status 1\n\n\
                Command Output: Cannot connect to the Docker daemon at unix:///x.sock. Is the docker daemon running?";
    let fake = Fake::new(&[("kind get", 1, "", said), ("kind version", 0, "kind v0.33.0", "")]);
    fails(ask_on(&fake, LINUX, Runtime::Kind).await, &codes::RUNTIME_DOWN, "systemctl start docker");
}

fn k3d(clusters: &[(&str, u32)], import: &str) -> Fake {
    let list =
        |(name, running): &(&str, u32)| json!({ "name": name, "serversCount": 1, "serversRunning": running });
    let list = json!(clusters.iter().map(list).collect::<Vec<_>>()).to_string();
    Fake::new(&[
        ("k3d cluster list", 0, &list, ""),
        ("k3d image import", 0, "INFO[0000] Successfully imported image(s)", import),
        ("k3d version", 0, "k3d version v5.8.3\n", ""),
    ])
}

#[tokio::test]
async fn k3d_takes_the_cluster_that_runs() {
    let fake = k3d(&[("old", 0), ("dev", 1)], "");
    load(&fake, Runtime::K3d, &["a:1"]).await.unwrap();
    assert_eq!(fake.asked()[2], "k3d image import /c/image.tar -c dev");
    let ask = async |clusters: &[(&str, u32)]| ask_on(&k3d(clusters, ""), LINUX, Runtime::K3d).await;
    fails(ask(&[("old", 0)]).await, &codes::RUNTIME_DOWN, "k3d cluster start old");
    fails(ask(&[("a", 1), ("b", 1)]).await, &codes::RUNTIME_CLUSTER, "k3d image import image.tar -c a");
    fails(ask(&[]).await, &codes::RUNTIME_CLUSTER, "k3d cluster create");
}

#[tokio::test]
async fn k3d_s_refusal_is_heard_though_it_exits_well() {
    let said = "\u{1b}[31mERRO\u{1b}[0m[0000] failed to import images in node 'k3d-dev-server-0': Exec process in node failed";
    let error = load(&k3d(&[("dev", 1)], said), Runtime::K3d, &["a:1"]).await.unwrap_err();
    assert!(error.is(&codes::RUNTIME_FAILED), "{error:?}");
}

/// What the profile holds in its runtime: names with ids.
fn minikube(profiles: &[(&str, &str, bool)], held: &[(&str, &str)]) -> Fake {
    let profile = |(name, status, active): &(&str, &str, bool)| json!({ "Name": name, "Status": status, "Active": active });
    let profiles = json!({ "valid": profiles.iter().map(profile).collect::<Vec<_>>() }).to_string();
    let image = |(name, id): &(&str, &str)| json!({ "id": id, "repoTags": [name], "size": "1" });
    let held = json!(held.iter().map(image).collect::<Vec<_>>()).to_string();
    Fake::new(&[
        ("profile list", 0, &profiles, ""),
        ("image ls", 0, &held, ""),
        ("minikube image", 0, "", ""),
        ("minikube version", 0, "minikube version: v1.37.0\ncommit: 0\n", ""),
    ])
}

#[tokio::test]
async fn minikube_is_asked_afterwards_because_it_never_fails() {
    let profiles = [("minikube", "OK", false)];
    let fake = minikube(&profiles, &[("docker.io/library/a:1", CONFIG)]);
    let loaded = load(&fake, Runtime::Minikube, &["a:1"]).await.unwrap();
    assert_eq!(references(&loaded), ["docker.io/library/a:1"]);
    assert_eq!(fake.asked()[2], "minikube image load -p minikube /c/image.tar");
    for held in [&[][..], &[("docker.io/library/a:1", OTHER)]] {
        let error = load(&minikube(&profiles, held), Runtime::Minikube, &["a:1"]).await.unwrap_err();
        assert!(error.is(&codes::RUNTIME_MISMATCH), "{error:?}");
    }
    let two = [("docker.io/library/a:1", CONFIG)];
    let fake = minikube(&profiles, &two);
    load(&fake, Runtime::Minikube, &["a:1", "b:2"]).await.unwrap_err();
    let tag = "minikube image tag -p minikube docker.io/library/a:1 docker.io/library/b:2";
    assert!(fake.asked().contains(&tag.to_owned()), "{:?}", fake.asked());
}

#[tokio::test]
async fn minikube_s_profile_is_the_chosen_or_the_running_one() {
    let (a, b) = (("a", "Running", false), ("b", "Running", true));
    let place =
        async |fake: Fake| ask_on(&fake, LINUX, Runtime::Minikube).await.map(|ready| ready.about().place);
    assert_eq!(place(minikube(&[a, b], &[])).await.unwrap(), "in cluster b");
    let named = Fake { env: vec![("MINIKUBE_PROFILE", "a")], ..minikube(&[a, b], &[]) };
    assert_eq!(place(named).await.unwrap(), "in cluster a");
    let unknown = Fake { env: vec![("MINIKUBE_PROFILE", "x")], ..minikube(&[a], &[]) };
    fails(place(unknown).await, &codes::RUNTIME_CLUSTER, "minikube start -p x");
    let c = ("c", "Running", false);
    fails(place(minikube(&[a, c], &[])).await, &codes::RUNTIME_CLUSTER, "export MINIKUBE_PROFILE=a");
    let stopped = ("s", "Stopped", false);
    assert_eq!(place(minikube(&[stopped, a], &[])).await.unwrap(), "in cluster a");
    fails(place(minikube(&[stopped], &[])).await, &codes::RUNTIME_DOWN, "minikube start -p s");
    fails(place(minikube(&[], &[])).await, &codes::RUNTIME_CLUSTER, "minikube start");
}

async fn run(fake: &Fake, runtime: Runtime) -> Result<String> {
    let platform = "linux/arm64".parse().unwrap();
    let words = |text: &[&str]| text.iter().map(OsString::from).collect::<Vec<_>>();
    let (flags, args) = (words(&["--publish", "80:80"]), words(&["x", "-y"]));
    let start = Start { reference: "a:b", platform: Some(&platform), flags: &flags, args: &args, tty: true };
    let command = fake.on(LINUX, async |cx| run_command(cx, runtime, None, &start).await).await?;
    assert!(command.interactive);
    Ok(command.to_string())
}

#[tokio::test]
async fn containers_run_with_docker_s_flags_where_containers_run() {
    let nerdctl = Fake::new(&[("nerdctl", 0, "", "")]);
    for (runtime, command) in [
        (Runtime::Docker, "docker run --rm --pull=never -i -t --publish 80:80 a:b x -y"),
        (Runtime::Podman, "podman run --rm --pull=never -i -t --publish 80:80 a:b x -y"),
        (Runtime::Apple, "container run --rm --platform linux/arm64 -i -t --publish 80:80 a:b x -y"),
        (
            Runtime::Containerd,
            "nerdctl --namespace default run --rm --pull=never --platform linux/arm64 -i -t --publish 80:80 a:b x -y",
        ),
    ] {
        assert_eq!(run(&nerdctl, runtime).await.unwrap(), command);
    }
    let nothing = Fake::default();
    fails(
        run(&nothing, Runtime::Containerd).await,
        &codes::RUNTIME_CANNOT_RUN,
        "ctr --namespace default run",
    );
    for runtime in Runtime::ALL.into_iter().filter(|runtime| runtime.is_cluster()) {
        fails(run(&nothing, runtime).await, &codes::RUNTIME_CANNOT_RUN, "kubectl run");
    }
}

#[tokio::test]
async fn every_runtime_that_is_not_there_says_so() {
    for runtime in Runtime::ALL {
        for system in [LINUX, MAC] {
            let error = ask_on(&Fake::default(), system, runtime).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ToolMissing, "{error:?}");
            assert!(error.to_string().ends_with("is not installed"), "{error}");
        }
    }
}

/// Two images, the second for two platforms, as an index.
fn several() -> CachedImage {
    let one = |names: &[&str], platform: &str, config: &str, manifest: &str| {
        json!({
            "platform": platform, "imageId": config, "sourceConfigDigest": config, "manifestDigest": manifest,
            "manifestSize": 1, "names": names, "layers": [], "size": 0, "verdict": { "verdict": "runs" },
        })
    };
    let first = json!({ "digest": MANIFEST, "mediaType": "", "platforms": [one(&["a:1"], "linux/amd64", CONFIG, MANIFEST)] });
    let second = json!({ "digest": OTHER, "mediaType": "", "platforms": [
        one(&["b:2"], "linux/arm64", OTHER, OTHER), one(&["b:2"], "linux/amd64", CONFIG, MANIFEST),
    ] });
    let images = [first, second].map(|image| serde_json::from_value(image).unwrap());
    CachedImage::imagined("/c/image.tar", images.into()).unwrap()
}

#[tokio::test]
async fn containerd_takes_every_platform_of_every_image() {
    let (first, second) =
        (ctr_table("docker.io/library/a:1", MANIFEST), ctr_table("docker.io/library/b:2", OTHER));
    let fake = Fake::new(&[
        ("version", 0, CTR_VERSION, ""),
        ("ls name==docker.io/library/a", 0, &first, ""),
        ("ls name==docker.io/library/b", 0, &second, ""),
        ("ctr --namespace default images import", 0, "", ""),
    ]);
    let ready = ask_on(&fake, LINUX, Runtime::Containerd).await.unwrap();
    let loaded = fake.on(LINUX, async |cx| ready.load(cx, &several()).await).await.unwrap();
    assert_eq!(references(&loaded), ["docker.io/library/a:1", "docker.io/library/b:2"]);
    assert_eq!(fake.asked()[1], "ctr --namespace default images import --all-platforms /c/image.tar");
}

#[tokio::test]
async fn podman_that_read_docker_s_manifest_gets_the_whole_names() {
    let inspect = podman_inspect(CONFIG);
    let fake = Fake::new(&[
        ("podman version", 0, PODMAN_HERE, ""),
        ("podman load", 0, "Loaded image: localhost/a:1\nLoaded image: localhost/b:2\n", ""),
        ("podman image inspect", 0, &inspect, ""),
        ("podman tag", 0, "", ""),
    ]);
    let ready = ask_on(&fake, LINUX, Runtime::Podman).await.unwrap();
    let loaded = fake.on(LINUX, async |cx| ready.load(cx, &several()).await).await.unwrap();
    assert_eq!(references(&loaded), ["docker.io/library/a:1", "docker.io/library/b:2"]);
    assert_eq!(loaded.images[0].id.to_string(), CONFIG);
    assert!(fake.asked().contains(&"podman tag localhost/b:2 docker.io/library/b:2".to_owned()));
}
