use super::*;

/// Resolves one file under the path `roje.toml`, with the variables `SET` and `EVIL`.
fn resolve(text: &str) -> Result<Config, Vec<Diagnostic>> {
    resolve_all(&[("roje.toml", text)])
}

fn resolve_all(files: &[(&str, &str)]) -> Result<Config, Vec<Diagnostic>> {
    let files = files.iter().map(|(path, text)| (PathBuf::from(path), text.as_bytes().to_vec())).collect();
    Config::parse(files, &|name| match name {
        "SET" => Some("value".into()),
        "EVIL" => Some("x\"\n[metrics]\nlisten = \"0.0.0.0:1\"".into()),
        "STATE_DIRECTORY" => Some("/var/lib/roje:/var/lib/other".into()),
        _ => None,
    })
}

/// `line:column code`, and the excerpt that would be underlined.
fn told(text: &str, problems: &[Diagnostic]) -> Vec<String> {
    problems
        .iter()
        .map(|problem| {
            let excerpt = text.get(problem.span.clone()).unwrap_or("?").lines().next().unwrap_or("");
            format!("{}:{} {} {excerpt}", problem.line, problem.column, problem.code)
        })
        .collect()
}

const INPUT: &str = "[[input]]\nname = \"a\"\nlisten = \"udp://127.0.0.1:5514\"\nformat = \"syslog\"\n";

/// The example of the interface, with outputs of this version.
const FULL: &str = r#"
[sensor]
name = "tirana-dc1"
data_dir = "/var/lib/roje"
rules = ["/"]
workers = 3
memory_limit = "1GiB"
spool_limit = "512MiB"
spool_max_age = "7d"
log = "debug"

[[input]]
name = "syslog-udp"
listen = "udp://0.0.0.0:514"
format = "syslog"
timezone = "Europe/Tirane"
allow = ["10.0.0.0/8", "::1"]
receive_buffer = "16MiB"
exercise = true

[[input]]
name = "syslog-tcp"
listen = "tcp://0.0.0.0:601"
format = "syslog"
max_message = "32KiB"
max_connections = 17
idle_timeout = "5m"

[[source]]
name = "edge-fw-2"
networks = ["10.1.2.3"]
timezone = "UTC"
constituent = "Distribution operator"
sampling_rate = 1000
relay = true

[[constituent]]
name = "Distribution operator"
sector = "energy"
networks = ["192.0.2.0/24"]
contact = "soc@operator.example"

[[output]]
name = "national-soc"
to = "file:///var/log/roje/alerts.json"
encoding = "ecs"
tlp = "amber+strict"
sectors = ["energy"]
heartbeat = "1h"

[metrics]
listen = "127.0.0.1:0"
"#;

#[test]
fn every_key_is_read() {
    let config = resolve(FULL).unwrap();
    assert_eq!(config.warnings, []);
    assert_eq!(
        config.sensor,
        Sensor {
            name: "tirana-dc1".into(),
            data_dir: "/var/lib/roje".into(),
            rules: Rules::Paths(vec!["/".into()]),
            workers: 3,
            memory_limit: 1 << 30,
            log: LevelFilter::DEBUG,
            spool_limit: 512 << 20,
            spool_max_age: Duration::from_secs(7 * 86_400),
        }
    );
    let [udp, tcp] = config.inputs.as_slice() else { panic!("{:?}", config.inputs) };
    assert_eq!(udp.listen.to_string(), "udp://0.0.0.0:514");
    assert_eq!(udp.timezone.iana_name(), Some("Europe/Tirane"));
    assert_eq!(udp.allow, ["10.0.0.0/8".parse().unwrap(), "::1/128".parse::<IpNet>().unwrap()]);
    assert_eq!((udp.receive_buffer, udp.exercise), (16 << 20, true));
    assert_eq!((tcp.max_message, tcp.max_connections), (32 << 10, 17));
    assert_eq!(tcp.idle_timeout, Duration::from_secs(300));
    assert_eq!((tcp.receive_buffer, tcp.exercise, tcp.allow.len()), (DEFAULT_RECEIVE_BUFFER, false, 0));
    let source = &config.sources[0];
    assert_eq!((source.name.as_str(), source.timezone.clone()), ("edge-fw-2", Some(TimeZone::UTC)));
    assert_eq!(source.networks, ["10.1.2.3/32".parse::<IpNet>().unwrap()]);
    assert_eq!((source.sampling_rate.map(u32::from), source.relay), (Some(1000), true));
    let constituent = config.constituent_of(source).unwrap();
    assert_eq!(constituent.sector, Sector::Energy);
    assert_eq!(constituent.contact.as_deref(), Some("soc@operator.example"));
    assert_eq!(
        config.outputs,
        [Output {
            name: "national-soc".into(),
            to: Destination::File("/var/log/roje/alerts.json".into()),
            encoding: Encoding::Ecs,
            tlp: Tlp::AmberStrict,
            sectors: vec![Sector::Energy],
            remote: Remote::default(),
            heartbeat: Some(Duration::from_secs(3600)),
        }]
    );
    assert_eq!(config.metrics.listen.port(), 0);
}

#[test]
fn defaults() {
    let config = resolve(INPUT).unwrap();
    assert_eq!(config.inputs, [Input::standard("a", config.inputs[0].listen.clone(), Format::Syslog)]);
    assert_eq!(config.outputs, [Output::standard("stdout", Destination::Stdout)]);
    assert_eq!(config.outputs[0].tlp, Tlp::Red);
    assert_eq!(config.metrics.listen, DEFAULT_METRICS);
    assert_eq!(config.sensor.data_dir, Path::new("/var/lib/roje"));
    assert_eq!(config.sensor.rules, Rules::Embedded);
    assert!(!config.sensor.name.is_empty());
}

#[test]
fn builtin_is_what_the_interface_says() {
    let config = Config::builtin();
    let listens: Vec<_> =
        config.inputs.iter().map(|input| (input.listen.to_string(), input.format)).collect();
    let expected = [
        ("udp://127.0.0.1:5514", Format::Syslog),
        ("tcp://127.0.0.1:5514", Format::Syslog),
        ("udp://127.0.0.1:2055", Format::Flow),
        ("udp://127.0.0.1:4739", Format::Flow),
        ("udp://127.0.0.1:6343", Format::Flow),
    ];
    assert_eq!(listens, expected.map(|(listen, format)| (listen.to_owned(), format)));
    assert_eq!(config.metrics.listen.to_string(), "127.0.0.1:7653");
    assert_eq!(config.sensor.rules, Rules::Embedded);
}

#[test]
fn a_jetstream_consumer_is_a_server_a_stream_and_a_consumer() {
    let input = |listen: &str| {
        resolve(&format!("[[input]]\nname = \"a\"\nlisten = \"{listen}\"\nformat = \"syslog\"\n"))
    };
    for (text, shown) in [
        ("nats://10.0.0.7:4223/logs/roje", "nats://10.0.0.7:4223/logs/roje"),
        ("nats://nats.example/logs/roje/", "nats://nats.example:4222/logs/roje"),
        ("nats://[2001:db8::7]:4222/LOGS_1/a-b", "nats://[2001:db8::7]:4222/LOGS_1/a-b"),
    ] {
        let config = input(text).unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
        assert_eq!(config.inputs[0].listen.to_string(), shown);
    }
    for text in [
        "nats://",
        "nats://host:4222",
        "nats://host:4222/logs",
        "nats://host:4222/logs/roje/more",
        "nats://host:port/logs/roje",
        "nats:///logs/roje",
        "nats://host/lo.gs/roje",
        "nats://host/logs/>",
        "nats://user:hunter2@host/logs/roje",
    ] {
        let problems = input(text).expect_err(text);
        assert_eq!((problems.len(), problems[0].line, problems[0].code), (1, 3, "bad-value"), "{text}");
        assert!(!problems[0].message.contains("hunter2"));
    }
    let keys = "ca_file = \"/nowhere\"\ncert_file = \"/etc/hostname\"\nreceive_buffer = \"1MiB\"\n";
    let text = format!("[[input]]\nname = \"a\"\nlisten = \"nats://h/s/c\"\nformat = \"flow\"\n{keys}");
    let codes: Vec<_> =
        resolve(&text).expect_err("mistakes").iter().map(|one| (one.line, one.code)).collect();
    assert_eq!(codes, [(1, "missing-key"), (5, "unreadable"), (7, "no-effect")]);
}

#[test]
fn five_mistakes_are_five_problems_each_at_its_place() {
    let cases = [
        (
            "values and keys",
            "[sensor]\nnmae = \"x\"\nmemory_limit = \"2 gigs\"\n\n[[input]]\nname = \"a\"\nlisten = \"nats://0.0.0.0:4222\"\nformat = \"netflow\"\n\n[[constituent]]\nname = \"é\"\nsector = \"enrgy\"\n\n[[source]]\nname = \"s\"\nnetworks = [\"10.1.2.3\"]\nconstituent = \"é\"\n",
            vec![
                "2:1 unknown-key nmae",
                "3:16 bad-value \"2 gigs\"",
                "7:10 bad-value \"nats://0.0.0.0:4222\"",
                "8:10 bad-value \"netflow\"",
                "12:10 bad-value \"enrgy\"",
            ],
        ),
        (
            "types, duplicates, references",
            "[sensor]\nworkers = \"four\"\nrules = \"/\"\n[[input]]\nname = \"a\"\nlisten = \"udp://127.0.0.1:1\"\nformat = \"syslog\"\n[[input]]\nname = \"a\"\nlisten = \"udp://127.0.0.1:1\"\nformat = \"flow\"\n[[source]]\nname = \"s\"\nnetworks = [ \"10.0.0.1/8\" ]\nconstituent = \"nobody\"\n",
            vec![
                "2:11 wrong-type \"four\"",
                "3:9 wrong-type \"/\"",
                "9:8 duplicate-name \"a\"",
                "10:10 duplicate-address \"udp://127.0.0.1:1\"",
                "14:14 bad-value \"10.0.0.1/8\"",
                "15:15 unknown-constituent \"nobody\"",
            ],
        ),
        (
            "syntax beside the rest",
            "[sensor]\nname = tirana\nworkers =\nlog = \"inof\"\n\n[[input]]\nname = \"a\"\nlisten = \"udp://0.0.0.0:514\nformat = \"syslgo\"\nallow = []\n\n[metrics]\nlisten = \"7653\"\n",
            vec![
                "2:8 syntax tirana",
                "3:10 syntax ",
                "4:7 bad-value \"inof\"",
                "8:28 syntax ",
                "9:10 bad-value \"syslgo\"",
                "10:9 bad-value []",
                "13:10 bad-value \"7653\"",
            ],
        ),
        (
            "an unclosed list does not swallow the rest",
            "[sensor]\nrules = [\"/\",\n  \"/\"\nlog = \"inof\"\n[[input]]\nname = \"a\"\nlisten = \"udp://0.0.0.0:514\"\nformat = \"x\"\n",
            vec!["2:9 syntax [", "4:7 bad-value \"inof\"", "8:10 bad-value \"x\""],
        ),
        (
            "a broken header does not mix its keys into the table before",
            "[sensor]\nname = \"x\"\n[[input]\nname = \"a\"\nlisten = \"x\"\n[metrics]\nlisten = \"x\"\n",
            vec!["3:9 syntax ", "7:10 bad-value \"x\""],
        ),
        (
            "a key written twice",
            "[[input]]\nname = \"a\"\nlisten = \"udp://127.0.0.1:1\"\nlisten = \"udp://127.0.0.1:2\"\nformat = \"syslog\"\n",
            vec!["4:1 syntax listen"],
        ),
        (
            "missing keys",
            "[[input]]\nformat = \"syslog\"\n[[output]]\nname = \"o\"\n[[constituent]]\nnetworks = [\"10.0.0.0/8\"]\n",
            vec![
                "1:1 missing-key [[input]]",
                "1:1 missing-key [[input]]",
                "3:1 missing-key [[output]]",
                "5:1 missing-key [[constituent]]",
                "5:1 missing-key [[constituent]]",
            ],
        ),
        (
            "a misspelt key is not missing as well",
            "[[input]]\nname = \"a\"\nlisten_on = \"udp://127.0.0.1:1\"\nformt = \"syslog\"\n",
            vec!["3:1 unknown-key listen_on", "4:1 unknown-key formt"],
        ),
        ("a misspelt section", "[[inputs]]\nname = \"a\"\n", vec!["1:3 unknown-key inputs"]),
        ("no input", "[sensor]\nname = \"x\"\n", vec!["1:1 no-input "]),
        ("an empty file", "", vec!["1:1 no-input "]),
        ("a table where a list belongs", "[input]\nname = \"a\"\n", vec!["1:1 wrong-type [input]"]),
        (
            "variables",
            "[[input]]\nname = \"${SET}\"\nlisten = \"udp://127.0.0.1:${PORT}\"\nformat = \"${\"\n[metrics]\nlisten = \"${EVIL}\"\n",
            vec![
                "3:27 undefined-variable ${PORT}",
                "4:11 undefined-variable ${",
                "6:10 bad-value \"${EVIL}\"",
            ],
        ),
        (
            "ranges",
            "[sensor]\nworkers = -1\nmemory_limit = 1\n[[input]]\nname = \"a/b\"\nlisten = \"tcp://127.0.0.1:1\"\nformat = \"syslog\"\nmax_message = \"1GiB\"\nmax_connections = 0\nidle_timeout = \"0s\"\n",
            vec![
                "2:11 bad-value -1",
                "3:16 bad-value 1",
                "5:8 bad-value \"a/b\"",
                "8:15 bad-value \"1GiB\"",
                "9:19 bad-value 0",
                "10:16 bad-value \"0s\"",
            ],
        ),
        (
            "the same network twice",
            "[[input]]\nname = \"a\"\nlisten = \"udp://127.0.0.1:1\"\nformat = \"syslog\"\n[[constituent]]\nname = \"a\"\nsector = \"water\"\nnetworks = [\"10.0.0.0/8\"]\n[[constituent]]\nname = \"b\"\nsector = \"water\"\nnetworks = [\"192.0.2.1\", \"10.0.0.0/8\"]\n",
            vec!["12:26 duplicate-network \"10.0.0.0/8\""],
        ),
        (
            "outputs that are unencrypted, or hold secrets",
            "[[input]]\nname = \"a\"\nlisten = \"udp://127.0.0.1:1\"\nformat = \"syslog\"\n[[output]]\nname = \"a\"\nto = \"https://user:word@soc.example/\"\n[[output]]\nname = \"b\"\nto = \"http://soc.example/\"\ntlp = \"white\"\n",
            vec![
                "7:6 secret-in-url \"https://user:word@soc.example/\"",
                "10:6 bad-value \"http://soc.example/\"",
                "11:7 bad-value \"white\"",
            ],
        ),
        (
            "a sampling rate of nothing",
            "[[source]]\nname = \"a\"\nnetworks = [\"10.0.0.1\"]\nsampling_rate = 0\nrelay = 1\n[[input]]\nname = \"b\"\nlisten = \"tcp://127.0.0.1:4739\"\nformat = \"flow\"\n",
            vec!["4:17 bad-value 0", "5:9 wrong-type 1"],
        ),
        (
            "TLS without certificates",
            "[[input]]\nname = \"a\"\nlisten = \"tls://127.0.0.1:1\"\nformat = \"syslog\"\ncert = \"a.pem\"\nclient_auth = \"require\"\n",
            vec![
                "1:1 missing-key [[input]]",
                "5:1 unknown-key cert",
                "6:15 missing-key \"require\"",
                "6:15 bad-value \"require\"",
            ],
        ),
        (
            "TLS with a file that is not there, on the port of another",
            "[[input]]\nname = \"a\"\nlisten = \"tcp://127.0.0.1:1\"\nformat = \"syslog\"\n[[input]]\nname = \"b\"\nlisten = \"tls://127.0.0.1:1\"\nformat = \"syslog\"\ncert_file = \"/no/such.pem\"\nkey_file = \"/no/such.key\"\n",
            vec!["7:10 duplicate-address \"tls://127.0.0.1:1\"", "9:13 bad-certificate \"/no/such.pem\""],
        ),
        (
            "Unix sockets",
            "[[input]]\nname = \"a\"\nlisten = \"unix://run/log\"\nformat = \"syslog\"\n[[input]]\nname = \"b\"\nlisten = \"unix:///run/log\"\nformat = \"syslog\"\nsocket_type = \"steam\"\nsocket_mode = 660\n[[input]]\nname = \"c\"\nlisten = \"unix:///run/log\"\nformat = \"flow\"\nsocket_mode = \"rw\"\n",
            vec![
                "3:10 bad-value \"unix://run/log\"",
                "9:15 bad-value \"steam\"",
                "10:15 wrong-type 660",
                "13:10 not-supported \"unix:///run/log\"",
                "13:10 duplicate-address \"unix:///run/log\"",
                "15:15 bad-value \"rw\"",
            ],
        ),
        (
            "sources",
            "[[input]]\nname = \"a\"\nlisten = \"udp://127.0.0.1:1\"\nformat = \"syslog\"\n[[source]]\nname = \"a\"\n[[source]]\nname = \"b\"\ncertificates = [\"x\"]\nexpect_every = \"100ms\"\n[[source]]\nname = \"c\"\ncertificates = [\"x\"]\nexpect_every = 600\n",
            vec![
                "5:1 missing-key [[source]]",
                "10:16 bad-value \"100ms\"",
                "13:16 duplicate-certificate [\"x\"]",
                "14:16 wrong-type 600",
            ],
        ),
    ];
    for (name, text, expected) in cases {
        let problems = resolve(text).expect_err(name);
        assert_eq!(told(text, &problems), expected, "{name}: {problems:#?}");
    }
}

#[test]
fn warnings_do_not_refuse() {
    let cases = [
        (
            "an output that gets nothing",
            "[[output]]\nname = \"a\"\nto = \"stdout:\"\nsectors = [\"energy\"]\n",
            "8:11 gets-nothing [\"energy\"]",
        ),
        (
            "keys of the other transport",
            "[[input]]\nname = \"b\"\nlisten = \"udp://127.0.0.1:2\"\nformat = \"syslog\"\nmax_message = \"1KiB\"\n",
            "9:1 no-effect max_message",
        ),
        (
            "keys of TLS",
            "[[input]]\nname = \"b\"\nlisten = \"tcp://127.0.0.1:2\"\nformat = \"syslog\"\nkey_file = \"/a\"\n",
            "9:1 no-effect key_file",
        ),
        (
            "a time for handshakes where there are none",
            "[[input]]\nname = \"b\"\nlisten = \"tcp://127.0.0.1:2\"\nformat = \"syslog\"\nhandshake_timeout = \"1s\"\n",
            "9:1 no-effect handshake_timeout",
        ),
        (
            "senders of a Unix socket have no address",
            "[[input]]\nname = \"b\"\nlisten = \"unix:///run/b\"\nformat = \"syslog\"\nallow = [\"10.0.0.0/8\"]\n",
            "9:1 no-effect allow",
        ),
        (
            "zones of flow",
            "[[input]]\nname = \"b\"\nlisten = \"udp://127.0.0.1:2\"\nformat = \"flow\"\ntimezone = \"UTC\"\n",
            "9:1 no-effect timezone",
        ),
        (
            "no such rules",
            "[sensor]\nrules = [\"/no/such/folder\"]\n",
            "6:10 no-such-file \"/no/such/folder\"",
        ),
        ("never touched", "[[constituent]]\nname = \"b\"\nsector = \"water\"\n", "6:8 never-touched \"b\""),
        (
            "networks inside each other",
            "[[constituent]]\nname = \"b\"\nsector = \"water\"\nnetworks = [\"10.1.0.0/16\"]\n[[constituent]]\nname = \"c\"\nsector = \"water\"\nnetworks = [\"10.0.0.0/8\"]\n",
            "8:13 overlap \"10.1.0.0/16\"",
        ),
        (
            "a file written twice",
            "[[output]]\nname = \"a\"\nto = \"file:///a\"\n[[output]]\nname = \"b\"\nto = \"file:///a\"\n",
            "10:6 duplicate-destination \"file:///a\"",
        ),
    ];
    for (name, text, expected) in cases {
        let text = format!("{INPUT}{text}");
        let config = resolve(&text).unwrap_or_else(|problems| panic!("{name}: {problems:#?}"));
        assert_eq!(told(&text, &config.warnings), [expected], "{name}");
        assert!(config.warnings.iter().all(|problem| problem.level < Level::Error), "{name}");
    }
}

#[test]
fn help_names_what_to_type() {
    let cases = [
        ("[sensor]\nnmae = \"x\"", "name"),
        ("[sensor]\nlog = \"wran\"", "\"warn\""),
        ("[[output]]\nname = \"a\"\nto = \"stdout\"", "\"stdout:\""),
        (
            "[[constituent]]\nname = \"a\"\nnetworks = [\"10.0.0.1\"]\nsector = \"financial\"",
            "\"financial-market\"",
        ),
        ("[[input]]\nname = \"b\"\nlisten = \"0.0.0.0:514\"\nformat = \"syslog\"", "\"udp://0.0.0.0:514\""),
        (
            "[[input]]\nname = \"b\"\nlisten = \"udp://0.0.0.0:514\"\nformat = \"syslog\"\ntimezone = \"Europe/Tirana\"",
            "\"Europe/Tirane\"",
        ),
        ("[sensor]\nname = tirana", "\"tirana\""),
        ("[sensor]\nrules = \"/\"", "[\"/\"]"),
    ];
    for (text, expected) in cases {
        let text = format!("{INPUT}{text}\n");
        let problems = resolve(&text).expect_err(&text);
        assert_eq!(problems[0].help.as_deref(), Some(expected), "{text}\n{problems:#?}");
    }
}

#[test]
fn later_files_merge() {
    let first = format!("[sensor]\nname = \"one\"\nworkers = 2\nrules = [\"/\"]\n{INPUT}");
    let second = "[sensor]\nname = \"two\"\nrules = [\"/\", \"/\"]\n[[input]]\nname = \"b\"\nlisten = \"udp://127.0.0.1:2\"\nformat = \"flow\"\n[[source]]\nname = \"s\"\nnetworks = [\"10.0.0.1\"]\nconstituent = \"c\"\n";
    let third = "[[constituent]]\nname = \"c\"\nsector = \"water\"\n";
    let config =
        resolve_all(&[("roje.toml", &first), ("conf.d/a.toml", second), ("conf.d/b.toml", third)]).unwrap();
    assert_eq!((config.sensor.name.as_str(), config.sensor.workers), ("two", 2));
    assert_eq!(config.sensor.rules, Rules::Paths(vec!["/".into(), "/".into()]));
    assert_eq!(config.inputs.iter().map(|input| input.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(config.constituent_of(&config.sources[0]).map(|other| other.name.as_str()), Some("c"));
    assert_eq!(config.files.len(), 3);

    let problems = resolve_all(&[
        ("roje.toml", "[sensor]\nx = 1\n"),
        ("conf.d/a.toml", "[sensor\n"),
        ("conf.d/b.toml", INPUT),
        ("conf.d/c.toml", INPUT),
    ])
    .unwrap_err();
    let told: Vec<_> = problems
        .iter()
        .map(|problem| {
            format!("{}:{}:{} {}", problem.path.display(), problem.line, problem.column, problem.code)
        })
        .collect();
    assert_eq!(
        told,
        [
            "roje.toml:2:1 unknown-key",
            "conf.d/a.toml:1:8 syntax",
            "conf.d/c.toml:2:8 duplicate-name",
            "conf.d/c.toml:3:10 duplicate-address"
        ]
    );
}

#[test]
fn files_of_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("roje.toml");
    let none = |_: &str| None;
    let problems = Config::read(&path, &none).unwrap_err();
    assert_eq!((problems.len(), problems[0].code, problems[0].line), (1, "unreadable", 0));

    std::fs::write(&path, format!("[sensor]\nrules = [\"rules.d\"]\ndata_dir = \"data\"\n{INPUT}")).unwrap();
    std::fs::create_dir_all(folder.path().join("conf.d")).unwrap();
    std::fs::create_dir(folder.path().join("rules.d")).unwrap();
    let drop_in =
        |name: &str, text: &str| std::fs::write(folder.path().join("conf.d").join(name), text).unwrap();
    drop_in("20.toml", "[sensor]\nname = \"second\"\n");
    drop_in("10.toml", "[sensor]\nname = \"first\"\n");
    drop_in(".30.toml", "broken");
    drop_in("40.toml~", "broken");
    let config = Config::read(&path, &none).unwrap();
    assert_eq!(config.sensor.name, "second");
    assert_eq!(config.files.len(), 3);
    assert_eq!(config.sensor.rules, Rules::Paths(vec![folder.path().join("rules.d")]));
    assert_eq!(config.sensor.data_dir, folder.path().join("data"));

    std::fs::create_dir(folder.path().join("conf.d/50.toml")).unwrap();
    assert_eq!(Config::read(&path, &none).unwrap_err()[0].code, "unreadable");
}

#[test]
fn bytes_that_are_not_utf8() {
    let files = vec![(PathBuf::from("roje.toml"), b"[sensor]\nname = \"\xE9\"\n".to_vec())];
    let problems = Config::parse(files, &|_| None).unwrap_err();
    assert_eq!((problems.len(), problems[0].line, problems[0].column), (1, 2, 9));
}

#[test]
fn variables_add_no_keys_and_are_not_told() {
    let text = format!("[sensor]\nname = \"${{SET}}-$${{SET}}\"\n{INPUT}");
    assert_eq!(resolve(&text).unwrap().sensor.name, "value-${SET}");
    let text = format!("{INPUT}[metrics]\nlisten = \"${{EVIL}}\"\n");
    let problems = format!("{:?}", resolve(&text).unwrap_err());
    assert!(!problems.contains("0.0.0.0:1"), "{problems}");
}

#[test]
fn differences() {
    let old = resolve(FULL).unwrap();
    assert_eq!(diff(&old, &old.clone()), []);
    let new = FULL
        .replace("workers = 3", "workers = 4")
        .replace("\"syslog-tcp\"", "\"tcp\"")
        .replace("exercise = true", "exercise = false")
        .replace("sector = \"energy\"", "sector = \"energy\"\ncontact = \"x\"").replace("contact = \"soc@operator.example\"\n", "")
        .replace("[[constituent]]", "[[constituent]]\nname = \"first\"\nsector = \"water\"\nnetworks = [\"198.51.100.1\"]\n[[constituent]]");
    let changes: Vec<String> = diff(&old, &resolve(&new).unwrap()).iter().map(Change::to_string).collect();
    let expected = [
        "sensor: workers changed; acts after a restart",
        "input `syslog-tcp`: removed; acts after a restart",
        "input `syslog-udp`: exercise changed",
        "input `tcp`: added; acts after a restart",
        "constituent `first`: added",
        "constituent `Distribution operator`: contact changed",
    ];
    assert_eq!(changes, expected);
}

/// Any text gives a configuration or problems with places inside it, never a panic.
#[test]
fn mutated_files_never_panic() {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    for _ in 0..2_000 {
        let mut bytes = FULL.as_bytes().to_vec();
        for _ in 0..=random(6) {
            let at = random(bytes.len().max(1));
            match random(4) {
                0 if at < bytes.len() => bytes[at] = b"[]{}\"'=#,.\n\\$\xC3"[random(14)],
                1 => drop(bytes.drain(at..(at + random(20)).min(bytes.len()))),
                2 | 0 => bytes.insert(at, b"[]{}\"'=#,.\n\\$\xC3"[random(14)]),
                _ => bytes.truncate(at.max(1)),
            }
        }
        let lines = bytes.split(|byte| *byte == b'\n').count();
        if let Err(problems) = Config::parse(vec![("roje.toml".into(), bytes)], &|_| None) {
            assert!(!problems.is_empty());
            for problem in problems {
                assert!((1..=lines).contains(&problem.line) && problem.column >= 1, "{problem:?}");
            }
        }
    }
}

/// The files that come with the sensor are read without a problem of their own.
#[test]
fn shipped_files() {
    for (path, inputs, constituents) in [("systemd/roje.toml", 4, 0), ("tests/data/demo/roje.toml", 4, 5)] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let config = Config::read(&path, &|_| None).unwrap_or_else(|problems| panic!("{problems:#?}"));
        assert_eq!((config.inputs.len(), config.constituents.len()), (inputs, constituents));
        // Where the sensor is not installed, its rules are not there either.
        let own: Vec<_> = config.warnings.iter().filter(|problem| problem.code != "no-such-file").collect();
        assert!(own.is_empty(), "{own:#?}");
    }
}

/// The socket units hand over what the example listens on.
#[test]
fn socket_units_fit_the_example() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
    let config = Config::read(&folder.join("roje.toml"), &|_| None).unwrap();
    for unit in ["roje-syslog-udp.socket", "roje-syslog-tcp.socket", "roje-flow.socket"] {
        let text = std::fs::read_to_string(folder.join(unit)).unwrap();
        let setting = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().to_owned()
        };
        let name = setting("FileDescriptorName");
        let input = config.inputs.iter().find(|input| input.name == name).unwrap_or_else(|| panic!("{unit}"));
        let listen = match input.listen {
            Listen::Udp(_) => setting("ListenDatagram"),
            _ => setting("ListenStream"),
        };
        assert_eq!(listen, input.listen.address().unwrap().to_string(), "{unit}");
    }
}

/// What is told of one output.
fn output(text: &str) -> (Vec<String>, Option<Output>) {
    let text = format!("{INPUT}[[output]]\nname = \"o\"\n{text}");
    match resolve(&text) {
        Ok(config) => (told(&text, &config.warnings), config.outputs.into_iter().next()),
        Err(problems) => (told(&text, &problems), None),
    }
}

#[test]
fn outputs_over_the_network_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path
    };
    let (token, key) = (file("token", "t"), file("hmac", "0123456789abcdef"));
    let text = format!(
        "to = \"https://soc.example/alerts\"\nencoding = \"elasticsearch\"\nindex = \"soc-alerts\"\ntimeout = \"5s\"\n\
         token_file = \"{}\"\nhmac_file = \"{}\"\nproxy = \"http://proxy.example:3128\"\ncompression = \"none\"\n",
        token.display(),
        key.display()
    );
    let (told, found) = output(&text);
    assert_eq!(told, Vec::<String>::new());
    let found = found.unwrap();
    assert_eq!(found.tlp, Tlp::Clear, "what leaves for a network");
    let expected = Remote {
        timeout: Duration::from_secs(5),
        token: Some(token),
        hmac: Some(key),
        proxy: Some("http://proxy.example:3128".into()),
        gzip: false,
        body: crate::output::remote::Body::Elasticsearch,
        index: Some("soc-alerts".into()),
        ..Remote::default()
    };
    assert!(found.remote == expected);
    assert!(!format!("{:?}", found.remote).contains("3128"), "a proxy's URL may hold a password");
    let password = file("password", "secret\n");
    let text = format!(
        "to = \"kafka://a:1,b/alerts\"\ntls = true\nuser = \"roje\"\npassword_file = \"{}\"\nsasl = \"scram-sha-512\"\n",
        password.display()
    );
    let (told, found) = output(&text);
    assert_eq!(told, Vec::<String>::new());
    let remote = found.unwrap().remote;
    assert_eq!(remote.login, Some(("roje".into(), password)));
    assert!(remote.tls && remote.sasl == crate::output::remote::Sasl::ScramSha512);
}

#[test]
fn mistakes_in_outputs_over_the_network() {
    let dir = tempfile::tempdir().unwrap();
    let open = dir.path().join("open");
    std::fs::write(&open, "short").unwrap();
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let open = open.display();
    let cases: [(&str, String, Vec<&str>); 14] = [
        (
            "half a certificate",
            "to = \"https://a/\"\ncert_file = \"/a\"\n".into(),
            vec!["5:1 missing-key [[output]]"],
        ),
        (
            "half a login",
            "to = \"nats://127.0.0.1/a\"\nuser = \"a\"\n".into(),
            vec!["5:1 missing-key [[output]]"],
        ),
        (
            "an encoding of requests",
            "to = \"syslog+tls://a\"\nencoding = \"splunk\"\n".into(),
            vec!["8:12 bad-value \"splunk\""],
        ),
        (
            "an unknown encoding",
            "to = \"https://a/\"\nencoding = \"elastic\"\n".into(),
            vec!["8:12 bad-value \"elastic\""],
        ),
        ("no index", "to = \"https://a/\"\nindex = \"Soc\"\n".into(), vec!["8:9 bad-value \"Soc\""]),
        ("no time at all", "to = \"https://a/\"\ntimeout = \"0s\"\n".into(), vec!["8:11 bad-value \"0s\""]),
        (
            "no proxy",
            "to = \"https://a/\"\nproxy = \"proxy:3128\"\n".into(),
            vec!["8:9 bad-value \"proxy:3128\""],
        ),
        ("misspelt", "to = \"https://a/\"\ntoken_fiel = \"/a\"\n".into(), vec!["8:1 unknown-key token_fiel"]),
        (
            "no secret",
            "to = \"https://a/\"\ntoken_file = \"/no/such/file\"\n".into(),
            vec!["8:14 no-secret \"/no/such/file\""],
        ),
        (
            "an open secret that is too short",
            format!("to = \"https://a/\"\nhmac_file = \"{open}\"\n"),
            vec!["8:13 weak-key", "8:13 exposed-key"],
        ),
        (
            "no certificate",
            format!("to = \"https://a/\"\nca_file = \"{open}\"\n"),
            vec!["8:11 bad-certificate"],
        ),
        (
            "unencrypted",
            "to = \"syslog+tcp://192.0.2.1:601\"\n".into(),
            vec!["7:6 unencrypted \"syslog+tcp://192.0.2.1:601\""],
        ),
        (
            "unencrypted to one of two",
            "to = \"nats://127.0.0.1,192.0.2.1/a\"\n".into(),
            vec!["7:6 unencrypted \"nats://127.0.0.1,192.0.2.1/a\""],
        ),
        (
            "keys of others",
            "to = \"file:///a\"\ntimeout = \"5s\"\nsasl = \"plain\"\n".into(),
            vec!["8:1 no-effect timeout", "9:1 no-effect sasl"],
        ),
    ];
    for (name, text, expected) in cases {
        let (told, _) = output(&text);
        assert_eq!(told.len(), expected.len(), "{name}: {told:?}");
        for (told, expected) in told.iter().zip(&expected) {
            assert!(told.starts_with(expected), "{name}: {told}");
        }
    }
}
