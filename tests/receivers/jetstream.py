"""Makes a stream of JetStream, or prints what is in it: the Nats-Msg-Id and the data of each message.

Arguments: create or dump, URL, and for TLS the authorities, a certificate, its key. `create` may be
followed by a colon and the longest message that the stream takes.
"""
import asyncio
import ssl
import sys

import nats

verb, url, *tls = sys.argv[1:]
verb, _, longest = verb.partition(":")


async def main():
    options = {"connect_timeout": 20, "allow_reconnect": False}
    if tls:
        ca, cert, key = tls
        context = ssl.create_default_context(cafile=ca)
        context.load_cert_chain(cert, key)
        options |= {"tls": context, "user": "admin", "password": "admin"}
    client = await nats.connect(url, **options)
    stream = client.jetstream(timeout=20)
    if verb == "create":
        limits = {"max_msg_size": int(longest)} if longest else {}
        await stream.add_stream(name="ALERTS", subjects=["alerts.>"], **limits)
    else:
        state = (await stream.stream_info("ALERTS")).state
        for sequence in range(max(state.first_seq, 1), state.last_seq + 1):
            message = await stream.get_msg("ALERTS", sequence)
            print(message.headers["Nats-Msg-Id"], message.data.decode())
    await client.close()


asyncio.run(main())
