//! Decides what an output may see: the one place where that is decided.
//!
//! Contributors that are marked stricter than the output allows are taken out of the alert, and
//! so are the remarks of allow sets; everything that is told of them (`rule`, severity, reason,
//! `roje.tlp`, enrichments, techniques) is told from what is left. If nothing is left, or the
//! constituent's sector is not served, the alert is withheld.

use crate::alert::{Alert, Sector};
use crate::detect::indicator::Tlp;

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
