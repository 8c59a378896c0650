"""moto behind a check of signatures that nobody of moto, of botocore or of guard wrote: Signature Version 4 as AWS describes it, from
the standard library alone. What is not signed with a key that moto gave is refused, and so is a body that is another than was signed.

aws.py FILE ADDRESS CERTIFICATE KEY KEY_ID SECRET    prints the ports of STS, without TLS, and of all services, with TLS at ADDRESS

Each request that was taken is a line of FILE.
"""
import hashlib, hmac, io, json, re, sys, threading, urllib.parse

from moto.server import DomainDispatcherApplication, create_backend_app
from moto.sts.models import sts_backends
from werkzeug.serving import make_server

file, address, certificate, key, own_id, own_secret = sys.argv[1:]
seen, lock = open(file, "a", buffering=1), threading.Lock()
app = DomainDispatcherApplication(create_backend_app)
FORM = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def sign(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def quote(text, safe=""):
    return urllib.parse.quote(text, safe=safe + "-_.~")


def secret_of(key_id):
    if key_id == own_id:
        return own_secret, None
    for account in list(sts_backends):
        for role in sts_backends[account]["aws"].assumed_roles:
            if role.access_key_id == key_id:
                return role.secret_access_key, role.session_token
    raise ValueError(f"nobody has the key {key_id}")


def header(environ, name):
    name = name.upper().replace("-", "_")
    return environ.get(name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}")


def check(environ, body):
    found = FORM.fullmatch(header(environ, "authorization") or "")
    if not found:
        raise ValueError("there is no signature")
    key_id, day, region, service, names, signature = found.groups()
    secret, token = secret_of(key_id)
    if header(environ, "x-amz-security-token") != token:
        raise ValueError("the token of the session is another")
    names = names.split(";")
    own = [name[5:].lower().replace("_", "-") for name in environ if name.startswith("HTTP_X_AMZ_")]
    missing = {"host", *own} - {"x-amz-content-sha256"} - set(names)
    if missing or names != sorted(names):
        raise ValueError(f"not signed: {missing}")
    target = environ.get("RAW_URI") or environ["REQUEST_URI"]
    path, _, query = target.partition("?")
    said = header(environ, "x-amz-content-sha256")
    if service == "s3":
        path, digest = quote(urllib.parse.unquote(path), "/"), said
        if said == "STREAMING-UNSIGNED-PAYLOAD-TRAILER":
            assert header(environ, "content-encoding") == "aws-chunked"
        elif said != "UNSIGNED-PAYLOAD" and said != sha256(body):
            raise ValueError("the body is another than was signed")
        elif said == "UNSIGNED-PAYLOAD" and environ["wsgi.url_scheme"] != "https":
            raise ValueError("the body is not signed")
    else:
        path, digest = quote(path, "/"), sha256(body)
    pairs = sorted((quote(name), quote(value)) for name, value in urllib.parse.parse_qsl(query, keep_blank_values=True))
    lines = [environ["REQUEST_METHOD"], path, "&".join(f"{name}={value}" for name, value in pairs)]
    lines += [f"{name}:{' '.join((header(environ, name) or '').split())}" for name in names] + ["", ";".join(names), digest]
    scope = f"{day}/{region}/{service}/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", header(environ, "x-amz-date"), scope, sha256("\n".join(lines).encode())])
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, "aws4_request"):
        key = sign(key, part)
    if sign(key, text).hex() != signature:
        raise ValueError("the signature is another than\n" + "\n".join(lines))
    return {"key": key_id, "token": token, "service": service, "region": region, "payload": said, "method": environ["REQUEST_METHOD"], "target": target}


def checked(environ, start):
    length = int(environ.get("CONTENT_LENGTH") or 0)
    terminated = environ.get("wsgi.input_terminated")
    body = environ["wsgi.input"].read() if terminated else environ["wsgi.input"].read(length)
    environ["wsgi.input"] = io.BytesIO(body)
    try:
        found = check(environ, body)
    except Exception as error:
        text = f"<Error><Code>SignatureDoesNotMatch</Code><Message>{error}</Message></Error>".encode()
        start("403 Forbidden", [("Content-Type", "application/xml"), ("Content-Length", str(len(text)))])
        return [text]
    with lock:
        seen.write(json.dumps(found) + "\n")
    return app(environ, start)


plain = make_server("127.0.0.1", 0, checked, threaded=True)
tls = make_server(address, 0, checked, threaded=True, ssl_context=(certificate, key))
threading.Thread(target=plain.serve_forever, daemon=True).start()
print(plain.port, tls.port, flush=True)
tls.serve_forever()
