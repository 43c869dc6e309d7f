"""Two OpenID Connect issuers for tests/it/oidc.rs, over real ports, ended by closing standard input.

`provider` is oidc-provider-mock, unmodified: people log in with the authorization code flow and get its ID token.
`keyring` publishes keys of every kind and signs whatever it is told to, good or not, as an attacker who has some of
its keys would. One JSON command a line comes in, one JSON answer a line goes out.
"""

import base64
import hashlib
import hmac
import http.server
import json
import logging
import sys
import threading
import urllib.parse
import urllib.request
import warnings

# The packages turn their own warnings on again.
warnings.showwarning = lambda *_, **__: None
logging.getLogger("werkzeug").setLevel(logging.ERROR)

import oidc_provider_mock
from cryptography.hazmat.primitives import serialization
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Keyring:
    """An issuer whose keys are all known to the test."""

    def __init__(self):
        self.keys = {
            "rsa": RSAKey.generate_key(2048, {"kid": "rsa"}),
            "ec": ECKey.generate_key("P-256", {"kid": "ec", "use": "sig"}),
            "ed": OKPKey.generate_key("Ed25519", {"kid": "ed", "alg": "EdDSA"}),
            "enc": RSAKey.generate_key(2048, {"kid": "enc", "use": "enc"}),
            "foreign": RSAKey.generate_key(2048, {"kid": "rsa"}),
            "later": RSAKey.generate_key(2048, {"kid": "later"}),
        }
        self.published = ["rsa", "ec", "ed", "enc"]
        self.fetched = 0
        keyring = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                if self.path == "/.well-known/openid-configuration":
                    body = {"issuer": keyring.url, "jwks_uri": keyring.url + "/keys"}
                elif self.path == "/keys":
                    keyring.fetched += 1
                    keys = [keyring.keys[name].as_dict(private=False) for name in keyring.published]
                    body = {"keys": [{"kty": "XX", "kid": "of a kind nobody knows"}] + keys}
                else:
                    keyring.fetched += 1000
                    self.send_error(404)
                    return
                text = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def sign(self, key, header, claims):
        payload = json.dumps(claims).encode()
        kept = self.keys[key].as_dict(private=True)
        # What the key is published for does not bind an attacker.
        bare = type(self.keys[key]).import_key({n: v for n, v in kept.items() if n not in ("use", "alg", "kid")})
        return jws.serialize_compact(header, payload, bare, algorithms=[header["alg"]])

    def unsigned(self, header, claims):
        return b64(json.dumps(header).encode()) + "." + b64(json.dumps(claims).encode()) + "."

    def confused(self, form, header, claims):
        """HS256 with the public key of `rsa` as the shared secret."""
        public = self.keys["rsa"].public_key
        if form == "pem":
            secret = public.public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        else:
            secret = json.dumps(self.keys["rsa"].as_dict(private=False)).encode()
        text = self.unsigned(header, claims)[:-1]
        return text + "." + b64(hmac.new(secret, text.encode(), hashlib.sha256).digest())


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def log_in(issuer, sub, claims, client_id):
    """The authorization code flow, as a person with a browser does it. Returns the ID token."""
    request = urllib.request.Request(
        f"{issuer}/users/{urllib.parse.quote(sub)}",
        json.dumps(claims).encode(),
        {"content-type": "application/json"},
        method="PUT",
    )
    urllib.request.urlopen(request).close()
    redirect = "http://127.0.0.1:1/back"
    query = urllib.parse.urlencode({
        "response_type": "code", "client_id": client_id, "redirect_uri": redirect,
        "scope": "openid email profile", "state": "s",
    })
    form = urllib.parse.urlencode({"sub": sub}).encode()
    opener = urllib.request.build_opener(NoRedirect)
    try:
        opener.open(f"{issuer}/oauth2/authorize?{query}", form)
        raise RuntimeError("the issuer did not send the person back")
    except urllib.error.HTTPError as answer:
        back = urllib.parse.urlparse(answer.headers["location"])
    code = urllib.parse.parse_qs(back.query)["code"][0]
    form = urllib.parse.urlencode({
        "grant_type": "authorization_code", "code": code, "redirect_uri": redirect,
        "client_id": client_id, "client_secret": "any",
    }).encode()
    with urllib.request.urlopen(f"{issuer}/oauth2/token", form) as answer:
        return json.load(answer)["id_token"]


def main():
    keyring = Keyring()
    with oidc_provider_mock.run_server_in_thread() as server:
        provider = f"http://localhost:{server.server_port}"
        print(json.dumps({"provider": provider, "keyring": keyring.url}), flush=True)
        for line in sys.stdin:
            command = json.loads(line)
            match command.pop("do"):
                case "log_in":
                    answer = log_in(provider, **command)
                case "sign":
                    answer = keyring.sign(**command)
                case "unsigned":
                    answer = keyring.unsigned(**command)
                case "confused":
                    answer = keyring.confused(**command)
                case "publish":
                    keyring.published = command["keys"]
                    answer = None
                case "fetched":
                    answer = keyring.fetched
            print(json.dumps(answer), flush=True)


main()
