//! Reading JSON that came out of an image.
//!
//! Nothing is turned into a tree: an object is a list of its keys with the raw text of their values, so that
//! neither depth nor width of a hostile document costs memory, and the exact bytes of a value can be found
//! again. Keys compare as Go's `encoding/json` compares them (exact or in another case, the last one wins),
//! because every container runtime reads images with it.

use std::fmt;

use nixoci_core::{Error, Result, ResultExt};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::codes;
use crate::text::show;

/// The most keys of an object, and the most elements of a list, that are looked at.
const WIDTH_LIMIT: usize = 1 << 16;

/// A JSON object, one level deep.
pub(crate) struct Object<'a> {
    fields: Vec<(String, &'a RawValue)>,
    what: String,
}

struct Fields<'a>(Vec<(String, &'a RawValue)>);
struct Items<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    if fields.len() == WIDTH_LIMIT {
                        return Err(serde::de::Error::custom(format!("more than {WIDTH_LIMIT} keys")));
                    }
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

impl<'de> Deserialize<'de> for Items<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Items<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    if items.len() == WIDTH_LIMIT {
                        return Err(serde::de::Error::custom(format!("more than {WIDTH_LIMIT} elements")));
                    }
                    items.push(item);
                }
                Ok(Items(items))
            }
        }
        deserializer.deserialize_seq(Collect)
    }
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str, what: &str) -> Result<T> {
    serde_json::from_str(text).or_error(&codes::BAD_JSON, || format!("{what} cannot be understood"))
}

/// The text of a JSON document; anything but UTF-8 is refused, as RFC 8259 says.
pub(crate) fn utf8<'a>(bytes: &'a [u8], what: &str) -> Result<&'a str> {
    std::str::from_utf8(bytes).or_error(&codes::BAD_JSON, || format!("{what} is not UTF-8"))
}

/// The elements of a list.
pub(crate) fn list<'a>(text: &'a str, what: &str) -> Result<Vec<&'a RawValue>> {
    parse::<Items<'a>>(text, what).map(|items| items.0)
}

fn is_null(value: &RawValue) -> bool {
    value.get() == "null"
}

impl<'a> Object<'a> {
    /// Parses an object; `what` names it in errors.
    pub(crate) fn parse(text: &'a str, what: impl Into<String>) -> Result<Self> {
        let what = what.into();
        Ok(Object { fields: parse::<Fields<'a>>(text, &what)?.0, what })
    }

    /// The value of a key; `null` counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&'a RawValue> {
        let found = self.fields.iter().rfind(|(name, _)| name.eq_ignore_ascii_case(key));
        found.map(|(_, value)| *value).filter(|value| !is_null(value))
    }

    /// Every value of a key, where a document repeats it.
    pub(crate) fn all(&self, key: &str) -> impl Iterator<Item = &'a RawValue> {
        self.fields.iter().filter(move |(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| *value)
    }

    fn name(&self, key: &str) -> String {
        format!("`{key}` in {}", self.what)
    }

    /// The object at a key.
    pub(crate) fn object(&self, key: &str) -> Result<Option<Object<'a>>> {
        self.get(key).map(|value| Object::parse(value.get(), self.name(key))).transpose()
    }

    /// The list at a key; empty when absent.
    pub(crate) fn list(&self, key: &str) -> Result<Vec<&'a RawValue>> {
        self.get(key).map_or(Ok(Vec::new()), |value| list(value.get(), &self.name(key)))
    }

    /// The text at a key; an empty text counts as absent.
    pub(crate) fn string(&self, key: &str) -> Result<Option<String>> {
        let text = self.get(key).map(|value| parse::<String>(value.get(), &self.name(key))).transpose()?;
        Ok(text.filter(|text| !text.is_empty()))
    }

    /// The texts at a key; empty when absent.
    pub(crate) fn strings(&self, key: &str) -> Result<Vec<String>> {
        self.list(key)?.into_iter().map(|item| parse(item.get(), &self.name(key))).collect()
    }

    /// The texts at a key where a single text may stand for a list of one.
    pub(crate) fn words(&self, key: &str) -> Result<Vec<String>> {
        match self.get(key) {
            Some(value) if value.get().starts_with('"') => Ok(vec![parse(value.get(), &self.name(key))?]),
            _ => self.strings(key),
        }
    }

    /// Whether a key is present and true.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value.get() == "true")
    }

    /// The keys with their values.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &'a RawValue)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// The keys.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| name.as_str())
    }

    /// The keys with the values that are texts; others are left out.
    pub(crate) fn texts(&self) -> impl Iterator<Item = (String, String)> {
        self.fields
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), serde_json::from_str(value.get()).ok()?)))
    }

    /// An error about a key.
    pub(crate) fn missing(&self, key: &str) -> Error {
        Error::new(&codes::BAD_JSON, format!("`{}` is missing in {}", show(key.as_bytes()), self.what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_compare_as_go_compares_them() {
        let object = Object::parse(r#"{"Cmd":["a"],"x":null,"cmd":["b"]}"#, "test").unwrap();
        assert_eq!(object.strings("Cmd").unwrap(), ["b"]);
        assert!(object.get("X").is_none());
    }

    #[test]
    fn depth_and_width_cost_no_memory() {
        let deep = format!(r#"{{"a":{}{}}}"#, "[".repeat(1 << 20), "]".repeat(1 << 20));
        let object = Object::parse(&deep, "deep").unwrap();
        assert!(object.strings("a").is_err());
        let wide = format!("[{}0]", "0,".repeat(1 << 20));
        assert!(list(&wide, "wide").unwrap_err().is(&codes::BAD_JSON));
    }

    #[test]
    fn a_wrong_type_names_the_key() {
        let object = Object::parse(r#"{"Env":{"A":"b"}}"#, "the configuration").unwrap();
        let error = object.strings("Env").unwrap_err();
        assert_eq!(error.to_string(), "`Env` in the configuration cannot be understood");
    }
}
