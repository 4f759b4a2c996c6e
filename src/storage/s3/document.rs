//! Documents that end too early: the SDK takes the beginning of a list for a list, of fewer objects or of none, and the
//! beginning of the answer to a batch delete for one without errors.

use aws_sdk_s3::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

/// Makes a document without its end an error.
#[derive(Debug)]
pub(super) struct Whole;

impl Intercept for Whole {
    fn name(&self) -> &'static str {
        "Whole"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response();
        match answer.body().bytes() {
            Some(body) if answer.status().is_success() && !is_whole(body) => {
                Err("the answer ends in the middle of a document".into())
            }
            // Other failures have been found, and have their own words.
            _ => Ok(()),
        }
    }
}

/// Whether an XML document ends with the end of its outermost element. One of no bytes is nobody's beginning.
fn is_whole(document: &[u8]) -> bool {
    let document = String::from_utf8_lossy(document);
    let mut rest = document.trim_start_matches('\u{feff}').trim();
    if rest.is_empty() {
        return true;
    }
    while let Some(declaration) = rest.strip_prefix("<?") {
        let Some((_, after)) = declaration.split_once("?>") else { return false };
        rest = after.trim_start();
    }
    let Some(element) = rest.strip_prefix('<') else { return false };
    let name = element.split(|c: char| c.is_whitespace() || c == '>' || c == '/').next().unwrap_or_default();
    let is_empty_element = element.ends_with("/>") && !element.contains('<');
    is_empty_element || element.ends_with(&format!("</{name}>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_makes_a_document_whole() {
        let whole = "\u{feff}<?xml version=\"1.0\"?>\n<L xmlns=\"u\"><K>a</K><K/></L>\n";
        for document in
            [whole, "", "<L/>", "<?xml version=\"1.0\"?><L xmlns=\"u\" />", "<L></L>", "<a:L></a:L>"]
        {
            assert!(is_whole(document.as_bytes()), "{document}");
        }
        let end = whole.trim_end().len();
        for cut in (5..end).filter(|cut| whole.is_char_boundary(*cut)) {
            assert!(!is_whole(&whole.as_bytes()[..cut]), "{}", &whole[..cut]);
        }
        assert!(!is_whole(b"<L><K/>") && !is_whole(b"words"));
    }
}
