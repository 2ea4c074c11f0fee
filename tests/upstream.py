"""An MCP server by the official Python SDK, 1.x or 2.x, whichever is installed: what stands behind weir as a gateway.

    upstream.py PORT|stdio NOTES ABOUT

`note` adds a line to the file NOTES and is described by ABOUT.
"""

import asyncio
import sys

try:
    from mcp.server import MCPServer as Server
except ImportError:
    from mcp.server.fastmcp import FastMCP as Server

PLACE, NOTES, ABOUT = sys.argv[1:]
IS_OLD = Server.__name__ == "FastMCP"
server = Server("notes", **({"host": "127.0.0.1", "port": int(PLACE)} if IS_OLD and PLACE != "stdio" else {}))


@server.tool()
def find(word: str) -> dict[str, list[str]]:
    """Finds notes that have a word."""
    with open(NOTES, encoding="utf-8") as file:
        return {"notes": [line.strip() for line in file if word in line]}


@server.tool(description=ABOUT)
def note(text: str) -> str:
    with open(NOTES, "a", encoding="utf-8") as file:
        file.write(f"{text}\n")
    return f"noted: {text}"


@server.tool()
def refuse(text: str) -> str:
    """Fails."""
    raise ValueError(f"not {text}")


@server.tool()
async def hang(text: str) -> str:
    """Notes, and never answers."""
    note(text)
    await asyncio.sleep(3600)
    return "late"


@server.tool()
def wipe() -> str:
    """Removes everything."""
    with open(NOTES, "w", encoding="utf-8"):
        return "gone"


if PLACE == "stdio":
    server.run("stdio")
elif IS_OLD:
    server.run("streamable-http")
else:
    server.run("streamable-http", host="127.0.0.1", port=int(PLACE))
