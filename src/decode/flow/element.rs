//! The information elements: number, name and type of everything a template may name.
//!
//! `elements/iana.csv` and `elements/vendors.csv` list them as `enterprise,id,name,type`: the IANA
//! registry (enterprise 0, CC0), the elements that vendors add, and, under [`NETFLOW9`], the field types
//! that NetFlow v9 devices use beyond IANA's without an enterprise number. `build.rs` turns them into
//! the array that is searched here; a row that is malformed or stands twice stops the build.

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

/// Finds a NetFlow v9 field type. Below 32768 what IANA does not know may be a vendor's own; above, a
/// device either uses numbers of its own, or those of IPFIX with the enterprise left out: Cisco's (enterprise 9) with the upper bit set, ntop's
/// (enterprise 35632) counted from 57472.
pub(super) fn find_netflow9(id: u16) -> Option<&'static Element> {
    const ENTERPRISE_BIT: u16 = 0x8000;
    const NTOP_BASE: u16 = 57472;
    if id < ENTERPRISE_BIT {
        return find(0, id).or_else(|| find(NETFLOW9, id));
    }
    find(NETFLOW9, id)
        .or_else(|| find(35632, id.checked_sub(NTOP_BASE)?))
        .or_else(|| find(9, id & !ENTERPRISE_BIT))
}

include!(concat!(env!("OUT_DIR"), "/elements.rs"));

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
            ("v9 of a vendor below Cisco's", find_netflow9(24632), Some("natInternalAddress")),
            ("v9 of ntop", find_netflow9(57472 + 205), Some("ntopDnsQuery")),
            ("ntop", find(35632, 180), Some("ntopHttpUrl")),
            ("ntop host", find(35632, 187), Some("ntopHttpHost")),
            ("v9 unknown", find_netflow9(65535), None),
        ];
        for (name, found, expected) in cases {
            assert_eq!(found.map(|element| element.name), expected, "{name}");
        }
    }
}
