//! The way to a storage service, which a test can shut: for the service it is a network that failed.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

/// Passes connections on to a service. It ends with the process.
pub struct Gate {
    port: u16,
    /// Connections that may still pass.
    open_for: Arc<AtomicU32>,
}

impl Gate {
    /// An open gate to the service at `endpoint`, as `http://127.0.0.1:7070`.
    pub fn to(endpoint: &str) -> Self {
        let service = endpoint.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let open_for = Arc::new(AtomicU32::new(u32::MAX));
        let remaining = Arc::clone(&open_for);
        thread::spawn(move || {
            for client in listener.incoming() {
                let pass = |open: u32| open.checked_sub(1);
                if remaining.fetch_update(Ordering::SeqCst, Ordering::SeqCst, pass).is_err() {
                    continue; // dropped: the client reads the end of the connection in place of an answer
                }
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(&service)) else { continue };
                forward(client.try_clone().unwrap(), server.try_clone().unwrap());
                forward(server, client);
            }
        });
        Self { port, open_for }
    }

    /// What to use in place of the service's own address.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Lets `connections` more pass; those that are open stay.
    pub fn open_for(&self, connections: u32) {
        self.open_for.store(connections, Ordering::SeqCst);
    }

    pub fn open(&self) {
        self.open_for(u32::MAX);
    }

    pub fn shut(&self) {
        self.open_for(0);
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream) {
    thread::spawn(move || {
        // a connection that breaks is the client's matter
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}
