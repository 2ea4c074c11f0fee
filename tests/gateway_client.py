"""weir as the MCP client that the official suite tests: a project whose one connection is the suite's server.

    gateway_client.py WEIR URL

Accepts what the server has, and makes the calls that the scenario asks for. An argument that is null is left out: weir checks
arguments against the tool's schema, which does not allow null there.
"""

import json
import os
import pathlib
import sys
import tempfile

from project import make_project

WEIR, URL = sys.argv[1:]


def connection(project, effects):
    config = {"url": URL, "effects": effects}
    project.connection("suite", json.dumps({"connector": "mcp", "config": config, "allow_private_hosts": True}))


def wanted(project, tools):
    """Tools with their arguments."""
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    if "toolCalls" in context:
        return [(call["name"], call["arguments"]) for call in context["toolCalls"]]
    if "add_numbers" in tools:
        return [("add_numbers", {"a": 5, "b": 3})]
    if "json_schema_echo" in tools:
        shown = project.json("tool", "show", "suite", "json_schema_2020_12_tool")
        return [("json_schema_echo", {"schema": shown["seen"]["definition"]["input"]})]
    return [(tool, filled(project.json("tool", "show", "suite", tool)["seen"]["definition"]["input"])) for tool in tools]


def filled(schema):
    """Any value for each argument that a tool needs."""
    values = {"string": "x", "integer": 1, "number": 1, "boolean": True, "array": [], "object": {}}
    fields = schema.get("properties", {})
    return {name: values.get(fields.get(name, {}).get("type"), "x") for name in schema.get("required", [])}


def main(folder):
    project = make_project(WEIR, pathlib.Path(folder))
    connection(project, {})
    project.run("tool", "refresh", "suite")
    listed = {tool["tool"]: tool for tool in project.json("tool", "list", "suite")}
    usable = [name for name, tool in listed.items() if tool["state"] != "refused"]
    connection(project, dict.fromkeys(usable, "read"))
    for name in usable:
        project.run("tool", "accept", "suite", name, "--digest", listed[name]["digest"])
    actions = {action["action"] for action in project.json("action", "list")}
    for tool, arguments in wanted(project, usable):
        action = tool if tool in actions else next(a for a in actions if a == tool.replace("-", "_").lower())
        given = {name: value for name, value in arguments.items() if value is not None}
        done = project.run("call", "suite", action, "--input", json.dumps(given), ok=False)
        print(tool, done.returncode, done.stdout, done.stderr)


with tempfile.TemporaryDirectory() as folder:
    main(folder)
