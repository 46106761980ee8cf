//! Headers of archives that we write: POSIX ustar, and nothing in them that depends on the day or the machine.

use super::header::BLOCK;

/// How many zeros follow data of this size.
pub(crate) fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

/// The header of a regular file. Names are ours, and at most 100 bytes long; a longer one is cut.
pub(crate) fn file_header(name: &str, size: u64) -> [u8; BLOCK] {
    header(name, size, b'0', b"0000644\0")
}

/// The header of a directory.
pub(crate) fn directory_header(name: &str) -> [u8; BLOCK] {
    header(name, 0, b'5', b"0000755\0")
}

fn header(name: &str, size: u64, flag: u8, mode: &[u8; 8]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let length = name.len().min(100);
    block[..length].copy_from_slice(&name.as_bytes()[..length]);
    block[100..108].copy_from_slice(mode);
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    put_size(&mut block[124..136], size);
    block[136..148].copy_from_slice(b"00000000000\0");
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[329..337].copy_from_slice(b"0000000\0");
    block[337..345].copy_from_slice(b"0000000\0");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Eleven octal digits hold less than 8 GiB. Beyond, GNU's base 256 is used, which all readers take and
/// which, unlike an extended header, fits into a block reserved before the size was known.
fn put_size(field: &mut [u8], size: u64) {
    if size < 1 << 33 {
        field.copy_from_slice(format!("{size:011o}\0").as_bytes());
    } else {
        field[0] = 0x80;
        field[4..12].copy_from_slice(&size.to_be_bytes());
    }
}
