"""Checks exports with what others wrote: the published schemas, CloudEvents' own library, and a DSSE library.

valid.py ocsf FILE | cloudevents FILE | sarif FILE | in-toto FILE PEM
"""

import base64
import json
import pathlib
import sys

import jsonschema

SCHEMAS = pathlib.Path(__file__).parent.parent / "schemas"


def lines(path):
    return [json.loads(line) for line in pathlib.Path(path).read_text().splitlines()]


def problems(validator, value, name):
    return [
        f"{name}: {'/'.join(map(str, error.absolute_path))}: {error.message[:300]}"
        for error in validator.iter_errors(value)
    ]


def ocsf(path):
    validators = {}
    for file in (SCHEMAS / "ocsf-1.8.0").glob("*.json"):
        schema = json.loads(file.read_text())
        uid = schema["properties"]["class_uid"]["const"]
        validators[uid] = jsonschema.Draft202012Validator(schema)
    found = []
    for number, event in enumerate(lines(path), 1):
        name = f"line {number}, class {event['class_uid']}"
        found += problems(validators[event["class_uid"]], event, name)
        assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
        print(event["class_uid"], event["action_id"])
    return found


def cloudevents(path):
    from cloudevents.v1.http import from_json

    for event in lines(path):
        parsed = from_json(json.dumps(event))
        assert parsed["specversion"] == "1.0"
        print(parsed["type"])
    return []


def sarif(path):
    schema = json.loads((SCHEMAS / "sarif-schema-2.1.0.json").read_text())
    log = json.loads(pathlib.Path(path).read_text())
    for result in log["runs"][0]["results"]:
        print(result["ruleId"], result["level"])
    return problems(jsonschema.Draft4Validator(schema), log, "sarif")


def in_toto(path, key_file):
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import SSlibKey

    key = load_pem_public_key(pathlib.Path(key_file).read_bytes())
    (data,) = lines(path)
    keyid = data["signatures"][0]["keyid"]
    envelope = Envelope.from_dict(data)
    known = SSlibKey.from_crypto(key, keyid=keyid)
    assert envelope.verify([known], 1), "no signature holds"
    statement = json.loads(envelope.payload)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    for subject in statement["subject"]:
        print(subject["name"], subject["digest"]["sha256"])
    return []


found = {"ocsf": ocsf, "cloudevents": cloudevents, "sarif": sarif, "in-toto": in_toto}[
    sys.argv[1]
](*sys.argv[2:])
for problem in found:
    print(problem, file=sys.stderr)
sys.exit(1 if found else 0)
