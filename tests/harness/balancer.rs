//! A balancer before several brokers: each connection goes to the next that takes it.

use std::{
    io,
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use anyhow::Result;

/// A running balancer.
#[derive(Debug)]
pub struct Balancer {
    address: String,
    stop: Arc<AtomicBool>,
}

impl Balancer {
    /// Listens at `port` of loopback, and passes on to `behind`.
    pub fn start(port: u16, behind: Vec<u16>) -> Result<Self> {
        let address = format!("127.0.0.1:{port}");
        let listener = TcpListener::bind(&address)?;
        let stop = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&stop);
        std::thread::spawn(move || {
            let turn = AtomicUsize::new(0);
            for stream in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let first = turn.fetch_add(1, Ordering::Relaxed);
                let ports =
                    (0..behind.len()).filter_map(|more| behind.get((first + more) % behind.len()));
                let broker =
                    ports.copied().find_map(|port| TcpStream::connect(("127.0.0.1", port)).ok());
                // Without a broker the client's connection is closed.
                if let Some(broker) = broker {
                    drop(carry(&stream, &broker));
                }
            }
        });
        Ok(Self { address, stop })
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread, so that it sees the flag.
        drop(TcpStream::connect(&self.address));
    }
}

/// Copies both ways until both are over. When one side breaks, so does the other.
fn carry(client: &TcpStream, broker: &TcpStream) -> io::Result<()> {
    for (from, to) in [(client, broker), (broker, client)] {
        let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
        std::thread::spawn(move || {
            drop(io::copy(&mut from, &mut to));
            drop(to.shutdown(Shutdown::Both));
            drop(from.shutdown(Shutdown::Both));
        });
    }
    Ok(())
}
