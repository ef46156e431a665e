"""The broker that librdkafka brings along for tests, and a consumer that checks every batch.

Arguments: topic, file for the broker's address, file for what was consumed. Each line consumed is the key,
the header `idempotency-key`, the partition, and the value.
"""
import os
import sys

from confluent_kafka import Consumer, Producer

topic, address, out = sys.argv[1:]
# The broker lives as long as the client that made it.
owner = Producer({"test.mock.num.brokers": "3"})
brokers = owner.list_topics(timeout=30).brokers.values()
with open(address + ".new", "w") as file:
    file.write(",".join(f"{broker.host}:{broker.port}" for broker in brokers))
consumer = Consumer({
    "bootstrap.servers": ",".join(f"{broker.host}:{broker.port}" for broker in brokers),
    "group.id": "test",
    "auto.offset.reset": "earliest",
    "check.crcs": True,
    "allow.auto.create.topics": True,
    "topic.metadata.refresh.interval.ms": 200,
})
consumer.subscribe([topic])
os.rename(address + ".new", address)
with open(out, "ab") as kept:
    while True:
        message = consumer.poll(0.2)
        if message is None or message.error():
            continue
        headers = dict(message.headers() or [])
        head = b"%s %s %d " % (message.key(), headers["idempotency-key"], message.partition())
        kept.write(head + message.value() + b"\n")
        kept.flush()
