//! The inventory's form as a JSON Schema, derived from its types.

use std::collections::BTreeMap;

use pool::inventory::Inventory;
use serde_json::{Map, Value, json};
use utoipa::OpenApi;

/// Where OpenAPI keeps its schemas, and where a JSON Schema does.
const OPENAPI_REFERENCE: &str = "#/components/schemas/";
const SCHEMA_REFERENCE: &str = "#/$defs/";

#[derive(OpenApi)]
#[openapi(components(schemas(Inventory)))]
struct Forms;

/// The JSON Schema (2020-12), pretty-printed, with a line end.
pub(super) fn document() -> Result<String, serde_json::Error> {
    let mut forms = Map::new();
    if let Some(components) = Forms::openapi().components {
        // OpenAPI 3.1 describes with JSON Schema 2020-12: only the place of the definitions differs.
        for (name, form) in components.schemas {
            forms.insert(name, serde_json::to_value(form)?);
        }
    }
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A Millpond pool at one moment",
        "description": "Written by `host-runner pool dump`, read by `host-runner plan`. Ranges are in the descriptions.",
        "$ref": format!("{SCHEMA_REFERENCE}Inventory"),
        "$defs": forms,
    });
    let mut text = serde_json::to_string_pretty(&refer(schema))?;
    text.push('\n');
    Ok(text)
}

/// The same with references to where the definitions are now, and all members in the order of their names: another crate of a build may
/// let JSON objects keep the order in which they were made.
fn refer(form: Value) -> Value {
    match form {
        Value::String(text) => match text.strip_prefix(OPENAPI_REFERENCE) {
            Some(name) => Value::String(format!("{SCHEMA_REFERENCE}{name}")),
            None => Value::String(text),
        },
        Value::Array(items) => items.into_iter().map(refer).collect(),
        Value::Object(members) => {
            let sorted: BTreeMap<String, Value> = members.into_iter().collect();
            (sorted.into_iter())
                .map(|(name, value)| (name, refer(value)))
                .collect()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_schema_is_the_derived_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/inventory.schema.json");
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == document().unwrap(),
            "docs/inventory.schema.json has drifted; run `cargo run -p host-runner -- pool schema > host-runner/docs/inventory.schema.json`"
        );
    }

    #[test]
    fn every_reference_leads_to_a_definition() {
        fn references(value: &Value, into: &mut Vec<String>) {
            match value {
                Value::Object(members) => {
                    if let Some(Value::String(target)) = members.get("$ref") {
                        into.push(target.clone());
                    }
                    members.values().for_each(|value| references(value, into));
                }
                Value::Array(items) => items.iter().for_each(|value| references(value, into)),
                _ => {}
            }
        }
        let schema: Value = serde_json::from_str(&document().unwrap()).unwrap();
        let mut found = Vec::new();
        references(&schema, &mut found);
        assert!(found.len() > 10, "{found:?}");
        for target in found {
            let name = target.strip_prefix(SCHEMA_REFERENCE).unwrap();
            assert!(schema["$defs"].get(name).is_some(), "{target}");
        }
    }
}
