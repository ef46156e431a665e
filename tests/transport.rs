//! How syslog arrives: TLS with real handshakes, Unix sockets, proxies, and peers that mean harm.

mod pki;
mod sensor;

use pki::{Authority, Signed};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use sensor::{Sensor, Setup, free_tcp};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const RULES: &str = "\
schema: 1
set: planted
source: {producer: NSOC}
defaults: {tlp: green, severity: high, throttle: none}
indicators:
  - {id: c2, type: domain, value: evil.example}
  - {id: address, type: ip, value: 198.51.100.7}
";

const LINE: &str = "<34>Oct 11 22:14:15 ns1 named[7]: client 10.0.0.5#53: query: a.evil.example IN A";

/// Replaces a file at once, as those do who renew certificates.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("a file");
    fs::rename(&new, path).expect("a file");
}

type Client = StreamOwned<ClientConnection, TcpStream>;

fn client_config(
    authority: &str,
    signed: Option<&Signed>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).expect("PEM")).expect("an authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
    let builder = builder.expect("versions").with_root_certificates(roots);
    Arc::new(match signed {
        Some(signed) => {
            let chain = vec![CertificateDer::from_pem_slice(signed.cert.as_bytes()).expect("PEM")];
            let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes()).expect("PEM");
            builder.with_client_auth_cert(chain, key).expect("a certificate")
        }
        None => builder.with_no_client_auth(),
    })
}

const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Client {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let name = ServerName::try_from("sensor.example").expect("a name");
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).expect("a client"), stream)
}

/// Sends and says goodbye; an error of either is the peer's refusal.
fn send(mut client: Client, text: &str) -> std::io::Result<()> {
    client.write_all(text.as_bytes())?;
    client.conn.send_close_notify();
    client.flush()?;
    client.sock.shutdown(Shutdown::Write)?;
    // A refusal may come after the handshake: TLS 1.3 judges the client's certificate last.
    match client.sock.read_to_end(&mut Vec::new()) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => Err(error),
        _ => Ok(()),
    }
}

struct Server {
    sensor: Sensor,
    tls: SocketAddr,
    authority: Authority,
    folder: tempfile::TempDir,
}

/// A sensor with a TLS input; `{dir}` in `keys` is the folder of its certificates.
fn tls_sensor(keys: &str, config: &str) -> Server {
    let folder = tempfile::tempdir().expect("a folder");
    let (authority, tls) = (Authority::new("Roje test authority"), free_tcp());
    let signed = authority.sign("sensor.example", 1, |_| ());
    let at = folder.path();
    fs::write(at.join("cert.pem"), &signed.cert).expect("a file");
    fs::write(at.join("key.pem"), &signed.key).expect("a file");
    fs::write(at.join("ca.pem"), authority.pem()).expect("a file");
    fs::write(at.join("crl.pem"), authority.revoke(&[])).expect("a file");
    let dir = at.display().to_string();
    let config = format!(
        "[[input]]\nname = \"tls\"\nlisten = \"tls://{tls}\"\nformat = \"syslog\"\n\
         cert_file = \"{dir}/cert.pem\"\nkey_file = \"{dir}/key.pem\"\n{keys}\n{config}\n",
    );
    let config = config.replace("{dir}", &dir);
    let sensor = Sensor::start(Setup { rules: &[("r.yaml", RULES)], config: &config, ..Setup::default() });
    Server { sensor, tls, authority, folder }
}

fn closed(sensor: &Sensor, input: &str, reason: &str) -> u64 {
    sensor
        .samples()
        .iter()
        .filter(|(name, _)| {
            name.starts_with("roje_input_connections_closed_total{")
                && name.contains(&format!("input=\"{input}\""))
                && name.contains(&format!("reason=\"{reason}\""))
        })
        .map(|(_, value)| *value as u64)
        .sum()
}

const CLIENTS: &str = "client_ca_file = \"{dir}/ca.pem\"\ncrl_file = \"{dir}/crl.pem\"\n";

#[test]
fn tls_1_2_and_1_3_carry_messages_and_a_certificate_selects_the_source() {
    let sources = "[[constituent]]\nname = \"Bank\"\nsector = \"banking\"\n\
         [[source]]\nname = \"edge\"\ncertificates = [\"fw2.example\"]\nconstituent = \"Bank\"\n";
    let mut server = tls_sensor(CLIENTS, sources);
    let signed = server.authority.sign("fw2.example", 7, |_| ());
    for version in BOTH {
        let config = client_config(&server.authority.pem(), Some(&signed), &[version]);
        let counted = format!("{} {LINE}", LINE.len());
        send(connect(server.tls, &config), &format!("{LINE}\n{counted}{counted}")).expect("accepted");
    }
    server.sensor.wait("six messages came", |sensor| sensor.received("tls") == 6);
    server.sensor.wait("alerts are written", |sensor| sensor.counted() == 6);
    for alert in server.sensor.alerts() {
        assert_eq!(alert["organization"]["name"], "Bank", "{alert}");
        assert_eq!(alert["tls"]["client"]["x509"]["alternative_names"][0], "fw2.example");
    }
    let expiry = server.sensor.samples();
    for (role, file) in [("cert", "cert.pem"), ("client_ca", "ca.pem"), ("crl", "crl.pem")] {
        let path = server.folder.path().join(file).display().to_string();
        let labels = format!("file=\"{path}\",input=\"tls\",role=\"{role}\"");
        let name = format!("roje_tls_certificate_expiry_timestamp_seconds{{{labels}}}");
        assert!(expiry.get(&name).is_some_and(|end| *end > 1.8e9), "{role}: {expiry:#?}");
    }
    server.sensor.stop();
}

/// A message of IPFIX (RFC 7011) with one set.
fn ipfix(sequence: u32, id: u16, content: &[u8]) -> Vec<u8> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    let mut message = vec![0, 10];
    message.extend((20 + content.len() as u16).to_be_bytes());
    message.extend((now.as_secs() as u32).to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.extend([0, 0, 0, 1]);
    message.extend(id.to_be_bytes());
    message.extend((4 + content.len() as u16).to_be_bytes());
    message.extend(content);
    message
}

#[test]
fn ipfix_over_tls_is_read_by_the_template_of_its_session() {
    let flow = free_tcp();
    let config = format!(
        "[[input]]\nname = \"ipfix\"\nlisten = \"tls://{flow}\"\nformat = \"flow\"\n\
         cert_file = \"{{dir}}/cert.pem\"\nkey_file = \"{{dir}}/key.pem\"\n{CLIENTS}\
         [[source]]\nname = \"edge\"\ncertificates = [\"fw2.example\"]\n"
    );
    let mut server = tls_sensor("", &config);
    // Template 256: source and destination.
    let template = ipfix(0, 2, &[1, 0, 0, 2, 0, 8, 0, 4, 0, 12, 0, 4]);
    let record = |sequence| ipfix(sequence, 256, &[10, 0, 0, 5, 198, 51, 100, 7]);
    let signed = server.authority.sign("fw2.example", 7, |_| ());
    let config = client_config(&server.authority.pem(), Some(&signed), BOTH);
    let mut first = connect(flow, &config);
    first.write_all(&[template.clone(), record(0)].concat()).expect("sent");
    first.flush().expect("sent");
    server.sensor.wait("the alert is delivered", |sensor| sensor.alerts().len() == 1);
    let alert = server.sensor.alerts().remove(0);
    assert_eq!(alert["source"]["ip"], "10.0.0.5", "{alert:#}");
    assert_eq!(alert["tls"]["client"]["x509"]["alternative_names"][0], "fw2.example", "{alert:#}");
    let mut second = connect(flow, &config);
    second.write_all(&record(0)).expect("sent");
    second.flush().expect("sent");
    server.sensor.wait("the other's template does not serve", |sensor| {
        sensor.sum("roje_flow_missing_template_total", "ipfix") == 1
    });
    second.write_all(&template).expect("sent");
    second.flush().expect("sent");
    server.sensor.wait("its own does", |sensor| sensor.alerts().len() == 2);
    let stranger = client_config(&server.authority.pem(), None, BOTH);
    let mut stranger = connect(flow, &stranger);
    stranger.write_all(&[template, record(1)].concat()).ok();
    stranger.flush().ok();
    server.sensor.wait("without a certificate nobody is heard", |sensor| {
        closed(sensor, "ipfix", "no_certificate") == 1
    });
    assert_eq!((server.sensor.received("ipfix"), server.sensor.alerts().len()), (4, 2));
    drop((first, second));
    server
        .sensor
        .wait("templates end with their sessions", |sensor| sensor.sum("roje_flow_templates", "ipfix") == 0);
    server.sensor.stop();
}

#[test]
fn send_speaks_tls_and_to_unix_sockets() {
    let sockets = "[[input]]\nname = \"datagram\"\nlisten = \"unix://{dir}/datagram\"\nformat = \"syslog\"\n\
         [[input]]\nname = \"stream\"\nlisten = \"unix://{dir}/stream\"\nformat = \"syslog\"\nsocket_type = \"stream\"\n";
    let mut server = tls_sensor(CLIENTS, sockets);
    let at = |name: &str| server.folder.path().join(name).display().to_string();
    let signed = server.authority.sign("fw2.example", 7, |_| ());
    fs::write(at("me.pem"), &signed.cert).expect("a file");
    fs::write(at("me.key"), &signed.key).expect("a file");
    fs::write(at("nobody.pem"), Authority::new("Nobody").pem()).expect("a file");
    let entry = "__CURSOR=s=1\nSYSLOG_IDENTIFIER=app\nMESSAGE\n\x0c\0\0\0\0\0\0\0evil.example\n";
    fs::write(at("log"), format!("{LINE}\n{entry}\n{LINE}\n{LINE}\n")).expect("a file");
    let (log, tls) = (at("log"), format!("tls://{}", server.tls));
    let (ca, cert, key) = (at("ca.pem"), at("me.pem"), at("me.key"));
    let (certificate, named) =
        (["--cert-file", &cert, "--key-file", &key], ["--ca-file", &ca, "--server-name", "sensor.example"]);
    let send = |to: &str, options: &[&str]| roje(&[&["send", &log, "--to", to], options].concat());
    for framing in [&[][..], &["--octet-counted"]] {
        let (code, _, errors) = send(&tls, &[&named[..], &certificate, framing].concat());
        assert!(code == 0 && errors.starts_with("4 messages"), "{errors}");
    }
    server.sensor.wait("eight came over TLS", |sensor| sensor.received("tls") == 8);
    for name in ["datagram", "stream"] {
        let (code, _, errors) = send(&format!("unix://{}", at(name)), &[]);
        assert!(code == 0 && errors.starts_with("4 messages"), "{errors}");
        server.sensor.wait(name, |sensor| sensor.received(name) == 4);
    }
    server.sensor.wait("alerts are written", |sensor| sensor.counted() == 16);
    assert_eq!(server.sensor.sum("roje_decoded_total", "format=\"journal\""), 4);
    for (options, expected) in [
        (&named[..], "certificate"),
        (&["--ca-file", &at("nobody.pem"), "--server-name", "sensor.example"], "UnknownIssuer"),
        (&["--ca-file", &ca, "--server-name", "other.example"], "not valid for name"),
        (&["--ca-file", &log], "no certificate in PEM"),
    ] {
        let (code, _, errors) = send(&tls, options);
        assert!(code == 1 && errors.to_lowercase().contains(&expected.to_lowercase()), "{code}: {errors}");
    }
    let (code, _, errors) = send(&tls, &[]);
    assert!(code == 2 && errors.contains("--ca-file"), "{errors}");
    assert_eq!(server.sensor.received("tls"), 8);
    server.sensor.stop();
}

#[test]
fn every_failure_of_a_handshake_is_counted_under_its_reason() {
    let mut server = tls_sensor(&format!("{CLIENTS}handshake_timeout = \"1s\"\n"), "");
    let stranger = Authority::new("Nobody");
    let good = server.authority.sign("a.example", 10, |_| ());
    let revoked = server.authority.sign("b.example", 11, |_| ());
    let expired = server.authority.sign("c.example", 12, |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let foreign = stranger.sign("d.example", 13, |_| ());
    let pem = server.authority.pem();
    let crl = server.folder.path().join("crl.pem");
    replace(&crl, &server.authority.revoke(&[11]));
    server.sensor.wait("the list is in force", |sensor| sensor.log().contains("certificates reloaded"));

    for (reason, signed) in [
        ("no_certificate", None),
        ("revoked_certificate", Some(&revoked)),
        ("expired_certificate", Some(&expired)),
        ("bad_certificate", Some(&foreign)),
    ] {
        for version in BOTH {
            let config = client_config(&pem, signed, &[version]);
            send(connect(server.tls, &config), LINE).ok();
        }
        server.sensor.wait(reason, |sensor| closed(sensor, "tls", reason) == 2);
    }
    let distrustful = client_config(&stranger.pem(), Some(&good), BOTH);
    send(connect(server.tls, &distrustful), LINE).expect_err("it does not trust the sensor");
    server.sensor.wait("the alert came", |sensor| closed(sensor, "tls", "tls_alert") == 1);
    for gibberish in [
        &b"<34>1 - - - - - - plain syslog\n"[..],
        &[0; 4096],
        &[0x16, 3, 1, 0, 5, 9, 9, 9, 9, 9],
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(server.tls).expect("a connection");
        stream.write_all(gibberish).ok();
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        stream.read_to_end(&mut Vec::new()).ok();
    }
    server.sensor.wait("gibberish is told", |sensor| closed(sensor, "tls", "not_tls") == 4);
    let silent = TcpStream::connect(server.tls).expect("a connection");
    server.sensor.wait("silence ends", |sensor| closed(sensor, "tls", "handshake_timeout") == 1);
    drop(silent);
    assert_eq!(server.sensor.received("tls"), 0);
    let log = server.sensor.log();
    let told = |reason: &str| log.matches(&format!("reason=\"{reason}\"")).count();
    assert!(log.contains("connections are closed, the last from 127.0.0.1"), "{log}");
    assert_eq!((told("revoked_certificate"), told("not_tls")), (1, 1), "once a minute: {log}");
    let config = client_config(&pem, Some(&good), BOTH);
    send(connect(server.tls, &config), LINE).expect("accepted");
    server.sensor.wait("the good one is heard", |sensor| sensor.received("tls") == 1);
    server.sensor.stop();
}

#[test]
fn a_client_that_may_show_a_certificate_need_not() {
    let keys = format!("{CLIENTS}client_auth = \"optional\"\n");
    let mut server = tls_sensor(&keys, "");
    let config = client_config(&server.authority.pem(), None, BOTH);
    send(connect(server.tls, &config), LINE).expect("accepted");
    server.sensor.wait("it is heard", |sensor| sensor.received("tls") == 1);
    let foreign = Authority::new("Nobody").sign("d.example", 13, |_| ());
    send(connect(server.tls, &client_config(&server.authority.pem(), Some(&foreign), BOTH)), LINE).ok();
    server.sensor.wait("a bad one is refused", |sensor| closed(sensor, "tls", "bad_certificate") == 1);
    server.sensor.stop();
}

#[test]
fn the_sensor_says_goodbye_when_it_closes() {
    let mut server = tls_sensor("idle_timeout = \"1s\"\n", "");
    for version in BOTH {
        let config = client_config(&server.authority.pem(), None, &[version]);
        let mut client = connect(server.tls, &config);
        client.write_all(b"<13>Oct 11 22:14:15 h a: unfinished").expect("sent");
        // Without close_notify this would be an error: it could be an attacker who cut the connection.
        assert_eq!(client.read(&mut [0]).expect("a clean end"), 0);
    }
    server.sensor.wait("both are heard", |sensor| sensor.received("tls") == 2);
    assert_eq!(closed(&server.sensor, "tls", "idle"), 2);
    let config = client_config(&server.authority.pem(), None, BOTH);
    let mut client = connect(server.tls, &config);
    client.write_all(b"<13>Oct 11 22:14:15 h a: the sensor stops\n").expect("sent");
    server.sensor.wait("it is heard", |sensor| sensor.received("tls") == 3);
    server.sensor.stop();
    assert_eq!(client.read(&mut [0]).expect("a clean end"), 0);
}

#[test]
fn certificates_are_renewed_under_traffic_and_no_message_is_lost() {
    let mut server = tls_sensor("", "");
    let config = client_config(&server.authority.pem(), None, BOTH);
    let (done, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let senders: Vec<_> = (0..4)
        .map(|number| {
            let (done, sent, config, tls) =
                (Arc::clone(&done), Arc::clone(&sent), Arc::clone(&config), server.tls);
            // Two keep one connection, two open one for every fifty messages.
            let each = if number < 2 { usize::MAX } else { 50 };
            thread::spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let mut client = connect(tls, &config);
                    let mut count = 0;
                    while count < each && !done.load(Ordering::Relaxed) {
                        client.write_all(b"<13>Oct 11 22:14:15 host app: hello\n").expect("it goes on");
                        count += 1;
                        if count % 10 == 0 {
                            thread::sleep(Duration::from_millis(1));
                        }
                    }
                    send(client, "").expect("it ends well");
                    sent.fetch_add(count as u64, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let at = server.folder.path().to_owned();
    let serial = |server: &Server| {
        let mut client = connect(server.tls, &config);
        client.write_all(b"\n").expect("a handshake");
        let chain = client.conn.peer_certificates().expect("a chain")[0].to_vec();
        send(client, "").expect("it ends well");
        chain
    };
    let mut seen = vec![serial(&server)];
    for renewal in 0..3 {
        let signed = server.authority.sign("sensor.example", 100 + renewal, |_| ());
        // The key comes a little later, as it does; in between they do not fit together.
        replace(&at.join("cert.pem"), &signed.cert);
        thread::sleep(Duration::from_millis(if renewal == 0 { 1200 } else { 50 }));
        replace(&at.join("key.pem"), &signed.key);
        if renewal == 2 {
            server.sensor.signal("HUP");
        }
        let start = Instant::now();
        while seen.contains(&serial(&server)) {
            assert!(start.elapsed() < Duration::from_secs(20), "not renewed: {}", server.sensor.log());
            thread::sleep(Duration::from_millis(50));
        }
        seen.push(serial(&server));
    }
    // What is broken changes nothing.
    replace(&at.join("key.pem"), "no key");
    server.sensor.wait("it is said", |sensor| sensor.log().contains("no private key in PEM"));
    assert_eq!(Some(&serial(&server)), seen.last());
    done.store(true, Ordering::Relaxed);
    senders.into_iter().for_each(|sender| sender.join().expect("no error of a sender"));
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent > 500, "{sent} is no traffic");
    server.sensor.wait("everything came", |sensor| sensor.received("tls") == sent);
    assert!(server.sensor.sum("roje_reload_total", "result=\"failure\"") >= 1);
    for reason in ["error", "handshake_failed", "idle", "slow"] {
        assert_eq!(closed(&server.sensor, "tls", reason), 0, "{reason}");
    }
    server.sensor.stop();
}

#[test]
fn unix_sockets_carry_datagrams_and_streams() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().display().to_string();
    let config = format!(
        "[[input]]\nname = \"log\"\nlisten = \"unix://{at}/log\"\nformat = \"syslog\"\nsocket_mode = \"0600\"\n\
         max_message = \"1KiB\"\n\
         [[input]]\nname = \"stream\"\nlisten = \"unix://{at}/stream\"\nformat = \"syslog\"\nsocket_type = \"stream\"\n"
    );
    // What a killed sensor left.
    drop(UnixDatagram::bind(folder.path().join("log")).expect("a socket"));
    let mut sensor =
        Sensor::start(Setup { rules: &[("r.yaml", RULES)], config: &config, ..Setup::default() });
    let datagram = UnixDatagram::unbound().expect("a socket");
    datagram.send_to(LINE.as_bytes(), folder.path().join("log")).expect("sent");
    datagram.send_to("<34>x".repeat(1000).as_bytes(), folder.path().join("log")).expect("sent");
    let mut stream = UnixStream::connect(folder.path().join("stream")).expect("a connection");
    stream.write_all(format!("{LINE}\n{} {LINE}", LINE.len()).as_bytes()).expect("sent");
    drop(stream);
    sensor.wait("datagrams came", |sensor| sensor.received("log") == 2);
    sensor.wait("the stream came", |sensor| sensor.received("stream") == 2);
    sensor.wait("alerts are written", |sensor| sensor.counted() == 3);
    assert_eq!(sensor.sum("roje_input_truncated_total", "input=\"log\""), 1);
    assert!(sensor.alerts().iter().all(|alert| alert["log"]["source"].is_null()));
    sensor.stop();
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "sockets go with the sensor");
}

#[test]
fn proxies_speak_for_others_and_nobody_else_does() {
    let (proxied, direct) = (free_tcp(), free_tcp());
    let config = format!(
        "[[source]]\nname = \"branch\"\nnetworks = [\"203.0.113.9\"]\nconstituent = \"Bank\"\n\
         [[constituent]]\nname = \"Bank\"\nsector = \"banking\"\n\
         [[input]]\nname = \"proxied\"\nlisten = \"tcp://{proxied}\"\nformat = \"syslog\"\n\
         proxies = [\"127.0.0.1\"]\nhandshake_timeout = \"1s\"\nallow = [\"203.0.113.0/24\", \"127.0.0.0/8\"]\n\
         [[input]]\nname = \"direct\"\nlisten = \"tcp://{direct}\"\nformat = \"syslog\"\nproxies = [\"192.0.2.1\"]\n"
    );
    let mut sensor =
        Sensor::start(Setup { rules: &[("r.yaml", RULES)], config: &config, ..Setup::default() });
    let speak = |to: SocketAddr, pieces: &[&[u8]]| {
        let mut stream = TcpStream::connect(to).expect("a connection");
        stream.set_nodelay(true).expect("an option");
        for piece in pieces {
            if stream.write_all(piece).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(30));
        }
        stream.shutdown(Shutdown::Write).ok();
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        stream.read_to_end(&mut Vec::new()).ok();
    };
    let line = format!("{LINE}\n");
    let v1 = b"PROXY TCP4 203.0.113.9 192.0.2.2 1024 601\r\n";
    let v2 = [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f"[..],
        &[203, 0, 113, 9, 192, 0, 2, 2, 4, 0, 2, 0x59],
        &[4, 0, 0],
    ]
    .concat();
    speak(proxied, &[v1, line.as_bytes()]);
    speak(proxied, &[&v1[..9], &v1[9..40], &v1[40..], line.as_bytes()]);
    speak(proxied, &[&[&v2[..], line.as_bytes()].concat()]);
    speak(proxied, &[&v2[..3], &v2[3..20], &v2[20..], line.as_bytes()]);
    sensor.wait("four messages came", |sensor| sensor.received("proxied") == 4);
    sensor.wait("alerts are written", |sensor| sensor.counted() == 4);
    for alert in sensor.alerts() {
        assert_eq!(alert["log"]["source"]["address"], "203.0.113.9:1024");
        assert_eq!(alert["organization"]["name"], "Bank");
    }
    // The proxy itself looks whether the sensor is there, and goes; it also speaks for itself.
    speak(proxied, &[]);
    speak(proxied, &[b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", b"<13>from the proxy\n"]);
    sensor.wait("the proxy is heard", |sensor| sensor.received("proxied") == 5);
    for (reason, pieces) in [
        ("proxy_invalid", &[line.as_bytes()][..]),
        ("proxy_invalid", &[b"PROXY TCP4 300.0.113.9 192.0.2.2 1024 601\r\n", line.as_bytes()]),
        ("denied", &[b"PROXY TCP4 198.51.100.1 192.0.2.2 1024 601\r\n", line.as_bytes()]),
    ] {
        let before = closed(&sensor, "proxied", reason);
        speak(proxied, pieces);
        sensor.wait(reason, |sensor| closed(sensor, "proxied", reason) == before + 1);
    }
    sensor.wait("it is said who was refused", |sensor| sensor.log().contains("the last from 198.51.100.1 "));
    let mut stream = TcpStream::connect(proxied).expect("a connection");
    stream.write_all(&v1[..12]).expect("sent");
    sensor.wait("half a header ends", |sensor| closed(sensor, "proxied", "handshake_timeout") == 1);
    speak(direct, &[v1, line.as_bytes()]);
    speak(direct, &[&v2, line.as_bytes()]);
    sensor.wait("headers of others are refused", |sensor| closed(sensor, "direct", "proxy_refused") == 2);
    assert_eq!((sensor.received("direct"), sensor.received("proxied")), (0, 5));
    speak(direct, &[b"P", b"ROXY is a word too\n", line.as_bytes()]);
    sensor.wait("who speaks for himself is heard", |sensor| sensor.received("direct") == 2);
    sensor.stop();
}

#[test]
fn what_only_begins_like_a_header_is_soon_decided() {
    let plain = free_tcp();
    let plain_input = format!(
        "[[input]]\nname = \"plain\"\nlisten = \"tcp://{plain}\"\nformat = \"syslog\"\nproxies = [\"192.0.2.1\"]\n"
    );
    let keys = "proxies = [\"192.0.2.1\"]\nhandshake_timeout = \"3s\"\n";
    let mut server = tls_sensor(keys, &plain_input);
    let begin = |to: SocketAddr, bytes: &[u8]| {
        let mut stream = TcpStream::connect(to).expect("a connection");
        stream.write_all(bytes).expect("sent");
        stream
    };
    let start = Instant::now();
    // The idle timeout is ten minutes, and the sensor's patience with these is not.
    let _header = begin(plain, b"PROXY TCP4 203.0.113.9");
    let _binary = begin(plain, b"\r\n\r\n\0\r\nQU");
    let mut word = begin(plain, b"P");
    let mut lines = begin(plain, b"\r\n");
    let mut silent = begin(plain, b"");
    let _tls = [begin(server.tls, b""), begin(server.tls, b"P"), begin(server.tls, b"PROXY TCP4")];
    let sensor = &mut server.sensor;
    sensor.wait("headers are refused", |sensor| closed(sensor, "plain", "proxy_refused") == 2);
    sensor.wait("no handshake comes", |sensor| {
        let of = |reason| closed(sensor, "tls", reason);
        of("handshake_timeout") == 1 && of("not_tls") == 1 && of("proxy_refused") == 1
    });
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    for stream in [&mut word, &mut lines, &mut silent] {
        stream.write_all(format!("{LINE}\n").as_bytes()).expect("sent");
    }
    sensor.wait("who speaks for himself is heard", |sensor| sensor.received("plain") == 3);
    server.sensor.stop();
}

#[test]
fn a_proxy_speaks_before_the_handshake() {
    let mut server = tls_sensor(&format!("{CLIENTS}proxies = [\"127.0.0.1\"]\n"), "");
    let signed = server.authority.sign("fw2.example", 7, |_| ());
    let config = client_config(&server.authority.pem(), Some(&signed), BOTH);
    let mut client = connect(server.tls, &config);
    client.sock.write_all(b"PROXY TCP6 2001:db8::9 2001:db8::1 1024 6514\r\n").expect("sent");
    send(client, LINE).expect("accepted");
    server.sensor.wait("it is heard", |sensor| sensor.received("tls") == 1 && sensor.counted() == 1);
    let alert = server.sensor.alerts().remove(0);
    assert_eq!(alert["log"]["source"]["address"], "[2001:db8::9]:1024", "{alert:#}");
    assert_eq!(alert["tls"]["client"]["x509"]["alternative_names"][0], "fw2.example", "{alert:#}");
    send(connect(server.tls, &config), LINE).ok();
    server.sensor.wait("no header, no handshake", |sensor| closed(sensor, "tls", "proxy_invalid") == 1);
    server.sensor.stop();
}

/// Kilobytes of memory that the sensor has at most had.
fn peak(sensor: &Sensor) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", sensor.child.id())).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}

/// Connects from one of many addresses: one alone has too few ports for a hundred thousand connections.
fn connect_from(number: u32, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let from = std::net::Ipv4Addr::from(0x7f00_0100 + number % 16);
    socket.bind(&SocketAddr::from((from, 0)).into()).expect("an address");
    socket.connect(&to.into()).expect("a connection");
    socket.into()
}

/// Closes a connection and waits until the sensor has done so too.
fn end(mut stream: TcpStream) {
    stream.shutdown(Shutdown::Write).expect("closed");
    stream.read_to_end(&mut Vec::new()).expect("closed");
}

#[test]
fn a_hundred_thousand_connections_over_time_lose_nothing() {
    let mut sensor = Sensor::start(Setup { rules: &[("r.yaml", RULES)], ..Setup::default() });
    let tcp = sensor.tcp;
    let before = peak(&sensor);
    let senders: Vec<_> = (0..2)
        .map(|part| {
            thread::spawn(move || {
                let mut open = std::collections::VecDeque::new();
                for number in 0..50_000 {
                    let mut stream = connect_from(part * 8 + number % 8, tcp);
                    stream.write_all(b"<13>Oct 11 22:14:15 host app: hello\n").expect("sent");
                    open.push_back(stream);
                    if open.len() > 100
                        && let Some(first) = open.pop_front()
                    {
                        end(first);
                    }
                }
                open.into_iter().for_each(end);
            })
        })
        .collect();
    senders.into_iter().for_each(|sender| sender.join().expect("no error"));
    sensor.wait("everything came", |sensor| sensor.received("tcp") == 100_000);
    sensor.wait("all are closed", |sensor| sensor.sum("roje_input_connections", "input=\"tcp\"") == 0);
    assert_eq!(sensor.sum("roje_input_connections_closed_total", ""), 0);
    let grown = peak(&sensor) - before;
    assert!(grown < 64 << 10, "{grown} kB for connections that are gone");
    sensor.stop();
}

#[test]
fn thousands_at_once_and_byte_by_byte_cost_little_and_are_ended() {
    let slow = free_tcp();
    let config = format!(
        "[[input]]\nname = \"slow\"\nlisten = \"tcp://{slow}\"\nformat = \"syslog\"\nidle_timeout = \"4s\"\n\
         max_connections = 4096\nmax_connections_per_address = 1000\n"
    );
    let mut sensor =
        Sensor::start(Setup { rules: &[("r.yaml", RULES)], config: &config, ..Setup::default() });
    let before = peak(&sensor);
    // Sixteen addresses, a thousand of each at most: 4,096 in all.
    let mut streams: Vec<TcpStream> = (0..4096).map(|number| connect_from(number, slow)).collect();
    let open = |sensor: &Sensor| sensor.sum("roje_input_connections", "input=\"slow\"");
    sensor.wait("4,096 are open", |sensor| open(sensor) == 4096);
    let mut refused = connect_from(1, slow);
    assert_eq!(refused.read(&mut [0]).expect("closed"), 0);
    sensor.wait("one more is refused", |sensor| closed(sensor, "slow", "limit") == 1);
    // Each writes a frame of 9 MB, or of 4 GiB, byte by byte.
    let start = Instant::now();
    for second in 0..5usize {
        for (number, stream) in streams.iter_mut().enumerate() {
            let frame: &[u8] = if number % 2 == 0 { b"9999999 <13>xxxx" } else { b"4294967296 <13>x" };
            stream.write_all(&frame[second..=second]).ok();
        }
        thread::sleep(Duration::from_secs(second as u64 + 1).saturating_sub(start.elapsed()));
    }
    sensor.wait("all are ended", |sensor| open(sensor) == 0);
    assert_eq!(closed(&sensor, "slow", "slow"), 4096, "{:#?}", sensor.samples());
    assert_eq!(sensor.received("slow"), 4096);
    assert_eq!(sensor.sum("roje_input_truncated_total", "input=\"slow\""), 4096);
    let grown = peak(&sensor) - before;
    assert!(grown < 64 << 10, "{grown} kB");
    // One address has its share and no more.
    let mut mine: Vec<TcpStream> = (0..1001).map(|_| connect_from(3, slow)).collect();
    sensor.wait("one is too many", |sensor| closed(sensor, "slow", "address_limit") == 1);
    assert_eq!(open(&sensor), 1000);
    connect_from(4, slow).write_all(b"<13>another is heard\n").expect("sent");
    sensor.wait("another is heard", |sensor| sensor.received("slow") == 4097);
    mine.clear();
    sensor.assert_ledger();
    sensor.stop();
}

#[test]
fn frames_of_four_gigabytes_are_announced_in_vain() {
    let mut sensor = Sensor::start(Setup { rules: &[("r.yaml", RULES)], ..Setup::default() });
    let before = peak(&sensor);
    let mut streams: Vec<TcpStream> = (0..64).map(|number| connect_from(number, sensor.tcp)).collect();
    let filler = [b'x'; 1 << 16];
    for stream in &mut streams {
        stream.write_all(b"4294967296 <13>").expect("sent");
        for _ in 0..32 {
            stream.write_all(&filler).expect("sent");
        }
        stream.write_all(b"\n<13>after\n").expect("sent");
    }
    drop(streams);
    sensor.wait("what comes after is heard", |sensor| sensor.received("tcp") == 128);
    assert_eq!(sensor.sum("roje_input_truncated_total", "input=\"tcp\""), 64);
    let grown = peak(&sensor) - before;
    assert!(grown < 32 << 10, "{grown} kB");
    sensor.stop();
}

#[test]
fn gibberish_to_the_tls_port_costs_little() {
    let mut server = tls_sensor("handshake_timeout = \"3s\"\n", "");
    let before = peak(&server.sensor);
    let tls = server.tls;
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut noise = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    // A handshake record that never ends, and noise.
    let endless = [&[0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc][..], &[0; 16_000]].concat();
    let mut streams = Vec::new();
    for number in 0..2000 {
        let mut stream = connect_from(number, tls);
        let bytes: Vec<u8> = match number % 2 {
            0 => endless.clone(),
            _ => (0..64).flat_map(|_| noise()).collect(),
        };
        stream.write_all(&bytes).ok();
        streams.push(stream);
    }
    let ended = |sensor: &Sensor| {
        ["not_tls", "handshake_timeout", "handshake_limit", "handshake_failed", "tls_incompatible"]
            .iter()
            .map(|reason| closed(sensor, "tls", reason))
            .sum::<u64>()
    };
    server.sensor.wait("every one is ended and counted", |sensor| ended(sensor) == 2000);
    let waited = |reason| closed(&server.sensor, "tls", reason);
    assert!(waited("handshake_timeout") + waited("handshake_limit") >= 1000);
    let grown = peak(&server.sensor) - before;
    assert!(grown < 128 << 10, "{grown} kB");
    let config = client_config(&server.authority.pem(), None, BOTH);
    send(connect(tls, &config), LINE).expect("accepted");
    server.sensor.wait("others are heard", |sensor| sensor.received("tls") == 1);
    server.sensor.stop();
}

#[test]
fn slow_handshakes_leave_the_others_their_turn() {
    let plain = free_tcp();
    let input = format!("[[input]]\nname = \"plain\"\nlisten = \"tcp://{plain}\"\nformat = \"syslog\"\n");
    let mut server = tls_sensor("handshake_timeout = \"15s\"\n", &input);
    let tls = server.tls;
    let config = client_config(&server.authority.pem(), None, BOTH);
    let mut established = connect(tls, &config);
    established.write_all(format!("{LINE}\n").as_bytes()).expect("sent");
    let mut beside = TcpStream::connect(plain).expect("a connection");
    // Each begins a handshake and never goes on: 3,000, of which each of 15 addresses has 200.
    let slow: Vec<TcpStream> = (0..3200)
        .filter(|number| number % 16 != 9)
        .map(|number| {
            let mut stream = connect_from(number, tls);
            stream.write_all(&[0x16, 3, 1, 2, 0, 1]).expect("sent");
            stream
        })
        .collect();
    for _ in 0..20 {
        send(connect(tls, &config), LINE).expect("accepted");
        established.write_all(format!("{LINE}\n").as_bytes()).expect("sent");
        beside.write_all(format!("{LINE}\n").as_bytes()).expect("sent");
    }
    let sensor = &mut server.sensor;
    sensor.wait("all are heard", |sensor| sensor.received("tls") == 41 && sensor.received("plain") == 20);
    // 32 of each address begin; the others end while they wait, or find a place that is left just before.
    let ended = |sensor: &Sensor| {
        closed(sensor, "tls", "handshake_timeout") + closed(sensor, "tls", "handshake_limit")
    };
    assert!(ended(sensor) < 3000, "they did not wait for the slow ones");
    sensor.wait("the slow ones are ended", |sensor| ended(sensor) == 3000);
    drop(slow);
    server.sensor.stop();
}

fn roje(args: &[&str]) -> (i32, String, String) {
    let output =
        std::process::Command::new(env!("CARGO_BIN_EXE_roje")).args(args).output().expect("roje runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("a code"), text(output.stdout), text(output.stderr))
}

#[test]
fn sources_are_told_by_the_running_sensor() {
    let config = "[[source]]\nname = \"edge\"\nnetworks = [\"127.0.0.1\"]\n\
         [[source]]\nname = \"mute\"\nnetworks = [\"192.0.2.7\"]\n";
    let mut sensor = Sensor::start(Setup { rules: &[("r.yaml", RULES)], config, ..Setup::default() });
    let hour = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::fixed(jiff::tz::offset(5)));
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for _ in 0..20 {
        // Its zone is five hours east, and it does not say so.
        let line = format!("<13>{} h a: x", hour.strftime("%b %e %H:%M:%S"));
        socket.send_to(line.as_bytes(), sensor.udp).expect("sent");
        thread::sleep(Duration::from_millis(5));
    }
    let other = std::net::UdpSocket::bind("127.0.0.2:0").expect("a socket");
    other.send_to(b"no header", sensor.udp).expect("sent");
    other.send_to(&[0, 5, 0, 9], sensor.flow).expect("sent");
    sensor.wait("all came", |sensor| sensor.received("udp") == 21 && sensor.received("flow") == 1);
    let file = sensor.dir.path().join("roje.toml").display().to_string();
    let (code, stdout, stderr) = roje(&["sources", "-c", &file, "--format", "json"]);
    assert_eq!(code, 0, "{stderr}");
    let report: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    let told: Vec<_> = ["name", "address", "input", "format", "messages", "decode_errors"]
        .iter()
        .map(|key| {
            report["sources"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|one| one[key].to_string())
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    assert_eq!(
        told,
        [
            "\"edge\" null null \"mute\"",
            "\"127.0.0.1\" \"127.0.0.2\" \"127.0.0.2\" null",
            "\"udp\" \"udp\" \"flow\" null",
            "\"rfc3164\" null null null",
            "20 1 1 0",
            "0 1 1 0",
        ],
        "{report:#}"
    );
    let edge = &report["sources"][0];
    assert!((edge["skew_seconds"].as_i64().expect("a skew") - 18_000).abs() <= 2, "{edge:#}");
    assert!(edge["probable_timezone"].as_str().is_some_and(|zone| zone.contains("UTC+05:00")), "{edge:#}");
    assert!(edge["rate"].as_f64().is_some_and(|rate| rate > 1.0), "{edge:#}");
    let (code, table, _) = roje(&["sources", "-c", &file, "--sort", "last-seen", "--top", "2"]);
    assert_eq!(code, 0);
    assert!(table.contains("mute") && table.contains("never") && table.contains("2 more"), "{table}");
    let samples = sensor.samples();
    assert_eq!(samples.get("roje_source_messages_total{source=\"edge\"}"), Some(&20.0));
    assert_eq!(samples.get("roje_source_messages_total{source=\"mute\"}"), Some(&0.0));
    assert_eq!(samples.get("roje_source_format{format=\"rfc3164\",source=\"edge\"}"), Some(&1.0));
    assert!(samples.contains_key("roje_source_last_seen_timestamp_seconds{source=\"edge\"}"));
    assert!(!samples.contains_key("roje_source_last_seen_timestamp_seconds{source=\"mute\"}"));
    sensor.wait("the zone is told once", |sensor| sensor.log().contains("its stamps are probably"));
    let (code, _, stderr) = roje(&["sources", "--sort", "mesages"]);
    assert!(code == 2 && stderr.contains("expected one of: messages, rate"), "{stderr}");
    sensor.stop();
    let (code, stdout, stderr) = roje(&["sources", "-c", "tests/golden/nothing.toml"]);
    assert!(code != 0 && stdout.is_empty() && !stderr.is_empty(), "{stderr}");
}

#[test]
fn sources_that_come_and_go_with_the_configuration() {
    let edge = "[[source]]\nname = \"edge\"\nnetworks = [\"127.0.0.9\"]\n";
    let mut sensor = Sensor::start(Setup { rules: &[("r.yaml", RULES)], config: edge, ..Setup::default() });
    let socket = std::net::UdpSocket::bind("127.0.0.9:0").expect("a socket");
    socket.send_to(b"<13>Oct 11 22:14:15 h a: x", sensor.udp).expect("sent");
    sensor.wait("it is heard", |sensor| sensor.sum("roje_source_messages_total", "edge") == 1);
    thread::sleep(Duration::from_secs(9));
    // More is expected of one that was silent meanwhile, and of one that nobody knew.
    let file = sensor.dir.path().join("roje.toml");
    let text = fs::read_to_string(&file).expect("a configuration");
    let fresh = "expect_every = \"6s\"\n[[source]]\nname = \"fresh\"\nnetworks = [\"127.0.0.8\"]\nexpect_every = \"6s\"\n";
    fs::write(&file, text.replace(edge, &format!("{edge}{fresh}"))).expect("a configuration");
    let start = Instant::now();
    sensor.signal("HUP");
    sensor.wait("both are watched", |sensor| {
        sensor.samples().contains_key("roje_source_silent{source=\"fresh\"}")
    });
    sensor.wait("both are silent", |sensor| sensor.alerts().len() == 2);
    assert!(start.elapsed() >= Duration::from_secs(6), "{:?}", start.elapsed());
    sensor.wait("it shows", |sensor| sensor.sum("roje_source_silent", "") == 2);
    fs::write(&file, text.replace(edge, "")).expect("a configuration");
    sensor.signal("HUP");
    let gauges = |sensor: &Sensor| {
        let of_sources = ["last_seen_timestamp_seconds", "clock_skew_seconds", "format", "silent"];
        let named =
            |name: &str| of_sources.iter().any(|gauge| name.starts_with(&format!("roje_source_{gauge}{{")));
        sensor.samples().keys().filter(|name| named(name)).count()
    };
    sensor.wait("nothing is told of sources that are no more", |sensor| gauges(sensor) == 0);
    sensor.stop();
}

#[test]
fn silence_is_an_alert_and_many_silences_are_one() {
    let mut config = String::from(
        "[[source]]\nname = \"alone\"\nnetworks = [\"127.0.0.9\"]\nexpect_every = \"2s\"\n\
         [[source]]\nname = \"quiet by nature\"\nnetworks = [\"127.0.0.10\"]\n",
    );
    let many: Vec<String> = (20..25).map(|number| format!("127.0.0.{number}")).collect();
    for address in &many {
        config.push_str(&format!(
            "[[source]]\nname = \"host {address}\"\nnetworks = [\"{address}\"]\nexpect_every = \"20s\"\n"
        ));
    }
    let mut sensor =
        Sensor::start(Setup { rules: &[("r.yaml", RULES)], config: &config, ..Setup::default() });
    let say = |address: &str| {
        let socket = std::net::UdpSocket::bind((address, 0)).expect("a socket");
        socket.send_to(b"<13>Oct 11 22:14:15 h a: x", sensor.udp).expect("sent");
    };
    many.iter().for_each(|address| say(address));
    say("127.0.0.9");
    sensor.wait("it is silent", |sensor| sensor.alerts().len() == 1);
    let first = sensor.alerts().remove(0);
    assert_eq!(first["event"]["action"], "source-silent", "{first:#}");
    assert_eq!((&first["event"]["severity"], &first["roje"]["count"]), (&47.into(), &0.into()), "{first:#}");
    assert_eq!(first["roje"]["clients"], serde_json::json!(["alone"]));
    assert_eq!(sensor.samples().get("roje_source_silent{source=\"alone\"}"), Some(&1.0));
    let udp = sensor.udp;
    let socket = std::net::UdpSocket::bind("127.0.0.9:0").expect("a socket");
    socket.send_to(b"<13>Oct 11 22:14:15 h a: x", udp).expect("sent");
    sensor.wait("it is heard again", |sensor| sensor.log().contains("is heard again"));
    sensor.wait("many are silent", |sensor| {
        sensor.alerts().iter().any(|alert| alert["event"]["severity"] == 73)
    });
    let alerts = sensor.alerts();
    let high: Vec<_> = alerts.iter().filter(|alert| alert["event"]["severity"] == 73).collect();
    assert_eq!(high.len(), 1);
    let names = high[0]["roje"]["clients"].as_array().expect("a list");
    assert!(many.iter().all(|address| names.contains(&format!("host {address}").into())), "{:#}", high[0]);
    assert_eq!(sensor.sum("roje_alerts_total", "severity=\"high\""), 1);
    sensor.assert_ledger();
    sensor.stop();
}
