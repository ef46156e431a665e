//! Sentences: what firewalls, gateways and daemons say in words.
//!
//! The words before an endpoint tell its side (`from`, `src`, `client`; `to`, `dst`, `->`), whoever
//! wrote them. An endpoint is an address with or without port and interface, in any of the notations
//! of [`endpoint`]; one in brackets behind another is its translation. An address that no word and no
//! arrow precedes is nobody's side and left to `event.original`.

use super::columns::is_method;
use super::vocabulary::{Names, address, host_and_port, number};
use crate::decode::{FieldId, Fields, Value};
use memchr::{memchr, memmem, memrchr};

/// Which side the next endpoint is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

impl Side {
    fn other(self) -> Side {
        match self {
            Side::Source => Side::Destination,
            Side::Destination => Side::Source,
        }
    }
}

/// Finds endpoints, transport, user, URL and what was done; `false` if there is neither an endpoint
/// nor a URL.
pub(super) fn decode<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    // `Built outbound … for outside:A to inside:B`: the connection goes from B to A.
    let turn = text.starts_with(b"Built outbound");
    let built_inbound = text.starts_with(b"Built inbound");
    let mut found = false;
    // In a line about a request every other URL is the referrer or the like.
    let requested = request(text, names, out);
    if let Some(client) = client(text) {
        found |= names.source(out, client);
    }
    let mut side = None;
    // How many words the side holds yet, and whether the word that told it says little.
    let (mut reach, mut weak) = (0usize, false);
    let mut last: Option<Side> = None;
    let mut user: Option<FieldId> = None;
    let mut url = false;
    // `User <joe> IP <10.0.0.1>`: the address is where the user is.
    let (mut told_user, mut of_user, mut operator) = (false, false, false);
    // Who logs in chooses his name, which may read `x from 10.0.0.9`: behind a name the last counts.
    let mut named = false;
    let last_from = memmem::rfind(text, b" from ").filter(|at| {
        let word = text[at + 6..].split(|byte| matches!(byte, b' ' | b',' | b';')).next().unwrap_or_default();
        address(host_and_port(word.strip_suffix(b":").unwrap_or(word)).0).is_some()
    });
    let mut words = text
        .split(|byte| matches!(byte, b' ' | b',' | b'[' | b']' | b'\t' | b';' | b'"'))
        .filter(|word| !word.is_empty())
        .take(WORDS_MAX)
        .peekable();
    while let Some(word) = words.next() {
        let bare = word.strip_suffix(b":").unwrap_or(word);
        let at = (word.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
        if named && bare == b"from" && last_from.is_some_and(|last| at < last) {
            (user, side) = (None, None);
            continue;
        }
        if let Some(field) = user {
            if matches!(bare, b"=" | b"") {
                continue;
            }
            user = None;
            let name = name_of(bare);
            // `root@192.0.2.55` tells where from, too.
            let at = memchr(b'@', name).filter(|at| address(&name[at + 1..]).is_some());
            let (name, host) = at.map_or((name, None), |at| (&name[..at], Some(&name[at + 1..])));
            if is_user(name) && matches!(role(bare), None | Some(Role::User(_))) {
                told_user = names.user(out, field, name);
                if let Some(host) = host {
                    found |= names.source(out, host);
                    last = Some(Side::Source);
                }
                continue;
            }
        }
        // `joe logged in from 10.0.0.1`
        if words.peek() == Some(&b"logged".as_slice())
            && words.clone().nth(1).is_some_and(|word| LOGGED.contains(&word))
            && is_user(bare)
            && role(bare).is_none()
            && out.find(FieldId::UserName).is_none()
        {
            told_user = names.user(out, FieldId::UserName, name_of(bare));
            continue;
        }
        // `by joe on vty0 (10.0.0.1)`, `by joe on 10.0.0.1@pts/0`
        if bare == b"by"
            && let (Some(name), Some(b"on"), Some(line)) =
                (words.peek().copied(), words.clone().nth(1), words.clone().nth(2))
            && is_user(name)
        {
            let host = line.split(|byte| *byte == b'@').next().unwrap_or(line);
            let remote = address(host).is_some();
            if remote || LINES.iter().any(|kind| line.starts_with(kind)) {
                told_user = names.user(out, FieldId::UserName, name);
                operator = true;
                found |= remote && names.source(out, host);
                continue;
            }
        }
        if url {
            url = false;
            found |= accessed(bare, names, out);
            continue;
        }
        if memmem::find(bare, b"://").is_some() {
            found |= !requested && accessed(bare, names, out);
            continue;
        }
        // `user=x`, `IP:10.0.0.1`, `Username:admin`: the word and its value in one.
        let (key, value) = match bare.iter().position(|byte| matches!(byte, b'=' | b':')) {
            Some(at) if role(&bare[..at]).is_some() && at + 1 < bare.len() => {
                (&bare[..at], Some(&bare[at + 1..]))
            }
            _ => (bare, None),
        };
        match role(key) {
            Some(Role::Filler) => continue,
            Some(Role::User(field)) => {
                named = true;
                match value.map(name_of) {
                    Some(name) if is_user(name) => drop(names.user(out, field, name)),
                    Some(_) => {}
                    None => user = Some(field),
                }
                continue;
            }
            Some(Role::Url) => {
                match value {
                    Some(value) => found |= accessed(value, names, out),
                    None => url = true,
                }
                continue;
            }
            // An address by itself is nobody's side, but behind a user it is where the user is.
            Some(Role::Address) if value.is_none() => {
                if side.is_none() && told_user && out.find(FieldId::SourceIp).is_none() {
                    (side, reach, of_user) = (Some(Side::Source), REACH, true);
                }
                continue;
            }
            Some(Role::Foreign) => side = Some(if built_inbound { Side::Source } else { Side::Destination }),
            Some(Role::Local) => side = Some(if built_inbound { Side::Destination } else { Side::Source }),
            // The translated address; the local one follows.
            Some(Role::Global) => side = None,
            Some(Role::Side(told)) => {
                side =
                    Some(if turn && matches!(key, b"for" | b"to" | b"from") { told.other() } else { told });
                weak = key == b"for";
            }
            Some(Role::Address) => {}
            Some(Role::Transport) => {
                names.transport(out, key);
                // `permitted tcp 10.0.0.1(1) -> 10.0.0.2(2)` has no word before the source.
                if side.is_none() {
                    (side, reach) = (Some(Side::Source), 1);
                }
                continue;
            }
            Some(Role::Action(action)) => {
                if out.find(FieldId::EventAction).is_none() {
                    out.push(FieldId::EventAction, Value::Static(action));
                }
                continue;
            }
            Some(Role::Port) => {
                let port =
                    value.or(words.peek().copied()).map(|port| port.strip_suffix(b":").unwrap_or(port));
                let digits =
                    port.map(|port| &port[..port.iter().take_while(|byte| byte.is_ascii_digit()).count()]);
                let field = match last {
                    Some(Side::Source) => FieldId::SourcePort,
                    Some(Side::Destination) => FieldId::DestinationPort,
                    None => continue,
                };
                if let Some(port) = digits.and_then(number).filter(|port| *port <= 0xffff)
                    && out.find(field).is_none()
                {
                    out.push(field, Value::Unsigned(port));
                }
                continue;
            }
            None => {}
        }
        if role(key).is_some() && side.is_some() {
            reach = REACH;
        }
        let told = value.unwrap_or(match role(key) {
            Some(_) => continue,
            None => bare,
        });
        // `(10.0.0.1/80)` behind an endpoint is its translation, `(LOCAL\user)` who is there.
        if let Some(open) = told.strip_prefix(b"(") {
            let inner = open.strip_suffix(b")").unwrap_or(open);
            match last {
                Some(side) => brackets(open, side, names, out),
                None if (operator || told_user) && address(inner).is_some() => {
                    found |= names.source(out, inner);
                }
                None => {}
            }
            continue;
        }
        let told = told.strip_suffix(b".").unwrap_or(told);
        let told = match told {
            [b'<', told @ .., b'>'] | [b'\'', told @ .., b'\''] => told,
            _ => told,
        };
        // `10.0.0.1:80->10.0.0.2:443` in one word.
        if let Some(at) = memmem::find(told, b"->") {
            let (from, to) = (&told[..at], &told[at + 2..]);
            if write(Side::Source, from, names, out) {
                found = true;
                last = Some(Side::Source);
            }
            side = Some(Side::Destination);
            if !to.is_empty() && write(Side::Destination, to, names, out) {
                last = Some(Side::Destination);
                side = None;
            }
            continue;
        }
        // `User joe has exited tty session 3(10.0.0.1)`
        if let Some(open) = memchr(b'(', told)
            && told_user
            && let Some(inside) = told[open + 1..].strip_suffix(b")")
            && address(inside).is_some()
            && endpoint(&told[..open]).is_none()
        {
            found |= names.source(out, inside);
            continue;
        }
        if endpoint(told).is_none() {
            // A side holds for a few words: `from the host 10.0.0.1`.
            reach = reach.saturating_sub(1);
            if reach == 0 {
                side = None;
            }
            continue;
        }
        // An arrow behind an endpoint makes it a source.
        let arrow = match words.peek() {
            Some(&(b"->" | b"-->" | b"=>" | b"<->")) => true,
            Some(&b"to") => words.clone().nth(1).is_some_and(|next| endpoint(next).is_some()),
            _ => false,
        };
        // `for outside:10.0.0.1/80` is Cisco's; what else is for somebody has no side.
        if weak && !told.iter().any(|byte| matches!(byte, b':' | b'/')) {
            side = None;
        }
        weak = false;
        let Some(told_side) = side.or(arrow.then_some(Side::Source)) else { continue };
        if write(told_side, told, names, out) {
            found = true;
        }
        bracketed_port(text, told, told_side, out);
        last = Some(told_side);
        side = None;
    }
    if of_user
        && out.find(FieldId::SourceIp).is_some()
        && out.find(FieldId::SourceUserName).is_none()
        && let Some(user) = out.find(FieldId::UserName)
    {
        out.push(FieldId::SourceUserName, user);
    }
    found | requested
}

/// A request as HTTP has it: `GET /path HTTP/1.1`, wherever it stands; or `GET` and a URL.
pub(super) fn request<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let Some(version) = memmem::find(text, b" HTTP/") else { return absolute(text, names, out) };
    let before = text[..version].rsplit(|byte| matches!(byte, b'"' | b'\'')).next().unwrap_or_default();
    let mut words = before.rsplit(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let (Some(target), Some(method)) = (words.next(), words.next()) else { return false };
    if !is_method(method) {
        return false;
    }
    names.word(out, FieldId::HttpRequestMethod, method);
    names.target(out, target)
}

/// `GET https://host/path`.
fn absolute<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let Some(scheme) = memmem::find(text, b"://") else { return false };
    let start = memrchr(b' ', &text[..scheme]).map_or(0, |at| at + 1);
    let mut before =
        text[..start].rsplit(|byte| matches!(byte, b' ' | b'"' | b'\'')).filter(|word| !word.is_empty());
    let Some(method) = before.next().filter(|word| is_method(word)) else { return false };
    let rest = &text[start..];
    let end = rest.iter().position(|byte| matches!(byte, b' ' | b'"' | b'\'')).unwrap_or(rest.len());
    names.word(out, FieldId::HttpRequestMethod, method);
    names.target(out, &rest[..end])
}

/// The address with which a line about somebody begins: `10.0.0.1 - - [`, `10.0.0.1:4711 [`.
fn client(text: &[u8]) -> Option<&[u8]> {
    let end = text.iter().position(|byte| matches!(byte, b' ' | b','))?;
    let (word, rest) = text.split_at(end);
    if let Some(open) = memchr(b'[', word)
        && let Some(inside) = word[open + 1..].strip_suffix(b"]")
        && open > 0
        && address(inside).is_some()
    {
        return Some(inside);
    }
    address(host_and_port(word).0)?;
    [b" - ".as_slice(), b" [", b", "].iter().any(|next| rest.starts_with(next)).then_some(word)
}

/// The longest messages name both endpoints within their first sentences.
const WORDS_MAX: usize = 96;

/// What follows `logged`.
const LOGGED: [&[u8]; 5] = [b"in", b"out", b"on", b"off", b"into"];

/// Lines on which operators work.
const LINES: [&[u8]; 6] = [b"vty", b"tty", b"con", b"ssh", b"web", b"http"];

/// Words between the one that tells the side and its endpoint.
const REACH: usize = 4;

/// What a word says of those behind it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Side(Side),
    /// The sides of Cisco's ICMP messages, which depend on the direction.
    Foreign,
    Local,
    Global,
    /// `IP 10.0.0.1` of a sentence about one peer.
    Address,
    User(FieldId),
    Url,
    Port,
    Transport,
    Action(&'static str),
    /// A word that may stand between the telling one and the endpoint.
    Filler,
}

fn role(word: &[u8]) -> Option<Role> {
    let mut lower = [0u8; ROLE_MAX];
    let lower = lower.get_mut(..word.len())?;
    lower.copy_from_slice(word);
    lower.make_ascii_lowercase();
    Some(match &*lower {
        b"from" | b"src" | b"source" | b"for" | b"client" | b"client_ip" | b"clientip" | b"src_ip"
        | b"source_ip" | b"remote_ip" | b"srcip" | b"sourceip" | b"peer" | b"rhost" | b"remote"
        | b"attacker" | b"initiator" | b"saddr" => Role::Side(Side::Source),
        b"to" | b"dst" | b"dest" | b"destination" | b"->" | b"-->" | b"=>" | b"<->" | b"dstip"
        | b"destip" | b"destinationip" | b"daddr" | b"responder" | b"victim" | b"dst_ip" | b"dest_ip"
        | b"vserver" | b"server" => Role::Side(Side::Destination),
        b"faddr" => Role::Foreign,
        b"laddr" => Role::Local,
        b"gaddr" => Role::Global,
        b"ip" | b"host" | b"address" | b"addr" => Role::Address,
        b"user" | b"username" | b"uname" | b"login" | b"account" => Role::User(FieldId::UserName),
        b"url" | b"uri" => Role::Url,
        b"port" => Role::Port,
        b"tcp" | b"udp" | b"icmp" | b"gre" | b"esp" | b"igmp" | b"sctp" | b"icmpv6" | b"ipv6-icmp" => {
            Role::Transport
        }
        b"deny" | b"denied" => Role::Action("deny"),
        b"permitted" | b"est-allowed" => Role::Action("allow"),
        b"=" | b"by" | b"on" | b"at" | b"interface" | b":" | b"-" | b"is" | b"the" => Role::Filler,
        _ => return None,
    })
}

/// The longest word of [`role`].
const ROLE_MAX: usize = 13;

/// A name without the quotes around it: `<joe>`, `'joe'`.
fn name_of(word: &[u8]) -> &[u8] {
    // `new user: name=joe`
    let name = word.rsplit(|byte| *byte == b'=').next().unwrap_or(word);
    let name = match name {
        [b'\'' | b'<' | b'(', rest @ ..] => rest,
        _ => name,
    };
    let end = name.iter().position(|byte| matches!(byte, b'\'' | b'>' | b')')).unwrap_or(name.len());
    let name = &name[..end];
    name.strip_suffix(b".").unwrap_or(name)
}

/// Whether a word behind `user` can be a name: sentences go on with many others.
fn is_user(name: &[u8]) -> bool {
    name.iter().any(|byte| byte.is_ascii_alphabetic() || *byte >= 0x80)
        && !NO_NAMES.iter().any(|word| word.eq_ignore_ascii_case(name))
        && name.len() <= NAME_MAX
}

/// Mail addresses and names of directories are shorter.
const NAME_MAX: usize = 256;

/// Words that follow `user`, `login` or `account` in sentences and are no name.
const NO_NAMES: [&[u8]; 58] = [
    b"passed",
    b"granted",
    b"denied",
    b"expired",
    b"blocked",
    b"timeout",
    b"entry",
    b"acl",
    b"session",
    b"profile",
    b"from",
    b"has",
    b"is",
    b"was",
    b"authentication",
    b"login",
    b"accounting",
    b"logged",
    b"priv",
    b"name",
    b"requested",
    b"to",
    b"in",
    b"on",
    b"at",
    b"for",
    b"not",
    b"failed",
    b"failure",
    b"successful",
    b"succeeded",
    b"success",
    b"unknown",
    b"account",
    b"with",
    b"by",
    b"and",
    b"of",
    b"the",
    b"id",
    b"group",
    b"password",
    b"access",
    b"agent",
    b"attempt",
    b"attempted",
    b"disconnected",
    b"database",
    b"locked",
    b"ip",
    b"incorrect",
    b"ok",
    b"invalid",
    b"as",
    b"via",
    b"rejected",
    b"accepted",
    b"event",
];

/// Writes an endpoint to a side; `false` if there is none, or the side is known.
fn write<'a>(side: Side, word: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let Some((host, port, interface)) = endpoint(word) else { return false };
    let (port_field, interface_field) = match side {
        Side::Source => (FieldId::SourcePort, FieldId::ObserverIngressInterface),
        Side::Destination => (FieldId::DestinationPort, FieldId::ObserverEgressInterface),
    };
    let written = match side {
        Side::Source => names.source(out, host),
        Side::Destination => names.destination(out, host),
    };
    if !written {
        return false;
    }
    if let Some(port) = port.filter(|_| out.find(port_field).is_none()) {
        out.push(port_field, Value::Unsigned(u64::from(port)));
    }
    if let Some(interface) = interface {
        names.word(out, interface_field, interface);
    }
    if let Some(open) = memchr(b'(', word).filter(|at| *at > 0) {
        brackets(&word[open + 1..], side, names, out);
    }
    true
}

/// `10.0.0.1[500]`: the port of an endpoint, as strongSwan writes it.
fn bracketed_port(text: &[u8], word: &[u8], side: Side, out: &mut Fields) {
    let field = match side {
        Side::Source => FieldId::SourcePort,
        Side::Destination => FieldId::DestinationPort,
    };
    let end = (word.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize).wrapping_add(word.len());
    let inside = text.get(end..).and_then(|rest| rest.strip_prefix(b"[")).unwrap_or_default();
    let digits = inside.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if inside.get(digits) == Some(&b']')
        && let Some(port) = number(&inside[..digits]).filter(|port| *port <= 0xffff)
        && out.find(field).is_none()
    {
        out.push(field, Value::Unsigned(port));
    }
}

/// `10.4.0.5/80)`, `LOCAL\joe)`, `10.4.0.5/80)(LOCAL\joe)` behind the endpoint of a side.
fn brackets<'a>(inside: &'a [u8], side: Side, names: &mut Names<'a>, out: &mut Fields) {
    for part in inside.split(|byte| matches!(byte, b'(' | b')')).filter(|part| !part.is_empty()) {
        if let Some((host, port, _)) = endpoint(part) {
            names.translated(out, side == Side::Source, host, port);
        } else if memchr(b'\\', part).is_some() {
            let field = match side {
                Side::Source => FieldId::SourceUserName,
                Side::Destination => FieldId::DestinationUserName,
            };
            names.user(out, field, part);
        }
    }
}

/// A URL as it stands behind `URL` or by itself: `https://…`, `192.0.2.1:/app`, `mirror:http://…`.
fn accessed<'a>(word: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let word =
        word.strip_prefix(b"(").or(word.strip_prefix(b"<")).or(word.strip_prefix(b"'")).unwrap_or(word);
    let end = word.iter().position(|byte| matches!(byte, b'>' | b'\'')).unwrap_or(word.len());
    let mut word = &word[..end];
    while let [head @ .., b'.' | b')' | b','] = word {
        word = head;
    }
    let scheme = memmem::find(word, b"://");
    // The host that was asked stands before the URL, or before its path.
    let colon = memchr(b':', word);
    match (colon, scheme) {
        (Some(colon), Some(scheme)) if colon < scheme => {
            if address(&word[..colon]).is_some() {
                names.destination(out, &word[..colon]);
            }
            names.target(out, &word[colon + 1..])
        }
        (Some(colon), None) if word.get(colon + 1) == Some(&b'/') && address(&word[..colon]).is_some() => {
            names.destination(out, &word[..colon]);
            names.target(out, &word[colon + 1..])
        }
        (_, Some(0)) => false,
        _ => names.target(out, word),
    }
}

/// Address or name, port, interface.
type Endpoint<'a> = (&'a [u8], Option<u16>, Option<&'a [u8]>);

/// `dmz:10.1.2.30/63016`, `outside/10.0.0.1(23)`, `10.0.0.1/80`, `10.0.0.1:80`, `10.0.0.1`: address,
/// port and interface.
fn endpoint(word: &[u8]) -> Option<Endpoint<'_>> {
    if word.first() == Some(&b'(') {
        return None;
    }
    let plain = |text| {
        let (host, port) = host_and_port(text);
        address(host).map(|_| (host, port))
    };
    if let Some((host, port)) = plain(word) {
        return Some((host, port, None));
    }
    // `10.1.2.3(user)` and `10.1.2.3/53(LOCAL\user)`
    if let Some(open) = memchr(b'(', word)
        && let Some((host, port)) = plain(&word[..open])
    {
        return Some((host, port, None));
    }
    let at = word.iter().position(|byte| matches!(byte, b':' | b'/'))?;
    let (interface, rest) = word.split_at(at);
    let rest = &rest[1..];
    let end = match memchr(b'(', rest) {
        Some(open)
            if rest
                .get(open + 1..)
                .and_then(|inside| inside.strip_suffix(b")"))
                .and_then(number)
                .is_none() =>
        {
            open
        }
        _ => rest.len(),
    };
    let lettered = |name: &[u8]| name.first().is_some_and(u8::is_ascii_alphabetic);
    // Where the firewall resolves names: `outside:ns10/53`, `exp-angle/54703`.
    let named = || {
        let (name, port) = host_and_port(&rest[..end]);
        port.filter(|_| lettered(name) && word.get(at) == Some(&b':')).map(|port| (name, Some(port)))
    };
    if let Some((host, port)) = plain(&rest[..end]).or_else(named) {
        return (!interface.is_empty()).then_some((host, port, Some(interface)));
    }
    let open = memchr(b'(', word).unwrap_or(word.len());
    let (name, port) = host_and_port(&word[..open]);
    let well_formed = name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
    let slash = word.get(name.len()) == Some(&b'/');
    port.filter(|_| slash && well_formed && lettered(name)).map(|port| (name, Some(port), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        for (word, expected) in [
            ("dmz:10.1.2.30/63016", Some(("10.1.2.30", Some(63016), Some("dmz")))),
            ("outside/10.0.0.1(23)", Some(("10.0.0.1", Some(23), Some("outside")))),
            ("10.0.0.1/80", Some(("10.0.0.1", Some(80), None))),
            ("192.168.20.252(55244)", Some(("192.168.20.252", Some(55244), None))),
            ("10.0.0.1", Some(("10.0.0.1", None, None))),
            (
                "Outside:10.123.123.123/53723(LOCAL\\Elastic)",
                Some(("10.123.123.123", Some(53723), Some("Outside"))),
            ),
            ("inside:2001:db8::1/443", Some(("2001:db8::1", Some(443), Some("inside")))),
            ("outside:ns10/53", Some(("ns10", Some(53), Some("outside")))),
            ("exp-angle/54703", Some(("exp-angle", Some(54703), None))),
            ("(10.0.0.1/80)", None),
            ("and/or", None),
            ("connection", None),
        ] {
            let found = endpoint(word.as_bytes());
            let expected = expected.map(|(host, port, interface): (&str, Option<u16>, Option<&str>)| {
                (host.as_bytes(), port, interface.map(str::as_bytes))
            });
            assert_eq!(found, expected, "{word}");
        }
    }
}
