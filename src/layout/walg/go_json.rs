//! JSON as Go's `encoding/json` writes and reads it, which is what wal-g stores.
//!
//! Writing escapes `<`, `>`, `&`, U+2028 and U+2029; reading matches the names of fields whatever their case.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Compact JSON with Go's escapes, without a final newline.
pub fn to_string<T: Serialize>(document: &T) -> serde_json::Result<String> {
    Ok(escape_for_html(&serde_json::to_string(document)?))
}

/// The escapes of Go's default encoder. Outside of strings, JSON has none of these characters.
pub fn escape_for_html(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Reads a document whose top-level field names may differ in case from `fields`.
pub fn from_slice<T: DeserializeOwned>(json: &[u8], fields: &[&str]) -> serde_json::Result<T> {
    let object: Map<String, Value> = serde_json::from_slice(json)?;
    let mut canonical = Map::new();
    for (name, value) in object {
        let known = fields.iter().find(|field| field.eq_ignore_ascii_case(&name));
        canonical.insert(known.map_or(name, |field| (*field).to_owned()), value);
    }
    serde_json::from_value(Value::Object(canonical))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_as_go_does() {
        let text = to_string(&serde_json::json!({"user": "<a&b>\u{2028}ü"})).unwrap();
        assert_eq!(text, "{\"user\":\"\\u003ca\\u0026b\\u003e\\u2028ü\"}");
        let back: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back["user"], "<a&b>\u{2028}ü");
    }

    #[test]
    fn reads_fields_of_any_case() {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Document {
            some_name: u64,
        }
        let document: Document = from_slice(b"{\"SOMENAME\": 18446744073709551615}", &["SomeName"]).unwrap();
        assert_eq!(document.some_name, u64::MAX);
    }
}
