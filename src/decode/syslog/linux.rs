//! What the usual daemons of a Unix host say: sshd, sudo, PAM and name servers.

use super::dns;
use super::vocabulary::{Names, address, host_and_port, number};
use crate::decode::{FieldId, Fields, Value};
use memchr::{memchr, memmem};
use std::borrow::Cow;

/// Decodes a message by the name of the daemon; the values of PAM are pairs and left to `kv`.
pub(super) fn decode<'a>(app: &[u8], text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    if text.starts_with(b"pam_") && session(text, names, out) {
        return true;
    }
    remote_host(text, names, out);
    let program = app.rsplit(|byte| *byte == b'/').next().unwrap_or(app);
    match program {
        b"sshd" | b"sshd-session" | b"dropbear" => sshd(text, names, out),
        b"sudo" => sudo(text, names, out),
        b"dhcpd" | b"dhcpd3" | b"dnsmasq-dhcp" | b"dhclient" | b"dhcp6c" | b"dhcp6s" => {
            dhcp(text, names, out)
        }
        b"named" | b"unbound" | b"dnsmasq" | b"pdns_recursor" => dns::daemon(text, names, out),
        _ => false,
    }
}

/// `pam_unix(sudo:session): session opened for user root by vagrant(uid=1000)`
fn session<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let Some(rest) = memmem::find(text, b": session ").and_then(|at| text.get(at + 10..)) else {
        return false;
    };
    let Some(rest) = memmem::find(rest, b"for user ").and_then(|at| rest.get(at + 9..)) else { return false };
    let word = |text: &'a [u8]| {
        let end = text.iter().position(|byte| matches!(byte, b' ' | b'(')).unwrap_or(text.len());
        &text[..end]
    };
    let whose = word(rest);
    let by =
        memmem::rfind(rest, b" by ").and_then(|at| rest.get(at + 4..)).map(word).filter(|by| !by.is_empty());
    names.word(out, FieldId::UserName, by.unwrap_or(whose));
    if by.is_some() {
        names.word(out, FieldId::UserEffectiveName, whose);
    }
    true
}

/// `authentication failure; logname= uid=0 euid=0 tty=ftp ruser=x rhost=10.0.0.1  user=root`: PAM writes
/// where somebody comes from behind the name that he chose, so that the last `rhost=` is PAM's.
fn remote_host<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) {
    if memmem::find(text, b"authentication failure").is_none() {
        return;
    }
    if let Some(host) = memmem::rfind(text, b" rhost=").and_then(|at| text.get(at + 7..)) {
        let host = &host[..memchr(b' ', host).unwrap_or(host.len())];
        if address(host).is_some() {
            names.source(out, host);
        }
    }
}

/// OpenSSH and Dropbear. The name of the user is what the peer says, and may read `x from 10.0.0.9 port 1`;
/// so may the reason with which it leaves. Which address is the daemon's own depends on the sentence:
/// right behind the lead ([`PEER_FIRST`]), or the last one behind `from`.
fn sshd<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    match text.split(|byte| *byte == b' ').find(|word| !word.is_empty()) {
        Some(b"Accepted") => out.push(FieldId::EventOutcome, Value::Static("success")),
        Some(b"Failed" | b"Invalid" | b"error:" | b"Disconnecting") => {
            out.push(FieldId::EventOutcome, Value::Static("failure"));
        }
        _ => {}
    }
    let mut text = text;
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| text.strip_prefix(*prefix)) {
        text = rest;
    }
    if let Some(rest) = PEER_FIRST.iter().find_map(|lead| text.strip_prefix(*lead)) {
        if let Some((_, peer)) = peer(rest) {
            peer.write(names, out);
            let Some(own) = peer.rest.strip_prefix(b" on ") else { return true };
            if let Some((_, own)) = self::peer(own) {
                names.destination(out, own.address);
                own.port(FieldId::DestinationPort, out);
            }
            return true;
        }
        return leaving(rest, names, out);
    }
    // `subsystem request for sftp by user joe`
    if text.starts_with(b"subsystem request for ")
        && let Some(at) = memmem::find(text, b" by user ")
    {
        return names.word(out, FieldId::UserName, &text[at + 9..]);
    }
    // `Accepted` is said of users that exist; what follows the address is the key.
    let from = if text.starts_with(b"Accepted ") {
        memmem::find_iter(text, b" from ").find(|at| peer(&text[at + 6..]).is_some())
    } else {
        last_from(text)
    };
    let mut found = false;
    if let Some((_, peer)) = from.and_then(|at| peer(text.get(at + 6..)?)) {
        peer.write(names, out);
        found = true;
    }
    let head = from.map_or(text, |at| &text[..at]);
    let name = ["Invalid user ", "Illegal user ", "invalid user ", "User ", "Close session: user "]
        .iter()
        .find_map(|lead| head.strip_prefix(lead.as_bytes()))
        .or_else(|| {
            let at = memmem::find(head, b" for ").filter(|_| !head.starts_with(b"pam_"))?;
            head.get(at + 5..).map(account)
        });
    let Some(name) = name.map(|name| name.strip_suffix(PREAUTH).unwrap_or(name)) else { return found };
    // Without an address behind it, the name may be any words.
    if from.is_some() || memchr(b' ', name).is_none() {
        let bare = name.strip_prefix(b"'").and_then(|name| name.strip_suffix(b"'")).unwrap_or(name);
        names.word(out, FieldId::UserName, bare);
    }
    // What cannot be told is not left to those who know less.
    true
}

/// What the daemon puts in front of its sentences.
const PREFIXES: [&[u8]; 5] =
    [b"error: ", b"fatal: ", b"ssh_dispatch_run_fatal: ", b"banner exchange: ", b"input_userauth_request: "];

/// Sentences whose peer comes first; what the peer says follows.
const PEER_FIRST: [&[u8]; 13] = [
    b"Received disconnect from ",
    b"Connection closed by ",
    b"Connection reset by ",
    b"Disconnected from ",
    b"Disconnecting ",
    b"Unable to negotiate with ",
    b"Connection from ",
    b"Did not receive identification string from ",
    b"Timeout before authentication for connection from ",
    b"Timeout before authentication for ",
    b"Address ",
    b"Child connection from ",
    b"Exit before auth from <",
];

/// Where OpenSSH says that nobody has logged in yet.
const PREAUTH: &[u8] = b" [preauth]";

/// `invalid user x`, `user x`, `x`
fn account(text: &[u8]) -> &[u8] {
    [b"invalid user ".as_slice(), b"illegal user ", b"authenticating user ", b"user "]
        .iter()
        .find_map(|lead| text.strip_prefix(*lead))
        .unwrap_or(text)
}

/// `authenticating user root 10.0.0.1 port 22 [preauth]`, `invalid user x 10.0.0.1 port 22: reason`: the
/// peer stands at the end, or before the reason.
fn leaving<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let text = text.strip_suffix(PREAUTH).unwrap_or(text);
    let name = account(text);
    if name.len() == text.len() {
        return false;
    }
    let told = |end: usize| {
        let before = memmem::rfind(name.get(..end)?, b" port ")?;
        let start = memchr::memrchr(b' ', &name[..before])?;
        let (length, peer) = peer(&name[start + 1..])?;
        (start + 1 + length == end).then_some((&name[..start], peer))
    };
    // One reason has two names in it; where a name reads like the reason, nobody knows where it begins.
    let reasons: [&[u8]; 2] = [b": Change of username", b": Too many authentication failures"];
    let first = reasons.iter().filter_map(|reason| memmem::find(name, reason)).min();
    let last = reasons.iter().filter_map(|reason| memmem::rfind(name, reason)).max();
    let (first, last) = (first.unwrap_or(name.len()), last.unwrap_or(name.len()));
    match (told(first), told(last)) {
        (Some((user, peer)), Some((other, _))) if user == other => {
            names.word(out, FieldId::UserName, user);
            peer.write(names, out);
        }
        _ => {}
    }
    true
}

/// The last ` from ` with an address behind it; none where a later one is followed by a host's name, which
/// then is the peer's.
fn last_from(text: &[u8]) -> Option<usize> {
    for at in memmem::rfind_iter(text, b" from ") {
        let rest = &text[at + 6..];
        if peer(rest).is_some() {
            return Some(at);
        }
        let end = memchr(b' ', rest).unwrap_or(rest.len());
        if rest.len() == end || rest[end..].starts_with(b" port ") {
            return None;
        }
    }
    None
}

/// An address, the port behind it, and what follows.
#[derive(Clone, Copy)]
struct SshPeer<'a> {
    address: &'a [u8],
    port: Option<u64>,
    rest: &'a [u8],
}

impl<'a> SshPeer<'a> {
    fn write(&self, names: &mut Names<'a>, out: &mut Fields) {
        names.source(out, self.address);
        self.port(FieldId::SourcePort, out);
    }

    fn port(&self, field: FieldId, out: &mut Fields) {
        if let Some(port) = self.port.filter(|_| out.find(field).is_none()) {
            out.push(field, Value::Unsigned(port));
        }
    }
}

/// `10.0.0.1 port 22`, `10.0.0.1`, Dropbear's `10.0.0.1:22` at the beginning, and how long that is.
fn peer(text: &[u8]) -> Option<(usize, SshPeer<'_>)> {
    let end = text.iter().position(|byte| matches!(byte, b' ' | b',' | b'>')).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let word = word.strip_suffix(b":").filter(|bare| address(bare).is_some()).unwrap_or(word);
    if address(word).is_none() {
        let (host, port) = host_and_port(word);
        address(host)?;
        return Some((end, SshPeer { address: host, port: port.map(u64::from), rest }));
    }
    let digits = rest.strip_prefix(b" port ").map(|rest| {
        let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        rest.split_at(length)
    });
    let (port, rest) = match digits {
        Some((digits, after)) => (number(digits).filter(|port| *port <= 0xffff), after),
        None => (None, rest),
    };
    Some((text.len() - rest.len(), SshPeer { address: word, port, rest }))
}

/// `DHCPACK on 10.0.0.1 to 00:1b:44:11:3a:b7 (pc7) via eth0`, `DHCPREQUEST for 10.0.0.1 from …`,
/// `DHCPACK(eth0) 10.0.0.1 00:1b:44:11:3a:b7 pc7`: the client, by both of its addresses.
fn dhcp<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    names.transport(out, b"udp");
    if !text.starts_with(b"DHCP") {
        return false;
    }
    out.push(FieldId::NetworkProtocol, Value::Static("dhcp"));
    // The name that the client gave itself follows its hardware address, the relay follows `via`.
    for word in text.split(|byte| *byte == b' ').filter(|word| !word.is_empty()) {
        let bare = word.strip_prefix(b"(").map_or(word, |word| word.strip_suffix(b")").unwrap_or(word));
        if word == b"via" {
            break;
        } else if address(word).is_some() {
            names.source(out, word);
        } else if bare.len() == MAC_LENGTH && bare.iter().filter(|byte| **byte == b':').count() == 5 {
            names.also(out, b"src_mac", &Cow::Borrowed(bare));
            break;
        }
    }
    true
}

/// `00:1b:44:11:3a:b7`
const MAC_LENGTH: usize = 17;

/// `vagrant : TTY=pts/0 ; PWD=/home ; USER=root ; COMMAND=/bin/ls`
fn sudo<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let Some(colon) = memmem::find(text, b" : ") else { return false };
    let (user, rest) = text.split_at(colon);
    let Some(command) = memmem::find(rest, b"; COMMAND=").map(|at| at + 2) else { return false };
    names.word(out, FieldId::UserName, user.trim_ascii());
    names.word(out, FieldId::ProcessCommandLine, rest.get(command + 8..).unwrap_or_default());
    // What stands before the command is sudo's, but for the folder; the command may have any words.
    if let Some(target) = memmem::rfind(&rest[..command], b"; USER=").and_then(|at| rest.get(at + 7..)) {
        let end = memchr(b' ', target).unwrap_or(target.len());
        names.word(out, FieldId::UserEffectiveName, &target[..end]);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::{Reference, decode};
    use super::*;

    #[test]
    fn nobody_chooses_where_he_comes_from() {
        let reference = Reference { now: 1_795_266_000_000_000_000, timezone: jiff::tz::TimeZone::UTC };
        for (app, text, source, port, user) in [
            (
                "sshd",
                "Invalid user a from 6.6.6.6 port 99 from 10.0.0.1 port 22",
                "10.0.0.1",
                22,
                "a from 6.6.6.6 port 99",
            ),
            ("sshd", "Invalid user a b from 10.0.0.1", "10.0.0.1", 0, "a b"),
            (
                "sshd",
                "Failed password for invalid user x from 6.6.6.6 port 9 ssh2 from 10.0.0.1 port 22 ssh2",
                "10.0.0.1",
                22,
                "x from 6.6.6.6 port 9 ssh2",
            ),
            ("sshd", "Failed none for invalid user  from 10.0.0.1 port 22 ssh2", "10.0.0.1", 22, ""),
            (
                "sshd",
                "Accepted publickey for root from 10.0.0.1 port 22 ssh2: RSA-CERT ID a from 6.6.6.6 port 9",
                "10.0.0.1",
                22,
                "root",
            ),
            (
                "sshd",
                "Received disconnect from 10.0.0.1 port 22:11: from 6.6.6.6 port 99",
                "10.0.0.1",
                22,
                "",
            ),
            ("sshd", "Received disconnect from 10.0.0.1: 11: Bye by 6.6.6.6 port 99", "10.0.0.1", 0, ""),
            ("sshd", "Received disconnect from 2001:db8::1 port 22:11: bye", "2001:db8::1", 22, ""),
            (
                "sshd",
                "Unable to negotiate with 10.0.0.1 port 22: no matching cipher. Their offer: from 6.6.6.6 port 9",
                "10.0.0.1",
                22,
                "",
            ),
            (
                "sshd",
                "Connection closed by authenticating user root 10.0.0.1 port 22 [preauth]",
                "10.0.0.1",
                22,
                "root",
            ),
            (
                "sshd",
                "Connection closed by invalid user a 6.6.6.6 port 9 10.0.0.1 port 22 [preauth]",
                "10.0.0.1",
                22,
                "a 6.6.6.6 port 9",
            ),
            ("sshd", "Connection closed by 10.0.0.1 port 22", "10.0.0.1", 22, ""),
            ("sshd", "Disconnected from user joe 10.0.0.1 port 22", "10.0.0.1", 22, "joe"),
            (
                "sshd",
                "Disconnecting invalid user x 10.0.0.1 port 22: Change of username or service not allowed: (x,ssh-connection) -> (y 6.6.6.6 port 9: z,ssh-connection) [preauth]",
                "10.0.0.1",
                22,
                "x",
            ),
            (
                "sshd",
                "Disconnecting invalid user x 6.6.6.6 port 9: Change of username 10.0.0.1 port 22: Change of username or service not allowed: (x) -> (y)",
                "",
                0,
                "",
            ),
            (
                "sshd",
                "Bad protocol version identification 'x from 6.6.6.6 port 9' from 10.0.0.1 port 22",
                "10.0.0.1",
                22,
                "",
            ),
            (
                "sshd",
                "User joe from 10.0.0.1 not allowed because not listed in AllowUsers",
                "10.0.0.1",
                0,
                "joe",
            ),
            (
                "sshd",
                "error: maximum authentication attempts exceeded for invalid user a for b from 10.0.0.1 port 22 ssh2 [preauth]",
                "10.0.0.1",
                22,
                "a for b",
            ),
            ("sshd", "Invalid user a from 6.6.6.6 port 9 from host.example port 22", "", 0, ""),
            ("sshd", "subsystem request for sftp by user joe", "", 0, "joe"),
            ("dropbear", "Bad password attempt for 'root' from 10.0.0.1:22", "10.0.0.1", 22, "root"),
            (
                "dropbear",
                "Exit before auth from <10.0.0.1:22>: (user 'a from 6.6.6.6', 1 fails)",
                "10.0.0.1",
                22,
                "",
            ),
            (
                "vsftpd",
                "pam_unix(vsftpd:auth): authentication failure; logname= uid=0 euid=0 tty=ftp ruser=x rhost=6.6.6.6 rhost=10.0.0.1",
                "10.0.0.1",
                0,
                "",
            ),
            ("dhcpd", "DHCPDISCOVER from 00:1b:44:11:3a:b7 (6.6.6.6) via eth0", "", 0, ""),
            ("dhcpd", "DHCPDISCOVER from 00:1b:44:11:3a:b7 (x) 6.6.6.6 (y) via 10.0.0.254", "", 0, ""),
            (
                "dhcpd",
                "DHCPREQUEST for 10.0.0.1 (10.0.0.254) from 00:1b:44:11:3a:b7 (6.6.6.6) via eth0",
                "10.0.0.1",
                0,
                "",
            ),
            ("dnsmasq", "query[A] a from 6.6.6.6 from 10.0.0.1", "10.0.0.1", 0, ""),
            (
                "named",
                "client @0x7f 10.0.0.1#22 (6.6.6.6#9): query: 6.6.6.6#9 IN A + (10.0.0.2)",
                "10.0.0.1",
                22,
                "",
            ),
            ("named", "lame server resolving '6.6.6.6#9/A/IN': 192.0.2.1#53", "", 0, ""),
            (
                "sudo",
                "joe : TTY=pts/0 ; PWD=/tmp/ ; USER=x ; USER=root ; COMMAND=/bin/echo USER=y",
                "",
                0,
                "joe",
            ),
        ] {
            let line = format!("<38>Nov 21 13:00:05 h {app}[1]: {text}");
            let mut out = Fields::default();
            decode(line.as_bytes(), &reference, &mut out).unwrap();
            let expected = source.parse().ok().map(Value::Ip);
            assert_eq!(out.find(FieldId::SourceIp), expected, "{text}");
            let expected = Some(port).filter(|port| *port > 0).map(Value::Unsigned);
            assert_eq!(out.find(FieldId::SourcePort), expected, "{text}");
            let name =
                |field| out.find(field).map(|name| out.bytes(line.as_bytes(), name)).unwrap_or_default();
            assert_eq!(String::from_utf8_lossy(name(FieldId::UserName)), user, "{text}");
            if app == "sudo" {
                assert_eq!(name(FieldId::UserEffectiveName), b"root");
            }
        }
    }
}
