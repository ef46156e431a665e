//! A durable JetStream consumer as an input: `nats://HOST:PORT/STREAM/CONSUMER`.
//!
//! Any number of sensors share one consumer; the server gives each message to one of them. A message
//! is one syslog message or one flow datagram, as a relay received it. It is acknowledged once its
//! alerts are on disk, and comes again, to this sensor or another, if it is not: then with the same
//! number and time, which make its `event.id`.
//!
//! The server is reached again, and the consumer asked for again, as often as it takes. What is under
//! way is bounded: `BATCH` messages and `BATCH_BYTES` are asked for at once, and the next ones
//! when these are acknowledged.

use super::{Message, Nanos, Stop};
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::{self, AckKind};
use async_nats::{Client, ConnectOptions, Event};
use futures_util::StreamExt;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Messages asked for at once; they share a sync of the disk.
const BATCH: usize = 256;
/// Their bytes, at most.
const BATCH_BYTES: usize = 8 << 20;
/// How long the server holds a request for which it has no message.
const EXPIRES: Duration = Duration::from_secs(5);
/// How long messages that arrive one behind the other wait for each other.
const GATHER: Duration = Duration::from_millis(2);
/// After it, the server gives a message that is not acknowledged to another sensor.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// Messages of one consumer that may be under way at all sensors.
const MAX_ACK_PENDING: i64 = 16_384;
/// A server that does not answer for so long is tried anew.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause after an error, and how often the same is logged.
const PAUSE: Duration = Duration::from_secs(1);
const TOLD: Duration = Duration::from_secs(60);
/// While alerts cannot be written, it is asked so often whether they are, and the server is told that
/// the messages are not forgotten.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// A worker that waits for room looks again after this.
const ROOM: Duration = Duration::from_millis(2);
/// The header in which a relay may tell whom it received the message from, as ADDRESS:PORT.
const PEER: &str = "Roje-Peer";

/// The consumer of a stream, and the server that has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Name or address of the server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The stream; it must exist.
    pub stream: String,
    /// The durable consumer; made if it does not exist.
    pub consumer: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.server(), self.stream, self.consumer)
    }
}

impl Place {
    /// The address of the server.
    fn server(&self) -> String {
        match self.host.contains(':') {
            true => format!("nats://[{}]:{}", self.host, self.port),
            false => format!("nats://{}:{}", self.host, self.port),
        }
    }
}

/// How the server is to be trusted, and how it trusts us; read anew for each connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Authorities of the server's certificate; with one, only TLS will do.
    pub ca: Option<PathBuf>,
    /// Our certificate and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// A `.creds` file: a JWT and the seed that signs for it.
    pub credentials: Option<PathBuf>,
}

/// What is needed to read from a consumer.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it is.
    pub place: Place,
    /// How it is reached.
    pub access: Access,
    /// Longer messages keep their head.
    pub max_message: usize,
}

/// Takes messages and says when their alerts are on disk.
pub trait Handler {
    /// Before messages that came together.
    fn begin(&mut self);
    /// One message; `number` is that of the stream.
    fn message(&mut self, message: Message<'_>, number: u64);
    /// Hands on what the messages raised; false while there is no room, to be called again.
    fn hand_over(&mut self) -> bool;
    /// Sends on `answer` whether everything that was handed over is on disk; false while there is no
    /// room for the question.
    fn ask(&mut self, answer: &mpsc::UnboundedSender<bool>) -> bool;
    /// Nothing arrived.
    fn idle(&mut self);
}

/// Reads until it is told to stop.
pub async fn serve(options: &Options, mut handler: impl Handler, stop: &Stop) {
    let mut told: Option<(String, Instant)> = None;
    while !stop.is_set() {
        let error = tokio::select! {
            () = stop.wait() => return,
            connected = connect(options) => match connected {
                Ok((client, consumer)) => {
                    tracing::info!("reads from {}", options.place);
                    told = None;
                    match read(options, &client, &consumer, &mut handler, stop).await {
                        Ok(()) => return,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            },
        };
        let known = told.as_ref().is_some_and(|(known, at)| *known == error && at.elapsed() < TOLD);
        if !known {
            tracing::warn!("{}: {error}; trying again", options.place);
            told = Some((error, Instant::now()));
        }
        handler.idle();
        tokio::select! {
            () = stop.wait() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

async fn connect(options: &Options) -> Result<(Client, PullConsumer), String> {
    let Options { place, access, .. } = options;
    let mut connection = ConnectOptions::new()
        .name("roje")
        .connection_timeout(PATIENCE)
        .request_timeout(Some(PATIENCE))
        // The rest of the stack is asked again as well, so that a consumer that went is made anew.
        .max_reconnects(1)
        // No connection but to what is configured.
        .ignore_discovered_servers()
        .event_callback(|event| async move {
            if let Event::ServerError(error) = event {
                tracing::warn!("nats server: {error}");
            }
        });
    if let Some(ca) = &access.ca {
        connection = connection.add_root_certificates(ca.clone()).require_tls(true);
    }
    if let Some((certificate, key)) = &access.certificate {
        connection = connection.add_client_certificate(certificate.clone(), key.clone()).require_tls(true);
    }
    if let Some(path) = &access.credentials {
        let text = tokio::fs::read_to_string(path).await;
        let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
        let parsed = connection.credentials(&text);
        connection = parsed.map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let client = connection.connect(place.server());
    let client = client.await.map_err(|error| error.to_string())?;
    let stream = jetstream::new(client.clone()).get_stream(&place.stream).await;
    let stream = stream.map_err(|error| format!("stream {}: {error}", place.stream))?;
    let config = pull::Config {
        durable_name: Some(place.consumer.clone()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_ack_pending: MAX_ACK_PENDING,
        ..pull::Config::default()
    };
    let consumer = stream.get_or_create_consumer(&place.consumer, config).await;
    let consumer = consumer.map_err(|error| format!("consumer {}: {error}", place.consumer))?;
    if consumer.cached_info().config.ack_policy != AckPolicy::Explicit {
        return Err(format!("consumer {}: its ack policy is not `explicit`", place.consumer));
    }
    Ok((client, consumer))
}

/// Reads as long as the connection lasts.
async fn read(
    options: &Options,
    client: &Client,
    consumer: &PullConsumer,
    handler: &mut impl Handler,
    stop: &Stop,
) -> Result<(), String> {
    loop {
        let batch = consumer.batch().max_messages(BATCH).max_bytes(BATCH_BYTES).expires(EXPIRES).messages();
        let mut batch = batch.await.map_err(|error| error.to_string())?;
        loop {
            let first = tokio::select! {
                () = stop.wait() => return Ok(()),
                first = batch.next() => first,
            };
            let Some(first) = first else { break };
            let mut group = vec![first.map_err(|error| error.to_string())?];
            while group.len() < BATCH
                && let Ok(Some(next)) = tokio::time::timeout(GATHER, batch.next()).await
            {
                group.push(next.map_err(|error| error.to_string())?);
            }
            if !take(options, &group, handler, stop).await? {
                return Ok(());
            }
            for message in &group {
                message.ack().await.map_err(|error| error.to_string())?;
            }
            client.flush().await.map_err(|error| error.to_string())?;
        }
        handler.idle();
    }
}

/// Has messages looked at; true once their alerts are on disk, false if the sensor stops before.
async fn take(
    options: &Options,
    group: &[jetstream::Message],
    handler: &mut impl Handler,
    stop: &Stop,
) -> Result<bool, String> {
    handler.begin();
    for message in group {
        let info = message.info().map_err(|error| error.to_string())?;
        // The same on every delivery, which the time of receipt would not be.
        let received = Nanos::try_from(info.published.unix_timestamp_nanos()).unwrap_or(Nanos::MAX);
        let bytes = message.payload.get(..options.max_message).unwrap_or(&message.payload);
        let truncated = bytes.len() < message.payload.len();
        let message = Message { bytes, peer: peer(message), received, truncated };
        handler.message(message, info.stream_sequence);
    }
    while !handler.hand_over() {
        tokio::time::sleep(ROOM).await;
    }
    let (answer, mut answers) = mpsc::unbounded_channel();
    loop {
        while !handler.ask(&answer) {
            tokio::time::sleep(ROOM).await;
        }
        match answers.recv().await {
            Some(true) => return Ok(true),
            // They are held in memory; what is not acknowledged is not lost with it.
            Some(false) => {}
            None => return Err("the alert thread has ended".to_owned()),
        }
        if stop.is_set() {
            return Ok(false);
        }
        for message in group {
            message.ack_with(AckKind::Progress).await.map_err(|error| error.to_string())?;
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// Whom a relay received the message from, if it says so.
fn peer(message: &jetstream::Message) -> Option<SocketAddr> {
    message.headers.as_ref()?.get(PEER)?.as_str().parse().ok()
}
