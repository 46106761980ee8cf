use super::*;
use crate::runtime::fake::Fake;
use nixoci_core::ErrorKind;
use tokio_util::sync::CancellationToken;

fn fake(answers: &[(&'static str, i32, &str, &str)]) -> Fake {
    Fake::new(answers)
}

async fn with<T>(fake: &Fake, system: &str, act: impl AsyncFnOnce(&Cx<'_>) -> T) -> T {
    fake.on(system, act).await
}

const VERSION: &str = r#"{"Client":{"Version":"28.5.2","Context":"default"},"Server":{"Version":"28.5.2","Os":"linux","Arch":"amd64"}}"#;

#[tokio::test]
async fn the_engine_says_who_it_is() {
    let containerd = r#"[["driver-type","io.containerd.snapshotter.v1"]]"#;
    for (status, store) in
        [(containerd, Store::Containerd), (r#"[["Backing Filesystem","extfs"]]"#, Store::Classic)]
    {
        let info = format!(
            r#"{{"ServerVersion":"28.5.2","OSType":"linux","Architecture":"x86_64","DriverStatus":{status},
                "ClientInfo":{{"Context":"colima"}}}}"#
        );
        let fake = fake(&[("docker info", 0, info.as_str(), "")]);
        let info = with(&fake, "x86_64-linux", async |cx| Docker::new(None).ask(cx).await).await.unwrap();
        assert_eq!(info.store, store);
        assert_eq!(info.platform.to_string(), "linux/amd64");
        assert_eq!(info.place, "in context colima");
    }
}

#[tokio::test]
async fn a_host_that_was_given_is_asked() {
    // As Podman's docker answers: its `info` is another.
    let fake = fake(&[("version", 0, VERSION, ""), ("info", 0, r#"{"host":{}}"#, "")]);
    let docker = Docker::new(Some("ssh://me@box".into()));
    let info = with(&fake, "x86_64-linux", async |cx| docker.ask(cx).await).await.unwrap();
    assert_eq!(info.place, "at ssh://me@box");
    assert!(fake.asked().iter().all(|line| line.starts_with("docker -H ssh://me@box ")));
}

#[tokio::test]
async fn failures_say_what_to_do() {
    let down =
        "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?";
    let denied = "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock";
    let context = r#"error: context "x": context not found: open /root/.docker/contexts/meta/…: no such file or directory"#;
    let cases = [
        (down, ErrorKind::Delivery, "sudo systemctl start docker"),
        (denied, ErrorKind::Permission, "sudo usermod -aG docker $USER"),
        (context, ErrorKind::Config, "docker context ls"),
    ];
    for (said, kind, command) in cases {
        let fake = fake(&[("docker", 1, "", said)]);
        let error =
            with(&fake, "x86_64-linux", async |cx| Docker::new(None).ask(cx).await).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{said}");
        assert_eq!(error.report().remedies[0].command.as_deref(), Some(command));
        assert_eq!(error.report().log_tail.len(), 1);
    }
    let fake = fake(&[]);
    let error = with(&fake, "aarch64-darwin", async |cx| Docker::new(None).ask(cx).await).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ToolMissing);
    assert!(error.report().remedies[1].command.as_ref().unwrap().contains("colima"));
}

#[test]
fn what_load_says_in_all_its_forms() {
    assert_eq!(parse_loaded("Loaded image: hello:latest\n"), ["hello:latest"]);
    assert_eq!(parse_loaded("Loaded image ID: sha256:00\nnoise"), ["sha256:00"]);
    assert_eq!(parse_loaded("Loaded image: a:1\nLoaded image: b:2"), ["a:1", "b:2"]);
    assert!(parse_loaded("Loaded image:").is_empty());
}

#[test]
fn run_passes_flags_and_arguments_on() {
    let words = |text: &[&str]| text.iter().map(OsString::from).collect::<Vec<_>>();
    let docker = Docker::new(None);
    let command = docker.run_command("a:b", &words(&["-p", "80:80"]), &words(&["x", "-y"]), true);
    assert_eq!(command.to_string(), "docker run --rm --pull=never -i -t -p 80:80 a:b x -y");
    assert!(command.interactive);
}

mod partly {
    use super::*;
    use crate::cache::{Cache, CacheKey};
    use crate::input::{Input as Source, ReadOptions};
    use crate::reference::Naming;
    use std::io::Cursor;

    fn tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
        let mut builder = ::tar::Builder::new(Vec::new());
        for (name, data) in files {
            let mut header = ::tar::Header::new_ustar();
            header.set_size(data.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, data.as_slice()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    /// An image in the cache whose layers hold these bytes.
    fn image(cache: &Cache, layers: &[&[u8]]) -> CachedImage {
        let layers: Vec<Vec<u8>> = layers.iter().map(|data| tar(&[("f".into(), data.to_vec())])).collect();
        let ids: Vec<String> = layers.iter().map(|layer| crate::write::hash(layer).to_string()).collect();
        let config = serde_json::json!({"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": ids}});
        let names: Vec<String> = (0..layers.len()).map(|number| format!("{number}.tar")).collect();
        let manifest = serde_json::json!([{"Config": "c", "RepoTags": ["a:b"], "Layers": names}]);
        let mut files: Vec<(String, Vec<u8>)> = names.into_iter().zip(layers).collect();
        files.push(("c".into(), config.to_string().into_bytes()));
        files.push(("manifest.json".into(), manifest.to_string().into_bytes()));
        let bytes = tar(&files);
        let key = CacheKey::new(&crate::write::hash(&bytes), &Naming::Keep, None);
        let cancel = CancellationToken::new();
        let source = Source::reader(Box::new(Cursor::new(bytes)), "x".into(), None);
        cache.fill(&key, |out| crate::import(source, &ReadOptions::new(&cancel), out)).unwrap()
    }

    fn info(store: Store) -> DockerInfo {
        let (server_version, platform) = server(VERSION).unwrap();
        DockerInfo { server_version, store, platform, place: "x".into() }
    }

    async fn load(
        store: Store,
        answers: &[(&'static str, i32, &str, &str)],
        image: &CachedImage,
    ) -> (Loaded, Vec<String>) {
        let fake = fake(answers);
        let loaded =
            with(&fake, "x86_64-linux", async |cx| Docker::new(None).load(cx, &info(store), image).await);
        let loaded = loaded.await.unwrap();
        (loaded, fake.asked())
    }

    #[tokio::test]
    async fn what_containerd_has_under_our_digest_is_not_sent() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().to_owned()).unwrap();
        let big = vec![7; 5 << 20];
        let old = image(&cache, &[&big, b"old"]);
        let new = image(&cache, &[&big, b"new"]);
        let there = old.platforms().next().unwrap().manifest_digest.to_string();
        let id = new.platforms().next().unwrap().manifest_digest;
        let tag = format!("docker tag {id} a:b");
        let answers = [
            ("image inspect", 1, there.as_str(), "No such image"),
            ("docker tag", 0, "", ""),
            ("docker load --quiet", 0, "Loaded image: a:b", ""),
        ];
        let (loaded, asked) = load(Store::Containerd, &answers, &new).await;
        assert_eq!(loaded.skipped.len(), 1);
        assert!(asked.contains(&"docker load --quiet".to_owned()), "{asked:?}");
        assert!(asked.contains(&tag), "{asked:?}");
        // A registry's image has other blobs, although its layers unpack to the same.
        let answers = [("image inspect", 0, "sha256:00", ""), answers[1], answers[2]];
        assert!(load(Store::Containerd, &answers, &new).await.0.skipped.is_empty());
    }

    #[tokio::test]
    async fn an_engine_that_holds_something_else_under_the_name_is_found_out() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().to_owned()).unwrap();
        let image = image(&cache, &[b"small"]);
        let other = r#"{"Id":"sha256:00","Os":"linux","Architecture":"amd64"}"#;
        let fake = fake(&[
            ("docker tag", 1, "", "No such image"),
            ("image inspect", 0, other, ""),
            ("load --quiet -i", 0, "Loaded image: a:b", ""),
        ]);
        let docker = Docker::new(None);
        let loaded =
            with(&fake, "x86_64-linux", async |cx| docker.load(cx, &info(Store::Classic), &image).await);
        assert!(loaded.await.unwrap_err().is(&codes::DOCKER_MISMATCH));
    }

    #[tokio::test]
    async fn an_engine_that_refuses_a_part_gets_everything() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().to_owned()).unwrap();
        let big = vec![7; 5 << 20];
        let image = image(&cache, &[&big, b"new"]);
        let one = image.platforms().next().unwrap();
        let inspected = format!(r#"{{"Id":"{}","Os":"linux","Architecture":"amd64"}}"#, one.image_id);
        let layers = format!(r#"["{}","sha256:00"]"#, one.layers[0].diff_id);
        // Only the load from a file is answered; the one from standard input fails.
        let answers = [
            ("image ls", 0, "sha256:11\nsha256:11\n", ""),
            ("RootFS", 0, layers.as_str(), ""),
            ("'{{json .}}' a:b", 0, inspected.as_str(), ""),
            ("load --quiet -i", 0, "Loaded image: a:b", ""),
        ];
        let (loaded, asked) = load(Store::Classic, &answers, &image).await;
        assert!(loaded.skipped.is_empty());
        let loads: Vec<&String> = asked.iter().filter(|line| line.contains(" load ")).collect();
        assert_eq!(loads.len(), 2, "{asked:?}");
    }

    #[tokio::test]
    async fn only_the_lowest_layers_in_common_are_left_out_of_a_chain() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path().to_owned()).unwrap();
        let (one, two) = (vec![1; 5 << 20], vec![2; 5 << 20]);
        let image = image(&cache, &[&one, &two, &one]);
        let platform = image.platforms().next().unwrap();
        let inspected = format!(r#"{{"Id":"{}","Os":"linux","Architecture":"amd64"}}"#, platform.image_id);
        let [first, second] = [0, 1].map(|place: usize| platform.layers[place].diff_id);
        // The first is needed again at the top, and the engine has only the two lowest under that chain.
        let layers = format!(r#"["{first}","{second}"]"#);
        let answers = [
            ("image ls", 0, "sha256:11", ""),
            ("RootFS", 0, layers.as_str(), ""),
            ("'{{json .}}' a:b", 0, inspected.as_str(), ""),
            ("docker load --quiet", 0, "Loaded image: a:b", ""),
        ];
        let (loaded, _) = load(Store::Classic, &answers, &image).await;
        assert_eq!(loaded.skipped.into_iter().collect::<Vec<_>>(), [second]);
    }
}
