//! How objects are compressed and encrypted, as the settings say.

use secrecy::ExposeSecret;

use crate::codec::{Cipher, Compression, KeyRing, KeySource, KeyTransform};

use super::keys::{self, Section};
use super::{Error, Settings};

impl Settings {
    /// How new objects are compressed.
    pub fn compression(&self) -> Result<Compression, Error> {
        let method = self.choice(&keys::COMPRESSION_METHOD)?.unwrap_or("lz4");
        let level = self.text(&keys::ZSTD_LEVEL).map(|level| level.value);
        Ok(Compression::parse(method, level)?)
    }

    /// How objects are encrypted. Encryption that we do not have is an error, never left out.
    pub fn cipher(&self) -> Result<Cipher, Error> {
        self.refuse_not_yet(Section::Encryption)?;
        let transform = KeyTransform::parse(self.choice(&keys::LIBSODIUM_KEY_TRANSFORM)?.unwrap_or("none"))?;
        if let Some(keys) = self.secret(&keys::LIBSODIUM_KEY) {
            let text = keys.expose_secret().as_bytes();
            return Ok(Cipher::Sodium(KeyRing::parse(text, transform, KeySource::Inline)?));
        }
        let Some(path) = self.path(&keys::LIBSODIUM_KEY_PATH) else { return Ok(Cipher::None) };
        let text = std::fs::read(&path).map_err(|source| Error::ReadKeyFile { path, source })?;
        Ok(Cipher::Sodium(KeyRing::parse(&text, transform, KeySource::File)?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Environment, Sources};
    use super::*;
    use crate::codec::Method;

    fn settings<const N: usize>(pairs: [(&str, &str); N]) -> Settings {
        let environment = Environment::from(pairs).with("HOME", "/nonexistent");
        Settings::load(Sources { environment, ..Sources::default() }).unwrap()
    }

    #[test]
    fn compression() {
        assert_eq!(settings([]).compression().unwrap().method(), Method::Lz4);
        let zstd = [("WALG_COMPRESSION_METHOD", "ZSTD"), ("WALG_ZSTD_LEVEL", "best")];
        assert_eq!(settings(zstd).compression().unwrap().method(), Method::Zstd);
        let unused = settings([("WALG_ZSTD_LEVEL", "best")]).compression().unwrap_err();
        assert!(unused.hint().unwrap().contains("WALG_ZSTD_LEVEL"));
        settings([("WALG_COMPRESSION_METHOD", "rar")]).compression().unwrap_err();
    }

    #[test]
    fn keys_come_from_the_setting_or_its_file() {
        let hex = "ab".repeat(32);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        std::fs::write(&path, format!("{hex}\n")).unwrap();
        let transform = ("WALG_LIBSODIUM_KEY_TRANSFORM", "hex");
        let inline = settings([("WALG_LIBSODIUM_KEY", &hex), transform]);
        let file = settings([("WALG_LIBSODIUM_KEY_PATH", path.to_str().unwrap()), transform]);
        for settings in [inline, file] {
            assert!(matches!(settings.cipher().unwrap(), Cipher::Sodium(_)));
        }
        assert!(matches!(settings([]).cipher().unwrap(), Cipher::None));
    }

    #[test]
    fn a_configured_cipher_is_never_left_out() {
        for pairs in [
            [("WALG_LIBSODIUM_KEY_PATH", "/nonexistent/key"), ("WALG_LIBSODIUM_KEY_TRANSFORM", "none")],
            [("WALG_LIBSODIUM_KEY", "short"), ("WALG_LIBSODIUM_KEY_TRANSFORM", "none")],
            [("WALG_LIBSODIUM_KEY", "short"), ("WALG_LIBSODIUM_KEY_TRANSFORM", "hex")],
            [("WALG_LIBSODIUM_KEY", "short"), ("WALG_LIBSODIUM_KEY_TRANSFORM", "rot13")],
            [("WALG_LIBSODIUM_KEY", "a key of the right length, 32 b."), ("WALG_PGP_KEY", "x")],
            [("WALE_GPG_KEY_ID", "x"), ("WALG_CSE_KMS_ID", "y")],
        ] {
            let error = settings(pairs).cipher().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("short"), "{error:?}");
        }
    }
}
