//! A body behind a header that leads to its decoder: the first byte selects it. Any bytes give fields that
//! lie within the message, no more than an index takes, an event of bounded length, and the same again.
#![no_main]

use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;
use roje::decode::Fields;
use roje::decode::syslog::{self, Bodies, Reference};

/// What stands before the body: headers by whose program, mnemonic or first bytes a decoder is chosen.
const LEADS: [&str; 28] = [
    "",
    "<13>",
    "<13>Nov 21 13:00:05 h a: ",
    "<13>1 2026-11-21T13:00:05Z h a 1 - - ",
    "<13>1 2026-11-21T13:00:05Z h a 1 - [a@1 src=\"10.0.0.1\"] ",
    "CEF:0|a|b|c|d|e|f|",
    "LEEF:2.0|a|b|c|d|",
    "{\"a\":",
    "{\"message\":\"",
    "<Event><Data Name=\"IpAddress\">",
    "<166>Apr 15 2013 09:36:50: %ASA-6-302013: ",
    "<190>Nov 21 2026 13:00:05 h %%01SECLOG/6/SESSION(l):",
    "<38>Nov 21 13:00:05 h sshd[1]: ",
    "<38>Nov 21 13:00:05 h sudo: ",
    "<30>Nov 21 13:00:05 h named[1]: ",
    "<30>Nov 21 13:00:05 h dnsmasq[1]: ",
    "<30>Nov 21 13:00:05 h dhcpd[1]: DHCP",
    "<134>Nov 21 13:00:05 h filterlog[1]: ",
    "<134>Nov 21 13:00:05 h haproxy[1]: ",
    "<14>Nov 21 13:00:05 h MSWinEventLog\t1\t",
    "1,2026/11/21 13:00:05,1,TRAFFIC,",
    "30,09/20/21,09:16:15,",
    "2018-12-31 12:02:53 10.0.0.1 GET / ",
    "<33>Nov 21 13:00:05 h snort[1]: [1:2:3] ",
    "6/5/2013 10:00:32 AM 0E70 PACKET 0 UDP Rcv ",
    "type=SYSCALL msg=audit(1:2): ",
    "__CURSOR=s\nSYSLOG_IDENTIFIER=sshd\n",
    "{\"__CURSOR\":\"s\",\"MESSAGE\":",
];

/// Named fields and others that one message may have.
const FIELDS_MAX: usize = 2048;

/// Bytes of an event for one of the message: a control character is six in JSON, and a text may be the
/// message, a value of it and the parts of a URL.
const GROWTH_MAX: usize = 40;

fuzz_target!(|bytes: &[u8]| {
    let Some((selector, body)) = bytes.split_first() else { return };
    let message = [LEADS[usize::from(*selector) % LEADS.len()].as_bytes(), body].concat();
    let reference = Reference { now: 1_760_000_000_000_000_000, timezone: TimeZone::UTC };
    for bodies in [Bodies::All, Bodies::Generic] {
        let mut fields = Fields::default();
        let header = syslog::decode_bodies(&message, &reference, bodies, &mut fields);
        assert_eq!(header.is_ok(), syslog::header(&message).is_ok());
        assert!(fields.entries().len() + fields.extras().len() <= FIELDS_MAX);
        let mut event = serde_json::Map::new();
        roje::decode::ecs::to_json(&fields, &message, &mut event);
        let event = serde_json::to_string(&event).unwrap();
        assert!(event.len() <= GROWTH_MAX * message.len() + 256 * 1024, "{}", event.len());
        let mut again = Fields::default();
        let _ = syslog::decode_bodies(&message, &reference, bodies, &mut again);
        assert_eq!(fields.entries(), again.entries());
    }
    let mut event = serde_json::Map::new();
    roje::decode::ecs::original(&message, &mut event);
});
