//! The images that the lab's producers made.

use std::path::PathBuf;

/// A line of the manifest of what the lab's producers made.
#[derive(Clone)]
pub(super) struct Produced {
    pub(super) path: PathBuf,
    pub(super) file: String,
    pub(super) producer: String,
    pub(super) shape: String,
    pub(super) images: Vec<String>,
    pub(super) platforms: Vec<String>,
}

/// Everything in the lab's manifest, in its order.
pub(super) fn produced() -> Vec<Produced> {
    let dir = PathBuf::from(
        std::env::var_os("NIXOCI_LAB_PRODUCED").expect("NIXOCI_LAB_PRODUCED: run `cargo xtask test`"),
    );
    let text = std::fs::read_to_string(dir.join("manifest.tsv")).unwrap();
    let list = |text: &str| text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    let line = |line: &str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let [file, producer, shape, images, platforms] = fields.try_into().expect("five columns");
        Produced {
            path: dir.join(file),
            file: file.to_owned(),
            producer: ability(file, producer),
            shape: shape.to_owned(),
            images: list(images.trim_matches('-')),
            platforms: list(platforms),
        }
    };
    text.lines().skip(1).map(line).collect()
}

/// The file of this name.
pub(super) fn named(file: &str) -> Produced {
    produced().into_iter().find(|one| one.file == file).unwrap_or_else(|| panic!("no {file} is produced"))
}

/// A producer by what it does, not by the version that a distribution has today.
fn ability(file: &str, producer: &str) -> String {
    let words: Vec<&str> = producer
        .split(' ')
        .take_while(|word| !word.starts_with(|first: char| first.is_ascii_digit()))
        .collect();
    let known = [
        ("docker-20.10", "Docker, classic store"),
        ("docker-28", "Docker, containerd store"),
        ("containerd-1.6", "containerd 1"),
        ("containerd-2", "containerd 2"),
        ("skopeo-old", "skopeo, an old one"),
        ("skopeo-oci-gzip", "skopeo, gzip layers"),
        ("skopeo-dir-gzip", "skopeo, gzip layers"),
        ("skopeo-oci-zstd", "skopeo, zstd layers"),
        ("skopeo-dir-zstd", "skopeo, zstd layers"),
        ("skopeo-oci-plain", "skopeo, plain layers"),
        ("skopeo-dir", "skopeo, plain layers"),
        ("skopeo-oci-unnamed", "skopeo, without a name"),
        ("skopeo-oci-two", "skopeo, two labels"),
        ("podman-oci-nested", "podman manifest"),
    ];
    let known = known.iter().find(|(prefix, _)| file.starts_with(prefix));
    known.map_or_else(|| words.join(" "), |(_, ability)| (*ability).to_owned())
}

impl Produced {
    pub(super) fn is_image(&self) -> bool {
        !self.platforms.is_empty() && self.shape != "stream-script"
    }

    pub(super) fn is_read_by_skopeo(&self) -> bool {
        self.file != "hard-links.tar"
    }

    /// As skopeo calls the first image in it.
    pub(super) fn for_skopeo(&self) -> String {
        let transport = match self.shape.as_str() {
            "oci-dir" => "oci",
            "oci-archive" => "oci-archive",
            "dir" => "dir",
            _ => "docker-archive",
        };
        let first = match (self.shape.as_str(), self.images.first()) {
            // By name: Docker 20.10 saves several images in any order.
            (_, Some(name)) if self.images.len() > 1 => format!(":{name}"),
            (shape, _) if shape.starts_with("docker") || shape == "hybrid" => ":@0".to_owned(),
            _ => String::new(),
        };
        format!("{transport}:{}{first}", self.path.display())
    }
}
