use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::Read;

#[derive(Clone, Debug, PartialEq)]
enum Tree {
    File(bool, Vec<u8>),
    Link(Vec<u8>),
    Dir(BTreeMap<Vec<u8>, Tree>),
}

fn write(tree: &Tree, writer: &mut Writer<Vec<u8>>) {
    match tree {
        Tree::File(executable, bytes) => {
            writer.regular(*executable, bytes.len() as u64, bytes.as_slice()).unwrap();
        }
        Tree::Link(target) => writer.symlink(target).unwrap(),
        Tree::Dir(entries) => {
            writer.directory().unwrap();
            for (name, entry) in entries {
                writer.enter(name).unwrap();
                write(entry, writer);
            }
            writer.leave().unwrap();
        }
    }
}

fn to_nar(tree: &Tree) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new()).unwrap();
    write(tree, &mut writer);
    writer.finish().unwrap()
}

fn read<R: Read>(reader: &mut Reader<R>) -> Result<Tree, Error> {
    match reader.next()?.ok_or_else(|| bad("nothing"))? {
        Event::Regular { executable, len } => {
            let mut bytes = Vec::new();
            reader.contents().read_to_end(&mut bytes).map_err(|_| bad("short"))?;
            assert_eq!(bytes.len() as u64, len);
            Ok(Tree::File(executable, bytes))
        }
        Event::Symlink { target } => Ok(Tree::Link(target)),
        Event::Directory => {
            let mut entries = BTreeMap::new();
            while let Some(Event::Enter { name }) = reader.next()? {
                entries.insert(name, read(reader)?);
            }
            Ok(Tree::Dir(entries))
        }
        other => panic!("{other:?} where a node should be"),
    }
}

/// Reads a whole archive, contents skipped.
fn skim(bytes: &[u8]) -> Result<usize, Error> {
    let mut reader = Reader::new(bytes);
    let mut events = 0;
    while reader.next()?.is_some() {
        events += 1;
    }
    Ok(events)
}

fn file(bytes: &[u8]) -> Tree {
    Tree::File(false, bytes.to_owned())
}

fn trees() -> impl Strategy<Value = Tree> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..20);
    let leaf = prop_oneof![
        (any::<bool>(), bytes()).prop_map(|(executable, bytes)| Tree::File(executable, bytes)),
        prop::collection::vec(1u8..=255, 1..20).prop_map(Tree::Link),
    ];
    let name =
        prop::collection::vec(any::<u8>(), 1..6).prop_filter("a name", |name| check_name(name, None).is_ok());
    leaf.prop_recursive(4, 30, 5, move |inner| {
        prop::collection::btree_map(name.clone(), inner, 0..5).prop_map(Tree::Dir)
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(tree in trees()) {
        let nar = to_nar(&tree);
        prop_assert_eq!(nar.len() % 8, 0);
        let mut reader = Reader::new(nar.as_slice());
        prop_assert_eq!(read(&mut reader).unwrap(), tree);
        prop_assert_eq!(reader.next().unwrap(), None);
        prop_assert!(reader.into_inner().is_empty());
    }

    #[test]
    fn damage_is_found_or_harmless_and_never_fatal(tree in trees(), at: prop::sample::Index, with: u8, cut: bool) {
        let mut nar = to_nar(&tree);
        let index = at.index(nar.len());
        if cut {
            nar.truncate(index);
            prop_assert!(skim(&nar).is_err());
        } else {
            nar[index] = with;
            let _ = skim(&nar);
            let _ = read(&mut Reader::new(nar.as_slice()));
        }
    }
}

/// `nix-store --dump` of an executable file with the bytes "hi\n", put together by hand after the manual.
fn by_hand() -> Vec<u8> {
    let mut nar = Vec::new();
    for text in ["nix-archive-1", "(", "type", "regular", "executable", "", "contents", "hi\n", ")"] {
        nar.extend((text.len() as u64).to_le_bytes());
        nar.extend(text.as_bytes());
        nar.extend(vec![0; (8 - text.len() % 8) % 8]);
    }
    nar
}

#[test]
fn the_format_is_the_documented_one() {
    assert_eq!(to_nar(&Tree::File(true, b"hi\n".to_vec())), by_hand());
}

#[test]
fn a_single_file_is_read_as_that_file() {
    let nar = by_hand();
    let mut file = single_file(nar.as_slice()).unwrap();
    assert!(file.executable() && file.len() == 3);
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hi\n");
    assert!(file.finish().unwrap().is_empty());
    // Not read to its end, and something behind it.
    let two = [by_hand(), b"rest".to_vec()].concat();
    assert_eq!(single_file(two.as_slice()).unwrap().finish().unwrap(), b"rest");
    let link = to_nar(&Tree::Link(b"x".to_vec()));
    assert!(single_file(link.as_slice()).unwrap_err().is(&codes::NOT_A_FILE));
}

#[test]
fn a_file_that_is_cut_off_is_an_error_and_not_short() {
    let nar = by_hand();
    for end in nar.len() - 24..nar.len() {
        let mut text = Vec::new();
        assert!(single_file(&nar[..end]).unwrap().read_to_end(&mut text).is_err(), "{end}");
    }
}

#[test]
fn archives_follow_each_other_in_one_stream() {
    let dir =
        Tree::Dir(BTreeMap::from([(b"a".to_vec(), file(b"1")), (b"b".to_vec(), Tree::Dir(BTreeMap::new()))]));
    let stream = [to_nar(&dir), to_nar(&file(b"2"))].concat();
    let mut first = Reader::new(stream.as_slice());
    assert_eq!(read(&mut first).unwrap(), dir);
    assert_eq!(first.next().unwrap(), None);
    let mut second = Reader::new(first.into_inner());
    assert_eq!(read(&mut second).unwrap(), file(b"2"));
}

/// A directory with these names, written without checks.
fn names(names: &[&[u8]]) -> Vec<u8> {
    let mut nar = Vec::new();
    let mut put = |text: &[u8]| {
        nar.extend((text.len() as u64).to_le_bytes());
        nar.extend(text);
        nar.extend(vec![0; padding(text.len() as u64)]);
    };
    for word in ["nix-archive-1", "(", "type", "directory"] {
        put(word.as_bytes());
    }
    for name in names {
        for word in [
            b"entry".as_slice(),
            b"(",
            b"name",
            name,
            b"node",
            b"(",
            b"type",
            b"regular",
            b"contents",
            b"",
            b")",
            b")",
        ] {
            put(word);
        }
    }
    put(b")");
    nar
}

#[test]
fn names_that_escape_or_repeat_are_refused() {
    assert!(skim(&names(&[b"a", b"b"])).is_ok());
    for wrong in [
        [b"..".as_slice()].as_slice(),
        &[b"."],
        &[b""],
        &[b"a/b"],
        &[b"a\0b"],
        &[b"a", b"a"],
        &[b"b", b"a"],
        &[&[b'x'; 256]],
    ] {
        assert!(skim(&names(wrong)).unwrap_err().is(&codes::BAD_NAR), "{wrong:?}");
    }
}

#[test]
fn claims_of_enormous_sizes_cost_nothing() {
    let mut nar = names(&[b"a"]);
    // The length of the first word, then of the name.
    let name_at = nar.windows(4).position(|bytes| bytes == b"name").unwrap() + 8;
    nar[name_at..name_at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(skim(&nar).unwrap_err().is(&codes::BAD_NAR));
    let mut huge = by_hand();
    let len_at = huge.len() - 8 - 8 - 8 - 8;
    huge[len_at..len_at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    let mut file = single_file(huge.as_slice()).unwrap();
    assert_eq!(file.len(), u64::MAX);
    assert!(file.read_to_end(&mut Vec::new()).is_err());
}

#[test]
fn nesting_has_an_end() {
    let mut nar = Vec::new();
    let mut put = |text: &[u8]| {
        nar.extend((text.len() as u64).to_le_bytes());
        nar.extend(text);
        nar.extend(vec![0; padding(text.len() as u64)]);
    };
    put(MAGIC);
    for _ in 0..=DEPTH_LIMIT {
        for word in ["(", "type", "directory", "entry", "(", "name", "a", "node"] {
            put(word.as_bytes());
        }
    }
    assert!(skim(&nar).unwrap_err().is(&codes::BAD_NAR));
}

#[test]
fn a_writer_refuses_what_is_no_archive() {
    let new = || Writer::new(Vec::new()).unwrap();
    assert!(new().finish().is_err());
    assert!(new().leave().is_err());
    assert!(new().enter(b"a").is_err());
    assert!(new().symlink(b"").is_err());
    assert!(new().regular(false, 5, b"four".as_slice()).is_err());
    let mut two = new();
    two.symlink(b"x").unwrap();
    assert!(two.symlink(b"y").is_err());
    let mut unordered = new();
    unordered.directory().unwrap();
    unordered.enter(b"b").unwrap();
    unordered.symlink(b"x").unwrap();
    assert!(unordered.enter(b"a").is_err() && unordered.symlink(b"x").is_err());
    assert!(unordered.finish().is_err());
}

#[test]
fn a_hash_is_checked_against_what_nix_recorded() {
    let nar = by_hand();
    let hashed = |bytes: &[u8]| {
        let mut reader = HashingReader::new(std::io::Cursor::new(bytes.to_vec()));
        std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
        reader
    };
    let (nar_hash, nar_size) = hashed(&nar).finish();
    let path = "/nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-x".parse().unwrap();
    let info = nixoci_core::artifact::PathInfo {
        path,
        nar_hash,
        nar_size,
        references: vec![],
        deriver: None,
        local: None,
    };
    assert!(hashed(&nar).check(&info).is_ok());
    assert!(hashed(&nar[..8]).check(&info).unwrap_err().is(&codes::TRANSFER));
    let mut other = nar.clone();
    other[0] ^= 1;
    assert!(hashed(&other).check(&info).unwrap_err().is(&codes::DAMAGED));
    other.push(0);
    assert!(hashed(&other).check(&info).unwrap_err().is(&codes::DAMAGED));
}
