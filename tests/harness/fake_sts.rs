//! A stand-in for AWS's STS that remembers what it was asked: moto answers like STS, but does not show what came.
//! Written from <https://docs.aws.amazon.com/STS/latest/APIReference/>; it verifies nothing.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Result;

/// The key that an assumed role gets.
pub const ACCESS_KEY: &str = "ASIAFAKEFAKEFAKEFAKE";
/// Its secret.
pub const SECRET_KEY: &str = "secret-of-the-assumed-role";
/// Its session's token.
pub const SESSION_TOKEN: &str = "session-token-of-the-role";
/// Questions are small.
const MAX_BODY: u64 = 64 * 1024;

/// A server at work.
#[derive(Debug)]
pub struct FakeSts {
    /// Its address.
    pub url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl FakeSts {
    /// Starts one.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        let asked = Arc::new(Mutex::default());
        let asking = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                drop(answer(&asking, &stream));
            }
        });
        Ok(Self { url, asked })
    }

    /// The forms that came, in order.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn answer(asked: &Mutex<Vec<String>>, mut stream: &TcpStream) -> Result<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0_u64;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    let mut form = String::new();
    reader.take(length.min(MAX_BODY)).read_to_string(&mut form)?;
    let action = form.split('&').find_map(|pair| pair.strip_prefix("Action=")).unwrap_or_default();
    let body = format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials>\
         <AccessKeyId>{ACCESS_KEY}</AccessKeyId><SecretAccessKey>{SECRET_KEY}</SecretAccessKey>\
         <SessionToken>{SESSION_TOKEN}</SessionToken><Expiration>2090-01-01T00:00:00Z</Expiration>\
         </Credentials></{action}Result></{action}Response>"
    );
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(form);
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: text/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )?;
    Ok(())
}
