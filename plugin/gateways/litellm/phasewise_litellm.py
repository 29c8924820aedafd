"""Phasewise for LiteLLM's proxy: calls go where their queue is shortest.

Copy this file beside LiteLLM's config.yaml, add

    litellm_settings:
      callbacks: phasewise_litellm.handler

set PHASEWISE_URL (and PHASEWISE_KEY where Phasewise asks for one) and restart. It asks Phasewise's placement API which of the healthy
deployments should take a call, and reports how the call ended. Whatever goes wrong with that, the call goes on as without it.

| variable | default | says |
|---|---|---|
| PHASEWISE_URL | http://127.0.0.1:8403 | the placement API; unix:/path/to/socket works too |
| PHASEWISE_KEY | | a key with the scope "place" |
| PHASEWISE_CA_FILE | | PEM file of the authority that signed an https address's certificate, where the system does not know it |
| PHASEWISE_DEADLINE_MS | 25 | how long a placement is waited for |
| PHASEWISE_HOLD_LIMIT_MS | 10000 | how long a call that Phasewise holds back is held at most |
| PHASEWISE_SEND | auto | what placement reads: "messages" (hashed there and dropped), "features" (counts and hashes made here), |
| | | or "auto": messages to an address on this machine, features to any other |
| PHASEWISE_KEEP_FOREIGN | false | true: deployments that Phasewise does not know stay in the list beside its pick |

Needs Python 3.9, LiteLLM and its httpx.
"""

from __future__ import annotations

import asyncio
import atexit
import hashlib
import json
import logging
import os
import re
import ssl
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Deque, Dict, List, Optional, Tuple
from urllib.parse import urlsplit

import httpx
from litellm.integrations.custom_logger import CustomLogger

Json = Dict[str, Any]
Deployment = Dict[str, Any]

log = logging.getLogger("phasewise")

# Misses within this window open the circuit; then nobody asks for a while, and after that one question of our own tries, for which no call waits.
MISSES_MAX = 5
MISSES_WINDOW_S = 10.0
SKIP_S = 2.0
# An event loop that is late by more than this had other things to do: what looks like no answer may lie there unread.
LAG_S = 0.005
# Connections kept for the next placement.
IDLE_MAX = 64
# Outcomes wait this long for others to share a request, and so many share one.
BATCH_WAIT_S = 0.05
BATCH_MAX = 500
# Streams are looked at this often for their first token, so that Phasewise knows who waits and who runs while they do.
WATCH_EVERY_S = 0.05
# While Phasewise is away outcomes are kept up to this number; older ones are lost and counted.
OUTCOMES_MAX = 10_000
REPORT_DEADLINE_S = 2.0
REPORT_PAUSE_S = 1.0
REPORT_TRIES = 5
# Calls in flight that are remembered; beyond it the oldest is forgotten, and Phasewise closes it by its own limit.
CALLS_MAX = 20_000
# LiteLLM's longest pause before a retry is 60 s: a failed attempt that nobody retries by then was the last.
FAILED_LINGER_S = 65.0
FORGET_S = 7_200.0
WARN_EVERY_S = 60.0
# Blocks of the prompt whose hashes tell which instance has seen its beginning; 512 are about 128 KiB of JSON.
BLOCK_BYTES = 256
BLOCKS_MAX = 512

# What placement reads of a body; anything else (metadata, credentials, tools' results in extensions) stays here.
BODY_FIELDS = (
    "model",
    "messages",
    "prompt",
    "input",
    "instructions",
    "system",
    "tools",
    "functions",
    "stream",
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "temperature",
    "n",
    "stop",
    "stop_sequences",
    "response_format",
    "text",
    "stream_options",
)
PROMPT_FIELDS = ("tools", "system", "instructions", "messages", "prompt", "input")


class Settings:
    """What the environment says; read once, when the file is loaded."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.url = env.get("PHASEWISE_URL") or "http://127.0.0.1:8403"
        self.key = env.get("PHASEWISE_KEY") or ""
        self.deadline_s = number_in(env, "PHASEWISE_DEADLINE_MS", 25.0) / 1000
        self.hold_limit_s = number_in(env, "PHASEWISE_HOLD_LIMIT_MS", 10_000.0) / 1000
        self.keep_foreign = (env.get("PHASEWISE_KEEP_FOREIGN") or "").lower() in ("1", "true", "yes", "on")
        self.socket = self.url[len("unix:") :] if self.url.startswith("unix:") else None
        self.tls = tls_of(self.url, env.get("PHASEWISE_CA_FILE") or None)
        send = env.get("PHASEWISE_SEND") or "auto"
        if send not in ("auto", "messages", "features"):
            log.warning('phasewise: PHASEWISE_SEND is "%s"; allowed are auto, messages, features. Taking auto.', send)
            send = "auto"
        self.sends_messages = send == "messages" or (send == "auto" and (self.socket is not None or is_local(self.url)))


def number_in(env: Mapping[str, str], name: str, standard: float) -> float:
    """A number ≥ 0 from the environment; what is no number is told and left aside."""
    text = env.get(name)
    if not text:
        return standard
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if 0 <= value < 1e9:
        return value
    log.warning('phasewise: %s is "%s"; allowed is a number of milliseconds. Taking %g.', name, text, standard)
    return standard


def tls_of(url: str, ca_file: Optional[str]) -> Optional[ssl.SSLContext]:
    """How an https address is trusted; None for others. Without a readable file the system's authorities decide."""
    if not url.startswith("https:"):
        return None
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        log.warning(
            'phasewise: PHASEWISE_CA_FILE is "%s", which cannot be read as PEM: %s. Trusting the system\'s authorities.', ca_file, error
        )
        return ssl.create_default_context()


def is_local(url: str) -> bool:
    """The address is on this machine."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


class Breaker:
    """Stops asking while Phasewise does not answer, so that an outage costs its first few calls 25 ms and all others nothing."""

    def __init__(self) -> None:
        self._misses: Deque[float] = deque(maxlen=MISSES_MAX)
        self._skip_until = 0.0
        self._open = False
        self._trying = False

    @property
    def is_open(self) -> bool:
        """Nobody asks for now."""
        return self._open

    def may_try(self, now: float) -> bool:
        """The pause is over and nobody tries: whoever asks this does."""
        if not self._open or now < self._skip_until or self._trying:
            return False
        self._trying = True
        return True

    def answered(self) -> None:
        """Phasewise answered in time, whatever it said."""
        if self._open:
            log.warning("phasewise: answers again")
            self._misses.clear()
        self._open = False
        self._trying = False

    def missed(self, now: float) -> None:
        """No answer in time."""
        self._trying = False
        self._misses.append(now)
        is_full = len(self._misses) == MISSES_MAX and now - self._misses[0] <= MISSES_WINDOW_S
        if not (self._open or is_full):
            return
        if not self._open:
            log.warning("phasewise: does not answer; calls are routed as without it until it does")
        self._open = True
        self._skip_until = now + SKIP_S

    def abandoned(self) -> None:
        """Whoever asked went away: that tells nothing, and another may try."""
        self._trying = False


class Call:
    """What is remembered of a call between its placement and its end."""

    __slots__ = ("key", "asked_at", "failure", "failed_at", "stream")

    def __init__(self, key: str) -> None:
        self.key = key
        self.asked_at = time.time()
        self.failure: Optional[Json] = None
        self.failed_at = 0.0
        # LiteLLM's own record of a streamed call: it notes there when the first chunk came.
        self.stream: Any = None


class Miss(Exception):
    """Phasewise gave no usable answer in time."""


class Wire(asyncio.Protocol):
    """One kept-alive HTTP/1.1 connection to the placement API, for one request at a time.

    httpx takes 0.7 ms of the event loop per request, and several turns of it where other calls are in line; this takes a fifth, and one.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: Optional[asyncio.Transport] = None
        self._bytes = bytearray()
        self._answer: Optional[asyncio.Future[Tuple[int, bytes]]] = None
        self._timer: Optional[asyncio.TimerHandle] = None
        self.is_reusable = True

    @property
    def is_open(self) -> bool:
        """Another request may be sent."""
        return self.is_reusable and self._transport is not None and not self._transport.is_closing()

    def ask(self, request: bytes, until: float) -> asyncio.Future[Tuple[int, bytes]]:
        """Status and body of the answer; fails with ConnectionError, or with Miss at `until` (the loop's time)."""
        self._answer = self._loop.create_future()
        self._bytes.clear()
        self._timer = self._loop.call_at(until, self._late, until, False)
        if self._transport is not None:
            self._transport.write(request)
        return self._answer

    def close(self) -> None:
        """Ends the connection, and whatever is waited for on it."""
        self.is_reusable = False
        if self._transport is not None:
            self._transport.close()
        self._done(None, ConnectionError("closed"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._bytes += data
        end = self._bytes.find(b"\r\n\r\n")
        if end < 0 or self._answer is None:
            return
        head = self._bytes[:end].decode("latin-1").lower()
        body = body_in(head, bytes(self._bytes[end + 4 :]))
        if body is None:
            return
        self.is_reusable = "\r\nconnection: close" not in head
        self._done((int(head[9:12]), body), None)

    def connection_lost(self, exc: Optional[Exception]) -> None:
        self.is_reusable = False
        self._done(None, ConnectionError(str(exc or "closed")))

    def _late(self, until: float, is_second: bool) -> None:
        # Where the loop itself was late, the answer may be there already, unread.
        if not is_second and self._loop.time() - until > LAG_S:
            self._timer = self._loop.call_later(LAG_S, self._late, until, True)
            return
        self._done(None, Miss("late"))
        self.close()

    def _done(self, answer: Optional[Tuple[int, bytes]], error: Optional[Exception]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        waiting, self._answer = self._answer, None
        if waiting is None or waiting.done():
            return
        if answer is not None:
            waiting.set_result(answer)
        else:
            waiting.set_exception(error or ConnectionError("closed"))


def body_in(head: str, rest: bytes) -> Optional[bytes]:
    """The whole body of an answer, or None while some of it is missing."""
    length = re.search(r"\r\ncontent-length: *(\d+)", head)
    if length is not None:
        return rest if len(rest) >= int(length.group(1)) else None
    if "\r\ntransfer-encoding: chunked" not in head:
        return b""
    if not rest.endswith(b"0\r\n\r\n"):
        return None
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    return body


class Link:
    """The placement API as one event loop speaks to it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        headers = {"authorization": "Bearer " + settings.key} if settings.key else {}
        base = "http://localhost" if settings.socket else settings.url.rstrip("/")
        self.wakes = asyncio.Event()
        self.reporter: Optional[asyncio.Task[None]] = None
        self.streams: Dict[str, Call] = {}
        self.streaming = asyncio.Event()
        self.watcher: Optional[asyncio.Task[None]] = None
        self.trial: Optional[asyncio.Task[None]] = None
        self._address = urlsplit(base)
        lines = ["host: " + self._address.netloc, "content-type: application/json", *("%s: %s" % one for one in headers.items())]
        self._head = "".join(line + "\r\n" for line in lines)
        self._idle: List[Wire] = []

    async def ask(self, method: str, path: str, body: bytes, deadline_s: float) -> Tuple[int, bytes]:
        """Status and body. Raises Miss where the answer is late or the API cannot be reached."""
        loop = asyncio.get_running_loop()
        until = loop.time() + deadline_s
        line = "%s %s%s HTTP/1.1\r\n%scontent-length: %d\r\n\r\n" % (method, self._address.path, path, self._head, len(body))
        request = line.encode("latin-1") + body
        while self._idle:
            wire = self._idle.pop()
            if not wire.is_open:
                continue
            try:
                return await self._exchange(wire, request, until)
            except ConnectionError:
                # Closed by the other side while it was idle: asking twice is asking once, by the call's key.
                continue
        try:
            wire = await asyncio.wait_for(self._connect(loop), max(0.001, until - loop.time()))
            return await self._exchange(wire, request, until)
        except (asyncio.TimeoutError, OSError) as error:
            raise Miss(type(error).__name__) from error

    async def _exchange(self, wire: Wire, request: bytes, until: float) -> Tuple[int, bytes]:
        try:
            answer = await wire.ask(request, until)
        except BaseException:
            wire.close()
            raise
        if wire.is_open and len(self._idle) < IDLE_MAX:
            self._idle.append(wire)
        else:
            wire.close()
        return answer

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> Wire:
        if self._settings.socket is not None:
            return (await loop.create_unix_connection(Wire, self._settings.socket))[1]
        tls = self._settings.tls
        port = self._address.port or (443 if tls else 80)
        return (await loop.create_connection(Wire, self._address.hostname or "localhost", port, ssl=tls))[1]


class PhasewiseHandler(CustomLogger):
    """LiteLLM's callback. Nothing that it does may fail a call: every entry catches everything."""

    def __init__(self, settings: Optional[Settings] = None) -> None:
        super().__init__()
        self.settings = settings or Settings(os.environ)
        self._breaker = Breaker()
        self._calls: OrderedDict[str, Call] = OrderedDict()
        self._outcomes: Deque[Json] = deque()
        self._links: Dict[int, Tuple[asyncio.AbstractEventLoop, Link]] = {}
        self._named: set[str] = set()
        self._warned: Dict[str, float] = {}
        self._lost = 0
        atexit.register(self._report_rest)

    # Placement

    async def async_filter_deployments(
        self,
        model: str,
        healthy_deployments: List[Deployment],
        messages: Optional[List[Any]],
        request_kwargs: Optional[Json] = None,
        parent_otel_span: Any = None,
    ) -> List[Deployment]:
        """The deployments that may take the call: Phasewise's pick alone, or all of them as they came."""
        try:
            if not healthy_deployments:
                return healthy_deployments
            if self._breaker.is_open:
                self._try_again()
                return healthy_deployments
        except Exception as error:
            self._warn("failed", "phasewise: failed: %r", error)
            return healthy_deployments
        try:
            picked = await self._pick(model, healthy_deployments, messages, request_kwargs or {})
            return picked or healthy_deployments
        except Miss as miss:
            self._breaker.missed(time.monotonic())
            self._warn("missed", "phasewise: no placement in time: %s", miss)
        except asyncio.CancelledError:
            self._breaker.abandoned()
            raise
        except Exception as error:
            self._breaker.abandoned()
            self._warn("failed", "phasewise: failed: %r", error)
        return healthy_deployments

    def _try_again(self) -> None:
        if self._breaker.may_try(time.monotonic()):
            link = self._link()
            link.trial = asyncio.get_running_loop().create_task(self._try(link))

    async def _try(self, link: Link) -> None:
        try:
            status, _ = await link.ask("GET", "/v1/health", b"", self.settings.deadline_s)
            if status >= 500 and status != 503:
                raise Miss("status %d" % status)
            self._breaker.answered()
        except Miss:
            self._breaker.missed(time.monotonic())
        except BaseException:
            self._breaker.abandoned()
            raise

    async def _pick(
        self, model: str, deployments: List[Deployment], messages: Optional[List[Any]], kwargs: Json
    ) -> Optional[List[Deployment]]:
        by_id = {id_of(one): one for one in deployments}
        call = self._remember(kwargs.get("litellm_call_id"))
        request = self._request(model, deployments, messages, kwargs, call)
        answer = await self._ask("POST", "/v1/placements", request)
        if call is not None and request.get("failure") is not None:
            call.failure = None
        if answer.get("held"):
            answer = await self._hold(answer, call)
        self._name_foreign(answer.get("unknownCandidates") or [], by_id)
        pick = by_id.get((answer.get("instance") or {}).get("candidate") or "")
        if pick is None:
            self._forget(call)
            return None
        self._watch_stream(call, kwargs, request)
        if not self.settings.keep_foreign:
            return [pick]
        return [pick, *(by_id[one] for one in answer.get("unknownCandidates") or [] if one in by_id)]

    def _request(
        self, model: str, deployments: List[Deployment], messages: Optional[List[Any]], kwargs: Json, call: Optional[Call]
    ) -> Json:
        proxied = kwargs.get("proxy_server_request") or {}
        body = dict(proxied.get("body") or kwargs)
        if messages is not None and "messages" not in body:
            body["messages"] = messages
        read = {name: body[name] for name in BODY_FIELDS if body.get(name) is not None}
        route = str(metadata_in(kwargs).get("user_api_key_request_route") or urlsplit(str(proxied.get("url") or "")).path)
        request: Json = {
            "client": "litellm",
            "model": model,
            "api": api_of(route, read),
            "candidates": [candidate_of(one) for one in deployments],
        }
        if self.settings.sends_messages:
            request["body"] = {**read, "model": model}
        else:
            request["features"] = features_of(read)
        hints = hints_in(kwargs, proxied.get("headers") or {})
        if hints:
            request["hints"] = hints
        if call is None:
            # Without the call's id its end cannot be told from others: advice alone, nothing booked.
            request["dryRun"] = True
        else:
            request["key"] = call.key
            if call.failure is not None:
                request["failure"] = call.failure
        return request

    async def _ask(self, method: str, path: str, body: Optional[Json] = None) -> Json:
        """Phasewise's answer; a refusal (no instance, strangers only, wrong key …) is an answer too. Raises Miss where none came in time."""
        content = b"" if body is None else json.dumps(body, separators=(",", ":"), default=str).encode()
        status, raw = await self._link().ask(method, path, content, self.settings.deadline_s)
        if status >= 500 and status != 503:
            raise Miss("status %d" % status)
        self._breaker.answered()
        answer = json.loads(raw)
        if not isinstance(answer, dict):
            raise Miss("an answer of another kind")
        if status >= 400 and not answer.get("unknownCandidates"):
            self._warn("refused %d" % status, "phasewise: %d %s", status, answer.get("detail"))
        return answer

    def _watch_stream(self, call: Optional[Call], kwargs: Json, request: Json) -> None:
        record = kwargs.get("litellm_logging_obj")
        if call is None or record is None or (request.get("body") or request.get("features") or {}).get("stream") is not True:
            return
        call.stream = record
        link = self._link()
        link.streams[call.key] = call
        link.streaming.set()

    async def _hold(self, answer: Json, call: Optional[Call]) -> Json:
        """Waits while Phasewise holds the call back; beyond the limit the call goes on without it."""
        path = "/v1/placements/%s" % answer.get("placementId")
        until = time.monotonic() + self.settings.hold_limit_s
        try:
            while answer.get("held"):
                if time.monotonic() >= until:
                    self._end(call, {"kind": "client gone", "error": "held too long"})
                    return {}
                await asyncio.sleep(max(0.001, min(float(answer.get("retryAfterMs") or 25), 1_000) / 1000))
                answer = await self._ask("GET", path)
            return answer
        except asyncio.CancelledError:
            self._end(call, {"kind": "client gone", "error": "left while held"})
            raise

    # Outcomes

    async def async_log_success_event(self, kwargs: Json, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """A call ended well, or its caller left a stream."""
        try:
            call = self._calls.get(key_of(kwargs.get("litellm_call_id")) or "")
            if call is not None:
                self._end(call, success_of(call, kwargs, response_obj, end_time))
        except Exception as error:
            self._warn("report", "phasewise: an outcome was lost: %r", error)

    async def async_post_call_failure_deployment_hook(
        self, request_data: Any, exception: Exception, call_type: Any, fallback_depth: Optional[int] = None
    ) -> None:
        """An attempt at a deployment failed; LiteLLM may try again."""
        self._note_failure(request_data.get("litellm_call_id"), exception)

    async def async_log_failure_event(self, kwargs: Json, response_obj: Any, start_time: Any, end_time: Any) -> None:
        """The same, as older versions tell it, and for streams that break in the middle."""
        self._note_failure(kwargs.get("litellm_call_id"), kwargs.get("exception"))

    async def async_post_call_failure_hook(
        self, request_data: Json, original_exception: Exception, user_api_key_dict: Any, traceback_str: Optional[str] = None
    ) -> None:
        """The proxy gave the call up: no further attempt follows."""
        try:
            call = self._calls.get(key_of(request_data.get("litellm_call_id")) or "")
            if call is not None:
                self._end(call, failed_of(call) if call.failure else {"kind": "client gone", "error": "not sent"})
        except Exception as error:
            self._warn("report", "phasewise: an outcome was lost: %r", error)

    def _note_failure(self, call_id: Any, exception: Any) -> None:
        try:
            call = self._calls.get(key_of(call_id) or "")
            if call is None:
                return
            if is_cancelled(exception):
                self._end(call, {"kind": "client gone", "error": "client gone"})
                return
            call.failure = failure_of(exception)
            call.failed_at = time.time()
        except Exception as error:
            self._warn("report", "phasewise: a failure was lost: %r", error)

    # What is remembered

    def _remember(self, call_id: Any) -> Optional[Call]:
        key = key_of(call_id)
        if key is None:
            return None
        call = self._calls.get(key)
        if call is None:
            call = self._calls[key] = Call(key)
            if len(self._calls) > CALLS_MAX:
                self._calls.popitem(last=False)
        return call

    def _forget(self, call: Optional[Call]) -> None:
        if call is not None:
            self._calls.pop(call.key, None)

    def _end(self, call: Optional[Call], outcome: Json) -> None:
        if call is None or self._calls.pop(call.key, None) is None:
            return
        if len(self._outcomes) >= OUTCOMES_MAX:
            self._outcomes.popleft()
            self._lose(1)
        self._outcomes.append({"key": call.key, **outcome})
        self._link().wakes.set()

    def _end_stale(self) -> None:
        """Ends failed calls that nobody retried; where the proxy's own hook is not called (LiteLLM as a library) nothing else does."""
        now = time.time()
        for call in list(self._calls.values()):
            if call.failure is not None and now - call.failed_at > FAILED_LINGER_S:
                self._end(call, failed_of(call))
            elif now - call.asked_at > FORGET_S:
                self._forget(call)

    # Reporting

    def _link(self) -> Link:
        loop = asyncio.get_running_loop()
        known = self._links.get(id(loop))
        if known is not None and known[0] is loop:
            return known[1]
        link = Link(self.settings)
        self._links[id(loop)] = (loop, link)
        link.reporter = loop.create_task(self._report(link))
        link.watcher = loop.create_task(self._watch(link))
        return link

    async def _report(self, link: Link) -> None:
        while True:
            try:
                await asyncio.wait_for(link.wakes.wait(), 10.0)
            except asyncio.TimeoutError:
                self._end_stale()
            link.wakes.clear()
            await asyncio.sleep(BATCH_WAIT_S)
            while self._outcomes:
                batch = [self._outcomes.popleft() for _ in range(min(BATCH_MAX, len(self._outcomes)))]
                if not await self._send(link, batch):
                    self._lose(len(batch))

    async def _send(self, link: Link, batch: List[Json]) -> bool:
        content = json.dumps({"outcomes": batch}, separators=(",", ":")).encode()
        for attempt in range(REPORT_TRIES):
            try:
                status, raw = await link.ask("POST", "/v1/outcomes", content, REPORT_DEADLINE_S)
                if status < 500:
                    if status >= 400:
                        self._warn("report", "phasewise: outcomes were refused: %s", raw[:200].decode("utf-8", "replace"))
                    return status < 400
            except Miss as miss:
                self._warn("report", "phasewise: outcomes wait: %s", miss)
            await asyncio.sleep(REPORT_PAUSE_S * (attempt + 1))
        return False

    async def _watch(self, link: Link) -> None:
        while True:
            await link.streaming.wait()
            await asyncio.sleep(WATCH_EVERY_S)
            try:
                await self._tell_first_tokens(link)
            except Exception as error:
                self._warn("progress", "phasewise: first tokens were not told: %r", error)
            if not link.streams:
                link.streaming.clear()

    async def _tell_first_tokens(self, link: Link) -> None:
        now = time.time()
        begun: List[Json] = []
        for key, call in list(link.streams.items()):
            first = seconds_of(getattr(call.stream, "completion_start_time", None))
            if first is not None and key in self._calls:
                begun.append({"key": key, "firstTokenAgoMs": round(max(0.0, now - first) * 1000, 3)})
            if first is not None or key not in self._calls:
                del link.streams[key]
                call.stream = None
        # Late ones tell nothing: the outcome carries the time to the first token too.
        if begun and not self._breaker.is_open:
            await link.ask("POST", "/v1/progress", json.dumps({"calls": begun[-BATCH_MAX:]}).encode(), REPORT_DEADLINE_S)

    def _report_rest(self) -> None:
        """What is left when the worker ends."""
        if not self._outcomes:
            return
        headers = {"authorization": "Bearer " + self.settings.key} if self.settings.key else {}
        base = "http://localhost" if self.settings.socket else self.settings.url
        try:
            transport = httpx.HTTPTransport(uds=self.settings.socket, verify=self.settings.tls or True)
            with httpx.Client(base_url=base, headers=headers, transport=transport, timeout=0.5, trust_env=False) as client:
                client.post("/v1/outcomes", json={"outcomes": list(self._outcomes)[-BATCH_MAX:]})
        except Exception as error:
            log.warning("phasewise: %d outcomes were lost at the end: %r", len(self._outcomes), error)

    # What is told to the operator

    def _lose(self, count: int) -> None:
        self._lost += count
        self._warn("lost", "phasewise: %d outcomes lost so far", self._lost)

    def _name_foreign(self, ids: List[str], by_id: Dict[str, Deployment]) -> None:
        for one in ids:
            if one in self._named or one not in by_id:
                continue
            self._named.add(one)
            base = (by_id[one].get("litellm_params") or {}).get("api_base")
            log.warning("phasewise: deployment %s (%s) is no instance of Phasewise; it is left to LiteLLM", one, base)

    def _warn(self, about: str, text: str, *args: Any) -> None:
        """At most once a minute per subject."""
        now = time.monotonic()
        if now - self._warned.get(about, -WARN_EVERY_S) >= WARN_EVERY_S:
            self._warned[about] = now
            log.warning(text, *args)


def id_of(deployment: Deployment) -> str:
    """The deployment's id as text; LiteLLM has numbers there too."""
    return str((deployment.get("model_info") or {}).get("id") or "")


def candidate_of(deployment: Deployment) -> Json:
    """The deployment as the placement API wants it."""
    base = (deployment.get("litellm_params") or {}).get("api_base")
    return {"id": id_of(deployment), "url": str(base)} if base else {"id": id_of(deployment)}


def key_of(call_id: Any) -> Optional[str]:
    """LiteLLM's id of a call, which callers may set to anything by header, as a key of at most 128 plain characters."""
    if not call_id:
        return None
    text = str(call_id)
    if len(text) <= 64 and text.replace("-", "").isalnum() and text.isascii():
        return text
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()


def metadata_in(kwargs: Json) -> Json:
    """The proxy's own metadata; where it stands depends on the API."""
    for name in ("litellm_metadata", "metadata"):
        found = kwargs.get(name)
        if isinstance(found, dict) and "user_api_key_request_route" in found:
            return found
    found = kwargs.get("metadata") or kwargs.get("litellm_metadata")
    return found if isinstance(found, dict) else {}


def hints_in(kwargs: Json, headers: Mapping[str, Any]) -> Json:
    """Who calls: the caller's own headers first, then the names that the operator gave key and team."""
    metadata = metadata_in(kwargs)
    sent = {str(name).lower(): value for name, value in headers.items()}
    named = {
        "application": sent.get("x-phasewise-application") or metadata.get("user_api_key_alias"),
        "tenant": sent.get("x-phasewise-tenant") or metadata.get("user_api_key_team_alias"),
        "task": sent.get("x-phasewise-task"),
    }
    hints: Json = {name: printable(value) for name, value in named.items() if value and printable(value)}
    for name, header in (("priority", "x-phasewise-priority"), ("sloTtftMs", "x-slo-ttft-ms"), ("sloTpotMs", "x-slo-tpot-ms")):
        try:
            value = float(sent[header])
        except (KeyError, TypeError, ValueError):
            continue
        if abs(value) <= 1_000_000 and (name == "priority" or value > 0):
            hints[name] = value
    return hints


def printable(value: Any) -> str:
    """The text as a name: 128 characters, none of them a control character."""
    return "".join(one for one in str(value) if one.isprintable())[:128].strip()


APIS = {
    "/chat/completions": "openai-chat",
    "/completions": "openai-completions",
    "/responses": "openai-responses",
    "/embeddings": "openai-embeddings",
    "/messages": "anthropic-messages",
}


def api_of(route: str, body: Json) -> str:
    """The API that the call speaks, by its route, else by its body."""
    for ending, api in APIS.items():
        if route.rstrip("/").endswith(ending):
            return api
    if "messages" in body:
        return "openai-chat"
    return "openai-completions" if "prompt" in body else "openai-responses"


def features_of(body: Json) -> Json:
    """Counts and hashes of a call, so that no text leaves this process."""
    prompt = {name: body[name] for name in PROMPT_FIELDS if name in body}
    raw = json.dumps(prompt, separators=(",", ":"), default=str).encode()
    messages = body.get("messages")
    features: Json = {
        "promptBytes": len(raw),
        "prefixBlocks": blocks_of(raw),
        "stream": body.get("stream") is True,
        "turns": len(messages) if isinstance(messages, list) else 1,
        "tools": len(body["tools"]) if isinstance(body.get("tools"), list) else 0,
    }
    for name in ("max_completion_tokens", "max_tokens", "max_output_tokens"):
        if isinstance(body.get(name), int) and not isinstance(body.get(name), bool) and 0 <= body[name] <= 100_000_000:
            features["maxTokens"] = body[name]
            break
    if isinstance(body.get("n"), int) and 1 <= body["n"] <= 100_000:
        features["answers"] = int(body["n"])
    asked = body.get("response_format")
    if isinstance(asked, dict) and asked.get("type") in ("json_object", "json_schema"):
        features["responseFormat"] = "json" if asked["type"] == "json_object" else "schema"
    return features


def blocks_of(raw: bytes) -> List[str]:
    """Chained hashes over full blocks of the prompt: a longer conversation keeps its first ones."""
    blocks: List[str] = []
    chained = b""
    # The last two bytes close the list and the object; a longer conversation has a comma there.
    for start in range(0, min(len(raw) - 2, BLOCK_BYTES * BLOCKS_MAX) - BLOCK_BYTES + 1, BLOCK_BYTES):
        chained = hashlib.blake2b(chained + raw[start : start + BLOCK_BYTES], digest_size=8).digest()
        blocks.append(chained.hex())
    return blocks


def success_of(call: Call, kwargs: Json, response: Any, end_time: Any) -> Json:
    """The outcome in a success event."""
    if kwargs.get("cache_hit") is True:
        return {"kind": "client gone", "error": "cache hit"}
    litellm_params = kwargs.get("litellm_params") or {}
    served_by = (litellm_params.get("model_info") or {}).get("id")
    outcome: Json = {"kind": "client gone" if has_left(kwargs) else "completed", "status": 200, **usage_in(response)}
    if outcome["kind"] == "client gone":
        outcome["error"] = "client gone"
    if served_by:
        outcome["servedBy"] = str(served_by)
    first, last = seconds_of(kwargs.get("completion_start_time")), seconds_of(end_time)
    put_ms(outcome, "e2eMs", last, call.asked_at)
    # For an answer that is not streamed LiteLLM sets the first token's time to the last's.
    if kwargs.get("stream") is True and first is not None and first != last:
        put_ms(outcome, "ttftMs", first, call.asked_at)
    finish = finish_in(response)
    if finish:
        outcome["finishReason"] = finish
    return outcome


def failed_of(call: Call) -> Json:
    """The outcome of a call whose last attempt failed."""
    outcome: Json = {"kind": "instance error", "failure": call.failure}
    put_ms(outcome, "e2eMs", call.failed_at, call.asked_at)
    return outcome


def has_left(kwargs: Json) -> bool:
    """LiteLLM notes in the call's metadata that its caller disconnected."""
    params = kwargs.get("litellm_params") or {}
    for holder in (params.get("metadata"), params.get("litellm_metadata"), kwargs.get("metadata")):
        if isinstance(holder, dict) and holder.get("client_disconnected") is True:
            return True
    return False


def usage_in(response: Any) -> Json:
    """Token counts, by the names of either API."""
    usage = field(response, "usage")
    found: Json = {}
    for name, sources in (("promptTokens", ("prompt_tokens", "input_tokens")), ("outputTokens", ("completion_tokens", "output_tokens"))):
        for source in sources:
            value = field(usage, source)
            if isinstance(value, int) and 0 <= value <= 100_000_000:
                found[name] = value
                break
    cached = field(field(usage, "prompt_tokens_details"), "cached_tokens")
    if isinstance(cached, int) and 0 <= cached <= 100_000_000:
        found["cachedPromptTokens"] = cached
    return found


def finish_in(response: Any) -> Optional[str]:
    """Why the first answer ended."""
    choices = field(response, "choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    reason = field(first, "finish_reason")
    return printable(reason)[:64] or None if isinstance(reason, str) else None


def field(holder: Any, name: str) -> Any:
    """A member of a mapping or an attribute of an object."""
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)


def seconds_of(moment: Any) -> Optional[float]:
    """A moment in seconds since 1970."""
    if isinstance(moment, datetime):
        return moment.timestamp()
    return float(moment) if isinstance(moment, (int, float)) else None


def put_ms(outcome: Json, name: str, moment: Optional[float], since: float) -> None:
    """Adds a duration that makes sense; clocks that were set in between give others."""
    if moment is not None and 0 <= moment - since < 86_400:
        outcome[name] = round((moment - since) * 1000, 3)


def is_cancelled(exception: Any) -> bool:
    """The caller went away before there was an answer."""
    return isinstance(exception, asyncio.CancelledError) or bool(getattr(exception, "status_code", None) == 499)


def failure_of(exception: Any) -> Json:
    """What the instance did, as far as an exception tells."""
    name = type(exception).__name__
    status = getattr(exception, "status_code", None)
    if name in ("Timeout", "APITimeoutError"):
        return {"kind": "timed out"}
    if name == "APIConnectionError" or isinstance(exception, httpx.ConnectError) or has_cause(exception, httpx.ConnectError):
        return {"kind": "connect"}
    if has_cause(exception, httpx.TransportError):
        return {"kind": "reset"}
    if isinstance(status, int) and 100 <= status <= 599:
        return {"kind": "full" if status == 429 else "status", "status": status}
    return {"kind": "status", "status": 500}


def has_cause(exception: Any, kind: type) -> bool:
    """An exception of this kind stands somewhere behind."""
    for _ in range(10):
        if exception is None:
            return False
        if isinstance(exception, kind):
            return True
        exception = getattr(exception, "__cause__", None) or getattr(exception, "__context__", None)
    return False


handler = PhasewiseHandler()
