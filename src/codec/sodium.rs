//! Encryption with libsodium's secretstream (XChaCha20-Poly1305), framed as wal-g frames it.
//!
//! | part | bytes | |
//! |---|---|---|
//! | header | 24 | random |
//! | chunk, repeated | 8209 | 8192 plain bytes, tag MESSAGE |
//! | last chunk | 17 to 8208 | the remaining 0 to 8191 plain bytes, tag FINAL |
//!
//! FINAL is never on a full chunk: a length that is a multiple of 8192 gets an empty last chunk, because wal-g's
//! reader takes a full chunk for a middle one. Unlike wal-g's, our reader demands FINAL, so a cut at a chunk's
//! boundary is found, and our writer writes a header for empty data too (wal-g leaves it out, and then cannot
//! read the object back).
//!
//! Source: wal-g `internal/crypto/libsodium`; libsodium's manual, chapter "Encrypted streams and file encryption".
//! This file is the only one that knows the crate behind it.

use std::io::{self, BufRead, Read, Write};
use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, PAD};
use secrecy::zeroize::Zeroizing;
use sodiumoxide::crypto::secretstream::{
    ABYTES, HEADERBYTES, Header, KEYBYTES, Key, Pull, Push, Stream, Tag,
};

use super::error::{Error, Format};

const PLAIN_CHUNK_BYTES: usize = 8192;
const SEALED_CHUNK_BYTES: usize = PLAIN_CHUNK_BYTES + ABYTES;

/// The keys of a repository: the first encrypts, every one of them is tried for decryption.
#[derive(Clone)]
pub struct KeyRing(Arc<Keys>);

struct Keys {
    first: Key,
    others: Vec<Key>,
}

/// Where the text of a key came from. It decides the trimming, and the setting that errors name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// The value of `WALG_LIBSODIUM_KEY`, taken as it is.
    Inline,
    /// The content of the file `WALG_LIBSODIUM_KEY_PATH`, without white space at both ends.
    File,
}

impl KeySource {
    fn setting(self) -> &'static str {
        match self {
            KeySource::Inline => "WALG_LIBSODIUM_KEY",
            KeySource::File => "WALG_LIBSODIUM_KEY_PATH",
        }
    }
}

/// How the text of a key spells its 32 bytes, `WALG_LIBSODIUM_KEY_TRANSFORM`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyTransform {
    /// The bytes of the text: at least 25, cut after 32, filled up with zero bytes.
    #[default]
    None,
    /// The standard alphabet with padding, exactly 32 bytes.
    Base64,
    /// Hexadecimal digits, exactly 32 bytes.
    Hex,
}

impl KeyTransform {
    /// Understands `none`, `base64` and `hex`.
    ///
    /// # Errors
    /// [`Error::KeyTransform`]
    pub fn parse(text: &str) -> Result<KeyTransform, Error> {
        match text {
            "none" => Ok(KeyTransform::None),
            "base64" => Ok(KeyTransform::Base64),
            "hex" => Ok(KeyTransform::Hex),
            _ => Err(Error::KeyTransform(text.to_owned())),
        }
    }
}

impl KeyRing {
    /// Understands the text of one key, exactly as wal-g does, or of several.
    ///
    /// Several keys are separated by commas or line breaks with the transforms `base64` and `hex`. With `none`, where
    /// a key may contain any byte, they are separated by line breaks and must have 32 bytes or more each; text
    /// that is not like this is one key. So wal-g, given the same text, always encrypts with our first key.
    ///
    /// # Errors
    /// [`Error::Key`] names the setting and the reason, never the key; [`Error::SodiumUnusable`].
    pub fn parse(text: &[u8], transform: KeyTransform, source: KeySource) -> Result<KeyRing, Error> {
        initialise()?;
        let text = match source {
            KeySource::Inline => text,
            KeySource::File => text.trim_ascii(),
        };
        let in_setting = |reason: String| Error::Key { setting: source.setting(), reason };
        let spelled = match transform {
            KeyTransform::None => raw_keys(text),
            KeyTransform::Base64 | KeyTransform::Hex => separated_keys(text),
        };
        let mut keys = spelled.into_iter().map(|spelled| parse_key(spelled, transform));
        let first = keys.next().unwrap_or_else(|| Err("it is empty".to_owned())).map_err(in_setting)?;
        let others = keys.collect::<Result<_, _>>().map_err(in_setting)?;
        Ok(KeyRing(Arc::new(Keys { first, others })))
    }

    fn all(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.0.first).chain(&self.0.others)
    }
}

/// Shows how many keys there are, and nothing of them.
impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRing").field("keys", &self.all().count()).finish()
    }
}

fn initialise() -> Result<(), Error> {
    static DONE: OnceLock<Result<(), ()>> = OnceLock::new();
    DONE.get_or_init(sodiumoxide::init).map_err(|()| Error::SodiumUnusable)
}

fn raw_keys(text: &[u8]) -> Vec<&[u8]> {
    let lines: Vec<_> = lines(text).collect();
    if lines.len() > 1 && lines.iter().all(|line| line.len() >= KEYBYTES) { lines } else { vec![text] }
}

fn separated_keys(text: &[u8]) -> Vec<&[u8]> {
    lines(text)
        .flat_map(|line| line.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|key| !key.is_empty())
        .collect()
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
        .filter(|line| !line.is_empty())
}

/// The fewest bytes wal-g takes for a key with the transform `none`.
const SHORTEST_RAW_KEY_BYTES: usize = 25;

/// Go's decoder, like this one, does not mind bits beyond the last byte.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, PAD.with_decode_allow_trailing_bits(true));

fn parse_key(spelled: &[u8], transform: KeyTransform) -> Result<Key, String> {
    let bytes = Zeroizing::new(match transform {
        KeyTransform::None if spelled.len() < SHORTEST_RAW_KEY_BYTES => {
            return Err(format!(
                "it has {} bytes, at least {SHORTEST_RAW_KEY_BYTES} are needed",
                spelled.len()
            ));
        }
        KeyTransform::None => {
            let mut padded = spelled.to_vec();
            padded.resize(KEYBYTES, 0);
            padded
        }
        KeyTransform::Base64 => BASE64.decode(spelled).map_err(|_| "it is not valid base64".to_owned())?,
        KeyTransform::Hex => hex::decode(spelled).map_err(|_| "it is not valid hexadecimal".to_owned())?,
    });
    Key::from_slice(&bytes).ok_or_else(|| format!("it spells {} bytes, {KEYBYTES} are needed", bytes.len()))
}

/// Encrypts what is written to it into `inner`.
pub(super) struct Sealer<W> {
    inner: W,
    stream: Stream<Push>,
    /// Plain bytes short of a full chunk.
    pending: Vec<u8>,
    sealed: Vec<u8>,
}

impl<W: Write> Sealer<W> {
    /// Writes the header to `inner`.
    pub fn new(mut inner: W, keys: &KeyRing) -> io::Result<Self> {
        let (stream, header) = Stream::init_push(&keys.0.first)
            .map_err(|()| io::Error::other("libsodium cannot start a stream"))?;
        inner.write_all(header.as_ref())?;
        Ok(Sealer {
            inner,
            stream,
            pending: Vec::with_capacity(PLAIN_CHUNK_BYTES),
            sealed: Vec::with_capacity(SEALED_CHUNK_BYTES),
        })
    }

    /// Writes the last chunk and returns the inner writer.
    pub fn finish(mut self) -> io::Result<W> {
        push(&mut self.stream, &self.pending, Tag::Final, &mut self.sealed)?;
        self.inner.write_all(&self.sealed)?;
        Ok(self.inner)
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, plain: &[u8]) -> io::Result<usize> {
        let mut rest = plain;
        if !self.pending.is_empty() {
            let (head, tail) = rest.split_at(rest.len().min(PLAIN_CHUNK_BYTES - self.pending.len()));
            self.pending.extend_from_slice(head);
            rest = tail;
            if self.pending.len() == PLAIN_CHUNK_BYTES {
                push(&mut self.stream, &self.pending, Tag::Message, &mut self.sealed)?;
                self.inner.write_all(&self.sealed)?;
                self.pending.clear();
            }
        }
        while let Some((chunk, tail)) = rest.split_at_checked(PLAIN_CHUNK_BYTES) {
            push(&mut self.stream, chunk, Tag::Message, &mut self.sealed)?;
            self.inner.write_all(&self.sealed)?;
            rest = tail;
        }
        self.pending.extend_from_slice(rest);
        Ok(plain.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn push(stream: &mut Stream<Push>, plain: &[u8], tag: Tag, sealed: &mut Vec<u8>) -> io::Result<()> {
    stream.push_to_vec(plain, None, tag, sealed).map_err(|()| io::Error::other("libsodium cannot encrypt"))
}

/// Decrypts `source`.
pub(super) struct Opener<R> {
    source: R,
    keys: KeyRing,
    state: State,
    /// Encrypted bytes, of which those from `opened` to `filled` are not decrypted yet.
    sealed: Box<[u8]>,
    opened: usize,
    filled: usize,
    /// The plain bytes of a chunk, of which those from `taken` on are not handed out yet.
    plain: Vec<u8>,
    taken: usize,
}

enum State {
    Header,
    /// The header was read, but no chunk has shown yet which key is right.
    FirstChunk(Header),
    Chunks(Box<Stream<Pull>>),
    Final,
}

const SEALED_BUFFER_BYTES: usize = 8 * SEALED_CHUNK_BYTES;

impl<R: Read> Opener<R> {
    pub fn new(source: R, keys: KeyRing) -> Self {
        Opener {
            source,
            keys,
            state: State::Header,
            sealed: vec![0; SEALED_BUFFER_BYTES].into_boxed_slice(),
            opened: 0,
            filled: 0,
            plain: Vec::with_capacity(PLAIN_CHUNK_BYTES),
            taken: 0,
        }
    }

    /// Decrypts the next chunk into `plain`.
    fn open_chunk(&mut self) -> io::Result<()> {
        if matches!(self.state, State::Header) {
            self.fill(HEADERBYTES)?;
            let header = self.unopened(HEADERBYTES);
            let header = Header::from_slice(header).ok_or(Error::Truncated(Format::Sodium))?;
            self.state = State::FirstChunk(header);
            self.opened += HEADERBYTES;
        }
        self.fill(SEALED_CHUNK_BYTES)?;
        let chunk = self.sealed.get(self.opened..self.filled).unwrap_or_default();
        let chunk = chunk.get(..SEALED_CHUNK_BYTES).unwrap_or(chunk);
        if chunk.len() < ABYTES {
            return Err(Error::Truncated(Format::Sodium).into());
        }
        let tag = match &mut self.state {
            State::FirstChunk(header) => {
                let (stream, tag) = open_first(&self.keys, header, chunk, &mut self.plain)?;
                self.state = State::Chunks(Box::new(stream));
                tag
            }
            State::Chunks(stream) => stream
                .pull_to_vec(chunk, None, &mut self.plain)
                .map_err(|()| damaged("a chunk is altered or cut short"))?,
            State::Header | State::Final => return Ok(()),
        };
        match (tag, chunk.len() == SEALED_CHUNK_BYTES) {
            (Tag::Message, true) => {}
            (Tag::Final, false) => self.state = State::Final,
            (_, true) => return Err(damaged("a full chunk is marked as the last one").into()),
            (_, false) => return Err(damaged("a short chunk is not marked as the last one").into()),
        }
        self.opened += chunk.len();
        self.taken = 0;
        Ok(())
    }

    /// Reads until `wanted` encrypted bytes wait, or the source has ended.
    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        if self.filled - self.opened >= wanted {
            return Ok(());
        }
        self.sealed.copy_within(self.opened..self.filled, 0);
        self.filled -= self.opened;
        self.opened = 0;
        while self.filled < wanted {
            match self.source.read(self.sealed.get_mut(self.filled..).unwrap_or_default()) {
                Ok(0) => break,
                Ok(count) => self.filled += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn unopened(&self, count: usize) -> &[u8] {
        self.sealed.get(self.opened..self.filled).and_then(|waiting| waiting.get(..count)).unwrap_or_default()
    }
}

/// Finds the key that opens the first chunk.
fn open_first(
    keys: &KeyRing,
    header: &Header,
    chunk: &[u8],
    plain: &mut Vec<u8>,
) -> Result<(Stream<Pull>, Tag), Error> {
    keys.all()
        .find_map(|key| {
            let mut stream = Stream::init_pull(header, key).ok()?;
            let tag = stream.pull_to_vec(chunk, None, plain).ok()?;
            Some((stream, tag))
        })
        .ok_or_else(|| Error::NoKeyFits(keys.all().count()))
}

fn damaged(reason: &str) -> Error {
    Error::Damaged { format: Format::Sodium, reason: reason.to_owned() }
}

impl<R: Read> BufRead for Opener<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.taken == self.plain.len() && !matches!(self.state, State::Final) {
            self.open_chunk()?;
        }
        Ok(self.plain.get(self.taken..).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.taken = self.plain.len().min(self.taken + count);
    }
}

impl<R: Read> Read for Opener<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(out)?;
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: &[u8] = b"0123456789abcdef0123456789abcdef";
    const OTHER: &[u8] = b"fedcba9876543210fedcba9876543210";

    fn ring(text: &[u8], transform: KeyTransform, source: KeySource) -> Result<Vec<Vec<u8>>, String> {
        let ring = KeyRing::parse(text, transform, source).map_err(|e| e.to_string())?;
        Ok(ring.all().map(|key| key.as_ref().to_vec()).collect())
    }

    fn inline(text: &[u8]) -> KeyRing {
        KeyRing::parse(text, KeyTransform::None, KeySource::Inline).unwrap()
    }

    fn sealed(plain: &[u8], keys: &KeyRing) -> Vec<u8> {
        let mut sealer = Sealer::new(Vec::new(), keys).unwrap();
        sealer.write_all(plain).unwrap();
        sealer.finish().unwrap()
    }

    fn opened(sealed: &[u8], keys: &KeyRing) -> Result<Vec<u8>, String> {
        let mut plain = Vec::new();
        match Opener::new(sealed, keys.clone()).read_to_end(&mut plain) {
            Ok(_) => Ok(plain),
            Err(e) => Err(e.to_string()),
        }
    }

    #[test]
    fn raw_keys_are_cut_and_filled_up_as_walg_does() {
        let none = |text: &[u8], source| ring(text, KeyTransform::None, source);
        let filled = [b"0123456789abcdef012345678".to_vec(), vec![0; 7]].concat();
        for (text, source) in [
            (&b"0123456789abcdef012345678"[..], KeySource::Inline),
            (b" 0123456789abcdef012345678\n", KeySource::File),
        ] {
            assert_eq!(none(text, source).unwrap()[0], filled);
        }
        assert_eq!(none(&[RAW, b"more"].concat(), KeySource::Inline).unwrap(), [RAW]);
        // Not trimmed inline: the line break is a byte of the key.
        let with_break = [b"0123456789abcdef012345678\n".to_vec(), vec![0; 6]].concat();
        assert_eq!(none(b"0123456789abcdef012345678\n", KeySource::Inline).unwrap(), [with_break]);
        // A comma, and a line break before 32 bytes, are bytes of one key.
        let binary = b"0123,56789abcdef\n123456789abcdef,0123456789abcdef0123456789abcdef";
        assert_eq!(none(binary, KeySource::Inline).unwrap(), [&binary[..32]]);
        assert_eq!(
            none(b"0123456789abcdef01234567", KeySource::Inline).unwrap_err(),
            "WALG_LIBSODIUM_KEY holds no usable libsodium key: it has 24 bytes, at least 25 are needed"
        );
        assert_eq!(
            none(b"\n", KeySource::File).unwrap_err(),
            "WALG_LIBSODIUM_KEY_PATH holds no usable libsodium key: it has 0 bytes, at least 25 are needed"
        );
    }

    #[test]
    fn several_keys() {
        let lines = [RAW, b"\r\n", OTHER, b"\n"].concat();
        for source in [KeySource::Inline, KeySource::File] {
            assert_eq!(ring(&lines, KeyTransform::None, source).unwrap(), [RAW, OTHER]);
        }
        let spelled = format!("{}, {}\n{}", hex::encode(RAW), hex::encode(OTHER), hex::encode(RAW));
        assert_eq!(
            ring(spelled.as_bytes(), KeyTransform::Hex, KeySource::Inline).unwrap(),
            [RAW, OTHER, RAW]
        );
        let spelled = format!("{},{}", BASE64.encode(RAW), BASE64.encode(OTHER));
        assert_eq!(ring(spelled.as_bytes(), KeyTransform::Base64, KeySource::File).unwrap(), [RAW, OTHER]);
    }

    #[test]
    fn errors_do_not_show_the_key() {
        let cases: [(&[u8], KeyTransform, &str); 5] = [
            (b"SECRETZZ", KeyTransform::Hex, "it is not valid hexadecimal"),
            (b"5ec4e7", KeyTransform::Hex, "it spells 3 bytes, 32 are needed"),
            (b"SECRET*", KeyTransform::Base64, "it is not valid base64"),
            (b"U0VDUkVU", KeyTransform::Base64, "it spells 6 bytes, 32 are needed"),
            (b" ,\n", KeyTransform::Base64, "it is empty"),
        ];
        for (text, transform, reason) in cases {
            let expected = format!("WALG_LIBSODIUM_KEY holds no usable libsodium key: {reason}");
            assert_eq!(ring(text, transform, KeySource::Inline).unwrap_err(), expected);
        }
        assert_eq!(format!("{:?}", inline(RAW)), "KeyRing { keys: 1 }");
    }

    #[test]
    fn the_last_chunk_is_never_full() {
        let keys = inline(RAW);
        let sizes =
            [(0, 24 + 17), (1, 24 + 18), (8191, 24 + 8208), (8192, 24 + 8209 + 17), (8193, 24 + 8209 + 18)];
        for (plain, stored) in sizes {
            let object = sealed(&vec![7; plain], &keys);
            assert_eq!(object.len(), stored);
            assert_eq!(opened(&object, &keys).unwrap(), vec![7; plain]);
        }
    }

    #[test]
    fn a_cut_between_chunks_is_found() {
        let keys = inline(RAW);
        let object = sealed(&[7; 3 * 8192], &keys);
        for chunks in 0..=3 {
            let cut = &object[..24 + chunks * 8209];
            assert_eq!(opened(cut, &keys).unwrap_err(), "libsodium data ends too early", "{chunks} chunks");
        }
        assert_eq!(opened(&[], &keys).unwrap_err(), "libsodium data ends too early");
    }

    #[test]
    fn a_final_mark_belongs_on_a_short_chunk_and_only_there() {
        let keys = inline(RAW);
        for (tag, size, expected) in [
            (Tag::Final, 8192, "libsodium data is damaged: a full chunk is marked as the last one"),
            (Tag::Message, 100, "libsodium data is damaged: a short chunk is not marked as the last one"),
        ] {
            let (mut stream, header) = Stream::init_push(&keys.0.first).unwrap();
            let chunk = stream.push(&vec![7; size], None, tag).unwrap();
            let object = [header.as_ref(), &chunk].concat();
            assert_eq!(opened(&object, &keys).unwrap_err(), expected);
        }
    }

    #[test]
    fn every_key_of_the_ring_opens() {
        let old = sealed(b"old", &inline(RAW));
        let new = sealed(b"new", &inline(OTHER));
        let both = inline(&[OTHER, b"\n", RAW].concat());
        assert_eq!(opened(&old, &both).unwrap(), b"old");
        assert_eq!(opened(&new, &both).unwrap(), b"new");
        assert_eq!(opened(&sealed(b"x", &both), &inline(OTHER)).unwrap(), b"x");
        let expected = "cannot decrypt with the configured libsodium key (1 tried)";
        assert_eq!(opened(&old, &inline(OTHER)).unwrap_err(), expected);
        let plain_object = b"an object that was never encrypted, long enough to have a header and a chunk";
        assert_eq!(opened(plain_object, &inline(OTHER)).unwrap_err(), expected);
    }
}
