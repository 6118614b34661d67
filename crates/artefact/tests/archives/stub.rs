//! A server of objects that behaves badly on purpose, which no real one can be told to: it overwrites what should be created
//! only, or deletes nothing. It understands as much of HTTP as it takes.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

type Objects = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

pub struct Stub {
    pub port: u16,
    objects: Objects,
}

impl Stub {
    pub async fn start(honours_conditions: bool, deletes: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let objects = Objects::default();
        let shared = objects.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, shared.clone(), honours_conditions, deletes));
            }
        });
        Self { port, objects }
    }

    pub fn names(&self) -> Vec<String> {
        self.objects.lock().unwrap().keys().cloned().collect()
    }
}

async fn answer(stream: TcpStream, objects: Objects, honours_conditions: bool, deletes: bool) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    let mut words = line.split(' ');
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return };
    let (mut length, mut create) = (0, false);
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await.unwrap();
        let Some((name, value)) = header.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            "if-none-match" => create = true,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    let (status, body) = {
        let mut objects = objects.lock().unwrap();
        let found = objects.get(path).cloned();
        match (method, found) {
            ("PUT", Some(_)) if create && honours_conditions => ("412 Precondition Failed", Vec::new()),
            ("PUT", _) => {
                objects.insert(path.to_owned(), body);
                ("200 OK", Vec::new())
            }
            ("DELETE", _) if deletes => {
                objects.remove(path);
                ("204 No Content", Vec::new())
            }
            ("DELETE", _) => ("403 Forbidden", Vec::new()),
            ("GET" | "HEAD", Some(content)) => ("200 OK", content),
            _ => ("404 Not Found", Vec::new()),
        }
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nETag: \"x\"\r\nLast-Modified: Mon, 05 Jan 2026 00:00:00 GMT\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    if method != "HEAD" {
        stream.write_all(&body).await.unwrap();
    }
    stream.flush().await.unwrap();
}
