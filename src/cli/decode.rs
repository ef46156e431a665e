//! `roje decode`: every event as ECS.

use super::offline::{self, Job, Place};
use super::scan::put_place;
use super::{DecodeArgs, terminal};
use crate::alert::{Composer, Directory, escape_json};
use crate::decode::Fields;
use crate::decode::flow::{DecodeError, Losses, Record};
use crate::decode::syslog::{self, Reference};
use crate::input::Message;
use crate::pipeline;
use serde_json::{Value, json};
use std::io::{BufWriter, Write};
use std::process::ExitCode;
use std::sync::Arc;

/// Prints every decoded event; what cannot be decoded is an event with `error.message`.
pub fn run(args: &DecodeArgs) -> anyhow::Result<ExitCode> {
    let decode = Decode {
        composer: Composer::new(pipeline::agent(crate::config::host_name()), Arc::new(Directory::default())),
    };
    let mut out = BufWriter::new(std::io::stdout());
    let (read, workers) =
        offline::run(&decode, &args.inputs, args.kind, &args.time, offline::threads(None), &mut out)?;
    out.flush()?;
    let sum = |count: fn(&Worker) -> u64| workers.iter().map(count).sum::<u64>();
    eprintln!(
        "{} messages: {} events, {} undecodable",
        terminal::count(read.messages),
        terminal::count(sum(|worker| worker.events)),
        terminal::count(sum(|worker| worker.undecodable)),
    );
    Ok(ExitCode::from(if read.failed > 0 { 2 } else { 0 }))
}

struct Decode {
    composer: Composer,
}

/// One thread's fields, and what it counted.
#[derive(Default)]
struct Worker {
    fields: Fields,
    events: u64,
    undecodable: u64,
}

impl Job for Decode {
    type Worker = Worker;

    fn worker(&self) -> Worker {
        Worker::default()
    }

    fn syslog(
        &self,
        worker: &mut Worker,
        message: &Message<'_>,
        place: Place<'_>,
        time: &Reference,
        out: &mut Vec<u8>,
    ) {
        worker.fields.clear();
        let decoded = syslog::decode(message.bytes, time, &mut worker.fields);
        self.print(worker, message, message.bytes, decoded.err().map(|error| error.to_string()), place, out);
    }

    fn record(
        &self,
        worker: &mut Worker,
        message: &Message<'_>,
        record: &Record<'_>,
        place: Place<'_>,
        out: &mut Vec<u8>,
    ) {
        worker.fields.clear();
        record.fields(&mut worker.fields);
        self.print(worker, message, record.bytes, None, place, out);
    }

    fn undecodable(
        &self,
        worker: &mut Worker,
        message: &Message<'_>,
        error: DecodeError,
        place: Place<'_>,
        _time: &Reference,
        out: &mut Vec<u8>,
    ) {
        worker.fields.clear();
        self.print(worker, message, message.bytes, Some(error.to_string()), place, out);
    }

    fn damaged(
        &self,
        worker: &mut Worker,
        message: &Message<'_>,
        losses: Losses,
        place: Place<'_>,
        out: &mut Vec<u8>,
    ) {
        worker.fields.clear();
        self.print(worker, message, message.bytes, Some(losses.to_string()), place, out);
    }
}

impl Decode {
    fn print(
        &self,
        worker: &mut Worker,
        message: &Message<'_>,
        bytes: &[u8],
        error: Option<String>,
        place: Place<'_>,
        out: &mut Vec<u8>,
    ) {
        let mut event = self.composer.event(&worker.fields, bytes, message.received, message.peer);
        match error {
            None => worker.events += 1,
            Some(error) => {
                worker.undecodable += 1;
                event.insert("error".into(), json!({ "message": error }));
            }
        }
        if message.truncated {
            event.entry("roje").or_insert_with(|| json!({}))["truncated"] = json!(true);
        }
        put_place(&mut event, place);
        // A map of strings, numbers and maps always has a JSON form.
        escape_json(&serde_json::to_vec(&Value::Object(event)).unwrap_or_default(), out);
        out.push(b'\n');
    }
}
