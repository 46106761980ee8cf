//! Which machine a program is for, from the first bytes of its file.
//!
//! Sources: System V ABI, "ELF Header", and its registry of `e_machine`; Apple's `mach-o/loader.h`,
//! `mach-o/fat.h` and `mach/machine.h`; Linux `fs/binfmt_script.c`.

use std::fmt;

use nixoci_core::platform::OciPlatform;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many bytes of a file decide: as many as Linux reads (`BINPRM_BUF_SIZE`).
pub(crate) const HEAD: usize = 256;

/// What a program is made for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "format", rename_all = "kebab-case")]
pub enum Machine {
    /// A Linux (or other System V) program.
    Elf {
        /// The CPU, as OCI names it (`arm64`), or `e_machine N`.
        cpu: String,
    },
    /// A macOS program.
    MachO {
        /// The CPUs, as OCI names them, joined by `+`.
        cpu: String,
    },
}

impl Machine {
    /// Whether Linux on the CPU of `platform` runs it without translation.
    pub fn runs_on(&self, platform: &OciPlatform) -> bool {
        match self {
            // Every amd64 CPU also runs programs for 386.
            Machine::Elf { cpu } => {
                *cpu == platform.architecture || (cpu == "386" && platform.architecture == "amd64")
            }
            Machine::MachO { .. } => false,
        }
    }

    /// Whether it is a macOS program.
    pub fn is_darwin(&self) -> bool {
        matches!(self, Machine::MachO { .. })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Machine::Elf { cpu } => write!(f, "linux/{cpu} (ELF)"),
            Machine::MachO { cpu } => write!(f, "darwin/{cpu} (Mach-O)"),
        }
    }
}

/// What the first bytes of an executable file say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// A program for this `e_machine`; the flags tell 32 bits from 64 and the byte order. The loader is the program that
    /// the kernel starts in its place, where there is one, and the libraries are what that looks for.
    Elf { machine: u16, wide: bool, little: bool, loader: Option<Box<[u8]>>, libraries: Box<[Box<[u8]>]> },
    /// A macOS program for these CPU types; zero for "none".
    MachO([u32; 2]),
    /// A script: what follows `#!` on the first line.
    Script(Box<[u8]>),
    /// Neither.
    Unknown,
}

const ELF_MAGIC: &[u8] = b"\x7fELF";
/// `e_machine`, OCI's name where 32 bits, 64 bits little-endian, 64 bits big-endian.
const ELF_MACHINES: &[(u16, &str, &str, &str)] = &[
    (3, "386", "386", "386"),
    (8, "mips", "mips64le", "mips64"),
    (21, "ppc64", "ppc64le", "ppc64"),
    (22, "s390", "s390x", "s390x"),
    (40, "arm", "arm", "arm"),
    (62, "amd64", "amd64", "amd64"),
    (183, "arm64", "arm64", "arm64"),
    (243, "riscv32", "riscv64", "riscv64"),
    (258, "loong32", "loong64", "loong64"),
];
const MACH_MAGICS: &[(u32, bool)] =
    &[(0xfeed_face, true), (0xfeed_facf, true), (0xcefa_edfe, false), (0xcffa_edfe, false)];
const FAT_MAGIC: u32 = 0xcafe_babe;
/// Java class files share the magic of fat binaries; their next field is a version, 45 or more.
const FAT_LIMIT: u32 = 20;
const MACH_CPUS: &[(u32, &str)] =
    &[(0x0100_0007, "amd64"), (0x0100_000c, "arm64"), (7, "386"), (12, "arm"), (0x0100_0012, "ppc64")];

impl Head {
    /// Looks at the first [`HEAD`] bytes of a file, or all of a shorter one.
    pub(crate) fn of(bytes: &[u8]) -> Head {
        if let Some(rest) = bytes.strip_prefix(b"#!") {
            let line = rest.split(|&byte| byte == b'\n').next().unwrap_or_default();
            // The kernel knows spaces and tabs alone: a carriage return is a part of the name.
            return Head::Script(trimmed(&line[..line.len().min(HEAD)]).into());
        }
        elf(bytes).or_else(|| mach(bytes)).unwrap_or(Head::Unknown)
    }

    /// The machine, if this is a program for one.
    pub(crate) fn machine(&self) -> Option<Machine> {
        match self {
            Head::Elf { machine, wide, little, .. } => {
                Some(Machine::Elf { cpu: elf_cpu(*machine, *wide, *little) })
            }
            Head::MachO(cpus) => Some(Machine::MachO { cpu: mach_cpus(cpus) }),
            Head::Script(_) | Head::Unknown => None,
        }
    }

    /// The same program, with its loader and its libraries.
    pub(crate) fn loaded_by(self, name: &[u8], libraries: Vec<Box<[u8]>>) -> Head {
        match self {
            Head::Elf { machine, wide, little, .. } => {
                Head::Elf { machine, wide, little, loader: Some(name.into()), libraries: libraries.into() }
            }
            other => other,
        }
    }

    /// The libraries that its loader looks for, as far as they are known.
    pub(crate) fn libraries(&self) -> &[Box<[u8]>] {
        match self {
            Head::Elf { libraries, .. } => libraries,
            _ => &[],
        }
    }

    /// How many bytes of texts are remembered of it.
    pub(crate) fn weight(&self) -> usize {
        let libraries: usize = self.libraries().iter().map(|name| size_of::<Box<[u8]>>() + name.len()).sum();
        self.loader().map_or(0, <[u8]>::len) + libraries
    }

    /// The loader that the kernel starts for it.
    pub(crate) fn loader(&self) -> Option<&[u8]> {
        match self {
            Head::Elf { loader, .. } => loader.as_deref(),
            _ => None,
        }
    }
}

/// Whether a byte separates words to `fs/binfmt_script.c`.
pub(crate) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn trimmed(line: &[u8]) -> &[u8] {
    let start = line.iter().position(|byte| !is_blank(*byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|byte| !is_blank(*byte)).map_or(start, |last| last + 1);
    &line[start..end]
}

/// Whether a file that begins so is a compiled program of ELF.
pub(crate) fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(ELF_MAGIC)
}

fn elf(bytes: &[u8]) -> Option<Head> {
    let rest = bytes.strip_prefix(ELF_MAGIC)?;
    // EI_CLASS, EI_DATA; e_machine is the second half-word after the 16 bytes of e_ident.
    let (wide, little) = (*rest.first()? == 2, *rest.get(1)? == 1);
    let pair = [*bytes.get(18)?, *bytes.get(19)?];
    let machine = if little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) };
    Some(Head::Elf { machine, wide, little, loader: None, libraries: Box::default() })
}

fn elf_cpu(machine: u16, wide: bool, little: bool) -> String {
    match ELF_MACHINES.iter().find(|(number, ..)| *number == machine) {
        Some((_, narrow, ..)) if !wide => (*narrow).to_owned(),
        Some((_, _, name, _)) if little => (*name).to_owned(),
        Some((.., name)) => (*name).to_owned(),
        None => format!("e_machine {machine}"),
    }
}

fn word(bytes: &[u8], at: usize, big: bool) -> Option<u32> {
    let four: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(if big { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) })
}

fn mach(bytes: &[u8]) -> Option<Head> {
    let magic = word(bytes, 0, true)?;
    if let Some((_, big)) = MACH_MAGICS.iter().find(|(known, _)| *known == magic) {
        return Some(Head::MachO([word(bytes, 4, *big)?, 0]));
    }
    let count = word(bytes, 4, true)?;
    if magic != FAT_MAGIC || !(1..FAT_LIMIT).contains(&count) {
        return None;
    }
    // struct fat_arch: five words, the first is the CPU type.
    let second = if count > 1 { word(bytes, 28, true).unwrap_or(0) } else { 0 };
    Some(Head::MachO([word(bytes, 8, true)?, second]))
}

fn mach_cpus(cpus: &[u32; 2]) -> String {
    let name = |cpu: u32| match MACH_CPUS.iter().find(|(number, _)| *number == cpu) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("cputype {cpu:#x}"),
    };
    match cpus {
        [one, 0] => name(*one),
        [one, other] => format!("{}+{}", name(*one), name(*other)),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A program with one program header, which names its loader at this place.
    pub(crate) fn dynamic(wide: bool, little: bool, at: u64, loader: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 128.max(usize::try_from(at).unwrap() + loader.len() + 1)];
        let at = at.max(128);
        bytes.resize(usize::try_from(at).unwrap() + loader.len() + 1, 0);
        let mut put = |place: usize, length: usize, value: u64| {
            for (index, byte) in value.to_le_bytes()[..length].iter().enumerate() {
                bytes[place + if little { index } else { length - 1 - index }] = *byte;
            }
        };
        let length = loader.len() as u64 + 1;
        if wide {
            for (place, size, value) in
                [(32, 8, 64), (54, 2, 56), (56, 2, 1), (64, 4, 3), (72, 8, at), (96, 8, length)]
            {
                put(place, size, value);
            }
        } else {
            for (place, size, value) in
                [(28, 4, 52), (42, 2, 32), (44, 2, 1), (52, 4, 3), (56, 4, at), (68, 4, length)]
            {
                put(place, size, value);
            }
        }
        put(18, 2, 62);
        bytes[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 1 + u8::from(wide), 2 - u8::from(little)]);
        let start = usize::try_from(at).unwrap();
        bytes[start..start + loader.len()].copy_from_slice(loader);
        bytes
    }

    fn elf_head(class: u8, data: u8, machine: [u8; 2]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, data]);
        bytes[18..20].copy_from_slice(&machine);
        bytes
    }

    fn cpu(bytes: &[u8]) -> String {
        Head::of(bytes).machine().unwrap().to_string()
    }

    #[test]
    fn elf_machines_have_their_oci_names() {
        assert_eq!(cpu(&elf_head(2, 1, [62, 0])), "linux/amd64 (ELF)");
        assert_eq!(cpu(&elf_head(2, 1, [183, 0])), "linux/arm64 (ELF)");
        assert_eq!(cpu(&elf_head(2, 2, [0, 22])), "linux/s390x (ELF)");
        assert_eq!(cpu(&elf_head(2, 1, [21, 0])), "linux/ppc64le (ELF)");
        assert_eq!(cpu(&elf_head(1, 1, [243, 0])), "linux/riscv32 (ELF)");
        assert_eq!(cpu(&elf_head(2, 1, [99, 0])), "linux/e_machine 99 (ELF)");
    }

    #[test]
    fn mach_o_in_all_its_magics() {
        assert_eq!(cpu(b"\xcf\xfa\xed\xfe\x0c\x00\x00\x01...."), "darwin/arm64 (Mach-O)");
        assert_eq!(cpu(b"\xfe\xed\xfa\xce\x00\x00\x00\x07...."), "darwin/386 (Mach-O)");
        let mut fat = b"\xca\xfe\xba\xbe\x00\x00\x00\x02\x01\x00\x00\x07".to_vec();
        fat.resize(28, 0);
        fat.extend_from_slice(b"\x01\x00\x00\x0c");
        assert_eq!(cpu(&fat), "darwin/amd64+arm64 (Mach-O)");
        // A Java 8 class.
        assert_eq!(Head::of(b"\xca\xfe\xba\xbe\x00\x00\x00\x34........"), Head::Unknown);
    }

    #[test]
    fn a_script_names_its_interpreter() {
        assert_eq!(Head::of(b"#! /bin/sh -e\necho"), Head::Script((*b"/bin/sh -e").into()));
        assert_eq!(Head::of(b"#! \t/bin/sh\r\necho"), Head::Script((*b"/bin/sh\r").into()));
        assert_eq!(Head::of(b"#!"), Head::Script((*b"").into()));
        assert_eq!(Head::of(b""), Head::Unknown);
        assert_eq!(Head::of(b"\x7fELF"), Head::Unknown);
    }

    #[test]
    fn amd64_runs_386_and_nothing_runs_darwin() {
        let amd64: OciPlatform = "linux/amd64".parse().unwrap();
        assert!(Machine::Elf { cpu: "386".into() }.runs_on(&amd64));
        assert!(!Machine::Elf { cpu: "arm64".into() }.runs_on(&amd64));
        assert!(!Machine::MachO { cpu: "amd64".into() }.runs_on(&amd64));
    }
}
