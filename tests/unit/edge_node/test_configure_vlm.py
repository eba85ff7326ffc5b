"""The file that names a site's model: every key read strictly, and no key of a server ever told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_node.compress.price import FixedTokens, PatchTokens
from edge_node.thresholds import DEFAULT, Bar, Thresholds
from edge_node.vlm import configure
from foveate.errors import InvalidInput, NotFound, NotReady, NotSupported
from foveate.messages import Place, Task

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "vlm.yaml"
FULL = """
kind: openai
url: https://gpu-1:8000/v1
model: Qwen/Qwen2.5-VL-7B-Instruct
revision: awq
key_file: secrets/vlm.key
timeout_s: 12.5
at_once: 4
waiting: 16
response_format: json_object
continues: prefill
region: eu-west
site: north
pictures: {budget: 2048, patch: 32, full: 256, low: 64}
gate: {presence: 0.9, count: 0.98}
calibration: bars.yaml
prices: {prompt: 0.2, written: 0.6}
"""
BARS = "bars: [{model: Qwen/Qwen2.5-VL-7B-Instruct@awq, task: count, threshold: 0.93, pairs: 80}]"


def test_a_whole_file(tmp_path: Path) -> None:
    (tmp_path / "vlm.yaml").write_text(FULL)
    (tmp_path / "bars.yaml").write_text(BARS)
    config = configure.load(tmp_path / "vlm.yaml")
    assert config.tag == "Qwen/Qwen2.5-VL-7B-Instruct@awq"
    assert (config.limits.timeout_s, config.limits.at_once, config.limits.waiting) == (12.5, 4, 16)
    assert (config.allowance.budget, config.allowance.rule) == (2048, PatchTokens(32))
    assert (config.allowance.resolution.full, config.allowance.resolution.low) == (256, 64)
    assert config.thresholds.of(config.tag, Task.COUNT) == Bar(0.93, 80)
    assert config.thresholds.of(config.tag, Task.PRESENCE) == Bar(0.9)
    assert config.prices == {"prompt": 0.2, "written": 0.6}
    server = config.server
    assert server is not None
    assert (server.place, server.key_file) == (Place("eu-west", "north"), tmp_path / "secrets/vlm.key")
    assert (server.manner.held, server.manner.continues, server.manner.log_probs) == ("json_object", "prefill", True)


def test_little_is_needed_and_the_rest_is_careful(tmp_path: Path) -> None:
    config = configure.parse({"kind": "openai", "url": "http://127.0.0.1:1/v1", "model": "m"}, folder=tmp_path)
    assert config.server is not None
    assert config.server.place == Place()  # outside of every legal area until somebody says where it stands
    assert (config.tag, config.limits.at_once, config.sees) == ("m@unstated", 2, True)
    fixed = configure.parse(
        {"kind": "openai", "url": "http://a/v1", "model": "m", "pictures": {"tokens_each": 64, "side": 384}},
        folder=tmp_path,
    )
    assert fixed.allowance.rule == FixedTokens(64, 384)


def test_quantised_weights_are_another_model(tmp_path: Path) -> None:
    written = {"kind": "transformers", "path": "weights", "model": "smolvlm", "revision": "r1"}
    assert configure.parse(written, folder=tmp_path).tag == "smolvlm@r1"
    quantised = configure.parse(written | {"quantisation": "w4a16"}, folder=tmp_path)
    assert quantised.tag == "smolvlm@r1+w4a16"
    both = configure.parse(written | {"quantisation": "w8a8", "cache": "int8"}, folder=tmp_path)
    assert both.tag == "smolvlm@r1+w8a8+kv-int8"
    assert quantised.weights is not None
    assert quantised.weights.path == tmp_path / "weights"


async def test_the_embedded_default_is_no_model(tmp_path: Path) -> None:
    config = configure.parse({"kind": "embedded"}, folder=tmp_path)
    assert config == configure.EMBEDDED
    with pytest.raises(NotSupported, match="no vision-language model"):
        async with configure.open_vlm(config):
            pass


async def test_certificates_of_its_own_are_read_when_it_is_opened(tmp_path: Path) -> None:
    written = {"kind": "openai", "url": "https://gpu-1/v1", "model": "m", "ca_file": "ca.pem"}
    config = configure.parse(written, folder=tmp_path)
    for content in (None, "no certificate"):
        if content is not None:
            (tmp_path / "ca.pem").write_text(content)
        with pytest.raises(NotReady, match=r"ca\.pem"):
            async with configure.open_vlm(config):
                pass


async def test_a_sites_model_is_open_for_a_block(tmp_path: Path) -> None:
    (tmp_path / "none.yaml").write_text("kind: embedded")
    for path in (None, tmp_path / "none.yaml"):
        async with configure.of_site(path) as opened:
            assert opened is None
    (tmp_path / "vlm.yaml").write_text("kind: openai\nurl: http://127.0.0.1:1/v1\nmodel: m\nsees: false")
    async with configure.of_site(tmp_path / "vlm.yaml") as opened:
        assert opened is not None
        assert (opened.vlm.tag, opened.vlm.sees, opened.config.model) == ("m@unstated", False, "m")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kind": "magic"}, "kind"),
        ({"kind": None}, "kind"),
        ({"url": ""}, "url"),
        ({"url": "ftp://a/v1"}, "url"),
        ({"url": "http:///v1"}, "url"),
        ({"url": "http://a/v1?key=1"}, "url"),
        ({"model": "a b"}, "model"),
        ({"model": ["m"]}, "model"),
        ({"revision": "x" * 200}, "revision"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": True}, "timeout_s"),
        ({"timeout_s": float("nan")}, "timeout_s"),
        ({"at_once": 1.5}, "at_once"),
        ({"at_once": 0}, "at_once"),
        ({"waiting": -1}, "waiting"),
        ({"sees": "yes"}, "sees"),
        ({"temperature": 1}, "temperature"),
        ({"path": "weights"}, "path"),
        ({"response_format": "xml"}, "response_format"),
        ({"pictures": 7}, "pictures"),
        ({"pictures": {"budget": 1}}, "pictures.budget"),
        ({"pictures": {"patch": 28, "tokens_each": 64}}, "pictures.patch"),
        ({"pictures": {"full": 10, "low": 20}}, "pictures.low"),
        ({"gate": {"guess": 0.5}}, "gate.guess"),
        ({"gate": {"count": 1.5}}, "gate.count"),
        ({"prices": {"prompt": -1}}, "prices.prompt"),
        ({"key_file": "a", "key_env": "B"}, "key_env"),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, change: dict[str, Any], field: str) -> None:
    written = {"kind": "openai", "url": "http://127.0.0.1:1/v1", "model": "m"} | change
    with pytest.raises(InvalidInput, match=f"`{field}`") as caught:
        configure.parse(written, folder=tmp_path)
    assert caught.value.metadata["field"] == field


@pytest.mark.parametrize("change", [{"url": "http://me:SECRET@a/v1"}, {"key_env": "sk-SECRET"}])
def test_a_secret_in_the_wrong_place_is_not_repeated(tmp_path: Path, change: dict[str, Any]) -> None:
    written = {"kind": "openai", "url": "http://127.0.0.1:1/v1", "model": "m"} | change
    with pytest.raises(InvalidInput) as caught:
        configure.parse(written, folder=tmp_path)
    assert "SECRET" not in str(caught.value)


def test_files_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="model configuration"):
        configure.load(tmp_path / "none.yaml")
    (tmp_path / "vlm.yaml").write_text(FULL)
    with pytest.raises(NotFound, match=r"bars\.yaml"):
        configure.load(tmp_path / "vlm.yaml")


def test_the_example_is_the_defaults_but_for_what_it_calls_examples(tmp_path: Path) -> None:
    example = configure.load(EXAMPLE)
    plain = {"kind": "openai", "url": "http://127.0.0.1:8000/v1", "model": "Qwen/Qwen2.5-VL-7B-Instruct"}
    default = configure.parse(plain, folder=tmp_path)
    by_hand = Thresholds(defaults=dict.fromkeys((task for task in Task if task is not Task.LISTEN), DEFAULT))
    assert example.thresholds == by_hand
    assert example.prices == {"prompt": 0.0, "written": 0.0}
    assert replace(example, thresholds=default.thresholds, prices={}) == default
