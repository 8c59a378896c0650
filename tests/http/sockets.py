"""A server of WebSockets, and clients of it.

sockets.py serve            writes its port, and then a line for each connection
sockets.py talk|stay|much   speak with it through the API's address
"""
import os, sys
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect, unix_connect
from websockets.sync.server import serve


def handle(socket):
    own = socket.request.headers.get("Authorization", "")
    print(socket.request.path, own, socket.request.headers.get("Sec-WebSocket-Extensions"), flush=True)
    socket.send("you are " + own)
    # One message in three frames.
    socket.send(iter(["still ", own[:12], own[12:]]))
    for message in socket:
        socket.send(message)


def url(path):
    return os.environ["GUARD_API_URL"].replace("http://", "ws://") + path


def talk():
    for open in [
        lambda: connect(url("/v1/live?x=1")),
        lambda: unix_connect(os.environ["GUARD_API_SOCKET"], "ws://localhost/v1/live?x=2"),
    ]:
        with open() as socket:
            print(socket.recv(), "|", socket.recv())
            socket.send("hello")
            print(socket.recv())
            large = os.urandom(300_000)
            socket.send(large)
            print(socket.recv() == large)
    try:
        connect(url("/v1/secrets/live"))
    except Exception as error:
        print(error)


def stay():
    with connect(url("/v1/live")) as socket:
        try:
            while True:
                print(socket.recv(), flush=True)
        except ConnectionClosed as error:
            print("closed", error.rcvd and error.rcvd.code, flush=True)


def much():
    with connect(url("/v1/live"), max_size=None) as socket:
        try:
            socket.recv(), socket.recv()
            while True:
                socket.send(b"x" * 100_000)
                socket.recv()
        except ConnectionClosed as error:
            print("closed", error.rcvd and error.rcvd.code)


if sys.argv[1] == "serve":
    with serve(handle, "127.0.0.1", 0) as server:
        print(server.socket.getsockname()[1], flush=True)
        server.serve_forever()
else:
    globals()[sys.argv[1]]()
