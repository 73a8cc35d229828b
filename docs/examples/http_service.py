"""A small service: POST a photo, get its objects as JSON.

    python http_service.py 8080
    curl --data-binary @dog.jpg http://localhost:8080/
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import clnn

LARGEST_BYTES = 20_000_000


class Handler(BaseHTTPRequestHandler):
    """Answers each request in a thread of its own; all threads share the server's detector, hence its session."""

    timeout = 30

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or not 0 < int(length) <= LARGEST_BYTES:
            self.answer(413, {"error": f"send 1 to {LARGEST_BYTES} bytes, with their Content-Length"})
            return
        try:
            found = self.server.detector(self.rfile.read(int(length)))
        except clnn.InputError as error:
            self.answer(400, {"error": str(error)})
        except clnn.ClnnError as error:
            self.answer(500, {"error": str(error)})
        else:
            self.answer(200, {"detections": [each.to_dict() for each in found]})

    def answer(self, status: int, content: dict) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def serve(detector: clnn.Detector, port: int) -> ThreadingHTTPServer:
    """A server on this machine's own address, ready for ``serve_forever``."""
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.detector = detector
    return server


if __name__ == "__main__":
    with clnn.Detector() as detector, serve(detector, int(sys.argv[1])) as server:
        server.serve_forever()
