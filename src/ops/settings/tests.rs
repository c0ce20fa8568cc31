//! Every bad value becomes a sentence; what is printed reads back to the same.

use std::ffi::OsString;

use super::read::read;
use super::*;

#[test]
fn the_printed_file_is_exactly_the_defaults() {
    let text = Settings::default_file();
    assert_eq!(Settings::parse(&text, "f").unwrap(), Settings::default());
    for key in keys::keys() {
        assert!(text.contains(&format!("\n{} = ", key.name)), "{} is not printed", key.name);
        let other = format!("# {} = ", key.name);
        assert!(!text.contains(&other), "{} is commented out", key.name);
    }
    assert!(text.lines().all(|line| line.chars().count() <= 120), "a line is too long to read");
}

/// Every key once, at a value that is not its default.
const OTHER: &str = r#"
[prices]
url = "wss://127.0.0.1:9443/"
spelling = "raw"
path = "/ws/x?y=%C3%A4"
settle_ms = 0
write_interval_ms = 100
chunk_rows = 1
statement = "case"
table = "exchange_symbol_prices"
map_reload_s = 5
silence_s = 1
silence_exit_s = 2
[user_data]
url = "wss://127.0.0.1:9444/"
rest = "https://127.0.0.1:9444/"
spelling = "path"
discovery_s = 5
keep_alive_min_s = 10
keep_alive_max_s = 2700
liveness_mark_s = 1
reconcile = "off"
sync_orders_s = 0
rotate_h = 0
threads = 2
control_threads = 1
app_key = "base64:geheim+/="
app_previous_keys = "base64:geheim1=,base64:geheim2="
cipher = "aes-256-gcm"
app_key_file = "/etc/kraite/app-key"
[user_data.binance]
dispatched_executions = "TRADE, ALGO_FILLED"
[spool]
folder = "/var/lib/kraite/spool"
sync = "always"
sync_ms = 1
segment_mb = 16
max_mb = 64
account_share_percent = 100
free_min_mb = 1
retain_h = 0
[queue]
url = "rediss://kraite:geheim@redis.example:6380/2"
prefix = ""
name = "kraite-user-data-stream"
job_class = 'App\Jobs\ProcessUserDataEvent'
laravel = 13
horizon = "on"
horizon_prefix = "kraite_production_horizon:"
hash_tag = "on"
depth_max = 100
batch = 1
age_ms = 0
extra_roots = "redis.pem"
connect_timeout_s = 1
answer_timeout_s = 60
[work]
threads = 1
retry_after_s = 90
tries = 3
backoff_s = "1,5,10"
batch = 1
reserve = 64
disorder_wait_ms = 0
lease_s = 2
audit_retain_days = 90
intent_live_s = 60
intents_off = "order_correction,symbol_block"
intent_target = "redis"
intent_class = 'App\Jobs\, ApplyWapJob=App\Wap'
intent_queue = "kraite-,priority=fast"
failed_connection = "redis-long"
[store]
url = "postgres://kraite:geheim@db.example:5432/kraite?sslmode=verify-full"
extra_roots = "db.pem"
lock_timeout_ms = 50
statement_timeout_ms = 100
connect_timeout_s = 1
writer_lock_wait_s = 0
[net]
extra_roots = "/etc/roots.pem"
connect_deadline_s = 60
connects_per_window = 100
connect_window_s = 60
connect_file = "/run/kraite/connects"
rest_weight = 1200
weight_file = "/run/kraite/weight"
rest_binance = "https://[::1]:8443"
rest_bybit = "http://127.0.0.1:80"
rest_kucoin = "https://api.example"
rest_bitget = "http://localhost:8080/"
[ops]
status_file = "/run/k.json"
status_interval_s = 300
summary_interval_s = 0x10
page = "off"
log_format = "json"
log_level = "trace"
log_file = "k \" \\ ü.log"
"#;

#[test]
fn every_key_is_read_shown_and_compared() {
    let other = Settings::parse(OTHER, "f").unwrap();
    let defaults = Settings::default();
    let names: Vec<String> = keys::keys().map(|key| format!("{}.{}", key.section, key.name)).collect();
    assert_eq!(other.changed_keys(&defaults), names, "a key is not read, or shows what it does not hold");
    assert_eq!(other.net.rest_base(Venue::Kucoin), Some("https://api.example"));
    assert_eq!(other.ops.summary_interval, Duration::from_secs(16));

    let mut text = String::new();
    for (section, _) in keys::SECTIONS {
        text.push_str(&format!("[{section}]\n"));
        for key in keys::keys().filter(|key| key.section == section) {
            text.push_str(&format!("{} = {}\n", key.name, key.shown(&other)));
        }
    }
    assert_eq!(Settings::parse(&text, "f").unwrap(), other);
}

#[test]
fn every_bad_value_is_a_sentence() {
    for (text, sentence) in [
        ("[prices]\nsettle_ms = 1001", "f line 2: prices.settle_ms is 1001: write a whole number from 0 to 1000 (ms)"),
        ("[prices]\nsettle_ms = -1", "f line 2: prices.settle_ms is -1: write a whole number from 0 to 1000 (ms)"),
        (
            "[prices]\nsettle_ms = 2.5",
            "f line 2: prices.settle_ms is a fraction: write a whole number from 0 to 1000 (ms)",
        ),
        (
            "[prices]\nsettle_ms = \"25\"",
            "f line 2: prices.settle_ms is the text \"25\": write a whole number from 0 to 1000 (ms)",
        ),
        (
            "[prices]\nsettle_ms = true",
            "f line 2: prices.settle_ms is true or false: write a whole number from 0 to 1000 (ms)",
        ),
        (
            "[prices]\n\nwrite_interval_ms = 99",
            "f line 3: prices.write_interval_ms is 99: write a whole number from 100 to 60000 (ms)",
        ),
        ("[prices]\nchunk_rows = 501", "f line 2: prices.chunk_rows is 501: write a whole number from 1 to 500 (rows)"),
        (
            "[prices]\nchunk_rows = 99999999999999999999999999999999999999999",
            "f line 2: prices.chunk_rows is a number out of all bounds: write a whole number from 1 to 500 (rows)",
        ),
        ("[prices]\nspelling = \"both\"", "f line 2: prices.spelling is \"both\": write one of \"combined\", \"raw\""),
        ("[prices]\nspelling = 1", "f line 2: prices.spelling is the number 1: write \"combined\" or \"raw\""),
        (
            "[prices]\nurl = \"ws://x\"",
            "f line 2: prices.url is \"ws://x\": the stream always runs over TLS: begin with wss://",
        ),
        (
            "[prices]\nurl = \"wss://x/y\"",
            "f line 2: prices.url is \"wss://x/y\": write host and port only, and put the path into prices.path",
        ),
        (
            "[prices]\nurl = \"wss://u@x\"",
            "f line 2: prices.url is \"wss://u@x\": write a host name or an address, without user or blanks",
        ),
        ("[prices]\nurl = \"wss://x:0\"", "f line 2: prices.url is \"wss://x:0\": write a port from 1 to 65535"),
        (
            "[prices]\nurl = \"wss://\"",
            "f line 2: prices.url is \"wss://\": write a host name or an address, without user or blanks",
        ),
        (
            "[prices]\npath = \"x\"",
            "f line 2: prices.path is \"x\": begin with / and use printable ASCII without blanks or #, percent-encoded where needed",
        ),
        (
            "[prices]\npath = \"/x\\r\\ny\"",
            "f line 2: prices.path holds a control character: write a path that begins with /, or \"\"",
        ),
        (
            "[prices]\nsettle_ms = 200\nwrite_interval_ms = 150",
            "f: prices.settle_ms (200) must be below prices.write_interval_ms (150): the wait for a whole frame is part of the interval",
        ),
        (
            "[prices]\nsilence_s = 300",
            "f: prices.silence_s (300) must be below prices.silence_exit_s (300): reconnecting is tried before a fresh process",
        ),
        (
            "[store]\nlock_timeout_ms = 900",
            "f: store.lock_timeout_ms (900) must be below store.statement_timeout_ms (900): the wait for a lock is part of the statement",
        ),
        (
            "[store]\nurl = \"mysql://a:geheim@b/c\"",
            "f line 2: store.url is not usable: prices go to PostgreSQL or SQLite, not to MySQL; README says how to move the tables",
        ),
        ("[store]\nurl = \"kraite-geheim\"", "f line 2: store.url is not usable: begin with postgres:// or sqlite:"),
        (
            "[store]\nurl = \"sqlite:\"",
            "f line 2: store.url is not usable: name the file: sqlite:kraite-streams.sqlite",
        ),
        (
            "[store]\nurl = \"postgres:geheim\"",
            "f line 2: store.url is not usable: write postgres://user@host:5432/database",
        ),
        (
            "[net]\nrest_bybit = \"http://example.com\"",
            "f line 2: net.rest_bybit is \"http://example.com\": http:// is for loopback only: begin with https://",
        ),
        (
            "[net]\nrest_bybit = \"https://example.com/v5\"",
            "f line 2: net.rest_bybit is \"https://example.com/v5\": write scheme, host and port only, without a path",
        ),
        ("[ops]\npage = \"localhost\"", "f line 2: ops.page is \"localhost\": write IP address and port, or \"off\""),
        ("[ops]\nstatus_file = \"\"", "f line 2: ops.status_file is \"\": name a file in a writable folder"),
        (
            "[ops]\nlog_file = \"x\"\nstatus_file = \"x\"",
            "f: ops.log_file and ops.status_file are the same file: name two",
        ),
        (
            "[ops]\nlog_level = \"verbose\"",
            "f line 2: ops.log_level is \"verbose\": write one of \"error\", \"warn\", \"info\", \"debug\", \"trace\"",
        ),
        (
            "[user_data]\nurl = \"wss://x/private\"",
            "f line 2: user_data.url is \"wss://x/private\": write host and port only, and choose the path with user_data.spelling",
        ),
        (
            "[user_data]\nkeep_alive_max_s = 3600",
            "f line 2: user_data.keep_alive_max_s is 3600: write a whole number from 60 to 2700 (s)",
        ),
        (
            "[user_data]\nkeep_alive_min_s = 1800",
            "f: user_data.keep_alive_min_s (1800) must not be above user_data.keep_alive_max_s (1500)",
        ),
        ("[spool]\nfolder = \"/\"", "f line 2: spool.folder is \"/\": name a folder of the spool's own"),
        (
            "[spool]\nmax_mb = 128",
            "f: spool.segment_mb (64) must be at most a quarter of spool.max_mb (128): space is freed a segment at a time",
        ),
        (
            "[queue]\nurl = \"redis://u:geheim@h\"",
            "f: queue.job_class is missing: jobs on Redis need the class that the application takes them with; `kraite-streams print laravel-adapter` prints one",
        ),
        (
            "[queue]\nurl = \"mem\"",
            "f line 2: queue.url is not usable: begin with redis:// or rediss://, or write \"in_process\"",
        ),
        (
            "[queue]\njob_class = '\\App\\Job'",
            "f line 2: queue.job_class is \"\\\\App\\\\Job\": write the full class name in single quotes, without a leading \\",
        ),
        ("[queue]\nhorizon = \"yes\"", "f line 2: queue.horizon is \"yes\": write \"on\" or \"off\""),
        (
            "[queue]\nhorizon = \"on\"",
            "f: queue.horizon is \"on\" and queue.url is \"in_process\": Horizon watches a queue on Redis",
        ),
        (
            "[queue]\nhash_tag = \"on\"\nname = \"{a}\"",
            "f: queue.hash_tag is \"on\" and queue.name has braces of its own: drop one of the two",
        ),
        ("[queue]\nlaravel = 11", "f line 2: queue.laravel is 11: write a whole number from 12 to 13 (major version)"),
        ("[prices]\n\nsetle_ms = 1", "f line 3: unknown key prices.setle_ms: did you mean settle_ms?"),
        ("[prices]\nstatus_file = \"x\"", "f line 2: unknown key prices.status_file: it belongs to [ops]"),
        (
            "[store]\nabracadabra = 1",
            "f line 2: unknown key store.abracadabra: [store] has url, extra_roots, lock_timeout_ms, statement_timeout_ms, connect_timeout_s, writer_lock_wait_s",
        ),
        ("[price]\nurl = 1", "f line 1: unknown section [price]: did you mean [prices]?"),
        (
            "[worker_pool_x]\nx = 1",
            "f line 1: unknown section [worker_pool_x]: there are [prices], [user_data], [user_data.binance], [spool], [queue], [work], [store], [net], [ops]",
        ),
        ("settle_ms = 1", "f line 1: settle_ms stands outside a section: move it below [prices]"),
        (
            "frobnicate = 1",
            "f line 1: unknown key \"frobnicate\": keys stand below [prices], [user_data], [user_data.binance], [spool], [queue], [work], [store], [net], [ops]",
        ),
        (
            "[[prices]]\nurl = 1",
            "f line 1: unknown key \"prices\": keys stand below [prices], [user_data], [user_data.binance], [spool], [queue], [work], [store], [net], [ops]",
        ),
    ] {
        assert_eq!(Settings::parse(text, "f").unwrap_err().to_string(), sentence, "{text}");
    }
}

#[test]
fn all_problems_come_at_once_and_none_quotes_a_secret() {
    let text = "[prices]\nsettle_ms = 9999\nfoo_bar_baz_qux = 1\n[store]\nurl = \"mysql://u:geheim@h\"\n";
    let Err(SettingsError::Bad(problems)) = Settings::parse(text, "f") else { panic!("read") };
    assert_eq!(problems.len(), 3);
    for text in [
        text,
        "[store]\nurl = \"postgres://u:geheim@h\n",
        "[store]\nurl = postgres://u:geheim@h",
        "[store]\nurl = 'x:geheim",
        "[queue]\nurl = \"redis://u:geheim@h:x/0\"",
        "[queue]\nurl = \"http://u:geheim@h\"",
        "[queue]\nurl = \"redis://u:geheim@\"",
        "[user_data]\napp_key = \"geheim\\u0007\"",
        "[user_data]\napp_previous_keys = [\"geheim\"]",
    ] {
        let error = Settings::parse(text, "f").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("geheim"), "{error:?}");
    }
    let settings = Settings::parse(OTHER, "f").unwrap();
    assert!(!format!("{settings:?}").contains("geheim"));
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
}

#[test]
fn the_environment_wins_over_the_file() {
    let environment = variables(&[
        ("KRAITE_STORE_URL", "postgres://k:geheim@h/d"),
        ("KRAITE_PRICES_SETTLE_MS", "40"),
        ("KRAITE_PRICES_CHUNK_ROWS", ""),
        ("KRAITE_FREEZE_MARKER_PATH", "somebody else's"),
        ("HOME", "/root"),
    ]);
    let settings = read("[prices]\nsettle_ms = 30\nchunk_rows = 100\n", "f", &environment).unwrap();
    assert_eq!(settings.store.url.expose(), "postgres://k:geheim@h/d");
    assert_eq!(settings.prices.settle, Duration::from_millis(40));
    assert_eq!(settings.prices.chunk_rows, 100);

    for (name, value, sentence) in [
        (
            "KRAITE_PRICES_SETTLE_MS",
            "fast",
            "environment variable KRAITE_PRICES_SETTLE_MS: prices.settle_ms is \"fast\": write a whole number from 0 to 1000 (ms)",
        ),
        ("KRAITE_STORE_ULR", "x", "environment variable KRAITE_STORE_ULR: unknown key store.ulr: did you mean url?"),
        (
            "KRAITE_STORE_URL",
            "geheim",
            "environment variable KRAITE_STORE_URL: store.url is not usable: begin with postgres:// or sqlite:",
        ),
    ] {
        assert_eq!(read("", "f", &variables(&[(name, value)])).unwrap_err().to_string(), sentence);
    }
}

#[test]
fn a_laravel_application_has_set_the_key_already() {
    let laravel = [("APP_KEY", "base64:theirs"), ("APP_PREVIOUS_KEYS", "base64:older,base64:oldest")];
    let key = |settings: &Settings| settings.user_data.app_key.as_ref().map(|key| key.expose().to_owned());
    let settings = read("[user_data]\napp_key = \"base64:file\"\n", "f", &variables(&laravel)).unwrap();
    assert_eq!(key(&settings).as_deref(), Some("base64:theirs"));
    let previous = settings.user_data.app_previous_keys.as_ref().unwrap();
    assert_eq!(previous.expose(), "base64:older,base64:oldest");
    assert!(!format!("{settings:?}").contains("base64"), "{settings:?}");
    let ours = [laravel[0], ("KRAITE_USER_DATA_APP_KEY", "base64:ours"), ("APP_PREVIOUS_KEYS", "")];
    for environment in [ours.to_vec(), ours.iter().rev().copied().collect()] {
        let settings = read("", "f", &variables(&environment)).unwrap();
        assert_eq!((key(&settings).as_deref(), settings.user_data.app_previous_keys), (Some("base64:ours"), None));
    }
    let error = read("", "f", &variables(&[("APP_KEY", "geheim\n")])).unwrap_err().to_string();
    assert!(error.starts_with("environment variable APP_KEY: ") && !error.contains("geheim"), "{error}");
}

#[test]
fn the_file_is_found_by_name_then_variable_then_place() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.toml"), folder.path().join("b.toml"));
    std::fs::write(&a, "[prices]\nsettle_ms = 1\n").unwrap();
    std::fs::write(&b, "[prices]\nsettle_ms = 2\n").unwrap();
    let variable = variables(&[(SETTINGS_VARIABLE, b.to_str().unwrap())]);

    let (settings, origin) = Settings::load_with(Some(&a), &variable).unwrap();
    assert_eq!((settings.prices.settle, origin), (Duration::from_millis(1), Origin::File(a)));
    let (settings, origin) = Settings::load_with(None, &variable).unwrap();
    assert_eq!((settings.prices.settle, origin), (Duration::from_millis(2), Origin::File(b)));

    let missing = folder.path().join("missing.toml");
    let error = Settings::load_with(Some(&missing), &[]).unwrap_err();
    assert!(matches!(error, SettingsError::Unreadable { .. }), "{error:?}");
    assert!(error.to_string().contains("missing.toml"), "{error}");
}
