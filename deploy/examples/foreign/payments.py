"""Somebody's Lambda function: books payments, and fails with a batch that has one it can't book."""

import base64
import json


def handler(event, context):
    # Checked first, so that a batch is booked as a whole or not at all.
    payments = [
        (name, record["offset"], json.loads(base64.b64decode(record["value"])))
        for name, records in event["records"].items()
        for record in records
    ]
    print(json.dumps({"invoked": [[name, offset] for name, offset, _ in payments]}), flush=True)
    for _, _, payment in payments:
        if payment["amount"] < 0:
            raise ValueError(f"payment {payment['id']} is negative")
    for name, offset, payment in payments:
        print(json.dumps({"booked": payment["id"], "partition": name, "offset": offset}), flush=True)
