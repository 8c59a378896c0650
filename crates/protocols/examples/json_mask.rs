//! How fast JSON is masked: `cargo run --release -p guard-protocols --example json_mask`.

#![allow(clippy::print_stdout, reason = "it prints what it measures")]

use std::{error::Error, sync::Arc, time::Instant};

use guard_core::{Mask, Masking, http::JsonPath};
use guard_protocols::http::mask::{JsonMasker, JsonMasks};

/// Size of the text, and of the pieces that it comes in.
const SIZE: usize = 64 << 20;
const PIECE: usize = 16 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let text = text();
    for (name, paths) in [
        ("nothing masked", &[][..]),
        ("a name that is not there", &["$..nothing"]),
        ("one of eight members, by name", &["$..email"]),
        ("one of eight members, by pointer", &["/users/*/email"]),
    ] {
        let masks: Vec<(JsonPath, Masking)> = paths
            .iter()
            .map(|path| Ok((path.parse::<JsonPath>()?, Mask::Redact.into())))
            .collect::<Result<_, Box<dyn Error>>>()?;
        let masks = Arc::new(JsonMasks::new(masks.iter().map(|(path, mask)| (path, *mask))));
        let mut masker = JsonMasker::new(masks, &[0; 32], None);
        let mut out = Vec::with_capacity(2 * PIECE);
        let start = Instant::now();
        for piece in text.as_bytes().chunks(PIECE) {
            out.clear();
            masker.push(piece, &mut out)?;
        }
        masker.finish(&mut out)?;
        let rate = text.len() as f64 / start.elapsed().as_secs_f64() / 1e6;
        println!("{name}: {rate:.0} MB/s, {} values hidden", masker.masked());
    }
    Ok(())
}

/// Objects as APIs list them.
fn text() -> String {
    let mut text = String::from("{\"users\":[");
    let mut number = 0;
    while text.len() < SIZE {
        if number > 0 {
            text.push(',');
        }
        text.push_str(&format!(
            "{{\"id\":{number},\"login\":\"user{number}\",\"email\":\"user{number}@mail.example\",\"admin\":false,\
             \"url\":\"https://api.example/users/{number}\",\"plan\":null,\"score\":{}.5,\
             \"bio\":\"Lives somewhere, likes \\\"quotes\\\" and long walks along the beach\"}}",
            number % 1000
        ));
        number += 1;
    }
    text.push_str("]}");
    text
}
