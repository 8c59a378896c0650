"""Checks exports with what others wrote: the published schemas, CloudEvents' own library, and a DSSE library.

valid.py ocsf FILE | cloudevents FILE | sarif FILE | in-toto FILE PEM | junit FILE | annotations FILE
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


def junit(path):
    from lxml import etree

    schema = etree.XMLSchema(etree.parse(SCHEMAS / "junit-10.xsd"))
    # As GitLab reads it: nothing is mended, and nothing from elsewhere is taken in.
    report = etree.parse(path, etree.XMLParser(resolve_entities=False, recover=False))
    assert not report.docinfo.doctype
    keys = []
    for case in report.iter("testcase"):
        keys.append((case.get("classname"), case.get("name")))
        outcome = ", ".join(f"{child.tag} {child.get('type')}" for child in case)
        print(case.get("name"), "|", outcome or "passed")
    assert len(keys) == len(set(keys)), "GitLab takes cases of one class and name for one"
    suite = report.find("testsuite")
    for tag in ["failure", "error", "skipped"]:
        plural = {"failure": "failures", "error": "errors"}.get(tag, tag)
        assert int(suite.get(plural)) == len(list(report.iter(tag))), tag
    assert int(suite.get("tests")) == len(keys)
    return [] if schema.validate(report) else [str(error) for error in schema.error_log]


# <https://docs.gitlab.com/ci/yaml/artifacts_reports/#artifactsreportsannotations>, and what GitLab's own schema bounds.
ANNOTATIONS = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["external_link"],
            "additionalProperties": False,
            "properties": {
                "external_link": {
                    "type": "object",
                    "required": ["label", "url"],
                    "additionalProperties": False,
                    "properties": {
                        "label": {"type": "string", "minLength": 1},
                        "url": {"type": "string", "pattern": "^https?://[^ ]+$"},
                    },
                }
            },
        },
    },
}


def annotations(path):
    value = json.loads(pathlib.Path(path).read_text())
    for section, links in value.items():
        for link in links:
            print(section, link["external_link"]["label"], link["external_link"]["url"])
    return problems(jsonschema.Draft202012Validator(ANNOTATIONS), value, "annotations")


checks = {
    "ocsf": ocsf,
    "cloudevents": cloudevents,
    "sarif": sarif,
    "in-toto": in_toto,
    "junit": junit,
    "annotations": annotations,
}
found = checks[sys.argv[1]](*sys.argv[2:])
for problem in found:
    print(problem, file=sys.stderr)
sys.exit(1 if found else 0)
