//! What a file is, from its bytes: nothing of it is run.

use std::env::consts::{ARCH, OS};
use std::path::Path;

use nixoci_core::{Error, Remedy, Result, shell};
use object::read::NameOrOrdinal;
use object::read::macho::{FatArch, MachOFatFile32, MachOFatFile64};
use object::{Architecture, FileKind, Object, ObjectKind};

use super::codes::{ABI, LIBRARY};
use crate::abi::{SYMBOL, SYMBOL_FAMILY};

/// Makes sure that these bytes are a library for this machine that speaks a version of ours.
///
/// # Errors
/// [`LIBRARY`], [`ABI`].
pub fn inspect(path: &Path, bytes: &[u8]) -> Result<()> {
    let no_library = |why: String| {
        Error::new(&LIBRARY, format!("{} is no library that can be loaded here", path.display()))
            .because(why)
            .remedy(Remedy::command("see what it is", shell!("file {}", path)))
    };
    let slice = own_slice(bytes).map_err(no_library)?;
    let file = object::File::parse(slice)
        .map_err(|error| no_library(format!("it is no program file of this machine: {error}")))?;
    let (theirs, ours) = (file.architecture(), own_architecture());
    if ours.is_some_and(|ours| ours != theirs) {
        return Err(no_library(format!("it is for {}, and nixoci runs on {ARCH}", name(theirs))));
    }
    // Which system a file is for shows in its format.
    if (OS == "macos") != (file.format() == object::BinaryFormat::MachO) {
        return Err(no_library(format!("it is for another operating system than {OS}")));
    }
    if file.kind() != ObjectKind::Dynamic {
        return Err(no_library("it is no dynamic library".to_owned()));
    }
    speaks(path, &file)
}

/// The part of a file for several CPUs that is for ours.
fn own_slice(bytes: &[u8]) -> std::result::Result<&[u8], String> {
    let text = |error: object::Error| error.to_string();
    let none = || format!("it has no part for {ARCH}");
    match FileKind::parse(bytes).map_err(|_| "it is no program file".to_owned())? {
        FileKind::MachOFat32 => {
            let file = MachOFatFile32::parse(bytes).map_err(text)?;
            let own = file.arches().iter().find(|part| Some(part.architecture()) == own_architecture());
            own.ok_or_else(none)?.data(bytes).map_err(text)
        }
        FileKind::MachOFat64 => {
            let file = MachOFatFile64::parse(bytes).map_err(text)?;
            let own = file.arches().iter().find(|part| Some(part.architecture()) == own_architecture());
            own.ok_or_else(none)?.data(bytes).map_err(text)
        }
        _ => Ok(bytes),
    }
}

fn own_architecture() -> Option<Architecture> {
    match ARCH {
        "x86_64" => Some(Architecture::X86_64),
        "aarch64" => Some(Architecture::Aarch64),
        _ => None,
    }
}

fn name(architecture: Architecture) -> String {
    format!("{architecture:?}").to_lowercase()
}

/// Whether the library exports the function of a version that we speak.
fn speaks(path: &Path, file: &object::File<'_>) -> Result<()> {
    let version = |export: object::Result<object::Export<'_>>| match export.ok()?.name() {
        NameOrOrdinal::Name(name) => {
            let name = std::str::from_utf8(name).ok()?;
            // Mach-O's names begin with an underscore.
            let name = name.strip_prefix('_').unwrap_or(name);
            name.strip_prefix(SYMBOL_FAMILY).map(str::to_owned)
        }
        NameOrOrdinal::Ordinal(_) => None,
    };
    let mut versions: Vec<String> = file.exports().into_iter().flatten().filter_map(version).collect();
    let ours = SYMBOL.strip_prefix(SYMBOL_FAMILY).unwrap_or_default();
    if versions.iter().any(|version| version == ours) {
        return Ok(());
    }
    versions.sort_unstable();
    let error = Error::new(&ABI, format!("{} is no plugin of this nixoci", path.display()));
    if versions.is_empty() {
        return Err(error.because(format!("it has no function {SYMBOL}")).remedy(Remedy::advice(
            "its author makes a plugin with nixoci_plugin::export_backend!, or from nixoci_backend.h",
        )));
    }
    Err(error
        .because(format!("it speaks version {}, and this nixoci speaks version {ours}", versions.join(", ")))
        .remedy(Remedy::advice("update nixoci, or use a plugin that was made for this version")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::sync::LazyLock;

    use proptest::prelude::*;

    /// A library for Linux on x86-64.
    static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let file = include_bytes!("../../tests/v1/libnixoci_backend_echo.so.gz");
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(file.as_slice()).read_to_end(&mut bytes).unwrap();
        bytes
    });

    /// Where a file says what is where: its begin and its end.
    fn place() -> impl Strategy<Value = usize> {
        let length = BYTES.len();
        prop_oneof![0..1024usize, length - 4096..length, 0..length]
    }

    proptest! {
        /// Anybody can put anything where plugins are looked for.
        #[test]
        fn no_bytes_make_it_panic(
            changes in proptest::collection::vec((place(), any::<u8>()), 1..20),
            length in prop_oneof![Just(usize::MAX), place()],
        ) {
            let mut bytes = BYTES.clone();
            for (place, byte) in changes {
                bytes[place] = byte;
            }
            bytes.truncate(length);
            let _ = inspect(Path::new("library"), &bytes).map_err(|error| error.to_string());
        }
    }

    #[test]
    fn a_library_of_another_system_is_no_library_here() {
        // 64-bit Mach-O for arm64 and for x86-64, ELF for RISC-V: no machine that nixoci runs on takes all of them.
        let mach_o = |cpu: u32| {
            let words = [0xfeed_facf, cpu, 0, 6, 0, 0, 0, 0];
            words.iter().flat_map(|word: &u32| word.to_le_bytes()).collect::<Vec<u8>>()
        };
        let mut elf = BYTES.clone();
        elf[18] = 243;
        let refused = [mach_o(0x0100_000c), mach_o(0x0100_0007), elf]
            .map(|bytes| inspect(Path::new("library"), &bytes).unwrap_err());
        assert!(refused.iter().filter(|error| error.is(&super::LIBRARY)).count() >= 2);
    }
}
