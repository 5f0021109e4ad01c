use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use super::*;
use crate::peer::Peer;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn no_seed() -> [u8; 32] {
    panic!("the directory already holds a key")
}

#[test]
fn a_key_is_made_once_and_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let made = Identity::open(directory.path(), || [7; 32]).unwrap();
    let found = Identity::open(directory.path(), no_seed).unwrap();
    assert_eq!(
        (made.public(), found.key.seed()),
        (PrivateKey::from_seed(&[7; 32]).public(), [7; 32])
    );
}

#[test]
fn the_certificate_is_about_the_members_own_key() {
    let identity = Identity::from_key(PrivateKey::from_seed(&[3; 32])).unwrap();
    assert_eq!(
        crate::peer::tls::key_of(&identity.certificate()),
        Ok(identity.public())
    );
}

#[test]
fn the_key_file_is_readable_by_nobody_else_whatever_a_crash_left_behind() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(KEY_FILE);
    let leftover = path.with_extension("new");
    fs::write(&leftover, "half a key").unwrap();
    fs::set_permissions(&leftover, Permissions::from_mode(0o644)).unwrap();

    Identity::open(directory.path(), || [7; 32]).unwrap();

    assert_eq!((mode(&path), leftover.exists()), (0o600, false));
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(KEY_FILE);
    Identity::open(directory.path(), || [7; 32]).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o604)).unwrap();

    let error = Identity::open(directory.path(), no_seed).unwrap_err();

    assert_eq!(
        error.to_string(),
        format!(
            "{} is readable by others (mode 604): run `chmod 600` on it, and remove the member if someone may have \
             copied the key",
            path.display()
        )
    );
}

#[test]
fn the_group_bits_a_kubelet_adds_are_taken_away_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(KEY_FILE);
    Identity::open(directory.path(), || [7; 32]).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o660)).unwrap();

    Identity::open(directory.path(), no_seed).unwrap();

    assert_eq!(mode(&path), 0o600);
}

#[test]
fn a_malformed_key_is_an_error_and_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(KEY_FILE);
    for content in [
        "",
        "hanse-key-v1 ",
        "hanse-key-v1 abcd\n",
        "hanse-key-v2 00\n",
    ] {
        file::write(&path, content.as_bytes()).unwrap();
        let error = Identity::open(directory.path(), no_seed).unwrap_err();
        assert!(
            matches!(&error, IdentityError::MalformedKey { path: named } if *named == path),
            "{content:?} gave {error}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
}

#[test]
fn a_private_key_never_prints_its_secret() {
    let identity = Identity::from_key(PrivateKey::from_seed(&[7; 32])).unwrap();
    assert_eq!(
        format!("{identity:?}"),
        format!(
            "Identity {{ key: PrivateKey(of {}), .. }}",
            identity.public().short()
        )
    );
}

fn membership(voters: impl IntoIterator<Item = Peer>) -> Membership {
    Membership {
        federation: "000102030405060708090a0b0c0d0e0f".parse().unwrap(),
        name: "acme-eu-1".parse().unwrap(),
        owner: "acme".parse().unwrap(),
        voters: voters.into_iter().collect(),
    }
}

#[test]
fn a_membership_is_remembered_as_it_last_was() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(Membership::read(directory.path()).unwrap(), None);
    let voter = Peer {
        address: "eu.acme.example:7443".into(),
        key: PublicKey([1; 32]),
    };

    membership([]).write(directory.path()).unwrap();
    membership([voter.clone()]).write(directory.path()).unwrap();

    assert_eq!(
        Membership::read(directory.path()).unwrap(),
        Some(membership([voter]))
    );
}

#[test]
fn the_first_version_of_a_membership_stays_readable() {
    let directory = tempfile::tempdir().unwrap();
    let key = "01".repeat(32);
    let text = format!(
        r#"{{"v":1,"federation":"000102030405060708090a0b0c0d0e0f","name":"acme-eu-1","owner":"acme",
            "voters":[{{"address":"eu.acme.example:7443","key":"{key}"}}]}}"#
    );
    fs::write(directory.path().join("membership.json"), text).unwrap();
    assert_eq!(
        Membership::read(directory.path()).unwrap(),
        Some(membership([Peer {
            address: "eu.acme.example:7443".into(),
            key: PublicKey([1; 32]),
        }]))
    );
}

#[test]
fn a_membership_of_a_newer_operator_is_not_guessed_at() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("membership.json");
    fs::write(&path, r#"{"v":2,"federations":[]}"#).unwrap();
    assert_eq!(
        Membership::read(directory.path()).unwrap_err().to_string(),
        format!(
            "{} has format version 2, this operator reads version 1: run the newer operator again",
            path.display()
        )
    );
}
