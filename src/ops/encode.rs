//! Compressing and encrypting into an object.

use std::io::{self, Write};

use crate::codec::{self, Cipher, Compression};
use crate::pipeline::ObjectWriter;

use super::Error;

/// Compresses and encrypts what `write` writes into `writer`, which is returned unfinished: there is no object yet. An
/// error of `write` itself becomes what `failed` makes of it; nothing is stored then.
pub(super) fn encode(
    mut writer: ObjectWriter,
    compression: Compression,
    cipher: &Cipher,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    failed: impl FnOnce(io::Error) -> Error,
) -> Result<ObjectWriter, Error> {
    let encoded = codec::encode(&mut writer, compression, cipher).and_then(|mut encoder| {
        write(&mut encoder)?;
        encoder.finish()
    });
    match encoded {
        Ok(_) => Ok(writer),
        // What became of the object says more than that it could not be written to.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(writer.failure().into()),
        Err(error) => {
            writer.abandon();
            Err(failed(error))
        }
    }
}
