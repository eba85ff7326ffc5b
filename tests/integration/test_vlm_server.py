"""A model behind an OpenAI-compatible server that is strict with us, and then misbehaves in every way there is."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_node.vlm import configure
from edge_node.vlm.openai_compatible import OpenAiCompatible
from edge_node.vlm.seam import Prompt, Shown, Vlm
from foveate.errors import DeadlinePassed, MalformedMessage, NotReady, NotSupported, Overloaded, Unreachable
from tests.integration.chat_server import KEY, ChatServer, Reply, chat_server, completion, images

NOON = 1_750_075_200.0
SCHEMA = {"type": "object", "properties": {"answer": {"type": ["boolean", "null"]}}, "required": ["answer"]}
YES = Reply('{"answer": true}', tokens=[('{"', -0.0), ("answer", -0.0), ('":', -0.0), (" true", -0.2), ("}", -0.0)])


def prompt(**changes: Any) -> Prompt:
    picture = np.full((56, 84, 3), (200, 30, 30), np.uint8)
    given: dict[str, Any] = {"rules": "Look.", "question": "A car?", "shown": (Shown(picture, "cam-1", NOON),)}
    return Prompt(**(given | {"schema": SCHEMA, "most_tokens": 96} | changes))


@asynccontextmanager
async def vlm(server: ChatServer, tmp_path: Path, **changes: Any) -> AsyncIterator[Vlm]:
    (tmp_path / "key").write_text(f"{KEY}\n")
    written = {"kind": "openai", "url": server.url, "model": "tiny-vl", "revision": "awq", "key_file": "key"}
    async with configure.open_vlm(configure.parse(written | changes, folder=tmp_path)) as opened:
        yield opened


async def test_a_whole_request_and_what_comes_back(tmp_path: Path) -> None:
    with chat_server(YES) as server:
        async with vlm(server, tmp_path) as model:
            assert (model.tag, model.sees) == ("tiny-vl@awq", True)
            said = await model.say(prompt(stop=("</think>",), heard=("EXIT",)), timeout=5)
    assert said.text == '{"answer": true}'
    assert said.pieces == ('{"', "answer", '":', " true", "}")
    assert said.log_probs == (0.0, 0.0, 0.0, -0.2, 0.0)
    assert (said.prompt_tokens, said.written_tokens, said.cut_off) == (100, 5, False)
    (body,) = server.requests
    assert images(body) == [(84, 56)]
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA
    assert (body["model"], body["max_tokens"], body["logprobs"], body["stop"]) == ("tiny-vl", 96, True, ["</think>"])
    captions = [part["text"] for part in body["messages"][1]["content"] if part["type"] == "text"]
    assert captions[0] == "Picture 1, camera cam-1, 2025-06-16 12:00:00.0 UTC:"
    assert captions[-1] == "Question: A car?"


@pytest.mark.parametrize("manner", ["turn", "prefill"])
async def test_it_goes_on_from_what_was_written(tmp_path: Path, manner: str) -> None:
    with chat_server(YES) as server:
        async with vlm(server, tmp_path, continues=manner) as model:
            await model.say(prompt(before='{"answer": true}\n<think>\n', schema=None), timeout=5)
    (body,) = server.requests
    assert body["messages"][2] == {"role": "assistant", "content": '{"answer": true}\n<think>\n'}
    assert (body["messages"][-1]["role"] == "assistant") is (manner == "prefill")
    assert body.get("continue_final_message", False) is (manner == "prefill")
    assert "response_format" not in body


@pytest.mark.parametrize(("held", "type_"), [("json_object", "json_object"), ("none", None)])
async def test_servers_that_know_less_are_asked_for_less(tmp_path: Path, held: str, type_: str | None) -> None:
    with chat_server(YES) as server:
        async with vlm(server, tmp_path, response_format=held, log_probs=False) as model:
            said = await model.say(prompt(), timeout=5)
    assert said.log_probs is None
    assert server.requests[0].get("response_format", {}).get("type") == type_
    assert "logprobs" not in server.requests[0]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"<html>502</html>", "not JSON"),
        (b"", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b'{"error": {"message": "no"}}', "no choices"),
        (b'{"choices": []}', "no choices"),
        (b'{"choices": "yes"}', "no choices"),
        (b'{"choices": [{"message": "yes"}]}', "without a message"),
        (b'{"choices": [{"message": {"content": null}}]}', "without words"),
        (b'{"choices": [{"message": {"content": ["yes"]}}]}', "without words"),
        (b'{"choices": [{"message": {"content": null, "refusal": "I will not."}}]}', "refusal"),
        (b'{"choices": [{"message": {"content": "%s"}}]}' % (b"x" * 70_000), "65536 characters"),
    ],
)
async def test_nonsense_is_asked_again_once_and_then_an_error(tmp_path: Path, raw: bytes, words: str) -> None:
    with chat_server(Reply(raw=raw)) as server:
        async with vlm(server, tmp_path) as model:
            with pytest.raises(MalformedMessage, match=words):
                await model.say(prompt(), timeout=5)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        {},
        {"content": None},
        {"content": []},
        {"content": [{"token": "x"}]},
        {"content": [{"token": 7, "logprob": -0.1}]},
        {"content": [{"token": "x", "logprob": "sure"}]},
        {"content": [{"token": "x", "logprob": 0.9}]},
        {"content": [{"token": "x", "logprob": float("nan")}]},
    ],
)
async def test_unusable_log_probs_are_none_and_the_words_stay(tmp_path: Path, logprobs: Any) -> None:
    body = completion({"model": "m", "logprobs": True}, YES)
    body["choices"][0]["logprobs"] = logprobs
    with chat_server(Reply(raw=json.dumps(body).encode())) as server:
        async with vlm(server, tmp_path) as model:
            said = await model.say(prompt(), timeout=5)
    assert (said.text, said.log_probs) == ('{"answer": true}', None)


async def test_a_body_without_end_is_cut_off(tmp_path: Path) -> None:
    with chat_server(Reply(drip=b" " * 65_536)) as server:
        async with vlm(server, tmp_path) as model:
            with pytest.raises(MalformedMessage, match="goes on past"):
                await model.say(prompt(), timeout=10)


async def test_a_compressed_body_is_refused(tmp_path: Path) -> None:
    with chat_server(Reply(raw=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})) as server:
        async with vlm(server, tmp_path) as model:
            with pytest.raises(MalformedMessage, match="compressed"):
                await model.say(prompt(), timeout=5)


async def test_a_server_that_recovers_is_asked_again(tmp_path: Path) -> None:
    with chat_server(Reply(status=503), Reply(status=502), Reply(cut=True), YES) as server:
        async with vlm(server, tmp_path) as model:
            assert (await model.say(prompt(), timeout=8)).text == '{"answer": true}'
    assert len(server.requests) == 4


async def test_retry_after_is_honoured_but_never_past_the_deadline(tmp_path: Path) -> None:
    with chat_server(Reply(status=429, headers={"Retry-After": "0.4"}), YES) as server:
        async with vlm(server, tmp_path) as model:
            began = time.monotonic()
            await model.say(prompt(), timeout=5)
            assert time.monotonic() - began >= 0.4
    with chat_server(Reply(status=429, headers={"Retry-After": "30"})) as server:
        async with vlm(server, tmp_path) as model:
            began = time.monotonic()
            with pytest.raises(Overloaded) as caught:
                await model.say(prompt(), timeout=5)
            assert time.monotonic() - began < 5
            assert caught.value.retry_after == 30
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "times", "error"), [(400, 1, NotSupported), (404, 1, NotSupported), (500, 2, Unreachable)]
)
async def test_each_status_is_tried_as_often_as_the_table_says(
    tmp_path: Path, status: int, times: int, error: type[Exception]
) -> None:
    told = json.dumps({"error": {"message": f"no {KEY} here"}}).encode()
    with chat_server(Reply(status=status, raw=told)) as server:
        async with vlm(server, tmp_path) as model:
            with pytest.raises(error) as caught:
                await model.say(prompt(), timeout=5)
    assert len(server.requests) == times
    assert KEY not in str(caught.value)


async def test_a_refused_key_is_neither_tried_again_nor_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    told = json.dumps({"error": {"message": f"wrong key {KEY}"}}).encode()
    with chat_server(Reply(status=401, raw=told)) as server:
        async with vlm(server, tmp_path) as model:
            with pytest.raises(NotReady, match="key") as caught:
                await model.say(prompt(), timeout=5)
            assert KEY not in repr(model) + str(caught.value)
    assert len(server.requests) == 1
    assert KEY not in caplog.text


async def test_the_key_may_change_and_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with chat_server(YES) as server:
        async with vlm(server, tmp_path) as model:
            (tmp_path / "key").write_text("two\nlines")
            with pytest.raises(NotReady, match="no key on one line"):
                await model.say(prompt(), timeout=5)
            (tmp_path / "key").write_text(KEY)
            await model.say(prompt(), timeout=5)
    written = {"kind": "openai", "url": server.url, "model": "m", "key_env": "TEST_VLM_KEY"}
    read = configure.key_of(configure.parse(written, folder=tmp_path).server)  # type: ignore[arg-type]
    with pytest.raises(NotReady, match="TEST_VLM_KEY"):
        read()
    monkeypatch.setenv("TEST_VLM_KEY", "abc")
    assert read() == "abc"


async def test_a_slow_server_ends_at_the_deadline_and_frees_its_place(tmp_path: Path) -> None:
    with chat_server(Reply('{"answer": true}', delay=3.0), YES) as server:
        async with vlm(server, tmp_path, at_once=1) as model:
            began = time.monotonic()
            with pytest.raises(DeadlinePassed):
                await model.say(prompt(), timeout=0.3)
            assert time.monotonic() - began < 2.5
            assert (await model.say(prompt(), timeout=5)).text == '{"answer": true}'


async def test_the_sites_own_timeout_is_the_shorter_one(tmp_path: Path) -> None:
    with chat_server(Reply('{"answer": true}', delay=1.0)) as server:
        async with vlm(server, tmp_path, timeout_s=0.2) as model:
            with pytest.raises(DeadlinePassed, match=r"0\.2 s"):
                await model.say(prompt(), timeout=60)


async def test_calls_are_capped_and_the_queue_is_bounded(tmp_path: Path) -> None:
    with chat_server(Reply('{"answer": true}', delay=0.2)) as server:
        async with vlm(server, tmp_path, at_once=2, waiting=3) as model:
            results = await asyncio.gather(*(model.say(prompt(), timeout=5) for _ in range(8)), return_exceptions=True)
            refused = [one for one in results if isinstance(one, Overloaded)]
            assert len(refused) == 3
            assert all(one.retry_after > 0 for one in refused)
            assert len([one for one in results if not isinstance(one, BaseException)]) == 5
            # The queue is not stuck: there is room again.
            assert (await model.say(prompt(), timeout=5)).text == '{"answer": true}'
    assert server.most_at_once == 2


async def test_nobody_there_is_unreachable_soon(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets it
        port = taken.getsockname()[1]
        written = {"kind": "openai", "url": f"http://127.0.0.1:{port}/v1", "model": "m"}
        async with configure.open_vlm(configure.parse(written, folder=tmp_path)) as model:
            began = time.monotonic()
            with pytest.raises(Unreachable, match="does not answer"):
                await model.say(prompt(), timeout=5)
            assert time.monotonic() - began < 5


async def test_a_model_without_eyes_is_shown_nothing(tmp_path: Path) -> None:
    with chat_server(YES) as server:
        async with vlm(server, tmp_path, sees=False) as model:
            assert isinstance(model, OpenAiCompatible)
            with pytest.raises(NotSupported, match="takes no pictures"):
                await model.say(prompt(), timeout=5)
            await model.say(prompt(shown=()), timeout=5)
    assert server.requests[0]["messages"][1]["content"] == "Question: A car?"


async def test_signs_of_several_tokens_and_blanks_line_up(tmp_path: Path) -> None:
    body = completion(
        {"model": "m", "logprobs": True}, Reply("né", tokens=[("n", -0.1), ("\ufffd", -0.2), ("\ufffd", -0.3)])
    )
    content = body["choices"][0]["logprobs"]["content"]
    content[1]["bytes"], content[2]["bytes"] = [0xC3], [0xA9]
    with chat_server(Reply(raw=json.dumps(body).encode())) as server:
        async with vlm(server, tmp_path) as model:
            said = await model.say(prompt(), timeout=5)
    assert said.pieces == ("n", "", "é")
