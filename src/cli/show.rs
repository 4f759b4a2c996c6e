//! `config show`: every setting with its value, where it came from, and what it overrode.

use serde_json::json;

use crate::settings::{Key, Settings, Source, Sourced, Status, Visibility, keys, value};

use super::{Error, printer};

/// How `config show` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Lines for people.
    Text,
    /// One JSON array.
    Json,
}

/// Prints the settings. Values that are not of their kind are logged, and are an error in the end.
pub fn run(settings: &Settings, format: Format) -> Result<(), Error> {
    let shown = keys::ALL.iter().copied().filter(|key| {
        key.status == Status::Supported || settings.all(key).any(|found| found.source != Source::Default)
    });
    match format {
        Format::Text => printer::print(&text(settings, shown))?,
        Format::Json => printer::print(&format!("{}\n", as_json(settings, shown)))?,
    }
    let mut bad = 0;
    for key in keys::ALL {
        if let Err(error) = settings.parsed(key, |text| key.kind.check(text)) {
            tracing::error!("{error}");
            bad += 1;
        }
    }
    if bad == 0 { Ok(()) } else { Err(Error::BadSettings(bad)) }
}

fn text<'a>(settings: &Settings, shown: impl Iterator<Item = &'a Key>) -> String {
    let mut rows = vec![["setting", "value", "source"].map(str::to_owned)];
    for key in shown {
        let mut found = settings.all(key);
        let row = match found.next() {
            Some(first) => [key.name().to_owned(), shown_value(key, &first), first.source.to_string()],
            None => [key.name(), "-", "unset"].map(str::to_owned),
        };
        rows.push(row);
        for other in found {
            rows.push([String::new(), shown_value(key, &other), format!("overridden: {}", other.source)]);
        }
        let note = match key.status {
            Status::Ignored(reason) => format!("has no effect: {reason}"),
            Status::NotYet(instead) => format!("not supported: {instead}"),
            Status::Foreign => "for another program".to_owned(),
            Status::Supported => continue,
        };
        rows.push([String::new(), String::new(), note]);
    }
    printer::columns(&rows)
}

fn as_json<'a>(settings: &Settings, shown: impl Iterator<Item = &'a Key>) -> serde_json::Value {
    let place = |key: &Key, found: &Sourced<&str>| json!({"value": shown_value(key, found), "source": source(&found.source)});
    let setting = |key: &Key| {
        let mut found = settings.all(key);
        let first = found.next();
        json!({
            "name": key.name(),
            "value": first.as_ref().map(|first| shown_value(key, first)),
            "source": first.as_ref().map(|first| source(&first.source)),
            "overrides": found.map(|other| place(key, &other)).collect::<Vec<_>>(),
            "supported": matches!(key.status, Status::Supported),
        })
    };
    shown.map(setting).collect()
}

fn source(source: &Source) -> serde_json::Value {
    match source {
        Source::Flag(flag) => json!({"kind": "flag", "name": format!("--{flag}")}),
        Source::Env(name) => json!({"kind": "environment", "name": name}),
        Source::File { path, key } => json!({"kind": "file", "path": path.to_string_lossy(), "name": key}),
        Source::Default => json!({"kind": "default"}),
    }
}

/// The value as it may be shown.
fn shown_value(key: &Key, found: &Sourced<&str>) -> String {
    match key.visibility {
        Visibility::Secret => "(hidden)".to_owned(),
        Visibility::Plain => value::without_credentials(found.value).replace(['\n', '\r'], " "),
    }
}
