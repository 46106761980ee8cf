//! Loading again after a small change: only what Docker lacks is sent, and what it has in the end is whole.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::*;

fn tar(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, data) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, data.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A docker-archive of three large layers and a small one with this text.
fn archive(path: &Path, name: &str, text: &str) {
    let hex =
        |bytes: &[u8]| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let large =
        |seed: u32| (0..3u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761 + seed) >> 13) as u8).collect();
    let mut layers: Vec<Vec<u8>> =
        (0..3).map(|seed| tar(&[(format!("data/{seed}"), large(seed * 2))])).collect();
    layers.push(tar(&[("etc/text".into(), text.into())]));
    let ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", hex(layer))).collect();
    let config = serde_json::json!({
        "os": "linux", "architecture": "amd64", "config": {"Cmd": ["/none"]}, "rootfs": {"type": "layers", "diff_ids": ids},
    })
    .to_string();
    let names: Vec<String> = layers.iter().map(|layer| format!("{}/layer.tar", hex(layer))).collect();
    let config_name = format!("{}.json", hex(config.as_bytes()));
    let manifest =
        serde_json::json!([{"Config": config_name, "RepoTags": [name], "Layers": names}]).to_string();
    let mut files: Vec<(String, Vec<u8>)> = names.into_iter().zip(layers).collect();
    files.push((config_name, config.into_bytes()));
    files.push(("manifest.json".into(), manifest.into_bytes()));
    std::fs::write(path, tar(&files)).unwrap();
}

each!(only_what_docker_lacks_is_sent: nix_2_26(NIX_2_26), nix_2_34(NIX_2_34));
fn only_what_docker_lacks_is_sent(host: Host) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (one, two) = (dir.path().join("one.tar"), dir.path().join("two.tar"));
    let name = format!("{}:latest", crate::harness::unique("sparse"));
    archive(&one, &name, "one");
    archive(&two, &name, "two");
    let run = host.sh(&format!(
        "nixoci load {one} --runtime docker && nixoci load {two} --runtime docker || exit
         id=$(docker create {name}) || exit
         docker cp $id:/etc/text - | tar -xO
         docker cp $id:/data/2 - | tar -xO | wc -c
         docker rm $id > /dev/null; docker rmi {name} > /dev/null
         nixoci load {two} --runtime docker; docker rmi {name} > /dev/null",
        one = one.display(),
        two = two.display()
    ));
    let run = run.code(0);
    assert_eq!(run.out.lines().collect::<Vec<_>>(), [&name, &name, &format!("two{}", 3 << 20), &name]);
    let line = run.err.lines().find(|line| line.contains(" layers")).unwrap_or_default();
    crate::harness::shows("sparse_layers_that_docker_had", line);
}
