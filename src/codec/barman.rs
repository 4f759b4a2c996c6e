//! What barman-cloud compresses with: its methods, and the levels that `--compression-level` chooses for WAL.
//!
//! | method | levels | low | medium, the default | high | base backups |
//! |---|---|---|---|---|---|
//! | gzip | 1 to 9 | 1 | 6 | 9 | 9 |
//! | bzip2 | 1 to 9 | 1 | 5 | 9 | 9 |
//! | xz | 1 to 9 | 1 | 3 | 5 | |
//! | zstd | −22 to 22 | 1 | 4 | 9 | |
//! | lz4 | 0 to 16 | 0 | 6 | 10 | 0 |
//! | snappy | none | | | | |
//!
//! A number beyond the levels of the method stands for the nearest one. Without a method, and with snappy, any level
//! is accepted and says nothing.
//!
//! Source: barman 3.19.1 `compression.py`, `config.py` (`parse_compression_level`), `clients/cloud_compression.py`.

use std::num::NonZeroUsize;

use super::compression::{Bzip2Level, Compression, GzipLevel, Lz4Level, XzLevel, ZstdLevel};
use super::error::Error;
use super::method::Method;

/// A value of `--compression-level`, which means something else for each method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BarmanLevel {
    /// `low`
    Low,
    /// `medium`
    #[default]
    Medium,
    /// `high`
    High,
    /// A number as the method's library counts.
    Number(i64),
}

impl BarmanLevel {
    /// Understands the three words in any case and decimal numbers, of any size; an empty text is the default.
    ///
    /// # Errors
    /// [`Error::BarmanLevel`]
    pub fn parse(text: &str) -> Result<BarmanLevel, Error> {
        match text.to_ascii_lowercase().as_str() {
            "low" => Ok(BarmanLevel::Low),
            "medium" | "" => Ok(BarmanLevel::Medium),
            "high" => Ok(BarmanLevel::High),
            number => {
                let (sign, digits) = number.strip_prefix('-').map_or((1, number), |digits| (-1, digits));
                if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(Error::BarmanLevel(text.to_owned()));
                }
                Ok(BarmanLevel::Number(sign * digits.parse().unwrap_or(i64::MAX)))
            }
        }
    }

    fn number(self, low: i64, medium: i64, high: i64) -> i64 {
        match self {
            BarmanLevel::Low => low,
            BarmanLevel::Medium => medium,
            BarmanLevel::High => high,
            BarmanLevel::Number(number) => number,
        }
    }
}

impl Compression {
    /// How `barman-cloud-wal-archive` compresses with `method` at `level`; `threads` are for [`Compression::Bzip2`].
    ///
    /// # Errors
    /// [`Error::NotBarmans`]
    pub fn of_barman_wal(
        method: Method,
        level: BarmanLevel,
        threads: NonZeroUsize,
    ) -> Result<Compression, Error> {
        Ok(match method {
            Method::Gzip => Compression::Gzip(GzipLevel::nearest(level.number(1, 6, 9))),
            Method::Bzip2 => {
                Compression::Bzip2 { level: Bzip2Level::nearest(level.number(1, 5, 9)), threads }
            }
            Method::Xz => Compression::Xz(XzLevel::nearest(level.number(1, 3, 5))),
            Method::Zstd => Compression::Zstd(ZstdLevel::nearest(level.number(1, 4, 9))),
            Method::Lz4 => Compression::Lz4(Lz4Level::nearest(level.number(0, 6, 10))),
            Method::Snappy => Compression::Snappy,
            Method::None => Compression::None,
            Method::Lzma | Method::Brotli => return Err(Error::NotBarmans { method, content: "WAL" }),
        })
    }

    /// How `barman-cloud-backup` compresses with `method`; `threads` are for [`Compression::Bzip2`].
    ///
    /// # Errors
    /// [`Error::NotBarmans`]
    pub fn of_barman_backup(method: Method, threads: NonZeroUsize) -> Result<Compression, Error> {
        Ok(match method {
            Method::Gzip => Compression::Gzip(GzipLevel::HIGHEST),
            Method::Bzip2 => Compression::Bzip2 { level: Bzip2Level::HIGHEST, threads },
            Method::Lz4 => Compression::Lz4(Lz4Level::LOWEST),
            Method::Snappy => Compression::Snappy,
            Method::None => Compression::None,
            Method::Xz | Method::Zstd | Method::Lzma | Method::Brotli => {
                return Err(Error::NotBarmans { method, content: "base backups" });
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREADS: NonZeroUsize = NonZeroUsize::MIN;

    fn shown(method: Method, level: &str) -> String {
        let level = match BarmanLevel::parse(level) {
            Ok(level) => level,
            Err(error) => return error.to_string(),
        };
        match Compression::of_barman_wal(method, level, THREADS) {
            Ok(Compression::Gzip(level) | Compression::Bzip2 { level, .. } | Compression::Xz(level)) => {
                level.get().to_string()
            }
            Ok(Compression::Lz4(level)) => level.get().to_string(),
            Ok(Compression::Zstd(level)) => level.get().to_string(),
            Ok(other) => format!("{other:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn levels_of_wal() {
        let levels = ["low", "medium", "high", "", "5", "0", "-1", "99", "-99", "99999999999999999999"];
        for (method, expected) in [
            (Method::Gzip, ["1", "6", "9", "6", "5", "1", "1", "9", "1", "9"]),
            (Method::Bzip2, ["1", "5", "9", "5", "5", "1", "1", "9", "1", "9"]),
            (Method::Xz, ["1", "3", "5", "3", "5", "1", "1", "9", "1", "9"]),
            (Method::Zstd, ["1", "4", "9", "4", "5", "0", "-1", "22", "-22", "22"]),
            (Method::Lz4, ["0", "6", "10", "6", "5", "0", "0", "16", "0", "16"]),
            (Method::Snappy, ["Snappy"; 10]),
            (Method::None, ["None"; 10]),
            (Method::Brotli, ["barman-cloud does not compress WAL with brotli"; 10]),
        ] {
            assert_eq!(levels.map(|level| shown(method, level)), expected, "{method}");
        }
    }

    #[test]
    fn words_and_numbers() {
        assert_eq!(BarmanLevel::parse("HIGH").unwrap(), BarmanLevel::High);
        assert_eq!(BarmanLevel::parse("-99999999999999999999").unwrap(), BarmanLevel::Number(-i64::MAX));
        for text in ["best", "+5", "--5", "-", "5.0", " 5", "1_0"] {
            assert_eq!(
                BarmanLevel::parse(text).unwrap_err().to_string(),
                format!(
                    "invalid compression level '{text}', supported are: low, medium, high, and whole numbers"
                )
            );
        }
    }

    #[test]
    fn base_backups() {
        for (method, expected) in [
            (Method::Gzip, Ok(Compression::Gzip(GzipLevel::nearest(9)))),
            (Method::Bzip2, Ok(Compression::Bzip2 { level: Bzip2Level::nearest(9), threads: THREADS })),
            (Method::Lz4, Ok(Compression::Lz4(Lz4Level::LOWEST))),
            (Method::Snappy, Ok(Compression::Snappy)),
            (Method::None, Ok(Compression::None)),
            (Method::Zstd, Err("barman-cloud does not compress base backups with zstd".to_owned())),
            (Method::Xz, Err("barman-cloud does not compress base backups with xz".to_owned())),
        ] {
            let compression = Compression::of_barman_backup(method, THREADS).map_err(|e| e.to_string());
            assert_eq!(compression, expected);
        }
    }
}
