//! JSON as Python's `json.dumps` writes it: on one line, `", "` and `": "` between, ASCII only.

use std::fmt::Write as _;

use crate::layout::barman::{FieldValue, Literal};

/// A string.
pub fn string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            '\x08' => json.push_str("\\b"),
            '\x0C' => json.push_str("\\f"),
            ' '..='~' => json.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(json, "\\u{unit:04x}");
                }
            }
        }
    }
    json.push('"');
    json
}

/// A list of values that are JSON already.
pub fn list(values: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", values.into_iter().collect::<Vec<_>>().join(", "))
}

/// An object of names and values; the values are JSON already.
pub fn object<'a>(entries: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let entries = entries.into_iter().map(|(name, value)| format!("{}: {value}", string(name)));
    format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
}

/// The value of a field of a `backup.info`, but for times, which are no JSON.
pub fn field(value: &FieldValue<'_>) -> String {
    match value {
        FieldValue::Unset => "null".to_owned(),
        FieldValue::Text(text) => string(text),
        FieldValue::Integer(number) => number.to_string(),
        FieldValue::Time(time) => string(&time.to_string()),
        FieldValue::Literal(value) => literal(value),
    }
}

fn literal(value: &Literal) -> String {
    match value {
        Literal::None => "null".to_owned(),
        Literal::Bool(true) => "true".to_owned(),
        Literal::Bool(false) => "false".to_owned(),
        Literal::Int(_) | Literal::Float(_) => value.to_string(),
        Literal::Str(text) => string(text),
        Literal::List(elements) | Literal::Tuple(elements) => list(elements.iter().map(literal)),
        Literal::Dict(entries) => {
            let entries = entries.iter().map(|(key, value)| match key {
                Literal::Str(name) => format!("{}: {}", string(name), literal(value)),
                // Other keys become strings.
                key => format!("{}: {}", string(&literal(key)), literal(value)),
            });
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::barman::BackupInfo;

    #[test]
    fn what_json_dumps_writes() {
        // As Python 3.13 wrote them.
        for (text, json) in [
            ("a \"b\" \\ / '", r#""a \"b\" \\ / '""#),
            ("\n\r\t\u{8}\u{c}\u{1}\u{7f}", r#""\n\r\t\b\f\u0001\u007f""#),
            ("é日😀", r#""\u00e9\u65e5\ud83d\ude00""#),
        ] {
            assert_eq!(string(text), json);
        }
        for (text, json) in [
            ("[('extra', 16384, '/é')]", r#"[["extra", 16384, "/\u00e9"]]"#),
            (
                "{'a': 1.5, 'b': 1e-05, 1: None, None: True, False: {}}",
                r#"{"a": 1.5, "b": 1e-05, "1": null, "null": true, "false": {}}"#,
            ),
            ("[[], ()]", "[[], []]"),
            ("{}", "{}"),
        ] {
            assert_eq!(literal(&Literal::parse(text).unwrap()), json);
        }
        // Empty is not unset, though it is written so.
        for text in ["copy_stats={}", "included_files=[]", "copy_stats=None", "tablespaces=[]"] {
            let info = BackupInfo::parse(text.as_bytes(), &jiff::tz::TimeZone::UTC).unwrap();
            let (name, value) = text.split_once('=').unwrap();
            let fields = info.fields();
            let json =
                fields.iter().find(|(field, _)| *field == name).map(|(_, value)| field(value)).unwrap();
            let unset = name == "tablespaces" || value == "None";
            assert_eq!(json, if unset { "null" } else { value }, "{text}");
            assert!(info.to_string().contains(&format!("{name}=None\n")), "{text}");
        }
    }
}
