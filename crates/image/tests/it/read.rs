//! Images that are in order.

use std::collections::HashSet;
use std::sync::Mutex;

use crate::build::*;
use nixoci_image::{Input, Mismatch, Naming, ReadOptions, Reference, Verdict, check, codes};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

#[test]
fn every_layout_is_the_same_image() {
    let mut outputs = HashSet::new();
    for layout in [Layout::Layered, Layout::Legacy, Layout::Skopeo] {
        let tar = Image { layout, ..hello() }.tar();
        for bytes in [tar.clone(), gzip(&tar)] {
            let (summary, hybrid) = convert(&bytes).unwrap();
            assert_eq!(summary.verdict, Verdict::Runs, "{layout:?}");
            assert!(summary.warnings.is_empty(), "{:?}", summary.warnings);
            outputs.insert(hybrid);
        }
    }
    assert_eq!(outputs.len(), 1, "the output depends on how the input was packed");
}

#[test]
fn gzip_in_several_members_is_one_stream() {
    let tar = hello().tar();
    let (first, second) = tar.split_at(tar.len() / 3);
    let bytes = [gzip(first), gzip(b""), gzip(second)].concat();
    assert_eq!(read(&bytes).unwrap(), read(&tar).unwrap());
}

#[test]
fn the_order_of_members_does_not_matter() {
    let tar = hello().tar();
    let mut parts = members(&tar);
    parts.reverse();
    let reversed = parts.iter().fold(Tar::new(), |tar, (name, data)| tar.file(name, data)).end();
    assert_eq!(read(&reversed).unwrap(), read(&tar).unwrap());
    let dotted =
        parts.iter().fold(Tar::new().dir("./"), |tar, (name, data)| tar.file(&format!("./{name}"), data));
    assert_eq!(read(&dotted.end()).unwrap(), read(&tar).unwrap());
}

#[test]
fn the_summary_says_what_is_in_the_image() {
    let summary = read(&gzip(&hello().tar())).unwrap();
    insta::assert_json_snapshot!(summary);
}

#[test]
fn the_hybrid_archive_is_golden() {
    let (summary, hybrid) = convert(&hello().tar()).unwrap();
    let mut settings = insta::Settings::clone_current();
    settings.set_sort_maps(true);
    let _bound = settings.bind_to_scope();
    let listing: Vec<Value> = members(&hybrid)
        .into_iter()
        .map(|(name, data)| match serde_json::from_slice::<Value>(&data) {
            Ok(json) => json!({ "name": name, "json": json }),
            Err(_) => json!({ "name": name, "size": data.len() }),
        })
        .collect();
    insta::assert_json_snapshot!(json!({ "sha256": sha256(&hybrid), "members": listing }));
    for (name, data) in members(&hybrid) {
        if let Some(hex) = name.strip_prefix("blobs/sha256/").filter(|hex| !hex.is_empty()) {
            assert_eq!(hex, sha256(&data));
        }
    }
    let manifest = member(&hybrid, &format!("blobs/sha256/{}", summary.manifest_digest.hex()));
    assert_eq!(manifest.len() as u64, summary.manifest_size);
    let config = member(&hybrid, &format!("blobs/sha256/{}", summary.image_id.hex()));
    assert_eq!(config, hello().config_text().into_bytes());
}

#[test]
fn what_was_written_reads_as_what_was_read() {
    let (summary, hybrid) = convert(&hello().tar()).unwrap();
    let (again, same) = convert(&hybrid).unwrap();
    assert_eq!(summary, again);
    assert!(hybrid == same);
    assert_eq!(read(&gzip(&hybrid)).unwrap(), summary);
}

#[test]
fn equal_layers_are_written_once() {
    let mut image = hello();
    let first = image.layers[0].clone();
    image.layers.push(first);
    image.config["history"] = json!([]);
    let mut parts = members(&image.tar());
    // The same content under two names, and one name twice.
    let copy = ("copy/layer.tar".to_owned(), parts[0].1.clone());
    parts.insert(2, copy);
    let tar = parts.iter().fold(Tar::new(), |tar, (name, data)| tar.file(name, data)).end();
    let (summary, hybrid) = convert(&tar).unwrap();
    assert_eq!(summary.layers.len(), 3);
    let names: Vec<String> = members(&hybrid).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), names.iter().collect::<HashSet<_>>().len(), "{names:?}");
    assert!(convert(&hybrid).unwrap().1 == hybrid);
}

#[test]
fn what_the_manifest_does_not_name_is_left_out() {
    let image = hello();
    let (_, expected) = convert(&image.tar()).unwrap();
    let parts = members(&image.tar());
    let stray = package("stray", &[9; 70_000]);
    for at in 0..parts.len() {
        let mut parts = parts.clone();
        parts.insert(at, ("stray.tar".into(), stray.clone()));
        let tar = parts.iter().fold(Tar::new(), |tar, (name, data)| tar.file(name, data)).end();
        assert!(convert(&tar).unwrap().1 == expected, "stray layer at {at}");
    }
}

#[test]
fn a_command_given_as_a_string_becomes_a_list() {
    let mut image = hello();
    image.config["config"]["Cmd"] = json!("hello");
    let (summary, hybrid) = convert(&image.tar()).unwrap();
    assert_eq!(summary.cmd, ["hello"]);
    assert_eq!(summary.verdict, Verdict::Runs);
    assert_eq!(summary.warnings[0].code, codes::COMMAND_IS_STRING.id);
    let source = image.config_text();
    assert_eq!(summary.source_config.as_deref(), Some(source.as_str()));
    assert_eq!(summary.source_config_digest.hex(), sha256(source.as_bytes()));
    let written = member(&hybrid, &format!("blobs/sha256/{}", summary.image_id.hex()));
    assert_eq!(
        String::from_utf8(written).unwrap(),
        source.replace(r#""Cmd": "hello""#, r#""Cmd": ["hello"]"#)
    );
}

#[test]
fn names_are_kept_replaced_or_tagged() {
    let tar = hello().tar();
    let names = |naming: Naming| read_with(&tar, |options| options.names = naming).unwrap().names;
    assert_eq!(names(Naming::Keep), ["hello:latest"]);
    assert_eq!(names(Naming::Tag("dev".into())), ["hello:dev"]);
    let new = vec!["a".parse::<Reference>().unwrap(), "ghcr.io/b:1".parse().unwrap()];
    assert_eq!(names(Naming::Replace(new)), ["a:latest", "ghcr.io/b:1"]);
}

#[test]
fn an_image_without_names_or_with_bad_ones() {
    let none = Image { names: None, ..hello() }.tar();
    let (summary, hybrid) = convert(&none).unwrap();
    assert!(summary.names.is_empty());
    let manifest: Value = serde_json::from_slice(&member(&hybrid, "manifest.json")).unwrap();
    assert_eq!(manifest[0]["RepoTags"], Value::Null);
    let tag = |options: &mut ReadOptions<'_>| options.names = Naming::Tag("dev".into());
    assert!(read_with(&none, tag).unwrap_err().is(&codes::NO_NAME));
    let bad = Image { names: Some(vec!["Not A Name".into(), "ok:1".into()]), ..hello() }.tar();
    let summary = read(&bad).unwrap();
    assert_eq!(summary.names, ["ok:1"]);
    assert_eq!(summary.warnings[0].code, codes::BAD_NAME.id);
}

#[test]
fn macos_programs_and_wrong_cpus_are_refused() {
    for (program, word) in [(MACH_O.to_vec(), "macOS"), (elf(ARM64), "another CPU")] {
        let mut image = hello();
        image.layers[0] = package("hello", &program);
        let tar = image.tar();
        let error = read(&tar).unwrap_err();
        assert!(error.is(&codes::WRONG_MACHINE));
        assert!(error.to_string().contains(word), "{error}");
        assert!(error.report().causes[0].starts_with("/nix/store/hello/bin/hello is for "));
        let summary = read_with(&tar, |options| options.mismatch = Mismatch::Allowed).unwrap();
        assert!(matches!(summary.verdict, Verdict::Mismatch { .. }));
    }
}

#[test]
fn the_platform_that_was_asked_for_counts() {
    let tar = hello().tar();
    let expect = |platform: &str| {
        let platform = platform.parse().unwrap();
        read_with(&tar, |options| options.expect = vec![platform])
    };
    assert!(expect("linux/amd64").is_ok());
    assert!(expect("linux/arm64").unwrap_err().is(&codes::PLATFORM_MISMATCH));
}

#[test]
fn a_missing_command_is_a_warning() {
    let mut image = hello();
    image.config["config"]["Cmd"] = json!(["goodbye"]);
    let summary = read(&image.tar()).unwrap();
    assert_eq!(summary.verdict, Verdict::Unproven);
    assert_eq!(summary.warnings[0].code, codes::COMMAND_MISSING.id);
}

#[test]
fn too_many_layers_are_a_warning() {
    let mut image = hello();
    image.config["history"] = json!([]);
    for number in 0..128 {
        image.layers.push(Tar::new().file("x", format!("{number}").as_bytes()).end());
    }
    let summary = read(&image.tar()).unwrap();
    assert_eq!(summary.warnings[0].code, codes::MANY_LAYERS.id);
}

#[test]
fn files_are_read_through_links_and_progress_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (file, link) = (dir.path().join("image"), dir.path().join("result"));
    let bytes = gzip(&hello().tar());
    std::fs::write(&file, &bytes).unwrap();
    std::os::unix::fs::symlink(&file, &link).unwrap();
    let cancel = CancellationToken::new();
    let seen = Mutex::new(Vec::new());
    let hear = |done: u64, total: Option<u64>| seen.lock().unwrap().push((done, total));
    let options = ReadOptions { progress: &hear, ..ReadOptions::new(&cancel) };
    check(Input::file(&link).unwrap(), &options).unwrap();
    let total = bytes.len() as u64;
    assert_eq!(seen.lock().unwrap().last(), Some(&(total, Some(total))));
}

#[test]
fn a_cancelled_read_stops() {
    let cancel = CancellationToken::new();
    cancel.cancel();
    let error = check(input(&hello().tar()), &ReadOptions::new(&cancel)).unwrap_err();
    assert!(error.is(&nixoci_core::codes::CANCELLED));
}
