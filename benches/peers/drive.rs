//! Sends a file at a rate and measures the receiver: its CPU time, its memory, what it lost.
//!
//! The sender waits for the moment of each datagram in a loop, so it needs a core of its own.

use clap::{Args, ValueEnum};
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, sendmmsg, sendmsg};
use serde_json::json;
use std::fs;
use std::io::{IoSlice, Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    target: Target,
    /// Messages or datagrams a second; 0 is as fast as possible.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Messages or datagrams in all; the input is repeated until then.
    #[arg(long)]
    count: u64,
    /// Connections, for TCP.
    #[arg(long, default_value_t = 1)]
    connections: usize,
}

#[derive(Args)]
pub struct Highest {
    #[command(flatten)]
    target: Target,
    /// Seconds of one trial.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// The rate of the first trial; it is doubled until something is lost.
    #[arg(long, default_value_t = 50_000)]
    from: u64,
    /// Trials between the last good rate and the first bad one.
    #[arg(long, default_value_t = 4)]
    halvings: u32,
}

#[derive(Args)]
pub struct Latency {
    #[command(flatten)]
    target: Target,
    /// Messages a second, the probes beside them.
    #[arg(long)]
    rate: u64,
    /// How long.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Probes a second.
    #[arg(long, default_value_t = 100)]
    probes: u64,
    /// A listed name.
    #[arg(long)]
    name: String,
    /// The file that alerts are written to.
    #[arg(long)]
    alerts: PathBuf,
}

#[derive(Args)]
struct Target {
    /// `udp://ADDRESS` or `tcp://ADDRESS`.
    #[arg(long)]
    to: String,
    /// Lines, or datagrams with their length before them (`.bin`).
    #[arg(long)]
    input: PathBuf,
    /// How datagrams follow each other.
    #[arg(long, value_enum, default_value = "spaced")]
    pattern: Pattern,
    /// The receiver, to be measured.
    #[arg(long)]
    pid: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Pattern {
    /// One by one, evenly.
    Spaced,
    /// 64 at once.
    Bursts,
    /// Eight of one length in one call (UDP_SEGMENT): the fastest that one sender can be.
    Gso,
}

pub fn run(options: &Options) -> anyhow::Result<()> {
    let load = Load::read(&options.target.input)?;
    let receiver = Receiver::of(&options.target)?;
    let before = receiver.usage();
    let start = Instant::now();
    let sent = match transport(&options.target.to)? {
        ("udp", to) => {
            let mut sender = Sender::connect(to, &load, options.target.pattern)?;
            sender.send(options.rate, options.count)?
        }
        (_, to) => stream(to, &load, options)?,
    };
    let sending = start.elapsed();
    let end = receiver.settle();
    let after = receiver.usage();
    let cpu = after.cpu - before.cpu;
    let records = options.target.input.extension().is_some_and(|extension| extension == "bin");
    let records = if records { crate::corpus::RECORDS } else { 1 };
    let lost = after.dropped - before.dropped;
    println!(
        "{}",
        json!({
            "sent": sent,
            "seconds": sending.as_secs_f64(),
            "rate": sent as f64 / sending.as_secs_f64(),
            "busy": (end - start).as_secs_f64(),
            "cpu": cpu,
            "cpu_per_million": cpu * 1e6 / sent.saturating_sub(lost).max(1) as f64,
            "aside_per_million": (after.aside - before.aside) * 1e6 / sent.saturating_sub(lost).max(1) as f64,
            "aside_per_million_records":
                (after.aside - before.aside) * 1e6 / (sent.saturating_sub(lost).max(1) * records) as f64,
            "cpu_per_million_records": cpu * 1e6 / (sent.saturating_sub(lost).max(1) * records) as f64,
            "lost": lost,
            "rss_mib": after.rss,
        })
    );
    Ok(())
}

/// Doubles the rate until datagrams are lost, then halves the interval.
pub fn highest(options: &Highest) -> anyhow::Result<()> {
    let load = Load::read(&options.target.input)?;
    let receiver = Receiver::of(&options.target)?;
    let (_, to) = transport(&options.target.to)?;
    let mut sender = Sender::connect(to, &load, options.target.pattern)?;
    let mut trial = |rate: u64| -> anyhow::Result<(f64, u64)> {
        let before = receiver.usage();
        let start = Instant::now();
        let sent = sender.send(rate, (rate as f64 * options.seconds) as u64)?;
        let reached = sent as f64 / start.elapsed().as_secs_f64();
        receiver.settle();
        let lost = receiver.usage().dropped - before.dropped;
        println!("{}", json!({"target": rate, "rate": reached, "sent": sent, "lost": lost}));
        Ok((reached, lost))
    };
    let (mut good, mut bad) = (0, options.from);
    let mut highest = 0.0f64;
    loop {
        let (reached, held) = holds(&mut trial, bad)?;
        if !held {
            break;
        }
        highest = highest.max(reached);
        // The sender itself can do no more.
        if reached < 0.9 * bad as f64 {
            println!("{}", json!({"highest": highest, "limit": "sender"}));
            return Ok(());
        }
        (good, bad) = (bad, bad * 2);
    }
    // What lies beyond, for the plot.
    for more in [2, 4] {
        trial(bad * more)?;
    }
    for _ in 0..options.halvings {
        let middle = good.midpoint(bad);
        let (reached, held) = holds(&mut trial, middle)?;
        if held {
            (good, highest) = (middle, highest.max(reached));
        } else {
            bad = middle;
        }
    }
    println!("{}", json!({"highest": highest, "limit": "receiver"}));
    Ok(())
}

/// Whether nothing is lost at a rate, and the rate that was reached. A single disturbance is no limit:
/// only what loses twice is lost.
fn holds(
    trial: &mut impl FnMut(u64) -> anyhow::Result<(f64, u64)>,
    rate: u64,
) -> anyhow::Result<(f64, bool)> {
    let (reached, lost) = trial(rate)?;
    if lost == 0 {
        return Ok((reached, true));
    }
    let (reached, lost) = trial(rate)?;
    Ok((reached, lost == 0))
}

/// How often the file of alerts is looked at.
const LOOK: Duration = Duration::from_micros(100);

/// Sends a listed value with the time of sending in it now and then, reads the alerts as they are
/// written, and prints how long they took. One thread does both, so that it is never kept from its core.
pub fn latency(options: &Latency) -> anyhow::Result<()> {
    let load = Load::read(&options.target.input)?;
    let (_, to) = transport(&options.target.to)?;
    let mut sender = Sender::connect(to, &load, options.target.pattern)?;
    let probes = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    probes.connect(to)?;
    let mut alerts = Alerts::open(&options.alerts)?;
    let start = Instant::now();
    let nanoseconds = |start: Instant| start.elapsed().as_nanos() as u64;
    let end = (options.seconds * 1e9) as u64;
    let (mut sent, mut probed, mut looked) = (0, 0, 0);
    let mut took = Vec::new();
    // Alerts of the last probes come after the end.
    while nanoseconds(start) < end + 1_000_000_000 {
        let now = nanoseconds(start);
        if now < end && sent * 1_000_000_000 / options.rate.max(1) <= now {
            sent += sender.step()?;
        }
        if now < end && probed * 1_000_000_000 / options.probes.max(1) <= now {
            let time = nanoseconds(start);
            let (name, probed_from) = (&options.name, probed % 250);
            let line = format!(
                "<30>Oct 11 08:00:00 h{probed_from} named[1]: client 10.99.0.{probed_from}#53: query: {name} IN A probe={time}"
            );
            probes.send(line.as_bytes())?;
            probed += 1;
        }
        if now - looked > LOOK.as_nanos() as u64 {
            looked = now;
            alerts.read(&mut |sent| took.push(nanoseconds(start).saturating_sub(sent) as f64 / 1e6))?;
        }
    }
    took.sort_by(f64::total_cmp);
    let part = |share: f64| took.get((took.len() as f64 * share) as usize).copied();
    println!(
        "{}",
        json!({
            "rate": sent as f64 / options.seconds,
            "probes": probed,
            "alerts": took.len(),
            "p50_ms": part(0.5),
            "p99_ms": part(0.99),
            "max_ms": took.last(),
        })
    );
    Ok(())
}

/// A file of alerts that grows.
struct Alerts {
    file: fs::File,
    rest: Vec<u8>,
}

impl Alerts {
    fn open(path: &Path) -> anyhow::Result<Alerts> {
        let mut file = fs::File::open(path)?;
        file.seek(SeekFrom::End(0))?;
        Ok(Alerts { file, rest: Vec::new() })
    }

    /// Hands the time of sending of each probe to `each`, once its alert is there whole.
    fn read(&mut self, each: &mut impl FnMut(u64)) -> anyhow::Result<()> {
        if self.file.read_to_end(&mut self.rest)? == 0 {
            return Ok(());
        }
        let whole = memchr::memrchr(b'\n', &self.rest).map_or(0, |end| end + 1);
        for line in self.rest[..whole].split(|byte| *byte == b'\n') {
            if let Some(at) = memchr::memmem::find(line, b"probe=") {
                let digits = line[at + 6..].iter().take_while(|byte| byte.is_ascii_digit());
                each(digits.fold(0, |value, digit| value * 10 + u64::from(digit - b'0')));
            }
        }
        self.rest.drain(..whole);
        Ok(())
    }
}

fn transport(to: &str) -> anyhow::Result<(&str, SocketAddr)> {
    let (scheme, address) = to.split_once("://").ok_or_else(|| anyhow::anyhow!("{to}: no scheme"))?;
    anyhow::ensure!(matches!(scheme, "udp" | "tcp"), "{to}: neither udp nor tcp");
    Ok((scheme, address.parse()?))
}

/// The messages of a file, in memory.
struct Load {
    bytes: Vec<u8>,
    messages: Vec<Range<usize>>,
}

impl Load {
    fn read(path: &Path) -> anyhow::Result<Load> {
        let bytes = fs::read(path)?;
        let mut messages = Vec::new();
        let mut at = 0;
        if path.extension().is_some_and(|extension| extension == "bin") {
            while let Some([high, low]) = bytes.get(at..at + 2) {
                let end = at + 2 + usize::from(u16::from_be_bytes([*high, *low]));
                messages.push(at + 2..end);
                at = end;
            }
        } else {
            for end in memchr::memchr_iter(b'\n', &bytes) {
                messages.push(at..end);
                at = end + 1;
            }
        }
        anyhow::ensure!(!messages.is_empty(), "{}: nothing to send", path.display());
        Ok(Load { bytes, messages })
    }
}

/// Messages that leave with one system call.
struct Group {
    /// Indices into [`Sender::order`].
    messages: Range<usize>,
    /// The bytes of all, one behind the other, for [`Pattern::Gso`].
    joined: Range<usize>,
}

struct Sender<'a> {
    socket: UdpSocket,
    headers: MultiHeaders<()>,
    load: &'a Load,
    pattern: Pattern,
    /// Messages in the order in which they leave.
    order: Vec<Range<usize>>,
    joined: Vec<u8>,
    groups: Vec<Group>,
    next: usize,
}

/// Datagrams of a burst, and of one call of `sendmmsg`.
const BURST: usize = 64;

/// Segments of one UDP_SEGMENT call.
const SEGMENTS: usize = 8;

impl<'a> Sender<'a> {
    fn connect(to: SocketAddr, load: &'a Load, pattern: Pattern) -> anyhow::Result<Sender<'a>> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(to)?;
        let size = match pattern {
            Pattern::Spaced => 1,
            Pattern::Bursts => BURST,
            Pattern::Gso => SEGMENTS,
        };
        let mut order = load.messages.clone();
        let mut groups = Vec::new();
        let mut joined = Vec::new();
        if pattern == Pattern::Gso {
            groups = by_length(load, &mut order, &mut joined);
        } else {
            for start in (0..order.len()).step_by(size) {
                groups.push(Group { messages: start..(start + size).min(order.len()), joined: 0..0 });
            }
        }
        let headers = MultiHeaders::preallocate(BURST, None);
        Ok(Sender { socket, headers, load, pattern, order, joined, groups, next: 0 })
    }

    /// Sends `count` messages or a few more, `rate` a second.
    fn send(&mut self, rate: u64, count: u64) -> anyhow::Result<u64> {
        let start = Instant::now();
        let mut sent = 0;
        while sent < count {
            // None for as fast as possible.
            let due = (sent * 1_000_000_000).checked_div(rate).map(Duration::from_nanos);
            while due.is_some_and(|due| start.elapsed() < due) {
                std::hint::spin_loop();
            }
            sent += self.step()?;
        }
        Ok(sent)
    }

    /// Sends the next group.
    fn step(&mut self) -> anyhow::Result<u64> {
        let group = &self.groups[self.next];
        self.next = (self.next + 1) % self.groups.len();
        let fd = self.socket.as_raw_fd();
        let messages = &self.order[group.messages.clone()];
        let bytes = &self.load.bytes;
        let none = MsgFlags::empty();
        match self.pattern {
            Pattern::Spaced => {
                let message = &messages[0];
                retry(|| nix::sys::socket::send(fd, &bytes[message.clone()], none))?;
            }
            Pattern::Gso => {
                let size = messages[0].len() as u16;
                let control = [ControlMessage::UdpGsoSegments(&size)];
                let control = if messages.len() > 1 { &control[..] } else { &[] };
                let joined = [IoSlice::new(&self.joined[group.joined.clone()])];
                retry(|| sendmsg::<()>(fd, &joined, control, none, None))?;
            }
            Pattern::Bursts => {
                let slices: Vec<[IoSlice<'_>; 1]> =
                    messages.iter().map(|message| [IoSlice::new(&bytes[message.clone()])]).collect();
                let mut done = 0;
                while done < slices.len() {
                    let addresses = [None::<()>; BURST];
                    let headers = &mut self.headers;
                    let rest = &slices[done..];
                    done += retry(|| {
                        sendmmsg(fd, headers, rest, &addresses[..rest.len()], [], none)
                            .map(|sent| sent.count())
                    })?;
                }
            }
        }
        Ok(messages.len() as u64)
    }
}

fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR | Errno::ENOBUFS) => {}
            other => return other,
        }
    }
}

/// Orders messages into groups of one length each, since segments of one call must be equal, and
/// mixes the groups, so that short and long ones alternate as before.
fn by_length(load: &Load, order: &mut [Range<usize>], joined: &mut Vec<u8>) -> Vec<Group> {
    order.sort_by_key(|message| message.len());
    let mut groups: Vec<Group> = Vec::new();
    for (at, message) in order.iter().enumerate() {
        let start = joined.len();
        joined.extend_from_slice(&load.bytes[message.clone()]);
        match groups.last_mut() {
            Some(group)
                if group.messages.len() < SEGMENTS && order[group.messages.start].len() == message.len() =>
            {
                group.messages.end = at + 1;
                group.joined.end = joined.len();
            }
            _ => groups.push(Group { messages: at..at + 1, joined: start..joined.len() }),
        }
    }
    let mut random = crate::corpus::Random::new(5);
    for at in (1..groups.len()).rev() {
        groups.swap(at, (random.next() % (at as u64 + 1)) as usize);
    }
    groups
}

/// Bytes of one write to a connection.
const WRITE: usize = 256 << 10;

/// Sends lines, each with its LF, as fast as the receiver takes them; the connections take turns.
fn stream(to: SocketAddr, load: &Load, options: &Options) -> anyhow::Result<u64> {
    let connect = || TcpStream::connect(to);
    let mut connections = (0..options.connections).map(|_| connect()).collect::<Result<Vec<_>, _>>()?;
    let write = (WRITE / options.connections).max(16 << 10);
    let mut turn = 0;
    let mut sent = 0;
    while sent < options.count {
        let mut first = 0;
        while first < load.messages.len() && sent < options.count {
            let start = load.messages[first].start;
            let mut last = load.messages[first..].partition_point(|message| message.end <= start + write);
            last = last.clamp(1, usize::try_from(options.count - sent)?);
            let end = load.messages[first + last - 1].end + 1;
            connections[turn].write_all(&load.bytes[start..end])?;
            turn = (turn + 1) % connections.len();
            first += last;
            sent += last as u64;
        }
    }
    Ok(sent)
}

/// The process that receives, as the kernel sees it.
struct Receiver {
    pid: Option<u32>,
    /// The UDP port, whose drops are counted.
    port: Option<u16>,
}

struct Usage {
    /// Seconds, of all threads.
    cpu: f64,
    /// Of them, what Roje's threads used that make alerts and write them.
    aside: f64,
    /// Datagrams that the kernel dropped on the port.
    dropped: u64,
    /// Resident memory.
    rss: f64,
}

impl Receiver {
    fn of(target: &Target) -> anyhow::Result<Receiver> {
        let (scheme, address) = transport(&target.to)?;
        Ok(Receiver { pid: target.pid, port: (scheme == "udp").then_some(address.port()) })
    }

    fn usage(&self) -> Usage {
        Usage {
            cpu: self.pid.map(cpu).unwrap_or_default(),
            aside: self.pid.map(aside).unwrap_or_default(),
            dropped: self.port.map(dropped).unwrap_or_default(),
            rss: self.pid.map(|pid| memory(pid, "VmRSS:")).unwrap_or_default(),
        }
    }

    /// Waits until the receiver has nothing left to do; the time when it last had.
    fn settle(&self) -> Instant {
        const STEP: Duration = Duration::from_millis(10);
        /// Quiet for so long is idle.
        const QUIET: Duration = Duration::from_millis(400);
        const LONGEST: Duration = Duration::from_secs(240);
        let start = Instant::now();
        let Some(pid) = self.pid else {
            std::thread::sleep(QUIET);
            return start;
        };
        let mut busy = start;
        let mut last = cpu(pid);
        while busy.elapsed() < QUIET && start.elapsed() < LONGEST {
            std::thread::sleep(STEP);
            let now = cpu(pid);
            // An idle daemon wakes up now and then.
            if now - last > 0.1 * STEP.as_secs_f64() {
                busy = Instant::now();
            }
            last = now;
        }
        busy
    }
}

/// CPU seconds of a process: nanoseconds from the scheduler where it tells them, else ticks.
fn cpu(pid: u32) -> f64 {
    match threads(pid).iter().map(|(_, seconds)| *seconds).collect::<Option<Vec<f64>>>() {
        Some(times) if !times.is_empty() => times.iter().sum(),
        _ => ticks(pid),
    }
}

fn aside(pid: u32) -> f64 {
    let names = ["alerts", "output"];
    let of = |(name, seconds): &(String, Option<f64>)| {
        seconds.filter(|_| names.iter().any(|one| name.starts_with(one)))
    };
    threads(pid).iter().filter_map(of).sum()
}

/// Name and CPU seconds of each thread.
fn threads(pid: u32) -> Vec<(String, Option<f64>)> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads
        .map(|thread| {
            let name = fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
            let text = fs::read_to_string(thread.path().join("schedstat")).ok();
            let nanoseconds = text.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
            (name, nanoseconds.map(|value| value / 1e9))
        })
        .collect()
}

fn ticks(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Fields count from the state, behind the name in parentheses: utime and stime are 12th and 13th.
    let rest = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    let ticks = rest.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / 100.0
}

/// MiB, from a line of `/proc/PID/status`.
pub fn memory(pid: u32, name: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let kib: f64 = line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or_default();
    kib / 1024.0
}

/// Drops of all sockets on a port: the last column of `/proc/net/udp`.
fn dropped(port: u16) -> u64 {
    let suffix = format!(":{port:04X}");
    ["/proc/net/udp", "/proc/net/udp6"]
        .iter()
        .flat_map(|path| {
            let text = fs::read_to_string(path).unwrap_or_default();
            text.lines()
                .filter_map(|line| {
                    let fields: Vec<&str> = line.split_whitespace().collect();
                    let local = fields.get(1)?;
                    local.ends_with(&suffix).then(|| fields.last()?.parse::<u64>().ok()).flatten()
                })
                .collect::<Vec<u64>>()
        })
        .sum()
}
