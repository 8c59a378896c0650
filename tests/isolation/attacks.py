"""Tries what a command under guard must not get, and prints as JSON which of it went through.

The arguments are a JSON object: what the test has set up for each attempt. Everything is on this machine.
"""

import ctypes
import json
import os
import socket
import struct
import subprocess
import sys

setup = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)


def tcp(host, port, family=socket.AF_INET):
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(3)
        client.connect((host, port))


def answered(client, message):
    client.settimeout(3)
    client.send(message)
    if not client.recv(512):
        raise OSError("no answer")


def udp(host, port, family=socket.AF_INET):
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.connect((host, port))
        answered(client, b"ping")


def dns():
    query = struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + b"\x07example\x03com\x00\x00\x01\x00\x01"
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", setup["udp"]))
            answered(client, query)
    except OSError:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
            client.settimeout(3)
            client.connect(("127.0.0.1", setup["tcp"]))


def unix(address):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(3)
        client.connect(address)


def fast_open():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.sendto(b"x", 0x20000000, ("127.0.0.1", setup["tcp"]))
        client.getpeername()


def mptcp():
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as client:
        client.settimeout(3)
        client.connect(("127.0.0.1", setup["tcp"]))


def made(*arguments):
    socket.socket(*arguments).close()


def io_uring():
    parameters = ctypes.create_string_buffer(256)
    if libc.syscall(425, 4, parameters) < 0:
        raise OSError(ctypes.get_errno(), "io_uring_setup")


def listen():
    """A server that others could connect to: from outside it is."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
        server.bind(("127.0.0.1", setup["listen"]))
        server.listen()
        server.settimeout(4)
        print("listening", file=sys.stderr, flush=True)
        server.accept()


def shims():
    """Processes that are guard: the shim, if it can be seen at all."""
    found = []
    for name in os.listdir("/proc"):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                line = file.read().split(b"\0")
        except OSError:
            continue
        if name.isdigit() and line[1:2] == [b"run"] and setup["marker"].encode() in b" ".join(line):
            found.append(int(name))
    if not found:
        raise OSError("there is none")
    return found


def memory():
    for pid in shims():
        with open(f"/proc/{pid}/maps") as maps:
            heap = next(line for line in maps if "[heap]" in line)
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
            file.seek(int(heap.split("-")[0], 16))
            if not file.read(16):
                raise OSError("nothing")


def environment():
    for pid in shims():
        with open(f"/proc/{pid}/environ", "rb") as file:
            if setup["token"].encode() not in file.read():
                raise OSError("not there")


def files_of_the_shim():
    for pid in shims():
        for name in os.listdir(f"/proc/{pid}/fd"):
            os.readlink(f"/proc/{pid}/fd/{name}")


def traced():
    for pid in shims():
        if libc.ptrace(16, pid, 0, 0) < 0:
            raise OSError(ctypes.get_errno(), "ptrace")
        os.waitpid(pid, 0x40000000)
        libc.ptrace(17, pid, 0, 0)


def copied():
    for pid in shims():
        pidfd = os.pidfd_open(pid)
        if libc.syscall(438, pidfd, 0, 0) < 0:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")


def signalled():
    for pid in shims():
        os.kill(pid, 0)


def group():
    """Whether a signal to the own process group would reach the shim."""
    if os.getpgid(0) not in [os.getpgid(pid) for pid in shims()]:
        raise OSError("another group")


def own_environment():
    if setup["token"] not in "".join(os.environ.values()):
        raise OSError("not there")


def privileges():
    """A program with the set-user-ID bit, owned by another user."""
    said = subprocess.run([setup["setuid"], "-u"], capture_output=True, text=True, check=True)
    if said.stdout.strip() != str(setup["owner"]):
        raise OSError("not raised")


def elsewhere():
    with open(os.path.join(setup["elsewhere"], "written"), "w") as file:
        file.write("x")


def temporary():
    with open(setup["temporary"]) as file:
        file.read()


def daemon():
    """Left behind; the test looks whether it is there after the run."""
    subprocess.Popen(
        ["setsid", "sleep", setup["daemon"]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def shim_listener():
    tcp("127.0.0.1", int(os.environ["PGPORT"]))


attempts = {
    "guard": shim_listener,
    "tcp": lambda: tcp("127.0.0.1", setup["database"]),
    "tcp6": lambda: tcp("::1", setup["tcp6"], socket.AF_INET6),
    "metadata": lambda: tcp(setup["metadata"], setup["metadata_port"]),
    "fast_open": fast_open,
    "mptcp": mptcp,
    "udp": lambda: udp("127.0.0.1", setup["udp"]),
    "udp6": lambda: udp("::1", setup["udp6"], socket.AF_INET6),
    "dns": dns,
    "raw": lambda: made(socket.AF_INET, socket.SOCK_RAW, 1),
    "netlink": lambda: made(socket.AF_NETLINK, socket.SOCK_RAW, 0),
    "vsock": lambda: made(40, socket.SOCK_STREAM, 0),
    "io_uring": io_uring,
    "unix": lambda: unix(setup["unix"]),
    "abstract": lambda: unix("\0" + setup["abstract"]),
    "listen": listen,
    "memory": memory,
    "environment": environment,
    "descriptors": files_of_the_shim,
    "ptrace": traced,
    "pidfd": copied,
    "signal": signalled,
    "group": group,
    "own": own_environment,
    "setuid": privileges,
    "elsewhere": elsewhere,
    "temporary": temporary,
    "daemon": daemon,
}

found = {}
for name, attempt in attempts.items():
    try:
        attempt()
        found[name] = "open"
    except Exception as error:
        found[name] = f"stopped: {error}"
print(json.dumps(found))
