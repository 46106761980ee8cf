//! `nixoci cache`, over entries laid by hand: their form is the cache's own affair, and its tests'.

use std::path::Path;

use crate::{err, nixoci, out, shows};

/// An archive that no nixoci of this version wrote.
fn foreign(home: &Path, key: &str, size: usize) -> std::path::PathBuf {
    let dir = home.join(".cache/nixoci/images");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join(format!("{key}.tar")), vec![0; size]).unwrap();
    std::fs::write(dir.join(format!("{key}.json")), "{}").unwrap();
    dir.join(format!("{key}.tar"))
}

#[test]
fn an_empty_cache_is_shown_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let output = nixoci(dir.path(), &["cache", "show"]);
    assert!(output.status.success(), "{}", err(&output));
    let both = out(&output) + &out(&nixoci(dir.path(), &["cache", "gc"]));
    shows(dir.path(), "cache_empty", &both);
}

#[test]
fn what_is_in_use_stays_and_the_rest_goes() {
    let dir = tempfile::tempdir().unwrap();
    let used = foreign(dir.path(), "used", 1000);
    foreign(dir.path(), "other", 500);
    let lock = std::fs::File::open(&used).unwrap();
    lock.lock_shared().unwrap();
    // How wide the columns are depends on how long ago that was.
    let shown = out(&nixoci(dir.path(), &["cache", "show"]));
    let lines = shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    shows(dir.path(), "cache_show", &lines.collect::<Vec<_>>().join("\n"));
    let document = |args: &[&str]| -> serde_json::Value {
        serde_json::from_str(&out(&nixoci(dir.path(), args))).unwrap()
    };
    let shown = document(&["cache", "show", "--format", "json"]);
    assert_eq!((&shown["size"], shown["images"].as_array().unwrap().len()), (&1500.into(), 2));
    let kept = document(&["cache", "gc", "--max-size", "2k", "--format", "json"]);
    assert_eq!((&kept["removed"], &kept["leftBytes"]), (&0.into(), &1500.into()));
    let gone = document(&["cache", "gc", "--all", "--format", "json"]);
    assert_eq!((&gone["removed"], &gone["freedBytes"], &gone["held"]), (&1.into(), &500.into(), &1.into()));
    assert!(used.exists());
    drop(lock);
    shows(dir.path(), "cache_gc_all", &out(&nixoci(dir.path(), &["cache", "gc", "--all"])));
    assert!(!used.exists());
    assert_eq!(nixoci(dir.path(), &["cache", "gc", "--max-size", "much"]).status.code(), Some(2));
}
