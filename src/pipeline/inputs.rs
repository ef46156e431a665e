//! Opens the sockets of the inputs and starts their workers.

use super::templates;
use crate::config::{Config, Input, Listen, Source};
use crate::decode::flow::{Sender, Senders};
use crate::input::framing::Delimiters;
use crate::input::listen::Passed;
use crate::input::tls::{Identity, Tls};
use crate::input::{Format, Message, Stop, nats, stream, udp, unix};
use crate::sources::Table;
use crate::worker::{FlowReport, InputPolicy, Shared, Worker};
use anyhow::Context;
use arc_swap::ArcSwap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes of the longest UDP datagram.
const MAX_DATAGRAM: usize = 65_535;

/// How long a stopping worker goes on reading what the kernel already holds; senders that never
/// pause must not hold up the stop.
const DRAIN: Duration = Duration::from_millis(500);

/// An input with its sockets open and nothing read yet.
pub struct OpenInput {
    /// Its name, the metric label.
    pub name: String,
    /// Where it listens.
    pub listen: Listen,
    /// What workers see of its configuration; replaced on reload.
    pub policy: Arc<ArcSwap<InputPolicy>>,
    /// Bytes of receive buffer asked for and granted, where it has one.
    pub buffer: Option<udp::Buffer>,
    /// What the kernel dropped, one for each socket.
    pub drops: Vec<Arc<udp::KernelDrops>>,
    /// What its worker tells of exporters, where it carries flow records.
    pub exporters: Option<Arc<FlowReport>>,
    /// What a listener of streams counts.
    pub connections: Option<Arc<stream::Stats>>,
    /// Its certificates.
    pub tls: Option<Arc<Tls>>,
    /// The file of a Unix socket, which goes with the sensor.
    pub place: Option<unix::Place>,
    sockets: Sockets,
}

enum Sockets {
    None,
    Udp(Vec<udp::Socket>),
    Unix { sockets: Vec<unix::Socket>, max_message: usize },
    Streams { listeners: Vec<stream::Listener>, options: stream::Options },
    Nats(nats::Options),
}

/// Opens every input of a configuration, those that the service manager passed first.
pub fn open(config: &Config, workers: usize) -> anyhow::Result<Vec<OpenInput>> {
    let mut passed = Passed::from_environment().context("sockets of the service manager")?;
    let mut opened = Vec::new();
    let senders = senders(config);
    for (index, input) in config.inputs.iter().enumerate() {
        let one = open_one(index, input, workers, &senders, &mut passed)
            .with_context(|| format!("input {:?} cannot listen on {}", input.name, input.listen))?;
        opened.push(one);
    }
    for left in passed.left() {
        tracing::warn!(socket = left, "passed by the service manager, but no input has its name or address");
    }
    Ok(opened)
}

fn open_one(
    index: usize,
    input: &Input,
    workers: usize,
    senders: &Arc<Senders>,
    passed: &mut Passed,
) -> anyhow::Result<OpenInput> {
    // Template state has one owner: a flow listener has one socket and one worker.
    let workers = if input.format == Format::Flow { 1 } else { workers };
    let mut opened = OpenInput {
        name: input.name.clone(),
        listen: input.listen.clone(),
        policy: Arc::new(ArcSwap::from_pointee(policy(index, input, senders))),
        buffer: None,
        drops: Vec::new(),
        exporters: (input.format == Format::Flow).then(Arc::default),
        connections: None,
        tls: None,
        place: None,
        sockets: Sockets::None,
    };
    let name = input.name.as_str();
    let max_message = usize::try_from(input.max_message).unwrap_or(usize::MAX);
    match &input.listen {
        Listen::Udp(address) => {
            let sockets = udp_sockets(input, *address, workers, passed)?;
            opened.drops = sockets.iter().map(udp::Socket::drops).collect();
            opened.buffer = sockets.iter().map(udp::Socket::buffer).min_by_key(|buffer| buffer.granted);
            let bound = sockets.first().map_or(Ok(*address), udp::Socket::address)?;
            opened.listen = input.listen.at(bound);
            opened.sockets = Sockets::Udp(shared(sockets, workers, |socket| Ok(socket.clone()))?);
        }
        Listen::UnixDatagram(path) => {
            let mut given = passed.take_unix_datagram(name, path);
            match given.first() {
                Some(first) => {
                    let bound = first.local_addr()?;
                    opened.listen = Listen::UnixDatagram(bound.as_pathname().unwrap_or(path).to_owned());
                }
                None => {
                    let (socket, place) = unix::bind_datagram(path, &input.access)?;
                    opened.place = Some(place);
                    given.push(socket);
                }
            }
            let given: Result<Vec<_>, _> = given.into_iter().map(unix::Socket::adopt).collect();
            let sockets = shared(given?, workers, |socket| Ok(socket.clone()))?;
            opened.sockets = Sockets::Unix { sockets, max_message };
        }
        Listen::UnixStream(path) => {
            let mut given = passed.take_unix_stream(name, path);
            match given.first() {
                Some(first) => {
                    let bound = first.local_addr()?;
                    opened.listen = Listen::UnixStream(bound.as_pathname().unwrap_or(path).to_owned());
                }
                None => {
                    let (listener, place) = unix::bind_stream(path, &input.access)?;
                    opened.place = Some(place);
                    given.push(listener);
                }
            }
            opened.streams(given.into_iter().map(stream::Listener::Unix).collect(), input, workers)?;
        }
        Listen::Nats(place) => {
            let (place, access) = (place.clone(), input.nats.clone());
            opened.sockets = Sockets::Nats(nats::Options { place, access, max_message });
        }
        Listen::Tcp(address) | Listen::Tls(address) => {
            if let (Listen::Tls(_), Some(files)) = (&input.listen, &input.tls) {
                opened.tls = Some(Arc::new(Tls::load(files.clone())?));
            }
            let mut given = passed.take_tcp(name, *address);
            if given.is_empty() {
                given.push(stream::bind(*address)?);
            }
            let bound = given.first().map_or(Ok(*address), std::net::TcpListener::local_addr)?;
            opened.listen = input.listen.at(bound);
            opened.streams(given.into_iter().map(stream::Listener::Tcp).collect(), input, workers)?;
        }
    }
    Ok(opened)
}

fn udp_sockets(
    input: &Input,
    address: SocketAddr,
    workers: usize,
    passed: &mut Passed,
) -> anyhow::Result<Vec<udp::Socket>> {
    let buffer = usize::try_from(input.receive_buffer).unwrap_or(usize::MAX);
    let given = passed.take_udp(&input.name, address);
    if given.is_empty() {
        return Ok(udp::bind(address, workers, buffer)?);
    }
    let adopted = given.into_iter().map(|socket| udp::Socket::adopt(socket, buffer));
    Ok(adopted.collect::<Result<_, _>>()?)
}

/// Where there are fewer sockets than workers, such as those of the service manager, they share.
fn shared<S>(
    mut sockets: Vec<S>,
    workers: usize,
    clone: impl Fn(&S) -> std::io::Result<S>,
) -> std::io::Result<Vec<S>> {
    let given = sockets.len();
    for number in given..workers {
        sockets.push(clone(&sockets[number % given])?);
    }
    Ok(sockets)
}

impl OpenInput {
    fn streams(
        &mut self,
        listeners: Vec<stream::Listener>,
        input: &Input,
        workers: usize,
    ) -> anyhow::Result<()> {
        let listeners = shared(listeners, workers, stream::Listener::try_clone)?;
        let options = stream::Options {
            max_message: usize::try_from(input.max_message).unwrap_or(usize::MAX),
            max_connections: input.max_connections as u64,
            max_per_address: input.per_address() as u64,
            idle_timeout: Some(input.idle_timeout),
            handshake_timeout: input.handshake_timeout,
            proxies: input.proxies.clone(),
            tls: self.tls.clone(),
            delimiters: match input.format {
                Format::Syslog => Delimiters::Stream,
                Format::Flow => Delimiters::Ipfix,
            },
        };
        self.connections = Some(Arc::default());
        self.sockets = Sockets::Streams { listeners, options };
        Ok(())
    }
}

/// What workers see of an input's configuration.
pub fn policy(index: usize, input: &Input, senders: &Arc<Senders>) -> InputPolicy {
    InputPolicy {
        index: u16::try_from(index).unwrap_or(u16::MAX),
        format: input.format,
        allow: input.allow.clone(),
        timezone: input.timezone.clone(),
        senders: senders.clone(),
    }
}

/// What the configuration says of the senders of flow records.
pub fn senders(config: &Config) -> Arc<Senders> {
    let told =
        |source: &Source| Sender { known: true, relays: source.relay, sampling_rate: source.sampling_rate };
    let networks = config.sources.iter().flat_map(|source| {
        let sender = told(source);
        source.networks.iter().map(move |network| (*network, sender))
    });
    let mut senders = Senders::new(networks);
    // As for alerts: a name that a source lists goes before the name of another.
    for source in &config.sources {
        source.certificates.iter().for_each(|name| senders.certify(name, told(source)));
    }
    config.sources.iter().for_each(|source| senders.certify(&source.name, told(source)));
    Arc::new(senders)
}

/// A running worker.
pub struct Running {
    /// What it does, for the log and the watchdog.
    pub name: String,
    /// Rises as long as it makes progress.
    pub progress: Arc<AtomicU64>,
    /// Index of its input, and what it counted of each sender.
    pub senders: (usize, Arc<Mutex<Table>>),
    /// Its thread.
    pub thread: JoinHandle<()>,
}

/// Starts the workers of the inputs. `batch` is the most datagrams that one read takes.
pub fn start(
    inputs: &mut [OpenInput],
    shared: &Shared,
    stop: &Stop,
    batch: usize,
    templates: &mut templates::Keeper,
) -> anyhow::Result<Vec<Running>> {
    let mut running = Vec::new();
    for input in inputs {
        match std::mem::replace(&mut input.sockets, Sockets::None) {
            Sockets::None => (),
            Sockets::Udp(sockets) => {
                for socket in sockets {
                    let mut worker = worker(running.len(), input, shared);
                    if let Some(report) = &input.exporters {
                        templates.keep(&input.name, &mut worker, report);
                    }
                    let stop = stop.clone();
                    running.push(spawn(input, worker, running.len(), move |worker| {
                        datagrams(
                            worker,
                            Datagrams::Udp(udp::Receiver::new(socket, batch, MAX_DATAGRAM)),
                            &stop,
                        );
                    })?);
                }
            }
            Sockets::Unix { sockets, max_message } => {
                for socket in sockets {
                    let worker = worker(running.len(), input, shared);
                    let stop = stop.clone();
                    running.push(spawn(input, worker, running.len(), move |worker| {
                        let receiver = unix::Receiver::new(socket, batch, max_message);
                        datagrams(worker, Datagrams::Unix(receiver), &stop);
                    })?);
                }
            }
            Sockets::Nats(options) => {
                // Its messages are known by the numbers of the stream, whichever sensor reads them.
                let mut worker = worker(usize::from(u16::MAX), input, shared);
                if let Some(report) = &input.exporters {
                    templates.keep(&input.name, &mut worker, report);
                }
                let (stop, name) = (stop.clone(), input.name.clone());
                running.push(spawn(input, worker, running.len(), move |worker| {
                    if let Err(error) = consumer(worker, &options, &stop) {
                        tracing::error!(input = name, %error, "no longer reads");
                    }
                })?);
            }
            Sockets::Streams { listeners, options } => {
                let stats = input.connections.clone().unwrap_or_default();
                for listener in listeners {
                    let mut worker = worker(running.len(), input, shared);
                    if input.policy.load().format == Format::Flow {
                        worker.expect_streams(usize::try_from(options.max_connections).unwrap_or(usize::MAX));
                    }
                    let (options, stop, stats) = (options.clone(), stop.clone(), stats.clone());
                    let name = input.name.clone();
                    running.push(spawn(input, worker, running.len(), move |worker| {
                        if let Err(error) = connections(worker, listener, options, stop, stats) {
                            tracing::error!(input = name, %error, "no longer listens");
                        }
                    })?);
                }
            }
        }
    }
    Ok(running)
}

fn worker(id: usize, input: &OpenInput, shared: &Shared) -> Worker {
    let id = u16::try_from(id).unwrap_or(u16::MAX);
    let mut worker = Worker::new(id, &input.name, input.policy.clone(), shared.clone());
    if let Some(report) = &input.exporters {
        worker.report_flows(report.clone());
    }
    worker
}

fn spawn(
    input: &OpenInput,
    worker: Worker,
    number: usize,
    run: impl FnOnce(Worker) + Send + 'static,
) -> std::io::Result<Running> {
    let progress = worker.progress();
    let senders = (usize::from(input.policy.load().index), worker.senders());
    // The kernel keeps 15 bytes of a thread's name.
    let thread =
        std::thread::Builder::new().name(format!("{number}-{}", input.name)).spawn(move || run(worker))?;
    Ok(Running { name: format!("{} worker {number}", input.name), progress, senders, thread })
}

/// What a worker of datagrams reads.
enum Datagrams {
    Udp(udp::Receiver),
    Unix(unix::Receiver),
}

impl Datagrams {
    fn receive(&mut self, each: &mut impl FnMut(&[Message<'_>])) -> std::io::Result<usize> {
        match self {
            Datagrams::Udp(receiver) => receiver.receive(each),
            Datagrams::Unix(receiver) => receiver.receive(each),
        }
    }

    fn drain(&mut self, each: &mut impl FnMut(&[Message<'_>])) -> std::io::Result<usize> {
        match self {
            Datagrams::Udp(receiver) => receiver.drain(each),
            Datagrams::Unix(receiver) => receiver.drain(each),
        }
    }
}

/// The loop of a worker of datagrams: receive, decode, match, on one thread.
///
/// A full Unix socket would hold up whoever logs, a login for instance, so that it is read on like UDP
/// while hits find no room.
fn datagrams(mut worker: Worker, mut receiver: Datagrams, stop: &Stop) {
    while !stop.is_set() {
        worker.begin();
        match receiver.receive(&mut |messages| worker.messages(messages)) {
            Ok(0) => worker.idle(),
            Ok(_) => worker.end(),
            Err(error) => {
                // A socket does not break for good while it is open; do not spin if it does.
                tracing::warn!(%error, "receiving failed");
                std::thread::sleep(udp::WAIT);
            }
        }
    }
    let start = Instant::now();
    while start.elapsed() < DRAIN {
        worker.begin();
        match receiver.drain(&mut |messages| worker.messages(messages)) {
            Ok(0) | Err(_) => break,
            Ok(_) => worker.end(),
        }
    }
    worker.finish();
}

/// The loop of a worker that reads from a JetStream consumer, on a runtime of its own.
fn consumer(worker: Worker, options: &nats::Options, stop: &Stop) -> std::io::Result<()> {
    let progress = worker.progress();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async {
        tokio::select! {
            () = nats::serve(options, Consumer(worker), stop) => {}
            () = alive(progress) => {}
        }
    });
    Ok(())
}

/// A worker as the handler of a consumer's messages.
struct Consumer(Worker);

impl nats::Handler for Consumer {
    fn begin(&mut self) {
        self.0.begin();
    }

    fn message(&mut self, message: Message<'_>, number: u64) {
        self.0.numbered(message, number);
    }

    fn hand_over(&mut self) -> bool {
        self.0.end_or_hold();
        self.0.release()
    }

    fn ask(&mut self, answer: &tokio::sync::mpsc::UnboundedSender<bool>) -> bool {
        self.0.ask(answer)
    }

    fn idle(&mut self) {
        self.0.idle();
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.0.finish();
    }
}

/// Runs between other work on the same thread: a handler that hangs is seen by the watchdog.
async fn alive(progress: Arc<AtomicU64>) {
    let mut tick = tokio::time::interval(udp::WAIT);
    loop {
        tick.tick().await;
        progress.fetch_add(1, Ordering::Relaxed);
    }
}

/// The loop of a worker of streams: a runtime of its own, whose connections share the worker.
fn connections(
    worker: Worker,
    listener: stream::Listener,
    options: stream::Options,
    stop: Stop,
    stats: Arc<stream::Stats>,
) -> std::io::Result<()> {
    let progress = worker.progress();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async {
        tokio::select! {
            result = stream::serve(listener, options, Connections(worker), stop, stats) => result,
            () = alive(progress) => Ok(()),
        }
    })
}

/// A worker as the handler of connections.
struct Connections(Worker);

impl stream::Handler for Connections {
    fn messages(&mut self, messages: &[Message<'_>]) {
        self.0.messages(messages);
    }

    fn allows(&mut self, peer: SocketAddr) -> bool {
        self.0.admits(peer.ip())
    }

    fn closed(&mut self, peer: SocketAddr) {
        self.0.closed(peer);
    }

    fn batch_begin(&mut self, identity: Option<&Arc<Identity>>) {
        self.0.begin_from(identity);
    }

    fn batch_end(&mut self) {
        self.0.end_or_hold();
    }

    fn is_full(&mut self) -> bool {
        !self.0.clear()
    }

    fn holds(&self) -> bool {
        self.0.holds()
    }

    fn tick(&mut self) {
        self.0.refresh();
    }

    fn release(&mut self) -> bool {
        self.0.release()
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.0.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::{UnixDatagram, UnixListener};

    /// What an input listens on when the service manager passed it three sockets of its name.
    fn given(listen: Listen, sockets: Vec<std::os::fd::OwnedFd>, workers: usize) -> (usize, usize, usize) {
        let mut passed = Passed::new(sockets.into_iter().map(|fd| ("in".to_owned(), fd)).collect());
        let input = Input::standard("in", listen, Format::Syslog);
        let opened =
            open_one(0, &input, workers, &Arc::new(Senders::new(std::iter::empty())), &mut passed).unwrap();
        let places: Vec<String> = match &opened.sockets {
            Sockets::None => Vec::new(),
            Sockets::Udp(sockets) => {
                sockets.iter().map(|socket| socket.address().unwrap().to_string()).collect()
            }
            Sockets::Unix { sockets, .. } => {
                sockets.iter().map(|socket| format!("{:?}", socket.place())).collect()
            }
            Sockets::Nats(_) => panic!("nothing is passed for it"),
            Sockets::Streams { listeners, .. } => listeners
                .iter()
                .map(|listener| match listener {
                    stream::Listener::Tcp(listener) => listener.local_addr().unwrap().to_string(),
                    stream::Listener::Unix(listener) => format!("{:?}", listener.local_addr().unwrap()),
                })
                .collect(),
        };
        (places.iter().collect::<BTreeSet<_>>().len(), places.len(), passed.left().count())
    }

    #[test]
    fn every_socket_that_is_passed_is_served() {
        let folder = tempfile::tempdir().unwrap();
        let path = |number: i32| folder.path().join(number.to_string());
        let any = "127.0.0.1:0".parse().unwrap();
        for workers in [1, 5] {
            let expected = (3, workers.max(3), 0);
            let udp = (0..3).map(|_| UdpSocket::bind(any).unwrap().into()).collect();
            assert_eq!(given(Listen::Udp(any), udp, workers), expected, "udp");
            let tcp = (0..3).map(|_| TcpListener::bind(any).unwrap().into()).collect();
            assert_eq!(given(Listen::Tcp(any), tcp, workers), expected, "tcp");
            let unix = |number| path(number + 100 * workers as i32);
            let streams = (0..3).map(|number| UnixListener::bind(unix(number)).unwrap().into()).collect();
            assert_eq!(given(Listen::UnixStream(path(-1)), streams, workers), expected, "unix streams");
            let unix = |number| path(number + 10 + 100 * workers as i32);
            let datagrams = (0..3).map(|number| UnixDatagram::bind(unix(number)).unwrap().into()).collect();
            assert_eq!(given(Listen::UnixDatagram(path(-1)), datagrams, workers), expected, "unix datagrams");
        }
    }
}
