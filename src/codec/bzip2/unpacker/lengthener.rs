//! Shortened runs become as long as they were, which [`shortener`](super::super::packer::shortener) describes.

use super::super::packer::shortener::MOST_PLAIN_BYTES;
use super::super::runs::{LONG, WINDOW, Window};

/// The plain bytes; `None` if they are many, or if the number behind a long run is missing.
pub(super) fn lengthen(shortened: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(2 * shortened.len());
    let mut rest = shortened;
    while let Some(end) = first_long_run(rest) {
        let (run, after) = rest.split_at_checked(end)?;
        plain.extend_from_slice(run);
        let (others, after) = after.split_first()?;
        plain.resize(plain.len() + usize::from(*others), *run.last()?);
        if plain.len() > MOST_PLAIN_BYTES {
            return None;
        }
        rest = after;
    }
    plain.extend_from_slice(rest);
    Some(plain)
}

/// Behind the first equal bytes that are so many that a number follows.
fn first_long_run(bytes: &[u8]) -> Option<usize> {
    let mut begin = 0;
    let mut rest = bytes;
    while let Some(window) = Window::of(rest) {
        if let Some(run) = window.long_run() {
            return Some(begin + run + LONG);
        }
        // The first byte whose run may go beyond the window.
        begin += WINDOW + 1 - (LONG - 1);
        rest = bytes.get(begin..)?;
    }
    let is_run = |bytes: &[u8; LONG]| *bytes == [bytes[0]; LONG];
    rest.array_windows().position(is_run).map(|run| begin + run + LONG)
}
