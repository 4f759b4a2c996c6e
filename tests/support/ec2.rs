//! EC2 for tests: moto's server, which keeps instances, volumes and snapshots and does to them what is asked; and one that
//! answers what a test says and writes down what it was asked.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::available::Missing;

/// How long moto may take to start.
const LIMIT: Duration = Duration::from_secs(180);

/// Where everything is.
pub const REGION: &str = "eu-west-1";

/// moto's server, which forgets everything when it ends.
pub struct Moto {
    server: Child,
    address: String,
}

impl Moto {
    pub fn start() -> Result<Self, Missing> {
        let directory = std::env::var("SEAWALL_TEST_MOTO").map_err(|_| {
            Missing::installable("no moto, SEAWALL_TEST_MOTO is not set (scripts/test sets it)")
        })?;
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(Path::new(&directory).join("moto_server"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut moto = Self { server: command.spawn().unwrap(), address: format!("127.0.0.1:{port}") };
        let begin = Instant::now();
        while TcpStream::connect(&moto.address).is_err() {
            assert!(moto.server.try_wait().unwrap().is_none(), "moto has ended");
            assert!(begin.elapsed() < LIMIT, "moto does not answer");
            thread::sleep(Duration::from_millis(50));
        }
        Ok(moto)
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it answers; moto looks for the region in the signature and not at that itself.
    #[track_caller]
    pub fn ask(&self, action: &str, parameters: &[(&str, &str)]) -> String {
        let mut form = format!("Action={action}&Version=2016-11-15");
        for (name, value) in parameters {
            write!(form, "&{name}={}", value.replace('/', "%2F")).unwrap();
        }
        let signature = format!(
            "AWS4-HMAC-SHA256 Credential=k/20260101/{REGION}/ec2/aws4_request, SignedHeaders=host, Signature=s"
        );
        let mut connection = TcpStream::connect(&self.address).unwrap();
        write!(
            connection,
            "POST / HTTP/1.1\r\nHost: {}\r\nAuthorization: {signature}\r\nConnection: close\r\nContent-Type: \
             application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            self.address,
            form.len()
        )
        .unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{action}: {answer}");
        answer
    }

    /// A new instance; its id.
    pub fn instance(&self, name: &str) -> String {
        let answer =
            self.ask("RunInstances", &[("ImageId", "ami-12c6146b"), ("MinCount", "1"), ("MaxCount", "1")]);
        let id = text(&answer, "instanceId");
        self.name(&id, name);
        id
    }

    /// A new volume of an instance, made from a snapshot or empty; its id.
    pub fn volume(&self, instance: &str, name: &str, device: &str, snapshot: Option<&str>) -> String {
        let mut parameters = vec![("AvailabilityZone", "eu-west-1a"), ("Size", "1")];
        parameters.extend(snapshot.map(|snapshot| ("SnapshotId", snapshot)));
        let id = text(&self.ask("CreateVolume", &parameters), "volumeId");
        self.ask("AttachVolume", &[("InstanceId", instance), ("VolumeId", &id), ("Device", device)]);
        self.name(&id, name);
        id
    }

    fn name(&self, resource: &str, name: &str) {
        self.ask("CreateTags", &[("ResourceId.1", resource), ("Tag.1.Key", "Name"), ("Tag.1.Value", name)]);
    }

    /// The ids of the snapshots of a volume.
    pub fn snapshots(&self, volume: &str) -> Vec<String> {
        let filter = [("Filter.1.Name", "volume-id"), ("Filter.1.Value.1", volume)];
        let answer = self.ask("DescribeSnapshots", &filter);
        answer.match_indices("<snapshotId>").map(|(at, _)| text(&answer[at..], "snapshotId")).collect()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The text of the first element of this name.
fn text(answer: &str, name: &str) -> String {
    let (_, rest) = answer.split_once(&format!("<{name}>")).unwrap_or_else(|| panic!("no {name}: {answer}"));
    rest.split_once('<').unwrap().0.to_owned()
}

/// Status and body of the answer to a form, of which so many of the same action came before.
type Says = Arc<dyn Fn(&str, usize) -> (u16, String) + Send + Sync>;

/// A service that answers what a test says. It ends with the process.
pub struct Script {
    endpoint: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Script {
    /// `says` gets the form, and how many of the same action came before.
    pub fn new(says: impl Fn(&str, usize) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (asked, says): (Arc<Mutex<Vec<String>>>, Says) = (Arc::default(), Arc::new(says));
        let known = Arc::clone(&asked);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (known, says) = (Arc::clone(&known), Arc::clone(&says));
                // A connection that breaks is the client's matter.
                thread::spawn(move || serve(client, &known, &says));
            }
        });
        Self { endpoint, asked }
    }

    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The forms of an action, in the order in which they came.
    pub fn asked(&self, action: &str) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|form| is_of(form, action)).cloned().collect()
    }
}

fn is_of(form: &str, action: &str) -> bool {
    form.split('&').any(|pair| pair.strip_prefix("Action=") == Some(action))
}

fn serve(client: TcpStream, asked: &Mutex<Vec<String>>, says: &Says) -> io::Result<()> {
    let mut client = BufReader::new(client);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let mut line = String::new();
            if client.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            head.push_str(&line);
        }
        assert!(head.to_ascii_lowercase().contains("credential="), "not signed: {head}");
        let mut form = vec![0; length];
        client.read_exact(&mut form)?;
        let form = String::from_utf8(form).unwrap();
        let before = {
            let mut asked = asked.lock().unwrap();
            let action = form.split('&').find_map(|pair| pair.strip_prefix("Action=")).unwrap().to_owned();
            let before = asked.iter().filter(|form| is_of(form, &action)).count();
            asked.push(form.clone());
            before
        };
        let (status, body) = says(&form, before);
        let answer = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        client.get_mut().write_all(answer.as_bytes())?;
    }
}
