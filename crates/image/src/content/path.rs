//! Names of entries, made comparable and checked.

/// A name with a `..` component: unpacked, it could land outside of where it belongs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unsafe;

/// A name without leading slash, `.` components and doubled or trailing slashes; empty for the root itself.
/// Nix writes names with a leading slash, GNU tar with a leading `./`: both mean the same entry.
pub(crate) fn clean(name: &[u8]) -> Result<Vec<u8>, Unsafe> {
    let mut cleaned = Vec::with_capacity(name.len());
    for component in components(name) {
        if component == b".." {
            return Err(Unsafe);
        }
        if !cleaned.is_empty() {
            cleaned.push(b'/');
        }
        cleaned.extend_from_slice(component);
    }
    Ok(cleaned)
}

/// The components of a path; `.` and empty ones are left out.
pub(super) fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|component| !component.is_empty() && *component != b".")
}

/// Whether a symbolic link at `name` climbs above the root of the image. Inside a container it stops there, but
/// Docker refuses to unpack it.
pub(crate) fn leads_out(name: &[u8], target: &[u8]) -> bool {
    if target.starts_with(b"/") {
        return false;
    }
    let mut depth = components(name).count().saturating_sub(1);
    for component in components(target) {
        match component {
            b".." if depth == 0 => return true,
            b".." => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}

/// The parent and the last component.
pub(super) fn split_last(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (b"", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_entry_become_equal() {
        for name in ["nix/store", "/nix/store/", "./nix//store", "/./nix/./store/."] {
            assert_eq!(clean(name.as_bytes()).unwrap(), b"nix/store", "{name}");
        }
        assert_eq!(clean(b"./").unwrap(), b"");
        assert_eq!(clean(b"...").unwrap(), b"...");
    }

    #[test]
    fn names_that_lead_out_are_refused() {
        for name in ["..", "../x", "a/../../b", "a/..", "/.."] {
            assert_eq!(clean(name.as_bytes()), Err(Unsafe), "{name}");
        }
    }

    #[test]
    fn links_are_measured_from_where_they_are() {
        assert!(!leads_out(b"usr/bin/sh", b"../../bin/sh"));
        assert!(leads_out(b"usr/bin/sh", b"../../../bin/sh"));
        assert!(!leads_out(b"x", b"/../../etc"));
        assert!(leads_out(b"x", b"a/../.."));
    }
}
