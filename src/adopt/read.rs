//! Envoy's file, YAML or JSON, as one value with the field names of the `.proto` files. Pure.

use serde_json::{Map, Value};

/// Below these names keys are the operator's own.
const FREE: [&str; 3] = ["metadata", "filter_metadata", "typed_per_filter_config"];

/// Reads it. JSON is YAML, too.
///
/// # Errors
/// Why it cannot be read.
pub(super) fn read(text: &str) -> Result<Value, String> {
    let mut yaml: serde_yaml_ng::Value = serde_yaml_ng::from_str(text).map_err(|e| e.to_string())?;
    yaml.apply_merge().map_err(|e| e.to_string())?;
    let json = serde_json::to_value(&yaml).map_err(|e| format!("a key that is no text: {e}"))?;
    if !json.is_object() {
        return Err("it is no bootstrap of Envoy: a table is expected".to_owned());
    }
    let json = snake(json, false);
    for part in ["static_resources", "dynamic_resources", "cluster_manager", "node"] {
        if !json[part].is_null() && !json[part].is_object() {
            return Err(format!("{part} must be a table"));
        }
    }
    Ok(json)
}

/// Envoy also reads `filterChains` for `filter_chains`.
fn snake(value: Value, free: bool) -> Value {
    match value {
        Value::Object(map) => {
            let pairs = map.into_iter().map(|(key, value)| {
                let below = FREE.contains(&&*key);
                let key = if free { key } else { snake_case(&key) };
                (key, snake(value, below))
            });
            Value::Object(pairs.collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(|item| snake(item, false)).collect()),
        other => other,
    }
}

fn snake_case(key: &str) -> String {
    let camel = key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.bytes().all(|b| b.is_ascii_alphanumeric())
        && key.bytes().any(|b| b.is_ascii_uppercase());
    if !camel {
        return key.to_owned();
    }
    let mut snake = String::with_capacity(key.len() + 4);
    for character in key.chars() {
        if character.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn anchors_merge_keys_and_both_spellings_are_read() {
        let text = "base: &base { connectTimeout: 1s, type: STATIC }\na: { <<: *base, type: EDS }\n";
        let read = read(text).unwrap();
        assert_eq!(read["a"], json!({ "connect_timeout": "1s", "type": "EDS" }));
        assert_eq!(super::read("{\"a\": [1]}").unwrap(), json!({ "a": [1] }));
        assert!(super::read("- a").is_err());
        let typed = super::read("typed_per_filter_config: { myFilter: { allowMethods: GET } }").unwrap();
        assert_eq!(
            typed["typed_per_filter_config"]["myFilter"]["allow_methods"],
            "GET"
        );
    }
}
