"""An API as tests want one: it writes down what reaches it, and answers in the ways that servers do.

upstream.py FILE [ADDRESS CERTIFICATE KEY [AUTHORITY OF CLIENTS]]
"""
import base64, gzip, hashlib, json, ssl, sys, threading, zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

seen = open(sys.argv[1], "a", buffering=1)
lock = threading.Lock()
released = threading.Event()
states = {}
USERS = {"users": [{"id": 1, "email": "ann@shop.example", "plan": "free"}, {"id": 2, "email": "bob@shop.example", "plan": None}]}
PEOPLE = b'{"users":[{"email":"ann@shop.example"},{"email":"bob@shop.example"}]}'
# The same in codings that Python does not know.
CODED = {
    "br": "G0QA4J0Hts0juyELC157jzyrRfbEtmaY2Fuz6HT1aREXIDewAQfioS8vOm10j1AqlsRYXH6MfCly8RlCfTc=",
    "zstd": "KLUv/QRYtQEAxAJ7InVzZXJzIjpbeyJlbWFpbCI6ImFubkBzaG9wLmV4YW1wbGUifSxib2JdfQIAoI+DTT0BcPk2bA==",
}


def coded(coding, text):
    if coding in CODED:
        return base64.b64decode(CODED[coding])
    return {"gzip": gzip.compress, "deflate": zlib.compress, "compress": bytes, "identity": bytes}[coding](text)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, kind="application/json", headers=()):
        body = body if isinstance(body, bytes) else body.encode()
        self.send_response(status)
        for name, value in [("Content-Type", kind), ("Content-Length", str(len(body))), *headers]:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def client(self):
        if not sys.argv[5:]:
            return {}
        subject = self.connection.getpeercert()["subject"]
        return {"certificate": subject[0][0][1]}

    def read_body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            while (line := self.rfile.readline().strip()):
                self.trailers.append(line.decode())
            return body
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def any(self):
        self.trailers = []
        body = self.read_body()
        head = [[name.lower(), value] for name, value in self.headers.items()]
        with lock:
            seen.write(json.dumps({"method": self.command, "target": self.path, "headers": head, "body": len(body), "trailers": self.trailers, **self.client()}) + "\n")
        path = self.path.split("?")[0]
        shown = {"method": self.command, "target": self.path, "headers": dict(head), "body": body.decode(errors="replace")[:2000]}
        if path == "/v1/users":
            self.answer(200, json.dumps(USERS), headers=[("ETag", '"abc"')])
        elif path == "/v1/text":
            self.answer(200, "ann@shop.example", "text/plain")
        elif path == "/v1/zipped":
            self.answer(200, gzip.compress(json.dumps(shown).encode()), headers=[("Content-Encoding", "gzip")])
        elif path.startswith("/v1/coded/"):
            codings, what = path.split("/")[3:5]
            text = b'{"a":"' + b"0" * (64 << 20) + b'"}' if what == "bomb" else PEOPLE
            for coding in codings.split(","):
                text = coded(coding, text)
            text = text[:-1] if what == "cut" else text + b"ann@shop.example" if what == "behind" else text
            headers = [("Content-Encoding", codings), ("ETag", '"abc"'), ("Content-MD5", "x"), ("Vary", "Accept-Encoding")]
            self.answer(206 if what == "part" else 200, text, headers=headers)
        elif path == "/v1/person":
            cookies = [("Set-Cookie", "sid=s3ss10n; Path=/; HttpOnly"), ("Set-Cookie", "theme=dark; Path=/")]
            self.answer(200, "{}", headers=[("X-Customer-Email", "ann@shop.example"), *cookies])
        elif path == "/v1/cards":
            self.answer(200, '{"card":4111111111111111,"note":"to \\u0061nn\\u0040shop.example","id":17}', headers=[("ETag", '"abc"')])
        elif path == "/v1/form":
            self.answer(200, "plan=free&%65mail=ann%40shop.example", "application/x-www-form-urlencoded")
        elif path == "/v1/redirect":
            self.answer(302, "", headers=[("Location", self.headers.get("X-To") or "/v1/echo")])
        elif path == "/v1/mirror":
            sent = [self.headers.get(name) for name in ("Authorization", "X-Api-Key", "Cookie")]
            own = next(filter(None, sent), self.path)
            self.answer(401, own, "text/plain", [("X-Echo", own), ("Location", f"https://elsewhere.example/?token={own}")])
        elif path == "/v1/renewed":
            self.answer(200, "", headers=[("Set-Cookie", "session=fresh; Path=/"), ("Set-Cookie", "theme=light")])
        elif path == "/v1/split":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: a\r\n\tSet-Cookie: b\r\n\r\nok")
        elif path == "/v1/two-lengths":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 4\r\n\r\nokok")
            self.close_connection = True
        elif path == "/v1/large":
            self.answer(200, b"x" * 3_000_000, "application/octet-stream")
        elif path == "/v1/live":
            self.switch(self.path.partition("how=")[2])
        elif path.startswith("/v1/state/"):
            # As Terraform's backend `http` wants it.
            with lock:
                state = states.get(path)
                if self.command == "POST":
                    states[path] = body
            self.answer(404 if self.command == "GET" and state is None else 200, state or b"" if self.command == "GET" else b"")
        elif path == "/v1/hold":
            self.answer(200 if released.wait(60) else 504, "held")
        elif path == "/v1/release":
            released.set()
            self.answer(200, "released")
        elif path == "/v1/trailers":
            own = self.headers.get("Authorization") or ""
            trailers = {"X-Checksum": "7", "X-Own": own, "Set-Cookie": "a=b", "Content-Length": "5", "Content-Digest": "8"}
            self.send_response(200)
            for name, value in [("Content-Type", "text/plain"), ("Transfer-Encoding", "chunked"), ("Trailer", ", ".join(trailers))]:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"5\r\nhello\r\n0\r\n" + b"".join(f"{name}: {value}\r\n".encode() for name, value in trailers.items()) + b"\r\n")
        elif path == "/v1/events":
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for number in range(3):
                event = b'data: {"number": %d, "email": "ann@shop.example"}\n\n' % number
                self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.answer(404 if path == "/v1/missing" else 200, json.dumps(shown))

    def switch(self, how):
        """Answers to a handshake, of which one is right."""
        accept = base64.b64encode(hashlib.sha1((self.headers.get("Sec-WebSocket-Key", "") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        said = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept}
        said.update({
            "accept": {"Sec-WebSocket-Accept": "x" * 28},
            "token": {"Upgrade": "h2c"},
            "extensions": {"Sec-WebSocket-Extensions": "permessage-deflate"},
            "protocol": {"Sec-WebSocket-Protocol": "chat"},
        }.get(how, {}))
        if how == "silent":
            said = {}
        if how == "plain":
            return self.answer(200, "no")
        # What comes behind is read as requests: a tunnel would carry them past guard.
        self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\n" + b"".join(f"{name}: {value}\r\n".encode() for name, value in said.items()) + b"\r\n")

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_LOCK = do_UNLOCK = any


server = ThreadingHTTPServer((sys.argv[2] if sys.argv[2:] else "127.0.0.1", 0), Handler)
if sys.argv[3:]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[3:5])
    if sys.argv[5:]:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(sys.argv[5])
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.daemon_threads = True
print(server.server_address[1], flush=True)
server.serve_forever()
