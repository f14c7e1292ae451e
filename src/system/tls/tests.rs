//! What options make of files, and whom a verifier trusts.

use super::testing::{Authority, Files};
use super::verify::Verifier;
use super::*;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, CipherSuite, Error, SignatureScheme};
use std::path::Path;

/// Options of a server that asks clients for nothing.
fn options(files: &Files) -> TlsOptions {
    TlsOptions {
        own: KeyFiles {
            certificate: Some(files.certificate.clone()),
            key: Some(files.key.clone()),
            passphrase: None,
        },
        client_auth: ClientAuth::No,
        caches_sessions: true,
        ..TlsOptions::default()
    }
}

fn made(dir: &Path) -> (Authority, Files) {
    let authority = Authority::new(dir, "authority");
    let files = authority.issue("server", &[]);
    (authority, files)
}

fn fails(options: &TlsOptions, part: &str) {
    let error = options.build().expect_err(part);
    assert!(error.contains(part), "{error}");
}

#[test]
fn what_is_missing_or_does_not_fit_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let (authority, files) = made(dir.path());
    let other = authority.issue("other", &[]);
    let good = options(&files);
    good.build().expect("a context");
    let with = |change: &dyn Fn(&mut TlsOptions)| {
        let mut options = good.clone();
        change(&mut options);
        options
    };
    fails(
        &with(&|it| it.own.certificate = None),
        "No tls-cert-file configured!",
    );
    fails(
        &with(&|it| it.own.key = None),
        "No tls-key-file configured!",
    );
    fails(
        &with(&|it| it.client_auth = ClientAuth::Yes),
        "Either tls-ca-cert-file or tls-ca-cert-dir",
    );
    fails(&with(&|it| it.connects = true), "Either tls-ca-cert-file");
    fails(
        &with(&|it| it.own.key = Some(other.key.clone())),
        "key values mismatch",
    );
    let nowhere = dir.path().join("nowhere");
    fails(
        &with(&|it| it.own.certificate = Some(nowhere.clone())),
        "Failed to load certificate: ",
    );
    fails(
        &with(&|it| it.own.certificate = Some(files.key.clone())),
        "no certificate in it",
    );
    fails(
        &with(&|it| it.own.key = Some(files.certificate.clone())),
        "no private key in it",
    );
    fails(
        &with(&|it| it.authorities_file = Some(files.key.clone())),
        "Failed to configure CA certificate(s) file/directory: no certificate",
    );
    fails(
        &with(&|it| it.authorities_folder = Some(nowhere.clone())),
        "No such file or directory",
    );
    fails(
        &with(&|it| it.dh_params_file = Some(nowhere.clone())),
        "Failed to load ",
    );
    fails(
        &with(&|it| it.protocols = "TLSv1 TLSv1.1".into()),
        "older protocols",
    );
    fails(
        &with(&|it| it.protocols = "SSLv3".into()),
        "Invalid tls-protocols specified",
    );
    fails(
        &with(&|it| it.ciphers = "UNKNOWN".into()),
        "Failed to configure ciphers: UNKNOWN",
    );
    fails(
        &with(&|it| it.ciphersuites = "TLS_NONE".into()),
        "Failed to configure ciphersuites: TLS_NONE",
    );
    fails(
        &with(&|it| it.expected_peer_name = Some("a b".into())),
        "Invalid tls-expected-peer-name",
    );
    // A folder counts by what is in it, whatever that is called.
    let folder = with(&|it| {
        it.authorities_folder = Some(dir.path().to_path_buf());
        it.client_auth = ClientAuth::Yes;
        it.protocols = "tlsv1 TLSv1.2".into();
        it.outgoing.certificate = Some(other.certificate.clone());
        it.outgoing.key = Some(other.key.clone());
    });
    let context = folder.build().expect("a context");
    assert!(!context.is_outdated());
    std::fs::write(&files.certificate, "").expect("a file");
    assert!(context.is_outdated());
}

/// What a client is shown that can verify these signatures, and the group that was agreed upon.
fn shown(options: &TlsOptions, schemes: &[SignatureScheme]) -> Result<(Vec<u8>, String), String> {
    let context = options.build()?;
    let mut config = (*context.client).clone();
    let verifier = testing::Anybody(schemes.to_vec());
    config
        .dangerous()
        .set_certificate_verifier(Arc::new(verifier));
    let name = ServerName::try_from("localhost").expect("a name");
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    let server = rustls::ServerConnection::new(Arc::clone(&context.server));
    let mut server = server.expect("a server");
    while client.is_handshaking() || server.is_handshaking() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).expect("a vector");
        server.read_tls(&mut bytes.as_slice()).expect("bytes");
        server.process_new_packets().map_err(|it| it.to_string())?;
        bytes.clear();
        server.write_tls(&mut bytes).expect("a vector");
        client.read_tls(&mut bytes.as_slice()).expect("bytes");
        client.process_new_packets().map_err(|it| it.to_string())?;
    }
    let group = client.negotiated_key_exchange_group().expect("one");
    let certificates = client.peer_certificates().expect("one");
    Ok((certificates[0].to_vec(), format!("{:?}", group.name())))
}

#[test]
fn a_client_is_shown_the_certificate_that_it_can_verify() {
    use SignatureScheme::{ECDSA_NISTP256_SHA256 as P256, ED25519, RSA_PSS_SHA256};
    let dir = tempfile::tempdir().expect("a folder");
    let (authority, files) = made(dir.path());
    let other = authority.issue_ed25519("other");
    let der = |files: &Files| {
        let text = std::fs::read(&files.certificate).expect("a file");
        material::certificates(&text).expect("a certificate")[0].to_vec()
    };
    for protocols in ["TLSv1.3", "TLSv1.2"] {
        let mut options = options(&files);
        options.protocols = protocols.to_owned();
        let shown = |options: &TlsOptions, schemes: &[SignatureScheme]| {
            shown(options, schemes).map(|(certificate, _)| certificate)
        };
        shown(&options, &[ED25519]).expect_err("one certificate");
        options.alternative.certificate = Some(other.certificate.clone());
        options.alternative.key = Some(other.key.clone());
        assert_eq!(shown(&options, &[ED25519]), Ok(der(&other)));
        assert_eq!(shown(&options, &[P256]), Ok(der(&files)));
        // As the client would rather have it.
        assert_eq!(
            shown(&options, &[RSA_PSS_SHA256, ED25519, P256]),
            Ok(der(&other))
        );
        assert_eq!(shown(&options, &[P256, ED25519]), Ok(der(&files)));
        shown(&options, &[RSA_PSS_SHA256]).expect_err("neither");
        options.alternative.key = Some(files.key.clone());
        fails(&options, "key values mismatch");
    }
    let mut options = options(&files);
    options.alternative.certificate = Some(other.certificate.clone());
    options.alternative.key = Some(other.key.clone());
    let context = options.build().expect("a context");
    std::fs::write(&other.key, "").expect("a file");
    assert!(context.is_outdated());
}

#[test]
fn groups_are_chosen_by_the_names_that_openssl_gives_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let (_, files) = made(dir.path());
    let group = |list: &str| {
        let mut options = options(&files);
        options.groups = list.to_owned();
        let schemes = testing::Anybody::new().0;
        shown(&options, &schemes).map(|(_, group)| group)
    };
    for (list, expected) in [
        ("", "X25519"),
        ("P-256", "secp256r1"),
        ("prime256v1:X25519", "secp256r1"),
        ("secp384r1", "secp384r1"),
        ("X25519MLKEM768:P-521:P-384", "secp384r1"),
        ("?nosuch:*x25519/P-256", "X25519"),
    ] {
        assert_eq!(group(list).as_deref(), Ok(expected), "{list}");
    }
    for list in ["nosuch", "P-521", "P-256:", ":", "?nosuch"] {
        let error = group(list).expect_err(list);
        assert_eq!(error, format!("Failed to configure groups: {list}"));
    }
}

const KEY: &str = "-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIKT7OaDuCdWRJgtkuuSGqcBVnX44nOv2RMR2SdC4S1t5oAoGCCqGSM49
AwEHoUQDQgAEZl3MDzgQSwcV7eInFXS/BK+7ygphffmJSWbhbynfE8Hdh1hcM0CC
SU3TFNWdiQ9reY5jQFYG/S+/SSJ1aYc6Ew==
-----END EC PRIVATE KEY-----";

/// The same key under a passphrase, as `openssl ec`, `openssl pkcs8 -topk8` and `-v2 des3` write it.
const SEALED: [&str; 4] = [
    "-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-256-CBC,54B2B5B6B6EED931DCE3BC494E65B856

7JljQOFwyMuHFAuskYZPFUonSrG4WyaYSbPNHjM02sHaYwYG46/iTy/2y2qzmHK7
WlUWUCtTZiH9NXRZ2nlqRW0uIzTBt7hz2OYqzrCmj8os6hAxdvA0pOYpA22NdYvA
Fw/sI4ywAgzqxD5SSAogPs312iB4slE4BTOKygc7nl0=
-----END EC PRIVATE KEY-----",
    "-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-128-CBC,B9138CC374D366A91AABB1DA765EAC2C

z64p/ng82O8sc0YUGlnSnJswniHP7htGSOG8Y3me+ABBZ2m+1sC2GqI0hVJ1MqUB
B1V1qxXVQuFwj/8P8hsR58NIoYZbR38xdmD3VFJTzvrIbjNXkFBEXjI4NcOy9IOm
64HalZqE39L+pT8Ah3QvcXUWmUW9VdV5q1HWJ6PvjyQ=
-----END EC PRIVATE KEY-----",
    "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAhaaN9tH6zK4QICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEFFvJPXE7wm9ABMDMXpQo2EEgZBk
KYvITjOcp4IMmlGRSlODeZrep+9NsOlGPDMv4vl48B99RTZxRbQk/WiscJYfMepp
F7qEEKuaEEiflYe+mW3K9+LFYbVQUNxi4or2g80f1v5Weo3KlxRAdgOexQKBbBOa
Pxu9Qj7FDpVoc8dhv73xUeAtQvLze6N/KW4TRmyPnpsNOa35uOQl8GQ+D5nbZXg=
-----END ENCRYPTED PRIVATE KEY-----",
    "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHjME4GCSqGSIb3DQEFDTBBMCkGCSqGSIb3DQEFDDAcBAgGo0LXdfGeBgICCAAw
DAYIKoZIhvcNAgkFADAUBggqhkiG9w0DBwQIc7BglueSa+oEgZA7lFbMkN2vpvbI
QNaamAZQAS5+rkX7PkHEyFzn7UxHzX3m63VQnPPZv9xCW1JqOokvMlSiW9RDpO3k
PpZUs6zjNPtOkZiWWvKGB6bLsZiVw6zrmz7igSysCuEM0gW8PjmsHlpSGoeXB+OB
ulOg/VlSJbkdKplTs1vnKYIKmq+dlybYjM/5L8K9SFon7cnCysc=
-----END ENCRYPTED PRIVATE KEY-----",
];

#[test]
fn keys_are_read_with_their_passphrase_and_not_with_another() {
    let public = |text: &str, passphrase: Option<&[u8]>| {
        let key = material::private_key(text.as_bytes(), passphrase)?;
        let key = key.signing_key().map_err(|error| error.to_string())?;
        let public = key.public_key().expect("one that it knows");
        Ok::<_, String>(public.as_ref().to_vec())
    };
    // A passphrase for a key that needs none is no mistake.
    let plain = public(KEY, Some(b"unused")).expect("a key");
    for sealed in SEALED {
        assert_eq!(public(sealed, Some(b"secret")).as_ref(), Ok(&plain));
        public(sealed, Some(b"Secret")).expect_err("another passphrase");
        let error = public(sealed, None).expect_err("no passphrase");
        assert_eq!(error, "it needs a passphrase");
    }
    let des = SEALED[0].replace("AES-256-CBC", "DES-EDE3-CBC");
    public(&des, Some(b"secret")).expect_err("another cipher");
}

proptest::proptest! {
    /// Files are the administrator's, and yet may be anything.
    #[test]
    fn no_file_panics(at in 0..400usize, byte: u8, cut in 0..500usize, which in 0..4usize) {
        let mut text = SEALED[which].as_bytes().to_vec();
        let len = text.len();
        text[at % len] = byte;
        text.truncate(cut);
        drop(material::private_key(&text, Some(b"secret")));
        drop(material::certificates(&text));
        text.extend(SEALED[which].as_bytes());
        drop(material::private_key(&text, Some(b"secret")));
    }

    #[test]
    fn no_list_of_ciphers_panics(list in "[-!+@:, A-Z0-9é]{0,40}", known in 0..9usize) {
        let names = ["ECDHE+AESGCM", "!AES128", "-ALL", "+CHACHA20", "DEFAULT", "@STRENGTH", "", "HIGH:!ARSA", "+"];
        let list = format!("{list}:{}:{list}", names[known]);
        let suites = &rustls::crypto::ring::default_provider().cipher_suites;
        for suites in [ciphers::tls12_suites(&list, suites), ciphers::tls13_suites(&list, suites)] {
            proptest::prop_assert!(suites.is_none_or(|it| !it.is_empty()));
        }
    }
}

#[test]
fn ciphers_are_chosen_by_the_names_that_openssl_gives_them() {
    let known = rustls::crypto::ring::default_provider().cipher_suites;
    let chosen = |list: &str| {
        let suites = ciphers::tls12_suites(list, &known)?;
        Some(
            suites
                .iter()
                .map(|it| format!("{:?}", it.suite()))
                .collect::<Vec<_>>(),
        )
    };
    let all = chosen("").expect("all");
    assert_eq!(all.len(), 6);
    assert_eq!(chosen("DEFAULT:!MEDIUM").as_ref(), Some(&all));
    // What rustls does not have is passed over, beside what it has.
    assert_eq!(
        chosen("AES128-SHA256:ECDHE-RSA-AES128-GCM-SHA256"),
        Some(vec!["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256".to_owned()])
    );
    assert_eq!(chosen("AES128-SHA256"), None);
    assert_eq!(chosen("ALL:-ALL"), None);
    let ends = chosen("ALL:+CHACHA20").expect("all");
    assert!(ends[4].contains("CHACHA20") && ends[5].contains("CHACHA20"));
    // What was banned does not come back.
    assert_eq!(chosen("!AES:ALL").map(|it| it.len()), Some(2));
    assert_eq!(chosen("-AES:ALL").map(|it| it.len()), Some(6));
    assert_eq!(
        chosen("ECDHE+AESGCM,aRSA CHACHA20").map(|it| it.len()),
        Some(6)
    );
    assert_eq!(chosen("ECDSA+AES256").map(|it| it.len()), Some(1));

    let newer = |list: &str| {
        let suites = ciphers::tls13_suites(list, &known)?;
        Some(suites.iter().map(|it| it.suite()).collect::<Vec<_>>())
    };
    assert_eq!(newer("").map(|it| it.len()), Some(3));
    let one = CipherSuite::TLS13_AES_128_GCM_SHA256;
    assert_eq!(
        newer("TLS_AES_128_CCM_SHA256:TLS_AES_128_GCM_SHA256"),
        Some(vec![one])
    );
    assert_eq!(newer("TLS_AES_128_CCM_SHA256"), None);
    assert_eq!(newer("AES128-SHA"), None);
}

fn certificate(path: &Path) -> CertificateDer<'static> {
    let text = std::fs::read(path).expect("a file");
    material::certificates(&text)
        .expect("certificates")
        .remove(0)
}

fn verifier(trusted: &[&Path], expected: Option<&str>) -> Verifier {
    let trusted = trusted.iter().map(|path| certificate(path)).collect();
    let expected = expected.map(|it| ServerName::try_from(it.to_owned()).expect("a name"));
    let algorithms = ring::default_provider().signature_verification_algorithms;
    Verifier::new(trusted, algorithms, ClientAuth::Yes, expected).expect("a verifier")
}

/// Whether a certificate is trusted, as a client's and as a server's.
fn is_trusted(verifier: &Verifier, path: &Path, now: UnixTime) -> [Result<(), Error>; 2] {
    let certificate = certificate(path);
    let name = ServerName::try_from("elsewhere.example").expect("a name");
    [
        verifier
            .verify_client_cert(&certificate, &[], now)
            .map(drop),
        verifier
            .verify_server_cert(&certificate, &[], &name, &[], now)
            .map(drop),
    ]
}

#[test]
fn certificates_are_trusted_for_whoever_has_signed_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let (authority, files) = made(dir.path());
    // Another one of the same name has another key.
    let elsewhere = dir.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).expect("a folder");
    let other = Authority::new(&elsewhere, "authority");
    let (old, others_old) = (
        authority.issue_version_1("old"),
        other.issue_version_1("old"),
    );
    let others = other.issue("server", &[]);
    let verifier_of = |path| verifier(&[path], None);
    let now = UnixTime::now();
    for path in [&files.certificate, &old.certificate] {
        assert_eq!(
            is_trusted(&verifier_of(&authority.file), path, now),
            [Ok(()), Ok(())]
        );
    }
    for path in [&others.certificate, &others_old.certificate] {
        for result in is_trusted(&verifier_of(&authority.file), path, now) {
            result.expect_err("it is another's");
        }
    }
    // Itself, though it is marked as an authority's.
    assert_eq!(
        is_trusted(&verifier_of(&authority.file), &authority.file, now),
        [Ok(()), Ok(())]
    );
    for result in is_trusted(&verifier_of(&authority.file), &other.file, now) {
        result.expect_err("it is another's");
    }
    // Nobody is trusted, or one whose time has not come or is over.
    for result in is_trusted(&verifier(&[], None), &old.certificate, now) {
        assert_eq!(result, Err(CertificateError::UnknownIssuer.into()));
    }
    let at = |seconds| UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    for (seconds, error) in [
        (1_000_000_000, CertificateError::NotValidYet),
        (5_000_000_000, CertificateError::Expired),
    ] {
        let results = is_trusted(&verifier_of(&authority.file), &old.certificate, at(seconds));
        assert_eq!(results, [Err(error.clone().into()), Err(error.into())]);
    }
    // One that was changed is signed by nobody.
    let mut changed = certificate(&old.certificate).as_ref().to_vec();
    let place = changed
        .windows(3)
        .rposition(|it| it == b"old")
        .expect("its name");
    changed[place] = b'0';
    let changed = CertificateDer::from(changed);
    verifier_of(&authority.file)
        .verify_client_cert(&changed, &[], now)
        .expect_err("it was changed");
}

/// Being trusted makes nobody an authority.
#[test]
fn only_who_may_sign_signs_and_only_in_its_time() {
    use rcgen::{ExtendedKeyUsagePurpose as Extended, IsCa, KeyUsagePurpose as Usage};
    let dir = tempfile::tempdir().expect("a folder");
    let now = UnixTime::now();
    let with = |name: &str, change: &dyn Fn(&mut rcgen::CertificateParams)| {
        Authority::with(dir.path(), name, change)
    };
    // Whether what it has signed, and it itself, is trusted as a client's and as a server's.
    let trusts = |authority: &Authority, path: &Path| {
        is_trusted(&verifier(&[&authority.file], None), path, now).map(|it| it.is_ok())
    };
    let (all, none) = ([true; 2], [false; 2]);
    let root = with("root", &|_| {});
    for (authority, signs, is_itself) in [
        (
            with("plain", &|it| it.is_ca = IsCa::ExplicitNoCa),
            none,
            all,
        ),
        (with("silent", &|it| it.is_ca = IsCa::NoCa), none, all),
        (
            with("unable", &|it| {
                it.key_usages = vec![Usage::DigitalSignature]
            }),
            none,
            all,
        ),
        (
            with("able", &|it| it.key_usages = vec![Usage::KeyCertSign]),
            all,
            all,
        ),
        (
            with("over", &|it| {
                it.not_after = rcgen::date_time_ymd(2020, 1, 1)
            }),
            none,
            none,
        ),
        (
            with("early", &|it| {
                it.not_before = rcgen::date_time_ymd(3000, 1, 1)
            }),
            none,
            none,
        ),
        (
            with("clients", &|it| {
                it.extended_key_usages = vec![Extended::ClientAuth];
            }),
            [true, false],
            [true, false],
        ),
        (
            with("servers", &|it| {
                it.extended_key_usages = vec![Extended::ServerAuth];
            }),
            [false, true],
            [false, true],
        ),
        (
            with("mail", &|it| {
                it.extended_key_usages = vec![Extended::EmailProtection];
            }),
            none,
            none,
        ),
        (
            root.below("leaf", |it| it.is_ca = IsCa::ExplicitNoCa),
            none,
            all,
        ),
        (root.below("between", |_| {}), all, all),
        (Authority::with_version_1(dir.path(), "old"), all, all),
    ] {
        let name = authority.file.display().to_string();
        let signed = authority.issue("admin", &[]);
        assert_eq!(trusts(&authority, &signed.certificate), signs, "{name}");
        let signed = authority.issue_version_1("admin");
        assert_eq!(trusts(&authority, &signed.certificate), signs, "{name}");
        assert_eq!(trusts(&authority, &authority.file), is_itself, "{name}");
    }
    // Of version 1, but another's: it signs nothing.
    let by_root = certificate(&root.issue_version_1("version").certificate);
    let parsed = authority::parsed(&by_root).expect("a certificate");
    assert!(!authority::can_sign(&parsed));
}

/// The time of an authority ends while the server runs.
#[test]
fn an_authority_ends_with_its_time() {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = Authority::with(dir.path(), "authority", |it| {
        it.not_after = rcgen::date_time_ymd(2035, 1, 1);
    });
    let signed = authority.issue("admin", &[]);
    let verifier = verifier(&[&authority.file], None);
    for (seconds, is_valid) in [(1_900_000_000, true), (2_100_000_000, false)] {
        let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let results = is_trusted(&verifier, &signed.certificate, at);
        assert_eq!(results.map(|it| it.is_ok()), [is_valid; 2]);
    }
}

#[test]
fn of_a_folder_those_count_that_may_sign_or_are_named_by_a_hash() {
    let dir = tempfile::tempdir().expect("a folder");
    let (authority, files) = made(dir.path());
    let found = || {
        let mut material = material::Material::default();
        let found = material.authorities(None, Some(dir.path()));
        found.expect("a folder")
    };
    assert_eq!(found(), [certificate(&authority.file)]);
    std::fs::copy(&files.certificate, dir.path().join("0123abcd.0")).expect("a copy");
    assert_eq!(found(), [certificate(&files.certificate)]);
}

#[test]
fn a_server_has_the_name_that_is_expected_of_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let (authority, files) = made(dir.path());
    let old = authority.issue_version_1("old");
    let now = UnixTime::now();
    let of = |expected: &str, path: &Path| {
        let [_, as_server] = is_trusted(&verifier(&[&authority.file], Some(expected)), path, now);
        as_server
    };
    assert_eq!(of("localhost", &files.certificate), Ok(()));
    of("server", &files.certificate).expect_err("where there are other names this one counts not");
    of("other.example", &files.certificate).expect_err("another name");
    assert_eq!(of("OLD", &old.certificate), Ok(()));
    of("older", &old.certificate).expect_err("another name");
}

#[test]
fn names_of_users_are_read_from_the_field_that_counts() {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(dir.path(), "authority");
    let files = authority.issue("alice", &["spiffe://a/alice", "urn:bob"]);
    let names = |files: &Files, field| names_of_user(&certificate(&files.certificate), field);
    assert!(names(&files, UserField::Off).is_empty());
    assert_eq!(names(&files, UserField::CommonName), [b"alice".to_vec()]);
    let uris = [b"spiffe://a/alice".to_vec(), b"urn:bob".to_vec()];
    assert_eq!(names(&files, UserField::Uri), uris);
    assert!(names(&authority.issue_version_1("old"), UserField::Uri).is_empty());
    // A NUL does not end a name.
    let cut = authority.issue_version_1("admin\0x");
    assert_eq!(names(&cut, UserField::CommonName), [b"admin\0x".to_vec()]);
    assert!(
        names_of_user(
            &CertificateDer::from(b"no certificate".to_vec()),
            UserField::CommonName
        )
        .is_empty()
    );
}

#[test]
fn the_first_common_name_counts_and_one_that_cannot_be_read_is_nobody_s() {
    let dir = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(dir.path(), "authority");
    let name = |names: &[(u8, &[u8])]| {
        let files = authority.issue_named("named", names);
        names_of_user(&certificate(&files.certificate), UserField::CommonName)
    };
    assert_eq!(
        name(&[(0x0c, b"first"), (0x0c, b"second")]),
        [b"first".to_vec()]
    );
    let unreadable = [b"\0".to_vec()];
    for (tag, bytes, wanted) in [
        (0x13, &b"al"[..], "al"),
        (0x14, b"\xe9l", "él"),
        (0x1e, b"\0a\x20\xac", "a€"),
        (0x1c, b"\0\0\0a\0\x01\xf6\x00", "a😀"),
        (0x1e, b"\0a\0", ""),
        (0x1e, b"\xd8\0", ""),
        (0x0c, b"\xff", ""),
        (0x04, b"al", ""),
    ] {
        match wanted {
            "" => assert_eq!(name(&[(tag, bytes), (0x0c, b"second")]), unreadable),
            _ => assert_eq!(name(&[(tag, bytes)]), [wanted.as_bytes().to_vec()]),
        }
    }
    assert!(name(&[]).is_empty());
}

#[test]
fn what_is_no_file_is_not_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let pipe = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    let mut material = material::Material::default();
    for path in [pipe.as_path(), Path::new("/dev/zero"), dir.path()] {
        assert_eq!(material.read(path), Err("Not a regular file".to_owned()));
    }
    let long = dir.path().join("long");
    let file = std::fs::File::create(&long).expect("a file");
    file.set_len(16 * 1024 * 1024 + 1).expect("a length");
    assert_eq!(material.read(&long), Err("File too large".to_owned()));
}

/// As OpenSSL does, which finds them among those who are trusted.
#[test]
fn a_certificate_that_comes_alone_is_sent_with_those_above_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let root = Authority::new(dir.path(), "root");
    let upper = root.below("upper", |_| {});
    let lower = upper.below("lower", |_| {});
    let leaf = lower.issue("leaf", &[]);
    let trusted: Vec<_> = [&root, &upper, &lower]
        .map(|it| certificate(&it.file))
        .to_vec();
    let above = |path: &Path| {
        let mut material = material::Material::default();
        let key = material.certified_key(path, &leaf.key, None);
        let mut key = key.expect("a key");
        material::complete_chain(&mut key, &trusted);
        key.cert
    };
    let [alone, lower_one, upper_one] =
        [&leaf.certificate, &lower.file, &upper.file].map(|path| certificate(path));
    let whole = [alone, lower_one, upper_one];
    assert_eq!(above(&leaf.certificate), whole);
    // Where something is behind it already, that is the administrator's choice.
    let both = dir.path().join("both.crt");
    let text = [&leaf.certificate, &lower.file].map(|it| std::fs::read(it).expect("a file"));
    std::fs::write(&both, text.concat()).expect("a file");
    assert_eq!(above(&both), whole[..2]);
    assert!(authority::chain_above(&whole[0], &trusted[..2]).is_empty());
}
