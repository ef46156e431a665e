//! Writes the input of every measurement: log lines, flow records and indicator lists.
//!
//! Lines imitate what firewalls, resolvers, proxies, hosts and web servers log, 250 bytes on average.
//! One line in a thousand holds exactly one listed value; another one in a thousand holds a near miss,
//! a listed value inside a longer one. Each line ends with its number, so that whatever a program
//! writes about a line names the line. `planted.tsv` says which lines must be found.
//!
//! Ordinary values and listed ones are made apart by construction: names by the number of letters of
//! their registered label, addresses by their third octet, hashes by their seed.

use clap::Args;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// One line in so many holds a listed value.
pub const PLANTED_EVERY: u64 = 1000;

/// Indicators of the smallest list; every value that is planted is among them.
const SMALLEST: u64 = 1000;

/// Values of one kind that are planted at most.
const PLANTED_VALUES: u64 = 10;

#[derive(Args)]
pub struct Options {
    /// Where to write.
    #[arg(long)]
    to: PathBuf,
    /// Log lines.
    #[arg(long, default_value_t = 1_000_000)]
    lines: u64,
    /// Flow records.
    #[arg(long, default_value_t = 1_200_000)]
    records: u64,
    /// Sizes of indicator lists.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000,1000000")]
    lists: Vec<u64>,
}

pub fn run(options: &Options) -> anyhow::Result<()> {
    let to = &options.to;
    fs::create_dir_all(to)?;
    write_lines(to, options.lines)?;
    write_flows(to, options.records)?;
    for size in &options.lists {
        write_lists(&to.join(format!("lists-{size}")), *size)?;
    }
    write_text(to)?;
    write_flow_lists(to)?;
    Ok(())
}

/// A small generator (splitmix64), so that every machine makes the same bytes.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What is planted, in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    Ip4,
    Domain,
    Url,
    Sha256,
    Prefix,
    Subdomain,
    Md5,
    Email,
    Exact,
    Sha1,
    Ip6,
    Text,
}

impl Planted {
    const ALL: [Planted; 12] = [
        Planted::Ip4,
        Planted::Domain,
        Planted::Url,
        Planted::Sha256,
        Planted::Prefix,
        Planted::Subdomain,
        Planted::Md5,
        Planted::Email,
        Planted::Exact,
        Planted::Sha1,
        Planted::Ip6,
        Planted::Text,
    ];

    fn name(self) -> &'static str {
        match self {
            Planted::Ip4 => "ipv4",
            Planted::Ip6 => "ipv6",
            Planted::Prefix => "prefix",
            Planted::Domain => "domain",
            Planted::Subdomain => "subdomain",
            Planted::Exact => "domain, exact",
            Planted::Url => "url",
            Planted::Email => "email",
            Planted::Md5 => "md5",
            Planted::Sha1 => "sha1",
            Planted::Sha256 => "sha256",
            Planted::Text => "text",
        }
    }
}

// Listed values, by number: the same number is the same value in every list.

/// Consonant and vowel; four such pairs and a letter make a name that no two numbers share.
fn syllables(number: u64, count: u32) -> String {
    const CONSONANTS: &[u8; 16] = b"bcdfghklmnprstvz";
    const VOWELS: &[u8; 4] = b"aeio";
    // An odd factor permutes the numbers below 2^(6 * count).
    let mut rest = number.wrapping_mul(0x5851_f42d) & ((1 << (6 * count)) - 1);
    let mut name = String::new();
    for _ in 0..count {
        name.push(char::from(CONSONANTS[(rest & 15) as usize]));
        name.push(char::from(VOWELS[(rest >> 4 & 3) as usize]));
        rest >>= 6;
    }
    name
}

/// A listed registered name: an odd number of letters.
fn bad_name(number: u64) -> String {
    const TOP: [&str; 8] = ["com", "net", "org", "info", "xyz", "top", "online", "site"];
    let top = TOP[(mix(number) % 8) as usize];
    format!("{}{}.{top}", syllables(number, 4), ["x", "q", "w", "y"][(number % 4) as usize])
}

// Numbers of names: one range for each use, so that no host of a URL is a listed domain.
const DOMAINS: u64 = 0;
const EXACT: u64 = 4_000_000;
const URLS: u64 = 8_000_000;
const EMAILS: u64 = 12_000_000;

/// A listed address: its third octet is 1 modulo 4.
fn bad_ip4(number: u64) -> Ipv4Addr {
    let rest = scatter(number, 64 * 240 * 64 * 254);
    let (a, rest) = (rest % 64, rest / 64);
    let (b, rest) = (rest % 240, rest / 240);
    Ipv4Addr::new(public(a as u8), b as u8, (rest % 64 * 4 + 1) as u8, (rest / 64 + 1) as u8)
}

/// Permutes the numbers below `limit`, which must not be a multiple of the prime.
fn scatter(number: u64, limit: u64) -> u64 {
    number * 2_654_435_761 % limit
}

/// A first octet of public address space.
fn public(octet: u8) -> u8 {
    const PUBLIC: [u8; 64] = [
        1, 2, 5, 8, 13, 14, 17, 23, 24, 31, 34, 35, 37, 41, 45, 46, 47, 49, 50, 51, 52, 54, 58, 61, 62, 64,
        66, 69, 72, 74, 76, 77, 78, 79, 80, 81, 82, 84, 85, 87, 88, 89, 91, 92, 93, 94, 95, 101, 103, 104,
        109, 113, 121, 128, 134, 138, 139, 142, 146, 151, 176, 185, 188, 212,
    ];
    PUBLIC[usize::from(octet & 63)]
}

fn bad_ip6(number: u64) -> Ipv6Addr {
    let h = mix(number ^ 0x6b);
    Ipv6Addr::new(
        0x2a03,
        (number >> 8) as u16 | 1,
        (h >> 48) as u16,
        (number & 0xff) as u16,
        0,
        0,
        0,
        (h & 0xfff) as u16 | 1,
    )
}

/// A listed network: most are a /24 whose third octet is 3 modulo 4; one in eight is a /20 where the
/// second octet is 240 or more and no other value is.
fn bad_prefix(number: u64) -> (Ipv4Addr, u8) {
    if number % 8 == 7 {
        let rest = scatter(number / 8, 64 * 16 * 16);
        let (a, rest) = (rest % 64, rest / 64);
        return (Ipv4Addr::new(public(a as u8), (240 + rest % 16) as u8, (rest / 16 * 16) as u8, 0), 20);
    }
    let rest = scatter(number, 64 * 240 * 64);
    let (a, rest) = (rest % 64, rest / 64);
    (Ipv4Addr::new(public(a as u8), (rest % 240) as u8, (rest / 240 * 4 + 3) as u8, 0), 24)
}

fn hex(seed: u64, number: u64, digits: usize) -> String {
    let mut random = Random::new(seed.wrapping_mul(0x1000_0000_01b3) ^ number);
    let mut text = String::new();
    while text.len() < digits {
        let _ = write!(text, "{:016x}", random.next());
    }
    text.truncate(digits);
    text
}

fn bad_url(number: u64) -> String {
    let scheme = if number.is_multiple_of(3) { "https" } else { "http" };
    let name = bad_name(URLS + number);
    match number % 4 {
        0 => format!("{scheme}://{name}/wp-content/{}/login.php", hex(8, number, 6)),
        1 => format!("{scheme}://cdn.{name}/d/{}.bin", hex(8, number, 12)),
        2 => format!("{scheme}://{name}/gate.php?id={}", hex(8, number, 8)),
        _ => format!("{scheme}://www.{name}/Update/{}/Setup.exe", hex(8, number, 4)),
    }
}

fn bad_email(number: u64) -> String {
    format!("{}.{}@{}", syllables(number * 7 + 3, 3), number % 97, bad_name(EMAILS + number))
}

/// Text indicators: names of tools and files, two words each.
fn bad_text(number: u64) -> String {
    const SUFFIX: [&str; 5] = [".exe", ".ps1", ".aspx", ".sys", ".hta"];
    format!("{}_{}{}", syllables(number + 77, 4), syllables(number * 3 + 5, 2), SUFFIX[(number % 5) as usize])
}

/// Seeds of listed hashes; ordinary ones have others.
const MD5: u64 = 101;
const SHA1: u64 = 102;
const SHA256: u64 = 103;

/// Text indicators of every list.
const TEXTS: u64 = 20;

/// How a list of `size` values is made up, in hundredths.
fn shares(size: u64) -> [(&'static str, u64); 10] {
    let part = |share: u64| size * share / 100;
    let rest =
        size - part(24) - part(4) - part(1) - part(27) - part(3) - part(10) - part(1) - part(8) - part(6);
    [
        ("ip4", part(24)),
        ("ip6", part(4)),
        ("prefix", part(1)),
        ("domain", part(27)),
        ("exact", part(3)),
        ("url", part(10)),
        ("email", part(1)),
        ("md5", part(8)),
        ("sha1", part(6)),
        ("sha256", rest),
    ]
}

fn value(kind: &str, number: u64) -> String {
    match kind {
        "ip4" => bad_ip4(number).to_string(),
        "ip6" => bad_ip6(number).to_string(),
        "prefix" => {
            let (address, length) = bad_prefix(number);
            format!("{address}/{length}")
        }
        "domain" => bad_name(DOMAINS + number),
        "exact" => format!("www.{}", bad_name(EXACT + number)),
        "url" => bad_url(number),
        "email" => bad_email(number),
        "md5" => hex(MD5, number, 32),
        "sha1" => hex(SHA1, number, 40),
        _ => hex(SHA256, number, 64),
    }
}

/// Writes one list in the form of each program that takes part.
///
/// - `rules/`: a native set with CSV files, and the text indicators as another set;
/// - `plain.txt`: one value a line, for `rg -F -f`; a prefix has no plain form;
/// - `KIND.json`: look-up tables for rsyslog; `KIND.list`: lists for syslog-ng; `KIND.csv`: Vector.
fn write_lists(to: &Path, size: u64) -> anyhow::Result<()> {
    let rules = to.join("rules");
    fs::create_dir_all(&rules)?;
    let mut yaml = String::from(
        "schema: 1\nset: typed\nsource: {producer: bench}\n\
         defaults: {tlp: green, severity: high, throttle: none}\nbulk:\n",
    );
    let mut plain = BufWriter::new(File::create(to.join("plain.txt"))?);
    for (kind, count) in shares(size) {
        let (native, extra) = match kind {
            "ip4" | "ip6" | "prefix" => ("ip", ""),
            "exact" => ("domain", ", match: exact"),
            kind => (kind, ""),
        };
        writeln!(yaml, "  - {{file: {kind}.csv, type: {native}, column: 1{extra}}}")?;
        let mut csv = BufWriter::new(File::create(rules.join(format!("{kind}.csv")))?);
        let mut list = BufWriter::new(File::create(to.join(format!("{kind}.list")))?);
        let mut json = BufWriter::new(File::create(to.join(format!("{kind}.json")))?);
        let mut table = BufWriter::new(File::create(to.join(format!("{kind}.csv")))?);
        write!(json, "{{\"version\":1,\"nomatch\":\"\",\"type\":\"string\",\"table\":[")?;
        writeln!(table, "value,found")?;
        for number in 0..count {
            let value = value(kind, number);
            writeln!(csv, "{value},2026-10-01,feed-{}", number % 7)?;
            writeln!(list, "{value}")?;
            writeln!(table, "{value},1")?;
            let comma = if number == 0 { "" } else { "," };
            write!(json, "{comma}\n{{\"index\":\"{value}\",\"value\":\"1\"}}")?;
            if kind != "prefix" {
                writeln!(plain, "{value}")?;
            }
        }
        write!(json, "]}}")?;
        for mut file in [csv, list, json, table] {
            file.flush()?;
        }
    }
    fs::write(rules.join("typed.yaml"), yaml)?;
    let texts: Vec<String> = (0..TEXTS).map(bad_text).collect();
    for text in &texts {
        writeln!(plain, "{text}")?;
    }
    plain.flush()?;
    fs::write(to.join("text.list"), texts.join("\n") + "\n")?;
    fs::write(rules.join("text.yaml"), text_set("text", TEXTS, ""))?;
    Ok(())
}

fn text_set(name: &str, count: u64, extra: &str) -> String {
    let mut yaml = format!(
        "schema: 1\nset: {name}\nsource: {{producer: bench}}\n\
         defaults: {{tlp: green, severity: high, throttle: none}}\nindicators:\n"
    );
    for number in 0..count {
        let _ = writeln!(yaml, "  - {{type: text, value: '{}'{extra}}}", bad_text(number));
    }
    yaml
}

/// A thousand text indicators, by words and as substrings.
fn write_text(to: &Path) -> anyhow::Result<()> {
    fs::write(to.join("text-1000.yaml"), text_set("words", 1000, ""))?;
    fs::write(to.join("substring-1000.yaml"), text_set("substrings", 1000, ", match: substring"))?;
    // For the flood in which every line is a hit.
    let one = "schema: 1\nset: flood\nsource: {producer: bench}\ndefaults: {tlp: green, severity: high}\n\
               indicators:\n  - {type: domain, value: flood.example}\n";
    fs::create_dir_all(to.join("flood"))?;
    fs::write(to.join("flood/flood.yaml"), one)?;
    let mut random = Random::new(9);
    let mut lines = BufWriter::new(File::create(to.join("flood.log"))?);
    for number in 0..100_000u64 {
        let mut line = String::new();
        head(&mut line, &mut random, number, 30, "named");
        // Two hundred clients.
        let (a, b) = (number % 4, 1 + number % 50);
        write!(
            line,
            "client @0x7f{:010x} 10.1.{a}.{b}#{} (h{number:07}.flood.example): query: h{number:07}.flood.example IN A +E(0)K (10.9.9.9)",
            random.next() >> 24,
            1024 + random.below(60_000)
        )?;
        pad(&mut line, &mut random, 230);
        finish(&mut line, number);
        writeln!(lines, "{line}")?;
    }
    lines.flush()?;
    Ok(())
}

/// Words that make a line as long as lines of its kind are.
fn pad(line: &mut String, random: &mut Random, length: usize) {
    const WORDS: [&str; 16] = [
        "policy",
        "default",
        "session",
        "view",
        "internal",
        "status=ok",
        "zone",
        "inside",
        "rule-12",
        "tcp",
        "cache",
        "miss",
        "allowed",
        "user",
        "unknown",
        "flags=0x18",
    ];
    while line.len() < length {
        line.push(' ');
        line.push_str(random.pick(&WORDS));
    }
}

fn finish(line: &mut String, number: u64) {
    let _ = write!(line, " seq={number:08}");
}

/// The number at the end of a line or of anything that quotes it.
pub fn number_of(line: &str) -> Option<u64> {
    let at =
        line.rfind("seq=").map(|at| at + 4).or_else(|| line.rfind("\"RecordNumber\":").map(|at| at + 15))?;
    let digits: String = line[at..].chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

// Ordinary values.

struct Ordinary {
    names: Vec<String>,
    addresses: Vec<Ipv4Addr>,
}

impl Ordinary {
    /// What an organisation meets in an hour: a few thousand names and twenty thousand addresses.
    fn new() -> Ordinary {
        const TOP: [&str; 8] = ["com", "com", "com", "net", "org", "de", "eu", "io"];
        let mut random = Random::new(1);
        let names = (0..5000)
            .map(|number| {
                let count = 3 + (number % 2) as u32;
                format!("{}.{}", syllables(number * 31 + 7, count), random.pick(&TOP))
            })
            .collect();
        let addresses = (0..20_000)
            .map(|_| {
                let [a, b, c, d] = (random.next() as u32).to_be_bytes();
                Ipv4Addr::new(public(a), b % 240, c & !1, d)
            })
            .collect();
        Ordinary { names, addresses }
    }

    /// Popular ones more often than others.
    fn name(&self, random: &mut Random) -> &str {
        let at = random.below(self.names.len() as u64).min(random.below(self.names.len() as u64));
        &self.names[at as usize]
    }

    fn address(&self, random: &mut Random) -> Ipv4Addr {
        random.pick(&self.addresses)
    }
}

/// What a line says where the planted values could stand.
struct Slots {
    address: String,
    name: String,
    url: String,
    email: String,
    md5: String,
    sha1: String,
    sha256: String,
    file: String,
}

fn ordinary(random: &mut Random, from: &Ordinary) -> Slots {
    let host = ["www", "cdn", "api", "img", "static", "mail"][random.below(6) as usize];
    let name = format!("{host}.{}", from.name(random));
    let extension = random.pick(&["html", "js", "css", "png", "json", "woff2"]);
    let url = format!(
        "http{}://{name}/assets/{}/app.{:x}.{extension}?v={}",
        if random.below(2) == 0 { "s" } else { "" },
        syllables(random.below(4000), 3),
        random.below(1 << 24),
        random.below(1000)
    );
    Slots {
        address: match random.below(30) {
            0 => format!("2a00:1450:4001:{:x}::{:x}", 0x800 + random.below(256), 0x2000 + random.below(64)),
            _ => from.address(random).to_string(),
        },
        url,
        email: format!("{}@{}", syllables(random.below(4000), 2), from.name(random)),
        name,
        md5: hex(1, random.next(), 32),
        sha1: hex(2, random.next(), 40),
        sha256: hex(3, random.next(), 64),
        file: format!("{}.exe", syllables(random.below(4000), 3)),
    }
}

/// The kinds of lines, with their weight.
#[derive(Clone, Copy)]
enum Line {
    Asa,
    Fortigate,
    Dns,
    Proxy,
    Sshd,
    Web,
    Windows,
    Cef,
    Kernel,
    Mail,
}

const MIX: [(Line, u64); 10] = [
    (Line::Asa, 20),
    (Line::Fortigate, 14),
    (Line::Dns, 16),
    (Line::Proxy, 10),
    (Line::Sshd, 7),
    (Line::Web, 12),
    (Line::Windows, 6),
    (Line::Cef, 7),
    (Line::Kernel, 5),
    (Line::Mail, 3),
];

fn kind_of_line(random: &mut Random) -> Line {
    let mut at = random.below(100);
    for (line, weight) in MIX {
        if at < weight {
            return line;
        }
        at -= weight;
    }
    Line::Asa
}

/// Priority, stamp, host and program: one line in five as RFC 5424, the others as RFC 3164.
fn head(line: &mut String, random: &mut Random, number: u64, priority: u8, program: &str) {
    let second = number / 5000;
    let (h, m, s) = (8 + second / 3600 % 12, second / 60 % 60, second % 60);
    let host = random.below(200);
    let pid = 300 + random.below(30_000);
    let _ = match (number % 5, program) {
        // A device's own format, without a tag.
        (_, "") => write!(line, "<{priority}>Oct 11 {h:02}:{m:02}:{s:02} gw{host:03} "),
        (0, _) => write!(
            line,
            "<{priority}>1 2026-10-11T{h:02}:{m:02}:{s:02}.{:03}Z h{host:03}.corp.example {program} {pid} - - ",
            number % 1000,
        ),
        _ => write!(line, "<{priority}>Oct 11 {h:02}:{m:02}:{s:02} h{host:03} {program}[{pid}]: "),
    };
}

fn write_line(line: &mut String, random: &mut Random, kind: Line, slots: &Slots, number: u64) {
    let Slots { address, name, url, email, md5, sha1, sha256, file } = slots;
    let inside = format!("10.{}.{}.{}", random.below(32), random.below(256), 1 + random.below(250));
    let port = 1024 + random.below(64_000);
    let bytes = random.below(1 << 20);
    let result = match kind {
        Line::Asa => {
            head(line, random, number, 166, "");
            write!(
                line,
                "%ASA-6-302014: Teardown TCP connection {} for outside:{address}/443 to inside:{inside}/{port} duration 0:{:02}:{:02} bytes {bytes} TCP FINs from outside, initiator {inside}, egress interface outside, identity unknown",
                4_000_000 + number,
                number % 60,
                bytes % 60
            )
        }
        Line::Fortigate => {
            head(line, random, number, 189, "");
            write!(
                line,
                "devname=\"FGT-{}\" logid=\"0000000013\" type=\"traffic\" subtype=\"forward\" level=\"notice\" vd=\"root\" srcip={inside} srcport={port} srcintf=\"port2\" dstip={address} dstport=443 dstintf=\"wan1\" policyid={} proto=6 action=\"accept\" service=\"HTTPS\" trandisp=\"snat\" duration={} sentbyte={bytes} rcvdbyte={}",
                bytes % 9,
                bytes % 80,
                number % 300,
                bytes * 7
            )
        }
        Line::Dns => {
            head(line, random, number, 30, "named");
            write!(
                line,
                "client @0x7f{:010x} {inside}#{port} ({name}): query: {name} IN {} +E(0)K (10.9.9.9)",
                random.next() >> 24,
                ["A", "A", "AAAA", "HTTPS"][(bytes % 4) as usize]
            )
        }
        Line::Proxy => {
            head(line, random, number, 190, "squid");
            write!(
                line,
                "1760170{:03}.{:03} {:6} {inside} TCP_MISS/200 {bytes} GET {url} - HIER_DIRECT/{address} text/html \"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36\"",
                number % 1000,
                bytes % 1000,
                bytes % 4000
            )
        }
        Line::Sshd => {
            head(line, random, number, 38, "sshd");
            write!(
                line,
                "Failed password for invalid user {} from {address} port {port} ssh2: {} attempts left",
                email.split('@').next().unwrap_or("root"),
                bytes % 6
            )
        }
        Line::Web => {
            head(line, random, number, 174, "nginx");
            write!(
                line,
                "{address} - - [11/Oct/2026:10:{:02}:{:02} +0200] \"GET /{}/{file} HTTP/1.1\" {} {bytes} \"https://{name}/\" \"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\"",
                number % 60,
                bytes % 60,
                syllables(bytes % 4000, 3),
                [200, 200, 304, 404][(bytes % 4) as usize]
            )
        }
        Line::Windows => {
            head(line, random, number, 14, "Sysmon");
            write!(
                line,
                "{{\"EventID\":1,\"Channel\":\"Microsoft-Windows-Sysmon/Operational\",\"Computer\":\"PC-{:04}.corp.example\",\"Image\":\"C:\\\\Users\\\\u{}\\\\AppData\\\\Local\\\\Temp\\\\{file}\",\"User\":\"CORP\\\\u{}\",\"Hashes\":\"SHA1={},MD5={},SHA256={}\",\"ProcessId\":{port},\"RecordNumber\":{number:08}}}",
                bytes % 3000,
                bytes % 900,
                bytes % 900,
                sha1.to_uppercase(),
                md5.to_uppercase(),
                sha256.to_uppercase()
            )
        }
        Line::Cef => {
            head(line, random, number, 134, "");
            write!(
                line,
                "CEF:0|Example|Gateway|9.1|{}|Web request|3|rt=1760170{:03}000 src={inside} spt={port} dst={address} dpt=443 request={url} act=allowed suser={email} fileHash={md5}",
                100 + bytes % 90,
                number % 1000
            )
        }
        Line::Kernel => {
            head(line, random, number, 4, "kernel");
            write!(
                line,
                "[{}.{:06}] DROP IN=eth0 OUT= MAC=52:54:00:{:02x}:{:02x}:01:52:54:00:12:35:02:08:00 SRC={address} DST={inside} LEN=60 TOS=0x00 PREC=0x00 TTL=51 ID={} DF PROTO=TCP SPT={port} DPT=22 WINDOW=64240 RES=0x00 SYN URGP=0",
                10_000 + number / 5000,
                bytes % 1_000_000,
                bytes % 256,
                bytes / 256 % 256,
                bytes % 65_536
            )
        }
        Line::Mail => {
            head(line, random, number, 22, "postfix/qmgr");
            write!(
                line,
                "{:010X}: from=<{email}>, size={bytes}, nrcpt=1 (queue active), client={name}[{address}], message-id=<{}@{name}>",
                random.next() >> 24,
                hex(4, number, 12)
            )
        }
    };
    let _ = result;
    if !matches!(kind, Line::Windows) {
        finish(line, number);
    }
}

/// Puts the listed value into the line of the kind that holds such values.
fn plant(planted: Planted, turn: u64, slots: &mut Slots) -> (Line, String) {
    let number = turn % PLANTED_VALUES;
    match planted {
        Planted::Ip4 => {
            slots.address = bad_ip4(number).to_string();
            (
                [Line::Asa, Line::Sshd, Line::Fortigate, Line::Kernel][(turn % 4) as usize],
                slots.address.clone(),
            )
        }
        Planted::Ip6 => {
            slots.address = bad_ip6(number).to_string();
            ([Line::Web, Line::Cef][(turn % 2) as usize], slots.address.clone())
        }
        Planted::Prefix => {
            let (network, length) = bad_prefix(number);
            let [a, b, c, _] = network.octets();
            slots.address = Ipv4Addr::new(a, b, c, 1 + (turn / 10 % 250) as u8).to_string();
            ([Line::Asa, Line::Fortigate][(turn % 2) as usize], format!("{network}/{length}"))
        }
        Planted::Domain | Planted::Subdomain => {
            let name = bad_name(DOMAINS + number);
            slots.name = match (planted, turn % 4) {
                // Resolvers log names in the case in which they were asked (0x20).
                (Planted::Domain, 3) => name.char_indices().map(mixed_case).collect(),
                (Planted::Domain, _) => name.clone(),
                _ => format!("{}.{name}", ["www", "c2.eu", "mx1", "a.b.c"][(turn % 4) as usize]),
            };
            (Line::Dns, name)
        }
        Planted::Exact => {
            slots.name = format!("www.{}", bad_name(EXACT + number));
            (Line::Dns, slots.name.clone())
        }
        Planted::Url => {
            slots.url = bad_url(number);
            ([Line::Proxy, Line::Cef][(turn % 2) as usize], slots.url.clone())
        }
        Planted::Email => {
            slots.email = bad_email(number);
            ([Line::Mail, Line::Cef][(turn % 2) as usize], slots.email.clone())
        }
        Planted::Md5 => {
            slots.md5 = hex(MD5, number, 32);
            ([Line::Windows, Line::Cef][(turn % 2) as usize], slots.md5.clone())
        }
        Planted::Sha1 => {
            slots.sha1 = hex(SHA1, number, 40);
            (Line::Windows, slots.sha1.clone())
        }
        Planted::Sha256 => {
            slots.sha256 = hex(SHA256, number, 64);
            (Line::Windows, slots.sha256.clone())
        }
        Planted::Text => {
            slots.file = bad_text(turn % TEXTS);
            ([Line::Web, Line::Windows][(turn % 2) as usize], slots.file.clone())
        }
    }
}

fn mixed_case((at, letter): (usize, char)) -> char {
    if at.is_multiple_of(2) { letter.to_ascii_uppercase() } else { letter }
}

/// Puts a listed value inside a longer one, which no list holds.
fn miss(turn: u64, slots: &mut Slots) -> Line {
    let number = turn % PLANTED_VALUES;
    match turn % 5 {
        0 => {
            // notevil.example, where evil.example is listed
            slots.name = format!("not{}", bad_name(DOMAINS + number));
            Line::Dns
        }
        1 => {
            // evil.example.net, where evil.example is listed
            slots.name = format!("{}.cdn.zorido.de", bad_name(DOMAINS + number));
            Line::Dns
        }
        2 => {
            // A host of that name inside, not an address: 10.1.2.3.4
            slots.address = format!("{}.7", bad_ip4(number));
            Line::Asa
        }
        3 => {
            slots.md5 = hex(MD5, number, 32) + "0f";
            Line::Cef
        }
        _ => {
            slots.url = format!("{}/index.html", bad_url(number));
            Line::Proxy
        }
    }
}

fn write_lines(to: &Path, lines: u64) -> anyhow::Result<()> {
    let from = Ordinary::new();
    let mut random = Random::new(42);
    let mut log = BufWriter::with_capacity(1 << 20, File::create(to.join("corpus.log"))?);
    let mut truth = BufWriter::new(File::create(to.join("planted.tsv"))?);
    let mut line = String::new();
    let (mut planted_at, mut miss_at) = (0, 0);
    for number in 0..lines {
        let (block, place) = (number / PLANTED_EVERY, number % PLANTED_EVERY);
        if place == 0 {
            planted_at = random.below(PLANTED_EVERY / 2);
            miss_at = PLANTED_EVERY / 2 + random.below(PLANTED_EVERY / 2);
        }
        let mut slots = ordinary(&mut random, &from);
        line.clear();
        let kind = if place == planted_at {
            let what = Planted::ALL[(block % 12) as usize];
            let (kind, value) = plant(what, block / 12, &mut slots);
            writeln!(truth, "{number}\t{}\t{value}", what.name())?;
            kind
        } else if place == miss_at {
            miss(block, &mut slots)
        } else {
            kind_of_line(&mut random)
        };
        write_line(&mut line, &mut random, kind, &slots, number);
        line.push('\n');
        log.write_all(line.as_bytes())?;
    }
    log.flush()?;
    truth.flush()?;
    Ok(())
}

// Flows.

/// Records of a datagram of NetFlow v9 and IPFIX, as exporters fill an Ethernet frame.
pub const RECORDS: u64 = 24;

/// sourceIPv4Address, destinationIPv4Address, ports, protocol, TCP flags, TOS, interfaces, counters,
/// times, AS numbers, masks, next hop: what routers export by default.
const FIELDS: [(u16, u16); 17] = [
    (8, 4),
    (12, 4),
    (15, 4),
    (10, 4),
    (14, 4),
    (2, 4),
    (1, 4),
    (22, 4),
    (21, 4),
    (7, 2),
    (11, 2),
    (6, 1),
    (4, 1),
    (5, 1),
    (9, 1),
    (13, 1),
    (61, 1),
];

/// The same time for every machine.
const EXPORTED: u32 = 1_790_000_000;

/// NetFlow v9 and IPFIX in turn by file: `flows-9.bin`, `flows-10.bin`; datagrams with their length
/// before them, two bytes.
fn write_flows(to: &Path, records: u64) -> anyhow::Result<()> {
    for version in [9u16, 10] {
        let from = Ordinary::new();
        let mut random = Random::new(u64::from(version));
        let mut file =
            BufWriter::with_capacity(1 << 20, File::create(to.join(format!("flows-{version}.bin")))?);
        let mut data = Vec::new();
        for datagram in 0..records / RECORDS {
            data.clear();
            for record in 0..RECORDS {
                let number = datagram * RECORDS + record;
                let mut outside = from.address(&mut random);
                if number % PLANTED_EVERY == 500 {
                    let turn = number / PLANTED_EVERY;
                    // One in two by address, the other by prefix.
                    outside = match turn % 2 {
                        0 => bad_ip4(turn % 1000),
                        _ => {
                            let [a, b, c, _] = bad_prefix(turn % 100).0.octets();
                            Ipv4Addr::new(a, b, c, 1 + (turn % 250) as u8)
                        }
                    };
                }
                let inside = Ipv4Addr::new(10, random.below(32) as u8, random.below(256) as u8, 7);
                let (source, destination) =
                    if number.is_multiple_of(2) { (inside, outside) } else { (outside, inside) };
                put_record(&mut data, source, destination, &mut random);
            }
            let mut datagram_bytes = Vec::new();
            put_datagram(&mut datagram_bytes, version, datagram, &data);
            file.write_all(&(datagram_bytes.len() as u16).to_be_bytes())?;
            file.write_all(&datagram_bytes)?;
        }
        file.flush()?;
    }
    Ok(())
}

fn put_record(data: &mut Vec<u8>, source: Ipv4Addr, destination: Ipv4Addr, random: &mut Random) {
    data.extend(source.octets());
    data.extend(destination.octets());
    data.extend([10, 0, 0, 1]); // next hop
    data.extend(3u32.to_be_bytes()); // input
    data.extend(7u32.to_be_bytes()); // output
    data.extend((1 + random.below(100) as u32).to_be_bytes()); // packets
    data.extend((40 + random.below(100_000) as u32).to_be_bytes()); // bytes
    data.extend(3_540_000u32.to_be_bytes()); // first, ms of uptime
    data.extend(3_599_000u32.to_be_bytes()); // last
    data.extend((1024 + random.below(60_000) as u16).to_be_bytes());
    data.extend(443u16.to_be_bytes());
    data.extend([0x1b, 6, 0, 24, 24, 0]); // flags, protocol, TOS, masks, direction
}

fn put_datagram(out: &mut Vec<u8>, version: u16, datagram: u64, data: &[u8]) {
    // Exporters repeat their template every few dozen datagrams.
    let template = datagram.is_multiple_of(64);
    let mut sets = Vec::new();
    if template {
        let set: u16 = if version == 9 { 0 } else { 2 };
        sets.extend(set.to_be_bytes());
        sets.extend((8 + 4 * FIELDS.len() as u16).to_be_bytes());
        sets.extend(256u16.to_be_bytes());
        sets.extend((FIELDS.len() as u16).to_be_bytes());
        for (element, length) in FIELDS {
            sets.extend(element.to_be_bytes());
            sets.extend(length.to_be_bytes());
        }
    }
    sets.extend(256u16.to_be_bytes());
    sets.extend((4 + data.len() as u16).to_be_bytes());
    sets.extend(data);
    out.extend(version.to_be_bytes());
    if version == 9 {
        out.extend((RECORDS as u16 + u16::from(template)).to_be_bytes());
        for word in [3_600_000, EXPORTED, datagram as u32, 7] {
            out.extend(word.to_be_bytes());
        }
    } else {
        out.extend((16 + sets.len() as u16).to_be_bytes());
        for word in [EXPORTED, (datagram * RECORDS) as u32, 7] {
            out.extend(word.to_be_bytes());
        }
    }
    out.extend(sets);
}

/// 100,000 addresses, and the same with 10,000 prefixes: as sets and as filters of nfdump.
fn write_flow_lists(to: &Path) -> anyhow::Result<()> {
    for (name, prefixes) in [("flow-100k", 0), ("flow-100k-prefixes", 10_000)] {
        let rules = to.join(name);
        fs::create_dir_all(&rules)?;
        let mut yaml = String::from(
            "schema: 1\nset: flows\nsource: {producer: bench}\n\
             defaults: {tlp: green, severity: high, throttle: none}\n\
             bulk:\n  - {file: ip.csv, type: ip, column: 1}\n",
        );
        let addresses: Vec<String> = (0..100_000).map(|number| bad_ip4(number).to_string()).collect();
        fs::write(rules.join("ip.csv"), addresses.join("\n"))?;
        let mut filter = addresses;
        if prefixes > 0 {
            let networks: Vec<String> = (0..prefixes).map(|number| value("prefix", number)).collect();
            fs::write(rules.join("prefix.csv"), networks.join("\n"))?;
            yaml.push_str("  - {file: prefix.csv, type: ip, column: 1}\n");
            filter.extend(networks);
        }
        fs::write(rules.join("flows.yaml"), yaml)?;
        fs::write(to.join(format!("{name}.filter")), format!("ip in [\n{}\n]\n", filter.join("\n")))?;
    }
    Ok(())
}

/// Lines that must be found: number, kind and listed value.
pub fn truth(path: &Path) -> io::Result<Vec<(u64, String, String)>> {
    let text = fs::read_to_string(path)?;
    let line = |line: &str| {
        let mut fields = line.split('\t');
        let number = fields.next()?.parse().ok()?;
        Some((number, fields.next()?.to_string(), fields.next()?.to_string()))
    };
    Ok(text.lines().filter_map(line).collect())
}

/// Asserts of a small corpus what the large one promises.
pub fn check() -> anyhow::Result<()> {
    let directory = std::env::temp_dir().join(format!("roje-peers-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    write_lines(&directory, 24_000)?;
    let text = fs::read_to_string(directory.join("corpus.log"))?;
    let truth = truth(&directory.join("planted.tsv"))?;
    fs::remove_dir_all(&directory)?;
    anyhow::ensure!(text.lines().count() == 24_000 && truth.len() == 24);
    let mean = text.len() / 24_000;
    anyhow::ensure!((230..=270).contains(&mean), "{mean} bytes a line");
    for (number, line) in text.lines().enumerate() {
        anyhow::ensure!(number_of(line) == Some(number as u64), "{line}");
    }
    let smallest: Vec<String> = shares(SMALLEST)
        .iter()
        .flat_map(|(kind, count)| (0..*count).map(|number| value(kind, number)))
        .chain((0..TEXTS).map(bad_text))
        .collect();
    for (_, _, planted) in &truth {
        anyhow::ensure!(smallest.contains(planted), "{planted}");
    }
    Ok(())
}
