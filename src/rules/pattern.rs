//! The STIX pattern language, versions 2.0 and 2.1: a text goes in, a tree comes out, or the place of
//! the mistake and what was expected there.
//!
//! [`parse`] follows the grammar of the committee: observations in brackets, joined by `AND`, `OR`
//! and `FOLLOWEDBY` and narrowed by qualifiers; in the brackets comparisons of an object path with
//! literals. `AND` binds tighter than `OR`, that tighter than `FOLLOWEDBY`.

use super::misp::nanos;
use crate::input::Nanos;
use base64::Engine;
use nom::branch::alt;
use nom::bytes::complete::{tag, take_till, take_until, take_while, take_while1};
use nom::character::complete::{char, digit1};
use nom::combinator::{not, opt, peek, recognize};
use nom::error::{ErrorKind, ParseError};
use nom::multi::many0;
use nom::sequence::{delimited, pair, preceded};
use nom::{Err, IResult, Parser};
use std::fmt;
use std::ops::Range;

/// Indicators of the largest feeds have a few thousand characters.
pub const LONGEST: usize = 256 * 1024;

/// Brackets inside brackets; people write three.
const DEEPEST: usize = 32;

/// A pattern.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation {
    /// `[…]`
    Test(Comparison),
    /// Both are seen.
    And(Vec<Observation>),
    /// One of them is seen.
    Or(Vec<Observation>),
    /// They are seen in this order.
    FollowedBy(Vec<Observation>),
    /// It is seen within bounds.
    Qualified(Box<Observation>, Qualifier),
}

/// What bounds an observation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Qualifier {
    /// `START … STOP …`
    StartStop(Nanos, Nanos),
    /// `WITHIN … SECONDS`
    Within(f64),
    /// `REPEATS … TIMES`
    Repeats(u64),
}

/// What stands in brackets.
#[derive(Clone, Debug, PartialEq)]
pub enum Comparison {
    /// All hold of one object.
    And(Vec<Comparison>),
    /// One of them holds.
    Or(Vec<Comparison>),
    /// A single one.
    Test(Test),
}

/// `path operator value`
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// What is compared.
    pub path: Path,
    /// `NOT` stands before the operator.
    pub negated: bool,
    /// How it is compared.
    pub operator: Operator,
    /// With what; several with `IN`, none with `EXISTS`.
    pub values: Vec<Literal>,
    /// Bytes of the pattern.
    pub at: Range<usize>,
}

/// `file:hashes.'SHA-256'`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The type of the object.
    pub object: String,
    /// What leads from there.
    pub steps: Vec<Step>,
}

/// One component of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// `.name` or `.'name'`
    Key(String),
    /// `[0]`
    Index(i64),
    /// `[*]`
    Any,
}

/// The comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `IN`
    In,
    /// `LIKE`
    Like,
    /// `MATCHES`
    Matches,
    /// `ISSUBSET`
    IsSubset,
    /// `ISSUPERSET`
    IsSuperset,
    /// `EXISTS`
    Exists,
}

impl Operator {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Operator::Equal => "=",
            Operator::NotEqual => "!=",
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
            Operator::Greater => ">",
            Operator::GreaterOrEqual => ">=",
            Operator::In => "IN",
            Operator::Like => "LIKE",
            Operator::Matches => "MATCHES",
            Operator::IsSubset => "ISSUBSET",
            Operator::IsSuperset => "ISSUPERSET",
            Operator::Exists => "EXISTS",
        }
    }
}

/// A constant.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// `'…'`
    Text(String),
    /// `1280`
    Integer(i64),
    /// `7.0`
    Float(f64),
    /// `true`
    Bool(bool),
    /// `b'…'`
    Binary(Vec<u8>),
    /// `h'…'`
    Hex(Vec<u8>),
    /// `t'…'`
    Time(Nanos),
}

/// A path as people write it.
impl fmt::Display for Path {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:", self.object)?;
        for (index, step) in self.steps.iter().enumerate() {
            match step {
                Step::Key(key) => {
                    let dot = if index > 0 { "." } else { "" };
                    match key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                        true => write!(out, "{dot}{key}")?,
                        false => write!(out, "{dot}'{key}'")?,
                    }
                }
                Step::Index(index) => write!(out, "[{index}]")?,
                Step::Any => out.write_str("[*]")?,
            }
        }
        Ok(())
    }
}

/// A pattern that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Byte of the pattern.
    pub at: usize,
    /// What was expected there.
    pub expected: &'static str,
}

/// Parses a pattern.
pub fn parse(pattern: &str) -> Result<Observation, Mistake> {
    if pattern.len() > LONGEST {
        return Err(Mistake { at: LONGEST, expected: "a shorter pattern" });
    }
    let place = |miss: Miss<'_>| Mistake { at: pattern.len() - miss.rest.len(), expected: miss.expected };
    let context = Context { pattern, depth: 0 };
    match observations(context, pattern) {
        Ok((rest, observation)) => match blank(rest) {
            Ok(("", ())) => Ok(observation),
            Ok((rest, ())) => Err(place(Miss { rest, expected: "an operator, a qualifier or the end" })),
            Err(_) => Err(Mistake { at: pattern.len(), expected: "the end of a comment" }),
        },
        Err(Err::Error(miss) | Err::Failure(miss)) => Err(place(miss)),
        Err(Err::Incomplete(_)) => Err(Mistake { at: pattern.len(), expected: "more" }),
    }
}

/// Where a parser gave up, and what it wanted there.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Miss<'a> {
    rest: &'a str,
    expected: &'static str,
}

impl<'a> ParseError<&'a str> for Miss<'a> {
    fn from_error_kind(rest: &'a str, _: ErrorKind) -> Self {
        Miss { rest, expected: "" }
    }

    fn append(_: &'a str, _: ErrorKind, other: Self) -> Self {
        other
    }

    /// Of two ways that failed the one that came further was meant.
    fn or(self, other: Self) -> Self {
        if other.rest.len() < self.rest.len() { other } else { self }
    }
}

type Parsed<'a, T> = IResult<&'a str, T, Miss<'a>>;

#[derive(Clone, Copy)]
struct Context<'a> {
    pattern: &'a str,
    depth: usize,
}

impl<'a> Context<'a> {
    fn deeper(self, rest: &'a str) -> Result<Context<'a>, Err<Miss<'a>>> {
        match self.depth < DEEPEST {
            true => Ok(Context { depth: self.depth + 1, ..self }),
            false => failure(rest, "fewer brackets in brackets"),
        }
    }

    fn at(self, rest: &str) -> usize {
        self.pattern.len() - rest.len()
    }
}

fn failure<'a, T>(rest: &'a str, expected: &'static str) -> Result<T, Err<Miss<'a>>> {
    Err(Err::Failure(Miss { rest, expected }))
}

fn miss<'a, T>(rest: &'a str, expected: &'static str) -> Parsed<'a, T> {
    Err(Err::Error(Miss { rest, expected }))
}

/// Gives a parser's failure the name of what it wants.
fn expect<'a, T>(
    expected: &'static str,
    mut parser: impl Parser<&'a str, Output = T, Error = Miss<'a>>,
) -> impl FnMut(&'a str) -> Parsed<'a, T> {
    move |input| {
        parser.parse(input).map_err(|error| match error {
            Err::Error(_) => Err::Error(Miss { rest: input, expected }),
            other => other,
        })
    }
}

/// What was begun must be finished so.
fn must<'a, T>(
    expected: &'static str,
    mut parser: impl Parser<&'a str, Output = T, Error = Miss<'a>>,
) -> impl FnMut(&'a str) -> Parsed<'a, T> {
    move |input| {
        let (input, ()) = blank(input)?;
        parser.parse(input).map_err(|error| match error {
            Err::Error(_) => Err::Failure(Miss { rest: input, expected }),
            other => other,
        })
    }
}

// ---- observations

fn observations<'a>(context: Context<'a>, input: &'a str) -> Parsed<'a, Observation> {
    joined(input, "FOLLOWEDBY", |input| observation_or(context, input), Observation::FollowedBy)
}

fn observation_or<'a>(context: Context<'a>, input: &'a str) -> Parsed<'a, Observation> {
    joined(input, "OR", |input| observation_and(context, input), Observation::Or)
}

fn observation_and<'a>(context: Context<'a>, input: &'a str) -> Parsed<'a, Observation> {
    joined(input, "AND", |input| observation(context, input), Observation::And)
}

/// One or more of something with a word between them.
fn joined<'a, T>(
    input: &'a str,
    word: &'static str,
    mut one: impl FnMut(&'a str) -> Parsed<'a, T>,
    all: impl Fn(Vec<T>) -> T,
) -> Parsed<'a, T> {
    let (mut rest, first) = one(input)?;
    let mut list = vec![first];
    while let Ok((after, ())) = keyword(word).parse(rest) {
        let (after, next) = one(after).map_err(|error| match error {
            Err::Error(miss) => Err::Failure(miss),
            other => other,
        })?;
        list.push(next);
        rest = after;
    }
    match list.len() {
        1 => Ok((rest, list.remove(0))),
        _ => Ok((rest, all(list))),
    }
}

fn observation<'a>(context: Context<'a>, input: &'a str) -> Parsed<'a, Observation> {
    let (input, ()) = blank(input)?;
    let (mut rest, mut whole) = if let Some(inside) = input.strip_prefix('[') {
        let (rest, comparison) = comparison(context.deeper(input)?, inside)?;
        let (rest, _) = must("`]`, `AND` or `OR`", char(']')).parse(rest)?;
        (rest, Observation::Test(comparison))
    } else if let Some(inside) = input.strip_prefix('(') {
        let (rest, inner) = observations(context.deeper(input)?, inside)?;
        let (rest, _) = must("`)`", char(')')).parse(rest)?;
        (rest, inner)
    } else {
        return miss(input, "`[` or `(`");
    };
    let mut kinds = Vec::new();
    loop {
        let before = blank(rest).map_or(rest, |(rest, ())| rest);
        let Some((after, qualifier)) = qualifier(rest)? else { return Ok((rest, whole)) };
        let kind = std::mem::discriminant(&qualifier);
        if kinds.contains(&kind) {
            return failure(before, "each kind of qualifier once");
        }
        kinds.push(kind);
        (rest, whole) = (after, Observation::Qualified(Box::new(whole), qualifier));
    }
}

fn qualifier(input: &str) -> Result<Option<(&str, Qualifier)>, Err<Miss<'_>>> {
    if let Ok((rest, ())) = keyword("START").parse(input) {
        let (rest, start) = must("a timestamp such as t'2026-01-02T03:04:05Z'", time).parse(rest)?;
        let (rest, ()) = must("`STOP`", keyword("STOP")).parse(rest)?;
        let begins = blank(rest).map_or(rest, |(rest, ())| rest);
        let (rest, stop) = must("a timestamp such as t'2026-01-02T03:04:05Z'", time).parse(rest)?;
        if stop <= start {
            return failure(begins, "a time after `START`");
        }
        return Ok(Some((rest, Qualifier::StartStop(start, stop))));
    }
    if let Ok((rest, ())) = keyword("WITHIN").parse(input) {
        let begins = blank(rest).map_or(rest, |(rest, ())| rest);
        let (rest, number) = must("a number of seconds", number).parse(rest)?;
        let seconds = match number {
            Literal::Integer(seconds) => seconds as f64,
            Literal::Float(seconds) => seconds,
            _ => 0.0,
        };
        if seconds <= 0.0 {
            return failure(begins, "a positive number of seconds");
        }
        let (rest, ()) = must("`SECONDS`", keyword("SECONDS")).parse(rest)?;
        return Ok(Some((rest, Qualifier::Within(seconds))));
    }
    if let Ok((rest, ())) = keyword("REPEATS").parse(input) {
        let begins = blank(rest).map_or(rest, |(rest, ())| rest);
        let (rest, number) = must("a whole number", number).parse(rest)?;
        let Literal::Integer(times @ 1..) = number else { return failure(begins, "a whole number from 1") };
        let (rest, ()) = must("`TIMES`", keyword("TIMES")).parse(rest)?;
        return Ok(Some((rest, Qualifier::Repeats(times.unsigned_abs()))));
    }
    Ok(None)
}

// ---- comparisons

fn comparison<'a>(context: Context<'a>, input: &'a str) -> Parsed<'a, Comparison> {
    joined(input, "OR", |input| comparison_and(context, input), Comparison::Or)
}

fn comparison_and<'a>(context: Context<'a>, input: &'a str) -> Parsed<'a, Comparison> {
    joined(input, "AND", |input| test(context, input), Comparison::And)
}

fn test<'a>(context: Context<'a>, input: &'a str) -> Parsed<'a, Comparison> {
    let (input, ()) = blank(input)?;
    if let Some(inside) = input.strip_prefix('(') {
        let (rest, inner) = comparison(context.deeper(input)?, inside)?;
        let (rest, _) = must("`)`, `AND` or `OR`", char(')')).parse(rest)?;
        return Ok((rest, inner));
    }
    let start = context.at(input);
    // A path may begin with the same letters.
    if let Ok((rest, ())) = keyword("EXISTS").parse(input)
        && !blank(rest).is_ok_and(|(rest, ())| rest.starts_with(':'))
    {
        let (rest, path) = must("an object path", path).parse(rest)?;
        let at = start..context.at(rest);
        let test = Test { path, negated: false, operator: Operator::Exists, values: Vec::new(), at };
        return Ok((rest, Comparison::Test(test)));
    }
    let (rest, path) = path(input)?;
    let (rest, negated) = opt(keyword("NOT")).parse(rest)?;
    let (rest, operator) = must("a comparison such as `=`, `IN` or `LIKE`", operator).parse(rest)?;
    let (rest, values) = match operator {
        Operator::In => must("a list such as ('a', 'b')", set).parse(rest)?,
        Operator::Like | Operator::Matches | Operator::IsSubset | Operator::IsSuperset => {
            let (rest, text) = must("text in single quotes", text).parse(rest)?;
            (rest, vec![Literal::Text(text)])
        }
        Operator::Equal | Operator::NotEqual => {
            let (rest, value) = must("a value such as 'text', 12 or true", literal).parse(rest)?;
            (rest, vec![value])
        }
        _ => {
            let begins = blank(rest).map_or(rest, |(rest, ())| rest);
            let (rest, value) = must("a value that has an order", literal).parse(rest)?;
            if matches!(value, Literal::Bool(_)) {
                return failure(begins, "a value that has an order");
            }
            (rest, vec![value])
        }
    };
    let at = start..context.at(rest);
    Ok((rest, Comparison::Test(Test { path, negated: negated.is_some(), operator, values, at })))
}

fn path(input: &str) -> Parsed<'_, Path> {
    let (input, ()) = blank(input)?;
    let object = |input| {
        let (rest, name) =
            recognize(pair(letter, take_while(|c: char| is_word(c) || c == '-'))).parse(input)?;
        Ok((rest, name))
    };
    let (rest, object) = expect("an object path such as ipv4-addr:value", object).parse(input)?;
    let (rest, _) = must("`:` and the path in the object", char(':')).parse(rest)?;
    let (mut rest, first) = must("a name or a name in single quotes", component).parse(rest)?;
    let mut steps = vec![Step::Key(first)];
    loop {
        let (after, ()) = blank(rest)?;
        if let Some(inside) = after.strip_prefix('.') {
            let (next, key) = must("a name or a name in single quotes", component).parse(inside)?;
            steps.push(Step::Key(key));
            rest = next;
        } else if let Some(inside) = after.strip_prefix('[') {
            let (next, step) = must("`*` or a whole number", index).parse(inside)?;
            (rest, _) = must("`]`", char(']')).parse(next)?;
            steps.push(step);
        } else {
            return Ok((rest, Path { object: object.to_owned(), steps }));
        }
    }
}

fn component(input: &str) -> Parsed<'_, String> {
    let name = recognize(pair(letter, take_while(is_word))).map(str::to_owned);
    alt((text, name)).parse(input)
}

fn index(input: &str) -> Parsed<'_, Step> {
    if let Some(rest) = input.strip_prefix('*') {
        return Ok((rest, Step::Any));
    }
    match number(input)? {
        (rest, Literal::Integer(index)) => Ok((rest, Step::Index(index))),
        _ => miss(input, "a whole number"),
    }
}

fn letter(input: &str) -> Parsed<'_, &str> {
    take_while1(|c: char| c.is_ascii_alphabetic() || c == '_').parse(input)
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

fn operator(input: &str) -> Parsed<'_, Operator> {
    let sign = |written, operator| tag(written).map(move |_| operator);
    let word = |written, operator| keyword(written).map(move |()| operator);
    let signs = alt((
        sign("==", Operator::Equal),
        sign("=", Operator::Equal),
        sign("!=", Operator::NotEqual),
        sign("<>", Operator::NotEqual),
        sign("<=", Operator::LessOrEqual),
        sign(">=", Operator::GreaterOrEqual),
        sign("<", Operator::Less),
        sign(">", Operator::Greater),
    ));
    let words = alt((
        word("IN", Operator::In),
        word("LIKE", Operator::Like),
        word("MATCHES", Operator::Matches),
        word("ISSUBSET", Operator::IsSubset),
        word("ISSUPERSET", Operator::IsSuperset),
    ));
    alt((signs, words)).parse(input)
}

// ---- literals

fn set(input: &str) -> Parsed<'_, Vec<Literal>> {
    let Some(inside) = input.strip_prefix('(') else { return miss(input, "`(`") };
    let (mut rest, ()) = blank(inside)?;
    let mut values = Vec::new();
    if let Some(rest) = rest.strip_prefix(')') {
        return Ok((rest, values));
    }
    loop {
        let (after, value) = must("a value such as 'text' or 12", literal).parse(rest)?;
        values.push(value);
        let (after, ()) = blank(after)?;
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => {
                let (rest, _) = must("`,` or `)`", char(')')).parse(after)?;
                return Ok((rest, values));
            }
        }
    }
}

fn literal(input: &str) -> Parsed<'_, Literal> {
    let boolean = alt((keyword("true").map(|()| true), keyword("false").map(|()| false)));
    alt((
        text.map(Literal::Text),
        time.map(Literal::Time),
        hex.map(Literal::Hex),
        binary.map(Literal::Binary),
        boolean.map(Literal::Bool),
        number,
    ))
    .parse(input)
}

/// `'…'`, in which `\` stands before a quote or itself only.
fn text(input: &str) -> Parsed<'_, String> {
    let Some(mut rest) = input.strip_prefix('\'') else { return miss(input, "text in single quotes") };
    let mut text = String::new();
    loop {
        let (after, plain) = take_till(|c| c == '\'' || c == '\\').parse(rest)?;
        text.push_str(plain);
        if let Some(rest) = after.strip_prefix('\'') {
            return Ok((rest, text));
        }
        match after.as_bytes() {
            [b'\\', escaped @ (b'\'' | b'\\'), ..] => {
                text.push(char::from(*escaped));
                rest = after.get(2..).unwrap_or_default();
            }
            [] => return failure(input, "a closing quote"),
            _ => return failure(after, "`\\\\` or `\\'`"),
        }
    }
}

/// What stands in quotes behind a letter, without escapes.
fn quoted<'a>(prefix: char, input: &'a str) -> Parsed<'a, &'a str> {
    delimited(pair(char(prefix), char('\'')), take_till(|c| c == '\''), char('\'')).parse(input)
}

fn time(input: &str) -> Parsed<'_, Nanos> {
    let (rest, written) = quoted('t', input)?;
    let digits = |text: &str, from: usize, to: usize| {
        text.get(from..to).is_some_and(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let fraction = written.get(19..).unwrap_or_default().strip_suffix('Z').unwrap_or("?");
    let well_formed = digits(written, 0, 4)
        && digits(written, 5, 7)
        && digits(written, 8, 10)
        && written.get(10..11) == Some("T")
        && (fraction.is_empty()
            || fraction.len() > 1 && fraction.starts_with('.') && digits(fraction, 1, fraction.len()));
    match nanos(written).filter(|_| well_formed) {
        Some(time) => Ok((rest, time)),
        None => failure(input, "a timestamp such as t'2026-01-02T03:04:05Z'"),
    }
}

fn hex(input: &str) -> Parsed<'_, Vec<u8>> {
    let (rest, digits) = quoted('h', input)?;
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let well_formed = digits.len() % 2 == 0 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    match digits.as_bytes().chunks_exact(2).map(byte).collect::<Option<Vec<u8>>>().filter(|_| well_formed) {
        Some(bytes) => Ok((rest, bytes)),
        None => failure(input, "pairs of hexadecimal digits"),
    }
}

fn binary(input: &str) -> Parsed<'_, Vec<u8>> {
    let (rest, written) = quoted('b', input)?;
    match base64::engine::general_purpose::STANDARD.decode(written) {
        Ok(bytes) => Ok((rest, bytes)),
        Err(_) => failure(input, "Base64"),
    }
}

fn number(input: &str) -> Parsed<'_, Literal> {
    let sign = opt(alt((char('-'), char('+'))));
    let fraction = opt(preceded(char('.'), digit1));
    let (rest, written) = recognize((sign, opt(digit1), fraction, peek(not(letter)))).parse(input)?;
    let plain = written.trim_start_matches(['+', '-']);
    let value = match plain.contains('.') {
        true => written.parse().ok().map(Literal::Float),
        // A leading zero is no number of this language.
        false if plain.len() > 1 && plain.starts_with('0') => None,
        false => written.parse().ok().map(Literal::Integer),
    };
    value.map_or_else(|| miss(input, "a number"), |value| Ok((rest, value)))
}

// ---- the lexis

/// A word of the language, white space before it passed over.
fn keyword<'a>(word: &'static str) -> impl Parser<&'a str, Output = (), Error = Miss<'a>> {
    move |input: &'a str| {
        let (input, ()) = blank(input)?;
        let (rest, _) = tag(word).parse(input)?;
        match rest.starts_with(is_word) {
            true => miss(input, word),
            false => Ok((rest, ())),
        }
    }
}

/// White space and comments.
fn blank(input: &str) -> Parsed<'_, ()> {
    let space = take_while1(char::is_whitespace);
    let line = recognize(pair(tag("//"), take_till(|c| c == '\n' || c == '\r')));
    let block = recognize((tag("/*"), take_until("*/"), tag("*/")));
    many0(alt((space, line, block))).map(drop).parse(input)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn equal(path: &str, value: &str) -> String {
        format!("{path} = {value}")
    }

    /// A tree, short.
    fn shown(observation: &Observation) -> String {
        let list = |all: &[Observation], word: &str| {
            let parts: Vec<String> = all.iter().map(shown).collect();
            format!("({})", parts.join(word))
        };
        match observation {
            Observation::Test(comparison) => format!("[{}]", shown_comparison(comparison)),
            Observation::And(all) => list(all, " AND "),
            Observation::Or(all) => list(all, " OR "),
            Observation::FollowedBy(all) => list(all, " FOLLOWEDBY "),
            Observation::Qualified(inner, qualifier) => format!("{} {qualifier:?}", shown(inner)),
        }
    }

    fn shown_comparison(comparison: &Comparison) -> String {
        let list = |all: &[Comparison], word: &str| {
            let parts: Vec<String> = all.iter().map(shown_comparison).collect();
            format!("({})", parts.join(word))
        };
        match comparison {
            Comparison::And(all) => list(all, " AND "),
            Comparison::Or(all) => list(all, " OR "),
            Comparison::Test(test) => {
                let values: Vec<String> = test.values.iter().map(|value| format!("{value:?}")).collect();
                let not = if test.negated { "NOT " } else { "" };
                equal(&test.path.to_string(), "").replace("= ", "")
                    + &format!("{not}{} {}", test.operator.name(), values.join(", "))
            }
        }
    }

    #[test]
    fn the_tree() {
        for (pattern, expected) in [
            ("[ipv4-addr:value = '198.51.100.1']", "[ipv4-addr:value = Text(\"198.51.100.1\")]"),
            (
                "[a:b=1 OR a:c!=2 AND a:d<3]",
                "[(a:b = Integer(1) OR (a:c != Integer(2) AND a:d < Integer(3)))]",
            ),
            (
                "[(a:b=1 OR a:c=2)AND a:d=true]",
                "[((a:b = Integer(1) OR a:c = Integer(2)) AND a:d = Bool(true))]",
            ),
            (
                "[a:b=1]OR[a:b=2]AND[a:b=3]FOLLOWEDBY[a:b=4]",
                "(([a:b = Integer(1)] OR ([a:b = Integer(2)] AND [a:b = Integer(3)])) FOLLOWEDBY [a:b = Integer(4)])",
            ),
            ("[a:b NOT IN ('x', 2)]", "[a:b NOT IN Text(\"x\"), Integer(2)]"),
            ("[a:b IN ()]", "[a:b IN ]"),
            ("[a:b.'c-d'[*].e[0] LIKE 'it\\'s %\\\\']", "[a:b.'c-d'[*].e[0] LIKE Text(\"it's %\\\\\")]"),
            ("[a:b = h'ff00' OR a:b = b'AQI=']", "[(a:b = Hex([255, 0]) OR a:b = Binary([1, 2]))]"),
            ("[a:b > -7.5] /* c */ WITHIN 5 SECONDS // d", "[a:b > Float(-7.5)] Within(5.0)"),
            ("[EXISTS a:b]", "[a:b EXISTS ]"),
            (
                "[a:b=1] START t'1970-01-01T00:00:01Z' STOP t'1970-01-01T00:00:02.5Z' REPEATS 2 TIMES",
                "[a:b = Integer(1)] StartStop(1000000000, 2500000000) Repeats(2)",
            ),
        ] {
            assert_eq!(
                shown(&parse(pattern).unwrap_or_else(|e| panic!("{pattern}: {e:?}"))),
                expected,
                "{pattern}"
            );
        }
    }

    #[test]
    fn mistakes() {
        for (pattern, at, expected) in [
            ("", 0, "`[` or `(`"),
            ("file:size = 1280", 0, "`[` or `(`"),
            ("[file:hashes.MD5 = cead3f77]", 19, "a value such as 'text', 12 or true"),
            ("[file:name MATCHES /x/]", 19, "text in single quotes"),
            ("[a:b = 'x'] WITHIN 5 HOURS", 21, "`SECONDS`"),
            ("[a:b ISSUBSET ]", 14, "text in single quotes"),
            ("[a:b == t'2457-73-22T32:81:84.1Z']", 8, "a timestamp such as t'2026-01-02T03:04:05Z'"),
            ("[a:b=1] within 2 seconds", 8, "an operator, a qualifier or the end"),
            ("[a:b='x'] WITHIN 5 SECONDS WITHIN 6 SECONDS", 27, "each kind of qualifier once"),
            ("[a:b = 'x", 7, "a closing quote"),
            ("[a:b = 'C:\\x']", 10, "`\\\\` or `\\'`"),
            ("[a:b = 'x' AND ]", 15, "an object path such as ipv4-addr:value"),
            ("[a:b = 'x'", 10, "`]`, `AND` or `OR`"),
            ("[a:b = 'x'] AND", 15, "`[` or `(`"),
            ("[a = 'x']", 3, "`:` and the path in the object"),
            ("[a:b 'x']", 5, "a comparison such as `=`, `IN` or `LIKE`"),
            ("[a:b IN ('x' 'y')]", 13, "`,` or `)`"),
            ("[a:b = h'abc']", 7, "pairs of hexadecimal digits"),
            ("[a:b=1] REPEATS 0 TIMES", 16, "a whole number from 1"),
            (
                "[a:b=1] START t'2020-01-02T00:00:00Z' STOP t'2020-01-01T00:00:00Z'",
                43,
                "a time after `START`",
            ),
        ] {
            let pattern = pattern.replace("\\\\x", "\\x");
            assert_eq!(parse(&pattern), Err(Mistake { at, expected }), "{pattern}");
        }
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let deep = "(".repeat(10_000);
        assert_eq!(parse(&deep).unwrap_err().expected, "fewer brackets in brackets");
        let deep = format!("[{}", "(".repeat(10_000));
        assert_eq!(parse(&deep).unwrap_err().expected, "fewer brackets in brackets");
        let long = format!("[a:b = '{}']", "x".repeat(LONGEST));
        assert_eq!(parse(&long).unwrap_err().expected, "a shorter pattern");
        let wide = format!("[{}a:b = 1]", "a:b = 1 OR ".repeat(10_000));
        assert!(parse(&wide).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_inside(pattern in r"[\[\]()a:b.'=<>! \\1tANDORIN*,]{0,40}") {
            if let Err(mistake) = parse(&pattern) {
                prop_assert!(mistake.at <= pattern.len() && pattern.is_char_boundary(mistake.at));
                prop_assert!(!mistake.expected.is_empty());
            }
        }
    }
}
