//! Decides what an output may see: the one place where that is decided.
//!
//! Contributors that are marked stricter than the output allows are taken out of the alert, and
//! so are the remarks of allow sets; everything that is told of them (`rule`, severity, reason,
//! `roje.tlp`, enrichments, techniques) is told from what is left. If nothing is left, or the
//! constituent's sector is not served, the alert is withheld.

use crate::alert::{Alert, SCHEMA, Scope, Sector};
use crate::detect::indicator::Tlp;
use serde::Deserialize;
use std::borrow::Cow;

/// What an output may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The strictest marking that may leave.
    pub tlp: Tlp,
    /// Only alerts of constituents of these sectors; none: all alerts.
    pub sectors: Option<Vec<Sector>>,
}

impl Release {
    /// Whether a contributor of this marking may leave.
    pub fn admits(&self, tlp: Tlp) -> bool {
        tlp <= self.tlp
    }
}

/// Why an alert is withheld from an output; the name is the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Withheld {
    /// Every contributor is marked too strictly.
    Tlp,
    /// The output does not serve the sector of the constituent, or there is no constituent.
    Sector,
}

impl Withheld {
    /// Every reason.
    pub const ALL: [Withheld; 2] = [Withheld::Tlp, Withheld::Sector];

    /// The label of `roje_alerts_withheld_total`.
    pub fn name(self) -> &'static str {
        match self {
            Withheld::Tlp => "tlp",
            Withheld::Sector => "sector",
        }
    }
}

/// What an output may see of an alert.
pub fn release(alert: &Alert, release: &Release) -> Result<Alert, Withheld> {
    // It says nothing of anybody.
    if alert.scope == Scope::Heartbeat {
        return Ok(alert.clone());
    }
    if let Some(sectors) = &release.sectors {
        let served = alert.organization.as_ref().is_some_and(|one| sectors.contains(&one.sector));
        if !served {
            return Err(Withheld::Sector);
        }
    }
    if !alert.contributors.iter().any(|one| release.admits(one.tlp)) {
        return Err(Withheld::Tlp);
    }
    let mut alert = alert.clone();
    alert.contributors.retain(|one| release.admits(one.tlp));
    alert.informs.retain(|one| release.admits(one.tlp));
    Ok(alert)
}

/// What decides, without the rest of the alert.
#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(borrow)]
    roje: Marks<'a>,
}

#[derive(Deserialize)]
struct Marks<'a> {
    schema: u64,
    #[serde(borrow)]
    tlp: Cow<'a, str>,
    #[serde(borrow)]
    sector: Option<Cow<'a, str>>,
    #[serde(borrow)]
    summary: Option<Cow<'a, str>>,
}

/// Whether a line of the spool may leave as it is; withheld if none of it may. None if it takes a
/// closer look: something of it may not leave, or it is nothing that this version wrote.
pub fn leaves_whole(line: &[u8], release: &Release) -> Option<Result<(), Withheld>> {
    let Peek { roje } = serde_json::from_str(std::str::from_utf8(line).ok()?).ok()?;
    if roje.schema != SCHEMA || roje.summary.as_deref() == Some("heartbeat") {
        return None;
    }
    if let Some(sectors) = &release.sectors {
        let sector = roje.sector.as_deref().map(Sector::from_name);
        match sector {
            Some(Some(sector)) if sectors.contains(&sector) => {}
            // A sector of another version: the closer look says what is wrong.
            Some(None) => return None,
            _ => return Some(Err(Withheld::Sector)),
        }
    }
    // The strictest of all that the line tells of.
    let strictest = Tlp::from_name(&roje.tlp.to_ascii_lowercase())?;
    release.admits(strictest).then_some(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::tests::sample;
    use crate::alert::{Contribution, Encoding, Inform, human};
    use crate::detect::indicator::Severity;
    use proptest::prelude::*;

    const CANARY: &str = "CANARY";

    /// What one marking's contributor says; a canary wherever text can stand.
    fn contribution(tlp: Tlp, severity: Severity, canary: bool) -> Contribution {
        let text = |name: &str| if canary { format!("{CANARY}-{name}") } else { name.to_owned() };
        Contribution {
            set: text("set"),
            id: Some(text("id")),
            producer: Some(text("producer")),
            feed: Some(text("feed")),
            reference: Some(text("reference")),
            tlp,
            severity,
            confidence: Some(if canary { 99 } else { 40 }),
            valid_from: None,
            valid_until: None,
            rsit: Some(text("rsit")),
            attack: vec![text("T1")],
            description: Some(text("description")),
            expired: false,
        }
    }

    fn everything(alert: &Alert) -> String {
        let mut line = Vec::new();
        Encoding::Ecs.encode(alert, &mut line);
        Encoding::Cef.encode(alert, &mut line);
        String::from_utf8(line).unwrap() + &human(alert, false)
    }

    #[test]
    fn a_red_canary_appears_nowhere() {
        let mut alert = sample();
        alert.contributors = vec![
            contribution(Tlp::Red, Severity::Critical, true),
            contribution(Tlp::Green, Severity::Low, false),
        ];
        alert.informs =
            vec![Inform { set: CANARY.into(), reason: Some(CANARY.into()), tlp: Tlp::AmberStrict }];
        assert!(everything(&alert).contains(CANARY));
        let seen = release(&alert, &Release { tlp: Tlp::Amber, sectors: None }).unwrap();
        let text = everything(&seen);
        assert!(!text.contains(CANARY), "{text}");
        let json = seen.to_json();
        assert_eq!(json["event"]["severity"], 21);
        assert_eq!(json["roje"]["tlp"], "GREEN");
        assert_eq!(json["roje"]["confidence"], 40);
        assert_eq!(json["rule"]["ruleset"], "set");
        assert_eq!(json["threat"]["enrichments"].as_array().unwrap().len(), 1);
        assert!(seen.reason().contains("low severity"), "{}", seen.reason());
    }

    #[test]
    fn sectors_and_markings_withhold() {
        let alert = sample();
        let nobody = Alert { organization: None, ..sample() };
        for (name, alert, tlp, sectors, expected) in [
            ("all sectors", &alert, Tlp::Red, None, Ok(())),
            ("its sector", &alert, Tlp::AmberStrict, Some(vec![Sector::Energy]), Ok(())),
            ("another sector", &alert, Tlp::Red, Some(vec![Sector::Water]), Err(Withheld::Sector)),
            ("no constituent", &nobody, Tlp::Red, Some(vec![Sector::Energy]), Err(Withheld::Sector)),
            ("no constituent, all sectors", &nobody, Tlp::Red, None, Ok(())),
            ("marked stricter", &alert, Tlp::Amber, None, Err(Withheld::Tlp)),
            ("no sector at all", &alert, Tlp::Red, Some(vec![]), Err(Withheld::Sector)),
        ] {
            let found = release(alert, &Release { tlp, sectors }).map(|_| ());
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn a_line_leaves_whole_exactly_if_nothing_is_taken_out() {
        let mut mixed = sample();
        mixed.contributors = vec![
            contribution(Tlp::Red, Severity::High, true),
            contribution(Tlp::Green, Severity::Low, false),
        ];
        let mut remarked = sample();
        remarked.informs = vec![Inform { set: "s".into(), reason: None, tlp: Tlp::Red }];
        let nobody = Alert { organization: None, ..sample() };
        for alert in [sample(), mixed, remarked, nobody] {
            let line = alert.to_line();
            for tlp in Tlp::ALL {
                for sectors in [None, Some(vec![Sector::Energy]), Some(vec![Sector::Water])] {
                    let allowed = Release { tlp, sectors };
                    let whole = leaves_whole(&line, &allowed);
                    let seen = release(&alert, &allowed);
                    match whole {
                        Some(Ok(())) => assert_eq!(seen.unwrap().to_line(), line, "{allowed:?}"),
                        Some(Err(reason)) => assert_eq!(seen.err(), Some(reason), "{allowed:?}"),
                        None => assert!(seen.is_err() || seen.unwrap() != alert, "{allowed:?}"),
                    }
                }
            }
        }
        let open = Release { tlp: Tlp::Red, sectors: None };
        let other = String::from_utf8(sample().to_line()).unwrap().replace("\"schema\":1", "\"schema\":2");
        for line in [other.as_bytes(), b"", b"{}", b"[]", b"{\"roje\":1}", b"\xff"] {
            assert_eq!(leaves_whole(line, &open), None, "{}", String::from_utf8_lossy(line));
        }
    }

    proptest! {
        #[test]
        fn nothing_stricter_ever_leaves(markings in proptest::collection::vec(0..5usize, 1..6), limit in 0..5usize) {
            let mut alert = sample();
            let limit = Tlp::ALL[limit];
            alert.contributors =
                markings.iter().map(|n| contribution(Tlp::ALL[*n], Severity::High, Tlp::ALL[*n] > limit)).collect();
            match release(&alert, &Release { tlp: limit, sectors: None }) {
                Ok(seen) => {
                    prop_assert!(!everything(&seen).contains(CANARY));
                    prop_assert!(seen.tlp() <= limit);
                    prop_assert!(Alert::from_line(&seen.to_line()).as_ref() == Ok(&seen));
                }
                Err(reason) => {
                    prop_assert_eq!(reason, Withheld::Tlp);
                    prop_assert!(markings.iter().all(|n| Tlp::ALL[*n] > limit));
                }
            }
        }
    }
}
