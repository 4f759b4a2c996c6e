//! The backups of a repository: list, describe, commit, mark, remove.
