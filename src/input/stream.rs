//! TCP: one task for a connection, one receive buffer for all connections of a worker.
//!
//! [`serve`] accepts on a listener that any number of workers share (clones of one [`bind`]) and hands
//! each message to the worker's [`Handler`]. Bytes are read into the worker's buffer when a connection
//! has some, framed and handled before the next await; a connection owns nothing but its unfinished
//! message, so that thousands of idle ones cost little. What is over the transport is written for any
//! `AsyncRead`: TLS and Unix streams are a handshake in `accepted` and nothing else.

use super::framing::{Delimiters, Framer, frames};
use super::{Group, MAX_MESSAGE, Message, Stop, canonical, now};
use socket2::{Domain, Protocol, SockRef, Type};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet, LocalSet, yield_now};
use tokio::time::{Instant, sleep, sleep_until};

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

    /// The messages of one read come; rules may be taken anew.
    fn batch_begin(&mut self) {}

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

    /// Passes on what is held; false if there is no room, and it is to be called again.
    fn release(&mut self) -> bool {
        true
    }
}

/// The limits of one listener.
#[derive(Clone, Debug)]
pub struct Options {
    /// The longest message; longer ones keep their head.
    pub max_message: usize,
    /// Connections at one time, over all workers; more are closed at once.
    pub max_connections: u64,
    /// A connection that sends nothing for so long is closed.
    pub idle_timeout: Option<Duration>,
    /// Where messages end: those of syslog, or of IPFIX.
    pub delimiters: Delimiters,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            max_message: MAX_MESSAGE,
            max_connections: 4096,
            idle_timeout: Some(Duration::from_secs(600)),
            delimiters: Delimiters::Stream,
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
    /// Connections closed at once because there were too many.
    pub refused: AtomicU64,
    /// Connections closed at once because their peer is not allowed.
    pub denied: AtomicU64,
    /// Connections closed because they were idle.
    pub idle: AtomicU64,
    /// Connections that ended with an error, and failures to accept.
    pub errors: AtomicU64,
}

/// Opens a listener; `try_clone` gives each further worker its own handle of it.
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
const BACKLOG: i32 = 4096;

/// Serves a listener on the current thread until `stop`, on a runtime of its own.
pub fn run<H: Handler + 'static>(
    listener: TcpListener,
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
    listener: TcpListener,
    options: Options,
    handler: H,
    stop: Stop,
    stats: Arc<Stats>,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let framer = Framer::new(options.delimiters, options.max_message);
    let worker = Worker {
        handler: RefCell::new(handler),
        buffer: RefCell::new(vec![0; framer.max_tail() + READ].into_boxed_slice()),
        framer,
        options,
        stats,
        stop,
        held: Notify::new(),
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

/// How long a handler may hold something back.
pub const HOLD: Duration = Duration::from_millis(20);

/// Makes the handler pass on what it holds, for as long as it is polled.
async fn release<H: Handler>(worker: &Worker<H>) {
    loop {
        worker.held.notified().await;
        sleep(HOLD).await;
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
}

/// The most bytes that are read from a connection before the others have their turn.
///
/// A hundred messages share the cost of a read, and the buffer stays in the caches; larger ones were not
/// faster.
const READ: usize = 32 * 1024;

async fn accept<H: Handler + 'static>(listener: tokio::net::TcpListener, worker: Rc<Worker<H>>) {
    let mut tasks = JoinSet::new();
    let mut stopped = pin!(worker.stop.wait());
    loop {
        tokio::select! {
            biased;
            () = &mut stopped => break,
            result = listener.accept() => match result {
                Ok((stream, peer)) => worker.accepted(stream, canonical(peer), &mut tasks),
                Err(_) => {
                    // Out of descriptors, most likely: the connection stays where it is, so do not spin.
                    worker.stats.errors.fetch_add(1, Relaxed);
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
        let Some(Ok((stream, peer))) = poll_once(pin!(listener.accept())).await else { break };
        worker.accepted(stream, canonical(peer), &mut tasks);
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
    fn accepted(self: &Rc<Self>, stream: TcpStream, peer: SocketAddr, tasks: &mut JoinSet<()>) {
        let stats = &self.stats;
        if !self.handler.borrow_mut().allows(peer) {
            stats.denied.fetch_add(1, Relaxed);
            return;
        }
        if stats.connections.fetch_add(1, Relaxed) >= self.options.max_connections {
            stats.connections.fetch_sub(1, Relaxed);
            stats.refused.fetch_add(1, Relaxed);
            return;
        }
        stats.accepted.fetch_add(1, Relaxed);
        let open = Open(Arc::clone(stats));
        // Without it, a peer that vanished would occupy its place for ever where idling is allowed.
        let _ = SockRef::from(&stream).set_keepalive(true);
        let worker = Rc::clone(self);
        tasks.spawn_local(async move {
            let _open = open;
            if worker.connection(stream, peer).await.is_err() {
                worker.stats.errors.fetch_add(1, Relaxed);
            }
            worker.handler.borrow_mut().closed(peer);
        });
    }
}

/// Counts a connection as long as it lives.
struct Open(Arc<Stats>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}

/// What one connection owns.
struct Connection<T> {
    stream: T,
    peer: SocketAddr,
    framer: Framer,
    /// The unfinished message.
    tail: Vec<u8>,
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
    async fn connection<T: AsyncRead + Unpin>(&self, stream: T, peer: SocketAddr) -> io::Result<()> {
        let mut connection = Connection { stream, peer, framer: self.framer.clone(), tail: Vec::new() };
        let mut stopped = pin!(self.stop.wait());
        let timeout = self.options.idle_timeout;
        let mut last = Instant::now();
        let mut idle = pin!(sleep_until(last + timeout.unwrap_or_default()));
        let result = loop {
            self.room(None).await;
            tokio::select! {
                biased;
                () = &mut stopped => {
                    let result = self.drain(&mut connection).await;
                    self.finish(&mut connection, true);
                    return result;
                }
                result = self.read(&mut connection) => {
                    let count = match result {
                        Ok(None) => continue,
                        Ok(Some(0)) => break Ok(()),
                        Ok(Some(_)) if connection.framer.is_lost() => {
                            let reason = "what follows cannot be cut into messages";
                            break Err(io::Error::new(io::ErrorKind::InvalidData, reason));
                        }
                        Ok(Some(count)) => count,
                        Err(error) => break Err(error),
                    };
                    let before = std::mem::replace(&mut last, Instant::now());
                    if count < SHORT && last - before < BUSY {
                        sleep(GATHER).await;
                    } else {
                        yield_now().await;
                    }
                }
                () = &mut idle, if timeout.is_some() => {
                    // The timer is set again only when it fires, not for each read.
                    let deadline = last + timeout.unwrap_or_default();
                    if deadline <= Instant::now() {
                        self.stats.idle.fetch_add(1, Relaxed);
                        break Ok(());
                    }
                    idle.as_mut().reset(deadline);
                }
            }
        };
        self.finish(&mut connection, false);
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
            let consumed = self.hand_over(&mut connection.framer, bytes, connection.peer, None);
            keep(&mut connection.tail, bytes.get(consumed..).unwrap_or_default());
            Poll::Ready(Ok(Some(count)))
        })
        .await
    }

    /// Hands over the messages in `bytes`; with `end`, also the unfinished one, cut short or not.
    fn hand_over(&self, framer: &mut Framer, bytes: &[u8], peer: SocketAddr, end: Option<bool>) -> usize {
        let mut handler = self.handler.borrow_mut();
        let received = now();
        handler.batch_begin();
        let mut each = |messages: &[Message<'_>]| handler.messages(messages);
        let mut group = Group::new();
        let consumed = frames(framer, bytes, end.is_some(), &mut |frame| {
            let truncated = frame.truncated || end == Some(true);
            let message = Message { bytes: frame.bytes, peer: Some(peer), received, truncated };
            group.push(message, &mut each);
        });
        group.hand_on(&mut each);
        handler.batch_end();
        if handler.holds() {
            self.held.notify_one();
        }
        consumed
    }

    /// Hands over the unfinished message; `cut` says that we ended the stream, not its sender.
    fn finish<T>(&self, connection: &mut Connection<T>, cut: bool) {
        if !connection.tail.is_empty() {
            self.hand_over(&mut connection.framer, &connection.tail, connection.peer, Some(cut));
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

    /// Waits until the handler has room.
    async fn room(&self, deadline: Option<Instant>) {
        while self.handler.borrow_mut().is_full() {
            let stopping = self.stop.is_set();
            if stopping && deadline.is_none_or(|deadline| deadline <= Instant::now()) {
                return;
            }
            sleep(FULL).await;
        }
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

    /// Bytes, sender, truncated.
    type Entry = (Vec<u8>, SocketAddr, bool);

    /// What the handlers of a test saw.
    #[derive(Debug, Default)]
    struct Seen {
        messages: Mutex<Vec<Entry>>,
        full: AtomicBool,
        deny: AtomicBool,
        holds: AtomicBool,
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
                .map(|message| (message.bytes.to_vec(), message.peer.unwrap(), message.truncated));
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
                    thread::spawn(move || run(listener, options, seen, stop, stats))
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
        assert_eq!(stats.errors.load(Relaxed), 0);
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
        assert_eq!((stats.accepted.load(Relaxed), stats.refused.load(Relaxed)), (3, 1));
    }

    #[test]
    fn peers_that_are_not_allowed_are_closed_and_counted() {
        let server = Server::start(&Options::default(), 1);
        server.seen.deny.store(true, Relaxed);
        assert!(closed(server.connect()));
        let (messages, stats) = server.stop();
        assert!(messages.is_empty());
        assert_eq!((stats.denied.load(Relaxed), stats.accepted.load(Relaxed)), (1, 0));
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
        assert_eq!(stats.idle.load(Relaxed), 1);
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
}
