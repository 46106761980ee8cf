//! Input that wants to eat memory or time.

use std::io::{Cursor, Read};

use crate::build::*;
use nixoci_core::digest::Digest;
use nixoci_image::{Input, ReadOptions, Verdict, check, codes};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

fn with_config(text: String) -> Vec<u8> {
    Image { config_text: Some(text), ..hello() }.tar()
}

#[test]
fn huge_json_is_refused_by_its_size() {
    let big = format!("{{\"os\":\"linux\",\"x\":\"{}\"}}", "a".repeat(5 << 20));
    assert!(read(&with_config(big)).unwrap_err().is(&codes::TOO_LARGE));
    let manifest = format!("[{}{{}}]", "{},".repeat(2 << 20));
    let tar = Tar::new().file("manifest.json", manifest.as_bytes()).end();
    assert!(read(&gzip(&tar)).unwrap_err().is(&codes::TOO_LARGE));
}

#[test]
fn deep_and_wide_json() {
    let mut image = hello();
    image.config["deep"] = json!("DEEP");
    let nested = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
    let text = image.config_text().replace("\"DEEP\"", &nested);
    assert_eq!(read(&with_config(text)).unwrap().verdict, Verdict::Runs);
    let wide = image.config_text().replace("\"DEEP\"", &format!("0{}", ",\"\":0".repeat(100_000)));
    assert!(read(&with_config(wide)).unwrap_err().is(&codes::BAD_JSON));
}

#[test]
fn many_small_json_members_do_not_add_up() {
    let mut tar = Tar::new();
    let member = format!("{{\"a\":\"{}\"}}", "x".repeat(3 << 20));
    for number in 0..10 {
        tar = tar.file(&format!("{number}.json"), member.as_bytes());
    }
    // The ten are of no interest: what counts is that the image after them may come too late.
    let bytes = [tar.bytes(), hello().tar()].concat();
    let seen = read(&gzip(&bytes));
    assert!(seen.is_ok() || seen.unwrap_err().is(&codes::TOO_LARGE));
}

/// The same bytes again and again.
struct Repeat {
    block: Vec<u8>,
    at: usize,
}

impl Read for Repeat {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let rest = &self.block[self.at..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at = (self.at + count) % self.block.len();
        Ok(count)
    }
}

#[test]
fn a_million_entries() {
    const COUNT: u64 = 1_100;
    let block = (0..1000).fold(Tar::new(), |tar, number| tar.file(&format!("d/{number}"), b"")).bytes();
    let size = COUNT * block.len() as u64;
    let entries = || Repeat { block: block.clone(), at: 0 }.take(size).chain(Cursor::new(vec![0; 1024]));
    let mut hasher = Sha256::new();
    (0..COUNT).for_each(|_| hasher.update(&block));
    hasher.update([0; 1024]);
    let digest = Digest::from_bytes(hasher.finalize().into());
    let config = format!(r#"{{"os":"linux","architecture":"amd64","rootfs":{{"diff_ids":["{digest}"]}}}}"#);
    let manifest = r#"[{"Config":"config","Layers":["layer"]}]"#;
    let mut header = tar::Header::new_gnu();
    header.set_path("layer").unwrap();
    header.set_size(size + 1024);
    header.set_mode(0o644);
    header.set_cksum();
    let rest = Tar::new().file("config", config.as_bytes()).file("manifest.json", manifest.as_bytes()).end();
    let reader = Cursor::new(header.as_bytes().to_vec()).chain(entries()).chain(Cursor::new(rest));
    let cancel = CancellationToken::new();
    let input = Input::reader(Box::new(reader), "large".into(), None);
    let summary = only(check(input, &ReadOptions::new(&cancel)).unwrap());
    assert_eq!(summary.layers[0].entries, COUNT * 1000);
    assert_eq!(summary.warnings[0].code, codes::UNCHECKED.id);
}

#[test]
fn too_many_members() {
    let mut tar = Tar::new();
    for number in 0..20_000 {
        tar = tar.file(&format!("{number}"), b"");
    }
    assert!(read(&tar.end()).unwrap_err().is(&codes::NOT_AN_IMAGE));
}

#[test]
fn giant_extended_headers() {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::XHeader);
    header.set_size(1 << 40);
    header.set_cksum();
    let bytes = [header.as_bytes().as_slice(), &[0; 4096]].concat();
    assert!(read(&bytes).unwrap_err().is(&codes::CORRUPT_TAR));
    let mut image = hello();
    image.layers[1] = bytes;
    assert!(read(&image.tar()).unwrap_err().is(&codes::CORRUPT_TAR));
}
