//! The annotation that keeps a backup from retention: the object `base/<id>/annotations/keep`.

use std::fmt;

/// For what a backup is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Recovery to every point after it: all WAL from its start on stays.
    Full,
    /// The state of the backup itself: only the WAL that was written while it was taken has to stay.
    Standalone,
}

impl Keep {
    /// Reads an annotation, of which only the first line counts. Whatever is not `standalone` keeps all WAL, as in
    /// barman.
    pub fn parse(content: &[u8]) -> Keep {
        match content.split(|&byte| byte == b'\n').next().map(<[u8]>::trim_ascii) {
            Some(b"standalone") => Keep::Standalone,
            _ => Keep::Full,
        }
    }

    /// The word that stands in the annotation and in options.
    pub fn word(self) -> &'static str {
        match self {
            Keep::Full => "full",
            Keep::Standalone => "standalone",
        }
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_counts() {
        for (content, keep) in [
            ("full", Keep::Full),
            ("standalone", Keep::Standalone),
            ("standalone\nfull\n", Keep::Standalone),
            ("standalone\r\n", Keep::Standalone),
            ("", Keep::Full),
            ("\nstandalone", Keep::Full),
            ("Standalone", Keep::Full),
            ("forever", Keep::Full),
        ] {
            assert_eq!(Keep::parse(content.as_bytes()), keep, "{content:?}");
        }
        for keep in [Keep::Full, Keep::Standalone] {
            assert_eq!(Keep::parse(keep.to_string().as_bytes()), keep);
        }
        assert_eq!(Keep::parse(b"\xFF"), Keep::Full);
    }
}
