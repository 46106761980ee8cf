use super::*;
use crate::summary::{Verdict, sample};

fn imported() -> Imported {
    let image = Image { digest: None, media_type: String::new(), platforms: vec![sample(Verdict::Runs)] };
    Imported { images: vec![image], out: Vec::new() }
}

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

fn key(number: u8) -> CacheKey {
    CacheKey::new(&Digest::from_bytes([number; 32]), &Naming::Keep, None)
}

fn make(content: &[u8]) -> impl FnOnce(&mut File) -> Result<Imported> {
    let content = content.to_vec();
    move |file| {
        file.write_all(&content).unwrap();
        Ok(imported())
    }
}

fn never(_: &mut File) -> Result<Imported> {
    panic!("it is in the cache")
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "lock" && name != "links")
        .collect();
    names.sort();
    names
}

#[test]
fn an_image_is_made_once() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path().join("images")).unwrap();
    assert!(cache.lookup(&key(1)).unwrap().is_none());
    let image = cache.fill(&key(1), make(b"archive")).unwrap();
    assert_eq!(fs::read(&image.archive).unwrap(), b"archive");
    assert_eq!(cache.fill(&key(1), never).unwrap().images(), imported().images);
    assert_eq!(names(&cache.dir).len(), 2);
}

#[test]
fn names_and_content_decide_the_key() {
    let hash = Digest::from_bytes([1; 32]);
    let tag = CacheKey::new(&hash, &Naming::Tag("a".into()), None);
    let name = CacheKey::new(&hash, &Naming::Replace(vec!["a".parse().unwrap()]), None);
    assert_ne!(tag, name);
    assert_ne!(key(1), tag);
    assert_eq!(key(1), key(1));
    assert_ne!(key(1), key(2));
}

#[test]
fn a_failure_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path().to_owned()).unwrap();
    let failed = cache.fill(&key(1), |file| {
        file.write_all(b"half").unwrap();
        Err(Error::new(&codes::TRUNCATED, "x"))
    });
    assert!(failed.unwrap_err().is(&codes::TRUNCATED));
    assert!(names(&cache.dir).is_empty());
}

#[test]
fn leftovers_of_a_dead_process_are_swept_and_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path().to_owned()).unwrap();
    fs::write(cache.file(&key(1), "part"), "a longer half archive").unwrap();
    fs::write(cache.file(&key(2), "part"), "half").unwrap();
    fs::write(cache.file(&key(2), "json.part"), "half").unwrap();
    fs::write(cache.file(&key(3), "json"), "{}").unwrap();
    let image = cache.fill(&key(1), make(b"new")).unwrap();
    assert_eq!(fs::read(&image.archive).unwrap(), b"new");
    cache.evict();
    assert_eq!(names(&cache.dir), [format!("{}.json", key(1)), format!("{}.tar", key(1))]);
}

#[test]
fn a_damaged_entry_counts_as_absent_and_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path().to_owned()).unwrap();
    cache.fill(&key(1), make(b"archive")).unwrap();
    fs::write(cache.file(&key(1), "tar"), "arch").unwrap();
    assert!(cache.lookup(&key(1)).unwrap().is_none());
    assert_eq!(fs::read(cache.fill(&key(1), make(b"again")).unwrap().archive).unwrap(), b"again");
    fs::write(cache.file(&key(1), "json"), "{").unwrap();
    assert!(cache.lookup(&key(1)).unwrap().is_none());
}

#[test]
fn of_many_at_once_one_makes_it() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path().to_owned()).unwrap();
    let made = AtomicUsize::new(0);
    let together = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                together.wait();
                let image = cache
                    .fill(&key(1), |file| {
                        made.fetch_add(1, Ordering::SeqCst);
                        make(b"archive")(file)
                    })
                    .unwrap();
                assert_eq!(fs::read(image.archive).unwrap(), b"archive");
            });
        }
    });
    assert_eq!(made.load(Ordering::SeqCst), 1);
}

#[test]
fn waiting_for_another_can_be_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let cancel = CancellationToken::new();
    let cache = Cache::open(dir.path().to_owned()).unwrap().cancelled_by(cancel.clone());
    let held = File::create(cache.file(&key(1), "part")).unwrap();
    held.lock().unwrap();
    cancel.cancel();
    assert!(cache.fill(&key(1), never).unwrap_err().is(&nixoci_core::codes::CANCELLED));
}

#[test]
fn the_longest_unused_goes_first_unless_in_use_or_linked() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path().join("images")).unwrap().with_limit(25);
    let age = |number: u8, seconds: u64| {
        let record = File::open(cache.file(&key(number), "json")).unwrap();
        record.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
    };
    let present = || (1..=5).filter(|number| cache.file(&key(*number), "tar").exists()).collect::<Vec<u8>>();
    let link = dir.path().join("result");
    let linked = cache.fill(&key(1), make(&[1; 10])).unwrap();
    // Made by way of another path to the same cache.
    std::os::unix::fs::symlink(dir.path().join("images"), dir.path().join("other")).unwrap();
    let other = Cache::open(dir.path().join("other")).unwrap();
    other.link(&other.lookup(&key(1)).unwrap().unwrap(), &link).unwrap();
    drop(linked);
    age(1, 10);
    let used = cache.fill(&key(2), make(&[2; 10])).unwrap();
    age(2, 20);
    cache.fill(&key(3), make(&[3; 10])).unwrap();
    // Over the limit, but one is linked, one is in use, and the new one was in use while it was made.
    assert_eq!(present(), [1, 2, 3]);
    age(3, 30);
    cache.fill(&key(4), make(&[4; 10])).unwrap();
    assert_eq!(present(), [1, 2, 4]);
    drop(used);
    fs::remove_file(&link).unwrap();
    cache.fill(&key(5), make(&[5; 10])).unwrap();
    assert_eq!(present(), [4, 5]);
}

#[test]
fn a_link_is_replaced_and_anything_else_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path().join("images")).unwrap();
    let image = cache.fill(&key(1), make(b"x")).unwrap();
    let link = dir.path().join("result");
    std::os::unix::fs::symlink("/nix/store/old", &link).unwrap();
    cache.link(&image, &link).unwrap();
    assert_eq!(fs::read(&link).unwrap(), b"x");
    fs::remove_file(&link).unwrap();
    fs::write(&link, "mine").unwrap();
    assert!(cache.link(&image, &link).unwrap_err().is(&codes::LINK_IN_THE_WAY));
    assert_eq!(fs::read(&link).unwrap(), b"mine");
    assert!(cache.link(&image, Path::new("/nonexistent/result")).is_err());
}

#[test]
fn entries_say_who_keeps_them_and_the_rest_can_go() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path().join("images")).unwrap();
    let link = dir.path().join("result");
    let linked = cache.fill(&key(1), make(&[1; 10])).unwrap();
    cache.link(&linked, &link).unwrap();
    drop(linked);
    let used = cache.fill(&key(2), make(&[2; 20])).unwrap();
    drop(cache.fill(&key(3), make(&[3; 40])).unwrap());
    fs::write(cache.file(&key(4), "tar"), "without a record").unwrap();
    let entries = cache.entries().unwrap();
    let of = |number: u8| {
        let archive = cache.file(&key(number), "tar");
        entries.iter().find(|entry| entry.archive == archive).unwrap().clone()
    };
    assert_eq!(entries.len(), 4);
    assert_eq!((of(1).links, of(1).in_use), (vec![link], false));
    assert_eq!((of(2).links, of(2).in_use, of(2).size), (Vec::new(), true, 20));
    assert_eq!((of(3).in_use, of(3).platform.as_deref()), (false, Some("linux/amd64")));
    assert_eq!((of(4).platform, of(4).names), (None, Vec::new()));
    assert_eq!(entries.last().unwrap().archive, of(4).archive, "the first to go is the last");
    assert_eq!(cache.collect(1000).unwrap(), Collected { left: 86, ..Collected::default() });
    assert_eq!(cache.collect(0).unwrap(), Collected { removed: 2, freed: 56, held: 2, left: 30 });
    drop(used);
    assert_eq!(cache.collect(0).unwrap(), Collected { removed: 1, freed: 20, held: 1, left: 10 });
}

#[test]
fn an_image_is_found_by_its_archive_and_by_links_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path().join("images")).unwrap();
    let image = cache.fill(&key(1), make(b"archive")).unwrap();
    let link = dir.path().join("result");
    cache.link(&image, &link).unwrap();
    assert_eq!(cache.at(&link).unwrap().unwrap().archive, image.archive);
    fs::write(dir.path().join("other.tar"), "x").unwrap();
    assert!(cache.at(&dir.path().join("other.tar")).unwrap().is_none());
    assert!(cache.at(&dir.path().join("missing")).unwrap().is_none());
}
