//! Compression and encryption as plain blocking readers and writers.
