//! Facts of PostgreSQL: names, positions, file formats and its SQL session.
