"""A service of gRPC, and a client that calls it. Messages are bytes, so that nothing needs to be generated.

calls.py serve [CERTIFICATE KEY] writes its port, and then a line for each call that reaches it
calls.py call ADDRESS
"""
import sys, threading
from concurrent import futures
import grpc

METHODS = {"Get": (False, False), "List": (False, True), "Add": (True, False), "Talk": (True, True), "Mirror": (False, False), "Delete": (False, False)}


class Service(grpc.GenericRpcHandler):
    def service(self, call):
        package, _, name = call.method.strip("/").partition("/")
        print(call.method, dict(call.invocation_metadata).get("authorization"), flush=True)
        behavior = getattr(self, name)
        kind = {(False, False): "unary_unary", (False, True): "unary_stream", (True, False): "stream_unary", (True, True): "stream_stream"}[METHODS[name]]
        return getattr(grpc, kind + "_rpc_method_handler")(behavior)

    def Get(self, message, context):
        context.set_trailing_metadata((("x-cost", "7"),))
        return b"got " + message

    def List(self, message, context):
        for number in range(3):
            yield b"%s %d" % (message, number)

    def Add(self, messages, context):
        return b"+".join(messages)

    def Talk(self, messages, context):
        for message in messages:
            yield b"heard " + message

    def Mirror(self, message, context):
        own = dict(context.invocation_metadata())["authorization"]
        context.set_trailing_metadata((("x-own", own),))
        context.set_code(grpc.StatusCode.NOT_FOUND)
        context.set_details("nobody is " + own)
        return b""

    def Delete(self, message, context):
        return b"deleted"


def serve(certificate=None, key=None):
    server = grpc.server(futures.ThreadPoolExecutor(8), handlers=[Service()])
    if certificate is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        chain, key = open(certificate, "rb").read(), open(key, "rb").read()
        port = server.add_secure_port("127.0.0.2:0", grpc.ssl_server_credentials([(key, chain)]))
    print(port, flush=True)
    server.start()
    server.wait_for_termination()


def call(address):
    channel = grpc.insecure_channel(address)
    kinds = {"Get": channel.unary_unary, "List": channel.unary_stream, "Add": channel.stream_unary, "Talk": channel.stream_stream}
    method = lambda name: kinds.get(name, channel.unary_unary)("/shop.v1.Orders/" + name)
    answer, got = method("Get").with_call(b"seven", timeout=60)
    print(answer.decode(), dict(got.trailing_metadata()).get("x-cost"))
    print(b", ".join(method("List")(b"order", timeout=60)).decode())
    print(method("Add")(iter([b"1", b"2", b"3"]), timeout=60).decode())

    # Each message is sent when the one before was answered.
    heard, turn = [], threading.Semaphore()

    def messages():
        for number in range(3):
            turn.acquire()
            yield b"%d" % number

    for message in method("Talk")(messages(), timeout=60):
        heard.append(message.decode())
        turn.release()
    print(", ".join(heard))
    # Many at once, over the one connection.
    calls = [method("Get").future(b"%d" % number, timeout=60) for number in range(50)]
    print(sum(it.result().startswith(b"got") for it in calls))
    for name in ["Mirror", "Delete"]:
        try:
            method(name)(b"seven", timeout=60)
        except grpc.RpcError as error:
            print(error.code().name, error.details(), dict(error.trailing_metadata() or ()).get("x-own"))


if sys.argv[1] == "serve":
    serve(*sys.argv[2:])
else:
    call(sys.argv[2])
