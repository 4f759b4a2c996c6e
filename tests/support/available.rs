//! What a test needs and may not find on this machine.

use std::io::Write;

/// Something a test needs that is not here.
#[derive(Debug)]
pub struct Missing {
    what: String,
    installable: bool,
}

impl Missing {
    /// Something `scripts/testbed/install` installs; its absence fails the test under `SEAWALL_TEST_REQUIRE=1`.
    pub fn installable(what: impl Into<String>) -> Self {
        Self { what: what.into(), installable: true }
    }

    /// Something no package registry has; its absence is always a skip.
    pub fn optional(what: impl Into<String>) -> Self {
        Self { what: what.into(), installable: false }
    }
}

/// Says that `test` does not run, or fails it where everything installable has to be there.
///
/// Written to stderr itself, since the test harness swallows what the print macros of a passing test say.
pub fn announce(test: &str, missing: &Missing) {
    let required = std::env::var("SEAWALL_TEST_REQUIRE").is_ok_and(|value| value == "1");
    assert!(!(required && missing.installable), "{} (SEAWALL_TEST_REQUIRE=1 allows no skip)", missing.what);
    let line = format!("SKIPPED {test}: {}\n", missing.what);
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// The value of a `Result<_, Missing>`, or the end of the test with a line that says what it lacked.
#[macro_export]
macro_rules! require {
    ($found:expr) => {
        match $found {
            Ok(found) => found,
            Err(missing) => {
                fn here() {}
                let test = std::any::type_name_of_val(&here).trim_end_matches("::here");
                $crate::support::announce(test, &missing);
                return;
            }
        }
    };
}
