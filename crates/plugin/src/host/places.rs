//! Where plugins lie: directories, in order, and the names of the files in them.
//!
//! Being there enables nothing: whoever looks here wants a list, or a file for a name.

use std::collections::BTreeMap;
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use nixoci_core::host::Host;
use nixoci_core::{Error, Remedy, Result, shell};

use super::codes::{AMBIGUOUS, BAD_NAME, NOT_FOUND};

/// The variable that names further directories.
pub const PATH_VARIABLE: &str = "NIXOCI_PLUGIN_PATH";

/// More files than this in one directory are no plugins.
const FILES: usize = 1024;

/// A file that has the name of a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The plugin's name, by the file's.
    pub name: String,
    /// The file.
    pub path: PathBuf,
}

/// The directories that may hold plugins: those that were named, the variable's, the user's, and the one beside `exe`. Relative ones are left out, as are
/// the working directory and the project: whatever lies there by chance is nobody's choice.
pub fn directories(named: &[PathBuf], host: &Host, exe: Option<&Path>) -> Vec<PathBuf> {
    let mut directories = named.to_vec();
    let variable = host.var(PATH_VARIABLE).into_iter().flat_map(std::env::split_paths);
    directories.extend(variable.filter(|directory| directory.is_absolute()));
    let data = host.var("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let data = data.or_else(|| Some(host.home.as_ref()?.join(".local/share")));
    directories.extend(data.map(|data| data.join("nixoci/plugins")));
    let prefix = exe.and_then(Path::parent).and_then(Path::parent);
    directories.extend(prefix.map(|prefix| prefix.join("lib/nixoci/plugins")));
    let mut seen = std::collections::HashSet::new();
    directories.retain(|directory| seen.insert(directory.clone()));
    directories
}

/// The name of a plugin's file.
pub fn file_name(name: &str) -> String {
    format!("{DLL_PREFIX}nixoci_backend_{}{DLL_SUFFIX}", name.replace('-', "_"))
}

/// The plugin that a file of this name is: what `cargo build` makes of `my-vm` is `libnixoci_backend_my_vm.so`.
pub fn name_of(file: &Path) -> Option<String> {
    let name = file.file_name().and_then(OsStr::to_str)?;
    let name = name.strip_prefix(DLL_PREFIX)?.strip_prefix("nixoci_backend_")?.strip_suffix(DLL_SUFFIX)?;
    let name = name.replace('_', "-");
    check_name(&name, &[]).is_ok().then_some(name)
}

/// Makes sure that a plugin may be called that.
///
/// # Errors
/// [`BAD_NAME`].
pub fn check_name(name: &str, built_in: &[String]) -> Result<()> {
    let fail = |why: &str| {
        Err(Error::new(&BAD_NAME, format!("a plugin cannot be called `{name}`")).because(why.to_owned()))
    };
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let ends = name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.ends_with('-');
    if !ends || name.len() > 64 || name.contains("--") || !name.chars().all(plain) {
        return fail("a name is lower-case words with dashes, such as my-vm");
    }
    if built_in.iter().any(|other| other == name) {
        return fail("nixoci has a backend of that name");
    }
    Ok(())
}

/// Every plugin in these directories, by name; the directories' order decides the order of files.
pub fn scan(directories: &[PathBuf]) -> BTreeMap<String, Vec<PathBuf>> {
    let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for directory in directories {
        let files = std::fs::read_dir(directory).into_iter().flatten().take(FILES).filter_map(Result::ok);
        let mut files: Vec<PathBuf> = files.map(|entry| entry.path()).collect();
        files.sort();
        for path in files {
            if let Some(name) = name_of(&path) {
                found.entry(name).or_default().push(path);
            }
        }
    }
    found
}

/// The file of the plugin with this name.
///
/// # Errors
/// [`NOT_FOUND`], [`AMBIGUOUS`].
pub fn find(name: &str, directories: &[PathBuf]) -> Result<PathBuf> {
    let files = scan(directories).remove(name).unwrap_or_default();
    let mut distinct: Vec<(PathBuf, PathBuf)> = Vec::new();
    for path in files {
        let real = path.canonicalize().unwrap_or_else(|_| path.clone());
        if !distinct.iter().any(|(_, other)| *other == real) {
            distinct.push((path, real));
        }
    }
    match distinct.as_slice() {
        [(path, _)] => Ok(path.clone()),
        [] => {
            let looked: Vec<String> = directories.iter().map(|dir| dir.display().to_string()).collect();
            Err(Error::new(&NOT_FOUND, format!("there is no plugin called `{name}`"))
                .because(format!("no file {} is in {}", file_name(name), looked.join(", ")))
                .remedy(Remedy::command("name its file", "nixoci plugin trust ./path/to/the/library"))
                .remedy(Remedy::command("see what there is", "nixoci plugin list")))
        }
        several => {
            let mut error = Error::new(&AMBIGUOUS, format!("there are several plugins called `{name}`"));
            for (path, _) in several {
                let command = shell!("nixoci plugin trust {}", path);
                error = error.remedy(Remedy::command("if you mean this one", command));
            }
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_s_name_is_the_plugin_s() {
        let path = PathBuf::from("/x").join(file_name("my-vm"));
        assert_eq!(name_of(&path).as_deref(), Some("my-vm"));
        for odd in ["libnixoci_backend_.so", "libnixoci_backend_A.so", "nixoci_backend_a.so", "liba.so"] {
            assert_eq!(name_of(Path::new(odd)), None, "{odd}");
        }
    }

    #[test]
    fn names_that_nobody_may_have() {
        for odd in ["", "-a", "a-", "A", "a b", "a--b", "ä", "../a", "1a"] {
            assert!(check_name(odd, &[]).is_err(), "{odd}");
        }
        assert!(check_name("local", &["local".to_owned()]).unwrap_err().is(&BAD_NAME));
        assert!(check_name("my-vm2", &["local".to_owned()]).is_ok());
    }

    #[test]
    fn two_files_of_one_name_are_an_error_and_two_ways_to_one_are_not() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let directories = [one.path().to_owned(), two.path().to_owned()];
        assert!(find("a", &directories).unwrap_err().is(&NOT_FOUND));
        let file = one.path().join(file_name("a"));
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, two.path().join(file_name("a"))).unwrap();
        assert_eq!(find("a", &directories).unwrap(), file);
        std::fs::remove_file(two.path().join(file_name("a"))).unwrap();
        std::fs::write(two.path().join(file_name("a")), "").unwrap();
        let error = find("a", &directories).unwrap_err();
        assert!(error.is(&AMBIGUOUS) && error.report().remedies.len() == 2, "{error:?}");
    }

    #[test]
    fn directories_come_in_order_and_never_from_here() {
        let host = Host {
            system: "x86_64-linux".parse().unwrap(),
            home: Some("/home/u".into()),
            uid: 1000,
            env: [("NIXOCI_PLUGIN_PATH".to_owned(), "/v:rel:.:/w".to_owned())].into(),
            cpus: 1,
        };
        let found = directories(&["/n".into()], &host, Some(Path::new("/usr/bin/nixoci")));
        let shown: Vec<_> = found.iter().map(|path| path.to_str().unwrap()).collect();
        let user = "/home/u/.local/share/nixoci/plugins";
        assert_eq!(shown, ["/n", "/v", "/w", user, "/usr/lib/nixoci/plugins"]);
    }
}
