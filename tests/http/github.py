"""A stand-in for GitHub's API: it knows one App, whose tokens it makes and revokes, and the releases of a repository. Written from
<https://docs.github.com/en/rest>; GitHub itself cannot be asked here.

github.py FILE PUBLIC_KEY ADDRESS CERTIFICATE KEY    prints its ports: without TLS for Apps, with TLS at ADDRESS for all

What was asked is a line of FILE each.
"""
import base64, json, ssl, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

file, public_key, address, certificate, key = sys.argv[1:]
app = serialization.load_pem_public_key(open(public_key, "rb").read())
seen, lock, tokens, releases = open(file, "a", buffering=1), threading.Lock(), {}, []


def decoded(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def is_app(assertion):
    head, claims, signature = assertion.split(".")
    app.verify(decoded(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
    claims = json.loads(decoded(claims))
    lasts = claims["iat"] <= time.time() <= claims["exp"] <= claims["iat"] + 600
    return json.loads(decoded(head))["alg"] == "RS256" and claims["iss"] == "4711" and lasts


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, value=None):
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kind, _, shown = (self.headers.get("Authorization") or "").partition(" ")
        if kind.lower() == "basic":
            user, _, shown = base64.b64decode(shown).decode().partition(":")
        path = self.path.split("?")[0].removeprefix("/api/v3")
        with lock:
            seen.write(json.dumps({"asked": f"{self.command} {path}", "body": body.decode(), "token": shown}) + "\n")
        if (self.command, path) == ("POST", "/app/installations/7/access_tokens"):
            try:
                assert is_app(shown)
            except Exception:
                return self.answer(401, {"message": "A JSON web token could not be decoded"})
            wanted = json.loads(body)
            if wanted["repositories"] != ["shop"]:
                return self.answer(422, {"message": "There is at least one repository that does not exist"})
            token = f"ghs_{len(tokens)}0123456789abcdefghijklmnopqrstuvwxyz"
            tokens[token] = wanted["permissions"]
            ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
            return self.answer(201, {"token": token, "expires_at": ends, "permissions": wanted["permissions"]})
        if shown not in tokens:
            return self.answer(401, {"message": "Bad credentials"})
        if (self.command, path) == ("DELETE", "/installation/token"):
            del tokens[shown]
            return self.answer(204)
        if path == "/repos/acme/shop/releases" and self.command == "GET":
            return self.answer(200, releases)
        if path == "/repos/acme/shop/releases" and tokens[shown].get("contents") == "write":
            releases.append({"id": len(releases) + 1, **json.loads(body)})
            return self.answer(201, releases[-1])
        if path == "/repos/acme/shop":
            return self.answer(200, {"id": 1, "name": "shop", "full_name": "acme/shop", "permissions": {"push": True}})
        self.answer(404, {"message": "Not Found"})

    do_GET = do_POST = do_DELETE = any


def serve(at):
    server = ThreadingHTTPServer((at, 0), Handler)
    server.daemon_threads = True
    return server


plain, tls = serve("127.0.0.1"), serve(address)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
tls.socket = context.wrap_socket(tls.socket, server_side=True, do_handshake_on_connect=False)
threading.Thread(target=plain.serve_forever, daemon=True).start()
print(plain.server_address[1], tls.server_address[1], flush=True)
tls.serve_forever()
