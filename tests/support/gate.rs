//! The way to a storage service, which a test can shut: for the service it is a network that failed. What passes is noted,
//! and a request can be held back, or its answer, until the test has killed whoever waits for it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

/// Passes connections on to a service. It ends with the process.
pub struct Gate {
    port: u16,
    /// Connections that may still pass.
    open_for: Arc<AtomicU32>,
    passed: Arc<Mutex<Vec<RequestHead>>>,
    stop: Arc<Mutex<Option<Stop>>>,
}

/// Where a request is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The service never sees it.
    Before,
    /// The service has answered, and nobody hears it.
    After,
}

/// The request that is stopped.
struct Stop {
    /// How many pass before it.
    after: usize,
    moment: Moment,
    reached: Sender<()>,
}

/// A request without its body.
#[derive(Clone, Debug)]
pub struct RequestHead {
    pub method: String,
    pub target: String,
    /// By names in lower case.
    pub headers: BTreeMap<String, String>,
}

impl RequestHead {
    /// From its lines, the first one included.
    pub fn parse(head: &str) -> Self {
        let mut lines = head.lines();
        let mut words = lines.next().unwrap().split(' ').map(str::to_owned);
        let header = |line: &str| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_ascii_lowercase(), value.trim().to_owned())
        };
        Self {
            method: words.next().unwrap(),
            target: words.next().unwrap(),
            headers: lines.map(header).collect(),
        }
    }

    /// Of the body.
    pub fn length(&self) -> usize {
        self.headers.get("content-length").map_or(0, |length| length.parse().unwrap())
    }
}

impl Gate {
    /// An open gate to the service at `endpoint`, as `http://127.0.0.1:7070`.
    pub fn to(endpoint: &str) -> Self {
        let service = endpoint.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let open_for = Arc::new(AtomicU32::new(u32::MAX));
        let remaining = Arc::clone(&open_for);
        let passed = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(Mutex::new(None));
        let (noted, stops) = (Arc::clone(&passed), Arc::clone(&stop));
        thread::spawn(move || {
            for client in listener.incoming() {
                let pass = |open: u32| open.checked_sub(1);
                if remaining.fetch_update(Ordering::SeqCst, Ordering::SeqCst, pass).is_err() {
                    continue; // dropped: the client reads the end of the connection in place of an answer
                }
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(&service)) else { continue };
                let silenced = Arc::new(AtomicBool::new(false));
                let mut notes = Notes {
                    passed: Arc::clone(&noted),
                    stop: Arc::clone(&stops),
                    silenced: Arc::clone(&silenced),
                    head: Vec::new(),
                    body: 0,
                };
                let answers = Answers { stop: Arc::clone(&stops), silenced };
                forward(client.try_clone().unwrap(), server.try_clone().unwrap(), move |sent| {
                    notes.note(sent)
                });
                forward(server, client, move |answer| answers.pass(answer));
            }
        });
        Self { port, open_for, passed, stop }
    }

    /// Stops the `nth` request from now on, from 1; what is received says that it has come. Its connection is held from
    /// then on, others go on.
    pub fn stop_at(&self, nth: usize, moment: Moment) -> Receiver<()> {
        let (reached, receiver) = channel();
        self.take_passed();
        *self.stop.lock().unwrap() = Some(Stop { after: nth - 1, moment, reached });
        receiver
    }

    /// The requests since the last call, in the order in which they came.
    pub fn take_passed(&self) -> Vec<RequestHead> {
        std::mem::take(&mut *self.passed.lock().unwrap())
    }

    /// Stops nothing any more.
    pub fn go_on(&self) {
        *self.stop.lock().unwrap() = None;
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
}

/// Finds the requests in what a client sends over one connection.
struct Notes {
    passed: Arc<Mutex<Vec<RequestHead>>>,
    stop: Arc<Mutex<Option<Stop>>>,
    /// Whether the answer is to be held back.
    silenced: Arc<AtomicBool>,
    /// What is known of the next one.
    head: Vec<u8>,
    /// What is to come of the last one's body.
    body: usize,
}

impl Notes {
    fn note(&mut self, mut sent: &[u8]) {
        while let Some((first, rest)) = sent.split_first() {
            if self.body > 0 {
                let skipped = self.body.min(sent.len());
                self.body -= skipped;
                sent = &sent[skipped..];
                continue;
            }
            self.head.push(*first);
            sent = rest;
            if self.head.ends_with(b"\r\n\r\n") {
                let head = String::from_utf8(std::mem::take(&mut self.head)).unwrap();
                let request = RequestHead::parse(head.trim_end());
                self.body = request.length();
                self.pass(request);
            }
        }
    }

    fn pass(&self, request: RequestHead) {
        let mut passed = self.passed.lock().unwrap();
        let mut stop = self.stop.lock().unwrap();
        match stop.take() {
            Some(reached) if reached.after == passed.len() && reached.moment == Moment::Before => {
                drop((passed, stop));
                hold(Some(reached));
            }
            other => {
                let is_it = other.as_ref().is_some_and(|stop| stop.after == passed.len());
                self.silenced.fetch_or(is_it, Ordering::SeqCst);
                *stop = other;
                passed.push(request);
            }
        }
    }
}

/// The answers of one connection.
struct Answers {
    stop: Arc<Mutex<Option<Stop>>>,
    silenced: Arc<AtomicBool>,
}

impl Answers {
    fn pass(&self, _answer: &[u8]) {
        if self.silenced.load(Ordering::SeqCst) {
            let stop = self.stop.lock().unwrap().take();
            hold(stop);
        }
    }
}

/// Says that the request has come, and never goes on.
fn hold(stop: Option<Stop>) {
    if let Some(stop) = stop {
        stop.reached.send(()).unwrap();
    }
    loop {
        thread::park();
    }
}

/// Ends with the connection; one that breaks is the client's matter.
fn forward(mut from: TcpStream, mut to: TcpStream, mut look: impl FnMut(&[u8]) + Send + 'static) {
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            look(&buffer[..read]);
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}
