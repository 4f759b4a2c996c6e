//! One call of EC2: its name and its parameters. Source: the API reference of Amazon EC2, version 2016-11-15, and "Making
//! requests to the Amazon EC2 API": lists count from 1, `Filter.1.Value.2`.

use crate::storage::s3::form;

/// The version of the API.
const VERSION: &str = "2016-11-15";

/// A call.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub action: &'static str,
    parameters: Vec<(String, String)>,
    filters: usize,
}

impl Request {
    /// A call without parameters.
    pub fn new(action: &'static str) -> Request {
        let request = Request { action, parameters: Vec::new(), filters: 0 };
        request.with("Action", action).with("Version", VERSION)
    }

    /// The same call with a parameter.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Request {
        self.parameters.push((name.into(), value.into()));
        self
    }

    /// The same call about what has one of these values there.
    #[must_use]
    pub fn filtered<'a>(mut self, name: &str, values: impl IntoIterator<Item = &'a str>) -> Request {
        self.filters += 1;
        let filter = format!("Filter.{}", self.filters);
        let request = self.with(format!("{filter}.Name"), name);
        (1..)
            .zip(values)
            .fold(request, |request, (number, value)| request.with(format!("{filter}.Value.{number}"), value))
    }

    /// The same call for the page after an earlier one.
    #[must_use]
    pub fn page(self, token: Option<&str>) -> Request {
        match token {
            Some(token) => self.with("NextToken", token),
            None => self,
        }
    }

    /// As it is sent.
    pub fn form(&self) -> String {
        form(self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_count_from_one() {
        let request = Request::new("DescribeInstances")
            .filtered("tag:Name", ["db 1&2"])
            .filtered("instance-state-name", ["pending", "running"])
            .page(Some("t="));
        assert_eq!(
            request.form(),
            "Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=tag%3AName&Filter.1.Value.1=db+1%262&\
             Filter.2.Name=instance-state-name&Filter.2.Value.1=pending&Filter.2.Value.2=running&NextToken=t%3D"
        );
    }
}
