//! The information elements: number, name and type of everything a template may name.
//!
//! `elements.csv` lists them as `enterprise,id,name,type`: the IANA registry (enterprise 0, CC0),
//! the enterprise elements of exporters that are met often, and, under [`NETFLOW9`], the field
//! types above 32767 that NetFlow v9 devices use without an enterprise number. The file is read at
//! compile time; a row that is malformed or out of order does not compile.

/// One information element.
#[derive(Debug)]
pub(super) struct Element {
    /// Private enterprise number; 0 for IANA.
    pub(super) enterprise: u32,
    /// Number within the enterprise.
    pub(super) id: u16,
    /// The registered name.
    pub(super) name: &'static str,
    /// The abstract data type.
    pub(super) kind: Kind,
}

/// Abstract data types (RFC 7012, section 3.1), as far as they are read differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Octets,
    Unsigned,
    Signed,
    Float,
    Boolean,
    Mac,
    Text,
    Seconds,
    Milliseconds,
    Microseconds,
    Nanoseconds,
    Ipv4,
    Ipv6,
    // RFC 6313
    BasicList,
    SubTemplateList,
    SubTemplateMultiList,
}

/// The enterprise under which the table keeps what only NetFlow v9 knows; never on the wire.
pub(super) const NETFLOW9: u32 = u32::MAX;

/// Finds an element of IPFIX, or of NetFlow v9 where its numbers agree with IPFIX.
pub(super) fn find(enterprise: u32, id: u16) -> Option<&'static Element> {
    let row = ELEMENTS.binary_search_by_key(&(enterprise, id), |row| (row.enterprise, row.id)).ok()?;
    ELEMENTS.get(row)
}

/// Finds a NetFlow v9 field type. Above 32767 a device either uses numbers of its own, or those of
/// IPFIX with the enterprise left out: Cisco's (enterprise 9) with the upper bit set, ntop's
/// (enterprise 35632) counted from 57472.
pub(super) fn find_netflow9(id: u16) -> Option<&'static Element> {
    const ENTERPRISE_BIT: u16 = 0x8000;
    const NTOP_BASE: u16 = 57472;
    if id < ENTERPRISE_BIT {
        return find(0, id);
    }
    find(NETFLOW9, id)
        .or_else(|| find(35632, id.checked_sub(NTOP_BASE)?))
        .or_else(|| find(9, id & !ENTERPRISE_BIT))
}

const TEXT: &str = include_str!("elements.csv");
static ELEMENTS: [Element; count_rows(TEXT.as_bytes())] = parse(TEXT);

const fn count_rows(text: &[u8]) -> usize {
    let (mut rows, mut at) = (0, 0);
    while at < text.len() {
        if text[at] == b'\n' {
            rows += 1;
        }
        at += 1;
    }
    rows
}

const fn parse<const N: usize>(text: &'static str) -> [Element; N] {
    const BLANK: Element = Element { enterprise: 0, id: 0, name: "", kind: Kind::Octets };
    let mut rows = [BLANK; N];
    let (mut rest, mut row) = (text, 0);
    let mut last = 0;
    while row < N {
        let (enterprise, after) = cut(rest, b',');
        let (id, after) = cut(after, b',');
        let (name, after) = cut(after, b',');
        let (kind, after) = cut(after, b'\n');
        let (enterprise, id) = (number(enterprise), number(id));
        assert!(enterprise <= u32::MAX as u64 && id <= u16::MAX as u64, "a number is too large");
        let order = (enterprise << 16) | id;
        assert!(order > last, "rows are not in order");
        last = order;
        rows[row] = Element { enterprise: enterprise as u32, id: id as u16, name, kind: kind_of(kind) };
        rest = after;
        row += 1;
    }
    rows
}

/// The text before the first `end`, and after it.
const fn cut(text: &'static str, end: u8) -> (&'static str, &'static str) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while bytes[at] != end {
        at += 1;
    }
    let (head, tail) = text.split_at(at);
    (head, tail.split_at(1).1)
}

const fn number(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let (mut value, mut at) = (0, 0);
    while at < bytes.len() {
        assert!(bytes[at].is_ascii_digit(), "not a number");
        value = value * 10 + (bytes[at] - b'0') as u64;
        at += 1;
    }
    value
}

const fn kind_of(text: &str) -> Kind {
    match text.as_bytes() {
        b"octetArray" => Kind::Octets,
        b"basicList" => Kind::BasicList,
        b"subTemplateList" => Kind::SubTemplateList,
        b"subTemplateMultiList" => Kind::SubTemplateMultiList,
        b"unsigned8" | b"unsigned16" | b"unsigned32" | b"unsigned64" => Kind::Unsigned,
        b"signed8" | b"signed16" | b"signed32" | b"signed64" => Kind::Signed,
        b"float32" | b"float64" => Kind::Float,
        b"boolean" => Kind::Boolean,
        b"macAddress" => Kind::Mac,
        b"string" => Kind::Text,
        b"dateTimeSeconds" => Kind::Seconds,
        b"dateTimeMilliseconds" => Kind::Milliseconds,
        b"dateTimeMicroseconds" => Kind::Microseconds,
        b"dateTimeNanoseconds" => Kind::Nanoseconds,
        b"ipv4Address" => Kind::Ipv4,
        b"ipv6Address" => Kind::Ipv6,
        _ => panic!("an unknown type"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_by_number() {
        let cases = [
            ("first", find(0, 1), Some("octetDeltaCount")),
            ("address", find(0, 27), Some("sourceIPv6Address")),
            ("enterprise", find(6871, 14), Some("initialTCPFlags")),
            ("unknown", find(0, 32000), None),
            ("unknown enterprise", find(1, 1), None),
            ("v9 as IPFIX", find_netflow9(8), Some("sourceIPv4Address")),
            ("v9 of its own", find_netflow9(40001), Some("xlateSourceIPv4Address")),
            ("v9 of Cisco", find_netflow9(0x8000 | 9292), Some("numRespsCountDelta")),
            ("v9 unknown", find_netflow9(65535), None),
        ];
        for (name, found, expected) in cases {
            assert_eq!(found.map(|element| element.name), expected, "{name}");
        }
    }
}
