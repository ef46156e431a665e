//! MISP warninglists: allow sets that mark alerts (`mode: inform`).
//!
//! Five types: `cidr` holds prefixes, `hostname` names with their subdomains, `string` values that
//! are equal, `substring` names and texts that stand somewhere in a value, `regex` expressions. Of
//! the last two the sensor holds what is on the borders of labels, or is the end of a name; the rest
//! is refused with the reason.

use super::foreign::{Intake, Refusal};
use super::json::{Json, Malformed, Text};
use super::misp::shortened;
use super::native::meant;
use crate::detect::indicator::{Kind, MatchMode, Meta, Tlp};

/// What the head of a list says.
#[derive(Default)]
struct Head {
    name: String,
    description: String,
    kind: String,
    kind_at: usize,
    attributes: Vec<String>,
    list: Option<usize>,
}

/// Reads one list.
pub fn read(intake: &mut Intake<'_>) -> Result<(), Malformed> {
    let mut head = Head::default();
    let mut json = Json::new(intake.text);
    json.object(|key, json| {
        let owned =
            |json: &mut Json<'_>| Ok(json.text()?.map(|text| text.text.into_owned()).unwrap_or_default());
        match &*key.text {
            "name" => head.name = owned(json)?,
            "description" => head.description = owned(json)?,
            "type" => {
                head.kind_at = json.place();
                head.kind = owned(json)?;
            }
            "matching_attributes" => {
                json.array(|json| {
                    head.attributes.extend(json.text()?.map(|text| text.text.into_owned()));
                    Ok(())
                })?;
            }
            "list" => head.list = Some(json.place()),
            _ => {}
        }
        Ok(())
    })?;
    json.end()?;
    let of = match &*head.kind {
        "cidr" => "cidr",
        "hostname" => "hostname",
        "string" | "" => "string",
        "substring" => "substring",
        "regex" => "regex",
        other => {
            let message = format!("`{other}` is no type of a warninglist");
            intake.row("unknown");
            let refusal = Refusal::bad("unknown type of warninglist").because(message);
            intake.refuse("unknown", refusal, head.kind_at..head.kind_at + other.len() + 2);
            return Ok(());
        }
    };
    let reason = match head.description.is_empty() {
        true => format!("warninglist: {}", head.name),
        false => format!("warninglist: {} ({})", head.name, head.description),
    };
    // The lists are public, so that an alert may name them to everybody.
    let base = Meta { tlp: Tlp::Clear, reason: shortened(&reason), ..Meta::default() };
    let exact = Meta { matching: MatchMode::Exact, ..base.clone() };
    let metas = Metas { base: intake.metas.intern(base), exact: intake.metas.intern(exact) };
    intake.lenient = true;
    let Some(list) = head.list else { return Ok(()) };
    Json::at(intake.text, list).array(|json| {
        let at = json.place();
        intake.row(of);
        match json.text()? {
            Some(value) => entry(intake, &head, of, &value, &metas),
            None => intake.refuse(of, Refusal::bad("not text"), at..at + 1),
        }
        Ok(())
    })?;
    Ok(())
}

struct Metas {
    base: u32,
    exact: u32,
}

fn entry(intake: &mut Intake<'_>, head: &Head, of: &'static str, value: &Text<'_>, metas: &Metas) {
    let written = value.text.trim();
    let at = value.span.clone();
    let outcome = match of {
        "cidr" => Ok((Kind::Ip, network(written), metas.base)),
        "hostname" => Ok((Kind::Domain, bare_host(written).to_owned(), metas.base)),
        // Equal to no name, but plainly meant for those below.
        "string" if written.starts_with('.') => {
            substring(written).map(|(kind, name)| (kind, name, metas.base))
        }
        "string" => string(head, written).map(|kind| {
            let meta = if kind == Kind::Domain { metas.exact } else { metas.base };
            (kind, written.to_owned(), meta)
        }),
        "substring" => substring(written).map(|(kind, text)| (kind, text, metas.base)),
        _ => regex(written).map(|(kind, text)| (kind, text, metas.base)),
    };
    match outcome {
        Ok((kind, text, meta)) => {
            intake.value(of, (kind, &text), meta, None, at);
        }
        Err(refusal) => intake.refuse(of, refusal, at),
    }
}

/// Lists of networks are written by machines that leave host bits in.
fn network(written: &str) -> String {
    match written.parse::<ipnet::IpNet>() {
        Ok(net) => net.trunc().to_string(),
        Err(_) => written.to_owned(),
    }
}

/// MISP compares host names from the end, so that a leading dot, or a path, says nothing.
fn bare_host(written: &str) -> &str {
    let name = written.trim_start_matches('.');
    name.split('/').next().unwrap_or(name)
}

/// The kind of a value that must be equal.
fn string(head: &Head, written: &str) -> Result<Kind, Refusal> {
    if let Some(kind) = meant(written) {
        return Ok(kind);
    }
    let names = |wanted: &[&str]| head.attributes.iter().any(|name| wanted.contains(&&**name));
    match () {
        () if names(&["url", "uri"]) && written.contains('/') => Ok(Kind::Url),
        () if names(&["filename", "user-agent", "regkey", "mutex", "email-subject"]) => Ok(Kind::Text),
        () if names(&["domain", "hostname", "domain|ip"]) => Ok(Kind::Domain),
        () => Err(Refusal::unheld("messages do not show values of this form")),
    }
}

/// Part of a value: a name, which is held with its subdomains.
fn substring(written: &str) -> Result<(Kind, String), Refusal> {
    let name = written.trim_matches('.');
    match meant(name) {
        Some(Kind::Domain) => Ok((Kind::Domain, name.to_owned())),
        Some(kind @ (Kind::Ip | Kind::Email)) => Ok((kind, name.to_owned())),
        _ => Err(Refusal::unheld("part of a name that is no name itself")),
    }
}

/// An expression that means a name, or the end of one.
fn regex(written: &str) -> Result<(Kind, String), Refusal> {
    let unheld = || Refusal::unheld("a regular expression that is more than the end of a name");
    let body =
        written.strip_prefix('/').and_then(|rest| rest.rsplit_once('/')).map_or(written, |(body, _)| body);
    let tail = body.strip_suffix('$').ok_or_else(unheld)?;
    let tail = tail.strip_prefix('^').unwrap_or(tail);
    let tail =
        tail.strip_prefix("(.*)").or(tail.strip_prefix(".*")).or(tail.strip_prefix(".+")).unwrap_or(tail);
    let tail = tail.strip_prefix("(^|\\.)").or(tail.strip_prefix("\\.")).unwrap_or(tail);
    let mut name = String::new();
    let mut characters = tail.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some(literal @ ('.' | '-' | '/' | '@')) => name.push(literal),
                _ => return Err(unheld()),
            },
            _ if character.is_alphanumeric() || character == '-' || character == '_' => name.push(character),
            _ => return Err(unheld()),
        }
    }
    // The border in front must have been written: `evil.com$` also ends `notevil.com`.
    let bordered = body.starts_with('^') && !body.starts_with("^.")
        || ["\\.", "(^|\\.)"]
            .iter()
            .any(|border| body.trim_start_matches(['^', '.', '*', '+']).starts_with(border));
    match meant(&name) {
        Some(Kind::Domain) if bordered => Ok((Kind::Domain, name)),
        _ => Err(unheld()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// What a list of a type holds, and what it refuses.
    fn list(kind: &str, entries: &[&str]) -> (Vec<String>, Vec<(String, usize, String)>) {
        let text = serde_json::json!({
            "name": "n", "type": kind, "version": 1, "list": entries, "matching_attributes": ["domain"],
        })
        .to_string();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.json");
        std::fs::write(&path, &text).unwrap();
        let generation = crate::rules::Store::new(vec![path], None, None).load(0);
        let shown = |place: &str| Path::new(place).file_name().unwrap().to_string_lossy().into_owned();
        match generation.sets.first() {
            Some(set) => (
                set.compiled
                    .entries()
                    .map(|entry| {
                        let exact = if entry.meta.matching == MatchMode::Exact { " exact" } else { "" };
                        format!("{} {}{exact}", entry.kind.name(), entry.value)
                    })
                    .collect(),
                set.refused.iter().map(|one| (one.reason.clone(), one.count, shown(&one.first))).collect(),
            ),
            None => (Vec::new(), Vec::new()),
        }
    }

    #[test]
    fn five_types() {
        for (kind, entries, expected) in [
            (
                "cidr",
                &["198.51.100.0/24", "203.0.113.9/24", "2001:db8::/32"][..],
                &["ip 198.51.100.0/24", "ip 203.0.113.0/24", "ip 2001:db8::/32"][..],
            ),
            ("hostname", &["a.example", ".b.example"], &["domain a.example", "domain b.example"]),
            (
                "string",
                &["a.example", ".b.example", "198.51.100.1", "44d88612fea8a8f36de82e1278abb02f"],
                &[
                    "domain a.example exact",
                    "domain b.example",
                    "ip 198.51.100.1",
                    "md5 44d88612fea8a8f36de82e1278abb02f",
                ],
            ),
            ("substring", &["www.a.example", ".b.example"], &["domain www.a.example", "domain b.example"]),
            (
                "regex",
                &["/^(.*)\\.b\\.example$/i", "/(^|\\.)c\\.example$/", "^d\\.example$"],
                &["domain b.example", "domain c.example", "domain d.example"],
            ),
        ] {
            let (held, refused) = list(kind, entries);
            assert_eq!(held, expected, "{kind}");
            assert!(refused.is_empty(), "{kind}: {refused:?}");
        }
    }

    #[test]
    fn what_cannot_be_held_is_refused_with_a_place() {
        let (held, refused) = list("regex", &["/x\\.example$/", "/^(a|b)@.*$/i", "/(^|\\.)c\\.example$/"]);
        assert_eq!(held, ["domain c.example"]);
        let reason = "a regular expression that is more than the end of a name";
        assert_eq!(refused.len(), 1);
        assert_eq!((refused[0].0.as_str(), refused[0].1), (reason, 2));
        assert!(refused[0].2.starts_with("list.json:1:"), "{refused:?}");
    }
}
