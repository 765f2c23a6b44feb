"""Takes the worker's place and does what a worker does not do on command; the "rules" that it is given say what."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import termios
import time

READY = b'{"database": "1", "rules": 0, "warnings": 0}\n'
ANSWERS = {
    "garbage": b"it is clean, believe me\n",
    "unknown fields": b'{"matches": [], "bytes_scanned": 5, "clean": true}\n',
    "nothing": b"{}\n",
    "fewer bytes": b'{"matches": [], "bytes_scanned": 4}\n',
    "no matches": b'{"bytes_scanned": 5}\n',
    "endless": b"x" * (5 * 1024 * 1024),
    "half": b'{"matches": [], "bytes_scanned": 5}',
    "unreadable": b'{"unreadable": "it is written in pencil"}\n',
    "found early": b'{"matches": [["Found", ""]], "bytes_scanned": 1}\n',
}


def main() -> None:
    parent = socket.socket(fileno=os.dup(0))
    (what,) = json.loads(parent.recv(65536))["rules"] or [""]
    if what == "dies before it is ready":
        sys.exit("it has a cold")
    if what == "garbage before it is ready":
        parent.sendall(b"hello\n")
        return
    if what == "incomplete before it is ready":
        parent.sendall(b'{"database": "1"}\n')
        return
    if what == "never ready":
        time.sleep(60)
    parent.sendall(READY)
    if what == "speaks unasked":
        while int.from_bytes(fcntl.ioctl(parent, termios.TIOCOUTQ, bytes(4)), sys.byteorder):
            time.sleep(0.001)  # until the server has read that we are ready
        parent.sendall(b'{"matches": [], "bytes_scanned": 5}\n')
    while parent.recv(65536):
        if what == "dies":
            sys.exit("first line\nit has a cold")
        parent.sendall(ANSWERS[what])
        if what == "half":
            return


if __name__ == "__main__":
    main()
