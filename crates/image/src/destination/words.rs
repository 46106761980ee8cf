//! What people write for a destination.
//!
//! Sources: skopeo(1), "IMAGE NAMES"; docker buildx build, "--output".

use std::path::Path;

use nixoci_core::{Error, Remedy, Result, shell};

use super::Destination;
use crate::codes;
use crate::write::{Codec, Encoding, Format};

/// The prefixes, and what they mean.
const KINDS: [(&str, Format); 4] = [
    ("archive", Format::Hybrid),
    ("docker-archive", Format::DockerArchive),
    ("oci-archive", Format::OciArchive),
    ("oci", Format::OciLayout),
];

impl Destination {
    fn new(format: Format, file: &str, base: &Path) -> Self {
        let encoding = match format {
            Format::Hybrid | Format::DockerArchive => Encoding::Plain,
            Format::OciArchive | Format::OciLayout => Encoding::Keep(Codec::default()),
        };
        let kind = KINDS.iter().find(|(_, known)| *known == format).map_or("archive", |(name, _)| name);
        let path = base.join(file);
        Destination { format, shown: format!("{kind}:{}", path.display()), path, encoding, name: None }
    }
}

fn fail(text: &str, why: &str) -> Error {
    Error::new(&codes::BAD_DESTINATION, format!("`{text}` is not a destination")).because(why).remedy(
        Remedy::advice(
            "write archive:FILE, docker-archive:FILE, oci:DIR, oci-archive:FILE, or a path that ends in .tar",
        ),
    )
}

pub(super) fn parse(text: &str, base: &Path) -> Result<Destination> {
    if text.starts_with("type=") || text.contains(",dest=") || text.starts_with("dest=") {
        return buildx(text, base);
    }
    let (format, file) = match text.split_once(':') {
        Some((scheme, file)) if scheme.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-') => {
            match KINDS.iter().find(|(name, _)| *name == scheme) {
                Some((_, format)) => (*format, file),
                None => return Err(other(text, scheme)),
            }
        }
        _ if text == "-" => {
            return Err(fail(text, "standard output carries the result, and no image")
                .remedy(Remedy::command("load it", "--load")));
        }
        _ if text.ends_with(".tar") => (Format::Hybrid, text),
        _ => return Err(fail(text, "a plain path must end in .tar; archives are not compressed")),
    };
    if file.is_empty() || file == "-" {
        return Err(fail(text, "the file is missing"));
    }
    reject_name(text, format, file)?;
    Ok(Destination::new(format, file, base))
}

/// skopeo takes a name for the image after the file.
fn reject_name(text: &str, format: Format, file: &str) -> Result<()> {
    let split = match format {
        Format::OciLayout => file.split_once(':'),
        _ => file.rsplit_once(".tar:"),
    };
    let Some((path, name)) = split else { return Ok(()) };
    let kind = text.split(':').next().unwrap_or_default();
    let path = if format == Format::OciLayout { path.to_owned() } else { format!("{path}.tar") };
    let tag = if name.contains([':', '/']) { name.to_owned() } else { format!(":{name}") };
    Err(fail(text, "the image's name is given with -t")
        .remedy(Remedy::command("write it so", shell!("-t {} -o {}", tag, format!("{kind}:{path}")))))
}

fn other(text: &str, scheme: &str) -> Error {
    let error = fail(text, &format!("`{scheme}:` is not among those that this version writes"));
    match scheme {
        "docker" | "registry" => error.remedy(Remedy::command(
            "write a layout, and push that",
            "nixoci build -o oci:image && skopeo copy oci:image docker://REF",
        )),
        "docker-daemon" => error.remedy(Remedy::command("load it", "--load=docker")),
        "containers-storage" => error.remedy(Remedy::command("load it", "--load=podman")),
        _ => error,
    }
}

/// `type=docker|oci,dest=PATH[,tar=false][,name=REF][,compression=…][,compression-level=N][,force-compression=true]`.
fn buildx(text: &str, base: &Path) -> Result<Destination> {
    let mut words = Words { text, ..Words::default() };
    for word in text.split(',') {
        let (key, value) =
            word.split_once('=').ok_or_else(|| fail(text, &format!("`{word}` has no value")))?;
        words.take(key.trim(), value)?;
    }
    words.destination(base)
}

#[derive(Default)]
struct Words<'t> {
    text: &'t str,
    kind: &'t str,
    dest: Option<&'t str>,
    name: Option<&'t str>,
    compression: Option<&'t str>,
    level: Option<&'t str>,
    force: bool,
    directory: bool,
}

impl<'t> Words<'t> {
    fn take(&mut self, key: &str, value: &'t str) -> Result<()> {
        let flag = || match value {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err(fail(self.text, &format!("`{key}` is true or false"))),
        };
        match key {
            "type" => self.kind = value,
            "dest" => self.dest = Some(value),
            "name" => self.name = Some(value),
            "compression" => self.compression = Some(value),
            "compression-level" => self.level = Some(value),
            "force-compression" => self.force = flag()?,
            "tar" => self.directory = !flag()?,
            // What we do in any case.
            "oci-mediatypes" if flag()? => {}
            _ => return Err(fail(self.text, &format!("`{key}` is not understood"))),
        }
        Ok(())
    }

    fn destination(self, base: &Path) -> Result<Destination> {
        let text = self.text;
        let format = match (self.kind, self.directory) {
            ("docker", false) => Format::Hybrid,
            ("oci", false) => Format::OciArchive,
            ("oci", true) => Format::OciLayout,
            ("registry" | "image", _) => return Err(other(text, "registry")),
            ("docker", true) => return Err(fail(text, "`type=docker` is always a file")),
            ("local" | "tar" | "cacheonly", _) => {
                return Err(fail(text, "nixoci writes images, not file systems"));
            }
            _ => return Err(fail(text, "the type is docker or oci")),
        };
        let Some(dest) = self.dest.filter(|dest| !dest.is_empty() && *dest != "-") else {
            let error = fail(text, "`dest` is missing, and standard output carries no image");
            return Err(if self.kind == "docker" {
                error.remedy(Remedy::command("load it into Docker", "--load=docker"))
            } else {
                error
            });
        };
        let mut destination = Destination::new(format, dest, base);
        destination.name = self.name.map(str::to_owned);
        if let Some(name) = self.compression {
            let level = self.level.map(|level| format!(":{level}")).unwrap_or_default();
            destination.encoding = match Codec::parse(&format!("{name}{level}"))? {
                None => Encoding::Plain,
                Some(codec) if self.force => Encoding::Force(codec),
                Some(codec) => Encoding::Keep(codec),
            };
        }
        Ok(destination)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Destination {
        parse(text, Path::new("/base")).unwrap()
    }

    #[test]
    fn words_of_skopeo_and_buildx_mean_the_same() {
        for (ours, theirs) in [
            ("archive:x.tar", "type=docker,dest=x.tar"),
            ("x.tar", "type=docker,dest=/base/x.tar"),
            ("oci-archive:x", "type=oci,dest=x"),
            ("oci:d", "type=oci,dest=d,tar=false"),
        ] {
            assert_eq!(parsed(ours), parsed(theirs));
        }
        let named =
            parsed("type=oci,dest=x,name=a:b,compression=zstd,compression-level=9,force-compression=true");
        assert_eq!(named.name(), Some("a:b"));
        assert_eq!(named.encoding, Encoding::Force(Codec::Zstd(9)));
    }

    #[test]
    fn what_cannot_be_written_says_so() {
        let error = |text: &str| parse(text, Path::new("/base")).unwrap_err();
        let remedy =
            |text: &str| error(text).report().remedies.iter().filter_map(|r| r.command.clone()).next_back();
        for text in
            ["", "x", "dir:x", "oci:", "type=local,dest=x", "type=oci", "type=oci,dest=x,y", "-", "oci:-"]
        {
            assert!(error(text).is(&codes::BAD_DESTINATION), "{text}");
        }
        assert_eq!(remedy("oci:d:v1").as_deref(), Some("-t :v1 -o oci:d"));
        assert_eq!(remedy("docker-archive:x.tar:a/b:c").as_deref(), Some("-t a/b:c -o docker-archive:x.tar"));
        assert_eq!(remedy("docker-daemon:x").as_deref(), Some("--load=docker"));
    }
}
