//! The compression formats, and the extensions of object names that tell them.
//!
//! wal-g and barman-cloud share the extensions, but not the methods: each layout has its own list of those it reads.
//!
//! Source: wal-g `internal/compression/compression.go` and its per-method packages; barman 3.19.1 `compression.py`.

/// A compression format we can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// LZ4 frames.
    Lz4,
    /// The legacy `.lzma` format.
    Lzma,
    /// Zstandard frames.
    Zstd,
    /// Brotli.
    Brotli,
    /// Gzip, which wal-g reads and no longer writes.
    Gzip,
    /// Bzip2.
    Bzip2,
    /// The `.xz` format.
    Xz,
    /// Snappy's framing format.
    Snappy,
    /// Uncompressed.
    None,
}

impl Method {
    /// Every method.
    pub const ALL: [Method; 9] = [
        Method::Lz4,
        Method::Lzma,
        Method::Zstd,
        Method::Brotli,
        Method::Gzip,
        Method::Bzip2,
        Method::Xz,
        Method::Snappy,
        Method::None,
    ];

    /// The extension of object names, without a dot; empty for [`Method::None`].
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Method::Lz4 => "lz4",
            Method::Lzma => "lzma",
            Method::Zstd => "zst",
            Method::Brotli => "br",
            Method::Gzip => "gz",
            Method::Bzip2 => "bz2",
            Method::Xz => "xz",
            Method::Snappy => "snappy",
            Method::None => "",
        }
    }

    /// Whether the format has an end, so that the decoder finds out what was cut.
    #[must_use]
    pub fn has_end(self) -> bool {
        !matches!(self, Method::Snappy | Method::None)
    }

    /// Returns the method of an extension (without its dot); the empty one means uncompressed.
    #[must_use]
    pub fn from_extension(extension: &str) -> Option<Method> {
        Method::ALL.into_iter().find(|method| method.extension() == extension)
    }
}

/// The method's name, spelled as in `WALG_COMPRESSION_METHOD` and barman-cloud's options.
impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Method::Lz4 => "lz4",
            Method::Lzma => "lzma",
            Method::Zstd => "zstd",
            Method::Brotli => "brotli",
            Method::Gzip => "gzip",
            Method::Bzip2 => "bzip2",
            Method::Xz => "xz",
            Method::Snappy => "snappy",
            Method::None => "none",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_extensions_are_inverse() {
        for method in Method::ALL {
            assert_eq!(Method::from_extension(method.extension()), Some(method));
        }
        assert_eq!(Method::from_extension("tar"), None);
    }
}
