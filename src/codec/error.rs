//! What can be wrong with a codec's settings or with the bytes of an object.

use std::io;

use super::method::Method;

/// A fault of the compression and encryption settings, or of the content of an object.
///
/// Faults of the content travel inside an [`io::Error`]; [`Error::of`] finds them there again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The compression method is none of those that can be written.
    #[error("unknown compression method '{0}', supported methods are: lz4, zstd, brotli, lzma, none")]
    UnknownMethod(String),
    /// No compression format of the layout has this file extension.
    #[error("unknown compression extension '{extension}', known are: {}", extensions(known))]
    UnknownExtension {
        /// The extension, without its dot.
        extension: String,
        /// The methods of the layout.
        known: &'static [Method],
    },
    /// The object was written with lzo, by WAL-E.
    #[error("lzo compression is not supported")]
    Lzo,
    /// `WALG_ZSTD_LEVEL` cannot be understood.
    #[error("invalid zstd level '{0}', supported are: fastest, default, better, best, and 1 to 19")]
    ZstdLevel(String),
    /// `WALG_ZSTD_LEVEL` is set although another method writes, which wal-g refuses as well.
    #[error("a zstd level is set, but the compression method is {0}")]
    ZstdLevelUnused(Method),
    /// `--compression-level` of barman-cloud cannot be understood.
    #[error("invalid compression level '{0}', supported are: low, medium, high, and whole numbers")]
    BarmanLevel(String),
    /// barman-cloud has no such compression.
    #[error("barman-cloud does not compress {content} with {method}")]
    NotBarmans {
        /// The method asked for.
        method: Method,
        /// What was to be compressed.
        content: &'static str,
    },
    /// The key transform is none of wal-g's.
    #[error("unknown libsodium key transform '{0}', supported are: none, base64, hex")]
    KeyTransform(String),
    /// A key setting does not hold a key.
    #[error("{setting} holds no usable libsodium key: {reason}")]
    Key {
        /// The name of the setting the key came from.
        setting: &'static str,
        /// What is wrong with it, without any of its text.
        reason: String,
    },
    /// libsodium could not be initialised: no source of randomness.
    #[error("cannot initialise libsodium")]
    SodiumUnusable,
    /// The object ends before its format does.
    #[error("{0} data ends too early")]
    Truncated(Format),
    /// The object goes on after its format has ended.
    #[error("{0} data is followed by other bytes")]
    TrailingBytes(Format),
    /// The bytes are not what the format says they must be.
    #[error("{format} data is damaged: {reason}")]
    Damaged {
        /// The format that was being read.
        format: Format,
        /// What the codec found.
        reason: String,
    },
    /// The first chunk fits none of the keys.
    #[error("cannot decrypt with the configured libsodium key ({0} tried)")]
    NoKeyFits(usize),
    /// An object cannot be finished, because writing a part of it failed before.
    #[error("cannot finish an object after a failed write")]
    WriteFailedBefore,
}

impl Error {
    /// The fault of an object whose extension is none of its layout's methods'.
    #[must_use]
    pub fn unknown_extension(extension: &str, known: &'static [Method]) -> Error {
        match extension {
            "lzo" => Error::Lzo,
            other => Error::UnknownExtension { extension: other.to_owned(), known },
        }
    }

    /// Returns the codec fault inside an error of a decoder; `None` when the error came from its source.
    #[must_use]
    pub fn of(error: &io::Error) -> Option<&Error> {
        error.get_ref()?.downcast_ref()
    }

    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::UnknownMethod(_) => Some("set WALG_COMPRESSION_METHOD to one of the supported methods"),
            Error::ZstdLevel(_) => Some("set WALG_ZSTD_LEVEL to one of the supported levels, or unset it"),
            Error::ZstdLevelUnused(_) => Some("unset WALG_ZSTD_LEVEL, or set WALG_COMPRESSION_METHOD=zstd"),
            Error::Lzo => Some("recompress the object with lzop and another tool, or fetch it with wal-g"),
            Error::KeyTransform(_) => Some("set WALG_LIBSODIUM_KEY_TRANSFORM to none, base64 or hex"),
            Error::Key { .. } => {
                Some("the key has 32 bytes; WALG_LIBSODIUM_KEY_TRANSFORM says how its text spells them")
            }
            Error::NoKeyFits(_) => Some(
                "check WALG_LIBSODIUM_KEY, WALG_LIBSODIUM_KEY_PATH and WALG_LIBSODIUM_KEY_TRANSFORM; \
                 the object may also be unencrypted or damaged",
            ),
            Error::Truncated(Format::Sodium) => Some(
                "the object is cut short, or is not encrypted although a libsodium key is configured \
                 (WALG_LIBSODIUM_KEY, WALG_LIBSODIUM_KEY_PATH)",
            ),
            // A cipher would have found the damage first: none is configured.
            Error::Truncated(Format::Compressed(_))
            | Error::Damaged { format: Format::Compressed(_), .. } => Some(
                "the object is damaged, or it is encrypted and no key is configured (WALG_LIBSODIUM_KEY, \
                 WALG_LIBSODIUM_KEY_PATH)",
            ),
            _ => None,
        }
    }
}

fn extensions(methods: &[Method]) -> String {
    let extensions = methods.iter().map(|method| method.extension());
    extensions.filter(|extension| !extension.is_empty()).collect::<Vec<_>>().join(", ")
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::Truncated(_) => io::ErrorKind::UnexpectedEof,
            Error::WriteFailedBefore => io::ErrorKind::Other,
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}

/// A format that can be found damaged: a compression, or the cipher around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A compression format.
    Compressed(Method),
    /// libsodium's secretstream.
    Sodium,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Format::Compressed(method) => method.fmt(f),
            Format::Sodium => f.write_str("libsodium"),
        }
    }
}
