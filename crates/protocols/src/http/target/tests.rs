//! Targets that mean one thing, and those that could mean another.

#![allow(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

const HOST: &str = "127.0.0.1:8080";

fn read_from(target: &[u8], hosts: &[&str]) -> Result<Target, TargetError> {
    let names = [
        Authority::read(HOST.as_bytes(), Scheme::Http).unwrap(),
        Authority::read(b"api.example", Scheme::Http).unwrap(),
        Authority::read(b"[::1]:8080", Scheme::Http).unwrap(),
    ];
    let hosts: Vec<&[u8]> = hosts.iter().map(|host| host.as_bytes()).collect();
    Target::read(target, &hosts, Served { scheme: Scheme::Http, authorities: &names })
}

fn read(target: &[u8]) -> Result<Target, TargetError> {
    read_from(target, &[HOST])
}

#[test]
fn a_target_has_one_form() {
    let cases: [(&str, &str, &[&str]); 35] = [
        ("/", "/", &[]),
        ("/a", "/a", &["a"]),
        ("/a/", "/a/", &["a", ""]),
        ("/a/b", "/a/b", &["a", "b"]),
        ("/a//b", "/a/b", &["a", "b"]),
        ("//a", "/a", &["a"]),
        ("/a//", "/a/", &["a", ""]),
        ("//", "/", &[]),
        ("/a/./b", "/a/b", &["a", "b"]),
        ("/a/../b", "/b", &["b"]),
        ("/a/..", "/", &[]),
        ("/a/b/..", "/a/", &["a", ""]),
        ("/a/.", "/a/", &["a", ""]),
        ("/%61%2Db", "/a-b", &["a-b"]),
        ("/a%2etxt", "/a.txt", &["a.txt"]),
        ("/a%7e", "/a~", &["a~"]),
        ("/caf%c3%a9%20bar", "/caf%C3%A9%20bar", &["café bar"]),
        ("/a%3ab", "/a%3Ab", &["a:b"]),
        ("/a:b@c!$&'()*+,=d", "/a:b@c!$&'()*+,=d", &["a:b@c!$&'()*+,=d"]),
        ("/100%25", "/100%25", &["100%"]),
        ("/a%2541", "/a%2541", &["a%41"]),
        ("/a%3Fb%23c", "/a%3Fb%23c", &["a?b#c"]),
        ("/.well-known/a", "/.well-known/a", &[".well-known", "a"]),
        ("/a...b", "/a...b", &["a...b"]),
        ("/stra%C3%9Fe", "/stra%C3%9Fe", &["straße"]),
        ("/e%CC%81", "/e%CC%81", &["e\u{301}"]),
        ("/a?", "/a?", &["a"]),
        ("/a?b=c&d", "/a?b=c&d", &["a"]),
        ("/a?b=%41%2f/%3b", "/a?b=A%2F/%3B", &["a"]),
        ("/a?b[c]={d}|\"e\"", "/a?b[c]=%7Bd%7D%7C%22e%22", &["a"]),
        ("/a?b=c?d", "/a?b=c?d", &["a"]),
        ("/a?../../b", "/a?../../b", &["a"]),
        ("http://127.0.0.1:8080/a", "/a", &["a"]),
        ("HTTP://127.0.0.1:8080?b", "/?b", &[]),
        ("http://127.0.0.1:8080", "/", &[]),
    ];
    for (text, forwarded, segments) in cases {
        let target = read(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(target.forwarded(), forwarded, "{text}");
        assert_eq!(target.segments(), segments, "{text}");
        assert_eq!(read(forwarded.as_bytes()).unwrap(), target, "{text} is not what is sent");
    }
}

#[test]
fn a_target_that_could_mean_another_is_refused() {
    use TargetError as E;
    let long = format!("/{}", "a".repeat(MAX_TARGET));
    let cases: &[(&[u8], TargetError)] = &[
        (long.as_bytes(), E::TooLong),
        (b"", E::Form),
        (b"a", E::Form),
        (b"?a", E::Form),
        (b"\\a", E::Form),
        (b"*", E::Asterisk),
        (b"api.example:443", E::Tunnel),
        (b"javascript://127.0.0.1:8080/", E::Scheme),
        (b"https://127.0.0.1:8080/", E::Scheme),
        (b"/a#b", E::Fragment),
        (b"/a?b#c", E::Fragment),
        (b"/..\t/b", E::Character(b'\t')),
        (b"/a b", E::Character(b' ')),
        (b"/a\r\nX: y", E::Character(b'\r')),
        (b"/a\0", E::Character(0)),
        (b"/caf\xc3\xa9", E::Character(0xc3)),
        (b"/\x7f", E::Character(0x7f)),
        (b"/a|b", E::Character(b'|')),
        (b"/a{b}", E::Character(b'{')),
        (b"/a\"b", E::Character(b'"')),
        (b"/a%", E::Percent),
        (b"/a%2", E::Percent),
        (b"/a%zz", E::Percent),
        (b"/a%u002e", E::Percent),
        (b"/a?b=%", E::Percent),
        (b"/a%2fb", E::EncodedSlash),
        (b"/a/..%2f..%2fb", E::EncodedSlash),
        (b"/a\\b", E::Backslash),
        (b"/a/..\\b", E::Backslash),
        (b"/a%5cb", E::Backslash),
        (b"/a/%2e%2e/b", E::EncodedDots),
        (b"/a/.%2e/b", E::EncodedDots),
        (b"/a/%2E", E::EncodedDots),
        (b"/a/%252e%252e/b", E::Twice),
        (b"/a/%25252e%25252e/b", E::Twice),
        (b"/a/.%252e/b", E::Twice),
        (b"/a%252fb", E::Twice),
        (b"/a%255cb", E::Twice),
        (b"/a%253bb", E::Twice),
        (b"/a%253fb", E::Twice),
        (b"/a%2523b", E::Twice),
        (b"/a%2500", E::Twice),
        (b"/a%25c0%25ae", E::Twice),
        (b"/a%25u002e", E::Twice),
        (b"/%252525252525252541", E::Twice),
        (b"/%c0%ae%c0%ae/b", E::NotUtf8),
        (b"/a%c0%af", E::NotUtf8),
        (b"/%ff", E::NotUtf8),
        (b"/%ed%a0%80", E::NotUtf8),
        (b"/a?b=%ff", E::NotUtf8),
        (b"/a?b=%c3&c=%a9", E::NotUtf8),
        (b"/a%00", E::Nul),
        (b"/a%00.png", E::Nul),
        (b"/a?b=%00", E::Nul),
        (b"/a%0ab", E::Control),
        (b"/a%0d%0ab", E::Control),
        (b"/%7f", E::Control),
        (b"/%c2%85a", E::Control),
        (b"/a%e2%80%8bb", E::Control),
        (b"/%ef%bb%bfa", E::Control),
        (b"/a/..;/b", E::Parameter),
        (b"/a;x=y/b", E::Parameter),
        (b"/a/..%3b/b", E::Parameter),
        (b"/a%20/b", E::Trimmed),
        (b"/%20a", E::Trimmed),
        (b"/a./b", E::Trimmed),
        (b"/.../b", E::Trimmed),
        (b"/..%20/b", E::Trimmed),
        (b"/%ef%bc%8e%ef%bc%8e/b", E::Folded('\u{ff0e}')),
        (b"/a%ef%bc%8fb", E::Folded('\u{ff0f}')),
        (b"/a%ef%bc%bcb", E::Folded('\u{ff3c}')),
        (b"/%e2%80%a4%e2%80%a4/b", E::Folded('\u{2024}')),
        (b"/%e2%80%a5/b", E::Folded('\u{2025}')),
        (b"/%ef%bd%81dmin", E::Folded('\u{ff41}')),
        (b"/%e2%84%aaeys", E::Folded('\u{212a}')),
        (b"/u%c5%bfers", E::Folded('\u{17f}')),
        (b"/..", E::AboveRoot),
        (b"/a/../../b", E::AboveRoot),
        (b"/a//../b", E::DotsAndDoubleSlash),
        (b"//a/./b", E::DotsAndDoubleSlash),
        (b"/a?b=c;d=e", E::QuerySemicolon),
        (b"http://127.0.0.1:8080\\@evil.example/", E::Backslash),
        (b"http://127.0.0.1:8080@evil.example/", E::UserInfo),
        (b"http://user:pass@127.0.0.1:8080/", E::UserInfo),
        (b"http://evil.example/", E::HostsDiffer),
        (b"http://127.0.0.1:8081/", E::HostsDiffer),
        (b"http://127.0.0.1/", E::HostsDiffer),
        (b"http://api.example/", E::HostsDiffer),
        (b"http:///a", E::Host),
        (b"http://127.1:8080/", E::Host),
    ];
    for (target, expected) in cases {
        let text = target.escape_ascii();
        assert_eq!(read(target).unwrap_err(), *expected, "{text}");
    }
}

#[test]
fn a_request_is_for_the_host_that_the_listener_stands_for() {
    use TargetError as E;
    let other = |text: &str| E::OtherHost(Authority::read(text.as_bytes(), Scheme::Http).unwrap());
    for hosts in [&[HOST][..], &["API.Example."], &["api.example:80"], &["[::1]:8080"]] {
        assert!(read_from(b"/a", hosts).is_ok(), "{hosts:?}");
    }
    assert!(read_from(b"http://api.example/a", &["API.example:80"]).is_ok());
    let cases: &[(&[&str], TargetError)] = &[
        (&[], E::NoHost),
        (&[HOST, HOST], E::TwoHosts),
        (&[HOST, "evil.example"], E::TwoHosts),
        (&[""], E::Host),
        (&["evil.example"], other("evil.example")),
        (&["127.0.0.1:8081"], other("127.0.0.1:8081")),
        (&["127.0.0.1"], other("127.0.0.1")),
        (&["127.0.0.1:8080, evil.example"], E::Host),
        (&["127.0.0.1:08080"], E::Host),
        (&["127.0.0.1:+8080"], E::Host),
        (&["127.0.0.1:"], E::Host),
        (&["127.0.0.1:8080/a"], E::Host),
        (&["127.0.0.1:99999"], E::Host),
        (&["0x7f.1:8080"], E::Host),
        (&["user@127.0.0.1:8080"], E::UserInfo),
        (&["127.0.0.1:8080@evil.example"], E::UserInfo),
        (&["api.example\u{0}"], E::Host),
        (&[" api.example"], E::Host),
        (&["::1"], E::Host),
        (&["[::1"], E::Host),
    ];
    for (hosts, expected) in cases {
        assert_eq!(read_from(b"/a", hosts).unwrap_err(), *expected, "{hosts:?}");
    }
}

#[test]
fn parameters_are_decoded_once() {
    let target = read(b"/a?b=c+d&%65=%2526&f&b=%C3%A9&=x").unwrap();
    let found: Vec<_> = target.parameters().collect();
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let expected =
        [pair("b", "c d"), pair("e", "%26"), pair("f", ""), pair("b", "é"), pair("", "x")];
    assert_eq!(found, expected);
}

fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("/"),
        Just("."),
        Just(".."),
        Just("%2e"),
        Just("%2F"),
        Just("%25"),
        Just("%41"),
        Just("a"),
        Just("B"),
        Just("%c3%a9"),
        Just("%20"),
        Just(";"),
        Just("?"),
        Just("&"),
        Just("="),
        Just(":"),
        Just("%3a"),
        Just("+"),
        Just("%"),
        Just("2"),
        Just("~"),
        Just("%7E"),
        Just("|"),
        Just("["),
        Just("%5c"),
        Just("%EF%BC%8F"),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #[test]
    fn what_is_sent_is_what_was_matched(text in pieces()) {
        if let Ok(target) = read(text.as_bytes()) {
            let again = read(target.forwarded().as_bytes());
            prop_assert_eq!(again.as_ref().map(Target::forwarded), Ok(target.forwarded()));
            prop_assert_eq!(again, Ok(target));
        }
    }

    /// Whoever resolves dots before decoding, after it or twice, and with or without merging slashes, comes to the same path.
    #[test]
    fn no_reader_comes_to_another_path(text in pieces()) {
        let Ok(target) = read(text.as_bytes()) else { return Ok(()) };
        let sent = target.path().to_owned();
        let own: Vec<String> = target.segments().iter().filter(|it| !it.is_empty()).cloned().collect();
        prop_assert_eq!(&resolved(&decoded(&sent)), &own);
        let twice = decoded(&decoded(&sent));
        prop_assert_eq!(resolved(&twice).len(), own.len());
        let depth = |text: &str| text.replace('\\', "/").matches('/').count();
        prop_assert_eq!(depth(&twice), depth(&sent));
    }
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned()
}

fn resolved(path: &str) -> Vec<String> {
    let mut kept = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            _ => kept.push(segment.to_owned()),
        }
    }
    kept
}
