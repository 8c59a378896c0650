"""An API as tests want one: it writes down what reaches it, and answers in the ways that servers do.

upstream.py FILE [ADDRESS CERTIFICATE KEY [AUTHORITY OF CLIENTS]]
"""
import gzip, json, ssl, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

seen = open(sys.argv[1], "a", buffering=1)
lock = threading.Lock()
USERS = {"users": [{"id": 1, "email": "ann@shop.example", "plan": "free"}, {"id": 2, "email": "bob@shop.example", "plan": None}]}


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
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def any(self):
        body = self.read_body()
        head = [[name.lower(), value] for name, value in self.headers.items()]
        with lock:
            seen.write(json.dumps({"method": self.command, "target": self.path, "headers": head, "body": len(body), **self.client()}) + "\n")
        path = self.path.split("?")[0]
        shown = {"method": self.command, "target": self.path, "headers": dict(head), "body": body.decode(errors="replace")[:2000]}
        if path == "/v1/users":
            self.answer(200, json.dumps(USERS), headers=[("ETag", '"abc"')])
        elif path == "/v1/text":
            self.answer(200, "ann@shop.example", "text/plain")
        elif path == "/v1/zipped":
            self.answer(200, gzip.compress(json.dumps(shown).encode()), headers=[("Content-Encoding", "gzip")])
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

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = any


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
