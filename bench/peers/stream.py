"""Streams of tokens with asyncio and httpx: what a client in Python costs.

stream.py URL STREAMS SECONDS: keeps so many streamed chat completions open, reads
each event as JSON, and notes when tokens come, as load testers in Python do.
"""

import asyncio
import json
import sys
import time

import httpx

URL, STREAMS, SECONDS = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
BODY = {
    "messages": [{"role": "user", "content": "Hello"}],
    "max_tokens": 100,
    "stream": True,
    "stream_options": {"include_usage": True},
}
first_tokens, gaps = [], []
tokens = 0


async def ask(client: httpx.AsyncClient) -> None:
    global tokens
    sent = time.perf_counter()
    last = None
    async with client.stream("POST", URL, json=BODY, headers={"api-key": "k"}) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            chunk = json.loads(line[6:])
            if chunk.get("usage"):
                tokens += chunk["usage"]["completion_tokens"]
            choices = chunk["choices"]
            if choices and choices[0].get("delta", {}).get("content"):
                now = time.perf_counter()
                if last is None:
                    first_tokens.append(now - sent)
                else:
                    gaps.append(now - last)
                last = now


async def user(client: httpx.AsyncClient, until: float) -> None:
    while time.perf_counter() < until:
        await ask(client)


async def main() -> None:
    limits = httpx.Limits(max_connections=STREAMS, max_keepalive_connections=STREAMS)
    async with httpx.AsyncClient(limits=limits, timeout=60) as client:
        until = time.perf_counter() + SECONDS
        await asyncio.gather(*(user(client, until) for _ in range(STREAMS)))
    print(json.dumps({"answers": len(first_tokens), "chunks": len(first_tokens) + len(gaps), "tokens": tokens}))


asyncio.run(main())
