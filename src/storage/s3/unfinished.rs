//! Multipart uploads that were begun and neither completed nor aborted. Their parts are stored and paid for, and in no
//! listing of objects.

use super::{Place, modified, protocol};
use crate::storage::{Key, PageToken, Prefix, Result, Unfinished, UnfinishedPage, UploadId};

/// One page of them, by ListMultipartUploads.
pub(super) async fn page(place: &Place, prefix: &Prefix, from: Option<&PageToken>) -> Result<UnfinishedPage> {
    let call = place.call("list unfinished uploads", None);
    let mut markers = from.into_iter().flat_map(|token| token.0.iter().cloned());
    let (key_marker, id_marker) = (markers.next(), markers.next());
    let answer = place
        .client()
        .await?
        .list_multipart_uploads()
        .bucket(&place.config.bucket)
        .prefix(format!("{}{prefix}", place.config.prefix))
        .set_key_marker(key_marker.clone())
        .set_upload_id_marker(id_marker.clone())
        .send()
        .await
        .map_err(|error| call.failed(error))?;
    place.saw_bucket();
    let mut page = UnfinishedPage::default();
    if answer.is_truncated() == Some(true) {
        let next = (answer.next_key_marker.clone(), answer.next_upload_id_marker.clone());
        if next.0.is_none() || next == (key_marker, id_marker) {
            return Err(protocol(call, "a page that is not the last one does not say where the next begins"));
        }
        page.next = Some(PageToken([next.0, next.1].into_iter().flatten().collect()));
    }
    for upload in answer.uploads() {
        // A service that ignores the prefix shows what is not ours.
        let own = upload.key().and_then(|name| name.strip_prefix(place.config.prefix.as_str()));
        let key = own.and_then(|name| Key::parse(name).ok()).filter(|key| key.below(prefix).is_some());
        let Some(key) = key else { continue };
        let (Some(id), Some(modified)) = (upload.upload_id(), modified(upload.initiated())) else {
            return Err(protocol(call, format!("the upload of `{key}` is listed without its id or time")));
        };
        page.objects.push(Unfinished { key, id: UploadId(id.to_owned()), modified });
    }
    Ok(page)
}
