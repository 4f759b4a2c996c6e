//! Blocking codec threads on one side, asynchronous objects on the other.
