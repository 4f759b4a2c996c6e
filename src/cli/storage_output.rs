//! What `storage check` prints.

use serde::Serialize;

use crate::storage::Location;
use crate::storage::check::{Findings, KnownBy, Recognised, Row};

use super::table::{self, left};

/// The table, what service it is, and what helps against each failure.
pub fn check_table(location: &Location, findings: &Findings) -> String {
    let row =
        |row: &Row| vec![row.ability.label().to_owned(), row.verdict.word().to_owned(), row.detail.clone()];
    let rows: Vec<Vec<String>> = findings.rows.iter().map(row).collect();
    let mut text = format!("{location}\n");
    text.push_str(&table::boxed(&[left("What"), left("Result"), left("Detail")], &rows));
    if let Some(service) = &findings.service {
        text.push_str(&format!("profile: {}\n", profile_text(service)));
    }
    for row in &findings.rows {
        if let Some(hint) = &row.hint {
            text.push_str(&format!("hint: {}: {hint}\n", row.ability.label()));
        }
    }
    text
}

/// The profile that is used, and the service when it is known by more.
fn profile_text(service: &Recognised) -> String {
    let name = service.profile.name;
    match service.by {
        KnownBy::Host => format!("{name}, by the address"),
        KnownBy::Answers => format!("any S3 service; by its answers this is {name}"),
        KnownBy::Nothing => name.to_owned(),
    }
}

/// The JSON, one document.
pub fn check_json(location: &Location, findings: &Findings) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Tried<'a> {
        name: &'static str,
        result: &'static str,
        detail: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<&'a str>,
    }
    #[derive(Serialize)]
    struct Service {
        name: &'static str,
        known_by: &'static str,
    }
    #[derive(Serialize)]
    struct Document<'a> {
        storage: String,
        ok: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        service: Option<Service>,
        checks: Vec<Tried<'a>>,
    }
    let text = serde_json::to_string_pretty(&Document {
        storage: location.to_string(),
        ok: findings.all_needed_works(),
        service: findings.service.map(|service| Service {
            name: service.profile.name,
            known_by: match service.by {
                KnownBy::Host => "address",
                KnownBy::Answers => "answers",
                KnownBy::Nothing => "nothing",
            },
        }),
        checks: findings
            .rows
            .iter()
            .map(|row| Tried {
                name: row.ability.id(),
                result: row.verdict.word(),
                detail: &row.detail,
                hint: row.hint.as_deref(),
            })
            .collect(),
    })?;
    Ok(text + "\n")
}
