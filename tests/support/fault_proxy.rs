//! A proxy before an S3 service that puts faults into what passes: each is one that a network, a proxy on the way or a
//! service that is overloaded, half dead or another make has been seen to make.
//!
//! A request passes with its own Host header, which is signed. Its answer is read whole before any of it is passed on.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::gate::RequestHead;
use super::r2::R2;

/// What goes wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The answer comes later.
    Latency(Duration),
    /// The connection breaks before the request reaches the service.
    Closed,
    /// The service does what was asked, and the connection ends in place of the answer.
    Lost,
    /// The request does not reach the service, and nothing is answered.
    Silence,
    /// Half of the answer, and then nothing.
    Stall,
    /// Half of the answer, and then the end of the connection.
    Cut,
    /// This status and this code of S3 in place of what was asked.
    Error(u16, &'static str),
    /// The same with `Retry-After: 1`.
    Later(u16, &'static str),
    /// Status 200, and in the body the error InternalError.
    ErrorInSuccess,
    /// The answer names another ETag.
    WrongTag,
    /// Half of the body, with a length that says it is all.
    Half,
    /// One bit in the middle of the body is another.
    Flip,
    /// A page of a list ends after so many entries, says that there are more, and not where they begin.
    NoToken(usize),
}

/// Requests to which a fault happens.
struct Rule {
    chosen: Box<dyn Fn(&RequestHead) -> bool + Send>,
    /// How many of those have the fault.
    times: usize,
    fault: Fault,
}

#[derive(Default)]
struct Plan {
    rules: Vec<Rule>,
    seen: Vec<RequestHead>,
    /// The limits of R2 apply.
    r2: Option<R2>,
}

impl Plan {
    fn fault_for(&mut self, request: &RequestHead) -> Option<Fault> {
        self.seen.push(request.clone());
        let rule = self.rules.iter_mut().find(|rule| rule.times > 0 && (rule.chosen)(request))?;
        rule.times -= 1;
        Some(rule.fault)
    }
}

/// It ends with the process.
pub struct FaultProxy {
    port: u16,
    plan: Arc<Mutex<Plan>>,
}

impl FaultProxy {
    /// Passes everything on to the service at `endpoint`, as `http://127.0.0.1:7070`.
    pub fn to(endpoint: &str) -> Self {
        Self::with(endpoint, Plan::default())
    }

    /// The same, with the limits of Cloudflare R2.
    pub fn as_r2(endpoint: &str) -> Self {
        Self::with(endpoint, Plan { r2: Some(R2::default()), ..Plan::default() })
    }

    /// A service that has this fault and nothing else.
    pub fn only(fault: Fault) -> Self {
        let proxy = Self::to("http://127.0.0.1:1");
        proxy.fail(usize::MAX, |_| true, fault);
        proxy
    }

    fn with(endpoint: &str, plan: Plan) -> Self {
        let service = endpoint.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let plan = Arc::new(Mutex::new(plan));
        let shared = Arc::clone(&plan);
        thread::spawn(move || {
            for client in listener.incoming() {
                let connection = Connection {
                    client: BufReader::new(client.unwrap()),
                    service: service.clone(),
                    plan: Arc::clone(&shared),
                };
                // A connection that breaks is what this is for.
                thread::spawn(move || drop(connection.serve()));
            }
        });
        Self { port, plan }
    }

    /// What to use in place of the service's own address.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The next `times` requests that are `chosen` have the fault.
    pub fn fail(&self, times: usize, chosen: impl Fn(&RequestHead) -> bool + Send + 'static, fault: Fault) {
        let rule = Rule { chosen: Box::new(chosen), times, fault };
        self.plan.lock().unwrap().rules.push(rule);
    }

    /// From here on everything passes.
    pub fn forget_faults(&self) {
        self.plan.lock().unwrap().rules.clear();
    }

    /// The requests since the last call, in the order in which they came.
    pub fn take_seen(&self) -> Vec<RequestHead> {
        std::mem::take(&mut self.plan.lock().unwrap().seen)
    }
}

struct Connection {
    client: BufReader<TcpStream>,
    service: String,
    plan: Arc<Mutex<Plan>>,
}

impl Connection {
    fn serve(mut self) -> std::io::Result<()> {
        let mut service = None;
        while let Some(request) = read_head(&mut self.client)? {
            let request = RequestHead::parse(&request);
            let fault = self.plan.lock().unwrap().fault_for(&request);
            if fault == Some(Fault::Closed) {
                return Ok(()); // what was sent and not read makes it a reset
            }
            let mut body = vec![0; request.length()];
            self.client.read_exact(&mut body)?;
            let refused = self.plan.lock().unwrap().r2.as_mut().and_then(|r2| r2.refuses(&request, &body));
            let ours = match fault {
                Some(Fault::Silence) => return self.wait_for_its_end(),
                Some(Fault::Error(status, code)) => Some(Answer::error(status, code)),
                Some(Fault::Later(status, code)) => {
                    let mut answer = Answer::error(status, code);
                    answer.headers.push(("Retry-After".to_owned(), "1".to_owned()));
                    Some(answer)
                }
                Some(Fault::ErrorInSuccess) => Some(Answer::error(200, "InternalError")),
                _ => refused.map(|(status, code)| Answer::error(status, code)),
            };
            let mut answer = match ours {
                Some(answer) => answer,
                None => {
                    let mut there = match service.take() {
                        Some(there) => there,
                        None => BufReader::new(TcpStream::connect(&self.service)?),
                    };
                    there.get_mut().write_all(&serialized(&request, &body))?;
                    let answer = Answer::read(&mut there, &request)?;
                    if answer.header("connection") != Some("close") {
                        service = Some(there);
                    }
                    answer
                }
            };
            if let Some(Fault::Latency(wait)) = fault {
                thread::sleep(wait);
            }
            answer.spoil(fault);
            let (head, body) = answer.bytes(&request);
            let bytes = [head.as_bytes(), body].concat();
            let half = if body.is_empty() { head.len() / 2 } else { head.len() + body.len() / 2 };
            let client = self.client.get_mut();
            match fault {
                Some(Fault::Lost) => return Ok(()),
                Some(Fault::Stall) => {
                    client.write_all(&bytes[..half])?;
                    return self.wait_for_its_end();
                }
                Some(Fault::Cut) => {
                    client.write_all(&bytes[..half])?;
                    return client.shutdown(Shutdown::Write);
                }
                _ => client.write_all(&bytes)?,
            }
        }
        Ok(())
    }

    /// Keeps the connection until the client has enough of it.
    fn wait_for_its_end(mut self) -> std::io::Result<()> {
        std::io::copy(&mut self.client, &mut std::io::sink()).map(drop)
    }
}

/// The head of a request or an answer; none when the connection has ended.
fn read_head(from: &mut impl BufRead) -> std::io::Result<Option<String>> {
    let mut head = String::new();
    loop {
        let before = head.len();
        from.read_line(&mut head)?;
        match head[before..].trim_end() {
            "" if head.len() == before => return Ok(None),
            "" => break,
            _ => {}
        }
    }
    Ok(Some(head.trim_end().to_owned()))
}

/// A request for the service. It is sent whole, so nobody has to be asked whether to go on.
fn serialized(request: &RequestHead, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
    for (name, value) in request.headers.iter().filter(|(name, _)| *name != "expect") {
        bytes.push_str(&format!("{name}: {value}\r\n"));
    }
    bytes.push_str("\r\n");
    [bytes.as_bytes(), body].concat()
}

struct Answer {
    status: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn error(status: u16, code: &str) -> Self {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>by the test</Message></Error>"
        );
        Self { status: format!("{status} X"), headers: Vec::new(), body: body.into_bytes() }
    }

    fn read(service: &mut BufReader<TcpStream>, request: &RequestHead) -> std::io::Result<Self> {
        let ended = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let head = read_head(service)?.ok_or_else(ended)?;
        let mut lines = head.lines();
        let status = lines.next().unwrap().split_once(' ').unwrap().1.to_owned();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_owned(), value.trim().to_owned())
        });
        let mut answer = Self { status, headers: headers.collect(), body: Vec::new() };
        assert!(answer.header("transfer-encoding").is_none(), "a length is expected: {head}");
        if request.method != "HEAD" {
            let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
            answer.body.resize(length, 0);
            service.read_exact(&mut answer.body)?;
        }
        Ok(answer)
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter().filter(|(header, _)| header.eq_ignore_ascii_case(name));
        headers.next().map(|(_, value)| value.as_str())
    }

    fn spoil(&mut self, fault: Option<Fault>) {
        match fault {
            Some(Fault::Half) => self.body.truncate(self.body.len() / 2),
            Some(Fault::Flip) => {
                let middle = self.body.len() / 2;
                if let Some(byte) = self.body.get_mut(middle) {
                    *byte ^= 1;
                }
            }
            Some(Fault::WrongTag) => {
                for (name, value) in &mut self.headers {
                    if name.eq_ignore_ascii_case("etag") {
                        "\"00000000000000000000000000000000\"".clone_into(value);
                    }
                }
            }
            Some(Fault::NoToken(entries)) => self.end_page_after(entries),
            _ => {}
        }
    }

    /// Cuts a page of a list, which names objects and prefixes in one order.
    fn end_page_after(&mut self, entries: usize) {
        let page = String::from_utf8(std::mem::take(&mut self.body)).unwrap();
        let mut found: Vec<&str> =
            ["Contents", "CommonPrefixes"].iter().flat_map(|element| elements(&page, element)).collect();
        let name = |entry: &str| {
            let names = ["Key", "Prefix"].iter().flat_map(|element| elements(entry, element));
            names.map(str::to_owned).next().unwrap().replace("Prefix>", "Key>")
        };
        found.sort_by_key(|entry| name(entry));
        let mut kept = page.clone();
        for entry in found.iter().skip(entries) {
            kept = kept.replacen(entry, "", 1);
        }
        if found.len() > entries {
            for token in
                ["NextContinuationToken", "NextMarker"].iter().flat_map(|token| elements(&page, token))
            {
                kept = kept.replacen(token, "", 1);
            }
            kept = kept.replace("<IsTruncated>false<", "<IsTruncated>true<");
        }
        self.body = kept.into_bytes();
    }

    /// The head, with the right length, and what follows it.
    fn bytes(&self, request: &RequestHead) -> (String, &[u8]) {
        let bodiless = request.method == "HEAD" || self.status.starts_with("204");
        let mut head = format!("HTTP/1.1 {}\r\n", self.status);
        for (name, value) in &self.headers {
            let dropped = match name.to_ascii_lowercase().as_str() {
                "connection" | "keep-alive" => true,
                "content-length" => !bodiless,
                _ => false,
            };
            if !dropped {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        if !bodiless {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        (head, if bodiless { &[] } else { &self.body })
    }
}

/// The elements of this name in a document, with their tags.
fn elements<'a>(document: &'a str, name: &str) -> Vec<&'a str> {
    let (begin, end) = (format!("<{name}>"), format!("</{name}>"));
    let mut found = Vec::new();
    let mut rest = document;
    while let Some(from) = rest.find(&begin) {
        let to = from + rest[from..].find(&end).unwrap() + end.len();
        found.push(&rest[from..to]);
        rest = &rest[to..];
    }
    found
}
