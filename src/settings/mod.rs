//! The table of settings, their sources and their typed values.
