//! `spool list|show|replay` as a person meets them, beside the process that has the spool: nothing is locked or written.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use kraite_streams::domain::{Mono, Now, Wall};
use kraite_streams::spool::{
    AccountId, Batch, Entry, Epoch, ExchangeId, FolderDisk, Gap, Kind, LivenessEntry, Opened, ReadBatch, SpoolConfig,
    SpoolView, open,
};

const KEY: &str = "SYNTHETIClistenKeySYNTHETIClistenKeySYNTHETIClistenKey0000000000";
const SPOOL: &str = "kraite-streams.spool";

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kraite-streams"));
    command.current_dir(folder).env_clear().args(arguments).output().unwrap()
}

#[track_caller]
fn check(output: &Output, code: i32, on_stdout: &[&str], on_stderr: &[&str]) -> String {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "stdout: {stdout}\nstderr: {stderr}");
    for (name, text, expected) in [("stdout", &stdout, on_stdout), ("stderr", &stderr, on_stderr)] {
        for part in expected {
            assert!(text.contains(part), "{name} lacks {part:?}:\n{text}");
        }
        assert!(!expected.is_empty() || text.is_empty(), "{name} is not empty:\n{text}");
        assert!(!text.contains(KEY), "{name} shows a listen key:\n{text}");
    }
    stdout.into_owned()
}

fn at(second: i64) -> Now {
    Now { mono: Mono::from_nanos(second as u64 * 1_000_000_000), wall: Wall::from_micros(second * 1_000_000) }
}

fn begin(folder: &Path, life: u8, segment_bytes: u64) -> Opened<FolderDisk> {
    let config = SpoolConfig {
        segment_bytes,
        reserve_bytes: 4_000,
        holder: "a test's process".to_owned(),
        ..SpoolConfig::default()
    };
    open(FolderDisk::open(&folder.join(SPOOL)).unwrap(), config, Epoch([life; 16]), at(0)).unwrap()
}

fn append(opened: &mut Opened<FolderDisk>, fill: impl FnOnce(&mut Batch)) {
    let mut batch = opened.appender.batch();
    fill(&mut batch);
    opened.appender.append(&mut batch, at(10)).unwrap();
    assert!(batch.is_empty());
}

fn order(batch: &mut Batch, account: u64, serial: u64) {
    let frame = format!(
        r#"{{"stream":"{KEY}@ORDER_TRADE_UPDATE","data":{{"e":"ORDER_TRADE_UPDATE","listenKey":"{KEY}","i":{serial}}}}}"#
    );
    batch.push_frame(AccountId(account), ExchangeId(1), at(5).wall, frame.as_bytes(), KEY.as_bytes()).unwrap();
}

/// Two accounts' orders, a frame that is no text, a gap and a mark.
fn fill(opened: &mut Opened<FolderDisk>) {
    append(opened, |batch| {
        order(batch, 1, 1);
        order(batch, 2, 2);
        batch.push_frame(AccountId(2), ExchangeId(1), at(6).wall, b"\x1b[2J\xff", KEY.as_bytes()).unwrap();
        let mut gap = Vec::new();
        Gap { silent_since: None, live_at: at(7).wall, reason: "start".to_owned() }.write(&mut gap);
        let mark = |kind, account| Entry { kind, account, exchange: ExchangeId(1), received_at: at(7).wall };
        batch.push(mark(Kind::Gap, AccountId(1)), &gap, &[]).unwrap();
        let alive = LivenessEntry { account: AccountId(2), alive_at: at(7).wall, last_position: 3 };
        batch.push(mark(Kind::Liveness, AccountId(0)), &alive.encode(), &[]).unwrap();
        order(batch, 1, 3);
    });
}

/// Every file with its bytes and time of change.
fn everything(folder: &Path) -> BTreeMap<String, (Vec<u8>, std::time::SystemTime)> {
    let files = std::fs::read_dir(folder.join(SPOOL)).unwrap().map(Result::unwrap);
    files
        .map(|file| {
            let name = file.file_name().to_string_lossy().into_owned();
            (name, (std::fs::read(file.path()).unwrap(), file.metadata().unwrap().modified().unwrap()))
        })
        .collect()
}

#[test]
fn a_spool_that_is_not_there_is_66_and_stays_away() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["spool", "list"][..], &["spool", "show"]] {
        check(&run(folder.path(), arguments), 66, &[], &["kraite-streams.spool is not there"]);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    check(&run(folder.path(), &["spool", "show", "--kind", "fram"]), 64, &[], &["frame"]);
    check(&run(folder.path(), &["spool", "show", "--raw", "--json"]), 64, &[], &["--json"]);
}

#[test]
fn records_are_shown_beside_the_process_that_has_the_spool() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let mut opened = begin(here, 7, 1 << 20);
    fill(&mut opened);
    let before = everything(here);

    let listed = check(
        &run(here, &["spool", "list"]),
        0,
        &[
            "held by a test's process",
            "accounts: 2\n",
            "account 1: 2 frames, 1 gaps, 0 recovered",
            "account 2: 2 frames, 0 gaps",
            &format!("epoch {}", "07".repeat(16)),
            "segments: 1,",
            "quarantine\n  empty",
        ],
        &[],
    );
    let written = opened.reader.status().positions.written;
    assert!(listed.contains(&format!("written     {written:>12}\n")), "{listed}");

    let shown = check(&run(here, &["spool", "show"]), 0, &["ORDER_TRADE_UPDATE", "not_json", "\\u{1b}[2J\\xff"], &[]);
    let numbers = |text: &str| -> Vec<u64> {
        text.lines().map(|line| line.split_whitespace().next().unwrap().parse().unwrap()).collect()
    };
    let all = numbers(&shown);
    // The segment's own snapshot is a record too.
    assert_eq!(all.len(), 7, "{shown}");
    assert!(all.is_sorted() && all.last() == Some(&(written - 1)), "{shown}");
    let only = |arguments: &[&str]| {
        let output = run(here, &[&["spool", "show"], arguments].concat());
        assert_eq!(output.status.code(), Some(0));
        numbers(&String::from_utf8_lossy(&output.stdout))
    };
    assert_eq!(only(&["--account", "1"]), [all[1], all[4], all[6]]);
    assert_eq!(only(&["--kind", "gap"]), [all[4]]);
    assert_eq!(only(&["--kind", "liveness"]), [all[0], all[5]]);
    assert_eq!(only(&["--from", &all[2].to_string(), "--to", &all[4].to_string()]), all[2..=4]);
    assert_eq!(only(&["--limit", "0"]), all);
    check(&run(here, &["spool", "show", "--limit", "2"]), 0, &["liveness"], &["there are more than 2"]);

    let raw = run(here, &["spool", "show", "--raw", "--account", "2"]).stdout;
    let masked = format!(r#"{{"e":"ORDER_TRADE_UPDATE","listenKey":"{}","i":2}}"#, "*".repeat(KEY.len()));
    assert_eq!(raw, [masked.as_bytes(), b"\n\x1b[2J\xff\n"].concat());
    let json = check(&run(here, &["spool", "show", "--json"]), 0, &["payload_base64"], &[]);
    let objects: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects[1]["event"], "ORDER_TRADE_UPDATE");
    assert_eq!(objects[1]["suffix"], "@ORDER_TRADE_UPDATE");
    assert_eq!(objects[2]["payload"], masked);
    assert_eq!(objects[5]["entries"][0]["account"], 2);
    assert_eq!(objects[6]["previous"], all[4]);

    assert_eq!(everything(here), before, "looking changed the spool");
    append(&mut opened, |batch| order(batch, 1, 9));
    assert_eq!(only(&["--limit", "0"]).len(), 8, "what was appended meanwhile is there");
    drop(opened);
    check(&run(here, &["spool", "list"]), 0, &["no process has it"], &[]);
}

#[test]
fn an_unfinished_end_is_told_and_damage_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let mut opened = begin(here, 1, 1 << 20);
    fill(&mut opened);
    let segment = std::fs::read_dir(here.join(SPOOL)).unwrap().map(|entry| entry.unwrap().path());
    let segment = segment.filter(|path| path.extension().is_some_and(|extension| extension == "seg")).max().unwrap();
    let whole = std::fs::read(&segment).unwrap();
    // As a reader may see a record that is being written.
    std::fs::OpenOptions::new().append(true).open(&segment).unwrap().write_all(b"KREC\x07").unwrap();
    check(&run(here, &["spool", "list"]), 0, &["5 bytes at the end unfinished"], &[]);
    assert_eq!(run(here, &["spool", "show"]).stdout.iter().filter(|&&byte| byte == b'\n').count(), 7);

    let mut damaged = whole.clone();
    let at = whole.windows(4).enumerate().filter(|(_, four)| four == b"KREC").nth(2).unwrap().0;
    damaged[at + 60] ^= 1;
    std::fs::write(&segment, &damaged).unwrap();
    check(&run(here, &["spool", "list"]), 1, &["bytes damaged", "account 2: 1 frames"], &[]);
    assert_eq!(run(here, &["spool", "show"]).stdout.iter().filter(|&&byte| byte == b'\n').count(), 6);
    // At every length of the file: no panic, and never fewer records for more bytes.
    let mut last = 0;
    for len in (0..=whole.len()).step_by(7) {
        std::fs::write(&segment, &whole[..len]).unwrap();
        let survey = SpoolView::open(&here.join(SPOOL)).unwrap().survey().unwrap();
        let records = survey.segments.iter().map(|segment| segment.records).sum::<u64>();
        assert!(records >= last && survey.segments.len() + survey.headless.len() == 1, "{len}");
        last = records;
    }
    drop(opened);
}

#[test]
fn each_position_is_told_once_across_segments_and_lives() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    for life in 1..4 {
        let mut opened = begin(here, life, 1_000);
        for serial in 0..20 {
            append(&mut opened, |batch| order(batch, 1 + serial % 2, serial));
        }
        let mut read = ReadBatch::new(5);
        assert!(opened.reader.read(&mut read, &mut Vec::new()).unwrap() > 0);
    }
    let output = run(here, &["spool", "show", "--json", "--limit", "0", "--kind", "frame"]);
    let objects: Vec<serde_json::Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), 60);
    assert!(objects.is_sorted_by(|a, b| a["position"].as_u64() < b["position"].as_u64()));
    let lives: Vec<&str> = objects.iter().map(|object| &object["epoch"].as_str().unwrap()[..2]).collect();
    assert!(lives.chunks(20).zip(["01", "02", "03"]).all(|(life, epoch)| life.iter().all(|&found| found == epoch)));
}

#[test]
fn a_replay_needs_a_server_and_a_yes() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let mut opened = begin(here, 1, 1 << 20);
    fill(&mut opened);
    check(&run(here, &["spool", "replay"]), 64, &[], &["--from"]);
    check(&run(here, &["spool", "replay", "--from", "0", "--yes"]), 78, &[], &["queue.url is \"in_process\""]);
    let settings = "[queue]\nurl = \"redis://127.0.0.1:1/0\"\njob_class = 'App\\Jobs\\UserDataEvent'\n";
    std::fs::write(here.join("kraite-streams.toml"), settings).unwrap();
    let replay = |more: &[&str]| run(here, &[&["spool", "replay", "--from", "0"], more].concat());
    check(&replay(&[]), 64, &[], &["5 jobs would be pushed again", "add --yes"]);
    check(&replay(&["--account", "2"]), 64, &[], &["2 jobs would be pushed"]);
    check(&replay(&["--account", "9", "--yes"]), 0, &["nothing was pushed"], &[]);
}
