"""A small OpenAI-compatible server for tests: it checks each request strictly, answers from a list, and misbehaves."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from jsonschema import Draft202012Validator
from PIL import Image

KEY = "sk-test-0123456789"
_KNOWN = {
    "model", "messages", "max_tokens", "temperature", "n", "stream", "stop", "logprobs", "top_logprobs",
    "response_format", "continue_final_message", "add_generation_prompt",
}  # fmt: skip


class Broken(Exception):
    """A request that breaks the protocol; the client is told 400, and the test fails on it."""


@dataclass
class Reply:
    """What one request gets: words with log-probabilities a token, or a status, bytes, a delay, a cut."""

    text: str = ""
    tokens: Sequence[tuple[str, float]] | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    delay: float = 0.0
    cut: bool = False
    drip: bytes = b""
    finish: str = "stop"


@dataclass
class ChatServer:
    """Requests as they came and were found to be right; `replies` are used up in order, the last one for ever."""

    replies: list[Reply]
    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    mistakes: list[str] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self, body: dict[str, Any]) -> Reply:
        with self.lock:
            self.requests.append(body)
            return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


def pieces(text: str, log_prob: float = -0.01) -> list[tuple[str, float]]:
    """Tokens as a tokeniser might cut them: words with the blank before them, numbers, single signs."""
    return [(piece, log_prob) for piece in re.findall(r"\s?\w+|\s|[^\w\s]", text)]


@contextlib.contextmanager
def chat_server(*replies: Reply, key: str = KEY) -> Iterator[ChatServer]:
    """The server on a free loopback port for the length of the block; fails when a request broke the protocol."""
    state = ChatServer(list(replies))
    server = _Server(state, key)
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
    assert state.mistakes == []


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, state: ChatServer, key: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.state = state
        self.key = key


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""

    def do_POST(self) -> None:
        state = self.server.state
        with state.lock:
            state.at_once += 1
            state.most_at_once = max(state.most_at_once, state.at_once)
        try:
            self._serve(state)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # a client that gave up
        finally:
            with state.lock:
                state.at_once -= 1

    def _serve(self, state: ChatServer) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            body = checked(self.path, dict(self.headers), data, self.server.key)
        except Broken as error:
            state.mistakes.append(str(error))
            self._send(400, json.dumps({"error": {"message": str(error)}}).encode(), {})
            return
        reply = state.next(body)
        time.sleep(reply.delay)
        if reply.cut or reply.drip:
            self._misbehave(reply)
            return
        data = reply.raw if reply.raw is not None else json.dumps(completion(body, reply)).encode()
        self._send(reply.status, data, reply.headers)

    def _misbehave(self, reply: Reply) -> None:
        """Breaks off midway, or goes on for ever."""
        self.close_connection = True
        self.send_response(200)
        if reply.cut:
            self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b'{"choices": [')
        for _ in range(100_000 if reply.drip else 0):
            self.wfile.write(reply.drip)

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def completion(body: dict[str, Any], reply: Reply) -> dict[str, Any]:
    """A chat completion as vLLM sends it."""
    tokens = pieces(reply.text) if reply.tokens is None else reply.tokens
    content = [{"token": t, "logprob": p, "bytes": list(t.encode()), "top_logprobs": []} for t, p in tokens]
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_750_000_000,
        "model": body["model"],
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": reply.text},
                "logprobs": {"content": content} if body.get("logprobs") and content else None,
                "finish_reason": reply.finish,
            }
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": len(tokens), "total_tokens": 100 + len(tokens)},
    }


def checked(path: str, headers: dict[str, str], data: bytes, key: str) -> dict[str, Any]:
    """The body, once everything in it is as the protocol wants it."""
    _need(path == "/v1/chat/completions", f"path {path}")
    _need(headers.get("Content-Type") == "application/json", "content type")
    _need(headers.get("Authorization") == (f"Bearer {key}" if key else None), "authorization")
    body = json.loads(data)
    _need(set(body) <= _KNOWN, f"unknown keys {set(body) - _KNOWN}")
    _need(isinstance(body.get("model"), str) and body["model"], "model")
    _need(type(body.get("max_tokens")) is int and 0 < body["max_tokens"] <= 4096, "max_tokens")
    _need(0 <= body.get("temperature", 1) <= 2 and body.get("n") == 1 and body.get("stream") is False, "sampling")
    _need(body.get("logprobs", False) in (True, False), "logprobs")
    _need(("top_logprobs" in body) <= body.get("logprobs", False), "top_logprobs goes with logprobs")
    _need(type(body.get("top_logprobs", 0)) is int and 0 <= body.get("top_logprobs", 0) <= 20, "top_logprobs")
    stop = body.get("stop", [])
    _need(isinstance(stop, list) and len(stop) <= 4 and all(isinstance(s, str) and s for s in stop), "stop")
    _messages(body.get("messages"), prefill=body.get("continue_final_message", False))
    _need(not (body.get("continue_final_message") and "response_format" in body), "a grammar cannot begin midway")
    if "response_format" in body:
        _form(body["response_format"])
    return dict(body)


def _messages(messages: Any, *, prefill: bool) -> None:
    _need(isinstance(messages, list) and len(messages) >= 2, "messages")
    roles = [message.get("role") for message in messages]
    _need(roles[0] == "system" and roles[1] == "user", f"roles {roles}")
    _need(roles[2:] in ([], ["assistant", "user"]) or (prefill and roles[2:] == ["assistant"]), f"roles {roles}")
    for message in messages:
        _need(set(message) == {"role", "content"}, f"keys of a message {set(message)}")
        content = message["content"]
        if message["role"] != "user":
            _need(isinstance(content, str) and content, "content of system or assistant is words")
            continue
        for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            _part(part)


def _part(part: Any) -> None:
    if part.get("type") == "text":
        _need(set(part) == {"type", "text"} and isinstance(part["text"], str) and part["text"], "text part")
        return
    _need(set(part) == {"type", "image_url"} and part["type"] == "image_url", f"part {part.get('type')}")
    url = part["image_url"]["url"]
    prefix = "data:image/jpeg;base64,"
    _need(url.startswith(prefix), "image URL")
    with Image.open(io.BytesIO(base64.b64decode(url[len(prefix) :], validate=True)), formats=("JPEG",)) as image:
        image.load()


def _form(form: Any) -> None:
    if form == {"type": "json_object"}:
        return
    _need(set(form) == {"type", "json_schema"} and form["type"] == "json_schema", "response_format")
    inner = form["json_schema"]
    _need(set(inner) == {"name", "strict", "schema"} and inner["strict"] is True, "json_schema")
    _need(re.fullmatch(r"[\w-]{1,64}", inner["name"]) is not None, "name of the schema")
    Draft202012Validator.check_schema(inner["schema"])


def _need(holds: object, what: str) -> None:
    if not holds:
        raise Broken(what)


def images(body: dict[str, Any]) -> list[tuple[int, int]]:
    """Width and height of each picture of a request."""
    content = body["messages"][1]["content"]
    found = []
    for part in content if isinstance(content, list) else []:
        if part["type"] == "image_url":
            data = base64.b64decode(part["image_url"]["url"].split(",", 1)[1])
            with Image.open(io.BytesIO(data)) as image:
                found.append(image.size)
    return found
