"""What connectors send, against the vendors' own API descriptions.

The suite of connectors (`weir connector test`) holds every request to the exchanges in `fixtures/*.http`. Here each of those
exchanges has to be one that the vendor describes: path, method, parameters, fields of the body, and fields of the answer that
the connector reads. The descriptions are not ours to ship: WEIR_API_DESCRIPTIONS names a folder that has them.
"""

import json
import os
import re
import urllib.parse
from pathlib import Path

import jsonschema
import pytest
import yaml

CONNECTORS = Path(__file__).parent.parent / "connectors"
FOLDER = Path(os.environ.get("WEIR_API_DESCRIPTIONS", Path(__file__).parent.parent / "../shared/specs"))

# Connector: description, what stands before its paths, and what it does not know though the vendor documents it.
DESCRIBED = {
    "stripe": ("stripe/stripe.openapi.json", "https://api.stripe.com", {}),
    "twilio": (
        "twilio/twilio_api_v2010.pruned.json",
        "https://api.twilio.com",
        # The sound of a recording: https://www.twilio.com/docs/voice/api/recording#fetch-a-recordings-media-file
        {"paths": [r".*/Recordings/RE[0-9a-f]+\.mp3", r"/2010-04-01/Accounts/AC[0-9a-f]+\.json"]},
    ),
    "whatsapp": (
        "whatsapp/business-messaging-api_v23.0.json",
        "https://graph.facebook.com",
        # Documented, and missing in the description: fields of files and of templates' parameters, and marking as read, in
        # the Cloud API's reference of messages; `fields` and paging in that of the Graph API.
        {
            "hosts": ["lookaside.fbsbx.com"],
            "params": ["fields", "limit", "after"],
            "fields": [
                ("biz_opaque_callback_data",),
                ("document", "caption"),
                ("document", "filename"),
                ("template", "components", "0", "parameters"),
                ("status",),
                ("message_id",),
            ],
        },
    ),
    "cal_com": ("cal.com/calcom-v2.pruned.json", "https://api.cal.com", {}),
    "github": ("github/api.github.com.pruned.json", "https://api.github.com", {}),
    "slack": (
        "slack/slack_web_openapi_v2.pruned.json",
        "https://slack.com/api",
        # The description is of 2021: uploads and metadata came later.
        {
            "hosts": ["files.slack.com"],
            "paths": [r"/files\.getUploadURLExternal", r"/files\.completeUploadExternal"],
            "fields": [("include_all_metadata",), ("metadata",)],
            "any_method": True,
        },
    ),
}


class Description:
    def __init__(self, path):
        self.document = json.loads(path.read_text())
        self.patterns = [(self.pattern(path), path) for path in self.document["paths"]]

    @staticmethod
    def pattern(path):
        parts = re.split(r"(\{[^}]+\})", path)
        # What stands in a path's braces is one segment, and no word of another path.
        return re.compile("".join("[^/]+?" if part.startswith("{") else re.escape(part) for part in parts) + "$")

    def find(self, path, method, any_method):
        """The operations that a request may be: those whose paths leave least open."""
        found = []
        for pattern, name in self.patterns:
            if pattern.match(path):
                operations = self.document["paths"][name]
                wanted = ["get", "post"] if any_method else [method.lower()]
                found += [(name.count("{"), operations, operations[verb]) for verb in wanted if verb in operations]
        least = min((each[0] for each in found), default=0)
        return [each[1:] for each in found if each[0] == least]

    def of(self, value):
        while "$ref" in value:
            node = self.document
            for part in value["$ref"].removeprefix("#/").split("/"):
                node = node[part.replace("~1", "/").replace("~0", "~")]
            value = node
        return value

    def parameters(self, operations, operation):
        all_ = operations.get("parameters", []) + operation.get("parameters", [])
        return [self.of(parameter) for parameter in all_]

    def bodies(self, operations, operation):
        """Schemas of the body, by media type; of Swagger 2 its form fields as one."""
        content = self.of(operation.get("requestBody", {})).get("content", {})
        schemas = [media["schema"] for media in content.values() if "schema" in media]
        fields = {p["name"]: {} for p in self.parameters(operations, operation) if p["in"] in ("formData", "query")}
        if "swagger" in self.document:
            schemas.append({"properties": fields})
        return schemas

    def knows(self, schema, path, depth=0):
        """Whether a schema has a property at this path; one that is open has any."""
        schema = self.of(schema)
        if depth > 40:
            return True
        options = schema.get("anyOf", []) + schema.get("oneOf", []) + schema.get("allOf", [])
        if any(self.knows(option, path, depth + 1) for option in options):
            return True
        if not path:
            return True
        step, rest = path[0], path[1:]
        if "items" in schema and step.isdigit():
            return self.knows(schema["items"], rest, depth + 1)
        properties = schema.get("properties", {})
        if step in properties:
            return self.knows(properties[step], rest, depth + 1)
        additional = schema.get("additionalProperties")
        if isinstance(additional, dict):
            return self.knows(additional, rest, depth + 1)
        is_bare = not properties and not options and "items" not in schema and schema.get("type") in (None, "object")
        return additional is True or is_bare


def exchanges(connector):
    """Line, method, URL, content type and body of every request in a connector's fixtures."""
    for file in sorted((CONNECTORS / connector / "fixtures").glob("*.http")):
        for part in re.split(r"^###.*$", file.read_text(), flags=re.M):
            lines = [line for line in part.strip().splitlines()]
            while lines and (lines[0].startswith("#") or not lines[0].strip()):
                lines.pop(0)
            if not lines:
                continue
            request = part.split("\nHTTP/1.1", 1)[0].strip().splitlines()
            while request[0].startswith("#") or not request[0].strip():
                request.pop(0)
            method, url = request[0].split(" ", 1)
            blank = next((index for index, line in enumerate(request) if not line.strip()), len(request))
            yield file.name, method, url, "\n".join(request[blank:]).strip()


def leaves(value, path=()):
    if isinstance(value, dict):
        for name, member in value.items():
            yield from leaves(member, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, str(index)))
    else:
        yield path


def fields(body):
    """Paths of what a body says: members of JSON, or fields of a form (`items[0][price]`)."""
    if body.startswith(("{", "[")):
        return list(leaves(json.loads(body)))
    pairs = urllib.parse.parse_qsl(body, keep_blank_values=True)
    return [tuple(part for part in re.split(r"[\[\]]+", name) if part) for name, _ in pairs]


def faults(connector):
    file, base, beyond = DESCRIBED[connector]
    description = Description(FOLDER / file)
    for place, method, url, body in exchanges(connector):
        parsed = urllib.parse.urlsplit(url)
        if parsed.hostname in beyond.get("hosts", []):
            continue
        assert url.startswith(base), (place, url)
        path = parsed.path.removeprefix(urllib.parse.urlsplit(base).path)
        if any(re.fullmatch(known, path) for known in beyond.get("paths", [])):
            continue
        found = description.find(path, method, beyond.get("any_method", False))
        if not found:
            yield f"{place}: {method} {path} is not described"
            continue
        judged = [list(differences(description, operation, parsed.query, body, beyond)) for operation in found]
        yield from (f"{place}: {method} {path} {fault}" for fault in min(judged, key=len))


def differences(description, found, query, body, beyond):
    operations, operation = found
    params = {parameter["name"] for parameter in description.parameters(operations, operation)}
    params.update(beyond.get("params", []))
    for name, _ in urllib.parse.parse_qsl(query, keep_blank_values=True):
        # A Stripe list's `created[gte]` is described as `created`.
        if name not in params and name.split("[")[0] not in params:
            yield f"has no parameter {name}"
    schemas = description.bodies(operations, operation)
    for field in fields(body) if body else []:
        is_beyond = any(field[: len(known)] == known for known in beyond.get("fields", []))
        if not is_beyond and not any(description.knows(schema, field) for schema in schemas):
            yield f"has no field {'.'.join(field)}"


@pytest.mark.parametrize("connector", sorted(DESCRIBED))
def test_what_is_sent_is_what_the_vendor_describes(connector):
    if not (FOLDER / DESCRIBED[connector][0]).exists():
        pytest.skip(f"NOT JUDGED by the vendor's API description: {connector}. Set WEIR_API_DESCRIPTIONS to a folder that has {DESCRIBED[connector][0]}")
    assert list(faults(connector)) == []


def test_every_connector_with_a_description_is_held_to_it():
    """A connector that comes along says here what it is held to, or why to nothing."""
    without = {
        "airbyte": "runs programs",
        "email": "speaks SMTP and IMAP",
        "contract_intel": "reads documents, asks nobody",
        "files": "reads files",
        "http_json": "any API",
        "mcp": "has the tools of whatever server it is given",
        "salesforce": "Salesforce publishes a description only for an organisation",
        "singer": "runs programs",
        "webhook": "the receiver is the user's",
    }
    found = {folder.name for folder in CONNECTORS.iterdir() if (folder / "connector.yaml").exists()}
    assert found - set(DESCRIBED) - set(without) == set()


def test_a_request_that_nobody_describes_is_found(tmp_path):
    document = {"paths": {"/a/{id}": {"post": {"parameters": [{"name": "q", "in": "query"}], "requestBody": {"content": {
        "application/json": {"schema": {"properties": {"b": {"properties": {"c": {"type": "string"}}}}}}}}}}}}
    file = tmp_path / "d.json"
    file.write_text(json.dumps(document))
    description = Description(file)
    [operation] = description.find("/a/1", "POST", False)
    assert description.find("/b", "POST", False) == [] and description.find("/a/1", "GET", False) == []
    said = lambda query, body: list(differences(description, operation, query, body, {}))
    assert said("q=1", '{"b": {"c": "x"}}') == []
    assert said("r=1", '{"b": {"d": "x"}}') == ["has no parameter r", "has no field b.d"]


def actions():
    """Every action of every connector that declares some in its file."""
    for file in sorted(CONNECTORS.glob("*/connector.yaml")):
        for action in yaml.safe_load(file.read_text()).get("actions", []):
            yield file.parent, action


def test_every_action_says_what_it_gives_and_its_fixtures_give_that():
    """Outputs of calls are held to the schema by the engine; here those that a lookup finds are, too."""
    judged = set()
    for folder, action in actions():
        assert "output_schema" in action, f"{folder.name}: {action['name']} does not say what it gives"
        judge = jsonschema.Draft202012Validator(action["output_schema"])
        judge.check_schema(action["output_schema"])
        for case in sorted(folder.glob("fixtures/*.yaml")):
            for step in (yaml.safe_load(case.read_text()) or {}).get("actions", []):
                found = step.get("output", step.get("found"))
                if step["action"] == action["name"] and ("output" in step or found):
                    assert list(judge.iter_errors(found)) == [], f"{case}: {action['name']}"
                    judged.add((folder.name, action["name"]))
    assert len(judged) > 50


def test_no_action_sends_what_was_not_asked_for():
    """An input that may be left out has no default that only repeats the vendor's: it is left out of the request, too."""
    for folder, action in actions():
        if "native" in action:
            continue
        request = json.dumps([action["request"], action.get("prepare", [])])
        for name in set(action["input"].get("properties", {})) - set(action["input"].get("required", [])):
            assert "default" not in action["input"]["properties"][name], f"{folder.name}: {action['name']}: {name}"
            used = re.findall(r"\{\{(?:(?!\}\}).)*\binput\." + name + r"\b(?:(?!\}\}).)*\}\}", request)
            unguarded = [text for text in used if "default(" not in text and "is defined" not in text and "is undefined" not in text]
            assert unguarded == [], f"{folder.name}: {action['name']}: {name}"


def test_fixtures_name_no_secret_connection():
    for case in CONNECTORS.glob("*/fixtures/connection.yaml"):
        credential = (yaml.safe_load(case.read_text()) or {}).get("credential") or {}
        assert all(len(str(value)) < 64 for value in credential.values()), case
