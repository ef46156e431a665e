//! Processes under measurement: until they are ready, and until they end.

use crate::drive;
use anyhow::Context;
use clap::Args;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeValLike;
use nix::unistd::Pid;
use serde_json::json;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[derive(Args)]
pub struct Wait {
    #[command(flatten)]
    sign: Sign,
    /// The process that shall become ready.
    #[arg(long)]
    pid: u32,
}

#[derive(Args)]
pub struct Ready {
    #[command(flatten)]
    sign: Sign,
    /// The program, which is stopped when it is ready.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// How readiness shows.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Sign {
    /// It accepts connections.
    #[arg(long)]
    tcp: Option<SocketAddr>,
    /// Its `/readyz` answers 200.
    #[arg(long)]
    http: Option<SocketAddr>,
}

#[derive(Args)]
pub struct Time {
    /// Where its standard output goes.
    #[arg(long)]
    output: Option<PathBuf>,
    /// Records that it works through.
    #[arg(long)]
    per: Option<f64>,
    /// The program.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

impl Sign {
    fn shows(&self) -> bool {
        if let Some(address) = self.tcp {
            return TcpStream::connect(address).is_ok();
        }
        let Some(address) = self.http else { return false };
        let Ok(mut stream) = TcpStream::connect(address) else { return false };
        let mut answer = String::new();
        let request = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).is_ok()
            && stream.read_to_string(&mut answer).is_ok()
            && answer.starts_with("HTTP/1.1 200")
    }
}

/// A list of a million takes the slowest seconds.
const LONGEST: Duration = Duration::from_secs(120);

/// Waits until a process is ready.
pub fn wait(options: &Wait) -> anyhow::Result<()> {
    let start = Instant::now();
    while !options.sign.shows() {
        let alive = fs::exists(format!("/proc/{}/exe", options.pid))?;
        anyhow::ensure!(alive, "process {} has ended", options.pid);
        anyhow::ensure!(start.elapsed() < LONGEST, "process {} is not ready", options.pid);
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Starts a program, prints when it was ready and what memory it took, and stops it.
pub fn ready(options: &Ready) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut child = command(&options.command)?.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let pid = child.id();
    let seconds = loop {
        if options.sign.shows() {
            break start.elapsed().as_secs_f64();
        }
        let over = child.try_wait()?.is_some() || start.elapsed() > LONGEST;
        if over {
            child.kill().ok();
            anyhow::bail!("not ready");
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    // What was needed for loading only is given back by then.
    std::thread::sleep(Duration::from_millis(500));
    let (rss, peak) = (drive::memory(pid, "VmRSS:"), drive::memory(pid, "VmHWM:"));
    kill(Pid::from_raw(pid as i32), Signal::SIGTERM)?;
    child.wait()?;
    println!("{}", json!({"ready": seconds, "rss_mib": rss, "peak_mib": peak}));
    Ok(())
}

/// Runs a program to its end and prints its time.
pub fn time(options: &Time) -> anyhow::Result<()> {
    let output = match &options.output {
        Some(path) => Stdio::from(File::create(path)?),
        None => Stdio::null(),
    };
    let start = Instant::now();
    let status = command(&options.command)?.stdout(output).stderr(Stdio::null()).status()?;
    let seconds = start.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cpu = (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6;
    let code = status.code().context("killed")?;
    // 1 is what grep says when nothing is found.
    anyhow::ensure!(code < 2, "exit code {code}");
    println!(
        "{}",
        json!({
            "seconds": seconds,
            "cpu": cpu,
            "cpu_per_million_records": options.per.map(|records| cpu * 1e6 / records),
            "peak_mib": usage.max_rss() as f64 / 1024.0,
        })
    );
    Ok(())
}

fn command(words: &[String]) -> anyhow::Result<Command> {
    let (program, arguments) = words.split_first().context("no program")?;
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}
