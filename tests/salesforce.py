"""A small Salesforce of our own: no program of another author does Bulk API 2.0.

It keeps records, and follows the REST and Bulk API 2.0 guides: JWT bearer logins whose signature it checks, sessions that end, query
jobs whose results come in pages, deleted records that queries leave out and queryAll does not.
"""

import base64
import csv
import datetime
import http.server
import io
import json
import re
import threading
import urllib.parse

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

DATA = "/services/data/v62.0"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
PAGE = 2


def attributes(object_, id_):
    return {"type": object_, "url": f"{DATA}/sobjects/{object_}/{id_}"}


class Salesforce:
    def __enter__(self):
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.records, self.jobs, self.tokens, self.log = {}, {}, [], []
        self.clock = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)
        self.lock = threading.Lock()
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def handle_one(self):
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length).decode()
                with fake.lock:
                    status, headers, answer = fake.answer(self.command, self.path, self.headers, body)
                data = answer if isinstance(answer, bytes) else b"" if answer is None else json.dumps(answer).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PATCH = do_DELETE = handle_one

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def pem(self):
        form = serialization.PrivateFormat.PKCS8
        return self.key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()

    def end_sessions(self):
        with self.lock:
            self.tokens = []

    # What is kept

    def tick(self):
        self.clock += datetime.timedelta(seconds=1)
        return self.clock.strftime("%Y-%m-%dT%H:%M:%S.000Z")

    def add(self, object_, fields):
        number = len(self.records) + 1
        now = self.tick()
        record = {"Id": f"{object_[:3].upper()}{number:012}AAA", "IsDeleted": False, "CreatedDate": now, **fields}
        self.records[record["Id"]] = {"object": object_, **record}
        return self.touch(record["Id"])

    def touch(self, id_, **fields):
        now = self.tick()
        self.records[id_].update(LastModifiedDate=now, SystemModstamp=now, **fields)
        return self.records[id_]

    # What is answered

    def answer(self, method, url, headers, body):
        parsed = urllib.parse.urlsplit(url)
        query = dict(urllib.parse.parse_qsl(parsed.query))
        self.log.append((method, parsed.path))
        if parsed.path == "/services/oauth2/token":
            return self.login(dict(urllib.parse.parse_qsl(body)))
        if headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            return 401, {}, [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}]
        path = [urllib.parse.unquote(part) for part in parsed.path.removeprefix(DATA).strip("/").split("/")]
        given = json.loads(body) if body else {}
        match (method, *path):
            case ("GET", "limits"):
                return 200, {}, {"DailyApiRequests": {"Max": 15000, "Remaining": 14998}}
            case ("GET", "query" | "queryAll" as how):
                return self.query(query["q"], how == "queryAll", 0)
            case ("GET", "query", place):
                encoded, _, start = place.rpartition("-")
                return self.query(base64.urlsafe_b64decode(encoded).decode(), False, int(start))
            case (_, "jobs", *rest):
                return self.job(method, rest, query, given)
            case (_, "sobjects", *rest):
                return self.record(method, rest, given)
        return 404, {}, [{"message": "The requested resource does not exist", "errorCode": "NOT_FOUND"}]

    def login(self, form):
        head, claims, signature = form["assertion"].split(".")
        decode = lambda text: base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        self.key.public_key().verify(decode(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
        claims = json.loads(decode(claims))
        is_right = claims["aud"] == self.url and claims["iss"] == "app-id" and claims["sub"] == "bot@example.com"
        if form["grant_type"] != JWT_BEARER or not is_right or claims["exp"] - claims["iat"] > 300:
            return 400, {}, {"error": "invalid_grant", "error_description": "invalid assertion"}
        self.tokens.append(f"session-{len(self.log)}")
        # No lifetime: Salesforce says none.
        return 200, {}, {"access_token": self.tokens[-1], "instance_url": self.url, "token_type": "Bearer"}

    def select(self, soql, with_deleted):
        wanted = re.fullmatch(r"SELECT (.+?) FROM (\w+)(?: WHERE (.+?))?", soql)
        fields, object_, where = wanted.groups()
        found = [r for r in self.records.values() if r["object"] == object_ and (with_deleted or not r["IsDeleted"])]
        for condition in (where or "").split(" AND ") if where else []:
            name, how, value = re.fullmatch(r"(\w+) (=|>=) '?(.+?)'?", condition).groups()
            value = {"TRUE": True}.get(value, value)
            text = lambda record: str(record[name]).replace(".000Z", "Z") if how == ">=" else record[name]
            found = [r for r in found if (text(r) >= value if how == ">=" else text(r) == value)]
        return [field.strip() for field in fields.split(",")], object_, found

    def query(self, soql, with_deleted, start):
        try:
            fields, object_, found = self.select(soql, with_deleted)
        except AttributeError:
            return 400, {}, [{"message": "unexpected token", "errorCode": "MALFORMED_QUERY"}]
        page = found[start : start + PAGE]
        records = [{"attributes": attributes(object_, r["Id"]), **{f: r.get(f) for f in fields}} for r in page]
        answer = {"totalSize": len(found), "done": start + PAGE >= len(found), "records": records}
        if not answer["done"]:
            answer["nextRecordsUrl"] = f"{DATA}/query/{base64.urlsafe_b64encode(soql.encode()).decode()}-{start + PAGE}"
        return 200, {}, answer

    def job(self, method, rest, query, given):
        match (method, *rest):
            case ("POST", "query"):
                fields, _, found = self.select(given["query"], given["operation"] == "queryAll")
                id_ = f"750{len(self.jobs):012}AAA"
                rows = [[self.text(record.get(field)) for field in fields] for record in found]
                self.jobs[id_] = {"asked": 0, "fields": fields, "rows": rows}
                return 200, {}, {"id": id_, "state": "UploadComplete"}
            case ("GET", "query", id_):
                self.jobs[id_]["asked"] += 1
                return 200, {}, {"id": id_, "state": "InProgress" if self.jobs[id_]["asked"] < 2 else "JobComplete"}
            case ("GET", "query", id_, "results"):
                job, start = self.jobs[id_], int(query.get("locator", 0))
                out = io.StringIO()
                writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
                writer.writerows([job["fields"], *job["rows"][start : start + PAGE]])
                more = start + PAGE < len(job["rows"])
                locator = str(start + PAGE) if more else "null"
                return 200, {"Content-Type": "text/csv", "Sforce-Locator": locator}, out.getvalue().encode()
            case ("DELETE", "query", id_):
                del self.jobs[id_]
                return 204, {}, None
        return 404, {}, [{"message": "no such job", "errorCode": "NOT_FOUND"}]

    @staticmethod
    def text(value):
        return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)

    def record(self, method, rest, given):
        missing = (404, {}, [{"message": "The requested resource does not exist", "errorCode": "NOT_FOUND"}])
        match (method, *rest):
            case ("GET", object_, "describe"):
                return 200, {}, {"name": object_, "label": object_, "custom": False, "fields": [{"name": "Id", "type": "id"}]}
            case ("POST", object_):
                if not given.get("Name"):
                    text = "Required fields are missing: [Name]"
                    return 400, {}, [{"message": text, "errorCode": "REQUIRED_FIELD_MISSING", "fields": ["Name"]}]
                return 201, {}, {"id": self.add(object_, given)["Id"], "success": True, "errors": []}
            case ("PATCH", object_, field, value):
                found = [r for r in self.records.values() if r["object"] == object_ and r.get(field) == value]
                record = self.touch(found[0]["Id"], **given) if found else self.add(object_, {field: value, **given})
                answer = {"id": record["Id"], "success": True, "errors": [], "created": not found}
                return (200 if found else 201), {}, answer
            case (_, _, id_) if id_ not in self.records or self.records[id_]["IsDeleted"]:
                return missing
            case ("GET", object_, id_):
                return 200, {}, {"attributes": attributes(object_, id_), **self.records[id_]}
            case ("PATCH", _, id_):
                self.touch(id_, **given)
                return 204, {}, None
            case ("DELETE", _, id_):
                self.touch(id_, IsDeleted=True)
                return 204, {}, None
        return missing
