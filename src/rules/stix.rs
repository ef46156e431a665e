//! STIX 2.0 and 2.1: the indicators of bundles, with markings, validity and what they indicate.
//!
//! [`read`] walks a bundle, a TAXII envelope, a list of objects or one object twice: first for what
//! objects say of each other (identities, markings, techniques, relationships), then for the
//! indicators, which are the rows. The pattern of each is parsed whole by [`pattern`], and taken
//! apart into values where that says the same: a disjunction of `=`, `IN`, `LIKE` and `ISSUBSET`. What
//! needs a memory of other messages, or says what is *not* seen, is refused by its name.
//!
//! `=` on a name is that name alone, without its subdomains.

use super::foreign::{Intake, Refusal};
use super::json::{Json, Malformed, Shape, Text, raw_offset};
use super::misp::{nanos, shortened, tlp_of};
use super::native::{is_technique, meant};
use super::pattern::{self, Comparison, Literal, Observation, Operator, Qualifier, Step, Test};
use crate::detect::indicator::{Kind, MatchMode, Meta, Tlp};
use crate::input::Nanos;
use hashbrown::HashMap;
use std::borrow::Cow;
use std::ops::Range;

/// Values of one pattern; a longer list is a feed of its own.
const MOST_VALUES: usize = 10_000;

/// Techniques and names that one indicator carries.
const MOST_TARGETS: usize = 64;

/// The markings that the standard defines by id, of TLP 1 and 2.
const MARKINGS: [(&str, Tlp); 10] = [
    // OpenCTI's, from before there was one.
    ("marking-definition--826578e1-40ad-459f-bc73-ede076f81f37", Tlp::AmberStrict),
    ("marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9", Tlp::Clear),
    ("marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da", Tlp::Green),
    ("marking-definition--f88d31f6-486f-44da-b317-01333bde0b82", Tlp::Amber),
    ("marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed", Tlp::Red),
    ("marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487", Tlp::Clear),
    ("marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb", Tlp::Green),
    ("marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421", Tlp::Amber),
    ("marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003", Tlp::AmberStrict),
    ("marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1", Tlp::Red),
];

/// The id of the TLP 2 marking of a name.
pub fn marking_id(tlp: Tlp) -> &'static str {
    MARKINGS.iter().rev().find(|(_, marking)| *marking == tlp).map_or("", |(id, _)| *id)
}

/// What the objects of a bundle say of each other.
#[derive(Default)]
struct Context<'a> {
    /// Names of identities, malware, tools, actors.
    names: HashMap<Cow<'a, str>, String>,
    techniques: HashMap<Cow<'a, str>, String>,
    markings: HashMap<Cow<'a, str>, Tlp>,
    /// What an indicator indicates.
    indicates: HashMap<Cow<'a, str>, Vec<Cow<'a, str>>>,
    /// Where the indicators stand, in order.
    indicators: Vec<usize>,
    /// By id: the version that was modified last, and where it stands.
    versions: HashMap<Cow<'a, str>, (Nanos, usize)>,
}

/// Reads every indicator of a text.
pub fn read(intake: &mut Intake<'_>) -> Result<(), Malformed> {
    let mut json = Json::new(intake.text);
    let mut context = Context::default();
    match json.shape()? {
        Shape::Array => {
            json.array(|json| object(json, intake, &mut context))?;
        }
        _ => top(&mut json, intake, &mut context)?,
    }
    json.end()?;
    for place in std::mem::take(&mut context.indicators) {
        indicator(intake, &context, place)?;
    }
    Ok(())
}

/// A bundle, an envelope, or one object.
fn top<'a>(json: &mut Json<'a>, intake: &mut Intake<'a>, context: &mut Context<'a>) -> Result<(), Malformed> {
    let start = json.place();
    let mut bundle = false;
    json.object(|key, json| {
        if key.text == "objects" && json.shape()? == Shape::Array {
            bundle = true;
            json.array(|json| object(json, intake, context))?;
        }
        Ok(())
    })?;
    if bundle { Ok(()) } else { object(&mut Json::at(intake.text, start), intake, context) }
}

/// What any object may say.
#[derive(Default)]
struct Common<'a> {
    id: Option<Text<'a>>,
    kind: Option<Text<'a>>,
    name: Option<Text<'a>>,
    created: Option<Text<'a>>,
    modified: Option<Text<'a>>,
    spec_version: Option<Text<'a>>,
    relationship: Option<Text<'a>>,
    source: Option<Text<'a>>,
    target: Option<Text<'a>>,
    technique: Option<String>,
    tlp: Option<Tlp>,
    revoked: bool,
}

fn object<'a>(
    json: &mut Json<'a>,
    intake: &mut Intake<'a>,
    context: &mut Context<'a>,
) -> Result<(), Malformed> {
    let start = json.place();
    let mut read = Common::default();
    let whole = json.object(|key, json| {
        match &*key.text {
            "id" => read.id = json.text()?,
            "type" => read.kind = json.text()?,
            "name" => {
                read.name = json.text()?;
                let tlp = read.name.as_ref().and_then(|name| tlp_of(&name.text.to_ascii_lowercase()));
                read.tlp = read.tlp.or(tlp);
            }
            // What OpenCTI's statements mean.
            "x_opencti_definition" => {
                let tlp = json.text()?.and_then(|name| tlp_of(&name.text.to_ascii_lowercase()));
                read.tlp = read.tlp.or(tlp);
            }
            "created" => read.created = json.text()?,
            "modified" => read.modified = json.text()?,
            "spec_version" => read.spec_version = json.text()?,
            "relationship_type" => read.relationship = json.text()?,
            "source_ref" => read.source = json.text()?,
            "target_ref" => read.target = json.text()?,
            "revoked" => read.revoked = json.flag()?.unwrap_or(false),
            "definition" => {
                json.object(|key, json| {
                    if key.text == "tlp" {
                        read.tlp = marking_name(json)?.or(read.tlp);
                    }
                    Ok(())
                })?;
            }
            "extensions" => {
                json.object(|_, json| {
                    json.object(|key, json| {
                        if key.text == "tlp_2_0" {
                            read.tlp = marking_name(json)?.or(read.tlp);
                        }
                        Ok(())
                    })
                    .map(drop)
                })?;
            }
            "external_references" => read.technique = technique(json)?,
            _ => {}
        }
        Ok(())
    })?;
    let at = start..start + 1;
    let Some(kind) = read.kind.as_ref().map(|kind| kind.text.clone()).filter(|_| whole) else {
        intake.mistake(at, "a STIX object has a `type`");
        return Ok(());
    };
    let Some(id) = read.id.clone().filter(|id| is_id(&id.text, &kind)) else {
        let at = read.id.as_ref().map_or(at, |id| id.span.clone());
        if kind == "indicator" {
            intake.row("indicator");
            let message = "the id of an object is its type, `--` and a UUID";
            intake.refuse("indicator", Refusal::bad("not a STIX id").because(message), at);
        } else if kind != "bundle" {
            intake.mistake(at, "the id of an object is its type, `--` and a UUID");
        }
        return Ok(());
    };
    let times = times(&read, &at);
    if let Err((at, message)) = &times {
        if kind == "indicator" {
            intake.row("indicator");
            let refusal = Refusal::bad("not a time of creation and change").because(message.clone());
            intake.refuse("indicator", refusal, at.clone());
            return Ok(());
        }
        intake.mistake(at.clone(), message.clone());
    }
    let modified = times.unwrap_or_default();
    match &*kind {
        "indicator" => {
            let newest = context.versions.entry(id.text).or_insert((modified, start));
            if modified >= newest.0 {
                *newest = (modified, start);
            }
            context.indicators.push(start);
        }
        "marking-definition" => {
            context.markings.extend(read.tlp.map(|tlp| (id.text, tlp)));
        }
        "relationship" if !read.revoked => {
            if let (Some(relation), Some(source), Some(target)) =
                (read.relationship, read.source, read.target)
                && relation.text == "indicates"
            {
                let targets = context.indicates.entry(source.text).or_default();
                if targets.len() < MOST_TARGETS {
                    targets.push(target.text);
                }
            }
        }
        _ => {
            if let Some(technique) = read.technique.filter(|_| kind == "attack-pattern") {
                context.techniques.insert(id.text.clone(), technique);
            }
            if let Some(name) = read.name.and_then(|name| shortened(&name.text)) {
                context.names.insert(id.text, name);
            }
        }
    }
    Ok(())
}

/// `malware--…`: the type, then a UUID.
fn is_id(id: &str, kind: &str) -> bool {
    let rest = id.strip_prefix(kind).and_then(|rest| rest.strip_prefix("--"));
    id.len() <= 256 && rest.is_some_and(super::foreign::is_uuid)
}

/// The time of the last change. Observables have none; of the others version 2.1 asks for both times.
fn times(read: &Common<'_>, at: &Range<usize>) -> Result<Nanos, (Range<usize>, String)> {
    let time = |text: &Text<'_>| {
        let written = &*text.text;
        let time = nanos(written).filter(|_| written.contains('T') && written.ends_with('Z'));
        time.ok_or_else(|| {
            (text.span.clone(), format!("`{written}` is no time such as 2026-01-02T03:04:05Z"))
        })
    };
    let marking = read.kind.as_ref().is_some_and(|kind| kind.text == "marking-definition");
    match (&read.created, &read.modified) {
        (Some(created), Some(modified)) => {
            let (from, to) = (time(created)?, time(modified)?);
            match to < from {
                true => Err((modified.span.clone(), "`modified` is before `created`".to_owned())),
                false => Ok(to),
            }
        }
        (Some(created), None) if marking => time(created),
        (Some(_), None) => Err((at.clone(), "`created` without `modified`".to_owned())),
        (None, Some(modified)) => Err((modified.span.clone(), "`modified` without `created`".to_owned())),
        (None, None) => Ok(0),
    }
}

fn marking_name(json: &mut Json<'_>) -> Result<Option<Tlp>, Malformed> {
    Ok(json.text()?.and_then(|name| tlp_of(&format!("tlp:{}", name.text.to_ascii_lowercase()))))
}

/// The ATT&CK id among the references of an object.
fn technique(json: &mut Json<'_>) -> Result<Option<String>, Malformed> {
    let mut found = None;
    json.array(|json| {
        let (mut attack, mut id) = (false, None);
        json.object(|key, json| {
            match &*key.text {
                "source_name" => attack = json.text()?.is_some_and(|name| name.text.starts_with("mitre-")),
                "external_id" => id = json.text()?.map(|id| id.text.into_owned()),
                _ => {}
            }
            Ok(())
        })?;
        let known = id.filter(|id| attack && is_technique(id));
        found = found.take().or(known);
        Ok(())
    })?;
    Ok(found)
}

/// What an indicator says.
#[derive(Default)]
struct Indicator<'a> {
    id: Option<Text<'a>>,
    pattern: Option<Text<'a>>,
    pattern_type: Option<Text<'a>>,
    name: Option<Text<'a>>,
    description: Option<Text<'a>>,
    valid_from: Option<Text<'a>>,
    valid_until: Option<Text<'a>>,
    created_by: Option<Text<'a>>,
    confidence: Option<Text<'a>>,
    reference: Option<String>,
    markings: Vec<Cow<'a, str>>,
    kinds: Vec<Cow<'a, str>>,
    revoked: bool,
}

fn indicator<'a>(intake: &mut Intake<'a>, context: &Context<'a>, place: usize) -> Result<(), Malformed> {
    let mut read = Indicator::default();
    Json::at(intake.text, place).object(|key, json| {
        match &*key.text {
            "id" => read.id = json.text()?,
            "pattern" => read.pattern = json.text()?,
            "pattern_type" => read.pattern_type = json.text()?,
            "name" => read.name = json.text()?,
            "description" => read.description = json.text()?,
            "valid_from" => read.valid_from = json.text()?,
            "valid_until" => read.valid_until = json.text()?,
            "created_by_ref" => read.created_by = json.text()?,
            "confidence" => read.confidence = json.text()?,
            "revoked" => read.revoked = json.flag()?.unwrap_or(false),
            "object_marking_refs" => texts(json, &mut read.markings)?,
            // Part of an indicator may be marked more strictly; it is one value to us.
            "granular_markings" => {
                json.array(|json| {
                    json.object(|key, json| {
                        if key.text == "marking_ref" {
                            read.markings.extend(json.text()?.map(|text| text.text));
                        }
                        Ok(())
                    })
                    .map(drop)
                })?;
            }
            // Version 2.0 has `labels` for them.
            "indicator_types" | "labels" => texts(json, &mut read.kinds)?,
            "external_references" => read.reference = reference(json)?,
            _ => {}
        }
        Ok(())
    })?;
    const OF: &str = "indicator";
    intake.row(OF);
    let at = place..place + 1;
    let id = read.id.as_ref().map(|id| id.text.clone()).unwrap_or_default();
    let newest = context.versions.get(&id).is_none_or(|(_, newest)| *newest == place);
    let language = read.pattern_type.as_ref().map_or("stix", |text| &*text.text);
    let refusal = match &read.pattern {
        _ if !newest => Some(Refusal::skip("an older version of an indicator")),
        _ if read.revoked => Some(Refusal::skip("revoked")),
        _ if read.kinds.iter().any(|kind| kind == "benign") => {
            Some(Refusal::skip("`indicator_types` say benign"))
        }
        None => Some(Refusal::bad("indicator without `pattern`")),
        Some(_) if language != "stix" => Some(Refusal::unheld(match language {
            "sigma" => "a Sigma rule",
            "snort" => "a Snort rule",
            "suricata" => "a Suricata rule",
            "yara" => "a YARA rule",
            "pcre" => "a regular expression",
            _ => "another pattern language",
        })),
        Some(_) => None,
    };
    let (Some(written), None) = (&read.pattern, &refusal) else {
        let refusal = refusal.unwrap_or_else(|| Refusal::bad("indicator without `pattern`"));
        intake.refuse(OF, refusal, read.pattern.map_or(at, |text| text.span));
        return Ok(());
    };
    let in_pattern = |place: Range<usize>| {
        let start = raw_offset(intake.text, &written.span, place.start);
        start..raw_offset(intake.text, &written.span, place.end).max(start)
    };
    let tree = match pattern::parse(&written.text) {
        Ok(tree) => tree,
        Err(mistake) => {
            let message = format!("the pattern is none: expected {}", mistake.expected);
            let at = in_pattern(mistake.at..mistake.at + 1);
            intake.refuse(OF, Refusal::bad("not a STIX pattern").because(message), at);
            return Ok(());
        }
    };
    let mut sights = Vec::new();
    if let Err(unheld) = observation(&tree, Window::default(), &mut sights) {
        let at = in_pattern(unheld.at.clone());
        intake.refuse(OF, Refusal::unheld(unheld.reason).because(unheld.message), at);
        return Ok(());
    }
    let base = match policy(&read, context) {
        Ok(base) => base,
        Err((span, message)) => {
            intake.refuse(OF, Refusal::bad("not a time of validity").because(message), span);
            return Ok(());
        }
    };
    // A name and `LIKE '%.name'` are the name with its subdomains.
    let whole: Vec<String> = sights
        .iter()
        .filter(|sight| sight.kind == Kind::Domain && sight.matching == MatchMode::Default)
        .map(|sight| sight.text.to_ascii_lowercase())
        .collect();
    // Lists of thousands of names have no such pairs.
    sights.retain(|sight| {
        whole.len() > MOST_TARGETS
            || sight.matching != MatchMode::Exact
            || !whole.contains(&sight.text.to_ascii_lowercase())
    });
    let mut last: Option<(u32, Sight)> = None;
    for sight in sights {
        let meta = match &last {
            Some((meta, before)) if before.scope() == sight.scope() => *meta,
            _ => {
                let Some(own) = sight.policy(&base) else {
                    intake.refuse(sight.of, Refusal::bad("never valid"), in_pattern(sight.at.clone()));
                    continue;
                };
                intake.metas.intern(own)
            }
        };
        let at = in_pattern(sight.at.clone());
        intake.value(sight.of, (sight.kind, &sight.text), meta, Some(&id), at);
        last = Some((meta, sight));
    }
    Ok(())
}

fn texts<'a>(json: &mut Json<'a>, into: &mut Vec<Cow<'a, str>>) -> Result<(), Malformed> {
    json.array(|json| {
        into.extend(json.text()?.map(|text| text.text));
        Ok(())
    })
    .map(drop)
}

fn reference(json: &mut Json<'_>) -> Result<Option<String>, Malformed> {
    let mut found = None;
    json.array(|json| {
        json.object(|key, json| {
            if key.text == "url" && found.is_none() {
                found = json.text()?.and_then(|text| shortened(&text.text));
            }
            Ok(())
        })
        .map(drop)
    })?;
    Ok(found)
}

/// What all values of an indicator share.
fn policy(read: &Indicator<'_>, context: &Context<'_>) -> Result<Meta, (Range<usize>, String)> {
    let time = |text: &Option<Text<'_>>| match text {
        None => Ok(None),
        Some(text) => nanos(&text.text).map(Some).ok_or_else(|| {
            (text.span.clone(), format!("`{}` is no time such as 2026-01-02T03:04:05Z", text.text))
        }),
    };
    let (valid_from, valid_until) = (time(&read.valid_from)?, time(&read.valid_until)?);
    if let (Some(from), Some(until), Some(text)) = (valid_from, valid_until, &read.valid_until)
        && until <= from
    {
        let message = "`valid_until` is not after `valid_from`: this can never fire";
        return Err((text.span.clone(), message.to_owned()));
    }
    let known = |id: &Cow<'_, str>| {
        let defined = MARKINGS.iter().find(|(known, _)| known == id).map(|(_, tlp)| *tlp);
        defined.or_else(|| context.markings.get(id).copied())
    };
    let targets = read.id.as_ref().and_then(|id| context.indicates.get(&id.text));
    let mut attack: Vec<String> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for target in targets.into_iter().flatten() {
        match (context.techniques.get(target), context.names.get(target)) {
            (Some(technique), _) if !attack.contains(technique) => attack.push(technique.clone()),
            (None, Some(name)) if !names.contains(&name.as_str()) => names.push(name),
            _ => {}
        }
    }
    let text = |text: &Option<Text<'_>>| text.as_ref().and_then(|text| shortened(&text.text));
    let own = text(&read.name).or_else(|| text(&read.description)).unwrap_or_default();
    let description = match names.is_empty() {
        true => own,
        false if own.is_empty() => format!("indicates {}", names.join(", ")),
        false => format!("{own}; indicates {}", names.join(", ")),
    };
    let confidence = read.confidence.as_ref().and_then(|text| text.text.parse::<u8>().ok());
    let default = Meta::default();
    Ok(Meta {
        tlp: read.markings.iter().filter_map(known).max().unwrap_or(default.tlp),
        confidence: confidence.filter(|confidence| *confidence <= 100),
        valid_from,
        valid_until,
        attack,
        description: shortened(&description),
        reference: read.reference.clone(),
        producer: read.created_by.as_ref().and_then(|id| context.names.get(&id.text)).cloned(),
        ..default
    })
}

// ---- from patterns to values

/// A value that a message may show.
#[derive(Clone, Debug, PartialEq)]
struct Sight {
    /// The path, as the account has it.
    of: &'static str,
    kind: Kind,
    text: String,
    matching: MatchMode,
    side: Side,
    ports: Vec<u16>,
    window: Window,
    at: Range<usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Side {
    #[default]
    Either,
    Source,
    Destination,
}

/// `START` and `STOP`, which bound the time of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Window {
    from: Option<Nanos>,
    until: Option<Nanos>,
}

impl Sight {
    fn scope(&self) -> (MatchMode, Side, &[u16], Window) {
        (self.matching, self.side, &self.ports, self.window)
    }

    /// The policy of the value; none if it is never valid.
    fn policy(&self, base: &Meta) -> Option<Meta> {
        let address = self.kind == Kind::Ip;
        let valid_from = base.valid_from.max(self.window.from);
        let valid_until = match (base.valid_until, self.window.until) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        if let (Some(from), Some(until)) = (valid_from, valid_until)
            && until <= from
        {
            return None;
        }
        Some(Meta {
            valid_from,
            valid_until,
            matching: self.matching,
            where_source: address && self.side == Side::Source,
            where_destination: address && self.side == Side::Destination,
            ports: if address { self.ports.clone() } else { Vec::new() },
            ..base.clone()
        })
    }
}

/// Why a pattern cannot be held.
struct Unheld {
    /// One of few, to group by.
    reason: &'static str,
    message: String,
    at: Range<usize>,
}

fn unheld<T>(reason: &'static str, at: Range<usize>) -> Result<T, Unheld> {
    Err(Unheld { reason, message: reason.to_owned(), at })
}

fn observation(tree: &Observation, window: Window, sights: &mut Vec<Sight>) -> Result<(), Unheld> {
    match tree {
        Observation::Test(inner) => comparison(inner, window, sights),
        Observation::Or(all) => all.iter().try_for_each(|one| observation(one, window, sights)),
        Observation::And(all) => unheld("`AND` of observations needs a memory of what was seen", place(all)),
        Observation::FollowedBy(all) => unheld("`FOLLOWEDBY` needs a memory of what was seen", place(all)),
        // One message is within any time of itself.
        Observation::Qualified(inner, Qualifier::Within(_) | Qualifier::Repeats(1)) => {
            observation(inner, window, sights)
        }
        Observation::Qualified(inner, Qualifier::Repeats(_)) => {
            unheld("`REPEATS` needs a memory of what was seen", place(std::slice::from_ref(&**inner)))
        }
        Observation::Qualified(inner, Qualifier::StartStop(start, stop)) => {
            let from = window.from.max(Some(*start));
            let until = Some(window.until.map_or(*stop, |until| until.min(*stop)));
            observation(inner, Window { from, until }, sights)
        }
    }
}

/// The bytes from the first test of observations to their last.
fn place(all: &[Observation]) -> Range<usize> {
    fn tests<'t>(tree: &'t Observation, found: &mut Vec<&'t Test>) {
        match tree {
            Observation::Test(inner) => flat(inner, found),
            Observation::Qualified(inner, _) => tests(inner, found),
            Observation::And(all) | Observation::Or(all) | Observation::FollowedBy(all) => {
                all.iter().for_each(|one| tests(one, found));
            }
        }
    }
    let mut found = Vec::new();
    all.iter().for_each(|one| tests(one, &mut found));
    let start = found.iter().map(|test| test.at.start).min().unwrap_or(0);
    start..found.iter().map(|test| test.at.end).max().unwrap_or(start)
}

/// Every test of a comparison.
fn flat<'t>(tree: &'t Comparison, found: &mut Vec<&'t Test>) {
    match tree {
        Comparison::Test(test) => found.push(test),
        Comparison::And(all) | Comparison::Or(all) => all.iter().for_each(|one| flat(one, found)),
    }
}

fn comparison(tree: &Comparison, window: Window, sights: &mut Vec<Sight>) -> Result<(), Unheld> {
    match tree {
        Comparison::Or(all) => all.iter().try_for_each(|one| comparison(one, window, sights)),
        Comparison::Test(one) => test(one, window, sights),
        Comparison::And(all) => {
            let mut tests = Vec::new();
            for one in all {
                conjuncts(one, &mut tests)?;
            }
            conjunction(&tests, window, sights)
        }
    }
}

/// The tests of an `AND`, which may have another inside, but no `OR`.
fn conjuncts<'t>(tree: &'t Comparison, tests: &mut Vec<&'t Test>) -> Result<(), Unheld> {
    match tree {
        Comparison::Test(test) => tests.push(test),
        Comparison::And(all) => {
            for one in all {
                conjuncts(one, tests)?;
            }
        }
        Comparison::Or(_) => {
            let mut found = Vec::new();
            flat(tree, &mut found);
            let at = found.first().map_or(0..0, |test| test.at.clone());
            return unheld("`OR` inside of `AND`", at);
        }
    }
    Ok(())
}

/// What all hold of one object. Three forms say no more than their values: digests of one file, whatever
/// else is said of it; a name and what it resolves to; an address and its ports.
fn conjunction(tests: &[&Test], window: Window, sights: &mut Vec<Sight>) -> Result<(), Unheld> {
    let paths: Vec<String> = tests.iter().map(|test| key(&test.path)).collect();
    let positive = |test: &&Test| !test.negated && matches!(test.operator, Operator::Equal | Operator::In);
    let with_paths = || tests.iter().zip(&paths);
    let is_digest = |path: &str| path.starts_with("file:hashes.") && target(path).is_some();
    if tests.iter().all(positive) {
        if paths.iter().all(|path| path.starts_with("file:")) && paths.iter().any(|path| is_digest(path)) {
            let digests = with_paths().filter(|(_, path)| is_digest(path));
            return digests.into_iter().try_for_each(|(one, _)| test(one, window, sights));
        }
        let domain = |path: &String| {
            matches!(path.as_str(), "domain-name:value" | "domain-name:resolves_to_refs[*].value")
        };
        if paths.iter().all(domain) {
            return tests.iter().try_for_each(|one| test(one, window, sights));
        }
    }
    let mut endpoint = None;
    let mut ports = Vec::new();
    for (one, path) in with_paths() {
        match path.as_str() {
            // What an address or a name is, it shows itself.
            "network-traffic:dst_ref.type" | "network-traffic:src_ref.type" if positive(one) => {}
            "network-traffic:dst_port" | "network-traffic:src_port" if positive(one) => {
                ports.push((one, path, numbers(one)?));
            }
            "network-traffic:dst_ref.value" | "network-traffic:src_ref.value" if endpoint.is_none() => {
                endpoint = Some((one, path));
            }
            _ => {
                let message = format!("`AND` with `{}`: both would have to stand in one message", one.path);
                let reason = "`AND` of facts that one value does not hold";
                return Err(Unheld { reason, message, at: one.at.clone() });
            }
        }
    }
    let Some((one, path)) = endpoint else {
        return unheld("ports without an address", tests.first().map_or(0..0, |test| test.at.clone()));
    };
    let side = |path: &str| path.starts_with("network-traffic:dst_");
    let mut bound: Vec<u16> = Vec::new();
    for (other, port, numbers) in &ports {
        if side(port) != side(path) || !bound.is_empty() {
            return unheld("`AND` of two ends of a connection", other.at.clone());
        }
        bound.clone_from(numbers);
    }
    let first = sights.len();
    test(one, window, sights)?;
    for sight in sights.iter_mut().skip(first) {
        sight.ports.clone_from(&bound);
    }
    Ok(())
}

/// The ports of a test.
fn numbers(test: &Test) -> Result<Vec<u16>, Unheld> {
    let port = |value: &Literal| match value {
        Literal::Integer(port) => u16::try_from(*port).ok(),
        // As MISP writes it.
        Literal::Text(port) => port.parse().ok(),
        _ => None,
    };
    let ports: Option<Vec<u16>> =
        test.values.iter().map(|value| port(value).filter(|port| *port > 0)).collect();
    match ports {
        Some(mut ports) if (1..=64).contains(&ports.len()) => {
            ports.sort_unstable();
            ports.dedup();
            Ok(ports)
        }
        _ => unheld("ports that are none", test.at.clone()),
    }
}

/// What a path leads to.
#[derive(Clone, Copy, PartialEq)]
enum Target {
    One(Kind),
    /// A name or an address, at an end of a connection.
    Endpoint(Side),
}

/// The paths that messages show, with the name that the account has for each.
const TARGETS: &[(&str, Target)] = &[
    ("ipv4-addr:value", Target::One(Kind::Ip)),
    ("ipv6-addr:value", Target::One(Kind::Ip)),
    ("domain-name:value", Target::One(Kind::Domain)),
    ("domain-name:resolves_to_refs[*].value", Target::Endpoint(Side::Either)),
    ("url:value", Target::One(Kind::Url)),
    ("email-addr:value", Target::One(Kind::Email)),
    ("email-message:from_ref.value", Target::One(Kind::Email)),
    ("email-message:sender_ref.value", Target::One(Kind::Email)),
    ("email-message:to_refs[*].value", Target::One(Kind::Email)),
    ("email-message:cc_refs[*].value", Target::One(Kind::Email)),
    ("email-message:subject", Target::One(Kind::Text)),
    ("network-traffic:dst_ref.value", Target::Endpoint(Side::Destination)),
    ("network-traffic:src_ref.value", Target::Endpoint(Side::Source)),
    ("file:hashes.md5", Target::One(Kind::Md5)),
    ("file:hashes.sha1", Target::One(Kind::Sha1)),
    ("file:hashes.sha256", Target::One(Kind::Sha256)),
    ("file:hashes.sha512", Target::One(Kind::Sha512)),
    ("x509-certificate:hashes.md5", Target::One(Kind::Md5)),
    ("x509-certificate:hashes.sha1", Target::One(Kind::Sha1)),
    ("x509-certificate:hashes.sha256", Target::One(Kind::Sha256)),
    ("artifact:hashes.md5", Target::One(Kind::Md5)),
    ("artifact:hashes.sha1", Target::One(Kind::Sha1)),
    ("artifact:hashes.sha256", Target::One(Kind::Sha256)),
    ("artifact:hashes.sha512", Target::One(Kind::Sha512)),
    ("file:name", Target::One(Kind::Text)),
    // No property of the standard, but what indicators of spyware name.
    ("file:path", Target::One(Kind::Text)),
    ("directory:path", Target::One(Kind::Text)),
    ("process:name", Target::One(Kind::Text)),
    ("process:command_line", Target::One(Kind::Text)),
    ("mutex:name", Target::One(Kind::Text)),
    ("windows-registry-key:key", Target::One(Kind::Text)),
    ("network-traffic:extensions.http-request-ext.request_header.user-agent", Target::One(Kind::Text)),
];

fn target(path: &str) -> Option<(&'static str, Target)> {
    TARGETS.iter().find(|(known, _)| *known == path).copied()
}

/// A path as [`TARGETS`] writes it: names of digests without hyphens, all in lower case.
fn key(path: &pattern::Path) -> String {
    let mut key = format!("{}:", path.object);
    let digests = matches!(path.steps.first(), Some(Step::Key(name)) if name == "hashes");
    for (index, step) in path.steps.iter().enumerate() {
        match step {
            Step::Key(name) => {
                if index > 0 {
                    key.push('.');
                }
                let plain = |character: &char| !(digests && index > 0 && matches!(character, '-' | '_'));
                key.extend(name.chars().filter(plain).map(|character| character.to_ascii_lowercase()));
            }
            // Whichever of several it is.
            Step::Index(_) | Step::Any => key.push_str("[*]"),
        }
    }
    key
}

fn test(test: &Test, window: Window, sights: &mut Vec<Sight>) -> Result<(), Unheld> {
    let at = || test.at.clone();
    let Some((of, target)) = target(&key(&test.path)) else {
        let digest = test.path.steps.iter().any(|step| matches!(step, Step::Key(name) if name == "hashes"));
        let reason =
            if digest { "a digest that messages do not show" } else { "a path that messages do not show" };
        return Err(Unheld { reason, message: format!("messages do not show `{}`", test.path), at: at() });
    };
    let reason = match test.operator {
        Operator::Equal | Operator::In | Operator::Like | Operator::IsSubset if test.negated => {
            Some("`NOT` says what is not seen")
        }
        Operator::NotEqual => Some("`!=` says what is not seen"),
        Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
            Some("a comparison by order")
        }
        Operator::Matches => Some("`MATCHES` needs a regular expression"),
        Operator::IsSuperset => Some("`ISSUPERSET` means every network around an address"),
        Operator::Exists => Some("`EXISTS` holds of every message of a kind"),
        _ => None,
    };
    if let Some(reason) = reason {
        return unheld(reason, at());
    }
    for value in &test.values {
        let Literal::Text(text) = value else { return unheld("a value that is no text", at()) };
        if sights.len() >= MOST_VALUES {
            return unheld("more than 10000 values", at());
        }
        let sight = |kind, text: &str, matching, side| Sight {
            of,
            kind,
            text: text.to_owned(),
            matching,
            side,
            ports: Vec::new(),
            window,
            at: test.at.clone(),
        };
        let exact = |kind| if kind == Kind::Domain { MatchMode::Exact } else { MatchMode::Default };
        let (kind, side) = match target {
            Target::One(kind) => (kind, Side::Either),
            Target::Endpoint(side) => match meant(text) {
                Some(Kind::Domain) => (Kind::Domain, side),
                _ => (Kind::Ip, side),
            },
        };
        sights.push(match test.operator {
            Operator::IsSubset if kind != Kind::Ip => {
                return unheld("`ISSUBSET` of what is no address", at());
            }
            Operator::Like => match like(kind, text) {
                Ok((kind, text, matching)) => sight(kind, &text, matching, side),
                Err(reason) => return unheld(reason, at()),
            },
            _ => sight(kind, text, exact(kind), side),
        });
    }
    Ok(())
}

/// The value that stands for a text with `%` (anything) and `_` (one character).
fn like(kind: Kind, text: &str) -> Result<(Kind, String, MatchMode), &'static str> {
    const INSIDE: &str = "`LIKE` with a wildcard inside of a value";
    if !text.contains(['%', '_']) || text.contains('_') && !text.contains('%') && kind != Kind::Ip {
        // Names have underscores; nobody means any character by one.
        let exact = if kind == Kind::Domain { MatchMode::Exact } else { MatchMode::Default };
        return Ok((kind, text.to_owned(), exact));
    }
    let literal = text.trim_matches('%');
    if literal.is_empty() || literal.contains('%') {
        return Err(INSIDE);
    }
    match kind {
        Kind::Domain => match text.strip_prefix("%.").filter(|rest| !rest.contains('%')) {
            Some(name) => Ok((Kind::Domain, name.to_owned(), MatchMode::Default)),
            None => Err(INSIDE),
        },
        Kind::Ip => {
            // 198.51.100.% is the network of these octets.
            let octets: Vec<&str> =
                text.strip_suffix(".%").map(|head| head.split('.').collect()).unwrap_or_default();
            match octets.len() {
                1..=3 if octets.iter().all(|octet| octet.parse::<u8>().is_ok()) => {
                    let zeros = ".0".repeat(4 - octets.len());
                    let prefix = format!("{}{zeros}/{}", octets.join("."), 8 * octets.len());
                    Ok((Kind::Ip, prefix, MatchMode::Default))
                }
                _ => Err(INSIDE),
            }
        }
        Kind::Url | Kind::Email | Kind::Text => Ok((Kind::Text, literal.to_owned(), MatchMode::Substring)),
        _ => Err("`LIKE` of a digest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::LoadedSet;
    use crate::rules::Store;
    use serde_json::{Value, json};
    use std::sync::Arc;

    const UUID: &str = "8c6af861-7b20-41ef-9b59-6344fd872a8f";

    fn load(bundle: &Value) -> Result<Arc<LoadedSet>, Vec<String>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bundle.json");
        std::fs::write(&path, serde_json::to_string_pretty(bundle).unwrap()).unwrap();
        let generation = Store::new(vec![path], None, None).load(0);
        let problems = generation
            .diagnostics
            .iter()
            .map(|one| one.one_line().replace(&format!("{}/", dir.path().display()), ""));
        generation.sets.first().cloned().ok_or_else(|| problems.collect())
    }

    fn indicator(pattern: &str) -> Value {
        json!({
            "type": "indicator", "spec_version": "2.1", "id": format!("indicator--{UUID}"),
            "created": "2026-01-01T00:00:00Z", "modified": "2026-01-01T00:00:00Z",
            "pattern": pattern, "pattern_type": "stix", "valid_from": "2026-01-01T00:00:00Z",
        })
    }

    fn bundle(objects: &[Value]) -> Value {
        json!({"type": "bundle", "id": format!("bundle--{UUID}"), "objects": objects})
    }

    fn held(pattern: &str) -> Result<Vec<String>, String> {
        // One good row beside it, so that there is a set.
        let mut other = indicator("[ipv4-addr:value = '203.0.113.99']");
        other["id"] = json!("indicator--00000000-7b20-41ef-9b59-6344fd872a8f");
        let set = load(&bundle(&[indicator(pattern), other])).expect("a set");
        if let Some(refused) = set.refused.first() {
            return Err(refused.reason.clone());
        }
        let mut values: Vec<String> = set
            .compiled
            .entries()
            .map(|entry| {
                let meta = entry.meta;
                let mut text = format!("{} {}", entry.kind.name(), entry.value);
                if meta.matching == MatchMode::Exact {
                    text += " exact";
                }
                if meta.matching == MatchMode::Substring {
                    text += " substring";
                }
                if meta.where_destination {
                    text += " to";
                }
                if meta.where_source {
                    text += " from";
                }
                if !meta.ports.is_empty() {
                    text += &format!(" {:?}", meta.ports);
                }
                text
            })
            .collect();
        values.pop();
        Ok(values)
    }

    #[test]
    fn disjunctions_become_values() {
        for (pattern, expected) in [
            ("[ipv4-addr:value = '198.51.100.1']", &["ip 198.51.100.1"][..]),
            (
                "[ipv4-addr:value = '198.51.100.0/24' OR ipv6-addr:value = '2001:db8::1']",
                &["ip 198.51.100.0/24", "ip 2001:db8::1"],
            ),
            ("[ipv4-addr:value ISSUBSET '198.51.100.0/24']", &["ip 198.51.100.0/24"]),
            ("[ipv4-addr:value LIKE '198.51.100.%']", &["ip 198.51.100.0/24"]),
            (
                "[domain-name:value = 'evil.example'] OR [url:value = 'http://evil.example/a']",
                &["domain evil.example exact", "url http://evil.example/a"],
            ),
            ("[domain-name:value LIKE '%.evil.example']", &["domain evil.example"]),
            (
                "[domain-name:value IN ('a.example', 'b.example')]",
                &["domain a.example exact", "domain b.example exact"],
            ),
            ("[url:value LIKE 'http://evil.example/a/%']", &["text http://evil.example/a/ substring"]),
            (
                "[file:hashes.'SHA-256' = 'aec070645fe53ee3b3763059376134f058cc337247c978add178b6ccdfb0019f']",
                &["sha256 aec070645fe53ee3b3763059376134f058cc337247c978add178b6ccdfb0019f"],
            ),
            (
                "[file:hashes.sha1 = 'a0b65939670bc2c010f4d5d6a0b3e4e4590fb92b' AND file:name = 'x']",
                &["sha1 a0b65939670bc2c010f4d5d6a0b3e4e4590fb92b"],
            ),
            (
                "[network-traffic:dst_ref.type = 'ipv4-addr' AND network-traffic:dst_ref.value = '203.0.113.33' AND network-traffic:dst_port IN (443, '8443')]",
                &["ip 203.0.113.33 to [443, 8443]"],
            ),
            (
                "[network-traffic:src_ref.value IN ('203.0.113.1', '203.0.113.2')]",
                &["ip 203.0.113.1 from", "ip 203.0.113.2 from"],
            ),
            (
                "[domain-name:value = 'w.example' AND domain-name:resolves_to_refs[*].value = '198.51.100.1/32']",
                &["domain w.example exact", "ip 198.51.100.1"],
            ),
            (
                "[email-addr:value = 'x@evil.example'] WITHIN 5 SECONDS REPEATS 1 TIMES",
                &["email x@evil.example"],
            ),
            (
                "[process:name = 'roleaccountd' OR file:name = 'payload.exe']",
                &["text roleaccountd", "text payload.exe"],
            ),
        ] {
            assert_eq!(
                held(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}")),
                expected,
                "{pattern}"
            );
        }
    }

    #[test]
    fn the_rest_is_refused_by_name() {
        for (pattern, expected) in [
            ("[ipv4-addr:value != '198.51.100.1']", "`!=` says what is not seen"),
            ("[ipv4-addr:value NOT IN ('198.51.100.1')]", "`NOT` says what is not seen"),
            ("[url:value MATCHES 'x.*']", "`MATCHES` needs a regular expression"),
            (
                "[url:value = 'http://a.example/'] AND [url:value = 'http://b.example/']",
                "`AND` of observations needs a memory of what was seen",
            ),
            (
                "[url:value = 'http://a.example/'] FOLLOWEDBY [url:value = 'http://b.example/']",
                "`FOLLOWEDBY` needs a memory of what was seen",
            ),
            (
                "[ipv4-addr:value = '198.51.100.1'] REPEATS 5 TIMES",
                "`REPEATS` needs a memory of what was seen",
            ),
            ("[file:size = 5]", "a path that messages do not show"),
            ("[file:hashes.ssdeep = 'x']", "a digest that messages do not show"),
            ("[domain-name:value LIKE '%evil.example']", "`LIKE` with a wildcard inside of a value"),
            (
                "[email-message:sender_ref.value = 'a@b.example' AND email-message:subject = 'x']",
                "`AND` of facts that one value does not hold",
            ),
            ("[(file:name = 'pdf.exe' OR file:size = 371712) AND file:name = 'x']", "`OR` inside of `AND`"),
            ("[file:name = 'x", "not a STIX pattern"),
        ] {
            assert_eq!(held(pattern), Err(expected.to_owned()), "{pattern}");
        }
    }

    #[test]
    fn what_objects_say_of_each_other() {
        let id = |kind: &str| format!("{kind}--{UUID}");
        let times = |mut object: Value| {
            object["created"] = json!("2026-01-01T00:00:00Z");
            object["modified"] = json!("2026-01-02T00:00:00Z");
            object
        };
        let mut first = indicator("[domain-name:value = 'evil.example']");
        first["created_by_ref"] = json!(id("identity"));
        first["confidence"] = json!(80);
        first["name"] = json!("C2");
        first["valid_until"] = json!("2027-01-01T00:00:00Z");
        first["object_marking_refs"] = json!(["marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003"]);
        let relation = |number: u8, target: String| {
            times(json!({
                "type": "relationship", "id": format!("relationship--0000000{number}-7b20-41ef-9b59-6344fd872a8f"),
                "relationship_type": "indicates", "source_ref": id("indicator"), "target_ref": target,
            }))
        };
        let set = load(&bundle(&[
            first,
            relation(1, id("malware")),
            relation(2, id("attack-pattern")),
            times(json!({"type": "malware", "id": id("malware"), "name": "Pegasus"})),
            times(json!({"type": "identity", "id": id("identity"), "name": "CERT"})),
            times(json!({
                "type": "attack-pattern", "id": id("attack-pattern"), "name": "Web Protocols",
                "external_references": [{"source_name": "mitre-attack", "external_id": "T1071.001"}],
            })),
        ]))
        .unwrap();
        let entry = set.compiled.entries().next().unwrap();
        assert_eq!(set.info.producer.as_deref(), Some("CERT"));
        assert_eq!((entry.meta.tlp, entry.meta.confidence), (Tlp::AmberStrict, Some(80)));
        assert_eq!(entry.meta.attack, ["T1071.001"]);
        assert_eq!(entry.meta.description.as_deref(), Some("C2; indicates Pegasus"));
        assert_eq!(entry.id, Some(&*id("indicator")));
        assert_eq!(entry.meta.valid_until, nanos("2027-01-01T00:00:00Z"));
    }

    #[test]
    fn markings_by_definition_and_revocation() {
        let mut first = indicator("[domain-name:value = 'evil.example']");
        first["object_marking_refs"] = json!([format!("marking-definition--{UUID}")]);
        let marking = json!({
            "type": "marking-definition", "spec_version": "2.1", "id": format!("marking-definition--{UUID}"),
            "created": "2026-01-01T00:00:00Z", "name": "TLP:RED",
            "extensions": {"extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d": {
                "extension_type": "property-extension", "tlp_2_0": "red"}},
        });
        let mut second = indicator("[domain-name:value = 'other.example']");
        second["id"] = json!("indicator--00000000-7b20-41ef-9b59-6344fd872a8f");
        let mut newer = second.clone();
        newer["modified"] = json!("2026-02-01T00:00:00Z");
        newer["revoked"] = json!(true);
        let set = load(&bundle(&[newer, first, second, marking])).unwrap();
        assert_eq!(set.entries(), 1);
        assert_eq!(set.tlp, Tlp::Red);
        let mut reasons: Vec<_> = set.refused.iter().map(|one| (one.reason.as_str(), one.count)).collect();
        reasons.sort_unstable();
        assert_eq!(reasons, [("an older version of an indicator", 1), ("revoked", 1)]);
    }

    #[test]
    fn mistakes_have_places() {
        let problems =
            load(&bundle(&[indicator("[ipv4-addr:value = '198.51.100.1'")])).map(|set| set.refused.clone());
        let refused = problems.unwrap();
        assert_eq!(refused[0].reason, "not a STIX pattern");
        // Line and column of the missing bracket.
        assert!(refused[0].first.ends_with("bundle.json:11:52"), "{}", refused[0].first);
        let mut broken = indicator("[ipv4-addr:value = '198.51.100.1']");
        broken["type"] = json!("identity");
        broken["id"] = json!(format!("identity--{UUID}"));
        broken["modified"] = json!("2020-01-01T00:00:00Z");
        let problems = load(&broken).unwrap_err();
        assert!(problems[0].ends_with("`modified` is before `created`"), "{problems:?}");
    }
}
