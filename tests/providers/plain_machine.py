"""A machine for tests of the LXC keeper alone, run by it as `python plain_machine.py LAST-PART-OF-ITS-ADDRESS`: a
process in a network namespace of its own on the keeper's bridge. It echoes what comes to port 7, and for a line
`ADDRESS PORT TEXT` it tells what is answered there, by TCP at its port 8 and by UDP at its port 9."""

from __future__ import annotations

import ctypes
import os
import socket
import socketserver
import subprocess
import sys
import threading

CLONE_NEWNET = 0x40000000


class Echo(socketserver.BaseRequestHandler):
    """Gives back what it gets."""

    def handle(self) -> None:
        while data := self.request.recv(65536):
            self.request.sendall(data)


class EchoDatagram(socketserver.BaseRequestHandler):
    """Gives back what it gets."""

    def handle(self) -> None:
        data, own = self.request
        own.sendto(data, self.client_address)


class Ask(socketserver.StreamRequestHandler):
    """Connects to ADDRESS PORT TEXT and answers with what comes back, or with the name of the error."""

    def handle(self) -> None:
        address, port, text = self.rfile.readline().decode().split()
        try:
            with socket.create_connection((address, int(port)), timeout=5) as other:
                other.sendall(text.encode())
                self.wfile.write(other.recv(100))
        except OSError as error:
            self.wfile.write(type(error).__name__.encode())


class Resolve(socketserver.StreamRequestHandler):
    """Sends a question to ADDRESS PORT by UDP and answers with what comes back, or with the name of the error."""

    def handle(self) -> None:
        address, port, text = self.rfile.readline().decode().split()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(5)
            asking.sendto(text.encode(), (address, int(port)))
            try:
                self.wfile.write(asking.recv(100))
            except OSError as error:
                self.wfile.write(type(error).__name__.encode())


class Server(socketserver.ThreadingTCPServer):
    """One port."""

    allow_reuse_address = daemon_threads = True
    request_queue_size = 512


def _ip(line: str) -> None:
    subprocess.run(["ip", *line.split()], check=True)


def _serve(last: str) -> None:
    _ip("link set lo up")
    _ip(f"address add 10.0.2.{last}/24 dev eth0")
    _ip("link set eth0 up")
    _ip("route add default via 10.0.2.2")
    servers: list[socketserver.BaseServer] = [Server(("", 7), Echo), Server(("", 8), Ask), Server(("", 9), Resolve)]
    servers.append(socketserver.ThreadingUDPServer(("", 7), EchoDatagram))
    for server in servers:
        threading.Thread(target=server.serve_forever).start()
    os.write(1, b"ready\n")


def main() -> None:
    """See the module."""
    last = sys.argv[1]
    joined, joining = os.pipe()
    go, going = os.pipe()
    machine = os.fork()
    if machine == 0:
        ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
        if ctypes.CDLL(None).unshare(CLONE_NEWNET):
            raise OSError("no network namespace")
        os.write(joining, b"j")
        os.read(go, 1)
        _serve(last)
        return
    os.read(joined, 1)
    outer = f"outer{machine}"  # never that of a machine before, which the kernel may still be removing
    _ip(f"link add {outer} type veth peer name eth0 netns {machine}")
    _ip(f"link set {outer} master br0 up")
    os.write(going, b"g")
    os.waitpid(machine, 0)


if __name__ == "__main__":
    main()
