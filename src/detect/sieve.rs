//! Which of some messages are worth a look.
//!
//! Whether a value is known is asked of filters of megabytes, and of a million values most answers
//! have to be fetched from beyond the caches: one by one, that takes as long as all the rest of a
//! message. So the questions of a group of messages are gathered first and asked together, when the
//! processor waits for many of them at once. Only a message of which some answer is yes, nearly
//! always one with an indicator, is looked through.

use super::token::{Interest, extract_for};
use super::{Observable, RuleSet};
use crate::input::GROUP;
use std::cell::Cell;

/// Questions that are gathered, at most; a message of 64 KiB alone has more.
const QUESTIONS: usize = 256;

/// The questions of a group of messages, reused.
#[derive(Debug)]
pub(super) struct Sieve {
    marks: Questions,
    values: Questions,
    suspects: Cell<u32>,
}

/// Hashes, and the bit of the message in which each stands.
#[derive(Debug)]
struct Questions {
    asked: [Cell<(u64, u32)>; QUESTIONS],
    count: Cell<usize>,
}

impl Default for Sieve {
    fn default() -> Sieve {
        let questions =
            || Questions { asked: [const { Cell::new((0, 0)) }; QUESTIONS], count: Cell::default() };
        Sieve { marks: questions(), values: questions(), suspects: Cell::default() }
    }
}

impl Questions {
    /// Asks later; `answer` answers what has been gathered where there is no more room.
    #[inline(always)]
    fn ask(&self, hash: u64, message: u32, answer: impl FnOnce()) {
        if self.count.get() == QUESTIONS {
            answer();
        }
        let count = self.count.get();
        if let Some(question) = self.asked.get(count) {
            question.set((hash, message));
            self.count.set(count + 1);
        }
    }

    /// The messages of which some answer is yes.
    ///
    /// Without branches: each would be taken before the memory has answered.
    #[inline(never)]
    fn answer(&self, yes: impl Fn(u64) -> bool) -> u32 {
        let asked = self.asked.get(..self.count.take()).unwrap_or_default();
        asked.iter().map(Cell::get).fold(0, |all, (hash, message)| all | (message * u32::from(yes(hash))))
    }
}

impl Sieve {
    /// Bit n: message n may hold a value of some entry; the others hold none. Of more than
    /// [`GROUP`] messages nothing is said.
    pub fn sift<'m>(&self, rules: &RuleSet, messages: impl Iterator<Item = &'m [u8]>) -> u32 {
        self.suspects.set(0);
        for (number, bytes) in messages.take(GROUP).enumerate() {
            let message = 1 << number;
            let asking = Asking { sieve: self, rules, message };
            extract_for(bytes, &asking, &mut |observable| asking.observe(&observable));
            rules.text().scan(bytes, &mut |_| asking.suspect());
        }
        self.answer_marks(rules);
        self.answer_values(rules);
        self.suspects.get()
    }

    #[inline(never)]
    fn answer_marks(&self, rules: &RuleSet) {
        self.suspects.set(self.suspects.get() | self.marks.answer(|mark| rules.knows_mark(mark)));
    }

    #[inline(never)]
    fn answer_values(&self, rules: &RuleSet) {
        self.suspects.set(self.suspects.get() | self.values.answer(|hash| rules.knows(hash)));
    }
}

/// Asks about one message.
struct Asking<'a> {
    sieve: &'a Sieve,
    rules: &'a RuleSet,
    /// The bit of the message.
    message: u32,
}

impl Asking<'_> {
    fn suspect(&self) {
        self.sieve.suspects.set(self.sieve.suspects.get() | self.message);
    }

    #[inline]
    fn observe(&self, observable: &Observable) {
        let Asking { sieve, rules, message } = self;
        if observable.address.is_some_and(|address| rules.prefix_covers(address))
            || rules.is_url_host(observable)
        {
            self.suspect();
        }
        sieve.values.ask(observable.hash, *message, || sieve.answer_values(rules));
    }
}

impl Interest for Asking<'_> {
    /// Not now: if the answer turns out to be yes, the whole message is looked through.
    #[inline(always)]
    fn host(&self, mark: u64) -> bool {
        self.sieve.marks.ask(mark, self.message, || self.sieve.answer_marks(self.rules));
        self.rules.every_name()
    }

    #[inline(always)]
    fn prefix(&self, octets: impl FnOnce() -> u32) -> bool {
        self.rules.prefix(octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::syslog::Reference;
    use crate::detect::Matcher;
    use crate::detect::indicator::{Kind, Meta, Mode, SetBuilder, SetInfo, normalise};
    use jiff::tz::TimeZone;
    use std::sync::Arc;

    fn rules(values: &[(Kind, &str)]) -> RuleSet {
        let mut set = SetBuilder::new(SetInfo {
            name: "set".into(),
            producer: None,
            feed: None,
            reference: None,
            mode: Mode::Indicators,
            path: "set".into(),
            digest: "set".into(),
        });
        let meta = set.meta(&Meta::default());
        for (kind, value) in values {
            set.add(&normalise(*kind, value, true).expect("a value"), meta, None);
        }
        RuleSet::new(vec![Arc::new(set.build())])
    }

    #[test]
    fn a_message_with_a_value_of_any_kind_is_suspected_wherever_it_stands_in_the_group() {
        let hash = "d41d8cd98f00b204e9800998ecf8427f";
        let cases = [
            (Kind::Ip, "192.0.2.1", "from 192.0.2.1 port 7".to_string()),
            (Kind::Ip, "192.0.2.0/24", "from 192.0.2.77:443".to_string()),
            (Kind::Ip, "2001:db8::1", "from [2001:db8:0::1]:443".to_string()),
            (Kind::Ip, "2001:db8::/32", "from 2001:db8:7::1".to_string()),
            (Kind::Domain, "evil.example", "query: A.Evil.Example. IN A".to_string()),
            (Kind::Domain, "evil.example", "query: a.evil[.]example".to_string()),
            (Kind::Url, "http://evil.example/a?b=1", "GET http://evil.example/a?b=1 200".to_string()),
            (Kind::Url, "http://192.0.2.9:8080/a", "GET 192.0.2.9:8080/a 200".to_string()),
            (Kind::Email, "x@evil.example", "from=<X@evil.example>".to_string()),
            (Kind::Md5, hash, format!("MD5={}", hash.to_uppercase())),
            (Kind::Text, "disable_defender.exe", "ran disable_defender.exe".to_string()),
        ];
        for (kind, value, line) in &cases {
            let rules = rules(&[(*kind, value)]);
            for place in 0..GROUP {
                let quiet: &[u8] = b"host 198.51.100.7 asked good.test for https://other.test/x";
                let mut group = [quiet; GROUP];
                group[place] = line.as_bytes();
                let suspects = Matcher::default().sift(&rules, group.into_iter());
                // A filter of one value may take a host for it, and here all others are the same.
                assert!(suspects == 1 << place || suspects == (1 << GROUP) - 1, "{value} in {line}");
                assert!(
                    Matcher::default().look(
                        &rules,
                        line.as_bytes(),
                        &Reference { now: 0, timezone: TimeZone::UTC }
                    ),
                    "{line}"
                );
            }
        }
    }

    #[test]
    fn more_questions_than_there_is_room_for_are_all_asked() {
        let rules = rules(&[(Kind::Domain, "evil.example"), (Kind::Ip, "192.0.2.1")]);
        let many: String = (0..3 * QUESTIONS).map(|number| format!("h{number}.test 10.0.0.1 ")).collect();
        let cases = [
            format!("{many} evil.example"),
            format!("evil.example {many}"),
            format!("{many} ::ffff:192.0.2.1"),
            format!("{many} ::ffff:192.0.2.1 {many}"),
        ];
        for line in cases {
            let group = [b"nothing", line.as_bytes(), b"nothing"];
            let suspects = Matcher::default().sift(&rules, group.into_iter());
            assert_eq!(suspects, 1 << 1);
        }
    }
}
