//! How new objects are compressed, and what `WALG_COMPRESSION_METHOD` and `WALG_ZSTD_LEVEL` say about it. What
//! barman-cloud's options say is in `barman`.
//!
//! Source: wal-g `internal/compression/compression.go`, `internal/config/config.go`.

use std::num::NonZeroUsize;

use super::error::Error;
use super::method::Method;

/// A method that can be written, with its level where that can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// LZ4 frames.
    Lz4(Lz4Level),
    /// Zstandard.
    Zstd(ZstdLevel),
    /// Brotli.
    Brotli,
    /// The legacy `.lzma` format.
    Lzma,
    /// Gzip, one member.
    Gzip(GzipLevel),
    /// Bzip2, one stream.
    Bzip2 {
        /// How large the blocks are, in 100,000 bytes.
        level: Bzip2Level,
        /// How many blocks are compressed at the same time. The stored bytes do not depend on it.
        threads: NonZeroUsize,
    },
    /// The `.xz` format.
    Xz(XzLevel),
    /// Snappy's framing format, which has no levels.
    Snappy,
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
            "lz4" => Compression::Lz4(LZ4_OF_WALG),
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
            Compression::Lz4(_) => Method::Lz4,
            Compression::Zstd(_) => Method::Zstd,
            Compression::Brotli => Method::Brotli,
            Compression::Lzma => Method::Lzma,
            Compression::Gzip(_) => Method::Gzip,
            Compression::Bzip2 { .. } => Method::Bzip2,
            Compression::Xz(_) => Method::Xz,
            Compression::Snappy => Method::Snappy,
            Compression::None => Method::None,
        }
    }
}

/// wal-g's default is lz4.
impl Default for Compression {
    fn default() -> Self {
        Compression::Lz4(LZ4_OF_WALG)
    }
}

/// The fastest that stores no more than wal-g's lz4, see `docs/benchmarks/codecs.md`.
pub(super) const LZ4_OF_WALG: Lz4Level = Level(2);

/// A level of a compression library, as that library counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level<const LOWEST: u8, const HIGHEST: u8>(u8);

/// A level as zlib counts.
pub type GzipLevel = Level<1, 9>;
/// A level of bzip2.
pub type Bzip2Level = Level<1, 9>;
/// A preset of liblzma; it has a 0 too, which barman-cloud does not offer.
pub type XzLevel = Level<1, 9>;
/// A level of lz4: 0 and 1 are the fast compressor, 2 one between, from 3 on the slow one, which has no more than 12 of
/// its own.
pub type Lz4Level = Level<0, 16>;

impl<const LOWEST: u8, const HIGHEST: u8> Level<LOWEST, HIGHEST> {
    /// The fastest.
    pub const LOWEST: Self = Level(LOWEST);
    /// The one that stores the least.
    pub const HIGHEST: Self = Level(HIGHEST);

    /// This level, or the nearest that there is.
    #[must_use]
    pub fn nearest(level: i64) -> Self {
        Level(u8::try_from(level.max(0)).unwrap_or(u8::MAX).clamp(LOWEST, HIGHEST))
    }

    /// The level as the library counts.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }
}

/// A level of the zstd library, −22 to 22; below zero it is faster than at 1 and stores more, 0 is the default.
///
/// From 20 to 22 windows of up to 128 MiB cost as much memory in every reader. wal-g's settings leave these out, see
/// [`ZstdLevel::parse`]; barman-cloud's have them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZstdLevel {
    number: i8,
    search: ZstdSearch,
}

/// How the zstd library looks for matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ZstdSearch {
    /// As the level says.
    OfLevel,
    /// By the strategy of the levels 18 and 19 (`btultra`), matches of 3 bytes too, with smaller tables: 10 MiB in place of
    /// 32 for the whole encoder at level 16.
    Thorough,
}

impl ZstdLevel {
    // Chosen by what wal-g stores at its level of that name, see `docs/benchmarks/codecs.md`.
    const FASTEST: ZstdLevel = ZstdLevel::of(1);
    pub(super) const DEFAULT: ZstdLevel = ZstdLevel::of(3);
    const BETTER: ZstdLevel = ZstdLevel::of(6);
    pub(super) const BEST: ZstdLevel = ZstdLevel { number: 16, search: ZstdSearch::Thorough };
    const HIGHEST_OF_WALG: i8 = 19;
    const FURTHEST: i8 = 22;

    const fn of(number: i8) -> ZstdLevel {
        ZstdLevel { number, search: ZstdSearch::OfLevel }
    }

    /// Understands wal-g's four names in any case, and a number from 1 to 19 as the library's own level.
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
                Ok(level @ 1..=ZstdLevel::HIGHEST_OF_WALG) => Ok(ZstdLevel::of(level)),
                _ => Err(Error::ZstdLevel(text.to_owned())),
            },
        }
    }

    /// This level, or the nearest that there is.
    #[must_use]
    pub fn nearest(level: i64) -> ZstdLevel {
        let furthest = i64::from(ZstdLevel::FURTHEST);
        ZstdLevel::of(i8::try_from(level.clamp(-furthest, furthest)).unwrap_or_default())
    }

    /// The level as the zstd library counts.
    #[must_use]
    pub fn get(self) -> i32 {
        i32::from(self.number)
    }

    pub(super) fn search(self) -> ZstdSearch {
        self.search
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
            ("lz4", None, Ok(Compression::Lz4(Level(2)))),
            ("zstd", None, Ok(Compression::Zstd(ZstdLevel::of(3)))),
            ("zstd", Some("Fastest"), Ok(Compression::Zstd(ZstdLevel::of(1)))),
            ("zstd", Some("BETTER"), Ok(Compression::Zstd(ZstdLevel::of(6)))),
            ("zstd", Some("best"), Ok(Compression::Zstd(ZstdLevel::BEST))),
            ("zstd", Some("16"), Ok(Compression::Zstd(ZstdLevel::of(16)))),
            ("zstd", Some("19"), Ok(Compression::Zstd(ZstdLevel::of(19)))),
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
