//! What the operator said of the senders of flow records.
//!
//! A sender that has a `[[source]]` is known: its templates cannot be pushed out by those of strangers.
//! For it the operator may state the sampling rate, and allow it to speak for other exporters.

use ipnet::IpNet;
use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;

/// What holds for one sender; by default for a stranger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// The operator has named it.
    pub known: bool,
    /// It relays the records of others: what it says of who exported them is believed (IE 130 and 131,
    /// the agent of sFlow).
    pub relays: bool,
    /// The sampling rate, whatever the records say.
    pub sampling_rate: Option<NonZeroU32>,
}

/// Senders by address; of nested networks the longest prefix holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Senders {
    /// By the names of client certificates, in lower case, as host names are compared.
    certified: HashMap<String, Sender>,
    single: HashMap<IpAddr, Sender>,
    /// Longest prefixes first.
    wide: Vec<(IpNet, Sender)>,
}

impl Senders {
    /// Of equal networks the first one holds.
    pub fn new(senders: impl IntoIterator<Item = (IpNet, Sender)>) -> Senders {
        let mut all = Senders::default();
        for (network, sender) in senders {
            if network.prefix_len() == network.max_prefix_len() {
                all.single.entry(network.addr()).or_insert(sender);
            } else {
                all.wide.push((network, sender));
            }
        }
        all.wide.sort_by_key(|(network, _)| std::cmp::Reverse(network.prefix_len()));
        all
    }

    /// Adds what holds for the holder of a client certificate with some name; of equal names the first one
    /// holds.
    pub fn certify(&mut self, name: &str, sender: Sender) {
        self.certified.entry(name.to_lowercase()).or_insert(sender);
    }

    /// What holds for the holder of a certificate, if the operator has named it.
    pub fn find_certified(&self, names: &[String]) -> Option<Sender> {
        names.iter().find_map(|name| self.certified.get(&name.to_lowercase()).copied())
    }

    /// What holds for an address.
    pub fn find(&self, address: IpAddr) -> Sender {
        let address = address.to_canonical();
        if let Some(sender) = self.single.get(&address) {
            return *sender;
        }
        let wide = self.wide.iter().find(|(network, _)| network.contains(&address));
        wide.map(|(_, sender)| *sender).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_selects_a_sender() {
        let relay = Sender { known: true, relays: true, ..Sender::default() };
        let mut senders = Senders::default();
        senders.certify("Collector.example", relay);
        senders.certify("collector.EXAMPLE", Sender::default());
        let of = |names: &[&str]| {
            senders.find_certified(&names.iter().map(|name| name.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(of(&["other.example", "COLLECTOR.example"]), Some(relay));
        assert_eq!(of(&["other.example"]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn the_longest_prefix_holds() {
        let rate = |rate| Sender { known: true, sampling_rate: NonZeroU32::new(rate), ..Sender::default() };
        let senders = Senders::new([
            ("10.0.0.0/8".parse().unwrap(), rate(8)),
            ("10.1.0.0/16".parse().unwrap(), rate(16)),
            ("10.1.2.3/32".parse().unwrap(), rate(32)),
            ("10.1.2.3/32".parse().unwrap(), rate(33)),
            ("2001:db8::/32".parse().unwrap(), rate(6)),
        ]);
        for (address, expected) in [
            ("10.1.2.3", rate(32)),
            ("::ffff:10.1.2.3", rate(32)),
            ("10.1.2.4", rate(16)),
            ("10.2.0.1", rate(8)),
            ("2001:db8::1", rate(6)),
            ("192.0.2.1", Sender::default()),
        ] {
            assert_eq!(senders.find(address.parse().unwrap()), expected, "{address}");
        }
    }
}
