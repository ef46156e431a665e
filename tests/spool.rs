//! The spool of a real sensor: full and read-only disks, heartbeats, what it tells of itself, and
//! `kill -9` at random moments under load.

mod sensor;

use sensor::{Sensor, Setup, read_alerts};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const RULES: &str = "\
schema: 1
set: planted
source: {producer: NSOC}
defaults: {severity: high, tlp: green, throttle: none}
indicators:
  - {id: d, type: domain, value: 'evil[.]example'}
";

/// One output that takes everything, and one that takes nothing until its folder is there.
const OUTPUTS: &str = "[[output]]\nname = \"all\"\nto = \"file://{dir}/alerts.ndjson\"\n\
     [[output]]\nname = \"late\"\nto = \"file://{dir}/missing/late.ndjson\"\n";

fn setup() -> Setup<'static> {
    Setup { rules: &[("planted.yaml", RULES)], outputs: Some(OUTPUTS), ..Setup::default() }
}

fn line(number: &str) -> String {
    format!("<34>Oct 11 22:14:15 ns1 named[7]: n={number} query: a.evil.example IN A")
}

/// What `n=` says in the message of an alert.
fn number(alert: &Value) -> String {
    let original = alert["event"]["original"].as_str().expect("an original");
    let rest = original.split("n=").nth(1).expect("a number");
    rest.split(' ').next().expect("a number").to_owned()
}

fn numbers(path: &Path) -> Vec<String> {
    read_alerts(path).iter().filter(|alert| alert["event"]["kind"] == "alert").map(number).collect()
}

/// Kills the sensor and gives its folder.
fn kill(mut sensor: Sensor) -> tempfile::TempDir {
    sensor.child.kill().expect("killed");
    sensor.child.wait().expect("ended");
    std::mem::replace(&mut sensor.dir, tempfile::tempdir().expect("a folder"))
}

fn readiness(sensor: &Sensor) -> Value {
    let answer = sensor.http("/readyz").unwrap_or_default();
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
    serde_json::from_str(body).unwrap_or_default()
}

fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    fs::create_dir(dir.path().join("rules.d")).expect("a folder");
    fs::write(dir.path().join("rules.d/planted.yaml"), RULES).expect("a rule file");
    dir
}

/// A small file system in memory; gone when dropped.
struct Tmpfs(PathBuf);

impl Tmpfs {
    /// None where this process may not mount, which is said.
    fn mount(path: PathBuf, size: &str) -> Option<Tmpfs> {
        fs::create_dir_all(&path).expect("a folder");
        let options = format!("size={size},mode=0700");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path).status();
        if !status.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: no file system can be mounted here; root can");
            return None;
        }
        Some(Tmpfs(path))
    }

    fn remount(&self, mode: &str) {
        let status = Command::new("mount").args(["-o", &format!("remount,{mode}")]).arg(&self.0).status();
        assert!(status.expect("mount runs").success(), "remount {mode}");
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

#[test]
fn a_full_disk_stops_nothing_and_space_back_all_is_as_before() {
    let dir = folder();
    let Some(disk) = Tmpfs::mount(dir.path().join("state"), "2m") else { return };
    let mut sensor = Sensor::start_in(dir, setup());
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let send = |range: std::ops::Range<u32>, to| {
        range.for_each(|n| {
            udp.send_to(line(&n.to_string()).as_bytes(), to).expect("sent");
        });
    };
    send(0..10, sensor.udp);
    let all = sensor.dir.path().join("alerts.ndjson");
    sensor.wait("the first are delivered", |_| numbers(&all).len() == 10);
    let filler = disk.0.join("filler");
    let mut file = fs::File::create(&filler).expect("a file");
    while file.write_all(&[1; 4096]).is_ok() {}
    drop(file);

    // The room that was written ahead takes some; then the disk refuses.
    let mut sent = 10;
    while readiness(&sensor)["spool"]["refusal"].is_null() {
        send(sent..sent + 50, sensor.udp);
        sent += 50;
        sensor.wait("they are delivered from memory", |_| numbers(&all).len() == sent as usize);
        assert!(sent < 5000, "the disk never refuses: {}", readiness(&sensor));
    }
    send(sent..sent + 50, sensor.udp);
    sent += 50;
    sensor.wait("matching and delivery go on", |_| numbers(&all).len() == sent as usize);
    assert!(sensor.sum("roje_alerts_unspooled_total", "late") > 0);
    assert_eq!(sensor.sum("roje_alerts_pending", "late"), u64::from(sent));
    assert!(readiness(&sensor)["spool"]["held"].as_u64() > Some(0), "{}", readiness(&sensor));
    assert!(sensor.log().contains("held in memory"), "{}", sensor.log());

    fs::remove_file(&filler).expect("removed");
    sensor.wait("what was held is written", |sensor| {
        let spool = &readiness(sensor)["spool"];
        spool["refusal"].is_null() && spool["held"] == 0
    });
    send(sent..sent + 5, sensor.udp);
    sent += 5;
    sensor.wait("the last are delivered", |_| numbers(&all).len() == sent as usize);
    let unspooled = sensor.sum("roje_alerts_unspooled_total", "late");
    assert!(unspooled < u64::from(sent), "the last were written");

    // On disk: whoever was down the whole time gets all of it after a crash, in order.
    let dir = kill(sensor);
    fs::create_dir(dir.path().join("missing")).expect("a folder");
    let mut sensor = Sensor::start_in(dir, setup());
    let late = sensor.dir.path().join("missing/late.ndjson");
    let expected: Vec<String> = (0..sent).map(|n| n.to_string()).collect();
    sensor.wait("all is delivered", |_| numbers(&late).len() >= expected.len());
    assert_eq!(numbers(&late), expected);
    drop(sensor);
    drop(disk);
}

#[test]
fn a_read_only_disk_stops_nothing_either() {
    let dir = folder();
    let Some(disk) = Tmpfs::mount(dir.path().join("state"), "8m") else { return };
    let dir = Sensor::start_in(dir, setup()).stop();
    disk.remount("ro");
    let mut sensor = Sensor::start_in(dir, setup());
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for n in 0..20 {
        udp.send_to(line(&n.to_string()).as_bytes(), sensor.udp).expect("sent");
    }
    let all = sensor.dir.path().join("alerts.ndjson");
    sensor.wait("they are delivered from memory", |_| numbers(&all).len() == 20);
    assert_eq!(sensor.sum("roje_alerts_unspooled_total", "late"), 20);
    let refusal = readiness(&sensor)["spool"]["refusal"].as_str().map(str::to_owned);
    assert!(refusal.is_some_and(|reason| reason.contains("ead-only")), "{}", readiness(&sensor));
    disk.remount("rw");
    sensor.wait("they are written", |sensor| readiness(sensor)["spool"]["held"] == 0);
    let dir = kill(sensor);
    fs::create_dir(dir.path().join("missing")).expect("a folder");
    let mut sensor = Sensor::start_in(dir, setup());
    let late = sensor.dir.path().join("missing/late.ndjson");
    sensor.wait("all is delivered", |_| numbers(&late).len() >= 20);
    assert_eq!(numbers(&late), (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
    drop(sensor);
    drop(disk);
}

fn spool(dir: &Path, arguments: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_roje"))
        .arg("spool")
        .args(arguments)
        .arg("-c")
        .arg(dir.join("roje.toml"))
        .output()
        .expect("roje runs");
    let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    (status.code().expect("a code"), text)
}

#[test]
fn what_an_output_holds_up_is_told_in_every_place() {
    let mut sensor = Sensor::start(setup());
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for n in 0..4 {
        udp.send_to(line(&n.to_string()).as_bytes(), sensor.udp).expect("sent");
    }
    let output = |sensor: &Sensor, index: usize| readiness(sensor)["outputs"][index].clone();
    sensor.wait("it is tried again", |sensor| output(sensor, 1)["failures"].as_u64() > Some(2));
    sensor.wait("the other has all", |sensor| output(sensor, 0)["pending"] == 0);
    let late = output(&sensor, 1);
    assert_eq!(
        (&late["output"], &late["state"], &late["pending"]),
        (&"late".into(), &"retrying".into(), &4.into())
    );
    assert!(late["error"].as_str().is_some_and(|error| error.contains("No such file")), "{late}");
    assert!(late["next_attempt_seconds"].is_number() && late["failing_seconds"].is_number(), "{late}");
    assert_eq!(output(&sensor, 0)["state"], "ok");

    sensor.signal("USR1");
    sensor.wait("the log tells it", |sensor| {
        let log = sensor.log();
        log.contains("output: retrying, 4 pending")
            && log.contains("output: ok, 0 pending")
            && log.contains("spool: ok")
    });

    let dir = sensor.dir.path().to_owned();
    let (code, text) = spool(&dir, &["status", "--format", "json"]);
    let status: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!((code, &status["in_use"], &status["records"]), (0, &true.into(), &4.into()), "{text}");
    let late = status["outputs"].as_array().expect("outputs").iter().find(|one| one["output"] == "late");
    let late = late.expect("the output").clone();
    assert_eq!((&late["pending"], &late["live"]["state"]), (&4.into(), &"retrying".into()));
    let (code, text) = spool(&dir, &["status"]);
    assert!(code == 0 && text.contains("retrying, 4 pending"), "{text}");
    assert_eq!(spool(&dir, &["check"]).0, 0);
    let (code, text) = spool(&dir, &["repair"]);
    assert!(code == 2 && text.contains("used by another process"), "{text}");

    let dir = sensor.stop();
    let segment = dir.path().join("state/spool").join(format!("{:020}.seg", 0));
    let mut bytes = fs::read(&segment).expect("a segment");
    bytes[100] ^= 1;
    fs::write(&segment, bytes).expect("written");
    let (code, text) = spool(dir.path(), &["check"]);
    assert!(code == 1 && text.contains("damaged"), "{text}");
    let (code, text) = spool(dir.path(), &["repair", "--format", "json"]);
    let repaired: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!((code, repaired["set_aside"].as_array().map(Vec::len)), (0, Some(1)), "{text}");
    let (code, text) = spool(dir.path(), &["check", "--format", "json"]);
    let check: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!((code, &check["records"]), (0, &3.into()), "the rest stays: {text}");
    let elsewhere = dir.path().join("nowhere");
    let status = Command::new(env!("CARGO_BIN_EXE_roje"))
        .args(["spool", "status", "--data-dir"])
        .arg(elsewhere)
        .status();
    assert_eq!(status.expect("roje runs").code(), Some(2));
}

#[test]
fn heartbeats_go_the_way_of_alerts_and_are_none() {
    let outputs = "[[output]]\nname = \"all\"\nto = \"file://{dir}/alerts.ndjson\"\nheartbeat = \"1h\"\ntlp = \"clear\"\n\
         [[output]]\nname = \"late\"\nto = \"file://{dir}/missing/late.ndjson\"\nheartbeat = \"1s\"\n\
         [[output]]\nname = \"none\"\nto = \"file://{dir}/none.ndjson\"\n";
    let mut sensor = Sensor::start(Setup { outputs: Some(outputs), ..setup() });
    sensor.wait("one arrives at once", |sensor| sensor.alerts().len() == 1);
    let beat = sensor.alerts().remove(0);
    assert_eq!((&beat["event"]["kind"], &beat["event"]["action"]), (&"event".into(), &"heartbeat".into()));
    assert_eq!(beat["roje"]["heartbeat"]["output"], "all");
    assert_eq!((&beat["agent"]["name"], &beat["roje"]["tlp"]), (&"test".into(), &"CLEAR".into()));
    assert!(beat["event"]["id"].is_string());
    sensor.wait("those that do not arrive are missed", |sensor| {
        sensor.sum("roje_heartbeats_missed_total", "late") >= 2
    });
    assert_eq!(sensor.sum("roje_heartbeats_missed_total", "all"), 0);
    assert!(sensor.sum("roje_heartbeat_delivered_timestamp_seconds", "all") > 1_700_000_000);
    for (metric, output) in [
        ("roje_alerts_total", ""),
        ("roje_alerts_delivered_total", "all"),
        ("roje_alerts_withheld_total", "all"),
        ("roje_alerts_pending", "late"),
        ("roje_heartbeats_total", "none"),
    ] {
        assert_eq!(sensor.sum(metric, output), 0, "{metric}");
    }
    fs::create_dir(sensor.dir.path().join("missing")).expect("a folder");
    let late = sensor.dir.path().join("missing/late.ndjson");
    sensor.wait("they arrive late", |_| read_alerts(&late).len() > 2);
    let beats = read_alerts(&late);
    let told: Vec<u64> =
        beats.iter().filter_map(|beat| beat["roje"]["heartbeat"]["number"].as_u64()).collect();
    assert!(told.windows(2).all(|two| two[0] + 1 == two[1]), "{told:?}");
    let dir = sensor.stop();
    assert!(!dir.path().join("none.ndjson").exists());
}

/// Runs of `kill -9`; `ROJE_KILLS` says how many.
#[cfg(feature = "real-tools")]
#[test]
fn nothing_that_was_raised_is_lost_by_kill_nine_at_random_moments_under_load() {
    use std::collections::{BTreeMap, HashMap};
    use std::net::TcpStream;
    use std::time::{Duration, Instant};

    let runs: u64 = std::env::var("ROJE_KILLS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(20);
    let mut dice = Instant::now().elapsed().subsec_nanos() as u64 ^ u64::from(std::process::id());
    let mut dir = folder();
    let mut raised = Vec::new();
    for run in 0..runs {
        let sensor = Sensor::start_in(dir, setup());
        let mut tcp = TcpStream::connect(sensor.tcp).expect("a connection");
        let sender = std::thread::spawn(move || {
            // Until the sensor is gone.
            for number in 0u64.. {
                if writeln!(tcp, "{}", line(&format!("{run}-{number}"))).is_err() {
                    return;
                }
                if number % 16 == 0 {
                    std::thread::sleep(Duration::from_millis(8));
                }
            }
        });
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros((dice >> 33) % 400_000));
        raised.push(sensor.sum("roje_alerts_total", ""));
        dir = kill(sensor);
        sender.join().expect("the sender ends");
    }
    assert!(raised.iter().sum::<u64>() > runs, "{raised:?}");
    fs::create_dir(dir.path().join("missing")).expect("a folder");
    let mut sensor = Sensor::start_in(dir, setup());
    sensor.wait("everything is delivered", |sensor| sensor.sum("roje_alerts_pending", "") == 0);
    let dir = sensor.stop();
    for name in ["alerts.ndjson", "missing/late.ndjson"] {
        let alerts = read_alerts(&dir.path().join(name));
        let mut ids: HashMap<String, String> = HashMap::new();
        let mut seen: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for alert in &alerts {
            let (number, id) = (number(alert), alert["event"]["id"].as_str().expect("an id").to_owned());
            match ids.get(&number) {
                Some(known) => assert_eq!(*known, id, "a second delivery has the same id"),
                None => {
                    let (run, number) = number.split_once('-').expect("a run");
                    let run = run.parse().expect("a number");
                    seen.entry(run).or_default().push(number.parse().expect("a number"));
                    ids.insert(format!("{run}-{number}"), id);
                }
            }
        }
        for (run, raised) in raised.iter().enumerate() {
            let seen = seen.get(&(run as u64)).cloned().unwrap_or_default();
            assert!(seen.is_sorted(), "run {run}: in order: {seen:?}");
            let missing: Vec<u64> = (0..*raised).filter(|number| !seen.contains(number)).collect();
            assert!(missing.is_empty(), "{name}, run {run}: {raised} were raised, missing {missing:?}");
        }
        let (raised, distinct, delivered) = (raised.iter().sum::<u64>(), ids.len(), alerts.len());
        eprintln!(
            "{name}: {runs} kills, {raised} counted as raised, {distinct} distinct of {delivered} delivered"
        );
    }
    // Whatever a kill left unfinished was no damage.
    let contents = fs::read_dir(dir.path().join("state/spool/damaged"));
    assert!(contents.is_err(), "{:?}", contents.map(|files| files.count()));
}
