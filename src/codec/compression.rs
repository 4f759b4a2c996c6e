//! How new objects are compressed: what `WALG_COMPRESSION_METHOD` and `WALG_ZSTD_LEVEL` say.
//!
//! Source: wal-g `internal/compression/compression.go`, `internal/config/config.go`.

use super::error::Error;
use super::method::Method;

/// A method that can be written, with its level where that can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// LZ4 at its fastest level, wal-g's default method.
    Lz4,
    /// Zstandard.
    Zstd(ZstdLevel),
    /// Brotli.
    Brotli,
    /// The legacy `.lzma` format.
    Lzma,
    /// Uncompressed.
    None,
}

impl Compression {
    /// Understands `WALG_COMPRESSION_METHOD` and, if it is set, `WALG_ZSTD_LEVEL`.
    ///
    /// # Errors
    /// [`Error::UnknownMethod`], [`Error::ZstdLevel`], and [`Error::ZstdLevelUnused`] for a level with another method.
    pub fn parse(method: &str, zstd_level: Option<&str>) -> Result<Compression, Error> {
        let compression = match method {
            "lz4" => Compression::Lz4,
            "zstd" => Compression::Zstd(zstd_level.map_or(Ok(ZstdLevel::default()), ZstdLevel::parse)?),
            "brotli" => Compression::Brotli,
            "lzma" => Compression::Lzma,
            "none" => Compression::None,
            _ => return Err(Error::UnknownMethod(method.to_owned())),
        };
        match (compression, zstd_level) {
            (Compression::Zstd(_), _) | (_, None) => Ok(compression),
            (_, Some(_)) => Err(Error::ZstdLevelUnused(compression.method())),
        }
    }

    /// The method that reads what this writes.
    #[must_use]
    pub fn method(self) -> Method {
        match self {
            Compression::Lz4 => Method::Lz4,
            Compression::Zstd(_) => Method::Zstd,
            Compression::Brotli => Method::Brotli,
            Compression::Lzma => Method::Lzma,
            Compression::None => Method::None,
        }
    }
}

/// wal-g's default is lz4.
impl Default for Compression {
    fn default() -> Self {
        Compression::Lz4
    }
}

/// A level of the zstd library, 1 to 19.
///
/// The library's levels 20 to 22 are left out: their windows of up to 128 MiB cost as much memory in every reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZstdLevel(u8);

impl ZstdLevel {
    // Chosen by what wal-g stores at its level of that name, see `docs/benchmarks/codecs.md`.
    const FASTEST: ZstdLevel = ZstdLevel(1);
    pub(super) const DEFAULT: ZstdLevel = ZstdLevel(3);
    const BETTER: ZstdLevel = ZstdLevel(6);
    const BEST: ZstdLevel = ZstdLevel(16);
    const HIGHEST: u8 = 19;

    /// Understands wal-g's four names in any case, and a number as the library's own level.
    ///
    /// # Errors
    /// [`Error::ZstdLevel`]
    pub fn parse(text: &str) -> Result<ZstdLevel, Error> {
        match text.to_ascii_lowercase().as_str() {
            "fastest" => Ok(ZstdLevel::FASTEST),
            "default" => Ok(ZstdLevel::DEFAULT),
            "better" => Ok(ZstdLevel::BETTER),
            "best" => Ok(ZstdLevel::BEST),
            number => match number.parse() {
                Ok(level @ 1..=ZstdLevel::HIGHEST) => Ok(ZstdLevel(level)),
                _ => Err(Error::ZstdLevel(text.to_owned())),
            },
        }
    }

    /// The level as the zstd library counts.
    #[must_use]
    pub fn get(self) -> i32 {
        i32::from(self.0)
    }
}

impl Default for ZstdLevel {
    fn default() -> Self {
        ZstdLevel::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compression_settings() {
        let cases = [
            ("lz4", None, Ok(Compression::Lz4)),
            ("zstd", None, Ok(Compression::Zstd(ZstdLevel(3)))),
            ("zstd", Some("Fastest"), Ok(Compression::Zstd(ZstdLevel(1)))),
            ("zstd", Some("BETTER"), Ok(Compression::Zstd(ZstdLevel(6)))),
            ("zstd", Some("best"), Ok(Compression::Zstd(ZstdLevel(16)))),
            ("zstd", Some("19"), Ok(Compression::Zstd(ZstdLevel(19)))),
            (
                "zstd",
                Some("20"),
                Err("invalid zstd level '20', supported are: fastest, default, better, best, and 1 to 19"),
            ),
            (
                "zstd",
                Some(""),
                Err("invalid zstd level '', supported are: fastest, default, better, best, and 1 to 19"),
            ),
            ("lz4", Some("best"), Err("a zstd level is set, but the compression method is lz4")),
            (
                "gzip",
                None,
                Err(
                    "unknown compression method 'gzip', supported methods are: lz4, zstd, brotli, lzma, none",
                ),
            ),
        ];
        for (method, level, expected) in cases {
            let parsed = Compression::parse(method, level).map_err(|e| e.to_string());
            assert_eq!(parsed, expected.map_err(str::to_owned), "{method} {level:?}");
        }
    }
}
