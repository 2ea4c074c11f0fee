"""An agent that speaks MCP with the official Python client: the old one (1.x) or the new one (2.x), whichever is installed.

    agent.py URL TOKEN < STEPS          over HTTP
    agent.py - COMMAND... < STEPS       over standard input and output

STEPS is a JSON list: "list", or [tool, arguments]. Answers are printed as one JSON list.
"""

import asyncio
import contextlib
import json
import sys

import mcp
from mcp.client.stdio import StdioServerParameters, stdio_client


def shown(result):
    """A result as the wire has it."""
    return json.loads(result.model_dump_json(by_alias=True, exclude_none=True))


async def follow(session, steps):
    answers = []
    for step in steps:
        if step == "list":
            answers.append(shown(await session.list_tools()))
        else:
            answers.append(shown(await session.call_tool(step[0], step[1])))
    return answers


def over_stdio():
    return stdio_client(StdioServerParameters(command=sys.argv[2], args=sys.argv[3:]))


@contextlib.asynccontextmanager
async def new_client():
    if sys.argv[1] == "-":
        server = over_stdio()
    else:
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {sys.argv[2]}"})
        server = streamable_http_client(sys.argv[1], http_client=http)
    async with mcp.Client(server) as client:
        yield client, client.protocol_version


@contextlib.asynccontextmanager
async def old_client():
    if sys.argv[1] == "-":
        transport = over_stdio()
    else:
        from mcp.client.streamable_http import streamablehttp_client

        transport = streamablehttp_client(sys.argv[1], headers={"Authorization": f"Bearer {sys.argv[2]}"})
    async with transport as streams, mcp.ClientSession(streams[0], streams[1]) as session:
        began = await session.initialize()
        yield session, began.protocolVersion


async def main():
    client = new_client() if hasattr(mcp, "Client") else old_client()
    async with client as (session, revision):
        answers = await follow(session, json.load(sys.stdin))
    print(json.dumps({"revision": revision, "answers": answers}))


asyncio.run(main())
