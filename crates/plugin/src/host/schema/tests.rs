//! Settings that fit a schema, and each kind of mistake.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn schema() -> Value {
    json!({
        "type": "object", "additionalProperties": false, "required": ["host"],
        "$defs": {
            "Size": { "anyOf": [{ "type": "integer" }, { "type": "string" }] },
            "Mode": { "oneOf": [{ "const": "auto", "description": "d" }, { "const": "always" }] },
            "Loop": { "$ref": "#/$defs/Loop" },
            "Machine": {
                "type": "object", "additionalProperties": false, "required": ["name"],
                "properties": { "name": { "type": "string" }, "jobs": { "type": ["integer", "null"] } },
            },
        },
        "properties": {
            "host": { "type": "string" },
            "size": { "$ref": "#/$defs/Size" },
            "mode": { "anyOf": [{ "$ref": "#/$defs/Mode" }, { "type": "null" }] },
            "level": { "enum": ["low", "high"] },
            "machines": { "type": "array", "items": { "$ref": "#/$defs/Machine" } },
            "by-pattern": {
                "type": "object", "patternProperties": { "^x": {} }, "additionalProperties": false,
            },
            "pair": { "type": "array", "prefixItems": [{ "type": "string" }], "items": { "type": "integer" } },
            "labels": { "type": "object", "additionalProperties": { "type": "string" } },
            "loop": { "$ref": "#/$defs/Loop" },
            "nowhere": { "$ref": "#/$defs/Nowhere" },
        },
    })
}

fn violated(value: Value) -> Option<(String, Kind)> {
    violation(&schema(), &value, true).map(|found| (found.path.join("."), found.kind))
}

#[test]
fn settings_that_fit() {
    for value in [
        json!({ "host": "a" }),
        json!({ "size": 1 }),
        json!({ "size": "1G" }),
        json!({ "mode": "always", "level": "low" }),
        json!({ "machines": [{ "name": "a", "jobs": 2 }, { "name": "b" }] }),
        json!({ "by-pattern": { "xy": 1 }, "pair": ["a", 1, 2] }),
        json!({ "labels": { "anything": "goes" }, "loop": 1, "nowhere": 2.5 }),
    ] {
        assert_eq!(violated(value.clone()), None, "{value}");
    }
}

#[test]
fn each_kind_of_mistake_at_its_place() {
    let unknown = |key: &str, known: &[&str]| Kind::UnknownKey {
        key: key.to_owned(),
        known: known.iter().map(|key| (*key).to_owned()).collect(),
    };
    let wrong = |expected: &str, found| Kind::WrongType { expected: expected.to_owned(), found };
    let none_of = |values: &[&str]| Kind::NotOneOf {
        values: values.iter().map(|value| format!("{value:?}")).collect(),
    };
    for (value, path, kind) in [
        (json!({ "host": 1 }), "host", wrong("a string", "an integer")),
        (json!({ "size": true }), "size", wrong("an integer or a string", "true or false")),
        (json!({ "mode": "never" }), "mode", none_of(&["auto", "always"])),
        (json!({ "level": "middle" }), "level", none_of(&["low", "high"])),
        (json!({ "machines": [{ "name": "a" }, 7] }), "machines.1", wrong("a table", "an integer")),
        (json!({ "machines": [{ "job": 1 }] }), "machines.0.job", unknown("job", &["jobs", "name"])),
        (json!({ "machines": [{ "jobs": "1" }] }), "machines.0.jobs", wrong("an integer", "a string")),
        (json!({ "pair": ["a", "b"] }), "pair.1", wrong("an integer", "a string")),
        (json!({ "labels": { "a": [] } }), "labels.a", wrong("a string", "an array")),
    ] {
        assert_eq!(violated(value), Some((path.to_owned(), kind)));
    }
}

#[test]
fn a_missing_key_is_missing_once_all_files_are_read() {
    assert_eq!(violation(&schema(), &json!({}), true), None);
    let missing = |key: &str| Kind::MissingKey { key: key.to_owned() };
    let found = violation(&schema(), &json!({}), false).unwrap();
    assert_eq!((found.path.len(), found.kind), (0, missing("host")));
    let found = violation(&schema(), &json!({ "host": "a", "machines": [{}] }), false).unwrap();
    assert_eq!((found.path, found.kind), (vec!["machines".to_owned(), "0".to_owned()], missing("name")));
}

#[test]
fn keywords_of_the_wrong_type_are_no_schema() {
    for (schema, place) in [
        (json!({ "type": 7 }), "#/type"),
        (json!({ "type": "text" }), "#/type"),
        (json!({ "type": ["string", "text"] }), "#/type"),
        (json!({ "type": [] }), "#/type"),
        (json!({ "enum": [] }), "#/enum"),
        (json!({ "properties": { "a": 1 } }), "#/properties/a"),
        (json!({ "properties": [] }), "#/properties"),
        (json!({ "required": [1] }), "#/required"),
        (json!({ "anyOf": [] }), "#/anyOf"),
        (json!({ "items": { "oneOf": [{ "enum": 1 }] } }), "#/items/oneOf/0/enum"),
    ] {
        let said = well_formed(&schema).unwrap_err();
        assert!(said.starts_with(&format!("{place} is ")), "{schema}: {said}");
    }
    assert_eq!(well_formed(&schema()), Ok(()));
}

#[test]
fn alternatives_of_alternatives_end() {
    // Without a limit this takes 2^depth steps, and there is no depth.
    let circular = json!({ "anyOf": [{ "$ref": "#" }, { "$ref": "#" }] });
    assert_eq!(violation(&circular, &json!(1), false), None);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "(type|properties|anyOf|string|object|#|#/a|a)".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        let key = "(type|properties|required|items|anyOf|allOf|additionalProperties|enum|\\$ref|\\$defs|a)";
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key, inner, 0..5)
                .prop_map(|table| Value::Object(table.into_iter().collect())),
        ]
    })
}

proptest! {
    /// The schema is another program's word: whatever it is, checking ends, and does not panic.
    #[test]
    fn any_schema_is_survived(schema in any_json(), value in any_json()) {
        let _ = well_formed(&schema);
        let _ = violation(&schema, &value, false);
    }
}
