//! Promise: the scan for planted secrets that other tests rely on finds them in every form, and says where without saying
//! what.

use std::panic::catch_unwind;

#[path = "support/secret_scan.rs"]
mod secret_scan;
use secret_scan::SecretScan;

const SECRET: &str = "s3cr>t/Key?with~odd+bytes";

#[test]
fn every_form_is_found_and_named() {
    let scan = SecretScan::new(&[("API secret", SECRET)]);
    for (text, form) in [
        (format!("x{SECRET}"), "(raw)"),
        // Of Python: base64.b64encode(b"..." + SECRET + b"...") with 0, 1 and 2 bytes in front.
        ("czNjcj50L0tleT93aXRofm9kZCtieXRlcw==".to_owned(), "(base64)"),
        ("eHMzY3I+dC9LZXk/d2l0aH5vZGQrYnl0ZXN5".to_owned(), "(base64)"),
        ("eHhzM2NyPnQvS2V5P3dpdGh+b2RkK2J5dGVzeXk=".to_owned(), "(base64)"),
        ("eHMzY3I-dC9LZXk_d2l0aH5vZGQrYnl0ZXN5".to_owned(), "(base64 for URLs)"),
        ("key=s3cr%3Et%2fKey%3Fwith~odd%2Bbytes&".to_owned(), "(percent-encoded)"),
        (SECRET.bytes().map(|byte| format!("%{byte:02x}")).collect(), "(percent-encoded throughout)"),
        (SECRET.bytes().map(|byte| format!("{byte:02X}")).collect(), "(hex)"),
        (format!("{:?}", SECRET.as_bytes()), "(a list of byte values)"),
        (r#""s3cr>t\/Key?with~odd+bytes""#.to_owned(), "(in PHP's JSON)"),
    ] {
        let findings = scan.findings("a file", format!("some line\n{text}\nanother\n").as_bytes());
        assert!(findings.iter().any(|line| line.contains(form)), "{form}: {findings:?}");
        assert!(findings.iter().all(|line| line.starts_with("a file at byte 1") && !line.contains(SECRET)));
    }
    for harmless in ["", "s3cr>t/Key?with~odd+byte", &SECRET.to_uppercase(), "czNjcj50L0tle"] {
        assert!(scan.findings("a file", harmless.as_bytes()).is_empty(), "{harmless}");
    }
}

#[test]
fn a_folder_is_looked_through_to_the_bottom() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let fails = |scan: SecretScan| catch_unwind(|| scan.check_folder(at)).is_err();
    let scan = || SecretScan::new(&[("listen key", "pqia91ma19a5s61cv6a81va65sdf19v8a65a1")]);
    assert!(fails(scan()), "an empty folder proves nothing");
    std::fs::write(at.join("log"), "all is well\n").unwrap();
    scan().check_folder(at);
    std::fs::create_dir_all(at.join("spool/deep")).unwrap();
    let deep = at.join("spool/deep/segment");
    std::fs::write(&deep, b"\0\0pqia91ma19a5s61cv6a81va65sdf19v8a65a1\0").unwrap();
    assert!(fails(scan()));
    scan().except(&deep).check_folder(at);
    scan().except(at.join("spool")).check_folder(at);
    assert!(catch_unwind(|| scan().check_bytes("body", &std::fs::read(&deep).unwrap())).is_err());
    std::fs::remove_file(&deep).unwrap();
    std::fs::write(at.join("spool/pqia91ma19a5s61cv6a81va65sdf19v8a65a1"), "").unwrap();
    assert!(fails(scan()), "a file's name counts");
}
