//! A PostgreSQL pooler in transaction mode, as small as one can be: each transaction of a client runs on any of a few
//! server sessions. Simple queries only; the server must trust us.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// Which free server session the next transaction gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The one that was given back last.
    Newest,
    /// The one that has been free longest.
    Oldest,
}

type Pool = Arc<(Mutex<VecDeque<TcpStream>>, Condvar)>;

/// Starts the pooler with `sessions` sessions to the server at `port`; returns its own port. It ends with the process.
pub fn start(port: u16, user: &str, database: &str, sessions: usize, next: Next) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().port();
    let mut greeting = Vec::new();
    let servers: VecDeque<TcpStream> = (0..sessions)
        .map(|_| {
            let mut server = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let body = format!("\0\x03\0\0user\0{user}\0database\0{database}\0\0");
            server.write_all(&(body.len() as u32 + 4).to_be_bytes()).unwrap();
            server.write_all(body.as_bytes()).unwrap();
            greeting.clear();
            relay_until_ready(&mut server, &mut greeting);
            server
        })
        .collect();
    let pool: Pool = Arc::new((Mutex::new(servers), Condvar::new()));
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let (pool, greeting) = (Arc::clone(&pool), greeting.clone());
            std::thread::spawn(move || serve(client, &greeting, &pool, next));
        }
    });
    own
}

fn serve(mut client: TcpStream, greeting: &[u8], pool: &Pool, next: Next) -> Option<()> {
    let mut length = [0; 4];
    client.read_exact(&mut length).ok()?;
    let mut startup = vec![0; u32::from_be_bytes(length) as usize - 4];
    client.read_exact(&mut startup).ok()?;
    client.write_all(greeting).ok()?;
    let mut held: Option<TcpStream> = None;
    let mut message = Vec::new();
    loop {
        message.clear();
        if read_message(&mut client, &mut message).is_none() || message[0] == b'X' {
            break;
        }
        let mut server = held.take().unwrap_or_else(|| {
            let mut free = pool.1.wait_while(pool.0.lock().unwrap(), |free| free.is_empty()).unwrap();
            if next == Next::Newest { free.pop_back().unwrap() } else { free.pop_front().unwrap() }
        });
        server.write_all(&message).unwrap();
        let mut answer = Vec::new();
        let in_transaction = relay_until_ready(&mut server, &mut answer) != b'I';
        if in_transaction {
            held = Some(server);
        } else {
            pool.0.lock().unwrap().push_back(server);
            pool.1.notify_one();
        }
        client.write_all(&answer).ok()?;
    }
    Some(())
}

/// Appends the server's messages up to ReadyForQuery; returns its transaction status.
fn relay_until_ready(server: &mut TcpStream, out: &mut Vec<u8>) -> u8 {
    loop {
        let at = out.len();
        read_message(server, out).expect("the server answers");
        if out[at] == b'Z' {
            return out[at + 5];
        }
    }
}

fn read_message(from: &mut TcpStream, out: &mut Vec<u8>) -> Option<()> {
    let mut head = [0; 5];
    from.read_exact(&mut head).ok()?;
    let at = out.len() + head.len();
    out.extend_from_slice(&head);
    out.resize(at + u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4, 0);
    from.read_exact(&mut out[at..]).ok()
}
