//! How much of a delta backup is proved: the share of files whose pages are all read, to see that the map of changed
//! blocks misses none.

use std::str::FromStr;

/// The share of files to prove, chosen anew for each backup (`SEAWALL_VERIFY_DELTA`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VerifyDelta {
    /// 0 is none, 1 all.
    share: f64,
}

impl VerifyDelta {
    /// No file.
    pub const OFF: VerifyDelta = VerifyDelta { share: 0.0 };
    /// Every file.
    pub const ON: VerifyDelta = VerifyDelta { share: 1.0 };

    /// Whether the next file is to be proved. A system without random numbers has every file proved.
    pub fn draw(self) -> bool {
        self != VerifyDelta::OFF && self.is_within(getrandom::u32().unwrap_or(0))
    }

    fn is_within(self, draw: u32) -> bool {
        f64::from(draw) < self.share * (f64::from(u32::MAX) + 1.0)
    }
}

impl FromStr for VerifyDelta {
    type Err = &'static str;

    /// Reads `off`, `on` or a percentage.
    fn from_str(text: &str) -> Result<VerifyDelta, &'static str> {
        match text {
            "off" => return Ok(VerifyDelta::OFF),
            "on" => return Ok(VerifyDelta::ON),
            _ => {}
        }
        let percent = text.strip_suffix('%').and_then(|number| number.trim_end().parse::<f64>().ok());
        percent
            .filter(|percent| (0.0..=100.0).contains(percent))
            .map(|percent| VerifyDelta { share: percent / 100.0 })
            .ok_or("expected off, on, or a share of the files such as 5%")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares() {
        for (text, share) in
            [("off", 0.0), ("on", 1.0), ("5%", 0.05), ("0.5 %", 0.005), ("0%", 0.0), ("100%", 1.0)]
        {
            assert_eq!(text.parse(), Ok(VerifyDelta { share }), "{text}");
        }
        for text in ["", "5", "%", "-1%", "101%", "NaN%", "true", "x%"] {
            assert!(text.parse::<VerifyDelta>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_share_of_all_draws() {
        let quarter: VerifyDelta = "25%".parse().unwrap();
        assert!(quarter.is_within(0) && quarter.is_within((1 << 30) - 1));
        assert!(!quarter.is_within(1 << 30) && !quarter.is_within(u32::MAX));
        assert!(VerifyDelta::ON.is_within(u32::MAX) && VerifyDelta::ON.draw());
        assert!(!VerifyDelta::OFF.draw());
    }
}
