//! MISP events: the attributes that a producer offers for detection, with what event and tags say.
//!
//! [`events`] reads `{"Event": …}`, lists of events, answers of the search (`response`), and bare
//! events. An attribute counts as one row. It is skipped when it is deleted, when `to_ids` is not
//! set, or when no message can show its type. `domain` stands for its subdomains too, `hostname` for
//! itself alone, as in MISP.
//!
//! `PAP` tags ask for nothing that this sensor does: it never touches what an indicator names.

use super::foreign::{Intake, Refusal};
use super::json::{Json, Malformed, Shape, Text};
use super::native::is_technique;
use super::taxonomy::RSIT;
use crate::detect::indicator::{Kind, MatchMode, Meta, Severity, Tlp};
use crate::input::Nanos;

/// Events inside answers inside lists.
const NESTED: usize = 4;

/// What an alert carries of the texts of an event.
const LONGEST_DESCRIPTION: usize = 400;

/// What an attribute of a type holds.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Plan {
    /// One value.
    One(Kind),
    /// A host itself, without its subdomains.
    Host,
    /// A file's name and, behind `|`, its hash, which tells the file alone.
    File(Kind),
    /// An address and, behind `|`, a port.
    AddressPort,
    /// A host and, behind `|`, a port, which no name is bound to.
    HostPort,
    /// A domain and, behind `|`, an address.
    DomainAddress,
}

/// The types that messages can show.
const PLANS: &[(&str, Plan)] = &[
    ("ip-src", Plan::One(Kind::Ip)),
    ("ip-dst", Plan::One(Kind::Ip)),
    ("ip-src|port", Plan::AddressPort),
    ("ip-dst|port", Plan::AddressPort),
    ("domain", Plan::One(Kind::Domain)),
    ("domain|ip", Plan::DomainAddress),
    ("hostname", Plan::Host),
    ("hostname|port", Plan::HostPort),
    ("onion-address", Plan::Host),
    ("url", Plan::One(Kind::Url)),
    ("uri", Plan::One(Kind::Url)),
    ("email", Plan::One(Kind::Email)),
    ("email-src", Plan::One(Kind::Email)),
    ("email-dst", Plan::One(Kind::Email)),
    ("email-reply-to", Plan::One(Kind::Email)),
    ("md5", Plan::One(Kind::Md5)),
    ("sha1", Plan::One(Kind::Sha1)),
    ("sha256", Plan::One(Kind::Sha256)),
    ("sha512", Plan::One(Kind::Sha512)),
    // Digests of other things, which logs show as hexadecimal digits too: Sysmon prints IMPHASH,
    // flow probes JA3 and HASSH, proxies the fingerprints of certificates.
    ("imphash", Plan::One(Kind::Md5)),
    ("pehash", Plan::One(Kind::Sha1)),
    ("authentihash", Plan::One(Kind::Sha256)),
    ("ja3-fingerprint-md5", Plan::One(Kind::Md5)),
    ("hassh-md5", Plan::One(Kind::Md5)),
    ("hasshserver-md5", Plan::One(Kind::Md5)),
    ("x509-fingerprint-md5", Plan::One(Kind::Md5)),
    ("x509-fingerprint-sha1", Plan::One(Kind::Sha1)),
    ("x509-fingerprint-sha256", Plan::One(Kind::Sha256)),
    ("filename|md5", Plan::File(Kind::Md5)),
    ("filename|sha1", Plan::File(Kind::Sha1)),
    ("filename|sha256", Plan::File(Kind::Sha256)),
    ("filename|sha512", Plan::File(Kind::Sha512)),
    ("filename|imphash", Plan::File(Kind::Md5)),
    ("filename|pehash", Plan::File(Kind::Sha1)),
    ("filename|authentihash", Plan::File(Kind::Sha256)),
    ("malware-sample", Plan::File(Kind::Md5)),
    ("filename", Plan::One(Kind::Text)),
    ("email-attachment", Plan::One(Kind::Text)),
    ("email-subject", Plan::One(Kind::Text)),
    ("user-agent", Plan::One(Kind::Text)),
    ("regkey", Plan::One(Kind::Text)),
    ("mutex", Plan::One(Kind::Text)),
    ("named pipe", Plan::One(Kind::Text)),
    ("pdb", Plan::One(Kind::Text)),
    ("windows-scheduled-task", Plan::One(Kind::Text)),
    ("windows-service-name", Plan::One(Kind::Text)),
    ("windows-service-displayname", Plan::One(Kind::Text)),
];

/// The other types of MISP, so that refusals can be grouped by them and a misspelt one stands out.
const OTHERS: &[&str] = &[
    "AS",
    "aba-rtn",
    "anonymised",
    "attachment",
    "azure-application-id",
    "bank-account-nr",
    "bic",
    "bin",
    "boolean",
    "bro",
    "btc",
    "campaign-id",
    "campaign-name",
    "cc-number",
    "cdhash",
    "chrome-extension-id",
    "comment",
    "community-id",
    "cookie",
    "cortex",
    "counter",
    "country-of-residence",
    "cpe",
    "dash",
    "date-of-birth",
    "datetime",
    "dkim",
    "dkim-signature",
    "dns-soa-email",
    "dom-hash",
    "edge-extension-id",
    "email-body",
    "email-dst-display-name",
    "email-header",
    "email-message-id",
    "email-mime-boundary",
    "email-src-display-name",
    "email-thread-index",
    "email-x-mailer",
    "eppn",
    "favicon-mmh3",
    "filename-pattern",
    "filename|impfuzzy",
    "filename|sha224",
    "filename|sha3-224",
    "filename|sha3-256",
    "filename|sha3-384",
    "filename|sha3-512",
    "filename|sha384",
    "filename|sha512/224",
    "filename|sha512/256",
    "filename|ssdeep",
    "filename|tlsh",
    "filename|vhash",
    "first-name",
    "float",
    "frequent-flyer-number",
    "full-name",
    "gender",
    "gene",
    "git-commit-id",
    "github-organisation",
    "github-repository",
    "github-username",
    "hex",
    "http-method",
    "iban",
    "identity-card-number",
    "impfuzzy",
    "integer",
    "issue-date-of-the-visa",
    "jabber-id",
    "jarm-fingerprint",
    "kusto-query",
    "last-name",
    "link",
    "mac-address",
    "mac-eui-64",
    "malware-type",
    "middle-name",
    "mime-type",
    "mobile-application-id",
    "nationality",
    "other",
    "passenger-name-record-locator-number",
    "passport-country",
    "passport-expiration",
    "passport-number",
    "pattern-in-file",
    "pattern-in-memory",
    "pattern-in-traffic",
    "payment-details",
    "pgp-private-key",
    "pgp-public-key",
    "phone-number",
    "place-of-birth",
    "place-port-of-clearance",
    "place-port-of-onward-foreign-destination",
    "place-port-of-original-embarkation",
    "port",
    "primary-residence",
    "process-state",
    "prtn",
    "redress-number",
    "regkey|value",
    "sha224",
    "sha3-224",
    "sha3-256",
    "sha3-384",
    "sha3-512",
    "sha384",
    "sha512/224",
    "sha512/256",
    "sigma",
    "size-in-bytes",
    "snort",
    "special-service-request",
    "ssdeep",
    "ssh-fingerprint",
    "stix2-pattern",
    "suricata",
    "target-email",
    "target-external",
    "target-location",
    "target-machine",
    "target-org",
    "target-user",
    "telfhash",
    "text",
    "threat-actor",
    "tlsh",
    "travel-details",
    "twitter-id",
    "uuid",
    "vhash",
    "visa-number",
    "vulnerability",
    "weakness",
    "whois-creation-date",
    "whois-registrant-email",
    "whois-registrant-name",
    "whois-registrant-org",
    "whois-registrant-phone",
    "whois-registrar",
    "x-mailer",
    "xmr",
    "yara",
    "zeek",
];

/// The event ids that a feed's manifest names.
pub fn manifest(text: &str) -> Result<Vec<String>, Malformed> {
    let mut names = Vec::new();
    let mut json = Json::new(text);
    json.object(|key, _| {
        names.push(key.text.clone().into_owned());
        Ok(())
    })?;
    json.end()?;
    Ok(names)
}

/// Reads every event of a text.
pub fn events(intake: &mut Intake<'_>) -> Result<(), Malformed> {
    let mut json = Json::new(intake.text);
    container(&mut json, intake, 0)?;
    json.end()
}

/// A list, an answer, or an event.
fn container<'a>(json: &mut Json<'a>, intake: &mut Intake<'a>, depth: usize) -> Result<(), Malformed> {
    if depth > NESTED {
        return json.skip();
    }
    match json.shape()? {
        Shape::Array => json.array(|json| container(json, intake, depth + 1)).map(drop),
        Shape::Object => event(json, intake, depth),
        _ => json.skip(),
    }
}

/// What event and tags say of the attributes below.
#[derive(Clone, Debug, Default)]
struct Context {
    tlp: Option<Tlp>,
    confidence: Option<u8>,
    attack: Vec<String>,
    rsit: Option<String>,
    severity: Option<Severity>,
    producer: Option<String>,
    info: String,
    first_seen: Option<Nanos>,
    last_seen: Option<Nanos>,
}

/// Reads an event, or what holds one: first what it says of all attributes, which stands behind them as
/// often as before.
fn event<'a>(json: &mut Json<'a>, intake: &mut Intake<'a>, depth: usize) -> Result<(), Malformed> {
    let mut context = Context::default();
    let mut organisation = None;
    let (mut attributes, mut objects) = (Vec::new(), Vec::new());
    json.object(|key, json| {
        match &*key.text {
            "Event" | "response" => container(json, intake, depth + 1)?,
            "info" => context.info = json.text()?.map(|text| text.text.into_owned()).unwrap_or_default(),
            "threat_level_id" => {
                context.severity = json.text()?.and_then(|text| match &*text.text {
                    "1" => Some(Severity::High),
                    "2" => Some(Severity::Medium),
                    "3" => Some(Severity::Low),
                    _ => None,
                });
            }
            "Orgc" => context.producer = name_of(json)?,
            "Org" => organisation = name_of(json)?,
            "Tag" => tags(json, &mut context)?,
            "Galaxy" => galaxies(json, &mut context)?,
            "Attribute" => attributes.push(json.place()),
            "Object" => objects.push(json.place()),
            _ => {}
        }
        Ok(())
    })?;
    context.producer = context.producer.or(organisation);
    let mut base = Base { context: &context, metas: Vec::new() };
    for place in attributes {
        each(&mut Json::at(intake.text, place), |json| attribute(json, intake, &mut base, false))?;
    }
    for place in objects {
        each(&mut Json::at(intake.text, place), |json| object(json, intake, &context))?;
    }
    Ok(())
}

/// The elements of a list, or the one that stands in its place, as in answers of the search.
fn each<'a>(
    json: &mut Json<'a>,
    mut one: impl FnMut(&mut Json<'a>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    match json.shape()? {
        Shape::Object => one(json),
        _ => json.array(one).map(drop),
    }
}

fn object<'a>(json: &mut Json<'a>, intake: &mut Intake<'a>, event: &Context) -> Result<(), Malformed> {
    let mut attributes = Vec::new();
    let mut deleted = false;
    let mut context = event.clone();
    json.object(|key, json| {
        match &*key.text {
            "deleted" => deleted = json.flag()?.unwrap_or(false),
            "first_seen" => context.first_seen = instant(json)?,
            "last_seen" => context.last_seen = instant(json)?,
            "Attribute" => attributes.push(json.place()),
            _ => {}
        }
        Ok(())
    })?;
    let mut base = Base { context: &context, metas: Vec::new() };
    for place in attributes {
        Json::at(intake.text, place).array(|json| attribute(json, intake, &mut base, deleted))?;
    }
    Ok(())
}

/// The policies of attributes that say nothing of their own.
struct Base<'c> {
    context: &'c Context,
    metas: Vec<(MatchMode, u32)>,
}

#[derive(Default)]
struct Attribute<'a> {
    kind: Option<Text<'a>>,
    value: Option<Text<'a>>,
    uuid: Option<Text<'a>>,
    comment: Option<Text<'a>>,
    to_ids: bool,
    deleted: bool,
    timestamp: Option<Nanos>,
    first_seen: Option<Nanos>,
    last_seen: Option<Nanos>,
    said: Context,
    tagged: bool,
}

fn attribute<'a>(
    json: &mut Json<'a>,
    intake: &mut Intake<'a>,
    base: &mut Base<'_>,
    deleted: bool,
) -> Result<(), Malformed> {
    let start = json.place();
    let mut read = Attribute::default();
    let whole = json.object(|key, json| {
        match &*key.text {
            "type" => read.kind = json.text()?,
            "value" => read.value = json.text()?,
            "uuid" => read.uuid = json.text()?,
            "comment" => read.comment = json.text()?,
            "to_ids" => read.to_ids = json.flag()?.unwrap_or(false),
            "deleted" => read.deleted = json.flag()?.unwrap_or(false),
            "timestamp" => {
                let seconds = json.text()?.and_then(|text| text.text.parse::<i64>().ok());
                read.timestamp = seconds.and_then(|seconds| seconds.checked_mul(1_000_000_000));
            }
            "first_seen" => read.first_seen = instant(json)?,
            "last_seen" => read.last_seen = instant(json)?,
            "Tag" => {
                tags(json, &mut read.said)?;
                read.tagged = true;
            }
            "Galaxy" => {
                galaxies(json, &mut read.said)?;
                read.tagged = true;
            }
            _ => {}
        }
        Ok(())
    })?;
    let at = read.value.as_ref().map_or(start..start + 1, |value| value.span.clone());
    let Some(kind) = read.kind.take().filter(|_| whole) else {
        intake.row("unknown");
        intake.refuse("unknown", Refusal::bad("attribute without type"), at);
        return Ok(());
    };
    let plan = PLANS.iter().find(|(name, _)| *name == kind.text);
    let other = || OTHERS.iter().copied().find(|name| *name == kind.text);
    let of = plan.map(|(name, _)| *name).or_else(other).unwrap_or("unknown");
    intake.row(of);
    let refusal = match (plan, &read.value) {
        _ if read.deleted || deleted => Refusal::skip("deleted"),
        _ if !read.to_ids => Refusal::skip("`to_ids` is not set"),
        (None, _) if of == "unknown" => {
            let message = format!("`{}` is no attribute type of MISP", kind.text);
            Refusal::unheld("unknown attribute type").because(message)
        }
        (None, _) => Refusal::skip(format!("messages do not show the type `{of}`")),
        (_, None) => Refusal::bad("attribute without value"),
        (Some((of, plan)), Some(value)) => {
            values(intake, base, of, *plan, &read, value);
            return Ok(());
        }
    };
    intake.refuse(of, refusal, at);
    Ok(())
}

/// Hands over the values of an attribute.
fn values(
    intake: &mut Intake<'_>,
    base: &mut Base<'_>,
    of: &'static str,
    plan: Plan,
    read: &Attribute<'_>,
    value: &Text<'_>,
) {
    let written = &*value.text;
    let at = &value.span;
    let id = read.uuid.as_ref().map(|uuid| &*uuid.text).filter(|uuid| is_id(uuid));
    let pair = || written.rsplit_once('|');
    let bad = |intake: &mut Intake<'_>, expected: &str| {
        let message = format!("a `{of}` is written as {expected}");
        intake.refuse(of, Refusal::bad("not of its composite type").because(message), at.clone());
    };
    let mut give = |intake: &mut Intake<'_>, kind, written: &str, matching, ports: &[u16]| {
        let meta = meta(intake, base, read, matching, ports);
        intake.value(of, (kind, written.trim()), meta, id, at.clone());
    };
    let whole = MatchMode::Default;
    match plan {
        Plan::One(kind) => give(intake, kind, written, whole, &[]),
        Plan::Host => give(intake, Kind::Domain, written, MatchMode::Exact, &[]),
        Plan::File(kind) => match pair() {
            Some((_, hash)) => give(intake, kind, hash, whole, &[]),
            None => bad(intake, "`name|hash`"),
        },
        Plan::AddressPort => match pair().and_then(|(ip, port)| Some((ip, port_of(port)?))) {
            Some((address, port)) => give(intake, Kind::Ip, address, whole, &[port]),
            None => bad(intake, "`address|port`"),
        },
        Plan::HostPort => match pair() {
            Some((host, port)) if port_of(port).is_some() => {
                give(intake, Kind::Domain, host, MatchMode::Exact, &[]);
            }
            _ => bad(intake, "`host|port`"),
        },
        Plan::DomainAddress => match pair() {
            Some((domain, address)) => {
                give(intake, Kind::Domain, domain, whole, &[]);
                give(intake, Kind::Ip, address, whole, &[]);
            }
            None => bad(intake, "`domain|address`"),
        },
    }
}

fn port_of(text: &str) -> Option<u16> {
    text.trim().parse::<u16>().ok().filter(|port| *port > 0)
}

/// Ids stand in alerts and tables.
fn is_id(text: &str) -> bool {
    (1..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The policy of an attribute.
fn meta(
    intake: &mut Intake<'_>,
    base: &mut Base<'_>,
    read: &Attribute<'_>,
    matching: MatchMode,
    ports: &[u16],
) -> u32 {
    let comment = read.comment.as_ref().map(|text| text.text.trim()).filter(|text| !text.is_empty());
    let own = read.tagged || comment.is_some() || read.first_seen.is_some() || read.last_seen.is_some();
    let plain = !own && ports.is_empty() && base.context.last_seen.is_none();
    if plain && let Some((_, known)) = base.metas.iter().find(|(known, _)| *known == matching) {
        return *known;
    }
    let (event, said) = (base.context, &read.said);
    let default = Meta::default();
    let tlp = said.tlp.or(event.tlp).unwrap_or(default.tlp);
    // What a stricter event says as a whole does not leave with a value that may.
    let (info, mut attack, rsit) = match event.tlp.unwrap_or(default.tlp) <= tlp {
        true => (event.info.as_str(), event.attack.clone(), event.rsit.clone()),
        false => ("", Vec::new(), None),
    };
    let further: Vec<_> = said.attack.iter().filter(|id| !attack.contains(id)).cloned().collect();
    attack.extend(further);
    let description = match comment {
        Some(comment) if info.is_empty() => comment.to_owned(),
        Some(comment) => format!("{info}: {comment}"),
        None => info.to_owned(),
    };
    let valid_from = read.first_seen.or(event.first_seen);
    // Most often the last sighting is past, and the next may be ours. Only who wrote a time that was
    // still to come meant an end.
    let last_seen = read.last_seen.or(event.last_seen);
    let valid_until = last_seen
        .filter(|end| read.timestamp.is_some_and(|written| *end > written))
        .filter(|end| valid_from.is_none_or(|from| *end > from));
    let interned = intake.metas.intern(Meta {
        tlp,
        severity: event.severity.unwrap_or(default.severity),
        confidence: said.confidence.or(event.confidence),
        valid_from,
        valid_until,
        rsit: said.rsit.clone().or(rsit),
        attack,
        matching,
        ports: ports.to_vec(),
        description: shortened(&description),
        producer: event.producer.clone(),
        ..default
    });
    if plain {
        base.metas.push((matching, interned));
    }
    interned
}

/// A text as an alert carries it; none if there is nothing in it.
pub fn shortened(text: &str) -> Option<String> {
    let text = text.trim();
    let mut end = text.len().min(LONGEST_DESCRIPTION);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let cut = text.get(..end).unwrap_or_default();
    (!cut.is_empty()).then(|| if end < text.len() { format!("{cut}…") } else { cut.to_owned() })
}

fn name_of(json: &mut Json<'_>) -> Result<Option<String>, Malformed> {
    let mut name = None;
    json.object(|key, json| {
        if key.text == "name" {
            name = json.text()?.and_then(|text| shortened(&text.text));
        }
        Ok(())
    })?;
    Ok(name)
}

fn instant(json: &mut Json<'_>) -> Result<Option<Nanos>, Malformed> {
    Ok(json.text()?.and_then(|text| nanos(&text.text)))
}

/// An instant as RFC 3339 writes it, or as seconds since 1970.
pub fn nanos(text: &str) -> Option<Nanos> {
    if let Ok(seconds) = text.parse::<i64>() {
        return seconds.checked_mul(1_000_000_000);
    }
    let time = text.parse::<jiff::Timestamp>().ok()?.as_nanosecond();
    // The year 9999 means "for ever"; nanoseconds end in 2262.
    Some(Nanos::try_from(time).unwrap_or(if time < 0 { Nanos::MIN } else { Nanos::MAX }))
}

fn tags<'a>(json: &mut Json<'a>, context: &mut Context) -> Result<(), Malformed> {
    json.array(|json| {
        json.object(|key, json| {
            if key.text == "name"
                && let Some(name) = json.text()?
            {
                tag(&name.text, context);
            }
            Ok(())
        })
        .map(drop)
    })
    .map(drop)
}

/// Galaxies repeat what their tags say, in files that leave the tags out.
fn galaxies<'a>(json: &mut Json<'a>, context: &mut Context) -> Result<(), Malformed> {
    json.array(|json| {
        json.object(|key, json| {
            if key.text != "GalaxyCluster" {
                return Ok(());
            }
            json.array(|json| {
                json.object(|key, json| {
                    if key.text == "tag_name"
                        && let Some(name) = json.text()?
                    {
                        tag(&name.text, context);
                    }
                    Ok(())
                })
                .map(drop)
            })
            .map(drop)
        })
        .map(drop)
    })
    .map(drop)
}

/// Techniques that one attribute may carry.
const MOST_TECHNIQUES: usize = 64;

/// Takes from a tag what the sensor knows to use. Of several markings the strictest holds.
fn tag(name: &str, context: &mut Context) {
    let lower = name.trim().to_ascii_lowercase();
    if let Some(tlp) = tlp_of(&lower) {
        context.tlp = Some(context.tlp.map_or(tlp, |known| known.max(tlp)));
        return;
    }
    if lower.starts_with("misp-galaxy:mitre-") && lower.contains("attack-pattern=") {
        let id = name.trim().trim_end_matches('"').rsplit(" - ").next().unwrap_or_default();
        let known = context.attack.iter().any(|known| known == id);
        if is_technique(id) && !known && context.attack.len() < MOST_TECHNIQUES {
            context.attack.push(id.to_owned());
        }
        return;
    }
    if let Some((class, kind)) = lower.strip_prefix("rsit:").and_then(|rest| rest.split_once('=')) {
        let class = format!("{class}/{}", kind.trim_matches('"'));
        if RSIT.contains(&&*class) {
            context.rsit = Some(class);
        }
        return;
    }
    context.confidence = confidence_of(&lower).or(context.confidence);
}

/// The marking of a tag, TLP 1 and 2.
pub fn tlp_of(tag: &str) -> Option<Tlp> {
    match tag.strip_prefix("tlp:")? {
        "white" | "clear" => Some(Tlp::Clear),
        "green" => Some(Tlp::Green),
        "amber" => Some(Tlp::Amber),
        "amber+strict" => Some(Tlp::AmberStrict),
        "red" => Some(Tlp::Red),
        _ => None,
    }
}

/// Confidence on the scale of STIX, whose appendix A relates the others to it.
fn confidence_of(tag: &str) -> Option<u8> {
    let (predicate, value) = tag.split_once('=')?;
    let value = value.trim_matches('"');
    let scale: &[(&str, u8)] = match predicate {
        "estimative-language:confidence-in-analytic-judgment" => {
            &[("low", 15), ("moderate", 50), ("medium", 50), ("high", 85)]
        }
        "estimative-language:likelihood-probability" => &[
            ("almost-no-chance", 5),
            ("very-unlikely", 15),
            ("unlikely", 30),
            ("roughly-even-chance", 50),
            ("likely", 70),
            ("very-likely", 85),
            ("almost-certain", 95),
        ],
        "admiralty-scale:information-credibility" => &[("1", 90), ("2", 70), ("3", 50), ("4", 30), ("5", 10)],
        "misp:confidence-level" => &[
            ("completely-confident", 100),
            ("usually-confident", 75),
            ("fairly-confident", 50),
            ("rarely-confident", 25),
            ("unconfident", 0),
        ],
        _ => return None,
    };
    scale.iter().find(|(name, _)| *name == value).map(|(_, confidence)| *confidence)
}
