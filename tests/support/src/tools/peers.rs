//! Peers that are no PostgreSQL, or stand between it and the operator.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

/// What a listener does with clients that connect.
#[derive(Clone, Copy)]
pub enum Manners {
    /// Takes the connection and never says a word.
    Silent,
    /// Answers everything that comes as a web server would.
    Web,
    /// Begins to speak at once, as a mail server does.
    Mail,
}

/// A listener on loopback that is no PostgreSQL. It stays for as long as the test's process.
pub fn listener(manners: Manners) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || be(manners, stream));
        }
    });
    address
}

fn be(manners: Manners, mut stream: TcpStream) {
    let mut buffer = [0; 1024];
    if matches!(manners, Manners::Mail) {
        let _ = stream.write_all(b"220 mail.example ESMTP\r\n");
    }
    while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
        if matches!(manners, Manners::Web) {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// A wire to a server that can lose an answer: everything passes, until it is told to cut.
pub struct Wire {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    armed: AtomicBool,
    cuts: AtomicUsize,
}

impl Wire {
    /// A wire to this port of loopback.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = state.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                connect(&client, &server, &shared);
            }
        });
        Self { address, state }
    }

    /// The next commit of a call of `apply_steps` reaches the server, and its answer never comes back.
    pub fn lose_the_next_answer(&self) {
        self.state.armed.store(true, Ordering::SeqCst);
    }

    /// How many answers were lost.
    pub fn lost(&self) -> usize {
        self.state.cuts.load(Ordering::SeqCst)
    }
}

fn connect(client: &TcpStream, server: &TcpStream, state: &Arc<State>) {
    // Once it is set, nothing goes back any more.
    let deaf = Arc::new(AtomicBool::new(false));
    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let (forward, backward) = (state.clone(), deaf.clone());
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 20];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            let said = &buffer[..read];
            let is_call = contains(said, b"apply_steps") && contains(said, b"COMMIT");
            if is_call && forward.armed.swap(false, Ordering::SeqCst) {
                backward.store(true, Ordering::SeqCst);
                forward.cuts.fetch_add(1, Ordering::SeqCst);
            }
            if to.write_all(said).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
    let (mut from, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            // The server answers a call after it committed, in one piece with the answer to the commit.
            if deaf.load(Ordering::SeqCst) {
                if contains(&buffer[..read], b"COMMIT") {
                    break;
                }
            } else if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
