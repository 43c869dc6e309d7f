"""Sends events with the original's Python driver, unmodified.

Usage: driver_send.py, with one JSON object on standard input: {"host", "client_id", "client_secret", "serialization",
"refresh_every", "events": [{"contract", "schema", "json_schema", "consent", "unique", "session", "sensitive", "plain"}]}.
Prints the status codes as a JSON list. With "refresh_every" it says "refreshed" on a line of its own when the
driver has renewed its token, waits until it has done so once more, and only then sends.
"""

import asyncio
import dataclasses
import json
import sys
from typing import List

from strmprivacy.driver import ClientConfig, SerializationType, StrmPrivacyClient
from strmprivacy_io_strmprivacy_schemas_demo_v1.io.strmprivacy.schemas.demo.v1 import DemoEvent, StrmMeta

AT_ONCE = 25


@dataclasses.dataclass
class JsonMeta:
    eventContractRef: str
    consentLevels: List[int]


@dataclasses.dataclass
class JsonEvent:
    strmMeta: JsonMeta
    uniqueIdentifier: str
    consistentValue: str
    someSensitiveValue: str
    notSensitiveValue: str

    def get_strm_schema_ref(self):
        return JSON_SCHEMA_REF

    def get_strm_schema_type(self):
        return "json"

    def get_strm_schema(self):
        return JSON_SCHEMA


def json_event(event):
    meta = JsonMeta(event["contract"], event["consent"])
    return JsonEvent(meta, event["unique"], event["session"], event["sensitive"], event["plain"])


def avro_event(event):
    meta = StrmMeta()
    meta.eventContractRef = event["contract"]
    meta.consentLevels = event["consent"]
    made = DemoEvent()
    made.strmMeta = meta
    made.uniqueIdentifier = event["unique"]
    made.consistentValue = event["session"]
    made.someSensitiveValue = event["sensitive"]
    made.notSensitiveValue = event["plain"]
    return made


async def renewed(client, token):
    auth = client._sender_service.auth_service
    while auth.get_access_token() == token:
        await asyncio.sleep(0.05)
    return auth.get_access_token()


async def main(job):
    config = ClientConfig(
        gateway_protocol="http",
        gateway_host=job["host"],
        auth_protocol="http",
        auth_host=job["host"],
        auth_refresh_interval=job.get("refresh_every") or 300,
    )
    client = StrmPrivacyClient(job["client_id"], job["client_secret"], config)
    await client.start_timers()
    if job.get("refresh_every"):
        token = await renewed(client, client._sender_service.auth_service.get_access_token())
        print("refreshed", flush=True)
        await renewed(client, token)
    serialization = SerializationType[job["serialization"]]
    make = json_event if serialization is SerializationType.JSON else avro_event
    statuses = []
    for start in range(0, len(job["events"]), AT_ONCE):
        group = job["events"][start : start + AT_ONCE]
        statuses += await asyncio.gather(*(client.send(make(event), serialization) for event in group))
    await client._sender_service.close()
    print(json.dumps(statuses))


JOB = json.load(sys.stdin)
JSON_SCHEMA_REF, JSON_SCHEMA = JOB.get("json_schema_ref"), JOB.get("json_schema")
asyncio.run(main(JOB))
