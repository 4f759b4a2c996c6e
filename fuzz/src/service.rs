//! A service that says the same to everything.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use seawall::storage::s3::{Credentials, Endpoint};

/// It ends with the process.
pub struct Service {
    address: SocketAddr,
    /// Status and body.
    answer: Arc<Mutex<(u16, Vec<u8>)>>,
}

impl Service {
    pub fn start() -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(Mutex::new((200, Vec::new())));
        let said = Arc::clone(&answer);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let said = Arc::clone(&said);
                std::thread::spawn(move || serve(connection, &said));
            }
        });
        Service { address, answer }
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::parse(&format!("http://{}", self.address)).unwrap().0
    }

    /// What it says from now on.
    pub fn answer(&self, status: u16, body: &[u8]) {
        *self.answer.lock().unwrap() = (status, body.to_vec());
    }
}

/// It asks for some, and looks at none.
pub fn credentials() -> Credentials {
    Credentials::Static { access_key: "key".to_owned(), secret_key: "secret".into(), session_token: None }
}

/// Answers the requests of a connection until it ends.
fn serve(connection: TcpStream, answer: &Mutex<(u16, Vec<u8>)>) -> Option<()> {
    let mut reader = BufReader::new(connection);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        std::io::copy(&mut reader.by_ref().take(length.unwrap_or(0)), &mut std::io::sink()).ok()?;
        let (status, body) = answer.lock().unwrap().clone();
        let mut answer = format!(
            "HTTP/1.1 {status} X\r\nETag: \"x\"\r\nContent-Type: application/xml\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        if !head.starts_with("HEAD ") {
            answer.extend(body);
        }
        reader.get_mut().write_all(&answer).ok()?;
    }
}
