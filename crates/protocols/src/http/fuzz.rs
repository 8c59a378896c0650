//! Heads and targets of requests fed with whatever there is.

use super::{
    head::{self, Field, Version, read_request},
    matching::{self, Form},
    target::{Authority, Scheme, Served, Target},
};

/// Bytes as a target: what is sent on is what was matched, and means the same to the next reader.
///
/// # Panics
/// If it does not.
pub fn fuzz_target(data: &[u8]) {
    let Ok(host) = Authority::read(b"api.example", Scheme::Http) else { return };
    let served = Served { scheme: Scheme::Http, authorities: &[host] };
    let read = |text: &[u8]| Target::read(text, &[b"api.example"], served);
    let _ = Authority::read(data, Scheme::Https);
    let Ok(target) = read(data) else { return };
    let forwarded = target.forwarded();
    assert!(
        read(forwarded.as_bytes()).as_ref() == Ok(&target),
        "what is sent is not what was matched"
    );
    let plain = target.path().bytes().all(|byte| byte.is_ascii_graphic());
    assert!(plain && target.path().starts_with('/'), "the path is none");
    for segment in target.segments() {
        let sound = !segment.contains(['/', '\\', '\0', ';']) && segment != "." && segment != "..";
        assert!(sound, "a segment is more than one");
    }
}

/// Bytes as the head of a request and its body: what is read of the first bytes does not change with what follows, and a body is not where
/// it must not be.
///
/// # Panics
/// If it does, or is.
pub fn fuzz_head(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let headers = text.lines().filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| Field::read(name, value.as_bytes()));
        if let Ok(method) = guard_core::http::Method::new("GET") {
            let _ = head::answer(&method, 200, Version::Http11, headers.clone());
        }
        let _ = head::request("PUT", Version::Http10, headers);
    }
    let Ok(Some(raw)) = read_request(data) else { return };
    let Some((bytes, body)) = data.split_at_checked(raw.taken) else { return };
    assert!(read_request(bytes).as_ref() == Ok(&Some(raw.clone())), "what follows changes a head");
    let mut lines = bytes.split(|byte| *byte == b'\n');
    assert!(
        lines.all(|line| line.is_empty() || line.ends_with(b"\r")),
        "a line of a head ends in another way"
    );
    let Ok(host) = Authority::read(b"a", Scheme::Http) else { return };
    let served = Served { scheme: Scheme::Http, authorities: &[host] };
    let hosts: Vec<&[u8]> = raw.head.hosts.iter().map(Vec::as_slice).collect();
    let Ok(target) = Target::read(&raw.target, &hosts, served) else { return };
    for content_type in ["application/x-www-form-urlencoded", "multipart/form-data"] {
        let form = Form { content_type: content_type.as_bytes(), body };
        let _ = matching::request(&raw.head.method, &target, &raw.head.fields, Some(form));
    }
}
