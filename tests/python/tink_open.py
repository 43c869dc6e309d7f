"""Opens sealed fields with stock Tink, given nothing but an exported keyset and the documented rule.

Usage: tink_open.py FILE, where FILE is JSON: {"suite": "...", "keyset": {...}, "fields": [[class, text, plain], ...]}.
Checks that every field opens to its plain text under its equality class as associated data, and that a
sample stays shut under another class and with a flipped bit. Prints the number of fields opened.
"""

import base64
import json
import sys

import tink
from tink import aead, daead, secret_key_access

REFUSALS_EVERY = 97


def primitive(suite, keyset):
    """A function (ciphertext, associated data) -> plain bytes."""
    handle = tink.json_proto_keyset_format.parse(json.dumps(keyset), secret_key_access.TOKEN)
    if suite == "AES256_SIV":
        daead.register()
        return handle.primitive(daead.DeterministicAead).decrypt_deterministically
    aead.register()
    return handle.primitive(aead.Aead).decrypt


def must_stay_shut(opened, ciphertext, associated_data, what):
    try:
        opened(ciphertext, associated_data)
    except tink.TinkError:
        return
    sys.exit(f"tink opened a field with {what}")


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        job = json.load(file)
    opened = primitive(job["suite"], job["keyset"])
    for at, (class_, text, plain) in enumerate(job["fields"]):
        raw, associated_data = base64.b64decode(text, validate=True), class_.encode()
        if opened(raw, associated_data) != plain.encode():
            sys.exit(f"field {at} opened to something else")
        if at % REFUSALS_EVERY == 0:
            must_stay_shut(opened, raw, associated_data + b"x", "another class")
            for bit in (0, 8, 40, len(raw) * 4, len(raw) * 8 - 1):
                flipped = bytearray(raw)
                flipped[bit // 8] ^= 1 << (bit % 8)
                must_stay_shut(opened, bytes(flipped), associated_data, f"bit {bit} flipped")
    print(len(job["fields"]))


if __name__ == "__main__":
    main()
