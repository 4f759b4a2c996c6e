//! Listings: ListObjectsV2, or ListObjects where the service does not know the newer one.
//!
//! A service that does not know V2 may say so, or may take the request for V1: then its pages have no token, or the
//! token changes nothing. Each page's token carries the last entry as well, so that V1 can go on from there.
//!
//! V2 may give pages without entries before the last one, as where it passes over what was deleted; the token has to move then.

use std::sync::atomic::Ordering;

use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::types::{CommonPrefix, Object};

use super::answer::{Call, FOREIGN, bounded};
use super::document::Whole;
use super::{Place, etag, modified, protocol, status};
use crate::storage::{Depth, Error, Key, ListPage, ObjectMeta, PageToken, Prefix, Result};

/// Pages without entries that may follow each other. A service that looks through a million names with each has ended by then.
const EMPTY_PAGES: u32 = 1000;

/// One page, from the beginning or from a token.
pub(super) async fn page(
    place: &Place,
    prefix: &Prefix,
    depth: Depth,
    from: Option<&PageToken>,
) -> Result<ListPage> {
    let about = Key::parse(prefix.as_str().trim_end_matches('/')).ok();
    let request = Request {
        place,
        call: place.call("list", about.as_ref()),
        prefix: format!("{}{prefix}", place.config.prefix),
        delimiter: (depth == Depth::Children).then(|| "/".to_owned()),
    };
    let from = from.map(Position::of);
    if !place.list_v1.load(Ordering::Relaxed) {
        if let Some(answer) = request.v2(from.as_ref()).await? {
            return request.page(answer);
        }
        tracing::info!("{} does not know ListObjectsV2, using ListObjects", place.location);
        place.list_v1.store(true, Ordering::Relaxed);
    }
    let answer = request.v1(from.as_ref()).await?;
    request.page(answer)
}

/// Where a page begins.
struct Position {
    /// The last entry of the pages before: the marker of V1.
    after: String,
    /// The token of V2, and how many pages without entries came last.
    token: Option<(String, u32)>,
}

impl Position {
    fn of(token: &PageToken) -> Position {
        let mut texts = token.0.iter().cloned();
        let after = texts.next().unwrap_or_default();
        let empty = texts.next().and_then(|count| count.parse().ok()).unwrap_or_default();
        Position { after, token: texts.next().map(|token| (token, empty)) }
    }

    fn into_token(self) -> PageToken {
        let token = self.token.map(|(token, empty)| [empty.to_string(), token]);
        PageToken([self.after].into_iter().chain(token.into_iter().flatten()).collect())
    }

    /// The place behind a page of V2 that had no entries and named `token`. `None` where nothing moves.
    fn behind_empty(from: Option<&Position>, token: String) -> Option<Position> {
        let (before, empty) = match from.and_then(|from| from.token.as_ref()) {
            Some((before, empty)) => (Some(before), *empty),
            None => (None, 0),
        };
        let moves = before != Some(&token) && empty < EMPTY_PAGES;
        let after = from.map(|from| from.after.clone()).unwrap_or_default();
        moves.then(|| Position { after, token: Some((token, empty + 1)) })
    }
}

/// A page as the service gave it.
struct Answer {
    objects: Vec<Object>,
    prefixes: Vec<CommonPrefix>,
    next: Option<Position>,
}

impl Answer {
    /// The entries in the bucket's names.
    fn entries(&self) -> impl Iterator<Item = &str> {
        let objects = self.objects.iter().filter_map(Object::key);
        objects.chain(self.prefixes.iter().filter_map(CommonPrefix::prefix))
    }

    /// Whether every entry lies after the page before.
    fn follows(&self, from: Option<&Position>) -> bool {
        from.is_none_or(|from| self.entries().all(|entry| entry > from.after.as_str()))
    }

    fn last(&self) -> Option<String> {
        self.entries().max().map(str::to_owned)
    }
}

struct Request<'a> {
    place: &'a Place,
    call: Call<'a>,
    prefix: String,
    delimiter: Option<String>,
}

impl Request<'_> {
    /// `None` when the service turns out not to know this request.
    async fn v2(&self, from: Option<&Position>) -> Result<Option<Answer>> {
        let request = self
            .place
            .client()
            .await?
            .list_objects_v2()
            .bucket(&self.place.config.bucket)
            .prefix(&self.prefix)
            .set_delimiter(self.delimiter.clone())
            .set_continuation_token(from.and_then(|from| Some(from.token.as_ref()?.0.clone())));
        let answer = match request.customize().interceptor(Whole).send().await {
            Ok(answer) => answer,
            Err(error)
                if error.code() == Some("NotImplemented") || matches!(status(&error), Some(405 | 501)) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(self.call.failed(error)),
        };
        let more = answer.is_truncated() == Some(true);
        let token = answer.next_continuation_token.filter(|_| more);
        let mut answer = Answer {
            objects: answer.contents.unwrap_or_default(),
            prefixes: answer.common_prefixes.unwrap_or_default(),
            next: None,
        };
        if more && token.is_none() || !answer.follows(from) {
            return Ok(None);
        }
        if let Some(token) = token {
            let next = match answer.last() {
                Some(after) => Some(Position { after, token: Some((token, 0)) }),
                None => Position::behind_empty(from, token),
            };
            answer.next = Some(next.ok_or_else(|| self.does_not_move())?);
        }
        Ok(Some(answer))
    }

    async fn v1(&self, from: Option<&Position>) -> Result<Answer> {
        let request = self
            .place
            .client()
            .await?
            .list_objects()
            .bucket(&self.place.config.bucket)
            .prefix(&self.prefix)
            .set_delimiter(self.delimiter.clone())
            .set_marker(from.map(|from| from.after.clone()));
        let answer = request.customize().interceptor(Whole).send().await;
        let answer = answer.map_err(|error| self.call.failed(error))?;
        let more = answer.is_truncated() == Some(true);
        let mut answer = Answer {
            objects: answer.contents.unwrap_or_default(),
            prefixes: answer.common_prefixes.unwrap_or_default(),
            next: None,
        };
        if !answer.follows(from) {
            return Err(protocol(self.call, "the service ignores where the page should begin"));
        }
        if more {
            let after = answer.last().ok_or_else(|| self.does_not_move())?;
            answer.next = Some(Position { after, token: None });
        }
        Ok(answer)
    }

    /// That every entry is one of those that were asked for: to pass over the others would make an empty list of a wrong one.
    fn check_names(&self, answer: &Answer) -> Result<()> {
        let nameless = answer.objects.iter().any(|object| object.key().is_none())
            || answer.prefixes.iter().any(|prefix| prefix.prefix().is_none());
        let detail = match answer.entries().find(|name| !name.starts_with(&self.prefix)) {
            Some(name) => {
                format!("`{}` is listed, which does not begin with `{}`", bounded(name), self.prefix)
            }
            None if nameless => "an entry without a name is listed".to_owned(),
            None => return Ok(()),
        };
        Err(protocol(self.call, detail).with_hint(FOREIGN))
    }

    fn does_not_move(&self) -> Error {
        protocol(self.call, "a page without entries is not the last one, and the next would be the same")
    }

    /// The entries as keys of ours. Names that cannot be keys are not ours: markers of "directories", for example.
    fn page(&self, answer: Answer) -> Result<ListPage> {
        self.place.saw_bucket();
        self.check_names(&answer)?;
        let root = self.place.config.prefix.as_str();
        let own = |name: &'_ str| name.strip_prefix(root).map(str::to_owned);
        let mut page = ListPage { next: answer.next.map(Position::into_token), ..ListPage::default() };
        for object in answer.objects {
            let Some(key) = object.key().and_then(own).and_then(|name| Key::parse(&name).ok()) else {
                continue;
            };
            let size = object.size().and_then(|size| u64::try_from(size).ok());
            let (Some(size), Some(modified)) = (size, modified(object.last_modified())) else {
                return Err(protocol(self.call, format!("`{key}` is listed without its size or time")));
            };
            page.objects.push(ObjectMeta { key, size, modified, etag: etag(object.e_tag()) });
        }
        let prefixes = answer.prefixes.iter().filter_map(CommonPrefix::prefix).filter_map(own);
        page.prefixes.extend(prefixes.filter_map(|name| Prefix::parse(&name).ok()));
        Ok(page)
    }
}
