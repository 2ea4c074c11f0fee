"""A vendor with state that remembers every effect and ignores idempotency keys, and a project whose bundles use it."""

import json
import threading
import urllib.parse

from vendor import JsonHandler, Vendor

# `make` and `remove` can be looked up; what `blind` and `ask` (which people approve) did, nobody can ask for.
CONNECTOR = """
spec: 1
connector: mart
version: 1.0.0
name: { en: Mart }
hosts: ["{{ config.url | replace('http://', '') }}"]
config: { type: object, required: [url], properties: { url: { type: string } } }
http: { base_url: "{{ config.url }}" }
reliability: { timeout: 5s, retry: { attempts: 1 } }
actions:
"""
ACTION = """
  - name: {name}
    title: {name} a thing
    effect: {effect}
    approval: {approval}
    input: {{ type: object, required: [thing], additionalProperties: false, properties: {{ thing: {{ type: string }} }} }}
    request:
      path: /{path}
      headers: {{ X-Correlation-Id: "{{{{ correlation_id }}}}" }}
      json: {{ thing: "{{{{ input.thing }}}}", reference: "{{{{ idempotency_key }}}}" }}
    output: {{ thing: data.thing }}
    remote_id: thing
    idempotency: {idempotency}
"""
LOOKUP = """
      lookup:
        request: { path: /effects, params: { reference: "{{ idempotency_key }}" } }
        select: { path: data }
        complete_when: "{{ true }}"
        output: { thing: thing }"""
ACTIONS = [
    ("make", "write", "auto", "make", LOOKUP),
    ("blind", "write", "auto", "make", "none"),
    ("ask", "write", "required", "make", "none"),
    ("remove", "destructive", "auto", "remove", LOOKUP),
    ("tell", "message", "auto", "make", "none"),
]
STEP = """
  - name: {name}
    connection: shop
    action: {action}
    with: {{ thing: "{{{{ input.run }}}}-{name}" }}
    compensation: {{ action: remove, with: {{ thing: "{{{{ input.thing }}}}" }} }}
"""


class Mart(Vendor):
    """`refuses`: things that it makes never; `loses`: things whose answers are lost; `stuck`: things that stay."""

    def __enter__(self):
        mart = self
        self.effects, self.lock = [], threading.Lock()
        self.refuses, self.loses, self.stuck = set(), set(), set()

        class Handler(JsonHandler):
            def do_GET(self):
                query = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query)
                with mart.lock:
                    found = [e for e in mart.effects if e["reference"] == query["reference"][0]]
                self.answer(200, {"data": found})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                kind, thing = self.path.strip("/"), body["thing"]
                with mart.lock:
                    if thing in mart.refuses or (kind == "remove" and thing in mart.stuck):
                        return self.answer(400, {"error": "no"})
                    effect = {"kind": kind, "correlation": self.headers["X-Correlation-Id"], **body}
                    mart.effects.append(effect)
                if thing in mart.loses and kind == "make":
                    self.close_connection = True
                    return self.connection.close()
                self.answer(201, {"data": effect})

        return self.listen(Handler)

    def net(self, thing):
        """How often a thing is there: made, and not removed."""
        with self.lock:
            kinds = [effect["kind"] for effect in self.effects if effect["thing"] == thing]
        return kinds.count("make") - kinds.count("remove")

    def nets(self, run, *steps):
        return [self.net(f"{run}-{step}") for step in steps]

    def doubled(self):
        """Calls that had a second effect."""
        with self.lock:
            references = [effect["reference"] for effect in self.effects]
        return {reference for reference in references if references.count(reference) > 1}


def bundle(*steps, rest=""):
    """Text of a bundle: steps as (name, action)."""
    text = "title: Things\ninput: { type: object, required: [run], properties: { run: { type: string } } }\nsteps:"
    return text + "".join(STEP.format(name=name, action=action) for name, action in steps) + rest


def open_shop(project, mart):
    actions = (dict(zip(("name", "effect", "approval", "path", "idempotency"), action)) for action in ACTIONS)
    project.write("connectors/mart/connector.yaml", CONNECTOR + "".join(ACTION.format(**a) for a in actions))
    project.write(
        "connections/shop.yaml",
        f"connector: mart\nconfig: {{ url: '{mart.url}' }}\nallow_private_hosts: true\n",
    )
    project.write("bundles/three.yaml", bundle(("a", "make"), ("b", "blind"), ("c", "make")))
    project.write("bundles/asked.yaml", bundle(("a", "make"), ("b", "ask"), ("c", "make")))
