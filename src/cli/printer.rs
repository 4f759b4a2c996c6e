//! Standard output: data, and nothing else, is written here and nowhere else.

use std::io::{self, Write};

use super::Error;

/// Writes text to standard output, at once. A reader that went away is not a failure.
pub fn print(text: &str) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::Output(error)),
        _ => Ok(()),
    }
}

/// Lines with columns padded by spaces to the widest cell and one more; the last column is not padded.
///
/// This is how wal-g's lists look (Go's tabwriter), and what Spilo's scripts split at.
pub fn columns<R: AsRef<[String]>>(rows: &[R]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows.iter().map(AsRef::as_ref) {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows.iter().map(AsRef::as_ref) {
        for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
            text.push_str(cell);
            if at + 1 < row.len() {
                text.extend(std::iter::repeat_n(' ', width + 1 - cell.chars().count()));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_spaces() {
        let rows = [["name", "time", "x"], ["a", "2026-11-21", ""], ["größer", "-", "long"]];
        let rows = rows.map(|row| row.map(str::to_owned));
        assert_eq!(columns(&rows), "name   time       x\na      2026-11-21 \ngrößer -          long\n");
    }
}
