//! The operations, each a story read from top to bottom.
