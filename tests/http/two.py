"""A client of HTTP/2 that writes its frames by hand, so that they can be wrong.

two.py CASE...: the names of functions below. Prints a line a case.
"""
import collections, os, socket, sys, urllib.parse
from hpack import Decoder, Encoder
from hyperframe.frame import (
    ContinuationFrame, DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame,
)

at = urllib.parse.urlsplit(os.environ["GUARD_API_URL"])
SECRET = "GET /v1/secrets/key HTTP/1.1\r\nHost: " + at.netloc + "\r\n\r\n"


class Connection:
    def __init__(self, settings=None):
        self.socket = socket.create_connection((at.hostname, at.port), 60)
        self.encoder, self.decoder, self.held = Encoder(), Decoder(), b""
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self.send(SettingsFrame(0, settings=settings or {}))

    def send(self, *frames):
        self.socket.sendall(b"".join(frame.serialize() for frame in frames))

    def headers(self, stream, fields, *flags):
        # Nothing is indexed, so that what a stream breaks is its own.
        block = self.encoder.encode([(name, value, True) for name, value in fields], huffman=False)
        return HeadersFrame(stream, block, flags=["END_HEADERS", *flags])

    def frames(self):
        """What comes, until the connection is closed."""
        while True:
            while len(self.held) >= 9:
                frame, length = Frame.parse_frame_header(memoryview(self.held[:9]))
                if len(self.held) < 9 + length:
                    break
                frame.parse_body(memoryview(self.held[9:9 + length]))
                self.held = self.held[9 + length:]
                if isinstance(frame, (SettingsFrame, PingFrame)) and "ACK" not in frame.flags:
                    self.acknowledge(frame)
                yield frame
            try:
                piece = self.socket.recv(65536)
            except OSError:
                return
            if not piece:
                return
            self.held += piece

    def acknowledge(self, frame):
        is_ping = isinstance(frame, PingFrame)
        try:
            self.send(PingFrame(0, frame.opaque_data, flags=["ACK"]) if is_ping else SettingsFrame(0, flags=["ACK"]))
        except OSError:
            # It is closed already; what came before that is still read.
            pass

    def answers(self, *streams):
        """Statuses and bodies of streams, or how they or the connection ended."""
        open, said = set(streams), collections.defaultdict(lambda: ["", b""])
        for frame in self.frames():
            if isinstance(frame, GoAwayFrame):
                said["goaway"] = frame.error_code
                return said
            if isinstance(frame, HeadersFrame):
                fields = dict(self.decoder.decode(frame.data))
                if ":status" in fields:
                    said[frame.stream_id][0] = fields[":status"]
                else:
                    said[frame.stream_id].append(fields)
            elif isinstance(frame, DataFrame):
                said[frame.stream_id][1] += frame.data
                # For the connection only.
                if frame.data:
                    self.send(WindowUpdateFrame(0, window_increment=len(frame.data)))
            elif isinstance(frame, RstStreamFrame):
                said[frame.stream_id].append(f"reset {frame.error_code}")
                open.discard(frame.stream_id)
            if "END_STREAM" in frame.flags:
                open.discard(frame.stream_id)
            if not open:
                return said
        return said


def request(method="GET", path="/v1/echo", **other):
    pseudo = {":method": method, ":scheme": "http", ":authority": at.netloc, ":path": path}
    pseudo.update({":" + name: value for name, value in other.items()})
    return [(name, value) for name, value in pseudo.items() if value is not None]


def put(*more):
    return [*request("PUT", "/v1/files/a"), *more]


# Each is sent on a connection of its own: fields, pieces of a body, trailers.
SMUGGLED = {
    "transfer-encoding": (put(("transfer-encoding", "chunked")), [b"0\r\n\r\n" + SECRET.encode()]),
    "connection": ([*request(), ("connection", "x-y")],),
    "keep-alive": ([*request(), ("keep-alive", "timeout=5")],),
    "upgrade": ([*request(), ("upgrade", "h2c")],),
    "te": ([*request(), ("te", "chunked")],),
    "shorter length": (put(("content-length", "5")), [b"12345" + SECRET.encode()]),
    "longer length": (put(("content-length", "500")), [b"12345"]),
    "two lengths": (put(("content-length", "5"), ("content-length", "6")), [b"12345"]),
    "length of no body": (put(("content-length", "5")),),
    "length is none": (put(("content-length", "+5")), [b"12345"]),
    "body of GET": (request(), [SECRET.encode()]),
    "CRLF in a value": ([*request(), ("x", "a\r\n\r\n" + SECRET)],),
    "LF in a value": ([*request(), ("x", "a\nContent-Length: 5")],),
    "NUL in a value": ([*request(), ("x", "a\0b")],),
    "CRLF in a name": ([*request(), ("x: y\r\nz", "a")],),
    "colon in a name": ([*request(), ("x:y", "a")],),
    "space in a name": ([*request(), ("transfer-encoding ", "chunked")],),
    "capitals in a name": ([*request(), ("Content-Length", "5")],),
    "underscore": (put(("content_length", "5")), [b"12345"]),
    "CRLF in the path": (request(path="/v1/echo HTTP/1.1\r\nHost: x\r\n\r\n" + SECRET),),
    "space in the path": (request(path="/v1/echo HTTP/1.1"),),
    "dots in the path": (request(path="/v1/%2e%2e/v1/secrets/key"),),
    "path of secrets": (request(path="/v1/x/../secrets/key"),),
    "path without slash": (request(path="v1/secrets/key"),),
    "URL as path": (request(path="http://evil.example/v1/echo"),),
    "asterisk": (request("OPTIONS", "*"),),
    "empty path": (request(path=""),),
    "no path": (request(path=None),),
    "two paths": ([*request(), (":path", "/v1/secrets/key")],),
    "pseudo behind": ([("x", "y"), *request()],),
    "unknown pseudo": (request(x="y"),),
    "status": (request(status="200"),),
    "CRLF in the method": (request("GET /v1/secrets/key HTTP/1.1\r\nX: y\r\n\r\nGET"),),
    "no method": (request(method=None),),
    "small letters": (request("get"),),
    "TRACE": (request("TRACE"),),
    "CONNECT": ([(":method", "CONNECT"), (":authority", "evil.example:443")],),
    "extended CONNECT": (request("CONNECT", protocol="websocket"),),
    "another host": (request(authority="evil.example"),),
    "user in the host": (request(authority="evil@" + at.netloc),),
    "no host": (request(authority=None),),
    "two hosts": ([*request(), ("host", "evil.example")],),
    "two host headers": ([*request(authority=None), ("host", at.netloc), ("host", "evil.example")],),
    "another scheme": (request(scheme="ftp"),),
    "scheme that is a URL": (request(scheme="http://evil.example/?"),),
    "own credential": ([*request(), ("authorization", "Bearer mine")],),
    "method override": ([*request(), ("x-http-method-override", "DELETE")],),
    "pseudo as trailer": (put(), [b"12345"], [(":path", "/v1/secrets/key")]),
    "length as trailer": (put(), [b"12345"], [("content-length", "5")]),
    "coding as trailer": (put(), [b"12345"], [("transfer-encoding", "chunked")]),
    "credential as trailer": (put(), [b"12345"], [("authorization", "Bearer mine")]),
    "override as trailer": (put(), [b"12345"], [("x-http-method-override", "DELETE")]),
    "header of a rule as trailer": (put(), [b"12345"], [("x-mode", "danger")]),
}


def smuggled():
    for name, (fields, *behind) in SMUGGLED.items():
        body, trailers = behind[0] if behind else [], behind[1] if behind[1:] else None
        c = Connection()
        ends = ["END_STREAM"]
        frames = [c.headers(1, fields, *([] if body or trailers else ends))]
        for number, piece in enumerate(body):
            last = number + 1 == len(body) and not trailers
            frames.append(DataFrame(1, piece, flags=ends if last else []))
        if trailers:
            frames.append(c.headers(1, trailers, *ends))
        try:
            c.send(*frames)
            said = c.answers(1)
        except OSError:
            said = {1: ["closed"]}
        print(name, "|", said[1][0], "|", [it for it in said[1][2:]], said.get("goaway"), flush=True)


def cookies():
    """Crumbs of a cookie are one header, and a header of the resource's name may be spelled as a client likes."""
    c = Connection()
    c.send(c.headers(1, [*request(), ("cookie", "a=1"), ("cookie", "b=2"), ("host", at.netloc.upper())], "END_STREAM"))
    print(c.answers(1)[1][1].decode())


def stalled():
    """A stream that is not read holds up no other one."""
    c = Connection()
    c.send(WindowUpdateFrame(0, window_increment=1 << 24))
    c.send(c.headers(1, request(path="/v1/large"), "END_STREAM"))
    for frame in c.frames():
        if isinstance(frame, HeadersFrame):
            c.decoder.decode(frame.data)
        if isinstance(frame, DataFrame):
            break
    c.send(c.headers(3, request(path="/v1/echo?second"), "END_STREAM"))
    said = c.answers(3)
    print(said[3][0], len(said[1][1]) < 100_000)


def parallel():
    """The answer to the first comes when the server has the second."""
    c = Connection()
    c.send(c.headers(1, request(path="/v1/hold"), "END_STREAM"))
    c.send(c.headers(3, request(path="/v1/release"), "END_STREAM"))
    said = c.answers(1, 3)
    print(said[1], said[3])


def resets():
    """CVE-2023-44487."""
    c = Connection()
    try:
        for number in range(2000):
            c.send(c.headers(2 * number + 1, request(), "END_STREAM"), RstStreamFrame(2 * number + 1, error_code=8))
    except OSError:
        pass
    for frame in c.frames():
        pass
    print("closed")


def continuations():
    """CVE-2024-27316: a head without end."""
    c = Connection()
    block = c.encoder.encode([("x-%d" % number, "y" * 100) for number in range(50)], huffman=False)
    c.send(HeadersFrame(1, c.encoder.encode(request()), flags=["END_STREAM"]))
    try:
        for number in range(2000):
            c.send(ContinuationFrame(1, block))
    except OSError:
        pass
    for frame in c.frames():
        pass
    print("closed")


def heads():
    """A head that is too large is refused, and the others go on."""
    c = Connection()
    fields = [(f"x-{number}", "y" * 4000) for number in range(20)]
    frame = c.headers(1, [*request(), *fields], "END_STREAM")
    pieces = [frame.data[at:at + 16000] for at in range(0, len(frame.data), 16000)]
    c.send(HeadersFrame(1, pieces[0], flags=["END_STREAM"]))
    for number, piece in enumerate(pieces[1:], 2):
        c.send(ContinuationFrame(1, piece, flags=["END_HEADERS"] if number == len(pieces) else []))
    c.send(c.headers(3, request(), "END_STREAM"))
    said = c.answers(1, 3)
    print(said[1][0], said[3][0])


def streams():
    """More at once than are allowed are refused, not queued without end."""
    c = Connection()
    count = 400
    for number in range(count):
        c.send(c.headers(2 * number + 1, put()))
    refused = 0
    for frame in c.frames():
        if isinstance(frame, RstStreamFrame):
            refused += 1
            if refused == count - 100:
                break
        if isinstance(frame, GoAwayFrame):
            break
    print("refused" if refused else "none")


def pings():
    """Pings and settings that nobody reads the answers of; others are served all the same."""
    c = Connection()
    c.socket.settimeout(2)
    try:
        for number in range(2000):
            c.send(*[PingFrame(0, b"12345678")] * 50, *[SettingsFrame(0, settings={})] * 50)
    except OSError:
        pass
    other = Connection()
    other.send(other.headers(1, request(), "END_STREAM"))
    print(other.answers(1)[1][0])


for name in sys.argv[1:]:
    globals()[name]()
