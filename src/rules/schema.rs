//! The JSON Schema of native sets, for editors that complete and check what is typed.

use super::native::{BULK_KEYS, POLICY_KEYS, ROW_KEYS, SOURCE_KEYS, TEST_KEYS, TOP_KEYS};
use super::taxonomy::RSIT;
use crate::detect::indicator::{Kind, Severity, Tlp};
use serde_json::{Map, Value, json};

/// The schema, draft 2020-12.
pub fn schema() -> Value {
    let indicator = object(&[ROW_KEYS, POLICY_KEYS], &[]);
    let tombstone = json!({ "required": ["id", "revoked"] });
    let mut indicator = indicator;
    indicator["anyOf"] = json!([{ "required": ["type", "value"] }, tombstone]);
    let mut top = object(&[TOP_KEYS], &["schema", "set"]);
    top["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    top["title"] = json!("Roje rule set");
    top["dependentRequired"] = json!({ "mode": ["reason"], "reason": ["mode"] });
    let lists = |item: Value| json!({ "type": "array", "items": item });
    top["properties"]["source"] = object(&[SOURCE_KEYS], &[]);
    top["properties"]["defaults"] = object(&[POLICY_KEYS], &[]);
    top["properties"]["indicators"] = lists(indicator);
    top["properties"]["bulk"] = lists(object(&[BULK_KEYS, POLICY_KEYS], &["file", "type"]));
    top["properties"]["tests"] = object(&[TEST_KEYS], &[]);
    top
}

fn object(keys: &[&[&str]], required: &[&str]) -> Value {
    let properties: Map<String, Value> =
        keys.iter().flat_map(|keys| keys.iter()).map(|key| ((*key).to_owned(), value(key))).collect();
    json!({ "type": "object", "additionalProperties": false, "required": required, "properties": properties })
}

/// What a key holds.
fn value(key: &str) -> Value {
    let text = |description: &str| json!({ "type": "string", "minLength": 1, "description": description });
    let one_of = |names: &[&str], description: &str| json!({ "enum": names, "description": description });
    let time =
        |description: &str| json!({ "type": "string", "format": "date-time", "description": description });
    match key {
        "schema" => json!({ "const": 1 }),
        "set" => {
            json!({ "type": "string", "minLength": 1, "maxLength": 128, "description": "unique name of the set" })
        }
        "mode" => one_of(&["block", "inform"], "an allow set: never alert, or alert and mark"),
        "reason" => text("why an allow set allows"),
        "producer" => text("who made it"),
        "feed" => text("which feed of the producer"),
        "reference" => text("where it is described"),
        "id" => text("unique in the set"),
        "type" => one_of(&Kind::ALL.map(Kind::name), "what the value is"),
        "value" => text("the value, defanged or not"),
        "tlp" => one_of(&Tlp::ALL.map(Tlp::name), "Traffic Light Protocol 2.0"),
        "severity" => one_of(&Severity::ALL.map(Severity::name), "how grave a match is"),
        "confidence" => {
            json!({ "type": "integer", "minimum": 0, "maximum": 100, "description": "on the STIX scale" })
        }
        "valid_from" => time("first instant at which it acts"),
        "valid_until" => time("first instant at which it no longer acts"),
        "rsit" => one_of(RSIT, "class of the ENISA reference taxonomy"),
        "attack" => json!({
            "type": "array", "minItems": 1, "maxItems": 64,
            "items": { "type": "string", "pattern": "^T[0-9]{4}(\\.[0-9]{3})?$" },
            "description": "ATT&CK techniques",
        }),
        "status" => one_of(&["stable", "test"], "test: counted and logged, never sent"),
        "throttle" => json!({ "anyOf": [
            { "const": "none" },
            { "type": "object", "additionalProperties": false, "properties": {
                "by": { "type": "array", "items": { "enum": ["indicator", "source"] }, "contains": { "const": "indicator" } },
                "window": { "type": "string", "pattern": "^[0-9]+[smhd]$" },
            }},
        ], "description": "how repeated hits are folded" }),
        "where" => json!({
            "type": "array", "minItems": 1, "items": { "enum": ["source", "destination"] },
            "description": "sides that an address binds to",
        }),
        "port" => json!({
            "type": "array", "minItems": 1, "maxItems": 64,
            "items": { "type": "integer", "minimum": 1, "maximum": 65535 },
            "description": "ports that an address binds to",
        }),
        "match" => one_of(&["exact", "word", "substring"], "exact: of a domain; word or substring: of text"),
        "nocase" => json!({ "type": "boolean", "description": "of text: case does not count" }),
        "description" => text("what the analyst should know"),
        "revoked" => json!({ "type": "boolean", "description": "withdrawn by its producer" }),
        "force" => text("why a guard is overridden"),
        "file" => text("the list, relative to the set"),
        "column" => {
            json!({ "type": ["integer", "string"], "minimum": 1, "description": "number or name of a column, or key of a JSON object" })
        }
        "format" => one_of(&["lines", "csv", "hosts", "json", "text"], "how the list is written"),
        "delimiter" => one_of(&[",", ";", "|", ":", "tab"], "what stands between columns"),
        "hit" | "miss" => json!({ "type": "array", "items": { "type": "string" } }),
        _ => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_described() {
        let schema = schema();
        let keys = [TOP_KEYS, SOURCE_KEYS, TEST_KEYS, POLICY_KEYS, ROW_KEYS, BULK_KEYS].concat();
        let sections = ["source", "defaults", "indicators", "bulk", "tests"];
        for key in keys.iter().filter(|key| !sections.contains(key)) {
            assert_ne!(value(key), json!({}), "{key}");
        }
        for section in sections {
            assert!(schema["properties"][section].is_object(), "{section}");
        }
    }
}
