#!/usr/bin/env python3
"""A small OpenAI-compatible inference engine: what a real SGLang worker looks like from outside, without a model or a GPU.

It lets the whole of gabion be tried on a laptop: the router registers it, balances over it and reads its load, probes
and metrics are real, and it streams tokens at the pace it is told. Only the text is made up: it is put together from a
few sentences, the same text for the same prompt, and says which replica wrote it.

With `--disaggregation-mode` it is one half of SGLang's prefill/decode separation: the router sends each request to a
prefill and a decode worker at once, the decode worker fetches what the other made of the prompt from its bootstrap port
and writes the answer. What is fetched here is only who read the prompt (`x-prefill`); all else is as it is with a model.

Needs Python 3.9 and nothing else. With a real engine the service's command would be `python3 -m sglang.launch_server`.
"""

import argparse
import hashlib
import json
import os
import re
import select
import signal
import socket
import sys
import threading
import time
import urllib.request
import uuid
from collections import OrderedDict
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONTEXT_LENGTH = 32768
MAX_BODY = 16 << 20
HANDOVER_SECONDS = 30
IDLE_CONNECTION_SECONDS = 75
KV_TOKENS = 100_000
SECONDS = [0.1, 0.2, 0.4, 0.6, 0.8, 1, 2, 4, 6, 8, 10, 20, 40, 60, 80, 100, 200, 400]
TOKEN_SECONDS = [0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.06, 0.08, 0.1, 0.2, 0.4, 0.6, 1, 2]
SENTENCES = [
    "A plan is a promise: what it shows is what apply does.",
    "The router keeps requests that share a prefix on one replica, so their cache is warm.",
    "State is an append-only log, so a crash never loses what was already done.",
    "When a replica is stopped, it is taken out of the router first and its streams may finish.",
    "Drift is what the world changed behind your back.",
    "The gateway sends the first token on as soon as it arrives.",
    "Infrastructure that explains itself is easier to trust.",
    "Change the policy in the YAML and look at the plan before you apply it.",
]


class ClientGone(Exception):
    """The client closed its connection while its answer was being generated."""


class BadRequest(Exception):
    """The request cannot be served as it is; the message is for the client."""


class Histogram:
    """A Prometheus histogram. The engine's lock guards it."""

    def __init__(self, bounds):
        self.bounds, self.counts, self.sum, self.count = bounds, [0] * len(bounds), 0.0, 0

    def observe(self, value):
        self.sum += value
        self.count += 1
        for index, bound in enumerate(self.bounds):
            self.counts[index] += value <= bound

    def lines(self, name, labels):
        yield f"# TYPE {name} histogram"
        for bound, count in zip(self.bounds, self.counts):
            yield f'{name}_bucket{{{labels},le="{float(bound)}"}} {count}'
        yield f'{name}_bucket{{{labels},le="+Inf"}} {self.count}'
        yield f"{name}_sum{{{labels}}} {self.sum}"
        yield f"{name}_count{{{labels}}} {self.count}"


class PrefixCache:
    """Remembers prompts as chains of 16-token blocks, as an engine's radix cache does. The engine's lock guards it."""

    BLOCK, CAPACITY = 16, 4096

    def __init__(self):
        self.blocks = OrderedDict()

    def take(self, tokens):
        """Returns how many leading tokens were cached, and caches the rest."""
        cached, chain = 0, hashlib.sha256()
        for start in range(0, len(tokens) - self.BLOCK + 1, self.BLOCK):
            chain.update("\0".join(tokens[start : start + self.BLOCK]).encode())
            key = chain.digest()
            if key in self.blocks and cached == start:
                cached += self.BLOCK
            self.blocks[key] = None
            self.blocks.move_to_end(key)
        while len(self.blocks) > self.CAPACITY:
            self.blocks.popitem(last=False)
        return cached


class Engine:
    """What is shared by all requests: the slots they run in, the cache and the counters."""

    def __init__(self, options):
        self.options = options
        self.ready_at = time.monotonic() + options.startup_s
        self.started = time.time()
        self.lock = threading.Condition()
        self.serving_now = self.running = self.queued = self.used_tokens = 0
        self.draining = False
        self.cache = PrefixCache()
        self.requests = self.aborted = self.prompt_tokens = self.cached_tokens = self.generated_tokens = 0
        self.ttft, self.itl, self.e2e = Histogram(SECONDS), Histogram(TOKEN_SECONDS), Histogram(SECONDS)
        self.rooms = OrderedDict()

    def ready(self):
        return time.monotonic() >= self.ready_at

    def healthy(self):
        return self.ready() and not self.draining

    def enter(self, generation, still_there):
        """Waits for a free slot, as a request waits in an engine's queue."""
        with self.lock:
            self.queued += 1
            try:
                while self.running >= self.options.max_running_requests:
                    self.lock.wait(0.1)
                    still_there()
            except ClientGone:
                self.aborted += 1
                raise
            finally:
                self.queued -= 1
            self.running += 1
            generation.cached = self.cache.take(generation.prompt)
            self.used_tokens += len(generation.prompt)
            self.prompt_tokens += len(generation.prompt)
            self.cached_tokens += generation.cached

    def leave(self, generation):
        """Frees the slot. A generation without an end was aborted."""
        with self.lock:
            self.running -= 1
            self.used_tokens -= len(generation.prompt) + generation.produced
            if generation.finished:
                self.requests += 1
                self.e2e.observe(time.monotonic() - generation.arrived)
            else:
                self.aborted += 1
            self.lock.notify_all()

    def produced(self, generation, seconds, first):
        """Counts one token that took `seconds`."""
        with self.lock:
            generation.produced += 1
            self.used_tokens += 1
            self.generated_tokens += 1
            (self.ttft if first else self.itl).observe(seconds)

    def offer(self, room):
        """Leaves what became of a prompt for the decode worker that comes for it."""
        with self.lock:
            self.rooms[room] = self.options.replica
            while len(self.rooms) > 1024:
                self.rooms.popitem(last=False)
            self.lock.notify_all()

    def hand_over(self, room):
        """Returns what was left in a room, or None when nothing came in time."""
        with self.lock:
            self.lock.wait_for(lambda: room in self.rooms, HANDOVER_SECONDS)
            return self.rooms.pop(room, None)

    def flush_cache(self):
        """Empties the cache, unless something runs (then it would be wrong for it)."""
        with self.lock:
            if self.running or self.queued:
                return False
            self.cache = PrefixCache()
            return True

    @contextmanager
    def serving(self):
        """Holds the process up while one HTTP request is served."""
        with self.lock:
            self.serving_now += 1
        try:
            yield
        finally:
            with self.lock:
                self.serving_now -= 1
                self.lock.notify_all()

    def drain(self):
        """Waits until every request that had arrived was answered."""
        with self.lock:
            while self.serving_now:
                self.lock.wait()

    def load(self):
        """The core of SGLang's `/v1/loads`, for this engine's only data-parallel rank."""
        with self.lock:
            return {
                "dp_rank": 0,
                "num_running_reqs": self.running,
                "num_waiting_reqs": self.queued,
                "num_total_reqs": self.running + self.queued,
                "num_used_tokens": self.used_tokens,
                "max_total_num_tokens": KV_TOKENS,
                "token_usage": min(1.0, self.used_tokens / KV_TOKENS),
                "gen_throughput": round(self.generated_tokens / max(1e-9, time.time() - self.started), 3),
                "cache_hit_rate": round(self.cached_tokens / max(1, self.prompt_tokens), 4),
                "utilization": round(self.running / self.options.max_running_requests, 4),
                "max_running_requests": self.options.max_running_requests,
            }

    def metrics(self):
        """The Prometheus text, under SGLang's names."""
        model = self.options.model.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        kind = {"null": "unified"}.get(self.options.disaggregation_mode, self.options.disaggregation_mode)
        labels = f'model_name="{model}",engine_type="{kind}",tp_rank="0",pp_rank="0"'
        load = self.load()
        gauges = {
            "num_running_reqs": load["num_running_reqs"],
            "num_queue_reqs": load["num_waiting_reqs"],
            "num_used_tokens": load["num_used_tokens"],
            "token_usage": load["token_usage"],
            "full_token_usage": load["token_usage"],
            "gen_throughput": load["gen_throughput"],
            "cache_hit_rate": load["cache_hit_rate"],
            "utilization": load["utilization"],
        }
        with self.lock:
            counters = {
                "num_requests_total": self.requests,
                "num_aborted_requests_total": self.aborted,
                "prompt_tokens_total": self.prompt_tokens,
                "cached_tokens_total": self.cached_tokens,
                "generation_tokens_total": self.generated_tokens,
            }
            histograms = {
                "time_to_first_token_seconds": self.ttft,
                "inter_token_latency_seconds": self.itl,
                "e2e_request_latency_seconds": self.e2e,
            }
            lines = []
            for kind, values in (("gauge", gauges), ("counter", counters)):
                for name, value in values.items():
                    lines += [f"# TYPE sglang:{name} {kind}", f"sglang:{name}{{{labels}}} {value}"]
            for name, histogram in histograms.items():
                lines += histogram.lines(f"sglang:{name}", labels)
        return "\n".join(lines) + "\n"


class Generation:
    """One request's prompt and the tokens of its answer."""

    def __init__(self, engine, asked, prompt, limit, exact):
        self.prompt = tokenize(prompt)
        if len(self.prompt) >= CONTEXT_LENGTH:
            raise BadRequest(f"The prompt has {len(self.prompt)} tokens; this model's context length is {CONTEXT_LENGTH}.")
        room = CONTEXT_LENGTH - len(self.prompt)
        limit = room if limit is None else min(limit, room)
        self.tokens = answer(engine.options.replica, asked, limit if exact else engine.options.tokens, exact)[:limit]
        self.finish_reason = "length" if len(self.tokens) == limit else "stop"
        self.engine, self.arrived, self.id = engine, time.monotonic(), uuid.uuid4().hex
        self.cached = self.produced = 0
        self.finished = False

    def run(self, pause):
        """Yields the tokens at the configured pace; `pause` raises ClientGone when nobody listens any more."""
        options, due, previous = self.engine.options, time.monotonic(), self.arrived
        for index, token in enumerate(self.tokens):
            due += (options.itl_ms if index else options.ttft_ms) / 1000
            pause(due - time.monotonic())
            now = time.monotonic()
            self.engine.produced(self, now - previous, index == 0)
            previous = now
            yield token
        self.finished = True

    def usage(self):
        return {
            "prompt_tokens": len(self.prompt),
            "completion_tokens": self.produced,
            "total_tokens": len(self.prompt) + self.produced,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }

    def meta_info(self, last):
        reason = {"type": self.finish_reason, "length": self.produced} if last else None
        return {
            "id": self.id,
            "finish_reason": reason,
            "prompt_tokens": len(self.prompt),
            "completion_tokens": self.produced,
            "cached_tokens": self.cached,
            "replica": self.engine.options.replica,
        }


def tokenize(text):
    """Splits text into words and marks; what counts as a token here."""
    return re.findall(r"\s*(?:\w+|[^\w\s])", text)


def answer(replica, prompt, count, exact):
    """Returns who answers, what was asked, then sentences chosen by the prompt: `count` tokens, or up to the next full stop."""
    asked = " ".join(prompt.split())
    asked = asked if len(asked) <= 60 else asked[:57] + "..."
    seed = int.from_bytes(hashlib.sha256(prompt.encode("utf-8", "replace")).digest()[:8], "big")
    tokens, sentence = tokenize(f'Replica {replica} here. You wrote: "{asked}".'), seed
    while len(tokens) < count:
        tokens += tokenize(" " + SENTENCES[sentence % len(SENTENCES)])
        sentence = sentence * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
        sentence = sentence >> 7 | sentence << 57 & (1 << 64) - 1
    return tokens[:count] if exact else tokens


def text_of(content):
    """Returns the text of a chat message's content: a string, or a list of parts."""
    if isinstance(content, list):
        return "\n".join(part.get("text") or "" for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def chat_prompt(body):
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(m, dict) for m in messages):
        raise BadRequest("`messages` must be a list with at least one message.")
    return text_of(messages[-1].get("content")), "\n".join(f"{m.get('role')}: {text_of(m.get('content'))}" for m in messages)


def plain_prompt(value, name):
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], (str, list)):
        value = value[0]
    if isinstance(value, list) and value and all(isinstance(token, int) for token in value):
        value = " ".join(map(str, value))
    if not isinstance(value, str):
        raise BadRequest(f"`{name}` must be one text, or one list of token ids.")
    return value


def token_limit(body, *names):
    for name in names:
        limit = body.get(name)
        if limit is not None:
            if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
                raise BadRequest(f"`{name}` must be a whole number above 0.")
            return limit
    return None


class Handler(BaseHTTPRequestHandler):
    """One connection. Many requests may follow each other on it."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "quickstart-engine", ""
    timeout = IDLE_CONNECTION_SECONDS
    disable_nagle_algorithm = True
    engine: Engine = None
    prefill = None

    # What routers and gabion ask.

    def do_GET(self):
        with self.engine.serving():
            self.inform()

    def do_POST(self):
        with self.engine.serving():
            self.infer()

    def inform(self):
        path, engine, options = self.path.partition("?")[0], self.engine, self.engine.options
        if path in ("/health", "/health_generate", "/ping"):
            return self.reply(200 if engine.healthy() else 503, b"", "text/plain")
        if not engine.ready():
            return self.error(503, "The model is still being loaded.")
        if path == "/metrics":
            return self.reply(200, engine.metrics().encode(), "text/plain; version=0.0.4")
        if path == "/v1/models":
            model = {"id": options.model, "object": "model", "created": int(engine.started), "owned_by": "sglang"}
            model |= {"root": options.model, "parent": None, "max_model_len": CONTEXT_LENGTH}
            return self.reply_json(200, {"object": "list", "data": [model]})
        if path in ("/model_info", "/get_model_info"):
            info = {"model_path": options.model, "tokenizer_path": options.model, "is_generation": True}
            info |= {"has_image_understanding": False, "has_audio_understanding": False}
            return self.reply_json(200, info | {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]})
        if path in ("/server_info", "/get_server_info"):
            info = {"model_path": options.model, "served_model_name": options.model, "tokenizer_path": options.model}
            info |= {"tp_size": 1, "dp_size": 1, "pp_size": 1, "version": "0.5.9", "status": "ready"}
            info |= {"disaggregation_mode": options.disaggregation_mode}
            info |= {"disaggregation_bootstrap_port": options.disaggregation_bootstrap_port}
            info |= {"context_length": CONTEXT_LENGTH, "max_total_num_tokens": KV_TOKENS}
            info |= {"max_running_requests": options.max_running_requests, "internal_states": [engine.load()]}
            return self.reply_json(200, info)
        if path == "/v1/loads":
            now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            return self.reply_json(200, {"timestamp": now, "dp_rank_count": 1, "loads": [engine.load()]})
        if path == "/get_load":
            load = engine.load()
            old = {"dp_rank": 0, "num_reqs": load["num_total_reqs"], "num_waiting_reqs": load["num_waiting_reqs"]}
            return self.reply_json(200, [old | {"num_tokens": load["num_used_tokens"]}])
        if path == "/flush_cache":
            return self.flush_cache()
        self.error(404, f"There is no {path} here.")

    def infer(self):
        path, engine = self.path.partition("?")[0], self.engine
        try:
            raw = self.read_body()
            if path == "/flush_cache":
                return self.flush_cache()
            serve = {"/v1/chat/completions": self.chat, "/v1/completions": self.complete, "/generate": self.generate}.get(path)
            if serve is None:
                return self.error(404, f"There is no {path} here.")
            if not engine.healthy():
                return self.error(503, "This replica is starting or stopping.")
            try:
                body = json.loads(raw)
            except ValueError as problem:
                raise BadRequest(f"The body is not JSON: {problem}.") from None
            if not isinstance(body, dict):
                raise BadRequest("The body must be a JSON object.")
            if body.get("n") not in (None, 1):
                raise BadRequest("`n` must be 1: this engine gives one answer.")
            if engine.options.disaggregation_mode == "prefill":
                return self.read_prompt(body)
            if engine.options.disaggregation_mode == "decode" and not self.fetch_prompt(body):
                return
            serve(body)
        except BadRequest as problem:
            self.error(400, str(problem))

    # The two halves of a request.

    def room(self, body):
        room = body.get("bootstrap_room")
        if isinstance(room, bool) or not isinstance(room, int):
            raise BadRequest("Disaggregated request received without bootstrap room id.")
        return room

    def read_prompt(self, body):
        room, engine = self.room(body), self.engine
        if body.get("bootstrap_port") != engine.options.disaggregation_bootstrap_port:
            raise BadRequest(f"The decode worker is told to fetch from port {body.get('bootstrap_port')}, which is not this worker's.")
        prompt = chat_prompt(body)[1] if "messages" in body else str(body.get("prompt", body.get("text", "")))
        generation = Generation(engine, prompt, prompt, 1, True)
        try:
            engine.enter(generation, lambda: self.pause(0))
            try:
                list(generation.run(self.pause))
                engine.offer(room)
            finally:
                engine.leave(generation)
        except ClientGone:
            self.close_connection = True
        else:
            self.reply_json(200, {"meta_info": generation.meta_info(True)})

    def fetch_prompt(self, body):
        source = f"http://{body.get('bootstrap_host')}:{body.get('bootstrap_port')}/rooms/{self.room(body)}"
        try:
            with urllib.request.urlopen(source, timeout=HANDOVER_SECONDS + 5) as answer:
                self.prefill = answer.read(1024).decode()
        except OSError as problem:
            self.error(500, f"The prompt could not be fetched from {source}: {problem}.")
        return self.prefill

    def flush_cache(self):
        done = self.engine.flush_cache()
        self.reply(200 if done else 400, b"Cache flushed.\n" if done else b"Cache not flushed: requests are running.\n", "text/plain")

    # The three ways to generate.

    def chat(self, body):
        asked, prompt = chat_prompt(body)
        generation = self.generation(body, asked, prompt, "max_completion_tokens", "max_tokens")

        def chunk(delta, reason=None):
            return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]

        def whole(text):
            message = {"role": "assistant", "content": text, "reasoning_content": None, "tool_calls": None}
            return [{"index": 0, "message": message, "logprobs": None, "finish_reason": generation.finish_reason}]

        self.openai(body, generation, "chat.completion", whole, chunk)

    def complete(self, body):
        prompt = plain_prompt(body.get("prompt"), "prompt")
        generation = self.generation(body, prompt, prompt, "max_tokens")

        def chunk(delta, reason=None):
            return [{"index": 0, "text": delta.get("content", ""), "logprobs": None, "finish_reason": reason}]

        def whole(text):
            return chunk({"content": text}, generation.finish_reason)

        self.openai(body, generation, "text_completion", whole, chunk)

    def generate(self, body):
        parameters = body.get("sampling_params") or {}
        if not isinstance(parameters, dict):
            raise BadRequest("`sampling_params` must be one object.")
        name = "text" if body.get("text") is not None else "input_ids"
        prompt = plain_prompt(body.get(name), name)
        generation = self.generation(parameters, prompt, prompt, "max_new_tokens")

        def events():
            text, last = "", len(generation.tokens)
            for token in generation.run(self.pause):
                text += token
                yield {"text": text, "meta_info": generation.meta_info(generation.produced == last)}

        if body.get("stream"):
            return self.serve_stream(generation, events())
        self.serve_whole(generation, lambda text: {"text": text, "meta_info": generation.meta_info(True)})

    def generation(self, body, asked, prompt, *limits):
        limit = token_limit(body, *limits)
        exact = limit is not None and body.get("ignore_eos") is True
        return Generation(self.engine, asked, prompt, limit, exact)

    def openai(self, body, generation, kind, whole, chunk):
        """Answers in one of OpenAI's two shapes; `whole` and `chunk` make their `choices`."""
        chat = kind == "chat.completion"
        head = {"id": generation.id, "object": kind, "created": int(time.time()), "model": self.engine.options.model}
        if not body.get("stream"):
            return self.serve_whole(generation, lambda text: head | {"choices": whole(text), "usage": generation.usage()})
        include = body.get("stream_options")
        include = isinstance(include, dict) and bool(include.get("include_usage"))
        head |= {"object": "chat.completion.chunk" if chat else kind} | ({"usage": None} if include else {})

        def events():
            for index, token in enumerate(generation.run(self.pause)):
                if chat and index == 0:
                    yield head | {"choices": chunk({"role": "assistant", "content": ""})}
                yield head | {"choices": chunk({"content": token})}
            yield head | {"choices": chunk({}, generation.finish_reason)}
            if include:
                yield head | {"choices": [], "usage": generation.usage()}

        self.serve_stream(generation, events())

    def serve_whole(self, generation, shape):
        try:
            self.engine.enter(generation, lambda: self.pause(0))
            try:
                text = "".join(generation.run(self.pause))
            finally:
                self.engine.leave(generation)
        except ClientGone:
            self.close_connection = True
        else:
            self.reply_json(200, shape(text))

    def serve_stream(self, generation, events):
        """Sends server-sent events; a client that goes away ends the generation."""
        try:
            self.engine.enter(generation, lambda: self.pause(0))
            try:
                self.begin("text/event-stream", None)
                for event in events:
                    self.send_chunk(b"data: " + json.dumps(event).encode() + b"\n\n")
                self.send_chunk(b"data: [DONE]\n\n")
                self.send_chunk(b"")
            finally:
                self.engine.leave(generation)
        except (ClientGone, OSError):
            self.close_connection = True

    # HTTP.

    def read_body(self):
        if "chunked" in (self.headers.get("Transfer-Encoding") or "").lower():
            return self.read_chunked()
        try:
            length = int(self.headers.get("Content-Length") or 0)
        except ValueError:
            length = -1
        if not 0 <= length <= MAX_BODY:
            self.close_connection = True
            raise BadRequest(f"The body must be declared and at most {MAX_BODY} bytes.")
        return self.rfile.read(length)

    def read_chunked(self):
        body = b""
        while True:
            try:
                size = int(self.rfile.readline(1024).split(b";")[0], 16)
            except ValueError:
                size = -1
            if size < 0 or len(body) + size > MAX_BODY:
                self.close_connection = True
                raise BadRequest(f"The chunked body is malformed or above {MAX_BODY} bytes.")
            if size == 0:
                while self.rfile.readline(1024).strip():
                    pass
                return body
            body += self.rfile.read(size)
            self.rfile.readline(16)

    def begin(self, content_type, length):
        self.send_response(200 if length is None else length[0])
        self.send_header("Content-Type", content_type)
        self.send_header("x-replica", self.engine.options.replica)
        if self.prefill:
            self.send_header("x-prefill", self.prefill)
            self.prefill = None
        self.chunked = length is None and self.request_version != "HTTP/1.0"
        if length is not None:
            self.send_header("Content-Length", str(length[1]))
        elif self.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Cache-Control", "no-cache")
        else:
            self.close_connection = True
        if self.engine.draining:
            self.close_connection = True
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def send_chunk(self, data):
        if self.chunked:
            data = b"%x\r\n%s\r\n" % (len(data), data)
        self.wfile.write(data)

    def reply(self, status, body, content_type):
        try:
            self.begin(content_type, (status, len(body)))
            self.wfile.write(body)
        except OSError:
            self.close_connection = True

    def reply_json(self, status, value):
        self.reply(status, json.dumps(value).encode(), "application/json")

    def error(self, status, message):
        kind = "BadRequestError" if status == 400 else "NotFoundError" if status == 404 else "ServiceUnavailable"
        self.reply_json(status, {"object": "error", "message": message, "type": kind, "param": None, "code": status})

    def pause(self, seconds):
        """Sleeps; raises ClientGone as soon as the client hangs up."""
        ends, socket_poll = time.monotonic() + seconds, select.poll()
        socket_poll.register(self.connection, select.POLLIN)
        if not socket_poll.poll(max(0.0, seconds) * 1000):
            return
        try:
            if not self.connection.recv(1, socket.MSG_PEEK):
                raise ClientGone
        except OSError:
            raise ClientGone from None
        # The next request is already here: it waits its turn, and a hang-up shows when writing.
        time.sleep(max(0.0, ends - time.monotonic()))

    def handle(self):
        try:
            super().handle()
        except OSError:
            pass

    def log_message(self, *_):
        """Probes and health checks would drown everything else."""


class Bootstrap(BaseHTTPRequestHandler):
    """A decode worker that comes for a prompt."""

    server_version, sys_version = "quickstart-engine", ""
    engine: Engine = None

    def do_GET(self):
        room = self.path.removeprefix("/rooms/")
        found = self.engine.hand_over(int(room)) if room.isdecimal() else None
        body = (found or "").encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """The requests themselves are of interest, not their halves."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 512

    def handle_error(self, request, client_address):
        problem = sys.exc_info()[1]
        print(f"request from {client_address[0]} failed: {problem!r}", file=sys.stderr, flush=True)


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, required=True, help="port to listen on; 0 for any free one")
    parser.add_argument("--model", required=True, help="name of the model it serves")
    parser.add_argument("--replica", help="name in answers and in the x-replica header (default: HOST:PORT)")
    parser.add_argument("--ttft-ms", type=float, default=60, help="time to the first token (default: %(default)s)")
    parser.add_argument("--itl-ms", type=float, default=25, help="time between tokens (default: %(default)s)")
    parser.add_argument("--startup-s", type=float, default=0, help="time until it reports healthy (default: %(default)s)")
    parser.add_argument("--tokens", type=int, default=48, help="tokens after which an answer ends its sentence (default: %(default)s)")
    parser.add_argument("--disaggregation-mode", choices=["null", "prefill", "decode"], default="null", help="which half of a request it does (default: both)")
    parser.add_argument("--disaggregation-bootstrap-port", type=int, default=8998, help="where decode workers fetch from a prefill worker (default: %(default)s)")
    parser.add_argument("--max-running-requests", type=int, default=64, help="more than these wait (default: %(default)s)")
    options = parser.parse_args()
    if options.max_running_requests < 1 or options.tokens < 1:
        parser.error("--max-running-requests and --tokens must be above 0")
    return options


def main():
    options = parse_options()
    try:
        server = Server((options.host, options.port), Handler)
    except OSError as problem:
        sys.exit(f"cannot listen on {options.host}:{options.port}: {problem.strerror}")
    options.port = server.server_port
    options.replica = options.replica or f"{options.host}:{options.port}"
    engine = Handler.engine = Bootstrap.engine = Engine(options)
    if options.disaggregation_mode == "prefill":
        try:
            bootstrap = Server((options.host, options.disaggregation_bootstrap_port), Bootstrap)
        except OSError as problem:
            sys.exit(f"cannot listen on {options.host}:{options.disaggregation_bootstrap_port}: {problem.strerror}")
        threading.Thread(target=bootstrap.serve_forever, daemon=True).start()

    def stop(signum, _):
        # A second signal does not wait for running requests.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: os._exit(1))
        engine.draining = True
        print(f"stopping: {signal.Signals(signum).name}; {engine.running} running request(s) may finish", flush=True)
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print(f"serving {options.model} on {options.host}:{options.port}", flush=True)
    server.serve_forever(poll_interval=0.1)
    server.socket.close()
    engine.drain()
    print("stopped", flush=True)
    # Connections that idle have threads of their own; nothing waits for them.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
