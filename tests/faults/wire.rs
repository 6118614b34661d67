//! A wire to a server on loopback: what passes can be delayed, swallowed, cut and refused. A wire that listens hears
//! PostgreSQL's protocol, which must then be in the clear, and asks at every commit whether to cut it there.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// What becomes of bytes and of clients that connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Everything passes.
    Pass,
    /// Everything passes this much later.
    Delay(Duration),
    /// Connections are accepted and stay open, and nothing passes. What was swallowed is lost for good.
    Swallow,
    /// A client that connects is disconnected at once.
    Refuse,
}

/// Where a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It is not.
    Not,
    /// Before the server has heard of it: it never happens.
    Before,
    /// When the server has heard of it, which does it, and the answer is lost.
    After,
}

/// Is told the management function whose commit is about to pass.
pub type AtCommit = Box<dyn Fn(&str) -> Cut + Send + Sync>;

/// The wire. Its listener stays for as long as the test's process.
pub struct Wire {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
}

struct State {
    target: SocketAddr,
    mood: Mutex<Mood>,
    links: Mutex<Vec<Weak<Link>>>,
    at_commit: Option<AtCommit>,
}

/// One connection.
struct Link {
    client: TcpStream,
    server: TcpStream,
    /// Nothing passes any more.
    deaf: AtomicBool,
}

impl Wire {
    /// A wire to this port of loopback.
    pub fn to(port: u16) -> Self {
        Self::open(port, None)
    }

    /// A wire to a PostgreSQL that is spoken to without TLS.
    pub fn listening(port: u16, at_commit: AtCommit) -> Self {
        Self::open(port, Some(at_commit))
    }

    fn open(port: u16, at_commit: Option<AtCommit>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let target = SocketAddr::from(([127, 0, 0, 1], port));
        let state = Arc::new(State { target, mood: Mutex::new(Mood::Pass), links: Mutex::new(Vec::new()), at_commit });
        let shared = state.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                shared.connect(client);
            }
        });
        Self { address, state }
    }

    /// From now on.
    pub fn set(&self, mood: Mood) {
        *self.state.mood.lock().unwrap() = mood;
    }

    /// Ends all connections: their clients are disconnected, and the server ends what it was told to do.
    pub fn cut(&self) {
        let links = std::mem::take(&mut *self.state.links.lock().unwrap());
        links.iter().filter_map(Weak::upgrade).for_each(|link| link.cut());
    }
}

impl State {
    fn connect(self: &Arc<Self>, client: TcpStream) {
        if self.mood() == Mood::Refuse {
            return;
        }
        let Ok(server) = TcpStream::connect(self.target) else { return };
        // Small messages go out at once, as they came.
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        let link = Arc::new(Link { client, server, deaf: AtomicBool::new(false) });
        let mut links = self.links.lock().unwrap();
        links.retain(|link| link.strong_count() > 0);
        links.push(Arc::downgrade(&link));
        drop(links);
        let (state, forward) = (self.clone(), link.clone());
        thread::spawn(move || {
            state.forward(&forward);
            let _ = forward.server.shutdown(Shutdown::Write);
        });
        let state = self.clone();
        thread::spawn(move || {
            state.backward(&link);
            let _ = link.client.shutdown(Shutdown::Both);
            let _ = link.server.shutdown(Shutdown::Both);
        });
    }

    fn mood(&self) -> Mood {
        *self.mood.lock().unwrap()
    }

    /// Whether bytes that came on this link pass, after the time that this takes.
    fn passes(&self, link: &Link) -> bool {
        match self.mood() {
            Mood::Delay(time) => thread::sleep(time),
            Mood::Swallow => link.deaf.store(true, Ordering::SeqCst),
            Mood::Pass | Mood::Refuse => {}
        }
        !link.deaf.load(Ordering::SeqCst)
    }

    fn forward(&self, link: &Link) {
        let mut buffer = vec![0; 1 << 16];
        let mut messages = Messages::default();
        while let Ok(read @ 1..) = (&link.client).read(&mut buffer) {
            let said = &buffer[..read];
            if !self.passes(link) {
                continue;
            }
            let Some(at_commit) = &self.at_commit else {
                if (&link.server).write_all(said).is_err() {
                    return;
                }
                continue;
            };
            messages.heard.extend_from_slice(said);
            while let Some(message) = messages.next() {
                let cut = message.commits.map_or(Cut::Not, |call| at_commit(&call));
                if cut != Cut::Not {
                    link.deaf.store(true, Ordering::SeqCst);
                    let _ = link.client.shutdown(Shutdown::Both);
                }
                if cut == Cut::Before || (&link.server).write_all(&message.bytes).is_err() || cut == Cut::After {
                    return;
                }
            }
        }
    }

    fn backward(&self, link: &Link) {
        let mut buffer = vec![0; 1 << 16];
        // What passes no more is read all the same: a server that cannot send its answer would not end the call.
        while let Ok(read @ 1..) = (&link.server).read(&mut buffer) {
            if self.passes(link) && (&link.client).write_all(&buffer[..read]).is_err() {
                return;
            }
        }
    }
}

impl Link {
    fn cut(&self) {
        self.deaf.store(true, Ordering::SeqCst);
        // Each fails only if it is so already.
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.shutdown(Shutdown::Write);
    }
}

/// What a client of PostgreSQL says, message by message.
#[derive(Default)]
struct Messages {
    heard: Vec<u8>,
    started: bool,
    /// The management function that the open transaction calls.
    call: String,
}

struct Message {
    bytes: Vec<u8>,
    /// The call that this message commits.
    commits: Option<String>,
}

impl Messages {
    fn next(&mut self) -> Option<Message> {
        // The first message has no letter in front of its length.
        let letter = usize::from(self.started);
        let length = self.heard.get(letter..letter + 4)?;
        let end = letter + usize::try_from(u32::from_be_bytes(length.try_into().unwrap())).unwrap();
        if self.heard.len() < end {
            return None;
        }
        let bytes: Vec<u8> = self.heard.drain(..end).collect();
        let commits = if self.started { self.listen(bytes[0], &String::from_utf8_lossy(&bytes[5..])) } else { None };
        self.started = true;
        Some(Message { bytes, commits })
    }

    fn listen(&mut self, letter: u8, text: &str) -> Option<String> {
        let text = text.trim_matches(['\0', '\n', ';']);
        match letter {
            b'P' => {
                let called = text.split_once("edu_matrix_hub_schema.").and_then(|(_, rest)| rest.split_once('('));
                self.call = called.map_or_else(String::new, |(call, _)| call.to_owned());
                None
            }
            b'Q' if text == "COMMIT" => Some(std::mem::take(&mut self.call)),
            // The script that installs the functions has a transaction of its own.
            b'Q' if text.ends_with("COMMIT") => Some("install".to_owned()),
            _ => None,
        }
    }
}
