//! Clients that send requests which are there already, each over one connection.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// A broker that does not answer for this long has failed.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Sends all, and says how long each took.
pub(super) fn send_all(
    address: &str,
    requests: Vec<Vec<u8>>,
    clients: usize,
) -> Result<Vec<Duration>> {
    let requests = Arc::new(Mutex::new(requests));
    let clients: Vec<_> = (0..clients)
        .map(|_| {
            let (address, requests) = (address.to_owned(), requests.clone());
            thread::spawn(move || client(&address, &requests))
        })
        .collect();
    let mut times = Vec::new();
    for client in clients {
        let Ok(done) = client.join() else { bail!("a client has failed") };
        times.extend(done?);
    }
    Ok(times)
}

fn client(address: &str, requests: &Mutex<Vec<Vec<u8>>>) -> Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut times = Vec::new();
    loop {
        let next = requests.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let Some(request) = next else { return Ok(times) };
        let started = Instant::now();
        stream.write_all(&request)?;
        answer(&mut reader)?;
        times.push(started.elapsed());
    }
}

/// Reads one answer, which has a length.
fn answer(reader: &mut BufReader<TcpStream>) -> Result<()> {
    let (mut length, mut head) = (0, String::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().context("no length")?;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    if !head.starts_with("HTTP/1.1 200") {
        bail!("{head}{}", String::from_utf8_lossy(&body));
    }
    Ok(())
}
