//! The fields of a 512-byte header.

use super::TarError;

/// The unit of a tar archive.
pub(crate) const BLOCK: usize = 512;
/// One such unit.
pub(super) type Block = [u8; BLOCK];

const CHECKSUM: std::ops::Range<usize> = 148..156;

/// Whether a block is all zeros.
pub(super) fn is_zero(block: &Block) -> bool {
    block.iter().all(|&byte| byte == 0)
}

/// Whether a file that begins with these bytes is a tar archive: a header with a right checksum, or the zeros
/// that an empty archive consists of.
pub(crate) fn looks_like_header(bytes: &[u8]) -> bool {
    bytes.first_chunk::<BLOCK>().is_some_and(|block| is_zero(block) || check(block).is_ok())
}

/// Verifies the checksum, with bytes counted as unsigned or, as some old writers did, as signed.
pub(super) fn check(block: &Block) -> Result<(), TarError> {
    let stored = number(&block[CHECKSUM])?;
    // The field itself counts as spaces.
    let (before, after) = (&block[..CHECKSUM.start], &block[CHECKSUM.end..]);
    let spaces = 8 * i64::from(b' ');
    let unsigned = |part: &[u8]| part.iter().map(|&byte| i64::from(byte)).sum::<i64>();
    let signed = |part: &[u8]| part.iter().map(|&byte| i64::from(byte as i8)).sum::<i64>();
    let is_stored = |sum: i64| i64::try_from(stored) == Ok(sum + spaces);
    if is_stored(unsigned(before) + unsigned(after)) || is_stored(signed(before) + signed(after)) {
        Ok(())
    } else {
        Err(TarError::Checksum)
    }
}

/// A number in octal digits, or in base 256 where the first bit is set (GNU, for large values).
pub(super) fn number(field: &[u8]) -> Result<u64, TarError> {
    if let Some((&first, rest)) = field.split_first()
        && first & 0x80 != 0
    {
        // Negative numbers (0xff…) make no sense anywhere we look.
        if first != 0x80 {
            return Err(TarError::Number);
        }
        return rest.iter().try_fold(0u64, |value, &byte| {
            value.checked_mul(256).and_then(|value| value.checked_add(byte.into())).ok_or(TarError::Number)
        });
    }
    let blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !blank(byte)).unwrap_or(field.len());
    let end = field.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    text(&field[start..end]).iter().try_fold(0u64, |value, &digit| match digit {
        b'0'..=b'7' => {
            value.checked_mul(8).map(|value| value + u64::from(digit - b'0')).ok_or(TarError::Number)
        }
        _ => Err(TarError::Number),
    })
}

fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// The name: POSIX's prefix and name, or the name alone in older formats.
pub(super) fn name(block: &Block) -> Vec<u8> {
    let name = text(&block[..100]);
    let prefix = match (&block[257..263], &block[263..265], &block[508..]) {
        // Schilling's star keeps times in the last part of the prefix.
        (b"ustar\0", _, b"tar\0") => text(&block[345..476]),
        (b"ustar\0", ..) => text(&block[345..500]),
        (b"ustar ", b" \0", _) => gnu_prefix(block),
        _ => b"",
    };
    if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
}

/// GNU's own format keeps times where POSIX has the prefix. Old versions of Go wrote its magic and a prefix
/// nevertheless; Go tells by whether the times are numbers.
fn gnu_prefix(block: &Block) -> &[u8] {
    let is_time = |field: &[u8]| field[0] == 0 || number(field).is_ok();
    let prefix = text(&block[345..500]);
    if is_time(&block[345..357]) && is_time(&block[357..369]) || !prefix.is_ascii() { b"" } else { prefix }
}

/// What it links to.
pub(super) fn link(block: &Block) -> Vec<u8> {
    text(&block[157..257]).to_vec()
}

/// How many bytes of data follow.
pub(super) fn size(block: &Block) -> Result<u64, TarError> {
    // Sums of offsets must not overflow later: nothing is near 2^62 bytes.
    number(&block[124..136]).and_then(|size| if size < 1 << 62 { Ok(size) } else { Err(TarError::Number) })
}

/// Permissions; the type bits that some writers add are left out.
pub(super) fn mode(block: &Block) -> Result<u32, TarError> {
    Ok((number(&block[100..108])? & 0o7777) as u32)
}

/// The type of the entry.
pub(super) fn type_flag(block: &Block) -> u8 {
    block[156]
}
