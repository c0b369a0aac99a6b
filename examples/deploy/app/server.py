"""The application: says which release it is."""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

GREETING = (Path(__file__).parent / "greeting.txt").read_text()
RELEASE = Path(__file__).resolve().parent.name


class Page(BaseHTTPRequestHandler):
    """Every path is the same page."""

    def do_GET(self) -> None:
        """See `BaseHTTPRequestHandler`."""
        body = f"{GREETING.strip()} This is release {RELEASE}.\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("", int(sys.argv[1])), Page).serve_forever()
