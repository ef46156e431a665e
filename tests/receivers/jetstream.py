"""Makes a stream of JetStream, or prints what is in it: the Nats-Msg-Id and the data of each message.

Arguments: create or dump, URL, authorities, certificate, key.
"""
import asyncio
import ssl
import sys

import nats

verb, url, ca, cert, key = sys.argv[1:]


async def main():
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(cert, key)
    client = await nats.connect(url, tls=context, user="admin", password="admin", connect_timeout=20)
    stream = client.jetstream(timeout=20)
    if verb == "create":
        await stream.add_stream(name="ALERTS", subjects=["alerts.>"])
    else:
        state = (await stream.stream_info("ALERTS")).state
        for sequence in range(state.first_seq, state.last_seq + 1):
            message = await stream.get_msg("ALERTS", sequence)
            print(message.headers["Nats-Msg-Id"], message.data.decode())
    await client.close()


asyncio.run(main())
