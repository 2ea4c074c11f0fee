"""A person with a browser, as far as logging in at oidc-provider goes: follows redirects, fills forms."""

import html
import http.cookiejar
import re
import urllib.error
import urllib.parse
import urllib.request


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


class Answer:
    def __init__(self, response, url):
        self.status, self.url, self.headers = response.status, url, response.headers
        self.text = response.read().decode()


class Browser:
    def __init__(self, person="ali"):
        self.person = person
        self.jar = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(NoRedirect, urllib.request.HTTPCookieProcessor(self.jar))
        self.visited = []

    def request(self, url, form=None, headers=None, method=None):
        """One request, no redirect followed."""
        data = None if form is None else urllib.parse.urlencode(form).encode()
        request = urllib.request.Request(url, data=data, headers=headers or {}, method=method)
        self.visited.append(url)
        try:
            return Answer(self.opener.open(request, timeout=60), url)
        except urllib.error.HTTPError as error:
            return Answer(error, url)

    def open(self, url, form=None, until=None):
        """Follows redirects and fills the forms of logging in and consenting; ends at another page, or
        before an address that begins with `until`."""
        for _ in range(30):
            if until and url.startswith(until):
                return url
            answer = self.request(url, form)
            form = None
            if answer.status in (301, 302, 303, 307):
                url = urllib.parse.urljoin(url, answer.headers["Location"])
                continue
            found = re.search(r'<form[^>]*action="([^"]+)"[^>]*>(.*?)</form>', answer.text, re.S)
            if not found or "/oauth/" in url or "/login" in urllib.parse.urlsplit(url).path[:6]:
                return answer
            fields = dict(
                (html.unescape(name), html.unescape(value))
                for name, value in re.findall(r'<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"', found[2])
            )
            fields.update({"login": self.person, "password": "x"} if 'name="login"' in found[2] else {})
            url, form = urllib.parse.urljoin(url, html.unescape(found[1])), fields
        raise AssertionError(f"no end of redirects: {self.visited}")
