//! How the shim and the process inside speak: a length of four bytes and JSON; listeners beside one byte.

use std::{
    io::{self, IoSlice, IoSliceMut, Read as _, Write as _},
    mem::MaybeUninit,
    net::TcpListener,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Serialize, de::DeserializeOwned};

/// A command line and an environment have 2 MiB on Linux, and JSON writes a byte as up to four.
const MAX_FRAME: usize = 16 << 20;
/// The kernel passes so many descriptors at a time (unix(7), `SCM_MAX_FD`).
pub(super) const MAX_LISTENERS: usize = 253;
/// Room for them, and for what stands before them.
const ROOM: usize = MAX_LISTENERS * 4 + 64;

pub(super) fn send(stream: &mut UnixStream, message: &impl Serialize) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(&body)
}

pub(super) fn receive<T: DeserializeOwned>(stream: &mut UnixStream) -> io::Result<T> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(io::Error::other("a message is too large"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}

pub(super) fn send_listeners(stream: &UnixStream, listeners: &[TcpListener]) -> io::Result<()> {
    let descriptors: Vec<BorrowedFd<'_>> = listeners.iter().map(std::os::fd::AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); ROOM];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::Error::other("there are too many listeners"));
    }
    sendmsg(stream.as_fd(), &[IoSlice::new(b"l")], &mut control, SendFlags::empty())?;
    Ok(())
}

pub(super) fn receive_listeners(
    stream: &mut UnixStream,
    count: usize,
) -> io::Result<Vec<TcpListener>> {
    let mut space = [MaybeUninit::uninit(); ROOM];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let got = recvmsg(stream.as_fd(), &mut [IoSliceMut::new(&mut byte)], &mut control, flags)?;
    let mut found: Vec<OwnedFd> = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            found.extend(descriptors);
        }
    }
    if got.bytes == 1 && byte == *b"l" && found.len() == count {
        return Ok(found.into_iter().map(TcpListener::from).collect());
    }
    Err(io::Error::other("the listeners did not come"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_listeners_come_as_they_went() {
        let (mut one, mut other) = UnixStream::pair().unwrap();
        let listeners: Vec<_> =
            (0..3).map(|_| TcpListener::bind(("127.0.0.1", 0)).unwrap()).collect();
        send(&mut one, &vec!["a", "b"]).unwrap();
        send_listeners(&one, &listeners).unwrap();
        send(&mut one, &7).unwrap();
        assert_eq!(receive::<Vec<String>>(&mut other).unwrap(), ["a", "b"]);
        let got = receive_listeners(&mut other, 3).unwrap();
        let address = |listener: &TcpListener| listener.local_addr().unwrap();
        assert_eq!(
            got.iter().map(address).collect::<Vec<_>>(),
            listeners.iter().map(address).collect::<Vec<_>>()
        );
        assert_eq!(receive::<u32>(&mut other).unwrap(), 7);
        send_listeners(&one, &[]).unwrap();
        assert!(receive_listeners(&mut other, 0).unwrap().is_empty());
        one.write_all(&u32::MAX.to_be_bytes()).unwrap();
        assert!(receive::<u32>(&mut other).is_err());
    }
}
