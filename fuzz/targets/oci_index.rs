//! The documents of an OCI archive: the input is text, the tar around it and the digests are made right.
//!
//! Parts are divided by lines of `----`: index, manifest, config, `manifest.json`, a second manifest, the layer; what is
//! missing is left out, but for the layer. `@layer@`, `@config@`, `@manifest@` and `@second@` become digests, and with
//! `-size` in front of the last `@` sizes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sha2::{Digest, Sha256};

fuzz_target!(|data: &[u8]| nixoci_fuzz::check(archive(data)));

fn archive(data: &[u8]) -> Vec<u8> {
    let mut parts = split(data).into_iter();
    let mut next = || parts.next().unwrap_or_default();
    let (mut index, mut manifest, mut config) = (next(), next(), next());
    let (mut docker, mut second, layer) = (next(), next(), next());
    let layer = if layer.is_empty() { small_layer() } else { layer };

    let mut blobs = vec![("layer", layer)];
    for (name, document) in [("config", &mut config), ("second", &mut second), ("manifest", &mut manifest)] {
        fill(document, &blobs);
        blobs.push((name, std::mem::take(document)));
    }
    fill(&mut index, &blobs);
    fill(&mut docker, &blobs);

    let mut tar = tar::Builder::new(Vec::new());
    add(&mut tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    for (_, blob) in &blobs {
        add(&mut tar, &format!("blobs/sha256/{}", hex(blob)), blob);
    }
    add(&mut tar, "index.json", &index);
    if !docker.is_empty() {
        add(&mut tar, "manifest.json", &docker);
    }
    tar.into_inner().unwrap_or_default()
}

fn split(data: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = vec![Vec::new()];
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        if line == b"----\n" {
            parts.push(Vec::new());
        } else if let Some(part) = parts.last_mut() {
            part.extend_from_slice(line);
        }
    }
    parts
}

/// Puts digests and sizes of what is known in place of names.
fn fill(document: &mut Vec<u8>, blobs: &[(&str, Vec<u8>)]) {
    for (name, blob) in blobs {
        replace(document, format!("@{name}@").as_bytes(), format!("sha256:{}", hex(blob)).as_bytes());
        replace(document, format!("@{name}-hex@").as_bytes(), hex(blob).as_bytes());
        replace(document, format!("@{name}-size@").as_bytes(), blob.len().to_string().as_bytes());
    }
}

fn replace(text: &mut Vec<u8>, from: &[u8], to: &[u8]) {
    let mut at = 0;
    while let Some(found) = text[at..].windows(from.len()).position(|window| window == from) {
        text.splice(at + found..at + found + from.len(), to.iter().copied());
        at += found + to.len();
    }
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn small_layer() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    add(&mut tar, "bin/hello", b"#!/bin/sh\necho hello\n");
    tar.into_inner().unwrap_or_default()
}

fn add(tar: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    let _ = tar.append_data(&mut header, name, bytes);
}
