//! A front of a storage service: one that speaks TLS, or lets only some requests through.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use super::gate::RequestHead;
use super::tls;

/// Takes one request for each connection and passes it on to a service over http. It ends with the process.
pub struct Front {
    endpoint: String,
}

/// Whether a request is refused.
type Refuses = Arc<dyn Fn(&RequestHead) -> bool + Send + Sync>;

impl Front {
    /// Speaks TLS with a certificate that only [`CERTIFICATE`] vouches for.
    pub fn tls(service: &str) -> Self {
        let nothing: Refuses = Arc::new(|_| false);
        let endpoint =
            Self::start(service, move |client, service| serve(tls::accept(client), service, &nothing));
        Self { endpoint: format!("https://{endpoint}") }
    }

    /// Answers as if the keys had no right to what `refuses` says.
    pub fn refusing(service: &str, refuses: impl Fn(&RequestHead) -> bool + Send + Sync + 'static) -> Self {
        let refuses: Refuses = Arc::new(refuses);
        let endpoint = Self::start(service, move |client, service| serve(client, service, &refuses));
        Self { endpoint: format!("http://{endpoint}") }
    }

    /// What to use in place of the service's own address.
    pub fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    fn start(
        service: &str,
        serve: impl Fn(TcpStream, &str) -> io::Result<()> + Clone + Send + 'static,
    ) -> String {
        let service = service.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (serve, service) = (serve.clone(), service.clone());
                // A connection that breaks is the client's matter.
                thread::spawn(move || serve(client, &service));
            }
        });
        address.to_string()
    }
}

const REFUSED: &str = "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

fn serve(client: impl Read + Write, service: &str, refuses: &Refuses) -> io::Result<()> {
    let mut client = BufReader::new(client);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if client.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let request = RequestHead::parse(head.trim_end());
    if request.headers.contains_key("expect") {
        client.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let mut body = vec![0; request.length()];
    client.read_exact(&mut body)?;
    if refuses(&request) {
        return client.get_mut().write_all(REFUSED.as_bytes());
    }
    // Neither header is signed.
    let is_kept = |line: &&str| !line.to_ascii_lowercase().starts_with("expect:");
    let kept: Vec<&str> = head.trim_end().lines().filter(is_kept).collect();
    let mut server = TcpStream::connect(service)?;
    server.write_all(format!("{}\r\nConnection: close\r\n\r\n", kept.join("\r\n")).as_bytes())?;
    server.write_all(&body)?;
    io::copy(&mut server, client.get_mut())?;
    client.get_mut().flush()
}
