//! JSON as Go's `encoding/json` writes and reads it, which is what wal-g stores.
//!
//! Writing escapes `<`, `>`, `&`, U+2028 and U+2029; reading matches the names of fields whatever their case. A number of
//! which Go knows no more than that it is JSON, as in user data, becomes a `float64`.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};

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

/// A document whose numbers are those that Go makes of them, and writes again: `1.0` is `1`, and of
/// 12345678901234567890 is left what a `float64` holds. Two documents that Go takes for equal are equal so.
pub fn with_floats(document: &Value) -> Value {
    match document {
        Value::Number(number) => Value::Number(as_float(number)),
        Value::Array(items) => items.iter().map(with_floats).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| (name.clone(), with_floats(value))).collect()
        }
        other => other.clone(),
    }
}

/// The number as a `float64`, without a fraction where it has none: the shortest digits that mean it, then zeros.
fn as_float(number: &Number) -> Number {
    let Some(float) = number.as_f64() else { return number.clone() };
    let text = float.to_string();
    let whole = text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from));
    whole.ok().or_else(|| Number::from_f64(float)).unwrap_or_else(|| number.clone())
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
    fn numbers_are_floats() {
        let given =
            r#"{"b":1.0,"n":[1e3,-0.0,-2.50],"big":12345678901234567890,"more":1e25,"s":"1.0","small":1e-7}"#;
        let go = r#"{"b":1,"big":12345678901234567000,"more":1e25,"n":[1000,0,-2.5],"s":"1.0","small":1e-7}"#;
        let read = with_floats(&serde_json::from_str(given).unwrap());
        assert_eq!(read, serde_json::from_str::<Value>(go).unwrap());
        assert_eq!(with_floats(&read), read);
        assert!(to_string(&read).unwrap().contains("\"big\":12345678901234567000"));
        assert_ne!(with_floats(&serde_json::json!(1)), with_floats(&serde_json::json!("1")));
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
