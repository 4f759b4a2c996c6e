//! Objects by key: S3, a directory, memory.
