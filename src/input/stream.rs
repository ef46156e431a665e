//! Streams: TCP, TLS and Unix sockets; one task for a connection, one receive buffer for all
//! connections of a worker.
//!
//! [`serve`] accepts on a [`Listener`] that any number of workers share (clones of one [`bind`]) and
//! hands each message to the worker's [`Handler`]. Bytes are read into the worker's buffer when a
//! connection has some, framed and handled before the next await; a connection owns nothing but its
//! unfinished message, so that thousands of idle ones cost little. What comes before the messages, a
//! PROXY header or a TLS handshake, is the part of `open`; the loop behind it is written for any
//! `AsyncRead`.

use super::framing::{Delimiters, Framer, frames};
use super::proxy;
use super::tls::{Identity, Tls};
use super::{Group, MAX_MESSAGE, Message, Nanos, Stop, canonical, now};
use ipnet::IpNet;
use rustls::CertificateError;
use socket2::{Domain, Protocol, SockRef, Type};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet, LocalSet, yield_now};
use tokio::time::{Instant, interval, sleep, sleep_until, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

/// Whoever takes the messages of a worker's connections.
pub trait Handler {
    /// Takes some messages, in order; their bytes live for this call.
    fn messages(&mut self, messages: &[Message<'_>]);

    /// Whether this peer may send; otherwise its connection is closed at once.
    fn allows(&mut self, _peer: SocketAddr) -> bool {
        true
    }

    /// A connection has ended, and nothing more comes of it.
    fn closed(&mut self, _peer: SocketAddr) {}

    /// The messages of one read come, from the holder of a certificate if the peer showed one; rules
    /// may be taken anew.
    fn batch_begin(&mut self, _identity: Option<&Arc<Identity>>) {}

    /// The messages of one read were handed over; counters and hits may be passed on.
    fn batch_end(&mut self) {}

    /// Whether hits wait for room; nothing more is read as long as they do, so that the senders wait.
    fn is_full(&mut self) -> bool {
        false
    }

    /// Whether hits wait for more of their kind; [`Handler::release`] is called [`HOLD`] later.
    fn holds(&self) -> bool {
        false
    }

    /// Called once a second, whether messages come or not: old rules may be let go.
    fn tick(&mut self) {}

    /// Passes on what is held; false if there is no room, and it is to be called again.
    fn release(&mut self) -> bool {
        true
    }
}

/// Where connections come from.
#[derive(Debug)]
pub enum Listener {
    /// TCP, with or without TLS.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

impl Listener {
    /// Another handle of the same socket, for another worker.
    pub fn try_clone(&self) -> io::Result<Listener> {
        match self {
            Listener::Tcp(listener) => listener.try_clone().map(Listener::Tcp),
            Listener::Unix(listener) => listener.try_clone().map(Listener::Unix),
        }
    }
}

/// The limits of one listener, and what comes before its messages.
#[derive(Clone, Debug)]
pub struct Options {
    /// The longest message; longer ones keep their head.
    pub max_message: usize,
    /// Connections at one time, over all workers; more are closed at once.
    pub max_connections: u64,
    /// Of these, those of one address (of IPv6: of one /64).
    pub max_per_address: u64,
    /// A connection that finishes no message for so long is closed.
    pub idle_timeout: Option<Duration>,
    /// Where messages end: those of syslog, or of IPFIX.
    pub delimiters: Delimiters,
    /// How long a PROXY header and a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// Peers whose connections begin with a PROXY header; if there are none, nobody's does.
    pub proxies: Vec<IpNet>,
    /// TLS, where the listener speaks it.
    pub tls: Option<Arc<Tls>>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            max_message: MAX_MESSAGE,
            max_connections: 4096,
            max_per_address: 4096,
            idle_timeout: Some(Duration::from_secs(600)),
            delimiters: Delimiters::Stream,
            handshake_timeout: Duration::from_secs(10),
            proxies: Vec::new(),
            tls: None,
        }
    }
}

/// Why the sensor closed a connection, or why it broke; the name is the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Closed {
    /// Too many were open.
    Limit,
    /// Too many of its address were open.
    AddressLimit,
    /// Its peer is not allowed.
    Denied,
    /// Its peer sent nothing for too long.
    Idle,
    /// Its peer sent, but finished no message for too long.
    Slow,
    /// Reading or accepting failed.
    Error,
    /// What came cannot be cut into messages.
    Unframed,
    /// A PROXY header from somebody who is no proxy.
    ProxyRefused,
    /// No PROXY header, or a broken one, from a proxy.
    ProxyInvalid,
    /// The PROXY header or the TLS handshake took too long.
    HandshakeTimeout,
    /// So many handshakes were under way that this one did not begin in time.
    HandshakeLimit,
    /// What came was not TLS.
    NotTls,
    /// No version or cipher in common.
    TlsIncompatible,
    /// The peer broke off the handshake with an alert, mostly because it does not trust us.
    TlsAlert,
    /// The peer showed no certificate where it must.
    NoCertificate,
    /// The peer's certificate is not from a trusted authority, or broken.
    BadCertificate,
    /// The peer's certificate has expired or is not valid yet.
    ExpiredCertificate,
    /// The peer's certificate was revoked, or nothing is known of that.
    RevokedCertificate,
    /// Any other end of the handshake.
    HandshakeFailed,
}

impl Closed {
    /// Every reason.
    pub const ALL: [Closed; 19] = [
        Closed::Limit,
        Closed::AddressLimit,
        Closed::Denied,
        Closed::Idle,
        Closed::Slow,
        Closed::Error,
        Closed::Unframed,
        Closed::ProxyRefused,
        Closed::ProxyInvalid,
        Closed::HandshakeTimeout,
        Closed::HandshakeLimit,
        Closed::NotTls,
        Closed::TlsIncompatible,
        Closed::TlsAlert,
        Closed::NoCertificate,
        Closed::BadCertificate,
        Closed::ExpiredCertificate,
        Closed::RevokedCertificate,
        Closed::HandshakeFailed,
    ];

    /// The label `reason`.
    pub fn name(self) -> &'static str {
        match self {
            Closed::Limit => "limit",
            Closed::AddressLimit => "address_limit",
            Closed::Denied => "denied",
            Closed::Idle => "idle",
            Closed::Slow => "slow",
            Closed::Error => "error",
            Closed::Unframed => "unframed",
            Closed::ProxyRefused => "proxy_refused",
            Closed::ProxyInvalid => "proxy_invalid",
            Closed::HandshakeTimeout => "handshake_timeout",
            Closed::HandshakeLimit => "handshake_limit",
            Closed::NotTls => "not_tls",
            Closed::TlsIncompatible => "tls_incompatible",
            Closed::TlsAlert => "tls_alert",
            Closed::NoCertificate => "no_certificate",
            Closed::BadCertificate => "bad_certificate",
            Closed::ExpiredCertificate => "expired_certificate",
            Closed::RevokedCertificate => "revoked_certificate",
            Closed::HandshakeFailed => "handshake_failed",
        }
    }

    /// Whether it concerns a PROXY header or a handshake.
    pub fn is_of_opening(self) -> bool {
        !matches!(
            self,
            Closed::Limit
                | Closed::AddressLimit
                | Closed::Denied
                | Closed::Idle
                | Closed::Slow
                | Closed::Error
                | Closed::Unframed
        )
    }

    /// Why a handshake failed.
    fn handshake(error: &io::Error) -> Closed {
        use rustls::Error;
        let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<Error>()) else {
            return Closed::HandshakeFailed;
        };
        match error {
            Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. } => Closed::NotTls,
            Error::PeerIncompatible(_) => Closed::TlsIncompatible,
            Error::AlertReceived(_) => Closed::TlsAlert,
            Error::NoCertificatesPresented => Closed::NoCertificate,
            Error::InvalidCertificate(reason) => match reason {
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => Closed::ExpiredCertificate,
                CertificateError::Revoked
                | CertificateError::UnknownRevocationStatus
                | CertificateError::ExpiredRevocationList
                | CertificateError::ExpiredRevocationListContext { .. } => Closed::RevokedCertificate,
                _ => Closed::BadCertificate,
            },
            _ => Closed::HandshakeFailed,
        }
    }
}

/// What an input of streams counts of its connections; shared by its workers. Messages are the
/// handler's to count.
#[derive(Debug, Default)]
pub struct Stats {
    /// Connections open now.
    pub connections: AtomicU64,
    /// Connections accepted.
    pub accepted: AtomicU64,
    closed: [AtomicU64; Closed::ALL.len()],
    /// Nanoseconds in which a handler had no room, added up over the workers.
    held: AtomicU64,
    /// Connections open now of each address that has some: no more entries than connections.
    addresses: Mutex<HashMap<IpAddr, u64>>,
    /// TLS handshakes under way of each address that has some.
    handshakes: Mutex<HashMap<IpAddr, u64>>,
    /// The last peer of each reason that is the peer's fault or the configuration's.
    refused: Mutex<HashMap<Closed, SocketAddr>>,
}

impl Stats {
    /// Connections that ended for a reason.
    pub fn closed(&self, reason: Closed) -> u64 {
        self.closed.get(reason as usize).map_or(0, |count| count.load(Relaxed))
    }

    /// Who was refused since this was last asked, one for each reason.
    pub fn take_refused(&self) -> HashMap<Closed, SocketAddr> {
        std::mem::take(&mut self.refused.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How long senders were held back; workers that did so at the same time count each.
    pub fn held_back(&self) -> Nanos {
        Nanos::try_from(self.held.load(Relaxed)).unwrap_or(Nanos::MAX)
    }

    fn count(&self, reason: Closed, peer: Option<SocketAddr>) {
        if let Some(count) = self.closed.get(reason as usize) {
            count.fetch_add(1, Relaxed);
        }
        if let Some(peer) = peer.filter(|_| !matches!(reason, Closed::Idle | Closed::Error)) {
            self.refused.lock().unwrap_or_else(PoisonError::into_inner).insert(reason, peer);
        }
    }
}

/// Opens a TCP listener; `try_clone` gives each further worker its own handle of it.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // [::] means every address, whatever net.ipv6.bindv6only says.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // A restarted sensor need not wait for the connections of the last one to time out.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Connections that the kernel may hold for us; it caps this at `net.core.somaxconn`.
pub(super) const BACKLOG: i32 = 4096;

/// Serves a listener on the current thread until `stop`, on a runtime of its own.
pub fn run<H: Handler + 'static>(
    listener: Listener,
    options: Options,
    handler: H,
    stop: Stop,
    stats: Arc<Stats>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(serve(listener, options, handler, stop, stats))
}

/// Serves a listener until `stop`, then hands over what was already received and closes.
///
/// Several may run on one thread, each with its own handler.
pub async fn serve<H: Handler + 'static>(
    listener: Listener,
    options: Options,
    handler: H,
    stop: Stop,
    stats: Arc<Stats>,
) -> io::Result<()> {
    let listener = Acceptor::new(listener)?;
    let framer = Framer::new(options.delimiters, options.max_message);
    let worker = Worker {
        handler: RefCell::new(handler),
        buffer: RefCell::new(vec![0; framer.max_tail() + READ].into_boxed_slice()),
        framer,
        options,
        stats,
        stop,
        held: Notify::new(),
        held_until: Cell::new(Instant::now()),
    };
    let worker = Rc::new(worker);
    let serving = async {
        tokio::select! {
            () = accept(listener, Rc::clone(&worker)) => (),
            () = release(&worker) => (),
        }
    };
    LocalSet::new().run_until(serving).await;
    Ok(())
}

/// A listener on the runtime of a worker.
enum Acceptor {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

/// A connection as the listener gave it.
enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

impl Acceptor {
    fn new(listener: Listener) -> io::Result<Acceptor> {
        match listener {
            Listener::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                tokio::net::TcpListener::from_std(listener).map(Acceptor::Tcp)
            }
            Listener::Unix(listener) => {
                listener.set_nonblocking(true)?;
                tokio::net::UnixListener::from_std(listener).map(Acceptor::Unix)
            }
        }
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Acceptor::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok(Accepted::Tcp(stream, canonical(peer)))
            }
            Acceptor::Unix(listener) => Ok(Accepted::Unix(listener.accept().await?.0)),
        }
    }
}

/// How long a handler may hold something back.
pub const HOLD: Duration = Duration::from_millis(20);

/// How often a handler is called though nothing may come.
const TICK: Duration = Duration::from_secs(1);

/// Makes the handler pass on what it holds, and ticks, for as long as it is polled.
async fn release<H: Handler>(worker: &Worker<H>) {
    let mut tick = interval(TICK);
    loop {
        tokio::select! {
            () = worker.held.notified() => sleep(HOLD).await,
            _ = tick.tick() => {
                worker.handler.borrow_mut().tick();
                continue;
            }
        }
        while !worker.handler.borrow_mut().release() {
            sleep(FULL).await;
        }
    }
}

/// What the connections of one worker share.
struct Worker<H> {
    handler: RefCell<H>,
    /// Room for the longest unfinished message, then for [`READ`] bytes.
    buffer: RefCell<Box<[u8]>>,
    /// As it is at the start of a stream.
    framer: Framer,
    options: Options,
    stats: Arc<Stats>,
    stop: Stop,
    /// The handler holds something.
    held: Notify,
    /// Until when it is counted that senders were held back.
    held_until: Cell<Instant>,
}

/// The most bytes that are read from a connection before the others have their turn.
///
/// A hundred messages share the cost of a read, and the buffer stays in the caches; larger ones were not
/// faster.
const READ: usize = 32 * 1024;

async fn accept<H: Handler + 'static>(listener: Acceptor, worker: Rc<Worker<H>>) {
    let mut tasks = JoinSet::new();
    let mut stopped = pin!(worker.stop.wait());
    loop {
        tokio::select! {
            biased;
            () = &mut stopped => break,
            result = listener.accept() => match result {
                Ok(accepted) => worker.accepted(accepted, &mut tasks),
                Err(_) => {
                    // Out of descriptors, most likely: the connection stays where it is, so do not spin.
                    worker.stats.count(Closed::Error, None);
                    sleep(ACCEPT_RETRY).await;
                }
            },
            Some(result) = tasks.join_next() => check(result),
        }
        while let Some(result) = tasks.try_join_next() {
            check(result);
        }
    }
    // Those that the kernel accepted for us may have sent already.
    yield_now().await;
    for _ in 0..BACKLOG {
        let Some(Ok(accepted)) = poll_once(pin!(listener.accept())).await else { break };
        worker.accepted(accepted, &mut tasks);
    }
    drop(listener);
    while let Some(result) = tasks.join_next().await {
        check(result);
    }
}

/// How long to wait after a failure to accept.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A panic in a handler is a panic of its worker.
fn check(result: Result<(), JoinError>) {
    if let Err(error) = result
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}

impl<H: Handler + 'static> Worker<H> {
    fn accepted(self: &Rc<Self>, accepted: Accepted, tasks: &mut JoinSet<()>) {
        let mut peer = match &accepted {
            Accepted::Tcp(_, peer) => Some(*peer),
            Accepted::Unix(_) => None,
        };
        let opened = match &accepted {
            Accepted::Tcp(stream, peer) => {
                // Without it, a peer that vanished would occupy its place for ever where idling is allowed.
                let _ = SockRef::from(stream).set_keepalive(true);
                // Whom a proxy speaks for is known when its header was read.
                self.open(Some(*peer).filter(|peer| !self.is_proxy(*peer)))
            }
            Accepted::Unix(_) => self.open(None),
        };
        let open = match opened {
            Ok(open) => open,
            Err(reason) => return self.stats.count(reason, peer),
        };
        self.stats.accepted.fetch_add(1, Relaxed);
        let worker = Rc::clone(self);
        tasks.spawn_local(async move {
            let result = match accepted {
                Accepted::Tcp(stream, mut from) => {
                    let result = worker.tcp(stream, &mut from, open).await;
                    // Behind a proxy it is whom the proxy speaks for that is refused.
                    peer = Some(from);
                    result
                }
                Accepted::Unix(stream) => {
                    let _open = open;
                    worker.connection(&mut { stream }, None, None).await
                }
            };
            if let Err(reason) = result {
                worker.stats.count(reason, peer);
            }
        });
    }

    /// Counts a connection in, and the address it comes from where that is known.
    fn open(&self, peer: Option<SocketAddr>) -> Result<Open, Closed> {
        if let Some(peer) = peer
            && !self.handler.borrow_mut().allows(peer)
        {
            return Err(Closed::Denied);
        }
        let mut open = Open { stats: Arc::clone(&self.stats), address: None };
        if self.stats.connections.fetch_add(1, Relaxed) >= self.options.max_connections {
            return Err(Closed::Limit);
        }
        match peer {
            Some(peer) => open.of(peer, self.options.max_per_address).map(|()| open),
            None => Ok(open),
        }
    }

    fn is_proxy(&self, peer: SocketAddr) -> bool {
        self.options.proxies.iter().any(|network| network.contains(&peer.ip()))
    }

    /// A connection over TCP: PROXY header and TLS handshake, where they belong, then the messages.
    ///
    /// `peer` becomes the address that a proxy speaks for.
    async fn tcp(&self, stream: TcpStream, peer: &mut SocketAddr, mut open: Open) -> Result<(), Closed> {
        // One for the header and the handshake together.
        let deadline = Instant::now() + self.options.handshake_timeout;
        let mut stopped = pin!(self.stop.wait());
        let mut stream = stream;
        if !self.options.proxies.is_empty() {
            let found = tokio::select! {
                biased;
                found = self.proxied(&mut stream, *peer, deadline) => found?,
                // Those who speak for themselves may have sent already; a proxy's header is not known.
                () = &mut stopped => if self.is_proxy(*peer) { return Ok(()) } else { Proxied::Direct },
            };
            match found {
                Proxied::Direct => (),
                Proxied::Ended => return Ok(()),
                Proxied::For(source) => {
                    // A proxy that only looks whether we are there need not be allowed to send.
                    let own = source == *peer;
                    *peer = source;
                    if !own && !self.handler.borrow_mut().allows(source) {
                        return Err(Closed::Denied);
                    }
                    open.of(source, self.options.max_per_address)?;
                }
            }
        }
        let Some(tls) = &self.options.tls else {
            return self.connection(&mut stream, Some(*peer), None).await;
        };
        if self.stop.is_set() {
            return Ok(());
        }
        let turn = tokio::select! {
            biased;
            turn = self.turn(*peer, deadline) => turn?,
            () = &mut stopped => return Ok(()),
        };
        let handshake = TlsAcceptor::from(tls.config()).accept(stream);
        let mut stream = tokio::select! {
            biased;
            result = timeout_at(deadline, handshake) => match result {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return Err(Closed::handshake(&error)),
                Err(_) => return Err(Closed::HandshakeTimeout),
            },
            () = &mut stopped => return Ok(()),
        };
        drop(turn);
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let identity = certificate.and_then(|certificate| Identity::of(certificate)).map(Arc::new);
        let result = self.connection(&mut stream, Some(*peer), identity).await;
        // RFC 5425 §4.4: whoever closes says so. A peer that does not read is not waited for.
        let _ = timeout(FAREWELL, stream.shutdown()).await;
        result
    }

    /// Waits until few enough handshakes are under way, of all and of this address; one that waits costs
    /// nothing but its place.
    async fn turn(&self, peer: SocketAddr, deadline: Instant) -> Result<Turn, Closed> {
        let address = network(peer.ip());
        loop {
            {
                let stats = &self.stats;
                let mut handshakes = stats.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
                let all: u64 = handshakes.values().sum();
                let own = handshakes.get(&address).copied().unwrap_or_default();
                if own < HANDSHAKES.0 && all < HANDSHAKES.1 {
                    handshakes.insert(address, own + 1);
                    return Ok(Turn { stats: Arc::clone(stats), address });
                }
            }
            if Instant::now() >= deadline {
                return Err(Closed::HandshakeLimit);
            }
            sleep(TURN).await;
        }
    }

    /// Finds out whom a connection speaks for, and takes the PROXY header off it.
    async fn proxied(
        &self,
        stream: &mut TcpStream,
        peer: SocketAddr,
        deadline: Instant,
    ) -> Result<Proxied, Closed> {
        let proxy = self.is_proxy(peer);
        let mut window = [0; proxy::WINDOW];
        let first = stream.peek(&mut window);
        let mut count = match self.options.idle_timeout {
            // Whoever speaks for himself may be silent as long as he may otherwise.
            idle if !proxy && self.options.tls.is_none() => match idle {
                Some(idle) => timeout(idle, first).await.map_err(|_| Closed::Idle)?,
                None => first.await,
            },
            _ => timeout_at(deadline, first).await.map_err(|_| Closed::HandshakeTimeout)?,
        }
        .map_err(|_| Closed::Error)?;
        // Once he begins, what could be a header is soon known to be one or not.
        let begun = Instant::now() + BEGUN;
        let deadline = match (proxy, &self.options.tls) {
            (true, _) => deadline,
            (false, Some(_)) => deadline.min(begun),
            (false, None) => begun,
        };
        let mut pause = PARTIAL.0;
        let header = loop {
            if count == 0 {
                return Ok(Proxied::Ended);
            }
            match proxy::parse(window.get(..count).unwrap_or_default()) {
                proxy::Header::Partial if Instant::now() < deadline => (),
                proxy::Header::Partial if proxy => return Err(Closed::HandshakeTimeout),
                proxy::Header::Partial if count < SURE => return Ok(Proxied::Direct),
                header => break header,
            }
            // What was looked at stays there and is ready at once: wait for more by the clock.
            sleep(pause).await;
            pause = (2 * pause).min(PARTIAL.1);
            count = stream.peek(&mut window).await.map_err(|_| Closed::Error)?;
        };
        match header {
            proxy::Header::Present { length, source } if proxy => {
                let mut header = stream.take(length as u64);
                let mut scrap = [0; proxy::WINDOW];
                // The rest is under way, since the peer announced it; a peer that stops here is cut off.
                let skipped = timeout_at(deadline, async {
                    while header.limit() > 0 && header.read(&mut scrap).await? > 0 {}
                    io::Result::Ok(header.limit())
                });
                match skipped.await {
                    Ok(Ok(0)) => Ok(Proxied::For(source.map_or(peer, canonical))),
                    Ok(Ok(_)) => Err(Closed::ProxyInvalid),
                    Ok(Err(_)) => Err(Closed::Error),
                    Err(_) => Err(Closed::HandshakeTimeout),
                }
            }
            _ if proxy => Err(Closed::ProxyInvalid),
            proxy::Header::Absent => Ok(Proxied::Direct),
            _ => Err(Closed::ProxyRefused),
        }
    }
}

/// Handshakes under way at one time, of one address and in all. One that goes well takes milliseconds, so
/// that many a second get their turn; those that never end share these places.
const HANDSHAKES: (u64, u64) = (32, 512);

/// How often whoever waits for a turn looks again.
const TURN: Duration = Duration::from_millis(100);

/// A handshake under way.
struct Turn {
    stats: Arc<Stats>,
    address: IpAddr,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut handshakes = self.stats.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = handshakes.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                handshakes.remove(&self.address);
            }
        }
    }
}

/// How long the end of TLS may take to be written.
const FAREWELL: Duration = Duration::from_millis(500);

/// Whom a connection speaks for.
enum Proxied {
    /// For the peer itself.
    Direct,
    /// For somebody else, or for the proxy that is looking whether we are there.
    For(SocketAddr),
    /// It ended before it said so.
    Ended,
}

/// How long to wait for the rest of a header that has begun, at first and at most.
const PARTIAL: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));

/// How long the beginning of somebody who is no proxy may look like a header.
const BEGUN: Duration = Duration::from_secs(2);

/// Bytes by which a header is told from a word or an empty line that begins like it.
const SURE: usize = 6;

/// Counts a connection as long as it lives.
struct Open {
    stats: Arc<Stats>,
    address: Option<IpAddr>,
}

impl Open {
    /// Counts the connection to the address it comes from.
    fn of(&mut self, peer: SocketAddr, limit: u64) -> Result<(), Closed> {
        let address = network(peer.ip());
        let mut addresses = self.stats.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let count = addresses.entry(address).or_default();
        if *count >= limit {
            return Err(Closed::AddressLimit);
        }
        *count += 1;
        self.address = Some(address);
        Ok(())
    }
}

/// What counts as one address: a host on IPv6 has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        IpAddr::V4(_) => address,
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.stats.connections.fetch_sub(1, Relaxed);
        let Some(address) = self.address else { return };
        let mut addresses = self.stats.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = addresses.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&address);
            }
        }
    }
}

/// What one connection owns.
struct Connection<T> {
    stream: T,
    peer: Option<SocketAddr>,
    identity: Option<Arc<Identity>>,
    framer: Framer,
    /// The unfinished message.
    tail: Vec<u8>,
    /// A message began or was finished since this was last looked at.
    advanced: bool,
}

/// A short read from a busy connection is followed by a pause, so that the next one finds more.
///
/// It is the gathering of UDP: a sender that writes each message by itself would otherwise cost a
/// wake-up for each, and one that writes byte by byte would have its unfinished message copied for
/// each. Connections that pause by themselves are answered at once.
const GATHER: Duration = Duration::from_millis(1);
const SHORT: usize = 16 * 1024;
const BUSY: Duration = Duration::from_millis(2);

impl<H: Handler> Worker<H> {
    /// Reads a connection to its end, its idle timeout or the stop.
    async fn connection<T: AsyncRead + Unpin>(
        &self,
        stream: &mut T,
        peer: Option<SocketAddr>,
        identity: Option<Arc<Identity>>,
    ) -> Result<(), Closed> {
        let (framer, tail) = (self.framer.clone(), Vec::new());
        let mut connection = Connection { stream, peer, identity, framer, tail, advanced: false };
        let mut stopped = pin!(self.stop.wait());
        let timeout = self.options.idle_timeout;
        let mut last = Instant::now();
        // When the message under way began, or the last one ended.
        let mut advanced = last;
        let mut idle = pin!(sleep_until(last + timeout.unwrap_or_default()));
        let result = loop {
            if self.room(None).await {
                // It was us who did not read.
                advanced = Instant::now();
            }
            tokio::select! {
                biased;
                () = &mut stopped => {
                    let result = self.drain(&mut connection).await;
                    self.finish(&mut connection, true);
                    return result.map_err(|_| Closed::Error);
                }
                result = self.read(&mut connection) => {
                    let count = match result {
                        Ok(None) => continue,
                        Ok(Some(0)) => break Ok(()),
                        Ok(Some(_)) if connection.framer.is_lost() => break Err(Closed::Unframed),
                        Ok(Some(count)) => count,
                        // TLS that was not closed, only its connection, as many peers do it: an error
                        // where something is missing.
                        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof
                            && connection.tail.is_empty() => break Ok(()),
                        Err(_) => break Err(Closed::Error),
                    };
                    let before = std::mem::replace(&mut last, Instant::now());
                    if std::mem::take(&mut connection.advanced) {
                        advanced = last;
                    }
                    if count < SHORT && last - before < BUSY {
                        sleep(GATHER).await;
                    } else {
                        yield_now().await;
                    }
                }
                () = &mut idle, if timeout.is_some() => {
                    // The timer is set again only when it fires, not for each read.
                    let (now, timeout) = (Instant::now(), timeout.unwrap_or_default());
                    if last + timeout <= now {
                        break Err(Closed::Idle);
                    }
                    if advanced + timeout <= now {
                        break Err(Closed::Slow);
                    }
                    idle.as_mut().reset(advanced + timeout);
                }
            }
        };
        self.finish(&mut connection, matches!(result, Err(Closed::Slow | Closed::Error)));
        if let Some(peer) = connection.peer {
            self.handler.borrow_mut().closed(peer);
        }
        result
    }

    /// Reads once and hands over every message that this finishes; 0 at the end of the stream, none
    /// where the handler has become full since it was asked.
    ///
    /// The shared buffer is borrowed within one poll, never across an await.
    async fn read<T: AsyncRead + Unpin>(&self, connection: &mut Connection<T>) -> io::Result<Option<usize>> {
        let room = self.framer.max_tail();
        poll_fn(|context| {
            if self.handler.borrow_mut().is_full() {
                return Poll::Ready(Ok(None));
            }
            let mut buffer = self.buffer.borrow_mut();
            let mut space = ReadBuf::new(buffer.get_mut(room..).unwrap_or_default());
            ready!(Pin::new(&mut connection.stream).poll_read(context, &mut space))?;
            let count = space.filled().len();
            // The unfinished message goes before the new bytes; the framer leaves less than the room.
            let start = room.saturating_sub(connection.tail.len());
            if let Some(before) = buffer.get_mut(start..start + connection.tail.len()) {
                before.copy_from_slice(&connection.tail);
            }
            let bytes = buffer.get(start..room + count).unwrap_or_default();
            let Connection { framer, tail, peer, identity, advanced, .. } = &mut *connection;
            let begins = tail.is_empty() && framer.is_between();
            let (consumed, found) = self.hand_over(framer, bytes, *peer, identity.as_ref(), None);
            keep(tail, bytes.get(consumed..).unwrap_or_default());
            // An empty line is no message, nor the beginning of one.
            *advanced |= found || begins && !(tail.is_empty() && framer.is_between());
            Poll::Ready(Ok(Some(count)))
        })
        .await
    }

    /// Hands over the messages in `bytes`; with `end`, also the unfinished one, cut short or not.
    /// Returns the bytes that are done with, and whether there was a message.
    fn hand_over(
        &self,
        framer: &mut Framer,
        bytes: &[u8],
        peer: Option<SocketAddr>,
        identity: Option<&Arc<Identity>>,
        end: Option<bool>,
    ) -> (usize, bool) {
        let mut handler = self.handler.borrow_mut();
        let received = now();
        let mut found = false;
        handler.batch_begin(identity);
        let mut each = |messages: &[Message<'_>]| handler.messages(messages);
        let mut group = Group::new();
        let consumed = frames(framer, bytes, end.is_some(), &mut |frame| {
            let truncated = frame.truncated || end == Some(true);
            found = true;
            group.push(Message { bytes: frame.bytes, peer, received, truncated }, &mut each);
        });
        group.hand_on(&mut each);
        handler.batch_end();
        if handler.holds() {
            self.held.notify_one();
        }
        (consumed, found)
    }

    /// Hands over the unfinished message; `cut` says that we ended the stream, not its sender.
    fn finish<T>(&self, connection: &mut Connection<T>, cut: bool) {
        let Connection { framer, tail, peer, identity, .. } = connection;
        if !tail.is_empty() {
            self.hand_over(framer, tail, *peer, identity.as_ref(), Some(cut));
        }
    }

    /// Reads what the kernel already holds, for a limited time, since a sender need not end.
    async fn drain<T: AsyncRead + Unpin>(&self, connection: &mut Connection<T>) -> io::Result<()> {
        let deadline = Instant::now() + DRAIN;
        while Instant::now() < deadline {
            self.room(Some(deadline)).await;
            // The runtime learns only between tasks which connections have bytes.
            yield_now().await;
            match poll_once(pin!(self.read(connection))).await {
                None | Some(Ok(Some(0))) => return Ok(()),
                Some(Ok(_)) => (),
                Some(Err(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until the handler has room; true if it had none.
    async fn room(&self, deadline: Option<Instant>) -> bool {
        let mut waited = false;
        let mut since = None;
        while self.handler.borrow_mut().is_full() {
            waited = true;
            let stopping = self.stop.is_set();
            if stopping && deadline.is_none_or(|deadline| deadline <= Instant::now()) {
                break;
            }
            let since = *since.get_or_insert_with(Instant::now);
            sleep(FULL).await;
            // Every connection waits here; what one of them counted the others do not.
            let now = Instant::now();
            let counted = self.held_until.replace(now).max(since);
            let held = now.saturating_duration_since(counted).as_nanos();
            self.stats.held.fetch_add(u64::try_from(held).unwrap_or(u64::MAX), Relaxed);
        }
        waited
    }
}

/// How long a stopping sensor goes on reading from a sender that does not cease.
const DRAIN: Duration = Duration::from_secs(2);

/// How often a full handler is asked again.
const FULL: Duration = Duration::from_millis(1);

/// A connection keeps this much memory between unfinished messages; more is returned.
///
/// Most reads of a busy connection end within a message, so that a little memory saves an allocation
/// for each; 4,096 connections keep 4 MiB at most.
const KEPT: usize = 1024;

fn keep(tail: &mut Vec<u8>, rest: &[u8]) {
    if rest.len() <= KEPT && tail.capacity() > KEPT {
        *tail = Vec::new();
    }
    tail.clear();
    tail.extend_from_slice(rest);
}

/// Polls once; none if it would have to wait.
async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{Shutdown, TcpStream};
    use std::sync::Mutex;
    use std::sync::atomic::AtomicBool;
    use std::thread::{self, JoinHandle};

    /// The sender of what came through a Unix socket.
    const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

    /// Bytes, sender, truncated.
    type Entry = (Vec<u8>, SocketAddr, bool);

    /// What the handlers of a test saw.
    #[derive(Debug, Default)]
    struct Seen {
        messages: Mutex<Vec<Entry>>,
        full: AtomicBool,
        deny: AtomicBool,
        holds: AtomicBool,
        ticks: AtomicU64,
    }

    impl Seen {
        fn count(&self) -> usize {
            self.messages.lock().unwrap().len()
        }
    }

    impl Handler for Arc<Seen> {
        fn messages(&mut self, messages: &[Message<'_>]) {
            let entries = messages
                .iter()
                .map(|message| (message.bytes.to_vec(), message.peer.unwrap_or(NOBODY), message.truncated));
            self.messages.lock().unwrap().extend(entries);
        }

        fn allows(&mut self, _peer: SocketAddr) -> bool {
            !self.deny.load(Relaxed)
        }

        fn is_full(&mut self) -> bool {
            self.full.load(Relaxed)
        }

        fn holds(&self) -> bool {
            self.holds.load(Relaxed)
        }

        fn tick(&mut self) {
            self.ticks.fetch_add(1, Relaxed);
        }

        fn release(&mut self) -> bool {
            self.holds.store(false, Relaxed);
            true
        }
    }

    struct Server {
        address: SocketAddr,
        seen: Arc<Seen>,
        stats: Arc<Stats>,
        stop: Stop,
        threads: Vec<JoinHandle<io::Result<()>>>,
    }

    impl Server {
        fn start(options: &Options, workers: usize) -> Server {
            let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let address = listener.local_addr().unwrap();
            let (seen, stats, stop) = (Arc::new(Seen::default()), Arc::default(), Stop::new());
            let threads = (0..workers)
                .map(|_| {
                    let (listener, options) = (listener.try_clone().unwrap(), options.clone());
                    let (seen, stats, stop) = (Arc::clone(&seen), Arc::clone(&stats), stop.clone());
                    thread::spawn(move || run(Listener::Tcp(listener), options, seen, stop, stats))
                })
                .collect();
            Server { address, seen, stats, stop, threads }
        }

        fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).unwrap()
        }

        /// Waits until a condition holds; a test that waits in vain fails.
        fn until(&self, what: &str, condition: impl Fn(&Server) -> bool) {
            for _ in 0..5000 {
                if condition(self) {
                    return;
                }
                thread::sleep(Duration::from_millis(2));
            }
            panic!("waited in vain: {what}: {:?}", self.stats);
        }

        fn stop(self) -> (Vec<Entry>, Arc<Stats>) {
            self.stop.set();
            for thread in self.threads {
                thread.join().unwrap().unwrap();
            }
            assert_eq!(self.stats.connections.load(Relaxed), 0);
            (std::mem::take(&mut *self.seen.messages.lock().unwrap()), self.stats)
        }
    }

    fn texts(messages: &[Entry]) -> Vec<(String, bool)> {
        messages.iter().map(|(bytes, _, cut)| (String::from_utf8_lossy(bytes).into_owned(), *cut)).collect()
    }

    fn closed(mut stream: TcpStream) -> bool {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        match stream.read(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }

    #[test]
    fn messages_of_every_framing_arrive_in_order() {
        let server = Server::start(&Options { max_message: 32, ..Options::default() }, 1);
        let mut stream = server.connect();
        stream.set_nodelay(true).unwrap();
        let long = "x".repeat(100);
        let input = format!("<1>a\n6 <1>b\nb<1>c\r\n\n<1>d\0<1>{long}\n103 <1>{long}\n<1>e");
        for piece in input.as_bytes().chunks(7) {
            stream.write_all(piece).unwrap();
        }
        let from = stream.local_addr().unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert!(closed(stream));
        let (messages, stats) = server.stop();
        let head = format!("<1>{}", &long[3..32]);
        let expected = [
            ("<1>a", false),
            ("<1>b\nb", false),
            ("<1>c", false),
            ("<1>d", false),
            (&head, true),
            (&head, true),
            ("<1>e", false),
        ];
        assert_eq!(texts(&messages), expected.map(|(text, cut)| (text.to_owned(), cut)));
        assert!(messages.iter().all(|(_, peer, _)| *peer == from));
        assert_eq!(stats.closed(Closed::Error), 0);
    }

    #[test]
    fn connections_do_not_mix_and_workers_share() {
        let server = Server::start(&Options::default(), 2);
        let lines = 2000;
        let senders: Vec<_> = (0..20)
            .map(|sender| {
                let mut stream = server.connect();
                thread::spawn(move || {
                    let text: String = (0..lines).map(|line| format!("<1>{sender} {line}\n")).collect();
                    for piece in text.as_bytes().chunks(1009) {
                        stream.write_all(piece).unwrap();
                    }
                    // The close must not overtake the reading.
                    stream.shutdown(Shutdown::Write).unwrap();
                    assert!(closed(stream));
                })
            })
            .collect();
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        let (messages, stats) = server.stop();
        let mut next = [0; 20];
        for (text, _) in texts(&messages) {
            let (sender, line) = text[3..].split_once(' ').unwrap();
            let expected = &mut next[sender.parse::<usize>().unwrap()];
            assert_eq!(line.parse::<usize>().unwrap(), *expected);
            *expected += 1;
        }
        assert_eq!(next, [lines; 20]);
        assert_eq!(stats.accepted.load(Relaxed), 20);
    }

    #[test]
    fn too_many_connections_are_refused_and_counted() {
        let server = Server::start(&Options { max_connections: 2, ..Options::default() }, 1);
        let kept = [server.connect(), server.connect()];
        server.until("two open", |server| server.stats.connections.load(Relaxed) == 2);
        assert!(closed(server.connect()));
        drop(kept);
        server.until("none open", |server| server.stats.connections.load(Relaxed) == 0);
        server.connect().write_all(b"<1>later\n").unwrap();
        server.until("received", |server| server.seen.count() == 1);
        let (_, stats) = server.stop();
        assert_eq!((stats.accepted.load(Relaxed), stats.closed(Closed::Limit)), (3, 1));
    }

    #[test]
    fn peers_that_are_not_allowed_are_closed_and_counted() {
        let server = Server::start(&Options::default(), 1);
        server.seen.deny.store(true, Relaxed);
        assert!(closed(server.connect()));
        let (messages, stats) = server.stop();
        assert!(messages.is_empty());
        assert_eq!((stats.closed(Closed::Denied), stats.accepted.load(Relaxed)), (1, 0));
    }

    #[test]
    fn idle_connections_are_closed_with_their_last_message() {
        let idle_timeout = Some(Duration::from_millis(50));
        let server = Server::start(&Options { idle_timeout, ..Options::default() }, 1);
        let mut stream = server.connect();
        stream.write_all(b"<1>a\n<1>b").unwrap();
        assert!(closed(stream));
        let (messages, stats) = server.stop();
        assert_eq!(texts(&messages), [("<1>a".to_owned(), false), ("<1>b".to_owned(), false)]);
        assert_eq!(stats.closed(Closed::Idle), 1);
    }

    #[test]
    fn what_is_no_message_keeps_no_connection() {
        let idle_timeout = Some(Duration::from_millis(300));
        let server = Server::start(&Options { idle_timeout, ..Options::default() }, 1);
        for (filler, reason) in [
            (&b"\n"[..], "line ends"),
            (b"\0", "NUL"),
            (b"\r\n", "line ends"),
            (b"\n\n\n\n", "many line ends"),
        ] {
            let mut stream = server.connect();
            stream.write_all(b"<1>a\n").unwrap();
            let start = std::time::Instant::now();
            while stream.write_all(filler).is_ok() {
                assert!(start.elapsed() < Duration::from_secs(10), "{reason} keep it open");
                thread::sleep(Duration::from_millis(20));
            }
        }
        // Whoever finishes a message now and then stays.
        let mut stream = server.connect();
        for number in 0..20 {
            let filler = if number % 4 == 0 { &b"<1>b\n"[..] } else { b"\n" };
            stream.write_all(filler).unwrap();
            thread::sleep(Duration::from_millis(40));
        }
        server.until("all are heard", |server| server.seen.count() == 9);
        drop(stream);
        let (_, stats) = server.stop();
        assert_eq!((stats.closed(Closed::Slow), stats.closed(Closed::Idle)), (4, 0));
    }

    #[test]
    fn a_full_handler_holds_the_sender_back_and_loses_nothing() {
        let server = Server::start(&Options::default(), 1);
        server.seen.full.store(true, Relaxed);
        let mut stream = server.connect();
        server.until("open", |server| server.stats.connections.load(Relaxed) == 1);
        // More than the kernel buffers of both sides hold.
        let sender = thread::spawn(move || {
            let line = [&b"<1>"[..], &[b'x'; 996], b"\n"].concat();
            for _ in 0..30_000 {
                stream.write_all(&line).unwrap();
            }
            stream.shutdown(Shutdown::Write).unwrap();
            assert!(closed(stream));
        });
        thread::sleep(Duration::from_millis(100));
        assert_eq!(server.seen.count(), 0);
        assert!(!sender.is_finished());
        assert!((50_000_000..10_000_000_000).contains(&server.stats.held_back()), "{:?}", server.stats);
        server.seen.full.store(false, Relaxed);
        sender.join().unwrap();
        let (messages, _) = server.stop();
        assert_eq!(messages.len(), 30_000);
        assert!(messages.iter().all(|(bytes, _, cut)| bytes.len() == 999 && !cut));
    }

    #[test]
    fn what_a_handler_holds_is_released_though_nothing_more_comes() {
        let server = Server::start(&Options::default(), 1);
        server.seen.holds.store(true, Relaxed);
        let mut stream = server.connect();
        stream.write_all(b"<1>a\n").unwrap();
        server.until("released", |server| !server.seen.holds.load(Relaxed));
        assert_eq!(server.seen.count(), 1);
        drop(stream);
    }

    #[test]
    fn a_handler_ticks_though_nothing_comes() {
        let server = Server::start(&Options::default(), 1);
        let idle = server.connect();
        server.until("ticks", |server| server.seen.ticks.load(Relaxed) >= 2);
        assert_eq!(server.seen.count(), 0);
        drop(idle);
    }

    #[test]
    fn the_stop_hands_over_what_was_received() {
        let server = Server::start(&Options::default(), 1);
        server.seen.full.store(true, Relaxed);
        let mut stream = server.connect();
        server.until("open", |server| server.stats.connections.load(Relaxed) == 1);
        stream.write_all(b"<1>a\n<1>b\n<1>unfinis").unwrap();
        server.seen.full.store(false, Relaxed);
        let (messages, _) = server.stop();
        let expected = [("<1>a", false), ("<1>b", false), ("<1>unfinis", true)];
        assert_eq!(texts(&messages), expected.map(|(text, cut)| (text.to_owned(), cut)));
        drop(stream);
    }

    #[test]
    fn the_stop_ends_while_a_sender_goes_on_and_a_handler_is_full() {
        let server = Server::start(&Options::default(), 1);
        let mut stream = server.connect();
        let sender = thread::spawn(move || while stream.write_all(&[b'\n'; 4096]).is_ok() {});
        server.until("open", |server| server.stats.connections.load(Relaxed) == 1);
        server.seen.full.store(true, Relaxed);
        server.stop();
        sender.join().unwrap();
    }

    #[test]
    fn a_loud_sender_leaves_the_others_their_turn() {
        let server = Server::start(&Options::default(), 1);
        let done = Arc::new(AtomicBool::new(false));
        let loud: Vec<_> = (0..2)
            .map(|_| {
                let (mut stream, done) = (server.connect(), Arc::clone(&done));
                thread::spawn(move || {
                    let line = format!("<1>{}\n", "x".repeat(8000)).repeat(16);
                    while !done.load(Relaxed) {
                        stream.write_all(line.as_bytes()).unwrap();
                    }
                })
            })
            .collect();
        server.until("the loud are heard", |server| server.seen.count() > 100);
        let mut quiet = server.connect();
        for round in 1..=5 {
            let before = server.seen.count();
            quiet.write_all(b"<1>quiet\n").unwrap();
            let heard = |server: &Server| {
                let messages = server.seen.messages.lock().unwrap();
                messages.iter().filter(|(bytes, ..)| bytes == b"<1>quiet").count() == round
            };
            server.until("the quiet one is heard", heard);
            // Each of the loud had a few turns of READ meanwhile, not as long as it had something to say.
            assert!(server.seen.count() - before < 2000, "{}", server.seen.count() - before);
        }
        done.store(true, Relaxed);
        loud.into_iter().for_each(|sender| sender.join().unwrap());
        drop(quiet);
        server.stop();
    }
}
