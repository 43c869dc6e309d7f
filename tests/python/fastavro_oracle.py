"""Second opinion on Avro JSON: fastavro reads and writes what Sluice wrote and read.

Protocol: one JSON request on stdin, one JSON answer on stdout.
  {"schema": {...}, "tagged": ["<event>", ...]}
  -> {"events": [{"tagged": "<event>", "plain": "<event>", "binary": "<hex>"}, ...]}
Every event comes back re-encoded by fastavro, in all three forms.
"""

import io
import json
import sys

import fastavro


def encode(schema, record):
    tagged, plain, binary = io.StringIO(), io.StringIO(), io.BytesIO()
    fastavro.json_writer(tagged, schema, [record])
    fastavro.json_writer(plain, schema, [record], write_union_type=False)
    fastavro.schemaless_writer(binary, schema, record)
    return {"tagged": tagged.getvalue(), "plain": plain.getvalue(), "binary": binary.getvalue().hex()}


def main():
    request = json.load(sys.stdin)
    schema = fastavro.parse_schema(request["schema"])
    events = []
    for text in request["tagged"]:
        (record,) = fastavro.json_reader(io.StringIO(text), schema)
        events.append(encode(schema, record))
    json.dump({"events": events}, sys.stdout)


if __name__ == "__main__":
    main()
