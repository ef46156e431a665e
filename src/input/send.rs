//! The other end: sends log lines and captured datagrams to a sensor, for exercises and load tests.
//!
//! [`send`] reads inputs as `scan` does and pushes every message into a [`Sender`], which keeps the
//! pace: messages go out in batches of half a millisecond's worth at most, so that a rate is a rate and
//! not a burst each second, and yet a system call carries many where the rate is high.

use super::file::{self, FileError, Kind};
use super::listen::{Address, AddressError, Transport};
use super::pcap::Capture;
use super::tls::ClientFiles;
use super::{MAX_MESSAGE, Stop, journal, udp};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::ops::ControlFlow;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

/// How messages are told apart on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The length goes before each message that begins with `<`; others could not be told from text
    /// and end with LF.
    OctetCounting,
    /// Each message ends with LF.
    Lf,
}

/// Where to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Over UDP or TCP.
    Net(Address),
    /// Over TLS; the address is that of TCP.
    Tls(Address),
    /// To a Unix socket, of datagrams or streams.
    Unix(PathBuf),
}

impl FromStr for Target {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Target, AddressError> {
        let Some((scheme, rest)) = text.split_once("://") else { return text.parse().map(Target::Net) };
        if scheme.eq_ignore_ascii_case("unix") {
            return match rest {
                "" => Err(AddressError::Socket),
                path => Ok(Target::Unix(path.into())),
            };
        }
        if scheme.eq_ignore_ascii_case("tls") {
            return format!("tcp://{rest}").parse().map(Target::Tls);
        }
        text.parse().map(Target::Net)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Net(address) => address.fmt(formatter),
            Target::Tls(address) => {
                let text = address.to_string();
                write!(formatter, "tls{}", text.strip_prefix("tcp").unwrap_or(&text))
            }
            Target::Unix(path) => write!(formatter, "unix://{}", path.display()),
        }
    }
}

/// What to send, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to.
    pub target: Target,
    /// Whom to trust and what to show, for TLS.
    pub tls: Option<ClientFiles>,
    /// Messages a second; 0 sends as fast as possible.
    pub rate: u64,
    /// Messages in all; the inputs are repeated until then. None sends each once.
    pub count: Option<u64>,
    /// How messages are told apart on a stream.
    pub framing: Framing,
}

/// What was sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Messages that went out.
    pub sent: u64,
    /// Their bytes, without framing.
    pub bytes: u64,
    /// Messages that could not be sent.
    pub errors: u64,
    /// Why the first of them could not.
    pub first_error: Option<String>,
    /// From the first message to the last.
    pub elapsed: Duration,
}

impl Summary {
    /// Messages a second.
    pub fn rate(&self) -> f64 {
        self.sent as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// Why sending ended early.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// An input cannot be read.
    #[error(transparent)]
    Input(#[from] FileError),
    /// The target cannot be reached, or closed the connection.
    #[error("{target}: {source}")]
    Target {
        /// The address as written.
        target: Target,
        /// What went wrong.
        source: io::Error,
    },
    /// The inputs hold no message.
    #[error("nothing to send: the inputs hold no message")]
    Nothing,
    /// Standard input ended before the count was reached.
    #[error("standard input cannot be repeated: it held {0} messages")]
    Repeat(u64),
}

/// Sends every message of the inputs, until the count is reached or `stop` is set.
pub fn send(inputs: &[PathBuf], options: &Options, stop: &Stop) -> Result<Summary, SendError> {
    let failed = |source| SendError::Target { target: options.target.clone(), source };
    let link = Link::open(&options.target, options.tls.as_ref()).map_err(failed)?;
    let mut sender = Sender::over(link, options.framing, options.rate);
    let mut left = options.count;
    let mut pushed = 0;
    while left != Some(0) {
        let before = pushed;
        for path in inputs {
            let flow = read(path, &mut |bytes| {
                if left == Some(0) || stop.is_set() {
                    return Ok(ControlFlow::Break(()));
                }
                left = left.map(|left| left - 1);
                pushed += 1;
                sender.push(bytes).map_err(failed)?;
                Ok(ControlFlow::Continue(()))
            })?;
            if flow.is_break() {
                return sender.finish().map_err(failed);
            }
        }
        if pushed == before {
            return Err(SendError::Nothing);
        }
        if left.is_none_or(|left| left == 0) {
            break;
        }
        if inputs.iter().any(|path| path == Path::new("-")) {
            return Err(SendError::Repeat(pushed));
        }
    }
    sender.finish().map_err(failed)
}

type Each<'a> = &'a mut dyn FnMut(&[u8]) -> Result<ControlFlow<()>, SendError>;

/// Hands every message of a file to `each`, until that breaks.
fn read(path: &Path, each: Each<'_>) -> Result<ControlFlow<()>, SendError> {
    let source = file::open(path)?;
    if source.kind == Kind::Log {
        let mut blocks = source.blocks(MAX_MESSAGE);
        while let Some(block) = blocks.read()? {
            for message in block.messages() {
                if each(message.bytes)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            blocks.recycle(block);
        }
        return Ok(ControlFlow::Continue(()));
    }
    let mut capture = Capture::new(source)?;
    let mut result = Ok(ControlFlow::Continue(()));
    while matches!(result, Ok(ControlFlow::Continue(()))) {
        let more = capture.read(&mut |datagram| {
            if matches!(result, Ok(ControlFlow::Continue(()))) {
                result = each(datagram.bytes);
            }
        })?;
        if !more {
            break;
        }
    }
    result
}

/// Sends messages to one target at one rate.
#[derive(Debug)]
pub struct Sender {
    link: Link,
    framing: Framing,
    rate: u64,
    /// Messages that go out together.
    batch: usize,
    /// The messages of the batch, one behind the other, and where each ends.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    started: Option<Instant>,
    /// When the next batch is due.
    due: Instant,
    summary: Summary,
}

enum Link {
    Udp(udp::Sender),
    Tcp(TcpStream),
    // A connection of TLS is large.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    UnixDatagram(UnixDatagram),
    UnixStream(UnixStream),
}

impl fmt::Debug for Link {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Link::Udp(_) => "Udp",
            Link::Tcp(_) => "Tcp",
            Link::Tls(_) => "Tls",
            Link::UnixDatagram(_) => "UnixDatagram",
            Link::UnixStream(_) => "UnixStream",
        })
    }
}

impl Link {
    fn open(target: &Target, tls: Option<&ClientFiles>) -> io::Result<Link> {
        match (target, tls) {
            (Target::Net(address), _) => Link::net(address),
            (Target::Tls(address), Some(files)) => Link::tls(address, files),
            (Target::Tls(_), None) => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "whom to trust is not told (--ca-file)"))
            }
            (Target::Unix(path), _) => Link::unix(path),
        }
    }

    fn net(address: &Address) -> io::Result<Link> {
        let to = address.resolve()?;
        match address.transport {
            Transport::Udp => udp::Sender::connect(to).map(Link::Udp),
            Transport::Tcp => {
                let stream = TcpStream::connect(to)?;
                // A batch is a write; the kernel need not wait for more.
                stream.set_nodelay(true)?;
                Ok(Link::Tcp(stream))
            }
        }
    }

    fn tls(address: &Address, files: &ClientFiles) -> io::Result<Link> {
        let config = files.load().map_err(io::Error::other)?;
        let name = files.server_name.as_deref().unwrap_or(&address.host).to_owned();
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?}: {error}"));
        let server = ServerName::try_from(name.clone()).map_err(invalid)?;
        let mut stream = TcpStream::connect(address.resolve()?)?;
        stream.set_nodelay(true)?;
        let mut connection = ClientConnection::new(config, server).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(Link::Tls(Box::new(StreamOwned::new(connection, stream))))
    }

    /// Which of the two a socket is only connecting tells.
    fn unix(path: &Path) -> io::Result<Link> {
        let datagrams = UnixDatagram::unbound()?;
        match datagrams.connect(path) {
            Ok(()) => Ok(Link::UnixDatagram(datagrams)),
            // EPROTOTYPE has no kind of its own.
            Err(error) if error.raw_os_error() == Some(nix::libc::EPROTOTYPE) => {
                UnixStream::connect(path).map(Link::UnixStream)
            }
            Err(error) => Err(error),
        }
    }

    /// Ends the connection; for TLS, waits for the peer's end, since a refusal of the certificate may come
    /// after the handshake (TLS 1.3).
    fn close(&mut self) -> io::Result<()> {
        match self {
            Link::Udp(_) | Link::UnixDatagram(_) => Ok(()),
            Link::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Link::UnixStream(stream) => stream.shutdown(Shutdown::Write),
            Link::Tls(stream) => {
                stream.conn.send_close_notify();
                stream.flush().map_err(|error| refusal(stream, error))?;
                stream.sock.shutdown(Shutdown::Write)?;
                stream.sock.set_read_timeout(Some(FAREWELL))?;
                let mut scrap = [0; 1024];
                loop {
                    match stream.read(&mut scrap) {
                        Ok(0) => return Ok(()),
                        Ok(_) => (),
                        // Neither is the peer's refusal: it is slow, or closes without a word.
                        Err(error)
                            if matches!(
                                error.kind(),
                                io::ErrorKind::WouldBlock
                                    | io::ErrorKind::TimedOut
                                    | io::ErrorKind::UnexpectedEof
                            ) =>
                        {
                            return Ok(());
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        }
    }
}

/// How long the peer's end of TLS is waited for.
const FAREWELL: Duration = Duration::from_secs(10);

/// Why a peer no longer takes anything: its alert says it, if it came before the connection ended.
fn refusal(stream: &mut StreamOwned<ClientConnection, TcpStream>, error: io::Error) -> io::Error {
    let timed = stream.sock.set_read_timeout(Some(Duration::from_secs(1)));
    match timed.and_then(|()| stream.conn.read_tls(&mut stream.sock)) {
        Ok(_) => match stream.conn.process_new_packets() {
            Err(alert) => io::Error::other(alert),
            Ok(_) => error,
        },
        Err(_) => error,
    }
}

/// Batches a second at least, where the rate allows.
const BATCHES: u64 = 2000;

/// A sender that is later than this does not catch up, since that would be a burst.
const LATE: Duration = Duration::from_millis(50);

/// Bytes of a batch after which it goes out, however few messages it holds.
const BATCH_BYTES: usize = 256 * 1024;

impl Sender {
    /// Connects to the target; `rate` is in messages a second, 0 for as fast as possible.
    pub fn connect(target: &Address, framing: Framing, rate: u64) -> io::Result<Sender> {
        Link::net(target).map(|link| Sender::over(link, framing, rate))
    }

    fn over(link: Link, framing: Framing, rate: u64) -> Sender {
        let batch = match rate {
            0 => udp::MAX_BATCH,
            _ => usize::try_from(rate / BATCHES).unwrap_or(usize::MAX).clamp(1, udp::MAX_BATCH),
        };
        Sender {
            link,
            framing,
            rate,
            batch,
            bytes: Vec::new(),
            ends: Vec::new(),
            started: None,
            due: Instant::now(),
            summary: Summary::default(),
        }
    }

    /// Adds a message; sends the batch when it is full. An error means that the connection is lost.
    pub fn push(&mut self, message: &[u8]) -> io::Result<()> {
        self.bytes.extend_from_slice(message);
        self.ends.push(self.bytes.len());
        if self.ends.len() < self.batch && self.bytes.len() < BATCH_BYTES {
            return Ok(());
        }
        self.flush()
    }

    /// Sends what waits, when it is due.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.ends.is_empty() {
            return Ok(());
        }
        self.pace();
        let result = match &mut self.link {
            Link::Udp(sender) => {
                send_datagrams(sender, &self.bytes, &self.ends, &mut self.summary);
                Ok(())
            }
            Link::UnixDatagram(socket) => send_local(socket, &self.bytes, &self.ends, &mut self.summary),
            Link::Tcp(stream) => {
                send_stream(stream, self.framing, &self.bytes, &self.ends, &mut self.summary)
            }
            Link::UnixStream(stream) => {
                send_stream(stream, self.framing, &self.bytes, &self.ends, &mut self.summary)
            }
            Link::Tls(stream) => {
                send_stream(stream, self.framing, &self.bytes, &self.ends, &mut self.summary)
                    .and_then(|()| stream.flush())
                    .map_err(|error| refusal(stream, error))
            }
        };
        self.bytes.clear();
        self.ends.clear();
        result
    }

    /// Sends what waits and ends the connection.
    pub fn finish(mut self) -> io::Result<Summary> {
        self.flush()?;
        self.link.close()?;
        self.summary.elapsed = self.started.map(|started| started.elapsed()).unwrap_or_default();
        Ok(self.summary)
    }

    /// What was sent so far.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Waits until the batch is due.
    fn pace(&mut self) {
        let now = Instant::now();
        if self.started.is_none() {
            self.started = Some(now);
            self.due = now;
        }
        if self.rate == 0 {
            return;
        }
        let wait = self.due.saturating_duration_since(now);
        if !wait.is_zero() {
            thread::sleep(wait);
        } else if now - self.due > LATE {
            self.due = now;
        }
        self.due += Duration::from_secs(1).mul_f64(self.ends.len() as f64 / self.rate as f64);
    }
}

/// Cuts the batch into its messages again.
fn messages<'a>(bytes: &'a [u8], ends: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut start = 0;
    ends.iter().map(move |end| bytes.get(std::mem::replace(&mut start, *end)..*end).unwrap_or_default())
}

/// Tries for one datagram when the kernel has no memory for it, a millisecond apart.
const TRIES: u32 = 1000;

fn send_datagrams(sender: &mut udp::Sender, bytes: &[u8], ends: &[usize], summary: &mut Summary) {
    let mut batch: [&[u8]; udp::MAX_BATCH] = [&[]; udp::MAX_BATCH];
    let mut count = 0;
    for (place, message) in batch.iter_mut().zip(messages(bytes, ends)) {
        *place = message;
        count += 1;
    }
    let mut batch = batch.get(..count).unwrap_or_default();
    let mut tries = 0;
    while let Some((first, rest)) = batch.split_first() {
        match sender.send(batch) {
            Ok(sent) if sent > 0 => {
                let (sent, unsent) = batch.split_at(sent.min(batch.len()));
                summary.sent += sent.len() as u64;
                summary.bytes += sent.iter().map(|message| message.len() as u64).sum::<u64>();
                batch = unsent;
                tries = 0;
                continue;
            }
            Ok(_) => (),
            Err(error) => {
                tries += 1;
                let retry = match error.kind() {
                    io::ErrorKind::Interrupted => true,
                    // The answer to an earlier datagram; this one was not tried.
                    io::ErrorKind::ConnectionRefused => tries < 2,
                    // ENOBUFS has no kind of its own.
                    _ if error.raw_os_error() == Some(nix::libc::ENOBUFS) => {
                        thread::sleep(Duration::from_millis(1));
                        tries < TRIES
                    }
                    _ => false,
                };
                if retry {
                    continue;
                }
                summary.first_error.get_or_insert_with(|| format!("{error} ({} bytes)", first.len()));
            }
        }
        summary.errors += 1;
        batch = rest;
        tries = 0;
    }
}

/// Sends datagrams to a Unix socket, which takes no more than its receiver has room for; an error means that
/// the receiver is gone.
fn send_local(socket: &UnixDatagram, bytes: &[u8], ends: &[usize], summary: &mut Summary) -> io::Result<()> {
    for message in messages(bytes, ends) {
        let mut tries = 0;
        let result = loop {
            match socket.send(message) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) && tries < TRIES => {
                    tries += 1;
                    thread::sleep(Duration::from_millis(1));
                }
                result => break result,
            }
        };
        match result {
            Ok(_) => {
                summary.sent += 1;
                summary.bytes += message.len() as u64;
            }
            Err(error) if error.raw_os_error() == Some(nix::libc::EMSGSIZE) => {
                summary.errors += 1;
                summary.first_error.get_or_insert_with(|| format!("{error} ({} bytes)", message.len()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn send_stream(
    stream: &mut impl Write,
    framing: Framing,
    bytes: &[u8],
    ends: &[usize],
    summary: &mut Summary,
) -> io::Result<()> {
    // 8 digits and a space, or LF, for each.
    let mut framed = Vec::with_capacity(bytes.len() + 10 * ends.len());
    for message in messages(bytes, ends) {
        if framing == Framing::OctetCounting && message.first() == Some(&b'<') {
            write!(framed, "{} ", message.len())?;
            framed.extend_from_slice(message);
        } else {
            framed.extend_from_slice(message);
            framed.push(b'\n');
            if journal::begins(message).is_some() {
                framed.push(b'\n');
            }
        }
    }
    stream.write_all(&framed)?;
    summary.sent += ends.len() as u64;
    summary.bytes += bytes.len() as u64;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Message;
    use std::io::Read;
    use std::net::{TcpListener, UdpSocket};

    fn log(lines: &str) -> (tempfile::TempDir, Vec<PathBuf>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.log");
        std::fs::write(&path, lines).unwrap();
        (directory, vec![path])
    }

    fn options(target: &str, rate: u64, count: Option<u64>) -> Options {
        Options { target: target.parse().unwrap(), tls: None, rate, count, framing: Framing::OctetCounting }
    }

    #[test]
    fn datagrams_are_repeated_until_the_count() {
        let socket = udp::bind("127.0.0.1:0".parse().unwrap(), 1, 4 << 20).unwrap().remove(0);
        let target = format!("udp://{}", socket.address().unwrap());
        let (_directory, inputs) = log("<1>a\n<1>bb\n<1>ccc\n");
        for rate in [0, 20_000, 100] {
            let summary = send(&inputs, &options(&target, rate, Some(100)), &Stop::new()).unwrap();
            assert_eq!((summary.sent, summary.bytes, summary.errors), (100, 33 * 15 + 4, 0));
            let mut receiver = udp::Receiver::new(socket.clone(), 64, 2048);
            let mut found = Vec::new();
            let mut each = |messages: &[Message<'_>]| {
                found.extend(messages.iter().map(|message| message.bytes.to_vec()));
            };
            while receiver.drain(&mut each).unwrap() > 0 {}
            let expected = [&b"<1>a"[..], b"<1>bb", b"<1>ccc"].into_iter().cycle().take(100);
            assert!(found.iter().eq(expected), "{found:?}");
        }
    }

    #[test]
    fn a_rate_is_kept() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let target = format!("udp://{}", socket.local_addr().unwrap());
        let (_directory, inputs) = log("<1>a\n");
        let summary = send(&inputs, &options(&target, 10_000, Some(1001)), &Stop::new()).unwrap();
        // 5 messages a batch, each batch 0.5 ms after the last: the last is due after 100 ms.
        assert!(summary.elapsed >= Duration::from_millis(99), "{:?}", summary.elapsed);
    }

    #[test]
    fn streams_are_framed() {
        for (framing, expected) in
            [(Framing::OctetCounting, "4 <1>aplain\n5 <1>bb"), (Framing::Lf, "<1>a\nplain\n<1>bb\n")]
        {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let target = format!("tcp://{}", listener.local_addr().unwrap());
            let (_directory, inputs) = log("<1>a\nplain\n<1>bb\n");
            let options = Options { framing, ..options(&target, 0, None) };
            let summary = send(&inputs, &options, &Stop::new()).unwrap();
            assert_eq!((summary.sent, summary.bytes), (3, 14));
            let mut text = String::new();
            listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
            assert_eq!(text, expected);
        }
    }

    #[test]
    fn unix_sockets_of_both_kinds_are_sent_to() {
        let folder = tempfile::tempdir().unwrap();
        let (_directory, inputs) = log("<1>a\n__CURSOR=s\nA=1\n\n<1>bb\n");
        let path = folder.path().join("stream");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let options = |path: &Path| Options {
            framing: Framing::Lf,
            ..options(&format!("unix://{}", path.display()), 0, None)
        };
        assert_eq!(send(&inputs, &options(&path), &Stop::new()).unwrap().sent, 3);
        let mut text = String::new();
        listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
        assert_eq!(text, "<1>a\n__CURSOR=s\nA=1\n\n<1>bb\n");

        let path = folder.path().join("datagram");
        let socket = UnixDatagram::bind(&path).unwrap();
        assert_eq!(send(&inputs, &options(&path), &Stop::new()).unwrap().sent, 3);
        let mut buffer = [0; 64];
        for expected in ["<1>a", "__CURSOR=s\nA=1", "<1>bb"] {
            let length = socket.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], expected.as_bytes());
        }
        drop(socket);
        let error = send(&inputs, &options(&path), &Stop::new()).unwrap_err();
        assert!(error.to_string().contains("datagram: Connection refused"), "{error}");
    }

    #[test]
    fn datagrams_that_cannot_be_sent_are_counted_and_the_others_sent() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let target: Address = format!("udp://{}", socket.local_addr().unwrap()).parse().unwrap();
        let mut sender = Sender::connect(&target, Framing::Lf, 0).unwrap();
        for message in [&b"<1>a"[..], &[b'x'; 65_530], b"<1>b"] {
            sender.push(message).unwrap();
        }
        let summary = sender.finish().unwrap();
        assert_eq!((summary.sent, summary.errors), (2, 1));
        assert!(summary.first_error.unwrap().starts_with("Message too long"));
    }

    #[test]
    fn errors_say_what_to_mend() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = format!("tcp://{}", listener.local_addr().unwrap());
        let (_directory, inputs) = log("\n\n");
        let error = send(&inputs, &options(&target, 0, Some(5)), &Stop::new()).unwrap_err();
        assert_eq!(error.to_string(), "nothing to send: the inputs hold no message");
        let error = send(&inputs, &options("tls://[::1]:6514", 0, None), &Stop::new()).unwrap_err();
        assert_eq!(error.to_string(), "tls://[::1]:6514: whom to trust is not told (--ca-file)");
        assert_eq!(
            "unix://".parse::<Target>().unwrap_err().to_string(),
            "no path, expected one such as unix:///run/roje/log"
        );
        drop(listener);
        let error = send(&inputs, &options(&target, 0, None), &Stop::new()).unwrap_err();
        assert!(error.to_string().starts_with(&format!("{target}: Connection refused")), "{error}");
    }
}
