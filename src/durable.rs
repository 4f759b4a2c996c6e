//! Files and directories that survive a power cut.
