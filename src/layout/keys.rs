//! What the names of both layouts are made with.

use crate::codec::Method;
use crate::storage::{Key, Prefix};

/// A file name as it is stored with this compression.
pub(super) fn with_extension(name: &str, method: Method) -> String {
    match method.extension() {
        "" => name.to_owned(),
        extension => format!("{name}.{extension}"),
    }
}

/// A key that a layout made.
pub(super) fn key(text: String) -> Key {
    #[expect(
        clippy::expect_used,
        reason = "built from fixed folders and parsed names, none of which has a dot component"
    )]
    Key::parse(&text).expect("names of the layout are valid keys")
}

/// A folder that a layout made.
pub(super) fn prefix(text: &str) -> Prefix {
    #[expect(clippy::expect_used, reason = "built from fixed folders and parsed names")]
    Prefix::parse(text).expect("folders of the layout are valid prefixes")
}
