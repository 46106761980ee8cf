use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use super::*;

#[test]
fn a_directory_is_shared_by_its_own_mode_or_one_above() {
    let root = tempfile::tempdir().unwrap();
    let uid = root.path().metadata().unwrap().uid();
    let (above, dir) = (root.path().join("above"), root.path().join("above/dir"));
    std::fs::create_dir_all(&dir).unwrap();
    let mode = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    mode(&above, 0o755);
    for (own, expected) in
        [(0o700, None), (0o755, None), (0o775, Some(())), (0o777, Some(())), (0o1777, Some(()))]
    {
        mode(&dir, own);
        let open = Shared::Open(dir.clone());
        assert_eq!(shared(&dir, uid).unwrap(), expected.map(|()| open), "{own:o}");
    }
    mode(&dir, 0o700);
    for (over, expected) in [(0o775, None), (0o1777, None), (0o777, Some(()))] {
        mode(&above, over);
        let open = Shared::Open(above.clone());
        assert_eq!(shared(&dir, uid).unwrap(), expected.map(|()| open), "{over:o}");
        assert_eq!(shared(&dir.join("new/deep"), uid).unwrap().is_some(), expected.is_some());
    }
    mode(&above, 0o755);
    // Another user, root included, gets the owner.
    if uid != 0 {
        assert_eq!(shared(&dir, 0).unwrap(), Some(Shared::Owned(dir.clone(), uid)));
    }
}

#[test]
fn only_regular_files_of_a_bounded_length_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("text"), "text").unwrap();
    std::os::unix::fs::symlink("text", path("link")).unwrap();
    assert_eq!(read_to_string(&path("link"), 4).unwrap(), "text");
    assert_eq!(read(&path("text"), 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);

    let pipe = path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for odd in [pipe.as_path(), dir.path(), Path::new("/dev/zero"), Path::new("/dev/tty")] {
        assert!(open(odd).is_err(), "{}", odd.display());
    }
    File::create(path("sparse")).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(read(&path("sparse"), 1 << 10).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
}
