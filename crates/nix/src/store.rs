//! What `nix path-info --json` and `nix build --json` say, in the shapes that Nix has used for it.
//!
//! - Nix 2.18 and Lix: a list of `{"path": …}`, an invalid path with `"valid": false`;
//! - 2.19 to 2.32 and format 1: a map from path to information, an invalid path as `null`;
//! - format 2 (2.33): `{"info": {base name: …}, "storeDir": …, "version": 2}`, with base names inside too.

use nixoci_core::artifact::{PathInfo, StorePath};
use nixoci_core::digest::Digest;
use serde_json::{Map, Value};

/// What was asked for, or the paths that are not valid.
pub(crate) type Infos = Result<Vec<PathInfo>, Vec<String>>;

/// Understands `nix path-info --json`; the error says in words what is odd about it.
pub(crate) fn parse_path_info(text: &str) -> Result<Infos, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let (dir, entries) = match &value {
        Value::Array(list) => ("/nix/store", list_entries(list)?),
        Value::Object(map) => match map.get("info") {
            Some(Value::Object(info)) => {
                (map.get("storeDir").and_then(Value::as_str).unwrap_or("/nix/store"), map_entries(info))
            }
            _ => ("/nix/store", map_entries(map)),
        },
        _ => return Err("it is neither a list nor an object".to_owned()),
    };
    let invalid: Vec<String> =
        entries.iter().filter(|(_, info)| info.is_none()).map(|(path, _)| absolute(dir, path)).collect();
    if !invalid.is_empty() {
        return Ok(Err(invalid));
    }
    let infos = entries.iter().filter_map(|(path, info)| Some((path, (*info)?)));
    infos.map(|(path, info)| path_info(dir, path, info)).collect::<Result<_, _>>().map(Ok)
}

type Entry<'a> = (&'a str, Option<&'a Map<String, Value>>);

fn list_entries(list: &[Value]) -> Result<Vec<Entry<'_>>, String> {
    let entry = |value: &'_ Value| -> Option<(String, bool)> {
        Some((value.get("path")?.as_str()?.to_owned(), value.get("valid") != Some(&Value::Bool(false))))
    };
    if list.iter().any(|value| entry(value).is_none()) {
        return Err("an entry has no path".to_owned());
    }
    Ok(list
        .iter()
        .filter_map(|value| {
            let map = value.as_object()?;
            let valid = map.get("valid") != Some(&Value::Bool(false));
            Some((map.get("path")?.as_str()?, valid.then_some(map)))
        })
        .collect())
}

fn map_entries(map: &Map<String, Value>) -> Vec<Entry<'_>> {
    map.iter().map(|(path, info)| (path.as_str(), info.as_object())).collect()
}

fn absolute(dir: &str, path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("{dir}/{path}") }
}

fn store_path(dir: &str, path: &str) -> Result<StorePath, String> {
    absolute(dir, path).parse().map_err(|error| format!("{error}"))
}

fn path_info(dir: &str, path: &str, info: &Map<String, Value>) -> Result<PathInfo, String> {
    let missing = |key: &str| format!("`{path}` has no {key}");
    // Format 3 writes {"algorithm", "format", "hash"}; the others a text.
    let hash = match info.get("narHash") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Object(parts)) => {
            let part = |key| parts.get(key).and_then(Value::as_str).ok_or_else(|| missing("narHash"));
            format!("{}-{}", part("algorithm")?, part("hash")?)
        }
        _ => return Err(missing("narHash")),
    };
    let nar_hash: Digest = hash.parse().map_err(|error| format!("{error}"))?;
    let nar_size = info.get("narSize").and_then(Value::as_u64).ok_or_else(|| missing("narSize"))?;
    let texts = info.get("references").and_then(Value::as_array).ok_or_else(|| missing("references"))?;
    let references = texts.iter().filter_map(Value::as_str).map(|text| store_path(dir, text));
    let deriver = info.get("deriver").and_then(Value::as_str).and_then(|text| store_path(dir, text).ok());
    Ok(PathInfo {
        path: store_path(dir, path)?,
        nar_hash,
        nar_size,
        references: references.collect::<Result<_, _>>()?,
        deriver,
        local: None,
    })
}

/// One result of `nix build --json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BuildResult {
    pub(crate) drv: Option<StorePath>,
    /// The output, when Nix knows it; a content-addressed derivation's is unknown before the build.
    pub(crate) path: Option<StorePath>,
}

/// What `nix build --json` lists, by name: one thing, unless the expression yields several, or none.
pub(crate) fn result_names(text: &str) -> Option<Vec<String>> {
    let value: Value = serde_json::from_str(text).ok()?;
    let path = |entry: &Value| -> Option<StorePath> {
        let path = entry.as_str().or_else(|| entry.get("drvPath")?.as_str())?;
        path.parse().ok()
    };
    let name =
        |entry| path(entry).map_or_else(String::new, |path| path.name().trim_end_matches(".drv").into());
    Some(value.as_array()?.iter().map(name).collect())
}

/// Understands `nix build --json`: a list of derivations with outputs, or of plain paths.
pub(crate) fn parse_build(text: &str) -> Result<BuildResult, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let first = value.as_array().and_then(|list| list.first()).ok_or("it is no list of results")?;
    let parse = |text: &str| text.parse::<StorePath>().map_err(|error| error.to_string());
    if let Some(path) = first.as_str().or_else(|| first.get("path")?.as_str()) {
        return Ok(BuildResult { drv: None, path: Some(parse(path)?) });
    }
    let drv = first.get("drvPath").and_then(Value::as_str).map(parse).transpose()?;
    let outputs = first.get("outputs").and_then(Value::as_object).ok_or("it names no outputs")?;
    let output = outputs.get("out").or_else(|| outputs.values().next());
    let path = output.and_then(Value::as_str).map(parse).transpose()?;
    Ok(BuildResult { drv, path })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PATH: &str = "/nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-x";
    const REF: &str = "/nix/store/1mixbwv945yr64jsc6jla0384mdn9l4z-y";
    const HASH: &str = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

    fn base(path: &str) -> &str {
        path.rsplit('/').next().unwrap()
    }

    fn shapes() -> Vec<String> {
        let fields = |short: bool| {
            let reference = if short { base(REF) } else { REF };
            format!(r#""narHash":"{HASH}","narSize":128,"references":["{reference}"],"deriver":null"#)
        };
        vec![
            format!(r#"[{{"path":"{PATH}",{}}}]"#, fields(false)),
            format!(r#"{{"{PATH}":{{"ca":null,{}}}}}"#, fields(false)),
            format!(r#"{{"{PATH}":{{"storeDir":"/nix/store","version":1,{}}}}}"#, fields(false)),
            format!(
                r#"{{"info":{{"{}":{{{}}}}},"storeDir":"/nix/store","version":2}}"#,
                base(PATH),
                fields(true)
            ),
        ]
    }

    #[test]
    fn every_shape_says_the_same() {
        for shape in shapes() {
            let infos = parse_path_info(&shape).unwrap().unwrap();
            assert_eq!(infos.len(), 1, "{shape}");
            assert_eq!(infos[0].path.as_str(), PATH);
            assert_eq!(infos[0].nar_size, 128);
            assert_eq!(infos[0].nar_hash.sri(), HASH);
            assert_eq!(infos[0].references[0].as_str(), REF);
        }
    }

    #[test]
    fn an_invalid_path_is_named() {
        for text in [
            format!(r#"[{{"path":"{PATH}","valid":false}}]"#),
            format!(r#"{{"{PATH}":null}}"#),
            format!(r#"{{"info":{{"{}":null}},"storeDir":"/nix/store","version":2}}"#, base(PATH)),
        ] {
            assert_eq!(parse_path_info(&text).unwrap(), Err(vec![PATH.to_owned()]), "{text}");
        }
    }

    #[test]
    fn odd_json_is_refused_in_words() {
        for text in ["", "3", "[3]", "{\"/x\":{}}", "[{}]"] {
            assert!(parse_path_info(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_build_names_its_output() {
        let drv = "/nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-x.drv";
        let text = format!(r#"[{{"drvPath":"{drv}","outputs":{{"out":"{PATH}"}},"startTime":1}}]"#);
        let built = parse_build(&text).unwrap();
        assert_eq!(built.drv.unwrap().as_str(), drv);
        assert_eq!(built.path.unwrap().as_str(), PATH);
        assert_eq!(parse_build(&format!(r#"["{PATH}"]"#)).unwrap().path.unwrap().as_str(), PATH);
        let unknown = parse_build(&format!(r#"[{{"drvPath":"{drv}","outputs":{{"out":null}}}}]"#)).unwrap();
        assert_eq!(unknown.path, None);
        let text = format!(r#"[{{"drvPath":"{drv}","outputs":{{"bin":"{REF}","out":"{PATH}"}}}}]"#);
        assert_eq!(parse_build(&text).unwrap().path.unwrap().as_str(), PATH);
        assert!(parse_build("[]").is_err());
        assert_eq!(result_names("[]"), Some(Vec::new()));
        assert_eq!(result_names(&format!(r#"["{PATH}", {{"drvPath":"{REF}.drv"}}]"#)).unwrap(), ["x", "y"]);
        assert_eq!(result_names("{}"), None);
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "[\\[\\]{}\":,a-z/0-9-]{0,60}") {
            let _ = parse_path_info(&text);
            let _ = parse_build(&text);
        }
    }
}
