//! Reading and writing the files of a data directory, intact and damaged.

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use hanse_core::{
    id::{FederationId, PublicKey},
    timings::Timings,
};
use tempfile::{TempDir, tempdir};

use super::*;
use crate::peer::Peer;

const MEMBERSHIP_FILE: &str = "membership.json";

/// The seed of the key that the directory holds, or that is written if it holds none.
fn opened(directory: &TempDir, seed: u8) -> Result<[u8; 32], String> {
    open_key(directory.path(), || [seed; 32])
        .map(|key| key.seed())
        .map_err(|error| error.to_string())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn membership() -> Membership {
    Membership {
        federation: FederationId([7; 16]),
        name: "acme-1".parse().unwrap(),
        owner: "acme".parse().unwrap(),
        founding: false,
        timings: Timings::default(),
        voters: BTreeSet::from([Peer {
            address: "beta.example:7443".into(),
            key: PublicKey([2; 32]),
        }]),
    }
}

/// The error of reading a membership file of this content.
fn membership_refused(content: &str) -> String {
    let directory = tempdir().unwrap();
    let path = directory.path().join(MEMBERSHIP_FILE);
    fs::write(&path, content).unwrap();
    let error = Membership::read(directory.path()).unwrap_err().to_string();
    error.replace(&path.display().to_string(), "FILE")
}

#[test]
fn a_key_is_generated_once_and_read_afterwards() {
    let directory = tempdir().unwrap();
    assert_eq!(opened(&directory, 1), Ok([1; 32]));
    assert_eq!(opened(&directory, 2), Ok([1; 32]));
    assert_eq!(mode(&directory.path().join(KEY_FILE)), 0o600);
}

#[test]
fn a_directory_that_does_not_exist_gets_no_key() {
    let directory = tempdir().unwrap();
    let missing = directory.path().join("missing");
    let error = open_key(&missing, || [1; 32]).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "failed to write {}: check that the data directory is writable and not full",
            missing.join(KEY_FILE).display()
        )
    );
    assert!(!missing.exists());
}

#[test]
fn a_key_that_others_can_read_is_refused_with_what_to_do() {
    for others in [0o604, 0o602, 0o601, 0o664] {
        let directory = tempdir().unwrap();
        opened(&directory, 1).unwrap();
        let path = directory.path().join(KEY_FILE);
        fs::set_permissions(&path, Permissions::from_mode(others)).unwrap();
        assert_eq!(
            opened(&directory, 2),
            Err(format!(
                "{} is readable by others (mode {others:o}): run `chmod 600` on it, and remove the member if someone may have copied the key",
                path.display()
            ))
        );
        assert_eq!(mode(&path), others);
    }
}

#[test]
fn the_permissions_of_the_group_on_a_key_are_removed() {
    for group in [0o640, 0o660, 0o610] {
        let directory = tempdir().unwrap();
        opened(&directory, 1).unwrap();
        let path = directory.path().join(KEY_FILE);
        fs::set_permissions(&path, Permissions::from_mode(group)).unwrap();
        assert_eq!(opened(&directory, 2), Ok([1; 32]));
        assert_eq!(mode(&path), 0o600);
    }
}

#[test]
fn a_damaged_key_is_an_error_and_never_a_new_key() {
    let digits = "01".repeat(32);
    let damaged = [
        String::new(),
        digits.clone(),
        "hanse-key-v1 ".to_owned(),
        format!("hanse-key-v2 {digits}"),
        format!("hanse-key-v1 {}", &digits[..62]),
        format!("hanse-key-v1 {digits}01"),
        format!("hanse-key-v1 {}zz", &digits[..62]),
        format!("hanse-key-v1 {digits}\nhanse-key-v1 {digits}\n"),
    ];
    for content in damaged {
        let directory = tempdir().unwrap();
        let path = directory.path().join(KEY_FILE);
        fs::write(&path, &content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(
            opened(&directory, 2),
            Err(format!(
                "{} is not a member key of this version: restore it from a backup, or empty the data directory to join as a new member",
                path.display()
            )),
            "{content:?}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
}

#[test]
fn a_key_file_that_is_no_text_is_an_error_and_never_a_new_key() {
    let directory = tempdir().unwrap();
    let path = directory.path().join(KEY_FILE);
    fs::write(&path, [0xff; 80]).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(
        opened(&directory, 2),
        Err(format!(
            "failed to read {}: check that it exists and belongs to the operator's user",
            path.display()
        ))
    );
    assert_eq!(fs::read(&path).unwrap(), [0xff; 80]);
}

#[test]
fn files_left_over_from_a_crash_are_replaced() {
    let directory = tempdir().unwrap();
    for left_over in ["member.new", "membership.new"] {
        let path = directory.path().join(left_over);
        fs::write(&path, format!("hanse-key-v1 {}\n", "09".repeat(32))).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
    }
    assert_eq!(Membership::read(directory.path()).unwrap(), None);
    assert_eq!(opened(&directory, 1), Ok([1; 32]));
    membership().write(directory.path()).unwrap();
    assert_eq!(opened(&directory, 2), Ok([1; 32]));
    assert_eq!(
        Membership::read(directory.path()).unwrap(),
        Some(membership())
    );
    let files: BTreeSet<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    let expected = [KEY_FILE, MEMBERSHIP_FILE].map(str::to_owned);
    assert_eq!(files, BTreeSet::from(expected));
    assert_eq!(mode(&directory.path().join(KEY_FILE)), 0o600);
}

#[test]
fn the_last_membership_written_is_read_back() {
    let directory = tempdir().unwrap();
    assert_eq!(Membership::read(directory.path()).unwrap(), None);
    let founding = Membership {
        founding: true,
        voters: BTreeSet::new(),
        ..membership()
    };
    for written in [founding, membership()] {
        written.write(directory.path()).unwrap();
        assert_eq!(Membership::read(directory.path()).unwrap(), Some(written));
    }
}

#[test]
fn a_membership_without_timings_has_the_default_ones() {
    let directory = tempdir().unwrap();
    let content = r#"{"v": 1, "federation": "07070707070707070707070707070707", "name": "acme-1", "owner": "acme", "voters": []}"#;
    fs::write(directory.path().join(MEMBERSHIP_FILE), content).unwrap();
    let expected = Membership {
        voters: BTreeSet::new(),
        timings: Timings::default(),
        ..membership()
    };
    assert_eq!(Membership::read(directory.path()).unwrap(), Some(expected));
}

#[test]
fn a_membership_of_another_version_is_refused() {
    // A later version may change any other field.
    for content in [r#"{"v": 2}"#, r#"{"v": 2, "federation": 7}"#] {
        assert_eq!(
            membership_refused(content),
            "FILE has format version 2, this operator reads version 1: run the newer operator again"
        );
    }
}

#[test]
fn a_damaged_membership_is_refused() {
    for content in ["", "{", "[]", "{}", r#"{"v": "1"}"#, r#"{"v": 1}"#] {
        assert_eq!(
            membership_refused(content),
            "FILE is not a membership: restore it from a backup, or empty the data directory to join as a new member",
            "{content:?}"
        );
    }
}
