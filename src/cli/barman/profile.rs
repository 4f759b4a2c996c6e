//! What counts of a profile besides its keys: that it exists, where the service is, and the region.
//!
//! `~/.aws/config` has a section for each profile, `[default]` or `[profile NAME]`, and `[services NAME]` for those that
//! profiles refer to. `~/.aws/credentials` has a section `[NAME]` for each. A line is `name = value`; indented ones belong to the name above them. Source: botocore
//! `configloader.py`, `configprovider.py`, and `get_scoped_config` of `session.py`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::cli;
use crate::settings::Environment;

use super::Error;

/// A profile, as far as it says something.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Profile {
    /// `endpoint_url` of S3, else of all services.
    pub endpoint: Option<String>,
    /// The same of EC2.
    pub ec2_endpoint: Option<String>,
    /// `region`
    pub region: Option<String>,
}

/// The profile without which none is named.
const DEFAULT: &str = "default";

impl Profile {
    /// The profile of this name, or the default one, from the files that the environment names. A file that cannot be read
    /// counts for nothing, as in boto. A profile that is named has to be in one of them, whatever else has keys:
    /// [`Error::NoProfile`].
    pub fn of(name: Option<&str>, environment: &Environment) -> Result<Profile, cli::Error> {
        let config = file(environment, "AWS_CONFIG_FILE", ".aws/config")?;
        if let Some(name) = name {
            let credentials = file(environment, "AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials")?;
            let in_config = sections(&config).any(|header| section_name(header) == format!("profile {name}"));
            if !in_config && !sections(&credentials).any(|header| header.trim() == name) {
                return Err(Error::NoProfile(name.to_owned()).into());
            }
        }
        Ok(Profile::parse(&config, name.unwrap_or(DEFAULT)))
    }

    fn parse(text: &str, name: &str) -> Profile {
        let values = values(text);
        let value = |section: &str, name: &str, nested: &str| {
            let place = (section.to_owned(), name.to_owned(), nested.to_owned());
            values.get(&place).filter(|value| !value.is_empty()).cloned()
        };
        let profile = format!("profile {name}");
        let own = |name| value(&profile, name, "");
        let services = own("services").map(|name| format!("services {name}"));
        let ignored = own("ignore_configured_endpoint_urls");
        let ignored = ignored.is_some_and(|ignored| ignored.eq_ignore_ascii_case("true"));
        let endpoint = |service| {
            let of_service = services.as_ref().and_then(|services| value(services, service, "endpoint_url"));
            of_service.or_else(|| own("endpoint_url")).filter(|_| !ignored)
        };
        Profile { endpoint: endpoint("s3"), ec2_endpoint: endpoint("ec2"), region: own("region") }
    }
}

/// What is in a file that a variable names, or in that one below the home directory.
fn file(environment: &Environment, variable: &'static str, at_home: &str) -> Result<String, cli::Error> {
    let path = match environment.text(variable)? {
        Some(path) => Some(PathBuf::from(path)),
        None => environment.text("HOME")?.map(|home| PathBuf::from(home).join(at_home)),
    };
    Ok(path.and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default())
}

/// What stands between the brackets of a section's first line.
fn header(line: &str) -> Option<&str> {
    line.trim().strip_prefix('[')?.strip_suffix(']')
}

fn sections(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(header)
}

/// All values by section, name, and the name of an indented line below it. What is none of these is passed over.
fn values(text: &str) -> BTreeMap<(String, String, String), String> {
    let mut values = BTreeMap::new();
    let (mut section, mut above) = (String::new(), String::new());
    for line in text.lines().filter(|line| !line.trim_start().starts_with(['#', ';'])) {
        let content = line.trim();
        if let Some(header) = header(line) {
            section = section_name(header);
            above.clear();
        } else if let Some((name, value)) = content.split_once(['=', ':']) {
            let (name, value) = (name.trim().to_owned(), value.trim().to_owned());
            let place = match line.starts_with(char::is_whitespace) && !above.is_empty() {
                true => (section.clone(), above.clone(), name),
                false => {
                    above.clone_from(&name);
                    (section.clone(), name, String::new())
                }
            };
            values.insert(place, value);
        }
    }
    values
}

/// `profile NAME` or `services NAME`; a name with blanks stands in quotes.
fn section_name(header: &str) -> String {
    match header.trim().split_once(char::is_whitespace) {
        Some((kind, name)) => format!("{kind} {}", name.trim().trim_matches(['"', '\''])),
        None if header.trim() == DEFAULT => format!("profile {DEFAULT}"),
        None => header.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
[default]
region = eu-west-1
endpoint_url = http://default:1

[profile work]
endpoint_url: http://work:2
services = mine
# region = nowhere
[services mine]
s3 =
  endpoint_url = http://s3:3
  other = x
ec2 =
  endpoint_url = http://ec2:8
dynamodb =
  endpoint_url = http://dynamo:4

[profile "two words"]
endpoint_url = http://two:5

[profile ignoring]
endpoint_url = http://ignored:6
ignore_configured_endpoint_urls = true
[plain]
endpoint_url = http://plain:7
"#;

    /// As boto3 1.44 reads the same file.
    #[test]
    fn endpoint_and_region_of_a_profile() {
        for (name, endpoint, ec2, region) in [
            ("default", Some("http://default:1"), Some("http://default:1"), Some("eu-west-1")),
            ("work", Some("http://s3:3"), Some("http://ec2:8"), None),
            ("two words", Some("http://two:5"), Some("http://two:5"), None),
            ("ignoring", None, None, None),
            ("plain", None, None, None),
            ("absent", None, None, None),
        ] {
            let profile = Profile::parse(FILE, name);
            assert_eq!(
                (profile.endpoint.as_deref(), profile.ec2_endpoint.as_deref(), profile.region.as_deref()),
                (endpoint, ec2, region),
                "{name}"
            );
        }
    }

    /// As boto3 1.44 finds them.
    #[test]
    fn a_profile_that_is_named_has_to_be_there() {
        let home = tempfile::tempdir().unwrap();
        let aws = home.path().join(".aws");
        fs::create_dir(&aws).unwrap();
        fs::write(aws.join("config"), FILE).unwrap();
        fs::write(aws.join("credentials"), "[keys]\naws_access_key_id = k\n[profile odd]\n").unwrap();
        let elsewhere = aws.join("elsewhere");
        fs::write(&elsewhere, "[here]\n").unwrap();
        let home = ("HOME", home.path().to_str().unwrap());
        let keys = ("AWS_SHARED_CREDENTIALS_FILE", elsewhere.to_str().unwrap());
        for (name, at_home, in_files) in [
            ("default", true, true),
            ("work", true, true),
            ("two words", true, true),
            ("keys", true, false),
            ("profile odd", true, false),
            ("here", false, true),
            ("odd", false, false),
            ("plain", false, false),
            ("services mine", false, false),
            ("absent", false, false),
        ] {
            let found = |environment: Environment| Profile::of(Some(name), &environment).is_ok();
            assert_eq!(found(Environment::from([home])), at_home, "{name}");
            assert_eq!(found(Environment::from([home, keys])), in_files, "{name}");
            assert!(!found(Environment::from([])), "{name}");
        }
        assert!(Profile::of(None, &Environment::from([])).is_ok());
    }

    #[test]
    fn nothing_in_a_file_is_an_error() {
        for text in ["", "x", "=", "[", "[]", "  a = b", "[profile]\nregion=x", "\u{0}\n[default]\n = \n:"] {
            assert_eq!(Profile::parse(text, DEFAULT), Profile::default(), "{text:?}");
        }
    }
}
