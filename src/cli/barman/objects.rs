//! What is asked of the objects that a command writes: tags, encryption, sizes of parts.

use std::collections::BTreeSet;

use crate::storage::s3::{Encryption, Tag};

use super::Error;
use super::commands::Session;
use super::flags::{ENCRYPTION, SSE_KMS_KEY_ID};
use super::grammar::Flag;
use super::values;

/// Tags of one object, at most (S3's rule).
const MOST_TAGS: usize = 10;

/// How the service encrypts, as `--encryption` and `--sse-kms-key-id` say.
pub fn encryption(session: &Session) -> Result<Option<Encryption>, Error> {
    let key_id = session.line.value(&SSE_KMS_KEY_ID).map(str::to_owned);
    match (session.line.value(&ENCRYPTION), key_id) {
        (Some("aws:kms"), key_id) => Ok(Some(Encryption::Kms { key_id })),
        (_, Some(_)) => Err(Error::KeyWithoutKms),
        (Some(_), None) => Ok(Some(Encryption::Aes256)),
        (None, None) => Ok(None),
    }
}

/// The tags of two flags that exclude each other: one that takes several at once, and one that is repeated.
pub fn tags(session: &Session, list: &'static Flag, single: &'static Flag) -> Result<Vec<Tag>, Error> {
    let wrong = |flag, reason| Error::Usage(session.grammar.wrong_value(flag, reason));
    let together = session
        .line
        .list(list)
        .iter()
        .map(|text| values::csv_tag(text).map_err(|reason| wrong(list, reason)));
    let one_by_one =
        session.line.values(single).map(|text| values::tag(text).map_err(|reason| wrong(single, reason)));
    let tags: Vec<Tag> = together.chain(one_by_one).collect::<Result<_, _>>()?;
    if tags.len() > MOST_TAGS {
        return Err(Error::TooManyTags(tags.len()));
    }
    let mut seen = BTreeSet::new();
    match tags.iter().find(|tag| !seen.insert(tag.key.as_str())) {
        Some(twice) => Err(Error::TagTwice(twice.key.clone())),
        None => Ok(tags),
    }
}
